"""
The stream: events, sums of them, postcodes, and refused messages; scores as they were
given, what was learned later, and suppressed users.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated

from propensity.schema import NULLABLE, Row, Table, UseCaseName

# Columns of what messages become.
MessageId = Annotated[str | None, "Pub/Sub's id of the delivered message"]
PublishedAt = Annotated[datetime | None, "When it was published"]
ReceivedAt = Annotated[datetime, "When it was received"]
ReceivedOn = Annotated[date, "UTC day of received_at"]


class StreamEvent(Row):
    """Accepted events, enriched; one sent twice may be here twice."""

    use_case: UseCaseName
    event_id: Annotated[str, "The producer's, or the message's"]
    user_id: Annotated[str, "The user"]
    event_type: Annotated[str, "For example new_bet"]
    event_time: Annotated[datetime, "When it happened"]
    event_date: Annotated[date, "UTC day of event_time"]
    amount: Annotated[Decimal | None, "Money of a purchase, bet or win"]
    age: Annotated[int | None, "Whole years at the event"]
    city: Annotated[str | None, "As registered"]
    country: Annotated[str | None, "As registered"]
    postcode: Annotated[str | None, "As registered"]
    affiliate_url: Annotated[str | None, "As registered"]
    campaign: Annotated[str | None, "As registered"]
    socioeconomic_idx: Annotated[float | None, "Index of the postcode, if known"]
    label: Annotated[int | None, "The user's outcome, used only for training"]
    attributes: Annotated[str | None, "Further declared fields, JSON"]
    is_late: Annotated[bool | None, "Received too many days after event_date"]
    message_id: MessageId
    published_at: PublishedAt
    received_at: ReceivedAt
    received_on: ReceivedOn


STREAM_EVENTS = Table(
    name="stream_events",
    row=StreamEvent,
    key=("use_case", "user_id", "event_date", "event_id"),
    partition="received_on",
    clustering=("use_case", "user_id"),
    requires_filter=True,
)


class Registration(Row):
    """What the first registration of a day says about a user."""

    registration_time: Annotated[datetime | None, "When the user first registered"]
    age: Annotated[int | None, "Whole years at registration"]
    city: Annotated[str | None, "As registered"]
    country: Annotated[str | None, "As registered"]
    affiliate_url: Annotated[str | None, "As registered"]
    campaign: Annotated[str | None, "As registered"]
    socioeconomic_idx: Annotated[float | None, "Index of the postcode, if known"]


class StreamDay(Row):
    """One row per user and day of events: sums from which features are made."""

    use_case: UseCaseName
    user_id: Annotated[str, "The user"]
    day: Annotated[date, "UTC day of the events"]
    month: Annotated[date, "First day of the day's month"]
    purchase_count: Annotated[int | None, "Events: purchase"]
    purchase_sum: Annotated[Decimal | None, "Exact sum of purchase amounts"]
    purchase_sum_squares: Annotated[Decimal | None, "Exact sum of purchase squares"]
    bet_count: Annotated[int | None, "Events: bet"]
    bet_sum: Annotated[Decimal | None, "Exact sum of bet amounts"]
    bet_sum_squares: Annotated[Decimal | None, "Exact sum of bet squares"]
    win_count: Annotated[int | None, "Events: win"]
    win_sum: Annotated[Decimal | None, "Exact sum of win amounts"]
    win_sum_squares: Annotated[Decimal | None, "Exact sum of win squares"]
    registration: Annotated[Registration, "The day's first"]
    compacted_at: Annotated[datetime | None, "When the row was written"]


# The name of a view.
STREAM_FEATURES = "stream_features"
STREAM_FEATURES_DAILY = Table(
    name="stream_features_daily",
    row=StreamDay,
    key=("use_case", "day", "user_id"),
    partition="month",
    clustering=("use_case", "user_id", "day"),
)


class Compaction(Row):
    """One row per compaction: what it has counted, and closed."""

    # Events received before are in stream_features_daily.
    counted_until: Annotated[datetime, "End of the counted time"]
    closed_before: Annotated[date, "Days before are exported"]
    compacted_at: Annotated[datetime, "When the run began"]
    compacted_on: Annotated[date, "UTC day of compacted_at"]


STREAM_COMPACTIONS = Table(
    name="stream_compactions",
    row=Compaction,
    key=("compacted_at",),
    partition="compacted_on",
    clustering=("compacted_at",),
)


class Postcode(Row):
    """One row per postcode, and per outward code for unknown ones in it."""

    postcode: Annotated[str, "Capitals, without spaces"]
    socioeconomic_idx: Annotated[float, "The index"]
    is_outward: Annotated[bool | None, "Whether it is the median of an outward code"]
    loaded_on: Annotated[date, "UTC day of the load"]


POSTCODE_INDEX = Table(
    name="postcode_index",
    row=Postcode,
    key=("postcode",),
    partition="loaded_on",
    clustering=("postcode",),
)


class DeadLetter(Row):
    """Messages that can never become events, for a week."""

    message_id: Annotated[str, "Pub/Sub's id of the delivered message"]
    reason: Annotated[str, "For example malformed_json"]
    field: Annotated[str | None, "The wrong field, if known"]
    detail: Annotated[str | None, "Expected and actual value"]
    raw: Annotated[bytes | None, "Declared fields, if kept"]
    raw_size: Annotated[int | None, "Bytes of the whole payload"]
    attributes: Annotated[str | None, "The message's attributes, JSON"]
    published_at: PublishedAt
    received_at: ReceivedAt
    received_on: ReceivedOn


DEAD_LETTERS = Table(
    name="dead_letters",
    row=DeadLetter,
    key=("message_id",),
    partition="received_on",
    clustering=("reason",),
    requires_filter=True,
    expiration_days=7,
)


class Inference(Row):
    """One row per score given; a redelivery repeats its inference_id."""

    use_case: UseCaseName
    inference_id: Annotated[str, "Hash of event and version"]
    event_id: Annotated[str, "The event that was scored"]
    user_id: Annotated[str, "The user"]
    event_time: Annotated[datetime, "When it happened"]
    event_date: Annotated[date, "UTC day of event_time"]
    model_version: Annotated[int, "Model that scored; -1 for none"]
    probability: Annotated[float | None, "Probability of the outcome"]
    anomaly_score: Annotated[float | None, "0 to 1, of models without labels"]
    is_warm: Annotated[bool, "Whether the model can score yet", NULLABLE]
    epoch: Annotated[int, "Epoch of champion.json", NULLABLE]
    source: Annotated[str, "stream, online or loaded", NULLABLE]
    features: Annotated[str, "What the model was given, JSON", NULLABLE]
    scored_at: Annotated[datetime, "When it was scored"]
    scored_on: Annotated[date, "UTC day of scored_at"]
    latency_ms: Annotated[float | None, "From publication to score"]


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
    message_id: MessageId
    published_at: PublishedAt
    received_at: ReceivedAt
    received_on: ReceivedOn


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
