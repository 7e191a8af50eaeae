"""
The watermark of the stream: how far the compaction has come, kept in the bucket.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from propensity.errors import ArtifactError
from propensity.registry.objects import object_of

if TYPE_CHECKING:
    from propensity.edges.artifacts import Artifacts

WATERMARK = "stream/watermark.json"

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Step:
    """What one statement counts: events by time of arrival and month of event."""

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
        open_days: Days still to export, by table: those that were not over, and those
            that a run had no time for.
        users_since: The first month whose tiles are in ``stream_users``; None before
            the table is first built.
        steps: Steps of counting that an interrupted run has left.
        target: The watermark once these steps are done.
        is_forced: Whether the interrupted run was forced.
    """

    moment: datetime
    generation: int
    open_days: Mapping[str, Sequence[date]] = field(default_factory=dict)
    users_since: date | None = None
    steps: Sequence[Step] = ()
    target: datetime = EPOCH
    is_forced: bool = False


def read_watermark(artifacts: Artifacts) -> Watermark:
    """
    Return the watermark; 1970 where nothing was compacted yet.

    Raises:
        ArtifactError: It is damaged.
    """
    stored = artifacts.find(WATERMARK)
    if stored is None:
        return Watermark(EPOCH, 0)
    try:
        return _watermark(object_of(stored, WATERMARK), stored.generation)
    except (ArtifactError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"{artifacts.uri(WATERMARK)} does not say how far the compaction has come "
            f"({error}). Restore it, or delete it and run the compaction with force: "
            "it looks at all events again, and counts each once"
        ) from error


def _watermark(content: Mapping[str, Any], generation: int) -> Watermark:
    users_since = content.get("users_since")
    return Watermark(
        moment=_instant(content["watermark"]),
        generation=generation,
        open_days={
            table: _dates(days) for table, days in content.get("open_days", {}).items()
        },
        users_since=date.fromisoformat(users_since) if users_since else None,
        steps=[
            Step(
                since=_instant(step["since"]),
                until=_instant(step["until"]),
                months=_dates(step["months"]),
            )
            for step in content.get("steps", ())
        ],
        target=_instant(content.get("target") or EPOCH.isoformat()),
        is_forced=bool(content.get("is_forced")),
    )


def _instant(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text} names no time zone")
    return moment


def _dates(texts: Sequence[str]) -> list[date]:
    return [date.fromisoformat(text) for text in texts]


def write_watermark(artifacts: Artifacts, watermark: Watermark) -> Watermark:
    """Write the watermark if nobody else did since; return its new generation."""
    content = {
        "watermark": watermark.moment,
        "open_days": watermark.open_days,
        "users_since": watermark.users_since,
        "steps": [vars(step) for step in watermark.steps],
        "target": watermark.target,
        "is_forced": watermark.is_forced,
    }
    data = json.dumps(content, default=lambda moment: moment.isoformat()).encode()
    generation = artifacts.replace(WATERMARK, data, generation=watermark.generation)
    return replace(watermark, generation=generation)
