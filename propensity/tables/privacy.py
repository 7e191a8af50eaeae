"""Users of whom nothing may be kept."""

from __future__ import annotations

from propensity.schema import Column, Table

SUPPRESSED_USERS = Table(
    name="suppressed_users",
    description="Users of whom nothing may be kept, by a keyed hash of their ids",
    key=("use_case", "user_hash"),
    partition="suppressed_on",
    clustering=("use_case", "user_hash"),
    columns=(
        Column("use_case", "STRING", "Where it counts; empty: all", required=True),
        Column("user_hash", "STRING", "HMAC-SHA256 of the id, in hex", required=True),
        Column("key_id", "STRING", "Tells the hash's key from others", required=True),
        Column("suppressed_at", "TIMESTAMP", "When it was added", required=True),
        Column("suppressed_on", "DATE", "UTC day of suppressed_at", required=True),
    ),
)
