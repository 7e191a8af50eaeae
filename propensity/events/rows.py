"""
From messages to rows: decode, validate, enrich; a group of messages at a time.

Pure: messages, the postcode table and the time are arguments. A message becomes a row
of ``stream_events`` and an enriched event; or, if it tells the outcome of an earlier
event, a row of ``truth_events``; or it is refused with a reason and becomes a dead
letter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from propensity import tables
from propensity.events.catalogue import Catalogue
from propensity.events.columns import (
    UTC_TIME,
    batch_of,
    moments,
    published,
    receipt,
)
from propensity.events.dead_letters import unmentioned
from propensity.events.enrichment import PostcodeIndex, with_fields
from propensity.events.messages import Message
from propensity.events.types import PERSONAL
from propensity.events.values import (
    EARLIEST,
    EPOCH,
    MICROSECOND,
    Refused,
    age_at,
    amount_of,
    checked_age,
    instants_of,
    label_of,
    microseconds_of,
    numerals_of,
    truth_of,
)
from propensity.ids import MAXIMUM_ID_CHARACTERS, is_meaningless, is_text
from propensity.privacy.suppression import Suppressed

EVENT_SCHEMA = tables.STREAM_EVENTS.arrow_schema()
TRUTH_SCHEMA = tables.TRUTH_EVENTS.arrow_schema()

EARLIEST_US = microseconds_of(EARLIEST)

# Columns of further fields, and of their enrichment.
_DETAILS = frozenset(
    {
        *("age", "city", "country", "postcode", "affiliate_url", "campaign", "label"),
        *("socioeconomic_idx", "attributes"),
    }
)
_BAD_TIME = f"not a moment in ISO 8601 from {EARLIEST:%Y} to now"
_NO_DETAILS: Mapping[str, Any] = {}


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
        message: Pub/Sub's.
        place: Of the message in its group.
        since: When it happened, in microseconds since 1970.
        amount: Money, in the type that has it.
        details: Values of the other columns that its type fills.
        published: The enriched event, as JSON.
    """

    message: Message
    place: int
    use_case: str
    event_id: str
    user_id: str
    event_type: str
    since: int
    amount: Decimal | None
    details: Mapping[str, Any]
    published: bytes


class Truth(msgspec.Struct, frozen=True, gc=False):
    """A valid truth: the outcome of the event that ``event_id`` names."""

    message: Message
    place: int
    use_case: str
    event_id: str
    since: int
    label: int


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """
    The outcome of a group. A message is named by its place in the group.

    Attributes:
        events: The valid events, in order.
        rows: Their rows of ``stream_events``.
        truth_events: The valid truths, in order.
        truths: Their rows of ``truth_events``.
        refused: Why messages were refused, by place.
        unknown_postcodes: How many postcodes have no index.
        suppressed: How many messages are about users on the list, and are in nothing
            else.
    """

    events: Sequence[Event]
    rows: pa.RecordBatch
    truth_events: Sequence[Truth]
    truths: pa.RecordBatch
    refused: Mapping[int, Refused]
    unknown_postcodes: int
    suppressed: int


