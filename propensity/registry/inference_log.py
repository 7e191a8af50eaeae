"""
Rows of ``inference_log``: every score that a version gave, by stream and by HTTP.

Pure. An event scored by a version is one inference, however it came and how often:
``inference_id`` says which.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa

from propensity import tables

if TYPE_CHECKING:
    from propensity.registry.loading import Serving
    from propensity.registry.serving import ServingState
    from propensity.usecases import UseCase

# Where a score was asked for: the values of ``source``.
STREAM = "stream"
ONLINE = "online"

# Model version of an unscored event.
NO_VERSION = -1

_SCHEMA = tables.INFERENCE_LOG.arrow_schema()
_FEATURES = _SCHEMA.get_field_index("features")
# Bytes of memory that a row takes beside its features, about.
_ROW_BYTES = 1_000

_encode = msgspec.json.Encoder().encode

Row = Sequence[Any]


def inference_id(
    use_case: UseCase,
    event_id: str,
    version: int,
    *,
    user_id: str | None = None,
    day: date | None = None,
) -> str:
    """
    Return the identity of a score: the same event and version repeat it.

    Args:
        use_case: Where its events are scored by their own fields, an event's id is
            unique in the use case. Elsewhere it is unique for one user and day.
        event_id: Of the event, or of the request.
        version: Of the model; ``NO_VERSION`` for an unscored event.
        user_id: Whose features were scored; None where no user is known.
        day: UTC day of the event; needed with a user.

    Returns:
        SHA-256, in 64 hexadecimal digits.
    """
    identity: tuple[Any, ...] = (use_case.name, event_id, version)
    if user_id is not None and not use_case.scores_events:
        identity = (use_case.name, user_id, day, event_id, version)
    return hashlib.sha256(_encode(identity)).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """
    Events that were scored together, as columns of equal length.

    Attributes:
        source: STREAM or ONLINE.
        event_ids, user_ids, times: Of each; times in UTC.
        features: What the model was given, JSON.
        latencies_ms: From ``ingest_ts`` or publication to the score; None if unknown.
        has_users: Whether ``user_ids`` are users; else an event stands for itself.
    """

    source: str
    event_ids: Sequence[str]
    user_ids: Sequence[str]
    times: Sequence[datetime]
    features: Sequence[str]
    latencies_ms: Sequence[float | None]
    has_users: bool = True

    def inference_ids(self, use_case: UseCase, version: int) -> list[str]:
        """Return the identity of each one's score by a version."""
        if not self.has_users:
            return [inference_id(use_case, one, version) for one in self.event_ids]
        return [
            inference_id(
                use_case, event_id, version, user_id=user_id, day=moment.date()
            )
            for event_id, user_id, moment in zip(
                self.event_ids, self.user_ids, self.times, strict=True
            )
        ]


def columns(
    use_case: UseCase,
    state: ServingState,
    serving: Serving | None,
    events: Events,
    scores: Iterable[float | None],
    *,
    ids: Sequence[str],
    at: datetime,
) -> list[Sequence[Any]]:
    """
    Return the columns of rows of ``inference_log``, in the order of the table.

    Args:
        use_case: Of all events.
        state: What served when they were scored.
        serving: The version that scored; None where nothing served.
        events: What was scored.
        scores: Of each; None or NaN for no score.
        ids: ``inference_ids`` of the events by this version.
        at: When they were scored, in UTC.
    """
    n = len(events.event_ids)
    known = [None if one is None or math.isnan(one) else float(one) for one in scores]
    nothing = [None] * n
    is_anomaly = serving is not None and serving.is_anomaly
    return [
        [use_case.name] * n,
        ids,
        events.event_ids,
        events.user_ids,
        events.times,
        [moment.date() for moment in events.times],
        [NO_VERSION if serving is None else serving.version] * n,
        nothing if is_anomaly else known,
        known if is_anomaly else nothing,
        [serving is not None and serving.is_warm] * n,
        [serving is not None and serving is state.shadow] * n,
        [state.epoch] * n,
        [events.source] * n,
        events.features,
        [at] * n,
        [at.date()] * n,
        events.latencies_ms,
    ]


def batch(values: Iterable[Sequence[Any]]) -> pa.RecordBatch:
    """Return ``columns`` as rows to be appended."""
    return pa.RecordBatch.from_arrays(
        [
            pa.array(column, field.type)
            for column, field in zip(values, _SCHEMA, strict=True)
        ],
        schema=_SCHEMA,
    )


def size_of(row: Row) -> int:
    """Return about how many bytes of memory a row takes, of values in table order."""
    return len(row[_FEATURES]) + _ROW_BYTES


def batch_of(rows: Iterable[Row]) -> pa.RecordBatch:
    """Return rows, each of values in table order, as rows to be appended."""
    return batch(zip(*rows, strict=True))
