"""Days of events: the scores in the log, and their truths."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

import pyarrow.compute as pc
from msgspec.structs import replace

from propensity.runs.evaluation import Evaluated, evaluation, outcomes_of
from propensity.runs.run import Run
from propensity.streaming.cards.alerts import saved_by_groups
from propensity.tables.models import Truths
from propensity.timeframe import TRUTH_DELAY_DAYS


def event_window(run: Run) -> dict[str, object]:
    """Return the parameters of the statements that join events and truths."""
    return {
        "use_case": run.use_case.name,
        "as_of": run.as_of,
        "since": run.as_of - timedelta(days=run.use_case.lookback_days),
        "truth_delay_days": TRUTH_DELAY_DAYS,
    }


def days(run: Run, since: date, until: date) -> Iterator[Evaluated]:
    """Yield days, each with the scores of a version in the log, and their truths."""
    logged = run.rows("days_to_evaluate", since=since, until=until)
    days = sorted({row["week"] for row in logged} | {until})
    amount = run.use_case.stream.amount
    groups = run.warehouse.table(
        run.use_case.statement("event_evaluation_rows"),
        {
            **event_window(run),
            "since": days[0],
            "days": days,
            "amount": f"$.{amount}" if amount else "$",
            "review_cost": run.settings.alert_review_cost,
        },
    )
    # Grouped, because there may be millions of rows.
    series = groups.group_by(["day", "model_version"]).aggregate([]).to_pydict()
    series_of_scores = set(zip(series["day"], series["model_version"], strict=True))
    unscored = {(day, -1) for day in set(days) - set(series["day"])}
    for day, version in sorted(series_of_scores | unscored):
        is_own = pc.and_(
            pc.equal(groups["day"], day), pc.equal(groups["model_version"], version)
        )
        of_version = groups.filter(is_own)
        row = evaluation(run, day, version)
        if not len(of_version):
            yield Evaluated(row)
            continue
        truths = Truths(
            unknown_outcomes=pc.sum(of_version["unknown"]).as_py(),
            conflicting_outcomes=pc.sum(of_version["conflicting"]).as_py(),
        )
        labelled = of_version.filter(pc.greater(of_version["users"], 0))
        if of_version["probability"].null_count < len(of_version):
            saved = saved_by_groups(labelled, run.settings.alert_review_cost)
            only_ranks = pc.any(labelled["is_anomaly"]).as_py()
            row = replace(row, truths=truths, savings=saved)
            yield Evaluated(row, labelled, only_ranks=bool(only_ranks))
        else:
            converters = outcomes_of(labelled)[1]
            row = replace(row, truths=truths, unscored_converters=converters)
            yield Evaluated(row)
