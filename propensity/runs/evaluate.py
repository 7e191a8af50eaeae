"""
Evaluation as a run: what past scores were worth, week by week or day by day.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from propensity import tables
from propensity.gcp.columns import record
from propensity.learning import alerts, metrics, season
from propensity.learning.alerts import Stakes, floats
from propensity.learning.thresholds import Selection, by_threshold, measured
from propensity.privacy import suppression
from propensity.registry.loading import find_recorded, trained_otherwise
from propensity.runs import export, value
from propensity.runs.thresholds import EarlierWeeks
from propensity.tables.models import evaluation

if TYPE_CHECKING:
    from propensity.runs.run import Run

# How far a run of 03 goes back for weeks that it missed.
CATCH_UP = timedelta(weeks=13)


Row = Mapping[str, Any]


def answered(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return rows for an answer: without the counts by threshold, long ones."""
    return [
        {name: value for name, value in row.items() if name != "thresholds"}
        for row in rows
    ]


def wait_for_days(run: Run) -> dict[str, Any]:
    """As ``export.wait_for_days``, for the days of all weeks that may be evaluated."""
    lookback = timedelta(days=run.use_case.lookback_days)
    weeks = CATCH_UP + run.timeframe.horizon
    return export.wait_for_days(run, since=run.as_of - max(lookback, weeks))


def evaluations(run: Run) -> list[dict[str, Any]]:
    """
    Evaluate all weeks without final figures; return rows of ``ma_model_evaluation``.

    A use case of events has days in their place, with a row for each version that
    scored on the day.
    """
    if run.use_case.scores_events:
        return _evaluated_days(run, _unfinished(run, "days_to_evaluate"))
    lookback = run.use_case.lookback_days
    weeks = _unfinished(
        run,
        "weeks_to_evaluate",
        lookback_days=lookback,
        published_since=_oldest(run) - timedelta(days=lookback),
    )
    earlier, rows = EarlierWeeks(run, weeks), []
    otherwise = cache(partial(_trained_otherwise, run))
    for week in weeks:
        row = _evaluated_week(run, week, earlier, otherwise)
        if row is not None:
            earlier.add(row)
            rows.append(row)
    return rows


def _newest(run: Run) -> date:
    """Return the newest week, or day, whose outcomes are over."""
    return run.as_of - run.timeframe.horizon


def _oldest(run: Run) -> date:
    """Return the oldest week, or day, that is still evaluated."""
    return _newest(run) - CATCH_UP


def _unfinished(run: Run, query: str, **further: object) -> list[date]:
    """
    Return the weeks that are over and have no final figures of what is published.

    The week that ends with the as-of date is always one of them: without
    predictions it gets a row that says so. If the export ends before that date, the
    week waits until its days are there.

    Args:
        query: The statement that lists weeks by predictions, or days by scores.
        further: Parameters of its own.
    """
    newest = _newest(run)
    rows = run.rows(query, since=_oldest(run), until=newest, **further)
    ends = set() if run.is_cut_short else {newest}
    return sorted({row["week"] for row in rows} | ends)


def _trained_otherwise(run: Run, version: int) -> str:
    """
    Say which labels a version has learned that are others today; "" for the same.

    Its probabilities are then of another outcome, or of other users, than the labels.
    """
    recorded = find_recorded(run.warehouse, run.use_case, version)
    chosen = run.use_case.chosen(run.settings)
    labels = run.use_case.statement("evaluation_rows")
    return (
        trained_otherwise(recorded, run.use_case, chosen, statement=labels)
        if recorded
        else ""
    )


