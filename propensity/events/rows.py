"""
Rows: columns of Arrow out of decoded events, and rows of dead letters.

A column is made of all events of a batch at once where they are written as most
producers write them, and one by one where not. An event that cannot be is added to
``refused``, by the place of its message; its values are then any.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from propensity import tables
from propensity.events.messages import Message
from propensity.events.postcodes import PostcodeIndex
from propensity.events.redaction import redacted
from propensity.events.types import PERSONAL
from propensity.events.values import (
    AMOUNT,
    EARLIEST,
    EPOCH,
    MOMENT,
    Refused,
    age_at,
    amount_of,
    checked_age,
    instants_of,
    label_of,
    moment_of,
    number_of,
    numerals_of,
)

EVENT_SCHEMA = tables.STREAM_EVENTS.arrow_schema()
TRUTH_SCHEMA = tables.TRUTH_EVENTS.arrow_schema()
DEAD_LETTER_SCHEMA = tables.DEAD_LETTERS.arrow_schema()

# A row with more would not fit in one append.
MAXIMUM_RAW_BYTES = 4 * 1024**2

STRING = pa.string()
UTC_TIME = pa.timestamp("us", "UTC")
_MONEY = EVENT_SCHEMA.field("amount").type
_MICROSECOND = timedelta(microseconds=1)
DAY_US = timedelta(days=1) // _MICROSECOND

# A line for each event: money as most producers write it, or none.
_AMOUNTS = re.compile(rf"(?:(?:{AMOUNT[1:-1]})?+\n)*+".encode())

# Columns that few events fill: those of a registration, and further fields as JSON.
_SPARSE = {
    name: EVENT_SCHEMA.field(name).type
    for name in (
        "age",
        "city",
        "country",
        "postcode",
        "affiliate_url",
        "campaign",
        "socioeconomic_idx",
        "label",
        "name",
        "street_address",
        "date_of_birth",
        "attributes",
    )
}


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What a deployment chooses about events."""

    maximum_bytes: int
    clock_skew: timedelta
    lateness: timedelta
    keeps_personal: bool


class Decoded:
    """The events of a batch that could be decoded, in lists of one length."""

    __slots__ = (
        *("altered", "event_ids", "event_types", "events"),
        *("places", "sparse", "use_cases", "user_ids"),
    )

    def __init__(self) -> None:
        self.places: list[int] = []
        self.events: list[Any] = []
        self.event_types: list[str] = []
        self.use_cases: list[Any] = []
        self.event_ids: list[Any] = []
        self.user_ids: list[Any] = []
        # Rows that say more than an amount, and rows that are published with more
        # fields than they came with.
        self.sparse: list[int] = []
        self.altered: list[int] = []

    def only(self, rows: Sequence[int]) -> Decoded:
        """Return some of them."""
        kept = Decoded()
        moved = {row: new for new, row in enumerate(rows)}
        kept.places = [self.places[row] for row in rows]
        kept.events = [self.events[row] for row in rows]
        kept.event_types = [self.event_types[row] for row in rows]
        kept.use_cases = [self.use_cases[row] for row in rows]
        kept.event_ids = [self.event_ids[row] for row in rows]
        kept.user_ids = [self.user_ids[row] for row in rows]
        kept.sparse = [moved[row] for row in self.sparse if row in moved]
        kept.altered = [moved[row] for row in self.altered if row in moved]
        return kept


def amounts_of(read: Decoded, refused: dict[int, Refused]) -> pa.Array:
    """Return money as exact decimals, null where an event has none."""
    amounts = [event.amount for event in read.events]
    has_none = np.zeros(len(amounts), np.bool_)
    for row in read.sparse:
        if amounts[row] is None:
            has_none[row], amounts[row] = True, b""
    lines = b"\n".join(amounts)
    digits: list[Any]
    if _AMOUNTS.fullmatch(lines + b"\n"):
        digits = lines.split(b"\n") if amounts else []
    else:
        digits = [bytes(one) for one in amounts]
        for row, one in enumerate(digits):
            if _AMOUNTS.fullmatch(one + b"\n"):
                continue
            try:
                field = read.events[row].declared.amount
                digits[row] = str(amount_of(one, field=field))
            except Refused as error:
                refused[read.places[row]] = error
                has_none[row] = True
    return pa.array(digits, STRING, mask=has_none).cast(_MONEY)


