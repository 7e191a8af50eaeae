"""
Evaluation as a run: past scores beside their outcomes, week by week or day by day.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from datetime import date, timedelta

from msgspec.structs import replace

from propensity.measures import thresholds
from propensity.runs import export
from propensity.runs.evaluation import Evaluated, outcomes_of
from propensity.runs.run import Run
from propensity.tables.models import (
    EVALUATION,
    Evaluation,
)
from propensity.weeks.judged import judgement_of

# Left out of each week, because the answer has the run's columns once.
_NOT_ANSWERED = {"run_id", "as_of", "bytes_billed"}

# How far a run of 03 goes back for weeks that it missed.
CATCH_UP = timedelta(weeks=13)


def digest_evaluated_days(run: Run) -> Run:
    """As ``export.digest_days``, for the days of all weeks that may be evaluated."""
    lookback = timedelta(days=run.use_case.lookback_days)
    evaluated = CATCH_UP + run.timeframe.horizon
    run = export.digest_days(
        run,
        oldest=run.as_of - evaluated,
        since=run.as_of - max(lookback, evaluated),
    )
    if not run.use_case.own_events:
        return run
    since = run.as_of - evaluated
    days = export.days_with_data(run, since=since)
    # Of the export the list of its tables says more; labels of the stream are sent, and
    # known or not.
    missing = export.silent_days(days, since=since, until=run.as_of)
    return dataclasses.replace(run, missing_days=missing)


def evaluations(
    run: Run, evaluated: Callable[[Run, date, date], Iterator[Evaluated]]
) -> list[Evaluation]:
    """
    Evaluate all weeks without final metrics.

    A use case of events has days in their place, with a row for each version that
    scored on the day. The week that ends with the as-of date always has a row: without
    predictions one that says so. If the export ends before that date, the week waits
    until its days are there.

    Args:
        evaluated: Yields the evaluations of the weeks, or days, between two dates.
    """
    newest = run.as_of - run.timeframe.horizon
    since = newest - CATCH_UP
    rows = []
    for each in evaluated(run, since, newest):
        rows.append(each.row if each.groups is None else _measured(run, each))
    return rows


def to_json(run: Run, rows: Sequence[Evaluation]) -> dict[str, object]:
    """Return the weeks for an answer, and the drift alarms of the newest one."""
    answered = [row.columns() for row in rows]
    alarms = []
    for week in answered[-1:]:
        judgement = judgement_of(week, run.use_case.horizon_days)
        if judgement is not None and judgement.is_alarm:
            message = f"the week of {week['week']} is far off: {judgement.text}"
            names = {"cause": "season", "name": "calibration"}
            run.log("WARNING", f"drift: {message}", **names)
            alarms.append({**names, "message": message})
    for week in answered:
        for name in _NOT_ANSWERED:
            del week[name]
    return {"weeks": answered, "drift": {"alarms": alarms}}


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


def _measured(run: Run, evaluated: Evaluated) -> Evaluation:
    observed, unscored = outcomes_of(evaluated.groups)
    budget = run.use_case.chosen_budget(run.settings)
    if evaluated.only_ranks:
        scores = thresholds.rank_metrics(observed, budget=budget)
    else:
        scores = thresholds.score_metrics(
            observed, threshold=run.use_case.threshold, budget=budget
        )
    return replace(
        evaluated.row,
        outcome="evaluated" if observed.has_both_classes else "one_class",
        unscored_converters=unscored,
        metrics=scores,
    )
