"""
The nightly compaction of the stream: sums of users' days, Parquet files of closed days.

A run computes the days anew that got events since the last run, each from all of its
events, and writes in the same transaction up to when events are counted. So it may die
at any point and be called as often as one likes; the view of the features adds what
came since, and is exact at any moment.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from propensity.errors import PropensityError
from propensity.registry.leases import LEASE_MINUTES, Lease
from propensity.registry.versions import Registry
from propensity.statements import statement
from propensity.tables import every as tables

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from propensity.gcp.warehouse import Warehouse
    from propensity.runs.run import Run
    from propensity.settings import Settings

VIEW = "stream_features"
SCOPE = "stream"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)

# A row gets its time before it is appended. Rows still on their way when a run begins
# are younger than this: no request to the function takes as long.
IN_FLIGHT = timedelta(minutes=15)

# Days that one statement exports: at 20 million events a day each takes some 30 s.
DAYS_AT_ONCE = 7

# By exported table: the statements that list its days, and that choose their rows.
EXPORTED = {
    "stream_events": ("stream_events_days", "export_stream_events"),
    "inference_log": ("inference_log_days", "export_inference_log"),
}

# Placeholders in export_day.sql: an option takes no parameter.
TARGET = "gs://bucket/folder/"
SOME_DAY = "DATE '1970-01-01'"


def view_of(settings: Settings) -> str:
    """Return the text of the view; a view has no default dataset for its tables."""
    place = f"{settings.project}.{settings.dataset}"
    return statement(VIEW).replace("`stream_", f"`{place}.stream_")


def prepare_view(warehouse: Warehouse) -> None:
    """Create the view of the features, or replace its text with this version's."""
    warehouse.replace_view(VIEW, view_of(warehouse.settings))


def last_compaction(warehouse: Warehouse) -> tuple[datetime, date]:
    """
    Return what the last run has done; 1970 before the first.

    Returns:
        The time of arrival up to which events are counted, and the date before which
        days were closed.
    """
    rows = warehouse.rows(statement("last_compaction"))
    return (
        (rows[0]["counted_until"], rows[0]["closed_before"])
        if rows
        else (EPOCH, EPOCH.date())
    )


def compact(run: Run) -> dict[str, Any]:
    """
    Bring sums and exports up to date.

    A forced run counts all events again, and exports every closed day again.

    Raises:
        RunInProgress: Another run is under way, whatever its as-of date.
        Conflict: Another run has taken this one's place; nothing is lost.
    """
    with alone(
        run.registry,
        run_id=run.run_id,
        began_at=run.began_at,
        clock=run.now,
        threads=run.threads,
    ) as lease:
        return _compact(run, lease)


def _compact(run: Run, lease: Lease) -> dict[str, Any]:
    warehouse, settings = run.warehouse, run.settings
    since, closed_before = EPOCH, EPOCH.date()
    if not run.force:
        since, closed_before = last_compaction(warehouse)
    parameters = {
        # A wrong clock may give an event up to a day before it happened.
        "since_day": min(since.date(), closed_before) - DAY,
        "lateness_days": settings.maximum_lateness_days,
    }
    touched: dict[str, list[date]] = {}
    exported: dict[str, int] = {}
    for table, (days_of, _) in EXPORTED.items():
        rows = warehouse.rows(statement(days_of), parameters)
        touched[table] = sorted({r["day"] for r in rows if r["newest"] >= since})
        closed = sorted(
            row["day"]
            for row in rows
            if not row["is_late"]
            and row["day"] < run.as_of
            and (row["newest"] >= since or row["day"] >= closed_before)
        )
        for some in _parts(closed):
            run.registry.check(lease)
            export(run, table, some)
        exported[table] = len(closed)
    counted_until = max(since, run.began_at - IN_FLIGHT)
    first = first_whole_day(settings, run.as_of)
    counted = [day for day in touched["stream_events"] if day >= first]
    run.registry.check(lease)
    [row] = warehouse.rows(
        statement("compact_days"),
        {
            # An empty array has no type; no event is of that day.
            "days": counted or [EPOCH.date()],
            "months": sorted({day.replace(day=1) for day in counted}) or [EPOCH.date()],
            "earliest": counted[0] - DAY if counted else run.as_of,
            "counted_until": counted_until,
            "closed_before": run.as_of,
            "now": run.began_at,
        },
    )
    run.log_fields.update(rows_out=row["tiles"])
    return {
        "days": touched["stream_events"],
        "tiles": row["tiles"],
        "exported_days": exported,
        "watermark": counted_until.isoformat(),
    }


def first_whole_day(settings: Settings, today: date) -> date:
    """
    Return the first day all of whose events are kept, 1970 where all are.

    The sums of a day whose events have expired can not be computed anew: what comes of
    it so late is in no feature.
    """
    kept = tables.retention(settings.retention_days)
    days = kept.get(tables.STREAM_EVENTS.name, 0)
    return max(EPOCH.date(), today - days * DAY + 2 * DAY) if days else EPOCH.date()


def _parts(days: Sequence[date]) -> Iterator[list[date]]:
    """Yield sorted days in parts that are within DAYS_AT_ONCE."""
    left = list(days)
    while left:
        part = [day for day in left if day - left[0] < DAYS_AT_ONCE * DAY]
        yield part
        left = left[len(part) :]


@contextlib.contextmanager
def alone(
    registry: Registry,
    *,
    run_id: str,
    began_at: datetime,
    clock: Callable[[], datetime],
    threads: Executor,
) -> Iterator[Lease]:
    """
    Hold the lease that all compactions share.

    A run also has the lease of its as-of date, which two dates do not share.

    Args:
        registry: Of the scope SCOPE.
        run_id: The run's own.
        began_at: When it began.
        clock: Returns the time in UTC.
        threads: For the renewals of the lease.
    """
    lease = registry.begin(
        "compact",
        EPOCH.date(),
        run_id=run_id,
        now=began_at,
        duration=timedelta(minutes=LEASE_MINUTES),
        again=True,
    )
    assert isinstance(lease, Lease)  # ``again``: never Finished
    try:
        with registry.kept(lease, clock=clock, threads=threads):
            yield lease
    finally:
        # An error of the block matters more than this one; the lease expires anyway.
        with contextlib.suppress(PropensityError):
            registry.finish(lease, {}, at=clock())


def export(run: Run, table: str, days: Sequence[date]) -> None:
    """
    Write days of a table to the bucket as Parquet, each as a whole.

    One job reads the rows once and writes them day by day. The run writes a day's files
    under its own name, then deletes those of earlier runs: a reader finds a day
    complete at any time, and perhaps twice for a moment.

    Args:
        table: One of EXPORTED.
        days: Of events, sorted; all within a week.
    """
    bucket, artifacts = run.settings.required("bucket"), run.registry.artifacts
    lateness = run.settings.maximum_lateness_days
    folders = {day: f"exports/{table}/date={day}/" for day in days}
    before = [name for folder in folders.values() for name in artifacts.names(folder)]
    exports = (
        # Bucket, date and run have letters, digits and dashes only.
        statement("export_day")
        .replace(TARGET, f"gs://{bucket}/{folder}run={run.run_id}/")
        .replace(SOME_DAY, f"DATE '{day}'")
        for day, folder in folders.items()
    )
    run.warehouse.execute(
        statement(EXPORTED[table][1]) + "".join(exports),
        {
            "days": list(days),
            # A wrong clock may give an event up to a day before it happened.
            "earliest": days[0] - DAY,
            "latest": days[-1] + lateness * DAY,
            "lateness_days": lateness,
        },
    )
    for name in before:
        artifacts.delete(name)
