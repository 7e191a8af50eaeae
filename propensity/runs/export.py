"""
The GA4 export before a run reads it: consent, the wait for its days, their digest.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING

from propensity.errors import ExportLate, NoData, SchemaError
from propensity.ga4.shards import (
    STREAMING_ONLY_AFTER_DAYS,
    Shards,
    check_days,
    local_days,
)
from propensity.ga4.view import check_view_text
from propensity.runs import digest, digest_state
from propensity.runs.export_age import days_of_age
from propensity.tables.export_names import VIEW
from propensity.timeframe import DAY, days_of_data

if TYPE_CHECKING:
    from propensity.ga4.freshness import Freshness
    from propensity.gcp.warehouse import Warehouse
    from propensity.runs.reading import RowSource
    from propensity.runs.run import Run
    from propensity.usecases import UseCase


# How often to look while a day is awaited.
LOOK_AGAIN_S = 600


def digest_training_days(run: Run) -> Run:
    """As ``digest_days``, for the days that a training reads."""
    timeframe = run.timeframe
    oldest = timeframe.oldest_matured(
        today=run.as_of, at_most=run.settings.training_snapshots
    )
    return digest_days(
        run,
        oldest=oldest,
        since=oldest - timedelta(days=timeframe.lookback_days),
        until=timeframe.newest_matured(today=run.as_of) + timeframe.horizon,
    )


def digest_days(
    run: Run,
    *,
    oldest: date | None = None,
    since: date | None = None,
    until: date | None = None,
) -> Run:
    """
    Return the run as of the newest date with all days of the export before it, which
    are digested.

    While the newest day may still come, the run ends here and is called again. After
    the longest wait, or when the day cannot come any more, the run is cut short: a
    missing day would make every user look less recent.

    Args:
        oldest: The first date that rows are computed for; None for the as-of date.
        since: The first day (UTC) that must be there; None for the lookback's.
        until: The day after the last; None for the as-of date.

    Raises:
        ExportLate: The newest day is missing, and may still come.
        NoData: The export has none of these days.
    """
    check_own_events(run.warehouse, run.use_case)
    if not run.use_case.reads_export:
        return run
    # A view may be there from another day's settings: it does not say what it lacks.
    run.settings.required("ga4_dataset")
    view = run.warehouse.view_text(VIEW)
    check_view_text(view, run.use_case, run.settings)
    run.warehouse.check_location(run.settings.export)
    tables = digest_state.read_export_tables(run.warehouse, view)
    shards = Shards.of(table.name for table in tables.values())
    if since is None:
        since = run.as_of - timedelta(days=run.use_case.lookback_days)
    if until is None:
        until = run.as_of
    offset = run.settings.property_utc_offset_hours
    state = check_days(shards, since, until, now=run.now(), utc_offset_hours=offset)
    state = replace(state, age_days=days_of_age(run, shards))
    began = min(shards.days, default=until)
    if state.is_awaited and not run.overrides.lacks_days:
        _wait(run, state)
    if state.data_until <= max(since, began):
        raise NoData(
            f"the GA4 export {run.settings.export} has no complete day from {since} to "
            f"{until - timedelta(days=1)}, so nothing was done. Its newest day is "
            f"{max(shards.days, default='none')}",
            hint="Check in Google Analytics, Admin, BigQuery links, that the export is "
            "still linked and its quota is not used up",
        )
    if state.late:
        run.log(
            "WARNING",
            f"the export lacks {days_in_words(state.late)}: used events before "
            f"{state.data_until} instead of {until}",
        )
    if state.missing:
        run.log(
            "WARNING", f"days of the export are missing: {days_in_words(state.missing)}"
        )
    # Features are cut by as many days as the export lacks.
    as_of = run.as_of - (until - state.data_until)
    oldest = as_of if oldest is None else min(oldest, as_of)
    _, last = local_days(since, state.data_until, utc_offset_hours=offset)
    digest.bring_up_to_date(run, view, tables, oldest=oldest, last=last)
    missing = days_without(shards, state, since, until, utc_offset_hours=offset)
    return replace(run, as_of=as_of, export=state, missing_days=missing)


def days_without(
    shards: Shards,
    state: Freshness,
    since: date,
    until: date,
    *,
    utc_offset_hours: int,
) -> list[date]:
    """
    Return the days without a table: those before the export began, and missing ones.
    """
    first, _ = local_days(since, until, utc_offset_hours=utc_offset_hours)
    began = min(shards.days, default=until)
    before = [first + timedelta(days=n) for n in range((began - first).days)]
    return before + list(state.missing)


def check_own_events(warehouse: Warehouse, use_case: UseCase) -> None:
    """Raise SchemaError if the use case's table of events has other columns."""
    own_events = use_case.own_events
    if own_events:
        types = warehouse.types_of(own_events.place(warehouse.settings.project))
        problems = list(own_events.problems(types))
        if problems:
            raise SchemaError("; ".join(problems))