def accept(
    messages: Sequence[Message],
    catalogue: Catalogue,
    postcodes: PostcodeIndex | None,
    *,
    received_at: datetime,
    rules: Rules,
    suppressed: Suppressed | None = None,
) -> Accepted:
    """
    Turn messages into rows and enriched events, or into truths.

    Args:
        messages: In any order.
        catalogue: Of the event types.
        postcodes: The postcode table; None for events that are enriched already.
        received_at: Now, in UTC.
        rules: Of the deployment.
        suppressed: The users whose events are not kept. The user of a truth is its
            event id: types with a truth have an identity, which is both.
    """
    latest = received_at + rules.clock_skew
    events: list[Event] = []
    truths: list[Truth] = []
    refused: dict[int, Refused] = {}
    decoded: list[tuple[int, Message, Any]] = []
    for place, message in enumerate(messages):
        try:
            if message.problem is not None:
                raise message.problem
            if len(message.data) > rules.maximum_bytes:
                raise Refused("too_large", f"over {rules.maximum_bytes} bytes")
            read = catalogue.read(message.data, message.attributes)
        except Refused as error:
            refused[place] = error
        else:
            decoded.append((place, message, read))
    times = moments([getattr(one[2], one[2].declared.time) for one in decoded])
    latest_us = microseconds_of(latest)
    for (place, message, read), since in zip(decoded, times, strict=True):
        try:
            if since is None or not EARLIEST_US <= since <= latest_us:
                raise Refused("bad_time", _BAD_TIME, field=read.declared.time)
            if read.declared.truth:
                truth = _truth(message, place, read, catalogue, since)
                if not suppressed or not suppressed.covers(
                    truth.event_id, truth.use_case
                ):
                    truths.append(truth)
                continue
            event = _event(
                message, place, read, catalogue, postcodes, since=since, latest=latest
            )
            if not suppressed or not suppressed.covers(event.user_id, event.use_case):
                events.append(event)
        except Refused as error:
            refused[place] = error
    if suppressed:
        refused = unmentioned(refused, messages, suppressed)
    return Accepted(
        events=events,
        rows=_event_rows(events, received_at, received_at - rules.lateness),
        truth_events=truths,
        truths=_truth_rows(truths, received_at),
        refused=refused,
        unknown_postcodes=sum(
            event.details.get("postcode") is not None
            and event.details["socioeconomic_idx"] is None
            for event in events
            if event.details
        ),
        suppressed=len(messages) - len(events) - len(truths) - len(refused),
    )


def _truth(
    message: Message, place: int, read: Any, catalogue: Catalogue, since: int
) -> Truth:
    truth, _ = read.declared.truth
    use_case, event_id, _ = _identity(message, read, catalogue)
    return Truth(
        message,
        place,
        use_case,
        event_id,
        since,
        truth_of(getattr(read, truth), field=truth),
    )


def _event(
    message: Message,
    place: int,
    read: Any,
    catalogue: Catalogue,
    postcodes: PostcodeIndex | None,
    *,
    since: int,
    latest: datetime,
) -> Event:
    declared = read.declared
    use_case, event_id, user_id = _identity(message, read, catalogue)
    field = declared.amount
    amount = amount_of(bytes(getattr(read, field)), field=field) if field else None
    added: dict[str, Any] = {}
    if read.event_id != event_id:
        added["event_id"] = event_id
    if read.use_case is None:
        added["use_case"] = use_case
    if read.user_id != user_id:
        added["user_id"] = user_id
    if not read.is_tagged:
        added["event_type"] = declared.name
    details = _NO_DETAILS
    if not declared.has_only_amount:
        moment = EPOCH + since * MICROSECOND
        details = _details(read, moment, postcodes, latest=latest)
        if "postcode" in declared.fields:
            added["socioeconomic_idx"] = details["socioeconomic_idx"]
        if declared.of_kind("birth date"):
            added["age"] = details["age"]
    return Event(
        message,
        place,
        use_case,
        event_id,
        user_id,
        declared.name,
        since,
        amount,
        details,
        with_fields(message.data, added) if added else message.data,
    )


def _identity(
    message: Message, read: Any, catalogue: Catalogue
) -> tuple[str, str, str]:
    """
    Return use case, event id and user id of an event.

    Raises:
        Refused: No use case takes the event, or an id is none.
    """
    declared, attributes = read.declared, message.attributes
    if declared.identity:
        event_id = user_id = str(getattr(read, declared.identity))
        _check_ids(**{declared.identity: event_id})
    else:
        event_id = read.event_id or attributes.get("event_id") or message.message_id
        user_id = read.user_id
        _check_ids(event_id=event_id, user_id=user_id)
    use_case = read.use_case
    if use_case is None:
        use_case = attributes.get("use_case") or catalogue.default.get(declared.name)
    if (use_case, declared.name) not in catalogue.taken:
        raise catalogue.no_taker(use_case, declared.name)
    return use_case, event_id, user_id