def _evaluated_week(
    run: Run, week: date, earlier: EarlierWeeks, otherwise: Callable[[int], str]
) -> dict[str, Any] | None:
    """
    Return the week's row of ``ma_model_evaluation``.

    None where its version has learned other labels than today's: these say nothing of
    it, and what was known of the week stays.
    """
    export.check_consent(run)
    use_case, settings = run.use_case, run.settings
    in_force = run.rows(
        "predictions_in_force",
        week=week,
        since=week - timedelta(days=use_case.lookback_days),
    )
    if not in_force:
        return {
            **_evaluation(run, week),
            "model_version": -1,
            "outcome": "no_predictions",
        }
    version = in_force[0]["model_version"]
    if why := otherwise(version):
        name = use_case.name
        run.warn(f"{week} is not evaluated: version {version} {why}", use_case=name)
        return None
    was_final = earlier.is_final(week, version)
    # Final labels are known to a run for an earlier date, too.
    known_at = run.timeframe.matured_at(week) if was_final else run.as_of
    parameters = {
        **use_case.window(settings, [week], today=max(run.as_of, known_at)),
        "use_case": use_case.name,
        "prediction_as_of": in_force[0]["as_of"],
    }
    groups = run.warehouse.table(use_case.statement("evaluation_rows"), parameters)
    observed, unscored = outcomes_of(groups)
    if suppressed := suppression.read(run.warehouse):
        # A forgotten user has no probability, but is no missed converter.
        missed = run.warehouse.table(
            use_case.statement("unscored_converters"), parameters
        )
        unscored = len(suppressed.without(missed, use_case.name))
    return {
        **_evaluation(run, week, was_final=was_final),
        "model_version": version,
        "prediction_as_of": in_force[0]["as_of"],
        "prediction_scored_at": in_force[0]["scored_at"],
        "outcome": "evaluated" if observed.has_both_classes else "one_class",
        "unscored_converters": unscored,
        "thresholds": by_threshold(observed),
        **measured(
            observed,
            earlier.selection(week, version),
            threshold=use_case.threshold,
            seed=settings.seed,
        ).columns(),
        **_season(
            run,
            week,
            observed,
            shift=in_force[0]["log_odds_shift"],
        ),
        **value.evaluated(run, parameters),
    }


def _season(
    run: Run,
    week: date,
    observed: metrics.Outcomes,
    *,
    shift: float | None,
) -> dict[str, Any]:
    """
    Return by how much the week's log-odds were too low, as 01-Predictions reads it.

    Without these figures if the export lacks a day of the week: outcomes that never
    came are not a season that 01 may follow.
    """
    lacked = season.residual(observed)
    if lacked is None or export.lacked_days(run, week):
        return {"log_odds_shift": shift}
    return {
        "log_odds_shift": shift,
        "residual_log_odds": lacked.log_odds,
        "residual_standard_error": lacked.standard_error,
    }


def _evaluation(run: Run, week: date, *, was_final: bool = False) -> dict[str, Any]:
    """
    Return the columns that all rows of a week share.

    Labels that were mature once are so in a run for an earlier date, too.
    """
    return {
        "use_case": run.use_case.name,
        "week": week,
        "week_end": week + run.timeframe.horizon,
        "status": "final" if was_final else export.status(run, week),
        "evaluated_at": run.began_at,
        "data_until": run.data_until,
    }


def _evaluated_days(run: Run, days: list[date]) -> list[dict[str, Any]]:
    """
    Evaluate the scores of the log by the labels that came later.

    Final figures stay in a run for an earlier date, which does not know their truths.
    """
    earlier = EarlierWeeks(run, days)
    days = [
        day
        for day in days
        if run.timeframe.is_matured(day, today=run.as_of) or not earlier.has_final(day)
    ]
    if not days:
        return []
    groups = run.warehouse.table(
        run.use_case.statement("event_evaluation_rows"),
        {
            **run.event_window(),
            "since": days[0],
            "days": days,
            "amount": f"$.{run.use_case.amount}" if run.use_case.amount else "$",
        },
    )
    key = ["day", "model_version"]
    series = groups.group_by(key).aggregate([])
    series = series.sort_by([(name, "ascending") for name in key])
    rows = []
    for values in series.to_pylist():
        is_of_series = pc.and_(
            pc.equal(groups["day"], values["day"]),
            pc.equal(groups["model_version"], values["model_version"]),
        )
        day = values.pop("day")
        selection = earlier.selection(day, values["model_version"])
        row = {
            **_evaluation(run, day),
            **values,
            **_event_figures(run, groups.filter(is_of_series), selection),
        }
        earlier.add(row)
        rows.append(row)
    unscored_days = sorted(set(days) - {row["week"] for row in rows})
    rows += [
        {
            **_evaluation(run, day),
            "model_version": -1,
            "outcome": "no_predictions",
        }
        for day in unscored_days
    ]
    return sorted(rows, key=lambda row: (row["week"], row["model_version"]))


