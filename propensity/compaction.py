"""
The daily compaction of the stream: tiles, exports of closed days, the watermark.

In this order: a run that dies leaves the watermark where it was, and the next run does
what is left over again, which changes nothing that is done. The view of the features is
exact before, between and after.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from propensity.errors import PropensityError
from propensity.registry import Lease, Registry
from propensity.statements import statement

if TYPE_CHECKING:
    from propensity.artifacts import Artifacts
    from propensity.endpoint import Run
    from propensity.warehouse import Warehouse

VIEW = "stream_features"
SCOPE = "stream"
WATERMARK = "stream/watermark.json"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# A row's time is taken before it is appended. What is still on its way when a run
# begins is younger than this: no request to the function takes as long.
IN_FLIGHT = timedelta(minutes=15)

# Of each exported table: the statement that lists the days that it has got rows of, and
# the one that exports a day.
EXPORTED = {
    "stream_events": ("stream_events_days", "export_stream_events"),
    "inference_log": ("inference_log_days", "export_inference_log"),
}

# What stands in the exporting statements where a run's own target belongs.
TARGET = "gs://bucket/folder/"


@dataclass(frozen=True)
class Watermark:
    """
    How far the compaction has come.

    Rows received before ``moment`` are in the tiles, and of each exported table their
    days are exported but for ``open_days``, which were not over. ``generation`` is that
    of the object.
    """

    moment: datetime
    generation: int
    open_days: Mapping[str, Sequence[date]] = field(default_factory=dict)


def read_watermark(artifacts: Artifacts) -> Watermark:
    """Return the watermark; 1970 where nothing was compacted yet."""
    stored = artifacts.find(WATERMARK)
    if stored is None:
        return Watermark(EPOCH, 0)
    found = json.loads(stored.data)
    open_days = {
        table: [date.fromisoformat(day) for day in days]
        for table, days in found.get("open_days", {}).items()
    }
    moment = datetime.fromisoformat(found["watermark"])
    return Watermark(moment, stored.generation, open_days)


def _write_watermark(artifacts: Artifacts, watermark: Watermark) -> None:
    note = {
        "watermark": watermark.moment.isoformat(),
        "open_days": {
            table: [day.isoformat() for day in days]
            for table, days in watermark.open_days.items()
        },
    }
    data = json.dumps(note).encode()
    artifacts.replace(WATERMARK, data, generation=watermark.generation)


def view_of(warehouse: Warehouse, watermark: datetime) -> str:
    """Return the text of the view that reads events from a watermark on."""
    day, moment = f"{watermark:%Y-%m-%d}", f"{watermark:%Y-%m-%d %H:%M:%S.%f}+00:00"
    place = f"{warehouse.settings.project}.{warehouse.settings.dataset}"
    return (
        statement(VIEW)
        # A view has no default dataset to find its tables in.
        .replace("`stream_", f"`{place}.stream_")
        .replace("DATE '1970-01-01'", f"DATE '{day}'")
        .replace("TIMESTAMP '1970-01-01 00:00:00+00:00'", f"TIMESTAMP '{moment}'")
    )


def prepare_view(warehouse: Warehouse, artifacts: Artifacts) -> None:
    """Create the view of the features, or give it the text of this version."""
    warehouse.replace_view(VIEW, view_of(warehouse, read_watermark(artifacts).moment))


def touched_days(run: Run, since: datetime, table: str) -> list[date]:
    """Return the days of the events that a table received since a moment, sorted."""
    found = run.warehouse.rows(
        statement(EXPORTED[table][0]), {"since": since, "since_day": since.date()}
    )
    return [row["day"] for row in found]


def compact(run: Run) -> dict[str, Any]:
    """
    Bring tiles and exports up to date, and move the watermark.

    Forced, a run looks at all events from the first one on: it counts what a tile has
    missed, and exports every closed day again.

    Raises:
        RunInProgress: Another run is under way, whatever its as-of date.
        Conflict: Another run has taken this one's place; nothing is lost.
    """
    with alone(
        run.registry,
        run_id=run.run_id,
        began_at=run.began_at,
        minutes=run.settings.lease_minutes,
        clock=run.now,
    ) as lease:
        return _compacted(run, lease)


@contextlib.contextmanager
def alone(
    registry: Registry,
    *,
    run_id: str,
    began_at: datetime,
    minutes: int,
    clock: Callable[[], datetime],
) -> Iterator[Lease]:
    """
    Hold the lease that all compactions share.

    A run's own is that of its as-of date. Of two statements that each insert the tile
    of a new day BigQuery would take both, since an insert conflicts with nothing.

    Args:
        registry: Of the scope SCOPE.
        run_id: The run's own.
        began_at: When it began.
        minutes: For how long a run that died keeps others out.
        clock: Says what time it is, in UTC.
    """
    lease = registry.begin(
        "compact",
        EPOCH.date(),
        run_id=run_id,
        now=began_at,
        duration=timedelta(minutes=minutes),
        again=True,
    )
    assert isinstance(lease, Lease)  # asked for again, so that it is not done
    try:
        with registry.kept(lease, clock=clock):
            yield lease
    finally:
        # What happened in the block is the news, not this; the lease ends by itself.
        with contextlib.suppress(PropensityError):
            registry.finish(lease, {}, at=clock())


def _compacted(run: Run, lease: Lease) -> dict[str, Any]:
    artifacts = run.registry.artifacts
    watermark = read_watermark(artifacts)
    since = EPOCH if run.force else watermark.moment
    days = touched_days(run, since, "stream_events")
    tiles = 0
    if days:
        tiles = run.warehouse.execute(
            statement("compact_days"),
            {
                "since": since,
                "since_day": since.date(),
                "first_month": days[0].replace(day=1),
                "now": run.began_at,
            },
        )
    exported, open_days = {}, {}
    for table in EXPORTED:
        waiting = set(touched_days(run, since, table))
        waiting.update(watermark.open_days.get(table, ()))
        closed = sorted(day for day in waiting if day < run.as_of)
        open_days[table] = sorted(waiting.difference(closed))
        exported[table] = export(run, lease, table, closed)
    run.registry.check(lease)
    moved = max(watermark.moment, run.began_at - IN_FLIGHT)
    run.warehouse.replace_view(VIEW, view_of(run.warehouse, moved))
    _write_watermark(artifacts, Watermark(moved, watermark.generation, open_days))
    run.noted.update(rows_out=tiles)
    return {
        "days": days,
        "tiles": tiles,
        "exported_days": exported,
        "watermark": moved.isoformat(),
    }


def export(run: Run, lease: Lease, table: str, days: Sequence[date]) -> int:
    """
    Write days of a table to the bucket as Parquet, each as a whole.

    A day's files are written under the run's own name, then those of earlier runs go:
    a reader finds a day complete at any time, for a moment perhaps twice.
    """
    bucket = run.settings.required("bucket")
    artifacts = run.registry.artifacts
    for day in days:
        run.registry.check(lease)
        folder = f"exports/{table}/date={day}/"
        before = artifacts.names(folder)
        target = f"gs://{bucket}/{folder}run={run.run_id}/"
        run.warehouse.execute(
            # Bucket, date and run are of letters, digits and dashes.
            statement(EXPORTED[table][1]).replace(TARGET, target),
            {"day": day, "earliest": day - timedelta(days=1)},
        )
        for name in before:
            artifacts.delete(name)
    return len(days)
