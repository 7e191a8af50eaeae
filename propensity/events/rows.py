"""
From messages to rows: decode, validate, enrich; a group of messages at a time.

Pure: messages, the postcode table and the time are arguments. A message becomes an
``Event``, which is a row of ``stream_events`` and is published; or, if it says what
came of an earlier event, a ``Truth``, a row of ``truth_events``; or it is refused with
a reason, and becomes a dead letter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pyarrow as pa

from propensity.events.enrichment import PostcodeIndex, with_fields
from propensity.events.messages import Message
from propensity.events.types import PERSONAL, Catalogue
from propensity.events.values import (
    EARLIEST,
    EPOCH,
    MICROSECOND,
    Refused,
    age_at,
    amount_of,
    checked_age,
    instant_in,
    label_of,
    microseconds_of,
    moment_of,
    numeral_of,
)
from propensity.ids import MAXIMUM_ID_CHARACTERS, is_meaningless, is_text
from propensity.privacy.suppression import NOBODY, Suppressed
from propensity.tables.inference import TRUTH_EVENTS
from propensity.tables.stream import STREAM_EVENTS
from propensity.timeframe import midnight

EVENT_SCHEMA = STREAM_EVENTS.arrow_schema()
TRUTH_SCHEMA = TRUTH_EVENTS.arrow_schema()
_COLUMNS = frozenset(EVENT_SCHEMA.names)
_UTC_TIME = pa.timestamp("us", "UTC")
_CENTS = pa.decimal128(14, 2)
_BAD_TIME = f"not a moment in ISO 8601 from {EARLIEST:%Y} to now"
_NO_VALUES: Mapping[str, Any] = {}


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The settings of a deployment about events."""

    maximum_bytes: int
    clock_skew: timedelta
    lateness: timedelta


class Event(msgspec.Struct, frozen=True, gc=False):
    """
    A valid event.

    Attributes:
        place: Of its message in the group.
        time_us: When it happened, in microseconds since 1970.
        amount: Money, in the types that have it.
        values: Of the further columns that its type fills.
        published: The enriched event, as JSON.
    """

    place: int
    message: Message
    use_case: str
    event_id: str
    user_id: str
    event_type: str
    time_us: int
    amount: float | None
    values: Mapping[str, Any]
    published: bytes


class Truth(msgspec.Struct, frozen=True, gc=False):
    """A valid truth: the outcome of the event that ``event_id`` names."""

    place: int
    message: Message
    use_case: str
    event_id: str
    user_id: str
    time_us: int
    label: int | None


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """
    The outcome of a group: valid events, valid truths, and why messages were refused,
    by place. Messages about suppressed users are in none of them.
    """

    events: Sequence[Event]
    truths: Sequence[Truth]
    refused: dict[int, Refused]


def accept(
    messages: Sequence[Message],
    catalogue: Catalogue,
    postcodes: PostcodeIndex | None,
    *,
    received_at: datetime,
    rules: Rules,
    suppressed: Suppressed = NOBODY,
) -> Accepted:
    """
    Turn messages into events and truths.

    Args:
        messages: In any order.
        catalogue: Of the event types.
        postcodes: The postcode table; None for events that are enriched already.
        received_at: Now, in UTC.
        rules: Of the deployment.
        suppressed: The users whose events are not kept. The user of a truth is its
            event id.
    """
    read: list[tuple[int, Message, Any]] = []
    events: list[Event] = []
    truths: list[Truth] = []
    refused: dict[int, Refused] = {}
    for place, message in enumerate(messages):
        try:
            if message.problem is not None:
                raise message.problem
            if len(message.data) > rules.maximum_bytes:
                raise Refused("too_large", f"over {rules.maximum_bytes} bytes")
            event = catalogue.read(message.data, message.attributes)
            read.append((place, message, event))
        except Refused as error:
            refused[place] = error
    times = _times([getattr(event, event.declared.time) for *_, event in read])
    latest = received_at + rules.clock_skew
    earliest_us, latest_us = microseconds_of(EARLIEST), microseconds_of(latest)
    microseconds = times.cast(pa.int64()).to_pylist()
    for (place, message, event), us in zip(read, microseconds, strict=True):
        declared = event.declared
        try:
            if us is None or not earliest_us <= us <= latest_us:
                raise Refused("bad_time", _BAD_TIME, field=declared.time)
            ids = _ids(message, event, catalogue)
            if field := declared.truth:
                label = label_of(getattr(event, field), field=field)
                truths.append(Truth(place, message, *ids, us, label))
                continue
            amount, values = None, _NO_VALUES
            if field := declared.amount:
                amount = amount_of(getattr(event, field), field=field)
            if declared.further:
                values = _values(event, EPOCH + us * MICROSECOND, postcodes, latest)
            data = _enriched(message.data, event, ids, values)
            events.append(
                Event(place, message, *ids, declared.name, us, amount, values, data)
            )
        except Refused as error:
            refused[place] = error
    if suppressed:
        covers = suppressed.covers
        events = [one for one in events if not covers(one.user_id, one.use_case)]
        truths = [one for one in truths if not covers(one.user_id, one.use_case)]
    return Accepted(events=events, truths=truths, refused=refused)


