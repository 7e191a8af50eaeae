"""
Rows of ``inference_log``: every score of every version, from stream and HTTP.

Pure. An event and a version make one inference, however often and by whichever way it
is scored: ``inference_id`` is its identity.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa

from propensity.tables.inference import INFERENCE_LOG

if TYPE_CHECKING:
    from propensity.registry.loading import Serving
    from propensity.registry.serving import ServingState
    from propensity.usecases import UseCase

# Values of ``source``.
STREAM = "stream"
ONLINE = "online"

# Model version of an unscored event.
NO_VERSION = -1

_SCHEMA = INFERENCE_LOG.arrow_schema()

_MILLISECOND = timedelta(milliseconds=1)
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
    Return the identity of a score, which depends on the event and the version alone.

    Args:
        use_case: If it scores events by their own fields, an event's id is unique in
            the use case. Otherwise it is unique for a user and day.
        event_id: Of the event, or of the request.
        version: Of the model; ``NO_VERSION`` for an unscored event.
        user_id: Whose features were scored; None without a user.
        day: UTC day of the event; needed with a user.

    Returns:
        SHA-256, in 64 hexadecimal digits.
    """
    identity: tuple[Any, ...] = (use_case.name, event_id, version)
    if user_id is not None and not use_case.scores_events:
        identity = (use_case.name, user_id, day, event_id, version)
    return hashlib.sha256(_encode(identity)).hexdigest()


class Events(msgspec.Struct, frozen=True, kw_only=True):
    """
    Events that were scored together, as columns of equal length.

    Attributes:
        source: STREAM or ONLINE.
        event_ids, user_ids, times: Of each; times in UTC.
        features: Input of the model, as JSON.
        latencies_ms: From ``ingest_ts`` or publication to the score; None if unknown.
        has_users: Whether ``user_ids`` are users; else they repeat ``event_ids``.
    """

    source: str
    event_ids: Sequence[str]
    user_ids: Sequence[str]
    times: Sequence[datetime]
    features: Sequence[str]
    latencies_ms: Sequence[float | None]
    has_users: bool = True

    def inference_ids(self, use_case: UseCase, version: int) -> list[str]:
        """Return the identity of each event's score by a version."""
        if not self.has_users:
            return [
                inference_id(use_case, event_id, version) for event_id in self.event_ids
            ]
        return [
            inference_id(
                use_case, event_id, version, user_id=user_id, day=moment.date()
            )
            for event_id, user_id, moment in zip(
                self.event_ids, self.user_ids, self.times, strict=True
            )
        ]


def latency_ms(since: datetime | None, at: datetime) -> float | None:
    """Return the milliseconds from a time to a score; None if unknown or later."""
    if since is None or since > at:
        return None
    return (at - since) / _MILLISECOND


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
        state: The versions that served at the time.
        serving: The version that scored; None for unscored events.
        events: With or without a score.
        scores: Of each; None or NaN for no score.
        ids: ``inference_ids`` of the events by this version.
        at: Time of scoring, in UTC.
    """
    n = len(events.event_ids)
    values = [
        None if score is None or math.isnan(score) else float(score) for score in scores
    ]
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
        nothing if is_anomaly else values,
        values if is_anomaly else nothing,
        [serving is not None and serving.is_warm] * n,
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


def batch_of(rows: Iterable[Row]) -> pa.RecordBatch:
    """Return rows, with values in table order, as rows to be appended."""
    return batch(zip(*rows, strict=True))
