"""
Scores to the JSON of an answer, and to rows of the log. Pure.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from propensity.edges.asgi import Json
from propensity.online.batches import Scores
from propensity.online.instances import Instance, Layout
from propensity.online.score_request import Question
from propensity.registry.inference_log import ONLINE, Events, Row, columns
from propensity.registry.loading import Serving
from propensity.usecases import UseCase

_encode = msgspec.json.Encoder().encode


def score_of(serving: Serving, value: float) -> dict[str, float | None]:
    """Return a score as a probability or an anomaly score; NaN is null."""
    score = None if math.isnan(value) else value
    if serving.is_anomaly:
        return {"probability": None, "anomaly_score": score}
    return {"probability": score, "anomaly_score": None}


def events_of(
    question: Question,
    layout: Layout,
    instances: Sequence[Instance],
    *,
    event_ids: Sequence[str],
    latencies_ms: Sequence[float | None],
    at: datetime,
) -> Events:
    """
    Return the events of a question, for the log.

    Args:
        question: The request.
        layout: Of its use case.
        instances: With scores.
        event_ids: Of the instances.
        latencies_ms: From ingestion to the score; None if unknown.
        at: Time of scoring, in UTC: the event time of those without ``ingest_ts``.
    """
    user_id = question.user_id
    return Events(
        source=ONLINE,
        event_ids=event_ids,
        user_ids=event_ids if user_id is None else [user_id] * len(event_ids),
        times=[
            instance.ingested_at if isinstance(instance.ingested_at, datetime) else at
            for instance in instances
        ],
        features=[layout.features_json(instance) for instance in instances],
        latencies_ms=latencies_ms,
        has_users=user_id is not None,
    )


def log_rows(
    use_case: UseCase, events: Events, scored: Scores, *, ids: Sequence[str]
) -> list[Row]:
    """
    Return rows of ``inference_log``.

    Args:
        use_case: Of the events.
        events: Of the question.
        scored: Their scores.
        ids: Inference ids of the scores.
    """
    state, at = scored.state, scored.at
    values = columns(
        use_case, state, state.champion, events, scored.values, ids=ids, at=at
    )
    return [*zip(*values, strict=True)]


def event_ids_of(question: Question, instances: Sequence[Instance]) -> list[str]:
    """Return the identity of each instance: its own, or a new unique one."""
    ids = [question.event_id or instance.event_id for instance in instances]
    if None not in ids:
        return [event_id for event_id in ids if event_id is not None]
    unique = uuid.uuid4().hex
    return [
        event_id or (unique if question.is_single else f"{unique}-{place}")
        for place, event_id in enumerate(ids)
    ]


def answer(
    question: Question,
    scored: Scores,
    *,
    event_ids: Sequence[str],
    ids: Sequence[str],
    latencies_ms: Sequence[float | None],
    request_ms: float,
) -> dict[str, Any]:
    """Return the answer to a question, as an object for JSON."""
    serving, name = scored.state.champion, question.use_case.name
    assert serving is not None
    scores = [
        {
            **score_of(serving, value),
            "event_id": event_id,
            "inference_id": inference_id,
            "latency_ms": None if latency is None else round(latency, 3),
        }
        for value, event_id, inference_id, latency in zip(
            scored.values, event_ids, ids, latencies_ms, strict=True
        )
    ]
    model = {"model_version": serving.version, "is_warm": serving.is_warm}
    request = {"request_ms": round(request_ms, 3)}
    if not question.is_single:
        return {"use_case": name, **model, **request, "predictions": scores}
    user = {} if question.user_id is None else {"user_id": question.user_id}
    return {"use_case": name, **user, **model, **scores[0], **request}


def unknown_user(question: Question) -> Json:
    """Return the 404 for a user without features."""
    body = {
        "use_case": question.use_case.name,
        "user_id": question.user_id,
        **dict.fromkeys(("model_version", "is_warm", "probability", "anomaly_score")),
        **dict.fromkeys(("event_id", "inference_id")),
        "error": "unknown_user",
        "message": "the stream has no features of this user now",
        "retryable": False,
    }
    return Json(_encode(body), status=404)