def _ids(message: Message, event: Any, catalogue: Catalogue) -> tuple[str, str, str]:
    """Return use case, event id and user id of an event."""
    declared, attributes = event.declared, message.attributes
    if declared.identity:
        event_id = user_id = str(getattr(event, declared.identity))
        _check_id(event_id, declared.identity)
    else:
        event_id = event.event_id or attributes.get("event_id") or message.message_id
        user_id = event.user_id
        _check_id(event_id, "event_id")
        _check_id(user_id, "user_id")
    use_case = event.use_case
    if use_case is None:
        use_case = attributes.get("use_case") or catalogue.default.get(declared.name)
    if (use_case, declared.name) not in catalogue.taken:
        raise catalogue.no_taker(use_case, declared.name)
    return use_case, event_id, user_id


def _check_id(value: str, field: str) -> None:
    if len(value) > MAXIMUM_ID_CHARACTERS:
        raise Refused("bad_value", "too long", field=field)
    if is_meaningless(value):
        raise Refused("bad_value", "an id that means nothing", field=field)
    if not (value.isprintable() or is_text(value)):
        raise Refused("bad_value", "control characters", field=field)


def _values(
    event: Any, moment: datetime, postcodes: PostcodeIndex | None, latest: datetime
) -> dict[str, Any]:
    """Return the values of an event beside its amount, by column."""
    declared = event.declared
    values: dict[str, Any] = {}
    attributes: dict[str, Any] = {}
    for name, kind in declared.further.items():
        value = getattr(event, name)
        if kind == "numeral":
            attributes[name] = numeral_of(value, field=name)
        elif kind == "instant":
            if value is not msgspec.UNSET:
                at = instant_in(value, latest=latest)
                attributes[name] = None if at is None else at.isoformat()
        elif kind == "label":
            values["label"] = label_of(value, field=name)
        elif kind not in PERSONAL:
            (values if name in _COLUMNS else attributes)[name] = value
    if declared.personal:
        values["age"] = _age(event, moment)
    if (postcode := values.get("postcode")) is None:
        values["socioeconomic_idx"] = None
    elif postcodes is not None:
        values["socioeconomic_idx"] = postcodes.find(postcode)
    else:
        own = event.socioeconomic_idx
        values["socioeconomic_idx"] = None if own is msgspec.UNSET else own
    if attributes:
        values["attributes"] = msgspec.json.encode(attributes).decode()
    return values


def _age(event: Any, moment: datetime) -> int | None:
    """Return the age at an event, which takes the place of personal fields."""
    given: Any = getattr(event, "age", msgspec.UNSET)
    is_given = given is not msgspec.UNSET
    age = checked_age(given, field="age") if is_given else None
    for name, kind in event.declared.personal.items():
        value = getattr(event, name)
        if value is msgspec.UNSET:
            if not is_given:
                # A producer that holds back personal fields must send the age.
                raise Refused("missing_field", "the field is missing", field=name)
        elif kind == "birth date":
            age = age_at(value, moment, field=name)
    return age


