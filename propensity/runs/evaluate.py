"""
Evaluation as a run: past scores beside their outcomes, week by week or day by day.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from propensity.learning import alerts, metrics, season
from propensity.learning.alerts import Stakes, floats
from propensity.learning.thresholds import by_threshold, measured
from propensity.registry.loading import find_recorded, trained_otherwise
from propensity.runs import export
from propensity.runs.thresholds import MEMORY, key, threshold
from propensity.tables import every as tables
from propensity.tables.models import evaluation

if TYPE_CHECKING:
    from propensity.runs.run import Run

Row = Mapping[str, Any]
Metrics = dict[str, Any]
# A week or day, the version that scored, and what measures it; -1 and None without one.
Scored = tuple[date, int, Callable[[float | None], Metrics] | None]

# How far a run of 03 goes back for weeks that it missed.
CATCH_UP = timedelta(weeks=13)


def wait_for_days(run: Run) -> Run:
    """As ``export.wait_for_days``, for the days of all weeks that may be evaluated."""
    lookback = timedelta(days=run.use_case.lookback_days)
    weeks = CATCH_UP + run.timeframe.horizon
    return export.wait_for_days(run, since=run.as_of - max(lookback, weeks))


def evaluations(run: Run) -> list[Metrics]:
    """
    Evaluate all weeks without final metrics; return rows of ``ma_model_evaluation``.

    A use case of events has days in their place, with a row for each version that
    scored on the day. The week that ends with the as-of date always has a row: without
    predictions one that says so. If the export ends before that date, the week waits
    until its days are there.
    """
    newest, horizon = run.as_of - run.timeframe.horizon, run.timeframe.horizon
    since = newest - CATCH_UP
    before = run.rows("evaluations", since=since - horizon - MEMORY, until=newest)
    known: dict[tuple[date, int], Row] = {key(row): row for row in before}
    scored = _days if run.use_case.scores_events else _weeks
    rows = []
    for week, version, measure in scored(run, since, newest):
        row: Metrics = {
            "use_case": run.use_case.name,
            "week": week,
            "week_end": week + horizon,
            "status": export.status(run, week),
            "evaluated_at": run.began_at,
            "data_until": run.data_until,
            "model_version": version,
            "outcome": "no_predictions",
        }
        if measure is not None:
            row |= measure(threshold(run, known, week, version))
        # An evaluation of an earlier run is what was known before this one.
        earlier = known.get(key(row))
        if not (earlier and earlier.get("thresholds")):
            known[key(row)] = row
        rows.append(row)
    return rows


def answered(rows: Sequence[Row]) -> list[Metrics]:
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
    written = [evaluation({**row, **same}) for row in rows]
    run.check_lease()
    run.warehouse.write(tables.EVALUATION, written)
    measured = [row["roc_auc"] for row in rows if row.get("roc_auc") is not None]
    run.log_fields.update(
        model_version=rows[-1]["model_version"],
        roc_auc=measured[-1] if measured else None,
        rows_in=sum(row.get("users", 0) for row in rows),
        rows_out=len(rows),
    )


# -- weeks of users --------------------------------------------------------------------


def _weeks(run: Run, since: date, until: date) -> Iterator[Scored]:
    """
    Yield weeks with what measures their publication in force.

    A week whose version has learned other labels than today's is left out: these say
    nothing of it, and what was known of the week stays.
    """
    export.check_consent(run)
    mismatch = cache(partial(_label_mismatch, run))
    for in_force in run.rows(
        "weeks_to_evaluate",
        since=since,
        until=until,
        with_newest=not run.is_cut_short,
        lookback_days=run.use_case.lookback_days,
    ):
        week, version = in_force["week"], in_force["model_version"]
        if version is None:
            yield week, -1, None
        elif why := mismatch(version):
            message = f"{week} is not evaluated: version {version} {why}"
            run.warn(message, use_case=run.use_case.name)
        else:
            yield week, version, partial(_measured_week, run, in_force)


def _label_mismatch(run: Run, version: int) -> str:
    """Say which labels a version has learned that are others today; "" for the same."""
    recorded = find_recorded(run.warehouse, run.use_case.name, version)
    if recorded is None:
        return ""
    labels = run.use_case.statement("evaluation_rows")
    return trained_otherwise(recorded, run.use_case, run.settings, statement=labels)


def _measured_week(run: Run, in_force: Row, best: float | None) -> Metrics:
    use_case, week = run.use_case, in_force["week"]
    parameters = {
        **use_case.window(run.settings, [week], today=run.as_of),
        "use_case": use_case.name,
        "prediction_as_of": in_force["as_of"],
    }
    groups = run.warehouse.table(use_case.statement("evaluation_rows"), parameters)
    return {
        "prediction_as_of": in_force["as_of"],
        "prediction_scored_at": in_force["scored_at"],
        "log_odds_shift": in_force["log_odds_shift"],
        **_measured(run, groups, best),
        **_residual(run, week, groups),
        **_value(run, parameters),
    }


def _measured(
    run: Run, groups: pa.Table, best: float | None, *, is_anomaly: bool = False
) -> Metrics:
    """Return the metrics of scores, from rows as ``evaluation_rows.sql`` gives them."""
    observed, unscored = outcomes_of(groups)
    scores = measured(
        observed,
        threshold=run.use_case.threshold,
        best_threshold=best,
        budget=run.use_case.chosen_budget(run.settings),
        seed=run.settings.seed,
        is_anomaly=is_anomaly,
    )
    return {
        "outcome": "evaluated" if observed.has_both_classes else "one_class",
        "unscored_converters": unscored,
        "thresholds": by_threshold(observed),
        **scores.columns(),
    }


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


def _residual(run: Run, week: date, groups: pa.Table) -> Metrics:
    """
    Return by how much the week's log-odds were too low, as 01-Predictions reads it.

    Nothing if the export lacks a day of the week: outcomes that never came are not a
    season that 01 may follow.
    """
    lacked = season.residual(outcomes_of(groups)[0])
    if lacked is None or export.lacked_days(run, week):
        return {}
    return {
        "residual_log_odds": lacked[0],
        "residual_standard_error": lacked[1],
    }


def _value(run: Run, parameters: Row) -> Metrics:
    """Return expected values and what users paid; nothing without amounts."""
    if not run.use_case.has_statement("converter_amounts"):
        return {}
    groups = run.warehouse.table(
        run.use_case.statement("evaluation_amounts"), parameters
    )
    if not len(groups):
        return {}
    users, paid = floats(groups["users"]), alerts.amounts(floats(groups["amount"]))
    return {
        "value_promised": alerts.total(floats(groups["expected_value"]) * users),
        "value_observed": alerts.total(paid * users),
    }


# -- days of events --------------------------------------------------------------------


def _days(run: Run, since: date, until: date) -> Iterator[Scored]:
    """Yield days, each with what measures a version's scores in the log."""
    logged = run.rows("days_to_evaluate", since=since, until=until)
    days = sorted({row["week"] for row in logged} | {until})
    amount = run.use_case.amount
    groups = run.warehouse.table(
        run.use_case.statement("event_evaluation_rows"),
        {
            **run.event_window(),
            "since": days[0],
            "days": days,
            "amount": f"$.{amount}" if amount else "$",
        },
    )
    series = groups.group_by(["day", "model_version"]).aggregate([]).to_pylist()
    scored = {(one["day"], one["model_version"]) for one in series}
    unscored = {(day, -1) for day in set(days) - {day for day, _ in scored}}
    for day, version in sorted(scored | unscored):
        is_own = pc.and_(
            pc.equal(groups["day"], day), pc.equal(groups["model_version"], version)
        )
        own = groups.filter(is_own)
        yield day, version, partial(_measured_day, run, own) if len(own) else None


def _measured_day(run: Run, groups: pa.Table, best: float | None) -> Metrics:
    """
    Return the metrics of one version's scores of one day.

    Args:
        groups: A row per distinct score and amount of a known positive: ``score`` (null
            for none), ``is_anomaly``, ``alert_threshold`` (null for none), ``lost``,
            that amount, and numbers of events: ``known``, ``conversions``, ``unknown``
            and ``conflicting``.
        best: The best threshold of the days before.
    """
    known = groups.filter(pc.greater(groups["known"], 0))
    of_scores = known.select(["score", "known", "conversions"]).rename_columns(
        ["probability", "users", "conversions"]
    )
    counts = {
        "unknown_outcomes": pc.sum(groups["unknown"]).as_py() or 0,
        "conflicting_outcomes": pc.sum(groups["conflicting"]).as_py() or 0,
    }
    if groups["score"].null_count == len(groups):
        return {**counts, "unscored_converters": outcomes_of(of_scores)[1]}
    is_anomaly = bool(pc.any(groups["is_anomaly"]).as_py())
    return {
        **counts,
        **_measured(run, of_scores, best, is_anomaly=is_anomaly),
        **_savings(run, known),
    }


def _savings(run: Run, known: pa.Table) -> Metrics:
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
