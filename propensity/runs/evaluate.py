"""
Evaluation as a run: what past scores were worth, week by week or day by day.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from propensity.gcp.columns import record
from propensity.learning import alerts, metrics, season
from propensity.learning.alerts import Stakes, floats
from propensity.learning.thresholds import Selection, by_threshold, measured
from propensity.privacy import suppression
from propensity.registry.loading import find_recorded, trained_otherwise
from propensity.runs import export
from propensity.runs.thresholds import EarlierWeeks
from propensity.tables import every as tables
from propensity.tables.models import evaluation

if TYPE_CHECKING:
    from propensity.runs.run import Run

Row = Mapping[str, Any]

# How far a run of 03 goes back for weeks that it missed.
CATCH_UP = timedelta(weeks=13)


def wait_for_days(run: Run) -> Run:
    """As ``export.wait_for_days``, for the days of all weeks that may be evaluated."""
    lookback = timedelta(days=run.use_case.lookback_days)
    weeks = CATCH_UP + run.timeframe.horizon
    return export.wait_for_days(run, since=run.as_of - max(lookback, weeks))


def evaluations(run: Run) -> list[dict[str, Any]]:
    """
    Evaluate all weeks without final metrics; return rows of ``ma_model_evaluation``.

    A use case of events has days in their place, with a row for each version that
    scored on the day. The week that ends with the as-of date always has a row: without
    predictions one that says so. If the export ends before that date, the week waits
    until its days are there.
    """
    newest = run.as_of - run.timeframe.horizon
    since = newest - CATCH_UP
    if run.use_case.scores_events:
        found = run.rows("days_to_evaluate", since=since, until=newest)
        days = {row["week"] for row in found}
        return _evaluated_days(run, sorted(days | {newest}))
    export.check_consent(run)
    lookback = run.use_case.lookback_days
    weeks = run.rows(
        "weeks_to_evaluate",
        since=since,
        until=newest,
        with_newest=not run.is_cut_short,
        lookback_days=lookback,
        published_since=since - timedelta(days=lookback),
    )
    return _evaluated_weeks(run, weeks)


def answered(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return rows for an answer: without the counts by threshold, long ones."""
    return [
        {name: value for name, value in row.items() if name != "thresholds"}
        for row in rows
    ]


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


def _shared(run: Run, week: date) -> dict[str, Any]:
    """Return the columns that all rows of a week share."""
    return {
        "use_case": run.use_case.name,
        "week": week,
        "week_end": week + run.timeframe.horizon,
        "status": export.status(run, week),
        "evaluated_at": run.began_at,
        "data_until": run.data_until,
    }


def _unscored(run: Run, week: date) -> dict[str, Any]:
    return {**_shared(run, week), "model_version": -1, "outcome": "no_predictions"}


# -- weeks of users --------------------------------------------------------------------


def _evaluated_weeks(run: Run, weeks: Sequence[Any]) -> list[dict[str, Any]]:
    """
    Return the rows of weeks, each with its publication in force.

    A week whose version has learned other labels than today's has none: these say
    nothing of it, and what was known of the week stays.
    """
    earlier = EarlierWeeks(run, [row["week"] for row in weeks])
    mismatch = cache(lambda version: _label_mismatch(run, version))
    rows = []
    for in_force in weeks:
        week, version = in_force["week"], in_force["model_version"]
        if version is None:
            rows.append(_unscored(run, week))
        elif why := mismatch(version):
            message = f"{week} is not evaluated: version {version} {why}"
            run.warn(message, use_case=run.use_case.name)
        else:
            row = _evaluated_week(run, in_force, earlier.selection(week, version))
            earlier.add(row)
            rows.append(row)
    return rows


def _label_mismatch(run: Run, version: int) -> str:
    """Say which labels a version has learned that are others today; "" for the same."""
    recorded = find_recorded(run.warehouse, run.use_case, version)
    if recorded is None:
        return ""
    chosen = run.use_case.chosen(run.settings)
    labels = run.use_case.statement("evaluation_rows")
    return trained_otherwise(recorded, run.use_case, chosen, statement=labels)


