"""
Rows of ``inference_log``: every score of every version, from stream and HTTP.

Pure. An event and a version make one inference, however often and by whichever way it
is scored: ``inference_id`` is its identity.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
from msgspec.structs import asdict

from propensity.registry.serving import ServingState
from propensity.tables.stream import INFERENCE_LOG, Inference
from propensity.usecases import Features, UseCase

# Values of ``source``.
STREAM = "stream"
ONLINE = "online"

# Model version of an unscored event.
NO_VERSION = -1

_SCHEMA = INFERENCE_LOG.arrow_schema()
_MILLISECOND = timedelta(milliseconds=1)
_encode = msgspec.json.Encoder().encode


class Scored(NamedTuple):
    """
    An event, or an instance of a request, that is logged with or without a score.

    Attributes:
        user_id: None where a request names no user.
        time: Of the event, in UTC.
        features: Input of the model.
        latency_ms: From ``ingest_ts`` or publication to the score; None if unknown.
    """

    event_id: str
    user_id: str | None
    time: datetime
    features: Features
    latency_ms: float | None


def inference_id(use_case: UseCase, event: Scored, version: int) -> str:
    """
    Return the identity of a score, which depends on the event and the version alone.

    An event that is scored by its own fields has an id that is unique in the use case;
    others are unique for a user and UTC day.
    """
    identity: tuple[Any, ...] = (use_case.name, event.event_id, version)
    if event.user_id is not None and not use_case.scores_events:
        day = event.time.date()
        identity = (use_case.name, event.user_id, day, event.event_id, version)
    return hashlib.sha256(_encode(identity)).hexdigest()


def latency_ms(since: datetime | None, at: datetime) -> float | None:
    """Return the milliseconds from a time to a score; None if unknown or later."""
    if since is None or since > at:
        return None
    return round((at - since) / _MILLISECOND, 3)


def row_of(
    use_case: UseCase,
    state: ServingState,
    event: Scored,
    score: float | None,
    *,
    source: str,
    at: datetime,
) -> Inference:
    """Return a row of ``inference_log``."""
    serving = state.champion
    version = NO_VERSION if serving is None else serving.version
    scores: dict[str, float] = {}
    if serving is not None and score is not None and not math.isnan(score):
        scores[serving.scores] = float(score)
    features = {name: event.features[name] for name in use_case.features}
    return Inference(
        use_case=use_case.name,
        inference_id=inference_id(use_case, event, version),
        event_id=event.event_id,
        # An event without a user stands for itself.
        user_id=event.user_id if event.user_id else event.event_id,
        event_time=event.time,
        event_date=event.time.date(),
        model_version=version,
        probability=scores.get("probability"),
        anomaly_score=scores.get("anomaly_score"),
        is_warm=serving is not None and serving.is_warm,
        epoch=state.epoch,
        source=source,
        features=_encode(features).decode(),
        scored_at=at,
        scored_on=at.date(),
        latency_ms=event.latency_ms,
    )


def batch_of(rows: Sequence[Inference]) -> pa.RecordBatch:
    """Return rows as they are appended."""
    return pa.RecordBatch.from_pylist(list(map(asdict, rows)), _SCHEMA)