def _event_figures(run: Run, groups: pa.Table, selection: Selection) -> dict[str, Any]:
    """
    Return the figures of one version's scores of one day.

    Args:
        groups: A row per distinct score and amount of a known label 1: ``score`` (null
            for none), ``is_anomaly``, ``alert_threshold`` (null for none), ``lost``,
            that amount, and numbers of events: ``known``, ``conversions``, ``unknown``
            and ``conflicting``.
        selection: Threshold and budget of the day.
    """
    counts = {
        f"{name}_outcomes": pc.sum(groups[name]).as_py() or 0
        for name in ("unknown", "conflicting")
    }
    known = groups.filter(pc.greater(groups["known"], 0))
    observed, unscored = outcomes_of(
        known.select(["score", "known", "conversions"]).rename_columns(
            ["probability", "users", "conversions"]
        )
    )
    counts["unscored_converters"] = unscored
    if groups["score"].null_count == len(groups):
        return {**counts, "outcome": "no_predictions"}
    scores = measured(
        observed,
        selection,
        threshold=run.use_case.threshold,
        seed=run.settings.seed,
        is_anomaly=bool(pc.any(groups["is_anomaly"]).as_py()),
    )
    return {
        **counts,
        "thresholds": by_threshold(observed),
        "outcome": "evaluated" if observed.has_both_classes else "one_class",
        **scores.columns(),
        **_savings(run, known),
    }


def _savings(run: Run, known: pa.Table) -> dict[str, Any]:
    """Return what the version's alerts save; nothing for one without a threshold."""
    scored = known.filter(pc.is_valid(known["score"]))
    if not len(scored) or scored["alert_threshold"].null_count:
        return {}
    frauds = scored["conversions"].to_numpy()
    others = scored["known"].to_numpy() - frauds
    score, amount = scored["score"].to_numpy(), alerts.amounts(floats(scored["lost"]))
    stakes = Stakes(
        is_fraud=np.repeat([True, False], [frauds.sum(), len(others)]),
        amount=np.concatenate([np.repeat(amount, frauds), np.zeros(len(others))]),
        weight=np.concatenate([np.ones(frauds.sum()), others.astype(np.float64)]),
        review_cost=run.settings.alert_review_cost,
    )
    return alerts.savings(
        np.concatenate([np.repeat(score, frauds), score]),
        stakes,
        threshold=scored["alert_threshold"][0].as_py(),
        seed=run.settings.seed,
    ).columns()


def outcomes_of(groups: pa.Table) -> tuple[metrics.Outcomes, int]:
    """
    Return the outcomes by probability, and how many converted without one.

    Args:
        groups: ``probability``, ``users`` and ``conversions``; one row at most has no
            probability.
    """
    probability = groups["probability"].to_numpy().astype(np.float64)
    users = groups["users"].to_numpy().astype(np.float64)
    conversions = groups["conversions"].to_numpy().astype(np.float64)
    scored = ~np.isnan(probability)
    observed = metrics.grouped(probability[scored], users[scored], conversions[scored])
    return observed, int(conversions[~scored].sum())


def publish_evaluations(run: Run, rows: Sequence[Row]) -> None:
    """Append the rows of the evaluated weeks; readers see the newest of each."""
    if not rows:
        return
    same = {
        "run_id": run.run_id,
        "as_of": run.as_of,
        "bytes_billed": run.warehouse.bytes_billed,
    }
    written = [record(evaluation({**row, **same}), tables.EVALUATION) for row in rows]
    run.check_lease()
    run.warehouse.write(tables.EVALUATION, pa.concat_tables(written))
    aucs = [row.get("roc_auc") for row in rows]
    run.log_fields.update(
        model_version=rows[-1]["model_version"],
        roc_auc=next((value for value in reversed(aucs) if value is not None), None),
        rows_in=sum(row.get("users", 0) for row in rows),
        rows_out=len(rows),
    )