def _evaluated_week(run: Run, in_force: Any, selection: Selection) -> dict[str, Any]:
    """Return a week's row of ``ma_model_evaluation``."""
    use_case, settings, week = run.use_case, run.settings, in_force["week"]
    parameters = {
        **use_case.window(settings, [week], today=run.as_of),
        "use_case": use_case.name,
        "prediction_as_of": in_force["as_of"],
    }
    groups = run.warehouse.table(use_case.statement("evaluation_rows"), parameters)
    observed, unscored = outcomes_of(groups)
    if suppressed := suppression.read(run.warehouse):
        # A forgotten user has no probability, but is no missed converter.
        missed = run.warehouse.table(
            use_case.statement("unscored_converters"), parameters
        )
        unscored = len(suppressed.without(missed, use_case.name))
    scores = measured(
        observed, selection, threshold=use_case.threshold, seed=settings.seed
    )
    return {
        **_shared(run, week),
        "model_version": in_force["model_version"],
        "prediction_as_of": in_force["as_of"],
        "prediction_scored_at": in_force["scored_at"],
        "outcome": "evaluated" if observed.has_both_classes else "one_class",
        "unscored_converters": unscored,
        "thresholds": by_threshold(observed),
        **scores.columns(),
        "log_odds_shift": in_force["log_odds_shift"],
        **_season(run, week, observed),
        **_value(run, parameters),
    }


def _season(run: Run, week: date, observed: metrics.Outcomes) -> dict[str, Any]:
    """
    Return by how much the week's log-odds were too low, as 01-Predictions reads it.

    Nothing if the export lacks a day of the week: outcomes that never came are not a
    season that 01 may follow.
    """
    lacked = season.residual(observed)
    if lacked is None or export.lacked_days(run, week):
        return {}
    return {
        "residual_log_odds": lacked.log_odds,
        "residual_standard_error": lacked.standard_error,
    }


def _value(run: Run, parameters: Row) -> dict[str, Any]:
    """
    Return what the expected values of a publication were worth, by column name.

    Nothing where the use case has no amounts, or the publication no expected values.
    """
    if not run.use_case.has_statement("converter_amounts"):
        return {}
    groups = run.warehouse.table(
        run.use_case.statement("evaluation_amounts"), parameters
    )
    if not len(groups):
        return {}
    users = floats(groups["users"])
    return {
        "value_promised": alerts.total(floats(groups["expected_value"]) * users),
        "value_observed": alerts.total(
            alerts.amounts(floats(groups["amount"])) * users
        ),
    }


# -- days of events --------------------------------------------------------------------


def _evaluated_days(run: Run, days: list[date]) -> list[dict[str, Any]]:
    """Evaluate the scores of the log by the labels that came later."""
    if not days:
        return []
    earlier = EarlierWeeks(run, days)
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
    rows = []
    for one in series.sort_by([(name, "ascending") for name in key]).to_pylist():
        day, version = one["day"], one["model_version"]
        of_version = pc.and_(
            pc.equal(groups["day"], day), pc.equal(groups["model_version"], version)
        )
        row = {
            **_shared(run, day),
            "model_version": version,
            **_of_events(
                run, groups.filter(of_version), earlier.selection(day, version)
            ),
        }
        earlier.add(row)
        rows.append(row)
    unscored = set(days) - {row["week"] for row in rows}
    rows += [_unscored(run, day) for day in unscored]
    return sorted(rows, key=lambda row: (row["week"], row["model_version"]))


def _of_events(run: Run, groups: pa.Table, selection: Selection) -> dict[str, Any]:
    """
    Return the metrics of one version's scores of one day.

    Args:
        groups: A row per distinct score and amount of a known positive: ``score`` (null
            for none), ``is_anomaly``, ``alert_threshold`` (null for none), ``lost``,
            that amount, and numbers of events: ``known``, ``conversions``, ``unknown``
            and ``conflicting``.
        selection: Threshold and budget of the day.
    """
    known = groups.filter(pc.greater(groups["known"], 0))
    observed, unscored = outcomes_of(
        known.select(["score", "known", "conversions"]).rename_columns(
            ["probability", "users", "conversions"]
        )
    )
    counts = {
        "unknown_outcomes": pc.sum(groups["unknown"]).as_py() or 0,
        "conflicting_outcomes": pc.sum(groups["conflicting"]).as_py() or 0,
        "unscored_converters": unscored,
    }
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
    probability, users, conversions = (
        groups[name].to_numpy().astype(np.float64)
        for name in ("probability", "users", "conversions")
    )
    scored = ~np.isnan(probability)
    observed = metrics.grouped(probability[scored], users[scored], conversions[scored])
    return observed, int(conversions[~scored].sum())
