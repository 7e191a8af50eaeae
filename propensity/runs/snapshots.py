"""
Labelled snapshots of users: the rows that a training learns from, and their dates.

A training of a deployment and a trial of an export read them alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

import pyarrow as pa

from propensity.errors import NotEnoughData, SchemaError
from propensity.learning import value
from propensity.learning.rows import in_order, repeated
from propensity.pages.words import plural
from propensity.runs.export import days_with_data, missing_label_days, silent_days
from propensity.runs.reading import check_no_user_twice
from propensity.timeframe import FEWEST_SNAPSHOTS

if TYPE_CHECKING:
    from propensity.runs.reading import RowSource
    from propensity.suppression import Suppressed


def user_rows(run: RowSource, suppressed: Suppressed) -> pa.Table:
    """Read labelled snapshots: one row per user and as-of date, without some users."""
    use_case = run.use_case
    window = use_case.window(run.settings, training_dates(run), today=run.as_of)
    rows = run.warehouse.table(
        use_case.statement("training_rows"),
        {**window, "maximum_rows": run.settings.maximum_training_rows},
    )
    rows = suppressed.without(rows, use_case.name)
    read = set(use_case.features).union([use_case.baseline.feature])
    missing = read - set(rows.column_names)
    if missing:
        raise SchemaError(
            f"features.sql does not return {', '.join(sorted(missing))}",
            hint="Add the column, or remove it from the features and the baseline of "
            "usecase.toml",
        )
    # Sorted here, before there are copies: a later sort would hold the rows twice.
    moments = use_case.stream.elapsed
    rows = in_order(rows, elapsed=moments)
    check_no_user_twice(repeated(rows, elapsed=moments))
    return value.with_known_amounts(rows)


def training_dates(run: RowSource) -> Sequence[date]:
    """
    Return the as-of dates before which the source has data, newest last.

    Those whose horizon lacks a day of the source are left out.
    """
    use_case = run.use_case
    timeframe = run.timeframe
    at_most = run.settings.training_snapshots
    days = source_days(run)
    if not days:
        raise NotEnoughData(
            f"{use_case.name} has no events",
            hint="Check that the GA4 export, or the stream, has begun",
        )
    missing = run.missing_days
    if use_case.own_events:
        missing = silent_days(days, since=min(days), until=run.as_of)
    snapshots = timeframe.snapshots(today=run.as_of, days=days, at_most=at_most)
    newest = timeframe.newest_matured(today=run.as_of)
    if not timeframe.are_enough(snapshots):
        oldest = newest - timeframe.stride - timeframe.horizon
        raise NotEnoughData(
            f"not enough history: training needs {FEWEST_SNAPSHOTS} snapshots, and the "
            f"data allow {len(snapshots)}. You have {plural(len(days), 'day')}, "
            f"{min(days)} to {max(days)}. The first snapshot must be of {oldest} or "
            f"earlier, and 90% of the {timeframe.lookback_days} days before each must "
            "have data"
        )
    complete = []
    for as_of in snapshots:
        if not missing_label_days(run, as_of, missing):
            complete.append(as_of)
    if not complete:
        raise NotEnoughData(
            f"each of {len(snapshots)} snapshots lacks a day of the source within its "
            f"{timeframe.horizon_days} days of outcomes. The newest missing day is "
            f"{max(missing)}",
            hint="Load these days again",
        )
    left_out = len(snapshots) - len(complete)
    if left_out:
        message = f"{plural(left_out, 'snapshot')} left out, whose outcomes lack a day"
        run.log("WARNING", message)
    return complete


def source_days(run: RowSource) -> set[date]:
    """Return the days on which the source has data, of those that a training reads."""
    at_most = run.settings.training_snapshots
    earliest = run.timeframe.first_read(today=run.as_of, at_most=at_most)
    return days_with_data(run, since=earliest)
