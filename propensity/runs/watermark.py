"""
The watermark of the stream: how far the compaction has come, kept in the bucket.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from propensity.edges.artifacts import Artifacts

WATERMARK = "stream/watermark.json"

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Step:
    """Events to be counted by one statement: when they came, and of which months."""

    since: datetime
    until: datetime
    months: Sequence[date]


@dataclass(frozen=True)
class Watermark:
    """
    How far the compaction has come.

    Attributes:
        moment: Rows received before it are in the tiles and in ``stream_users``.
        generation: Of the object.
        open_days: Of each exported table, days that are to be exported: those that were
            not over, and those that a run had no time for.
        users_since: The first month whose tiles are in ``stream_users``; None where
            it was never made.
        steps: What a run that was cut off has left to count.
        target: The watermark once that is counted.
        is_forced: Whether that run, or what it has left to export, was forced.
    """

    moment: datetime
    generation: int
    open_days: Mapping[str, Sequence[date]] = field(default_factory=dict)
    users_since: date | None = None
    steps: Sequence[Step] = ()
    target: datetime = EPOCH
    is_forced: bool = False


def read_watermark(artifacts: Artifacts) -> Watermark:
    """Return the watermark; 1970 where nothing was compacted yet."""
    stored = artifacts.find(WATERMARK)
    if stored is None:
        return Watermark(EPOCH, 0)
    found = json.loads(stored.data)
    users_since = found.get("users_since")
    return Watermark(
        moment=datetime.fromisoformat(found["watermark"]),
        generation=stored.generation,
        open_days={
            table: _dates(days) for table, days in found.get("open_days", {}).items()
        },
        users_since=date.fromisoformat(users_since) if users_since else None,
        steps=[
            Step(
                since=datetime.fromisoformat(one["since"]),
                until=datetime.fromisoformat(one["until"]),
                months=_dates(one["months"]),
            )
            for one in found.get("steps", ())
        ],
        target=datetime.fromisoformat(found.get("target") or EPOCH.isoformat()),
        is_forced=bool(found.get("is_forced")),
    )


def _dates(texts: Sequence[str]) -> list[date]:
    return [date.fromisoformat(text) for text in texts]


def write_watermark(artifacts: Artifacts, watermark: Watermark) -> Watermark:
    """Write the watermark where nobody has since; return it with its generation."""
    note = {
        "watermark": watermark.moment,
        "open_days": watermark.open_days,
        "users_since": watermark.users_since,
        "steps": [vars(step) for step in watermark.steps],
        "target": watermark.target,
        "is_forced": watermark.is_forced,
    }
    data = json.dumps(note, default=lambda moment: moment.isoformat()).encode()
    generation = artifacts.replace(WATERMARK, data, generation=watermark.generation)
    return replace(watermark, generation=generation)
