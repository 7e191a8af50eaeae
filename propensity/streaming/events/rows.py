"""
From messages to rows: decode, validate, enrich; a group of messages at a time.

Pure: messages, the postcode table and the time are arguments. A message becomes an
event, which is a row of ``stream_events`` and is published; or, if it states what an
earlier event turned out to be, a truth, a row of ``truth_events``; or it is refused
with a reason, and becomes a dead letter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from propensity.errors import without_frames
from propensity.ids import is_meaningless, problem_of
from propensity.schema import Table
from propensity.streaming.events.messages import UTC_TIME, Message, parse_times, receipt
from propensity.streaming.events.postcodes import PostcodeIndex
from propensity.streaming.events.types import Catalogue
from propensity.streaming.events.values import (
    CLOCK_SKEW,
    EARLIEST,
    EPOCH,
    MICROSECOND,
    BadEvent,
    age_at,
    amount_of,
    instant_in,
    label_in,
    microseconds_of,
    numeral_of,
    with_fields,
)
from propensity.suppression import NOBODY, Suppressed
from propensity.tables.stream import STREAM_EVENTS
from propensity.timeframe import midnight

_COLUMNS = frozenset(STREAM_EVENTS.types)
_CENTS = pa.decimal128(14, 2)
_NUMERIC = pa.decimal128(38, 9)
_BAD_TIME = f"the time is not in ISO 8601, or not from {EARLIEST:%Y} to now"
# These are an event's values, by column.
Values = Mapping[str, Any]
_NO_VALUES: Values = {}


class Event(msgspec.Struct, frozen=True, gc=False):
    """
    A valid event; or a truth, which has the ids of the event that it is about.

    Attributes:
        index: The place of its message in the group.
        time_us: When it happened, or was found out, in microseconds since 1970.
        amount: Money, in the types that have it.
        values: Of the further columns that its type fills.
        published: The enriched event, as JSON.
    """

    index: int
    message: Message
    use_case: str
    event_id: str
    user_id: str
    event_type: str
    time_us: int
    amount: float | None
    values: Values
    published: bytes


class Accepted(NamedTuple):
    """
    The outcome of a group: valid events, valid truths, and why messages were refused,
    by place. Messages about suppressed users are in none of them. A message that names
    no use case is an event of each that takes its type; the places of these are in
    ``unaddressed``.
    """

    events: list[Event]
    truths: list[Event]
    refused: dict[int, BadEvent]
    received_at: datetime
    unaddressed: set[int]


def accept(
    messages: Sequence[Message],
    catalogue: Catalogue,
    postcodes: PostcodeIndex | None,
    *,
    received_at: datetime,
    suppressed: Suppressed = NOBODY,
) -> Accepted:
    """
    Turn messages into events and truths.

    Args:
        postcodes: The postcode table; None for events that are enriched already.
        suppressed: The users whose events are not kept. The user of a truth is its
            event id.
    """
    accepted = Accepted([], [], {}, received_at, set())
    decoded: list[tuple[int, Message, Any, bytes]] = []
    for index, message in enumerate(messages):
        try:
            if message.problem is not None:
                raise message.problem
            parsed, data = catalogue.read(message.data)
            decoded.append((index, message, parsed, data))
        except BadEvent as error:
            accepted.refused[index] = without_frames(error)
    times = parse_times(
        [getattr(parsed, parsed.declared.time) for _, _, parsed, _ in decoded]
    )
    latest = received_at + CLOCK_SKEW
    earliest_us = microseconds_of(EARLIEST)
    latest_us = microseconds_of(latest)
    for (index, message, parsed, json), time_us in zip(
        decoded, times.cast(pa.int64()).to_pylist(), strict=True
    ):
        declared = parsed.declared
        try:
            if time_us is None or not earliest_us <= time_us <= latest_us:
                raise BadEvent("bad_time", _BAD_TIME, field=declared.time)
            use_case = _addressed_to(message, parsed)
            use_cases = _use_cases(use_case, parsed.declared.name, catalogue)
            if use_case is None:
                accepted.unaddressed.add(index)
            event_id, user_id = _ids(message, parsed)
            amount = None
            values = _NO_VALUES
            if declared.amount:
                field = declared.amount
                amount = amount_of(getattr(parsed, field), field=field)
            if declared.stored or declared.personal:
                moment = EPOCH + time_us * MICROSECOND
                values = _values(parsed, moment, postcodes, latest)
        except BadEvent as error:
            accepted.refused[index] = without_frames(error)
            continue
        for use_case in use_cases:
            if suppressed.covers(user_id, use_case):
                continue
            ids = use_case, event_id, user_id
            data = _enriched(json, parsed, ids, values)
            kind = declared.name
            (accepted.truths if declared.truth else accepted.events).append(
                Event(index, message, *ids, kind, time_us, amount, values, data)
            )
    return accepted


def _use_cases(
    use_case: str | None, event_type: str, catalogue: Catalogue
) -> Sequence[str]:
    use_cases = catalogue.use_cases_by_type.get(event_type, ())
    if use_case is None and use_cases:
        return use_cases
    if use_case is None or use_case not in use_cases:
        raise catalogue.unknown_type(use_case, event_type)
    return (use_case,)


def _addressed_to(message: Message, parsed: Any) -> str | None:
    """Return the use case that a message names, if any."""
    use_case: str | None = parsed.use_case
    if use_case is not None:
        return use_case
    attribute = message.attributes.get("use_case")
    return attribute if attribute else None


def _ids(message: Message, parsed: Any) -> tuple[str, str]:
    declared = parsed.declared
    attributes = message.attributes
    if declared.identity:
        event_id = user_id = str(getattr(parsed, declared.identity))
        _check_id(event_id, declared.identity)
    else:
        event_id = parsed.event_id
        if not event_id:
            event_id = attributes.get("event_id", "")
        if not event_id:
            event_id = message.message_id
        user_id = parsed.user_id
        _check_id(event_id, "event_id")
        _check_id(user_id, "user_id")
    return event_id, user_id


def _check_id(value: str, field: str) -> None:
    problem = problem_of(value)
    if is_meaningless(value):
        problem = "is a placeholder such as null or (not set)"
    if problem:
        raise BadEvent("bad_value", f"the id {problem}", field=field)


def _values(
    parsed: Any, moment: datetime, postcodes: PostcodeIndex | None, latest: datetime
) -> dict[str, object]:
    values: dict[str, object] = {}
    attributes: dict[str, object] = {}
    for name, kind in parsed.declared.stored.items():
        value = getattr(parsed, name)
        if value is msgspec.UNSET:
            continue
        if kind in ("label", "truth"):
            values["label"] = label_in(value, field=name)
        elif kind == "numeral":
            attributes[name] = numeral_of(value, field=name)
        elif kind == "instant":
            at = instant_in(value, latest=latest)
            attributes[name] = None if at is None else at.isoformat()
        else:
            (values if name in _COLUMNS else attributes)[name] = value
    if parsed.declared.personal:
        values["age"] = _age(parsed, moment)
    postcode = values.get("postcode")
    if postcodes is not None and isinstance(postcode, str):
        values["socioeconomic_idx"] = postcodes.find(postcode)
    if attributes:
        values["attributes"] = msgspec.json.encode(attributes).decode()
    return values


def _age(parsed: Any, moment: datetime) -> int | None:
    """Return the age at an event, which takes the place of personal fields."""
    given = getattr(parsed, "age", msgspec.UNSET)
    age: int | None = None if given is msgspec.UNSET else given
    for name, kind in parsed.declared.personal.items():
        value = getattr(parsed, name)
        if value is msgspec.UNSET:
            if given is msgspec.UNSET:
                # A producer that holds back personal fields must send the age.
                raise BadEvent("missing_field", "the field is missing", field=name)
        elif kind == "birth date":
            age = age_at(value, moment, field=name)
    return age


def _enriched(
    data: bytes, parsed: Any, ids: tuple[str, str, str], values: Mapping[str, object]
) -> bytes:
    use_case, event_id, user_id = ids
    added: dict[str, object] = {}
    if parsed.event_id != event_id:
        added["event_id"] = event_id
    if parsed.use_case is None:
        added["use_case"] = use_case
    if parsed.user_id != user_id:
        added["user_id"] = user_id
    if "postcode" in values:
        added["socioeconomic_idx"] = values.get("socioeconomic_idx")
    if values.get("age") is not None:
        added["age"] = values["age"]
    return with_fields(data, added) if added else data


def stored_rows(
    table: Table, events: Sequence[Event], *, received_at: datetime, lateness: timedelta
) -> pa.RecordBatch:
    """
    Return rows of a table.

    Args:
        table: STREAM_EVENTS or TRUTH_EVENTS, for truths.
        events: Or truths.
        lateness: An event of more days before is late.
    """
    times = pa.array([event.time_us for event in events], UTC_TIME)
    oldest = pa.scalar(midnight((received_at - lateness).date()), UTC_TIME)
    amounts = pa.array([event.amount for event in events], pa.float64())
    columns: dict[str, object] = {
        "event_time": times,
        "truth_time": times,
        "event_date": times.cast(pa.timestamp("us")).cast(pa.date32()),
        # Rounded to the cent: a float is the nearest to its digits, not equal.
        "amount": amounts.cast(_CENTS).cast(_NUMERIC),
        "is_late": pc.less(times, oldest),
        **receipt([event.message for event in events], received_at),
    }
    for name in ("use_case", "event_id", "user_id", "event_type"):
        columns[name] = [getattr(event, name) for event in events]
    further = dict[str, list[object]]()
    for row, event in enumerate(events):
        for name, value in event.values.items():
            if name not in further:
                further[name] = [None] * len(events)
            further[name][row] = value
    return table.batch(columns | further, len(events))
