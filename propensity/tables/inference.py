"""Scores as they were given, what was learned later, and suppressed users."""

from __future__ import annotations

from propensity.schema import USE_CASE, Column, Table

INFERENCE_LOG = Table(
    name="inference_log",
    description="One row per score given; a redelivery repeats its inference_id",
    key=("inference_id",),
    partition="scored_on",
    clustering=("use_case", "user_id"),
    requires_filter=True,
    columns=(
        USE_CASE,
        Column("inference_id", "STRING", "Hash of event and version", required=True),
        Column("event_id", "STRING", "The event that was scored", required=True),
        Column("user_id", "STRING", "The user", required=True),
        Column("event_time", "TIMESTAMP", "When it happened", required=True),
        Column("event_date", "DATE", "UTC day of event_time", required=True),
        Column("model_version", "INT64", "Model that scored; -1 none", required=True),
        Column("probability", "FLOAT64", "That the outcome comes, 0 to 1"),
        Column("anomaly_score", "FLOAT64", "0 to 1, of models that know no outcomes"),
        Column("is_warm", "BOOL", "Whether the model has seen enough to score"),
        Column("epoch", "INT64", "Epoch of the pointer that was in force"),
        Column("source", "STRING", "stream, online or loaded"),
        Column("features", "STRING", "What the model was given, JSON"),
        Column("scored_at", "TIMESTAMP", "When it was scored", required=True),
        Column("scored_on", "DATE", "UTC day of scored_at", required=True),
        Column("latency_ms", "FLOAT64", "From ingest_ts or publication to the score"),
    ),
)

TRUTH_EVENTS = Table(
    name="truth_events",
    description="What was learned later about an event; the latest truth_time counts",
    key=("use_case", "event_id", "truth_time"),
    partition="received_on",
    clustering=("use_case", "event_id"),
    requires_filter=True,
    columns=(
        USE_CASE,
        Column("event_id", "STRING", "The event that it is about", required=True),
        Column("label", "INT64", "What it turned out to be, 0 or 1", required=True),
        Column("truth_time", "TIMESTAMP", "When that was found out", required=True),
        Column("message_id", "STRING", "Pub/Sub's id of the delivered message"),
        Column("published_at", "TIMESTAMP", "When it was published"),
        Column("received_at", "TIMESTAMP", "When it was received", required=True),
        Column("received_on", "DATE", "UTC day of received_at", required=True),
    ),
)

SUPPRESSED_USERS = Table(
    name="suppressed_users",
    description="Users of whom nothing may be kept, by a keyed hash of their ids",
    key=("use_case", "user_hash"),
    partition="suppressed_on",
    clustering=("use_case", "user_hash"),
    columns=(
        Column("use_case", "STRING", "Use case; empty means all", required=True),
        Column("user_hash", "STRING", "HMAC-SHA256 of the id, in hex", required=True),
        Column("key_id", "STRING", "Identifies the key of the hash", required=True),
        Column("suppressed_at", "TIMESTAMP", "When it was added", required=True),
        Column("suppressed_on", "DATE", "UTC day of suppressed_at", required=True),
    ),
)
