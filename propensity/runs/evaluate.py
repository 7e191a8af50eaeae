"""
Evaluation as a run: past scores beside their outcomes, week by week or day by day.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from msgspec.structs import replace

from propensity import drift
from propensity.fraud.alerts import saved_by_groups
from propensity.learning import season
from propensity.measures import metrics, revenue, thresholds
from propensity.models.encoding import numbers_of
from propensity.registry.serving import find_recorded, training_mismatch
from propensity.runs import export
from propensity.runs.run import Run
from propensity.tables.models import (
    EVALUATION,
    Evaluation,
    InForce,
    Residual,
    Truths,
    Value,
)

# An evaluation without metrics, and the scores and outcomes to measure, if any.
Evaluated = tuple[Evaluation, pa.Table | None]

# Left out of each week, because the answer has the run's columns once.
_NOT_ANSWERED = {"run_id", "as_of", "bytes_billed"}

# How far a run of 03 goes back for weeks that it missed.
CATCH_UP = timedelta(weeks=13)


def wait_for_days(run: Run) -> Run:
    """As ``export.wait_for_days``, for the days of all weeks that may be evaluated."""
    lookback = timedelta(days=run.use_case.lookback_days)
    weeks = CATCH_UP + run.timeframe.horizon
    return export.wait_for_days(run, since=run.as_of - max(lookback, weeks))


def evaluations(run: Run) -> list[Evaluation]:
    """
    Evaluate all weeks without final metrics.

    A use case of events has days in their place, with a row for each version that
    scored on the day. The week that ends with the as-of date always has a row: without
    predictions one that says so. If the export ends before that date, the week waits
    until its days are there.
    """
    newest = run.as_of - run.timeframe.horizon
    since = newest - CATCH_UP
    scored = _days if run.use_case.scores_events else _weeks
    rows = []
    for row, groups in scored(run, since, newest):
        rows.append(row if groups is None else _measured(run, row, groups))
    return rows


def _evaluation(run: Run, week: date, version: int = -1) -> Evaluation:
    """Return the row of a week, or of a day, without any metrics."""
    return Evaluation(
        use_case=run.use_case.name,
        week=week,
        model_version=version,
        week_end=week + run.timeframe.horizon,
        run_id=run.run_id,
        as_of=run.as_of,
        status=export.status(run, week),
        outcome="no_predictions",
        evaluated_at=run.began_at,
        bytes_billed=0,
        data_until=run.data_until,
    )


def to_json(run: Run, rows: Sequence[Evaluation]) -> dict[str, object]:
    """Return the weeks for an answer, and the drift alarms of the newest one."""
    weeks = [row.columns() for row in rows]
    alarms = []
    for week in () if run.use_case.scores_events else weeks[-1:]:
        for cause, name, message in (
            ("season", "calibration", drift.season_alarm(week)),
            ("value", "expected_value", drift.value_alarm(week)),
        ):
            if message is not None:
                run.log("WARNING", f"drift: {message}", cause=cause, name=name)
                alarms.append({"cause": cause, "name": name, "message": message})
    for week in weeks:
        for name in _NOT_ANSWERED:
            del week[name]
    return {"weeks": weeks, "drift": {"alarms": alarms}}


def publish_evaluations(run: Run, rows: Sequence[Evaluation]) -> None:
    """Append the rows of the evaluated weeks; readers see the newest of each."""
    billed = run.warehouse.bytes_billed
    run.append(EVALUATION, [replace(row, bytes_billed=billed) for row in rows])
    for row in reversed(rows):
        if row.metrics is not None and row.metrics.roc_auc is not None:
            run.log(
                "INFO",
                "evaluated",
                week=row.week,
                model_version=row.model_version,
                users=row.metrics.users,
                roc_auc=row.metrics.roc_auc,
            )
            break  # the alert reads the newest


def _measured(run: Run, row: Evaluation, groups: pa.Table) -> Evaluation:
    """
    Return an evaluation with its metrics.

    Args:
        groups: As ``evaluation_rows.sql`` gives them; with ``is_anomaly`` where scores
            are no probabilities.
    """
    observed, unscored = outcomes_of(groups)
    scores = thresholds.measured(
        observed,
        threshold=run.use_case.threshold,
        budget=run.use_case.chosen_budget(run.settings),
        is_anomaly="is_anomaly" in groups.column_names
        and bool(pc.any(groups["is_anomaly"]).as_py()),
    )
    return replace(
        row,
        outcome="evaluated" if observed.has_both_classes else "one_class",
        unscored_converters=unscored,
        metrics=scores,
    )


def outcomes_of(groups: pa.Table) -> tuple[metrics.Outcomes, int]:
    """
    Return the outcomes by probability, and how many converted without one.

    Args:
        groups: ``probability``, ``users`` and ``conversions``; null for no probability.
    """
    counted = groups.select(["probability", "users", "conversions"])
    probability, users, conversions = map(numbers_of, counted.columns)
    scored = ~np.isnan(probability)
    observed = metrics.grouped(probability[scored], users[scored], conversions[scored])
    return observed, int(conversions[~scored].sum())


# -- weeks of users --------------------------------------------------------------------


def _weeks(run: Run, since: date, until: date) -> Iterator[Evaluated]:
    """
    Yield weeks with the publication in force, and its outcomes.

    A week whose version has learned other labels than today's is left out: these say
    nothing of it, and what was known of the week stays.
    """
    use_case = run.use_case
    weeks = run.rows(
        "weeks_to_evaluate",
        since=since,
        until=until,
        with_newest=not (run.export and run.export.late),
        lookback_days=use_case.lookback_days,
        horizon_days=use_case.horizon_days,
    )
    mismatches = dict[int, str]()
    for week in weeks:
        first_day, version = week["week"], week["model_version"]
        if version is None:
            yield _evaluation(run, first_day), None
            continue
        if version not in mismatches:
            mismatches[version] = _label_mismatch(run, version)
        if mismatch := mismatches[version]:
            why = f"{first_day} is not evaluated: version {version} {mismatch}"
            run.log("WARNING", why)
            continue
        parameters = use_case.window(run.settings, [first_day], today=run.as_of)
        rows = run.warehouse.table(
            use_case.statement("evaluation_rows"),
            {**parameters, "prediction_as_of": week["as_of"]},
        )
        groups, values = _groups_and_values(rows)
        row = replace(
            _evaluation(run, first_day, version),
            in_force=InForce(
                prediction_as_of=week["as_of"],
                prediction_scored_at=week["scored_at"],
                log_odds_shift=week["log_odds_shift"],
            ),
            residual=residual_of(run, first_day, groups),
            value=_value(run, groups, values),
        )
        yield row, groups


def _label_mismatch(run: Run, version: int) -> str:
    """Say which labels a version has learned that are others today; "" for the same."""
    recorded = find_recorded(run.warehouse, run.use_case.name, version)
    if recorded is None:
        return ""
    labels = run.use_case.statement("evaluation_rows")
    return training_mismatch(recorded, run.use_case, run.settings, statement=labels)


def residual_of(run: Run, week: date, groups: pa.Table) -> Residual | None:
    """
    Return by how much the week's log-odds were too low, as 01-Predictions reads it.

    None if the export lacks a day of the week: outcomes that never arrived are not a
    season that 01 may follow.
    """
    lacked = season.residual(outcomes_of(groups)[0])
    if lacked is None or export.missing_label_days(run, week):
        return None
    return Residual(residual_log_odds=lacked[0], residual_standard_error=lacked[1])


def _groups_and_values(rows: pa.Table) -> tuple[pa.Table, pa.Table]:
    """
    Return the rows of probabilities, and those of expected values and amounts.

    A use case whose own statement reads no amounts has none of the latter.
    """
    if "is_value" not in rows.column_names:
        return rows, rows.slice(0, 0)
    values = rows.filter(pc.and_(rows["is_value"], pc.is_valid(rows["expected_value"])))
    return rows.filter(pc.invert(rows["is_value"])), values


def _value(run: Run, groups: pa.Table, values: pa.Table) -> Value | None:
    """Return expected values and what users paid; None without amounts."""
    if not len(values):
        return None
    users, expected = map(numbers_of, (values["users"], values["expected_value"]))
    paid = revenue.amounts(numbers_of(values["amount"]))
    scored = groups.filter(pc.is_valid(groups["probability"]))
    size, probability = map(numbers_of, (scored["users"], scored["probability"]))
    each = revenue.amounts(numbers_of(scored["paid"])) / size
    budget = run.use_case.chosen_budget(run.settings).rows(users.sum())
    return replace(
        revenue.measured(expected, paid, users, budget=budget),
        revenue_at_budget_by_probability=revenue.share_of_best(
            probability, each, size, budget
        ),
    )


# -- days of events --------------------------------------------------------------------


def _days(run: Run, since: date, until: date) -> Iterator[Evaluated]:
    """Yield days, each with the scores of a version in the log, and their truths."""
    logged = run.rows("days_to_evaluate", since=since, until=until)
    days = sorted({row["week"] for row in logged} | {until})
    amount = run.use_case.stream.amount
    groups = run.warehouse.table(
        run.use_case.statement("event_evaluation_rows"),
        {
            **run.event_window(),
            "since": days[0],
            "days": days,
            "amount": f"$.{amount}" if amount else "$",
            "review_cost": run.settings.alert_review_cost,
        },
    )
    # Grouped, because there may be millions of rows.
    series = groups.group_by(["day", "model_version"]).aggregate([]).to_pydict()
    scored = {*zip(series["day"], series["model_version"], strict=True)}
    unscored = {(day, -1) for day in {*days} - {*series["day"]}}
    for day, version in sorted(scored | unscored):
        is_own = pc.and_(
            pc.equal(groups["day"], day), pc.equal(groups["model_version"], version)
        )
        own = groups.filter(is_own)
        row = _evaluation(run, day, version)
        if not len(own):
            yield row, None
            continue
        truths = Truths(
            unknown_outcomes=pc.sum(own["unknown"]).as_py(),
            conflicting_outcomes=pc.sum(own["conflicting"]).as_py(),
        )
        known = own.filter(pc.greater(own["users"], 0))
        if own["probability"].null_count < len(own):
            saved = saved_by_groups(known, run.settings.alert_review_cost)
            yield replace(row, truths=truths, savings=saved), known
        else:
            converters = outcomes_of(known)[1]
            yield replace(row, truths=truths, unscored_converters=converters), None