def days_with_data(run: RowSource, *, since: date) -> set[date]:
    """Return the days on which the use case's source has data, from a day on."""
    parameters = {"use_case": run.use_case.name, "earliest": since}
    rows = run.warehouse.rows(run.use_case.statement("days"), parameters)
    return days_of_data({row["day"]: row["n_events"] for row in rows})


def silent_days(days: Collection[date], *, since: date, until: date) -> list[date]:
    """
    Return the days of ``[since, until)`` for which a source has no data.

    They are before its first day with data, after its newest, or in a gap of a week or
    more: days of a small shop without any event are usual.
    """
    ordered = sorted(days)
    silent = []
    for n in range((until - since).days):
        day = since + n * DAY
        next_one = bisect_left(ordered, day)
        is_between = 0 < next_one < len(ordered)
        if is_between and ordered[next_one] - ordered[next_one - 1] <= 7 * DAY:
            continue
        if day not in ordered:
            silent.append(day)
    return silent


def answer(run: Run) -> dict[str, object]:
    """
    Return what an answer says of the export; nothing for a run that reads none.

    ``as_of``, the date that the run's rows have, ``data_until``, ``export_age_days``
    and, where there are some, ``late_days``, ``missing_days`` and ``streamed_days``.
    """
    state = run.export
    if state is None:
        return {}
    days = {"late": state.late, "missing": state.missing, "streamed": state.streamed}
    entries = {f"{name}_days": list(dates) for name, dates in days.items() if dates}
    return {
        "as_of": run.as_of,
        "data_until": state.data_until,
        "export_age_days": state.age_days,
        **entries,
    }


def status(run: Run, as_of: date) -> str:
    """
    Return ``final`` or ``provisional``: what the metrics of a date's outcomes are.

    Labels may be mature and still lack a day whose table may come, however late.
    """
    is_mature = run.timeframe.is_matured(as_of, today=run.as_of)
    if is_mature and not missing_label_days(run, as_of, run.missing_days):
        return "final"
    return "provisional"


def missing_label_days(
    run: RowSource, as_of: date, missing: Collection[date]
) -> list[date]:
    """
    Return the days of a date's horizon that the source lacks.

    Who bought on a day that never arrived has label 0 by mistake.
    """
    offset = run.settings.property_utc_offset_hours if run.use_case.reads_export else 0
    first, last = local_days(
        as_of, as_of + run.timeframe.horizon, utc_offset_hours=offset
    )
    return [day for day in missing if first <= day <= last]


def _wait(run: Run, state: Freshness) -> None:
    """Raise ExportLate, until the runs of this date have waited long enough."""
    since = run.began_at
    if run.lease and run.lease.waiting_since:
        since = run.lease.waiting_since
    ends = since + timedelta(minutes=run.settings.export_wait_minutes)
    wait_s = min(math.ceil((ends - run.now()).total_seconds()), LOOK_AGAIN_S)
    if wait_s <= 0:
        return
    awaited = state.late
    if not awaited:
        awaited = state.streamed[-STREAMING_ONLY_AFTER_DAYS:]
    raise ExportLate(
        f"the GA4 export {run.settings.export} is incomplete: the daily table of "
        f"{days_in_words(awaited)} has not arrived",
        hint=f"Call again in {wait_s} s. After {ends:%Y-%m-%d %H:%M} UTC "
        '(PROPENSITY_EXPORT_WAIT_MINUTES), or with "force": true, the run uses what '
        f"happened before {state.data_until}",
        retry_after_s=wait_s,
        detail={"late_days": [str(day) for day in state.late]},
    )


def days_in_words(days: Sequence[date]) -> str:
    """Write the first five days, and how many more there are."""
    more = f" and {len(days) - 5} more" if len(days) > 5 else ""
    return ", ".join(map(str, days[:5])) + more
