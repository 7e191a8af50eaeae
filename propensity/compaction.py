"""
The daily compaction of the stream: tiles, exports of closed days, the watermark.

In this order: a run that dies leaves the watermark where it was, and the next run does
what is left over again, which changes nothing that is done. The view of the features is
exact before, between and after.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from propensity.statements import statement

if TYPE_CHECKING:
    from propensity.artifacts import Artifacts
    from propensity.endpoint import Run
    from propensity.warehouse import Warehouse

VIEW = "stream_features"
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


@dataclass(frozen=True)
class Watermark:
    """Rows received before ``moment`` are in the tiles; its object's generation."""

    moment: datetime
    generation: int


def read_watermark(artifacts: Artifacts) -> Watermark:
    """Return the watermark; 1970 where nothing was compacted yet."""
    stored = artifacts.find(WATERMARK)
    if stored is None:
        return Watermark(EPOCH, 0)
    moment = datetime.fromisoformat(json.loads(stored.data)["watermark"])
    return Watermark(moment, stored.generation)


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

    Forced, a run counts everything again from the first event on.

    Raises:
        Conflict: Another run moved the watermark meanwhile; nothing is lost.
    """
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
    exported = {
        table: export(run, table, _closed(run, since, table)) for table in EXPORTED
    }
    run.check_lease()
    moved = max(watermark.moment, run.began_at - IN_FLIGHT)
    run.warehouse.replace_view(VIEW, view_of(run.warehouse, moved))
    artifacts.replace(
        WATERMARK,
        json.dumps({"watermark": moved.isoformat()}).encode(),
        generation=watermark.generation,
    )
    run.noted.update(rows_out=tiles)
    return {
        "days": days,
        "tiles": tiles,
        "exported_days": exported,
        "watermark": moved.isoformat(),
    }


def _closed(run: Run, since: datetime, table: str) -> list[date]:
    """Return the days before the as-of date that received rows, to be exported."""
    return [day for day in touched_days(run, since, table) if day < run.as_of]


def export(run: Run, table: str, days: Sequence[date]) -> int:
    """
    Write days of a table to the bucket as Parquet, each as a whole.

    A day's files are written under the run's own name, then those of earlier runs go:
    a reader finds a day complete at any time, for a moment perhaps twice.
    """
    bucket = run.settings.required("bucket")
    artifacts = run.registry.artifacts
    for day in days:
        folder = f"exports/{table}/date={day}/"
        before = artifacts.names(folder)
        target = f"gs://{bucket}/{folder}run={run.run_id}/part-*.parquet"
        run.warehouse.execute(
            statement(EXPORTED[table][1]),
            {"uri": target, "day": day, "earliest": day - timedelta(days=1)},
        )
        for name in before:
            artifacts.delete(name)
    return len(days)