def moments_of(
    texts: Sequence[str],
    fields: Sequence[str],
    places: Sequence[int],
    refused: dict[int, Refused],
    latest: datetime,
) -> pa.Array:
    """
    Return times; of one that is refused it is any.

    Args:
        texts: As they came.
        fields: The name of each, for the error.
        places: The message of each.
        refused: Gets those that cannot be.
        latest: The last moment that can.
    """
    try:
        moments = pa.array(texts, STRING).cast(UTC_TIME)
    except pa.ArrowInvalid:
        found = _each(texts, fields)
        for row, one in found.items():
            if isinstance(one, Refused):
                refused.setdefault(places[row], one)
                found[row] = EPOCH
        others = [None if row in found else text for row, text in enumerate(texts)]
        moments = pc.coalesce(
            pa.array(others, STRING).cast(UTC_TIME),
            pa.array([found.get(row) for row in range(len(texts))], UTC_TIME),
        )
    since = microseconds(moments)
    is_early = since < (EARLIEST - EPOCH) // _MICROSECOND
    is_late = since > (latest - EPOCH) // _MICROSECOND
    for row in np.flatnonzero(is_early | is_late).tolist():
        # Arrow has years that no datetime has; they are no moments here either.
        moment = _moment(texts[row], fields[row])
        if not isinstance(moment, Refused):
            detail = "in the future" if is_late[row] else f"before {EARLIEST:%Y}"
            moment = Refused("bad_time", detail, field=fields[row])
        refused.setdefault(places[row], moment)
    return moments


def microseconds(moments: pa.Array) -> NDArray[np.int64]:
    """Return moments, none of them null, as microseconds since 1970."""
    since: NDArray[np.int64] = moments.view(pa.int64()).to_numpy()
    return since


def _each(texts: Sequence[str], fields: Sequence[str]) -> dict[int, datetime | Refused]:
    """Return by row what Arrow may not read of times, each for itself."""
    odd = {row: text for row, text in enumerate(texts) if not MOMENT.fullmatch(text)}
    others = [text for row, text in enumerate(texts) if row not in odd]
    try:
        pa.array(others, STRING).cast(UTC_TIME)
    except pa.ArrowInvalid:  # one that looks like the others is in no calendar
        odd = dict(enumerate(texts))
    return {row: _moment(text, fields[row]) for row, text in odd.items()}


def _moment(text: str, field: str) -> datetime | Refused:
    try:
        return moment_of(text, field=field)
    except Refused as error:
        return error


def published(messages: Sequence[Message]) -> pa.Array:
    """Return when messages were published; null where it is not said."""
    texts = [message.published_at or None for message in messages]
    given = pa.array(texts, STRING)
    with contextlib.suppress(pa.ArrowInvalid):
        return given.cast(UTC_TIME)
    try:
        # Nanoseconds may be given; BigQuery keeps microseconds.
        return given.cast(pa.timestamp("ns", "UTC")).cast(UTC_TIME, safe=False)
    except pa.ArrowInvalid:
        found = [None if text is None else _moment(text, "") for text in texts]
        return pa.array(
            [None if isinstance(one, Refused) else one for one in found], UTC_TIME
        )


def sparse_columns(
    read: Decoded,
    moments: pa.Array,
    refused: dict[int, Refused],
    *,
    postcodes: PostcodeIndex | None,
    rules: Rules,
    latest: datetime,
) -> tuple[dict[str, pa.Array], int]:
    """Return the columns that few events fill, and how many postcodes are unknown."""
    count = len(read.events)
    filled: dict[str, list[Any]] = {}
    unknown = 0
    since = microseconds(moments)
    for row in read.sparse:
        if read.places[row] in refused:
            continue
        try:
            moment = EPOCH + int(since[row]) * _MICROSECOND
            values = _details(read.events[row], moment, rules, latest)
        except Refused as error:
            refused[read.places[row]] = error
            continue
        if (postcode := values.get("postcode")) is not None:
            given = read.events[row].socioeconomic_idx
            index = (
                postcodes.find(postcode)
                if postcodes is not None
                else None
                if given is msgspec.UNSET
                else given
            )
            values["socioeconomic_idx"] = index
            unknown += index is None
        for name, value in values.items():
            if name not in filled:
                filled[name] = [None] * count
            filled[name][row] = value
    columns = {}
    for name, kind in _SPARSE.items():
        column = filled.get(name)
        columns[name] = (
            pa.nulls(count, kind) if column is None else pa.array(column, kind)
        )
    return columns, unknown


