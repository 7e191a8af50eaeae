"""Scores as they were given, what was learned later, and suppressed users."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated

from propensity.schema import NULLABLE, Row, Table, UseCaseName


class Inference(Row):
    """One row per score given; a redelivery repeats its inference_id."""

    use_case: UseCaseName
    inference_id: Annotated[str, "Hash of event and version"]
    event_id: Annotated[str, "The event that was scored"]
    user_id: Annotated[str, "The user"]
    event_time: Annotated[datetime, "When it happened"]
    event_date: Annotated[date, "UTC day of event_time"]
    model_version: Annotated[int, "Model that scored; -1 none"]
    probability: Annotated[float | None, "That the outcome comes, 0 to 1"]
    anomaly_score: Annotated[float | None, "0 to 1, of models that know no outcomes"]
    is_warm: Annotated[bool, "Whether the model has seen enough to score", NULLABLE]
    epoch: Annotated[int, "Epoch of the pointer that was in force", NULLABLE]
    source: Annotated[str, "stream, online or loaded", NULLABLE]
    features: Annotated[str, "What the model was given, JSON", NULLABLE]
    scored_at: Annotated[datetime, "When it was scored"]
    scored_on: Annotated[date, "UTC day of scored_at"]
    latency_ms: Annotated[float | None, "From ingest_ts or publication to the score"]


INFERENCE_LOG = Table(
    name="inference_log",
    row=Inference,
    key=("inference_id",),
    partition="scored_on",
    clustering=("use_case", "user_id"),
    requires_filter=True,
)


class Truth(Row):
    """What was learned later about an event; the latest truth_time counts."""

    use_case: UseCaseName
    event_id: Annotated[str, "The event that it is about"]
    label: Annotated[int, "What it turned out to be, 0 or 1"]
    truth_time: Annotated[datetime, "When that was found out"]
    message_id: Annotated[str | None, "Pub/Sub's id of the delivered message"]
    published_at: Annotated[datetime | None, "When it was published"]
    received_at: Annotated[datetime, "When it was received"]
    received_on: Annotated[date, "UTC day of received_at"]


TRUTH_EVENTS = Table(
    name="truth_events",
    row=Truth,
    key=("use_case", "event_id", "truth_time"),
    partition="received_on",
    clustering=("use_case", "event_id"),
    requires_filter=True,
)


class SuppressedUser(Row):
    """Users of whom nothing may be kept, by a keyed hash of their ids."""

    use_case: Annotated[str, "Use case; empty means all"]
    user_hash: Annotated[str, "HMAC-SHA256 of the id, in hex"]
    key_id: Annotated[str, "Identifies the key of the hash"]
    suppressed_at: Annotated[datetime, "When it was added"]
    suppressed_on: Annotated[date, "UTC day of suppressed_at"]


SUPPRESSED_USERS = Table(
    name="suppressed_users",
    row=SuppressedUser,
    key=("use_case", "user_hash"),
    partition="suppressed_on",
    clustering=("use_case", "user_hash"),
)