def _check_ids(**ids: str) -> None:
    for field, text in ids.items():
        if len(text) > MAXIMUM_ID_CHARACTERS:
            raise Refused("bad_value", "too long", field=field)
        if is_meaningless(text):
            raise Refused("bad_value", "an id that means nothing", field=field)
        if not (text.isprintable() or is_text(text)):
            raise Refused("bad_value", "control characters", field=field)


def _details(
    read: Any,
    time: datetime,
    postcodes: PostcodeIndex | None,
    *,
    latest: datetime,
) -> dict[str, Any]:
    """
    Return the values of an event beside its amount, by column.

    Raises:
        Refused: A value is invalid.
    """
    values: dict[str, Any] = {}
    further: dict[str, Any] = {**numerals_of(read), **_instants(read, latest)}
    age = getattr(read, "age", msgspec.UNSET)
    if age is not msgspec.UNSET:
        values["age"] = checked_age(age, field="age")
    for name, kind in read.declared.details:
        value = getattr(read, name)
        if kind in PERSONAL and value is msgspec.UNSET:
            if age is msgspec.UNSET:
                # A producer that holds back personal fields must send the age.
                raise Refused("missing_field", "the field is missing", field=name)
        elif kind == "birth date":
            values["age"] = age_at(value, time, field=name)
        elif kind == "label":
            values["label"] = label_of(value, field=name)
        elif kind != "personal":
            (values if name in _DETAILS else further)[name] = value
    if "postcode" in values:
        values["socioeconomic_idx"] = _index(values["postcode"], read, postcodes)
    if further:
        values["attributes"] = msgspec.json.encode(further).decode()
    return values


def _index(
    postcode: str | None, read: Any, postcodes: PostcodeIndex | None
) -> float | None:
    if postcode is None:
        return None
    if postcodes is not None:
        return postcodes.find(postcode)
    own = read.socioeconomic_idx
    return None if own is msgspec.UNSET or own is None else float(own)


def _instants(read: Any, latest: datetime) -> dict[str, str | None]:
    """Return an event's instants in ISO 8601; null for one that makes no sense."""
    return {
        name: None if moment is None else moment.isoformat()
        for name, moment in instants_of(read, latest=latest).items()
    }


def _times(events: Sequence[Event] | Sequence[Truth]) -> pa.Array:
    return pa.array([event.since for event in events], pa.int64()).cast(UTC_TIME)


def _event_rows(
    events: Sequence[Event], received_at: datetime, oldest: datetime
) -> pa.RecordBatch:
    count = len(events)
    times = _times(events)
    days = times.cast(pa.timestamp("us")).cast(pa.date32())
    columns: dict[str, Any] = {
        "use_case": [event.use_case for event in events],
        "event_id": [event.event_id for event in events],
        "user_id": [event.user_id for event in events],
        "event_type": [event.event_type for event in events],
        "message_id": [event.message.message_id for event in events],
        "event_time": times,
        "event_date": days,
        "amount": [event.amount for event in events],
        "is_late": pc.less(days, pa.scalar(oldest.date())),
        "published_at": published(event.message for event in events),
        **receipt(received_at, count),
    }
    detailed = [
        (row, event.details) for row, event in enumerate(events) if event.details
    ]
    for name in {name for _, details in detailed for name in details}:
        columns[name] = column = [None] * count
        for row, details in detailed:
            column[row] = details.get(name)
    return batch_of(EVENT_SCHEMA, columns, count)


def _truth_rows(truths: Sequence[Truth], received_at: datetime) -> pa.RecordBatch:
    columns = {
        "use_case": [truth.use_case for truth in truths],
        "event_id": [truth.event_id for truth in truths],
        "message_id": [truth.message.message_id for truth in truths],
        "label": [truth.label for truth in truths],
        "truth_time": pa.array([truth.since for truth in truths], pa.int64()).cast(
            UTC_TIME
        ),
        "published_at": published(truth.message for truth in truths),
        **receipt(received_at, len(truths)),
    }
    return batch_of(TRUTH_SCHEMA, columns, len(truths))
