"""
Evaluation as a run: what past scores were worth, week by week or day by day.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from propensity import tables
from propensity.edges.columns import record
from propensity.learning import bootstrap, cost, metrics, season
from propensity.learning.thresholds import Selection, by_threshold
from propensity.privacy import suppression
from propensity.registry.loading import find_recorded, trained_otherwise
from propensity.runs import export, value
from propensity.runs.thresholds import EarlierWeeks
from propensity.statements import statement

if TYPE_CHECKING:
    from propensity.runs.run import Run

# How far a run of 03 goes back for weeks that it missed.
CATCH_UP = timedelta(weeks=13)


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """
    Rows of ``ma_model_evaluation``, in time order.

    ``republished`` are weeks whose figures are of probabilities that were replaced
    since: these figures are removed.
    """

    rows: Sequence[Mapping[str, Any]]
    republished: Sequence[date]

    def answer(self) -> list[dict[str, Any]]:
        """Return the rows for an answer: without the counts by threshold, long ones."""
        return [
            {name: value for name, value in row.items() if name != "thresholds"}
            for row in self.rows
        ]


def wait_for_days(run: Run) -> dict[str, Any]:
    """As ``export.wait_for_days``, for the days of all weeks that may be evaluated."""
    lookback = timedelta(days=run.use_case.lookback_days)
    weeks = CATCH_UP + run.timeframe.horizon
    return export.wait_for_days(run, since=run.as_of - max(lookback, weeks))


def evaluations(run: Run) -> Evaluated:
    """
    Evaluate all weeks without final figures.

    A use case of events has days in their place, with a row for each version that
    scored on the day.
    """
    if run.use_case.scores_events:
        days, _ = _unfinished(run, "days_to_evaluate")
        return Evaluated(rows=_evaluated_days(run, days), republished=[])
    lookback = run.use_case.lookback_days
    weeks, republished = _unfinished(
        run,
        "weeks_to_evaluate",
        lookback_days=lookback,
        published_since=_oldest(run) - timedelta(days=lookback),
    )
    if republished:
        run.log_fields["republished"] = republished
    earlier, rows = EarlierWeeks(run, weeks), []
    otherwise = cache(partial(_trained_otherwise, run))
    for week in weeks:
        row = _evaluated_week(run, week, earlier, otherwise)
        if row is not None:
            earlier.add(row)
            rows.append(row)
    return Evaluated(rows=rows, republished=republished)


def _newest(run: Run) -> date:
    """Return the newest week, or day, whose outcomes are over."""
    return run.as_of - run.timeframe.horizon


def _oldest(run: Run) -> date:
    """Return the oldest week, or day, that is still evaluated."""
    return _newest(run) - CATCH_UP


def _unfinished(
    run: Run, query: str, **further: object
) -> tuple[list[date], list[date]]:
    """
    Return the weeks that are over and have no final figures of what is published.

    The second list has those of them that were published again since they were
    evaluated. The week that ends with the as-of date is always in the first: without
    predictions it gets a row that says so. If the export ends before that date, the
    week waits until its days are there.

    Args:
        query: The statement that lists weeks by predictions, or days by scores.
        further: Parameters of its own.
    """
    newest = _newest(run)
    rows = run.rows(query, since=_oldest(run), until=newest, **further)
    ends = set() if run.is_cut_short else {newest}
    republished = {row["week"] for row in rows if row.get("is_republished")}
    return sorted({row["week"] for row in rows} | ends), sorted(republished)


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
        **bootstrap.quality(
            observed,
            threshold=use_case.threshold,
            seed=settings.seed,
            selection=earlier.selection(week, version),
        ),
        **_season(
            run,
            week,
            observed,
            shift=in_force[0]["log_odds_shift"],
            is_early=week + run.timeframe.horizon == run.as_of and not was_final,
        ),
        **value.evaluated(run, parameters),
    }


def _season(
    run: Run,
    week: date,
    observed: metrics.Outcomes,
    *,
    shift: float | None,
    is_early: bool,
) -> dict[str, Any]:
    """
    Return by how much the week's log-odds were too low, as 01-Predictions reads it.

    Without these figures if the export lacks a day of the week: outcomes that never
    came are not a season that 01 may follow. On the day that the week ends the figures
    are also kept as they are then known: a later rerun of 01 for that day must not know
    the labels that came late. A rerun of 03 for that day knows them, so it keeps none.
    """
    lacked = season.residual(observed)
    if lacked is None or export.lacked_days(run, week):
        return {"log_odds_shift": shift}
    early = {
        "provisional_log_odds": lacked.log_odds + (shift or 0.0),
        "provisional_standard_error": lacked.standard_error,
        "provisional_conversions": round(float(observed.conversions.sum())),
    }
    return {
        "log_odds_shift": shift,
        "residual_log_odds": lacked.log_odds,
        "residual_standard_error": lacked.standard_error,
        **(early if is_early else {}),
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
    is_anomaly = pc.any(groups["is_anomaly"]).as_py()
    figures = (
        bootstrap.ranking(observed, seed=run.settings.seed, selection=selection)
        if is_anomaly
        else bootstrap.quality(
            observed,
            threshold=run.use_case.threshold,
            seed=run.settings.seed,
            selection=selection,
        )
    )
    return {
        **counts,
        "thresholds": by_threshold(observed),
        "outcome": "evaluated" if observed.has_both_classes else "one_class",
        **figures,
        **_cost_figures(run, known),
    }


def _cost_figures(run: Run, known: pa.Table) -> dict[str, object]:
    """Return what the version's alerts cost; nothing for one without a threshold."""
    scored = known.filter(pc.is_valid(known["score"]))
    if not len(scored) or scored["alert_threshold"].null_count:
        return {}
    threshold = scored["alert_threshold"][0].as_py()
    is_alert = scored["score"].to_numpy() >= threshold
    conversions = scored["conversions"].to_numpy()
    others = scored["known"].to_numpy() - conversions
    amount = cost.amounts(cost.floats(scored["lost"]))
    policy = cost.Policy(
        amount=np.repeat(amount, conversions),
        weight=np.ones(conversions.sum()),
        is_caught=np.repeat(is_alert, conversions),
        false_alerts=float(others[is_alert].sum()),
        review_cost=run.settings.alert_review_cost,
    )
    return cost.figures(policy, threshold, seed=run.settings.seed)


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


def publish_evaluations(run: Run, evaluated: Evaluated) -> None:
    """Replace the rows of the evaluated weeks, in one statement."""
    rows = evaluated.rows
    if not rows:
        return
    key = run.staging_key
    billed = run.warehouse.bytes_billed
    staged = pa.concat_tables(
        [
            record({**key, **row, "bytes_billed": billed}, tables.EVALUATION_STAGING)
            for row in rows
        ]
    )
    run.warehouse.write(tables.EVALUATION_STAGING, staged)
    # Behind the load, which takes seconds: nothing slow is left before the statement.
    run.check_lease()
    run.warehouse.execute(
        statement("publish_evaluation"),
        {
            **key,
            "use_case": run.use_case.name,
            "weeks": [row["week"] for row in rows],
            "model_versions": sorted({row["model_version"] for row in rows}),
            # No date where there is none: an empty array has no type.
            "republished": evaluated.republished or [date.min],
        },
    )
    run.warehouse.execute(statement("clear_staged_evaluations"), run.staging_key)
    aucs = [row.get("roc_auc") for row in rows]
    run.log_fields.update(
        model_version=rows[-1]["model_version"],
        roc_auc=next((value for value in reversed(aucs) if value is not None), None),
        rows_in=sum(row.get("users", 0) for row in rows),
        rows_out=len(rows),
    )