def _enriched(
    data: bytes, event: Any, ids: tuple[str, str, str], values: Mapping[str, Any]
) -> bytes:
    """Return an event with what its row says besides."""
    use_case, event_id, user_id = ids
    added: dict[str, Any] = {}
    if event.event_id != event_id:
        added["event_id"] = event_id
    if event.use_case is None:
        added["use_case"] = use_case
    if event.user_id != user_id:
        added["user_id"] = user_id
    if event.__struct_config__.tag is None:
        added["event_type"] = event.declared.name
    if "postcode" in values:
        added["socioeconomic_idx"] = values["socioeconomic_idx"]
    if values.get("age") is not None:
        added["age"] = values["age"]
    return with_fields(data, added) if added else data


def event_rows(
    events: Sequence[Event], *, received_at: datetime, lateness: timedelta
) -> pa.RecordBatch:
    """Return events as rows of ``stream_events``."""
    times = pa.array([event.time_us for event in events], _UTC_TIME)
    oldest_us = microseconds_of(midnight((received_at - lateness).date()))
    columns: dict[str, Any] = {
        "use_case": [event.use_case for event in events],
        "event_id": [event.event_id for event in events],
        "user_id": [event.user_id for event in events],
        "event_type": [event.event_type for event in events],
        "event_time": times,
        "event_date": times.cast(pa.timestamp("us")).cast(pa.date32()),
        # Rounded to the cent: a float is the nearest to its digits, not equal.
        "amount": pa.array([event.amount for event in events], pa.float64())
        .cast(_CENTS)
        .cast(EVENT_SCHEMA.field("amount").type),
        "is_late": [event.time_us < oldest_us for event in events],
        **receipt([event.message for event in events], received_at),
    }
    valued = [(row, event.values) for row, event in enumerate(events) if event.values]
    for name in {name for _, values in valued for name in values}:
        columns[name] = column = [None] * len(events)
        for row, values in valued:
            column[row] = values.get(name)
    return batch_of(EVENT_SCHEMA, columns, len(events))


def truth_rows(truths: Sequence[Truth], *, received_at: datetime) -> pa.RecordBatch:
    """Return truths as rows of ``truth_events``."""
    columns = {
        "use_case": [truth.use_case for truth in truths],
        "event_id": [truth.event_id for truth in truths],
        "label": [truth.label for truth in truths],
        "truth_time": [truth.time_us for truth in truths],
        **receipt([truth.message for truth in truths], received_at),
    }
    return batch_of(TRUTH_SCHEMA, columns, len(truths))


def receipt(messages: Sequence[Message], received_at: datetime) -> dict[str, Any]:
    """Return the columns that say which messages rows are of, and when they came."""
    day = pa.scalar(received_at.date(), pa.date32())
    return {
        "message_id": [message.message_id for message in messages],
        "published_at": published(messages),
        "received_at": pa.repeat(pa.scalar(received_at, _UTC_TIME), len(messages)),
        "received_on": pa.repeat(day, len(messages)),
    }


def published(messages: Iterable[Message]) -> pa.Array:
    """Return when messages were published; null where that is not known."""
    return _times([message.published_at or None for message in messages])


def batch_of(
    schema: pa.Schema, columns: Mapping[str, Sequence[Any] | pa.Array], count: int
) -> pa.RecordBatch:
    """Return a batch of a table; columns that are not given are null."""
    arrays = [
        pa.array(columns[field.name], field.type)
        if field.name in columns
        else pa.nulls(count, field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _times(texts: Sequence[str | None]) -> pa.Array:
    """Return times; null for a text that is none."""
    try:
        return pa.array(texts, pa.string()).cast(_UTC_TIME)
    except pa.ArrowInvalid:  # one of them is written otherwise, or is none
        return pa.array([_moment_or_none(text) for text in texts], _UTC_TIME)


def _moment_or_none(text: str | None) -> datetime | None:
    try:
        return moment_of(text).astimezone(UTC) if text else None
    except Refused:
        return None