def _details(
    event: Any, moment: datetime, rules: Rules, latest: datetime
) -> dict[str, Any]:
    """
    Return what an event says beyond its amount, by column.

    Raises:
        Refused: A field's value cannot be.
    """
    values: dict[str, Any] = {}
    further: dict[str, Any] = {**numerals_of(event), **_instants(event, latest)}
    age = getattr(event, "age", msgspec.UNSET)
    if age is not msgspec.UNSET:
        values["age"] = checked_age(age, field="age")
    for name, kind in event.declared.details:
        value = getattr(event, name)
        if kind in PERSONAL and value is msgspec.UNSET:
            if age is msgspec.UNSET:
                # Who keeps such fields to himself sends the age in their place.
                raise Refused("missing_field", "the field is missing", field=name)
        elif kind == "birth date":
            values["age"] = age_at(value, moment, field=name)
            if rules.keeps_personal:
                values["date_of_birth"] = value
        elif kind == "label":
            values["label"] = label_of(value, field=name)
        elif kind == "number":
            further[name] = number_of(bytes(value), field=name)
        elif kind != "personal" or rules.keeps_personal:
            (values if name in _SPARSE else further)[name] = value
    if further:
        values["attributes"] = msgspec.json.encode(further).decode()
    return values


def _instants(event: Any, latest: datetime) -> dict[str, str | None]:
    """Return an event's instants in ISO 8601; one that makes no sense is null."""
    return {
        name: None if moment is None else moment.isoformat()
        for name, moment in instants_of(event, latest=latest).items()
    }


_ENRICHMENT = ("socioeconomic_idx", "age")

# Values stay as they were written: a number read and written again may be another.
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def enriched_event(read: Decoded, row: int, data: bytes, rows: pa.RecordBatch) -> bytes:
    """Return an event with its identity and with what was found out about it."""
    event = read.events[row]
    added: dict[str, Any] = {}
    if event.event_id != read.event_ids[row]:
        added["event_id"] = read.event_ids[row]
    if event.use_case is None:
        added["use_case"] = read.use_cases[row]
    if event.user_id != read.user_ids[row]:
        added["user_id"] = read.user_ids[row]
    if event.is_bare:
        added["event_type"] = event.type_name
    for name in _ENRICHMENT:
        if hasattr(event, name):
            added[name] = rows.column(name)[row].as_py()
    return with_fields(data, added) if added else data


def with_fields(data: bytes, added: Mapping[str, Any]) -> bytes:
    """
    Return a JSON object with further fields; its own stay as they were written.

    Args:
        data: The object, not empty.
        added: Come in the place of fields of the same name.
    """
    # A name may be that of a field within a field, or be spelled in escapes.
    if b"\\u" in data or any(f'"{name}"'.encode() in data for name in added):
        return msgspec.json.encode({**_decode_fields(data), **added})
    whole = data.rstrip()
    return whole[:-1] + b"," + msgspec.json.encode(added)[1:]


def dead_letters(
    messages: Sequence[Message],
    refused: Mapping[int, Refused],
    *,
    received_at: datetime,
    personal: Mapping[str, str],
) -> pa.RecordBatch:
    """
    Return rows of ``dead_letters``: what was refused, as it came but for persons.

    Args:
        messages: As given to ``accept``.
        refused: Why, by place in ``messages``.
        received_at: Now, in UTC.
        personal: Kinds of the fields whose values are left out, by name.
    """
    chosen = [messages[place] for place in refused]
    reasons = list(refused.values())
    count = len(chosen)
    columns: dict[str, Any] = {
        "message_id": [message.message_id for message in chosen],
        "reason": [one.reason for one in reasons],
        "field": [one.field for one in reasons],
        "detail": [one.detail for one in reasons],
        "raw": [
            redacted(message.data[:MAXIMUM_RAW_BYTES], personal) for message in chosen
        ],
        "raw_size": [len(message.data) for message in chosen],
        "attributes": [
            msgspec.json.encode(message.attributes).decode() for message in chosen
        ],
        "published_at": published(chosen),
        "received_at": [received_at] * count,
        "received_on": [received_at.date()] * count,
    }
    return pa.RecordBatch.from_arrays(
        [pa.array(columns[field.name], field.type) for field in DEAD_LETTER_SCHEMA],
        schema=DEAD_LETTER_SCHEMA,
    )
