"""The stream: events, sums of them, postcodes, and messages that it refused."""

from __future__ import annotations

from propensity.schema import USE_CASE, Column, Table

STREAM_EVENTS = Table(
    name="stream_events",
    description="Accepted events, enriched; one sent twice may be here twice",
    key=("use_case", "user_id", "event_date", "event_id"),
    partition="received_on",
    clustering=("use_case", "user_id"),
    requires_filter=True,
    columns=(
        USE_CASE,
        Column("event_id", "STRING", "The producer's, or the message's", required=True),
        Column("user_id", "STRING", "The user", required=True),
        Column("event_type", "STRING", "For example new_bet", required=True),
        Column("event_time", "TIMESTAMP", "When it happened", required=True),
        Column("event_date", "DATE", "UTC day of event_time", required=True),
        Column("amount", "NUMERIC", "Money of a purchase, bet or win"),
        Column("age", "INT64", "Whole years at the event"),
        Column("city", "STRING", "City as registered"),
        Column("country", "STRING", "Country as registered"),
        Column("postcode", "STRING", "Postcode as registered"),
        Column("affiliate_url", "STRING", "Affiliate as registered"),
        Column("campaign", "STRING", "Campaign as registered"),
        Column("socioeconomic_idx", "FLOAT64", "Index of the postcode, if known"),
        Column("label", "INT64", "The user's outcome, used only for training"),
        Column("attributes", "STRING", "Further fields that a use case declares, JSON"),
        Column("is_late", "BOOL", "Received more days after event_date than allowed"),
        Column("message_id", "STRING", "Pub/Sub's id of the delivered message"),
        Column("published_at", "TIMESTAMP", "When it was published"),
        Column("received_at", "TIMESTAMP", "When it was received", required=True),
        Column("received_on", "DATE", "UTC day of received_at", required=True),
    ),
)

MEASURES = ("purchase", "bet", "win")

_SUMS = tuple(
    column
    for measure in MEASURES
    for column in (
        Column(f"{measure}_count", "INT64", f"Events: {measure}"),
        Column(f"{measure}_sum", "NUMERIC", f"Exact sum of {measure} amounts"),
        Column(f"{measure}_sum_squares", "NUMERIC", f"Exact sum of {measure} squares"),
    )
)

_REGISTRATION = (
    Column("registration_time", "TIMESTAMP", "When the user first registered"),
    Column("age", "INT64", "Whole years at registration"),
    Column("city", "STRING", "City as registered"),
    Column("country", "STRING", "Country as registered"),
    Column("affiliate_url", "STRING", "Affiliate as registered"),
    Column("campaign", "STRING", "Campaign as registered"),
    Column("socioeconomic_idx", "FLOAT64", "Index of the postcode, if known"),
)

STREAM_FEATURES_DAILY = Table(
    name="stream_features_daily",
    description="One row per user and day of events: sums from which features are made",
    key=("use_case", "day", "user_id"),
    partition="month",
    clustering=("use_case", "user_id", "day"),
    columns=(
        USE_CASE,
        Column("user_id", "STRING", "The user", required=True),
        Column("day", "DATE", "UTC day of the events", required=True),
        Column("month", "DATE", "First day of the day's month", required=True),
        *_SUMS,
        Column("registration", "STRUCT", "The day's first", fields=_REGISTRATION),
        Column("compacted_at", "TIMESTAMP", "When the row was written"),
    ),
)

STREAM_COMPACTIONS = Table(
    name="stream_compactions",
    description="One row per compaction: what it has counted, and closed",
    key=("compacted_at",),
    partition="compacted_on",
    clustering=("compacted_at",),
    columns=(
        # Events received before are in stream_features_daily.
        Column("counted_until", "TIMESTAMP", "End of what is counted", required=True),
        Column("closed_before", "DATE", "Days before are exported", required=True),
        Column("compacted_at", "TIMESTAMP", "When the run began", required=True),
        Column("compacted_on", "DATE", "UTC day of compacted_at", required=True),
    ),
)

POSTCODE_INDEX = Table(
    name="postcode_index",
    description="One row per postcode, and per outward code for unknown ones in it",
    key=("postcode",),
    partition="loaded_on",
    clustering=("postcode",),
    columns=(
        Column("postcode", "STRING", "Capitals, without spaces", required=True),
        Column("socioeconomic_idx", "FLOAT64", "The index", required=True),
        Column("is_outward", "BOOL", "Whether it is the median of an outward code"),
        Column("loaded_on", "DATE", "UTC day of the load", required=True),
    ),
)

DEAD_LETTERS = Table(
    name="dead_letters",
    description="Messages that can never become events, for a week",
    key=("message_id",),
    partition="received_on",
    clustering=("reason",),
    requires_filter=True,
    expiration_days=7,
    columns=(
        Column("message_id", "STRING", "Pub/Sub's id of the message", required=True),
        Column("reason", "STRING", "For example malformed_json", required=True),
        Column("field", "STRING", "The field at fault, where there is one"),
        Column("detail", "STRING", "What was wanted and what was found"),
        Column("raw", "BYTES", "The payload without personal values; null if not kept"),
        Column("raw_size", "INT64", "Bytes of the whole payload"),
        Column("attributes", "STRING", "The message's attributes, JSON"),
        Column("published_at", "TIMESTAMP", "When it was published"),
        Column("received_at", "TIMESTAMP", "When it was received", required=True),
        Column("received_on", "DATE", "UTC day of received_at", required=True),
    ),
)
