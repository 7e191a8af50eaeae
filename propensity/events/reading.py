"""
From messages to rows: decode, validate, enrich, encode; a batch of messages at a time.

Pure: what a message is comes from ``bus``, the postcode table from its loader, the time
from the caller. A message gives one row of ``stream_events`` and one enriched event;
or, where it says what came of an earlier event, one row of ``truth_events``; or it is
refused for a reason and goes to ``dead_letters`` as it came.
"""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import filterfalse, product
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
from propensity.events.types import (
    AMOUNT,
    EARLIEST,
    EPOCH,
    MAXIMUM_DEPTH,
    MAXIMUM_ID_CHARACTERS,
    MOMENT,
    PERSONAL,
    Catalogue,
    Refused,
    age_at,
    amount_of,
    check_unread,
    checked_age,
    instants_of,
    label_of,
    moment_of,
    number_of,
    numerals_of,
    truth_of,
)
from propensity.privacy.suppression import Suppressed

EVENT_SCHEMA = tables.STREAM_EVENTS.arrow_schema()
TRUTH_SCHEMA = tables.TRUTH_EVENTS.arrow_schema()
DEAD_LETTER_SCHEMA = tables.DEAD_LETTERS.arrow_schema()

# A row with more would not fit in one append.
MAXIMUM_RAW_BYTES = 4 * 1024**2

_STRING = pa.string()
_UTC = pa.timestamp("us", "UTC")
_MONEY = EVENT_SCHEMA.field("amount").type
_MICROSECOND = timedelta(microseconds=1)
_DAY = timedelta(days=1) // _MICROSECOND

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


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """
    What came of a batch.

    ``rows`` are of ``stream_events``; ``enriched`` has the event of each as JSON, its
    original fields and what was found out, and ``places`` its message. ``truths`` are
    rows of ``truth_events``, and ``truth_places`` has the message of each. ``refused``
    has the reason by message.
    """

    rows: pa.RecordBatch
    enriched: Sequence[bytes]
    places: Sequence[int]
    truths: pa.RecordBatch
    truth_places: Sequence[int]
    refused: Mapping[int, Refused]
    unknown_postcodes: int

    @property
    def reasons(self) -> Mapping[str, int]:
        """How many were refused, by reason."""
        return Counter(one.reason for one in self.refused.values())


class _Reading:
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

    def only(self, rows: Sequence[int]) -> _Reading:
        """Return some of them."""
        kept = _Reading()
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


def accept(
    messages: Sequence[Message],
    catalogue: Catalogue,
    postcodes: PostcodeIndex | None,
    *,
    received_at: datetime,
    rules: Rules,
) -> Accepted:
    """
    Turn messages into rows and enriched events, or into truths.

    Args:
        messages: In any order.
        catalogue: Of the event types.
        postcodes: Of the table ``postcode_index``; None for events that are enriched.
        received_at: Now, in UTC.
        rules: Of the deployment.
    """
    refused: dict[int, Refused] = {}
    read = _read(messages, catalogue, rules, refused)
    latest = received_at + rules.clock_skew
    truths: pa.RecordBatch = _NO_TRUTHS
    truth_places: Sequence[int] = ()
    if not catalogue.truths.isdisjoint(read.event_types):
        are_truths = [name in catalogue.truths for name in read.event_types]
        told = read.only([row for row, is_one in enumerate(are_truths) if is_one])
        read = read.only([row for row, is_one in enumerate(are_truths) if not is_one])
        truths, truth_places = _truths(messages, told, refused, latest, received_at)
    readable = len(refused)
    amounts = _amounts(read, refused)
    texts = [event.event_time for event in read.events]
    moments = _moments(texts, ["event_time"] * len(texts), read.places, refused, latest)
    sparse, unknown = _sparse(
        read, moments, refused, postcodes=postcodes, rules=rules, latest=latest
    )
    days = (_microseconds(moments) // _DAY).astype(np.int32)
    first_day = (received_at - EPOCH - rules.lateness) // timedelta(days=1)
    count = len(read.places)
    is_all = count == len(messages)
    taken = messages if is_all else [messages[place] for place in read.places]
    columns: dict[str, Any] = {
        "use_case": pa.array(read.use_cases, _STRING),
        "event_id": pa.array(read.event_ids, _STRING),
        "user_id": pa.array(read.user_ids, _STRING),
        "event_type": pa.array(read.event_types, _STRING),
        "event_time": moments,
        "event_date": pa.array(days).view(pa.date32()),
        "amount": amounts,
        **sparse,
        "is_late": pa.array(days < first_day),
        "message_id": pa.array([one.message_id for one in taken], _STRING),
        "published_at": published(taken),
        "received_at": pa.repeat(pa.scalar(received_at, _UTC), count),
        "received_on": pa.repeat(pa.scalar(received_at.date(), pa.date32()), count),
    }
    rows = pa.RecordBatch.from_arrays(
        [columns[name] for name in EVENT_SCHEMA.names], schema=EVENT_SCHEMA
    )
    if len(refused) > readable:
        kept = [row for row, place in enumerate(read.places) if place not in refused]
        rows, read = rows.take(pa.array(kept, pa.int64())), read.only(kept)
        taken = [taken[row] for row in kept]
    enriched = [message.data for message in taken]
    for row in read.altered:
        enriched[row] = _enriched(read, row, enriched[row], rows)
    return Accepted(
        rows=rows,
        enriched=enriched,
        places=read.places,
        truths=truths,
        truth_places=truth_places,
        refused=refused,
        unknown_postcodes=unknown,
    )


_NO_TRUTHS = pa.RecordBatch.from_pylist([], schema=TRUTH_SCHEMA)


def unsuppressed(
    accepted: Accepted, messages: Sequence[Message], suppressed: Suppressed
) -> tuple[Accepted, int]:
    """
    Return what came of a batch without anything about users on the list.

    A truth is about the user that its event is about: a type that tells truths has an
    identity, which is both.

    Args:
        accepted: What ``accept`` returned.
        messages: Of the batch.
        suppressed: The list.

    Returns:
        What is left, and how many messages are not in it any more.
    """
    kept, told = (
        [
            row
            for row, (user, use_case) in enumerate(zip(users, use_cases, strict=True))
            if not suppressed.covers(user, use_case)
        ]
        for users, use_cases in (
            (_texts(accepted.rows, "user_id"), _texts(accepted.rows, "use_case")),
            (_texts(accepted.truths, "event_id"), _texts(accepted.truths, "use_case")),
        )
    )
    refused = unmentioned(accepted.refused, messages, suppressed)
    before = (accepted.places, accepted.truth_places, accepted.refused)
    left_out = sum(map(len, before)) - sum(map(len, (kept, told, refused)))
    if not left_out:
        return accepted, 0
    left = replace(
        accepted,
        rows=accepted.rows.take(pa.array(kept, pa.int64())),
        enriched=[accepted.enriched[row] for row in kept],
        places=[accepted.places[row] for row in kept],
        truths=accepted.truths.take(pa.array(told, pa.int64())),
        truth_places=[accepted.truth_places[row] for row in told],
        refused=refused,
    )
    return left, left_out


def _texts(rows: pa.RecordBatch, name: str) -> list[str]:
    texts: list[str] = rows.column(name).to_pylist()
    return texts


def unmentioned(
    refused: Mapping[int, Refused],
    messages: Sequence[Message],
    suppressed: Suppressed,
) -> dict[int, Refused]:
    """Return of what was refused the messages that name no user on the list."""
    return {
        place: reason
        for place, reason in refused.items()
        if not suppressed.is_mentioned(
            messages[place].data[:MAXIMUM_RAW_BYTES], messages[place].attributes
        )
    }


def _truths(
    messages: Sequence[Message],
    read: _Reading,
    refused: dict[int, Refused],
    latest: datetime,
    received_at: datetime,
) -> tuple[pa.RecordBatch, list[int]]:
    """Return rows of ``truth_events`` and the messages that they are of."""
    readable = len(refused)
    texts, fields, labels = [], [], []
    for place, event in zip(read.places, read.events, strict=True):
        truth, truth_time = event.declared.truth
        texts.append(getattr(event, truth_time))
        fields.append(truth_time)
        try:
            labels.append(truth_of(getattr(event, truth), field=truth))
        except Refused as error:
            refused[place] = error
            labels.append(0)
    moments = _moments(texts, fields, read.places, refused, latest)
    count = len(texts)
    taken = [messages[place] for place in read.places]
    columns: dict[str, Any] = {
        "use_case": pa.array(read.use_cases, _STRING),
        "event_id": pa.array(read.event_ids, _STRING),
        "label": pa.array(labels, pa.int64()),
        "truth_time": moments,
        "message_id": pa.array([one.message_id for one in taken], _STRING),
        "published_at": published(taken),
        "received_at": pa.repeat(pa.scalar(received_at, _UTC), count),
        "received_on": pa.repeat(pa.scalar(received_at.date(), pa.date32()), count),
    }
    rows = pa.RecordBatch.from_arrays(
        [columns[name] for name in TRUTH_SCHEMA.names], schema=TRUTH_SCHEMA
    )
    if len(refused) == readable:
        return rows, read.places
    kept = [row for row, place in enumerate(read.places) if place not in refused]
    return rows.take(pa.array(kept, pa.int64())), [read.places[row] for row in kept]


def _read(
    messages: Sequence[Message],
    catalogue: Catalogue,
    rules: Rules,
    refused: dict[int, Refused],
) -> _Reading:
    """
    Decode messages, each for itself, and find out what each event is.

    In lists, since a loop over messages takes longer than decoding them does.
    """
    read = _Reading()
    events, places = read.events, read.places
    for first, run in _decode(messages, catalogue, rules, refused, first=0):
        events += run
        places += range(first, first + len(run))
    undecoded = len(refused)
    types = read.event_types = [event.type_name for event in events]
    use_cases = read.use_cases = [event.use_case for event in events]
    event_ids = read.event_ids = [event.event_id for event in events]
    read.user_ids = [event.user_id for event in events]
    met = {*types}
    if not catalogue.identities.keys().isdisjoint(met):
        _identify(read, catalogue, refused)
    read.sparse = [row for row, event in enumerate(events) if not event.is_plain]
    read.altered = read.sparse
    if None in use_cases or None in event_ids:
        found = enumerate(zip(use_cases, event_ids, strict=True))
        nameless = {row for row, names in found if None in names}
        read.altered = sorted(nameless.union(read.sparse))
        for row in nameless:
            message = messages[places[row]]
            given = message.attributes
            if use_cases[row] is None:
                default = catalogue.default.get(types[row])
                use_cases[row] = given.get("use_case") or default
            event_ids[row] = (
                event_ids[row] or given.get("event_id") or message.message_id
            )
    if not catalogue.taken.issuperset(product({*use_cases}, met)):
        for row, taken in enumerate(zip(use_cases, types, strict=True)):
            if taken not in catalogue.taken:
                refused[places[row]] = catalogue.not_taken(*taken)
    for row in read.altered:
        if len(event_ids[row]) > MAXIMUM_ID_CHARACTERS:
            too_long = Refused("bad_value", "too long", field="event_id")
            refused.setdefault(places[row], too_long)
    if len(refused) == undecoded:
        return read
    return read.only([row for row, place in enumerate(places) if place not in refused])


def _identify(
    read: _Reading, catalogue: Catalogue, refused: dict[int, Refused]
) -> None:
    """Let events with an identity go by it, whatever else they came under."""
    for row, name in enumerate(read.event_types):
        if (field := catalogue.identities.get(name)) is not None:
            identity = str(getattr(read.events[row], field))
            if len(identity) > MAXIMUM_ID_CHARACTERS:
                too_long = Refused("bad_value", "too long", field=field)
                refused[read.places[row]] = too_long
            read.event_ids[row] = read.user_ids[row] = identity


def _decode(
    messages: Sequence[Message],
    catalogue: Catalogue,
    rules: Rules,
    refused: dict[int, Refused],
    *,
    first: int,
) -> Iterator[tuple[int, list[Any]]]:
    """Yield runs of events, each with the place of its first; ``first`` is of all."""
    try:
        yield first, _decoded(messages, catalogue, rules)
    except (Refused, msgspec.MsgspecError, ValueError, RecursionError) as error:
        if len(messages) == 1:
            data = messages[0].data
            refused[first] = (
                error if isinstance(error, Refused) else catalogue.explain(data, error)
            )
            return
    else:
        return
    # One that is broken must not touch another: the halves tell which it is.
    half = len(messages) // 2
    yield from _decode(messages[:half], catalogue, rules, refused, first=first)
    yield from _decode(messages[half:], catalogue, rules, refused, first=first + half)


def _decoded(
    messages: Sequence[Message], catalogue: Catalogue, rules: Rules
) -> list[Any]:
    """
    Return the events of messages.

    Raises:
        Refused, MsgspecError, ValueError, RecursionError: One of them is broken.
    """
    for message in messages:
        if message.problem is not None:
            raise message.problem
    payloads = [message.data for message in messages]
    longest = max(map(len, payloads), default=0)
    if longest > rules.maximum_bytes:
        raise Refused("too_large", f"over {rules.maximum_bytes} bytes")
    try:
        events = [*map(catalogue.decode, payloads)]
    except msgspec.ValidationError as error:
        if not catalogue.may_be_bare(error):
            raise
        # The type is looked for in each for itself.
        events = [catalogue.read(one.data, one.attributes) for one in messages]
    # Short ASCII cannot be wrong where nobody reads it.
    for data in filterfalse(bytes.isascii, payloads):
        check_unread(data)
    if longest > 2 * MAXIMUM_DEPTH:
        for data in payloads:
            if len(data) > 2 * MAXIMUM_DEPTH:
                check_unread(data)
    return events


def _amounts(read: _Reading, refused: dict[int, Refused]) -> pa.Array:
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
    return pa.array(digits, _STRING, mask=has_none).cast(_MONEY)


def _moments(
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
        moments = pa.array(texts, _STRING).cast(_UTC)
    except pa.ArrowInvalid:
        found = _each(texts, fields)
        for row, one in found.items():
            if isinstance(one, Refused):
                refused.setdefault(places[row], one)
                found[row] = EPOCH
        others = [None if row in found else text for row, text in enumerate(texts)]
        moments = pc.coalesce(
            pa.array(others, _STRING).cast(_UTC),
            pa.array([found.get(row) for row in range(len(texts))], _UTC),
        )
    since = _microseconds(moments)
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


def _microseconds(moments: pa.Array) -> NDArray[np.int64]:
    """Return moments, none of them null, as microseconds since 1970."""
    since: NDArray[np.int64] = moments.view(pa.int64()).to_numpy()
    return since


def _each(texts: Sequence[str], fields: Sequence[str]) -> dict[int, datetime | Refused]:
    """Return by row what Arrow may not read of times, each for itself."""
    odd = {row: text for row, text in enumerate(texts) if not MOMENT.fullmatch(text)}
    others = [text for row, text in enumerate(texts) if row not in odd]
    try:
        pa.array(others, _STRING).cast(_UTC)
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
    given = pa.array(texts, _STRING)
    with contextlib.suppress(pa.ArrowInvalid):
        return given.cast(_UTC)
    try:
        # Nanoseconds may be given; BigQuery keeps microseconds.
        return given.cast(pa.timestamp("ns", "UTC")).cast(_UTC, safe=False)
    except pa.ArrowInvalid:
        found = [None if text is None else _moment(text, "") for text in texts]
        return pa.array(
            [None if isinstance(one, Refused) else one for one in found], _UTC
        )


def _sparse(
    read: _Reading,
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
    since = _microseconds(moments)
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
    """Return the instants that an event tells, in ISO 8601; a senseless one is null."""
    return {
        name: None if moment is None else moment.isoformat()
        for name, moment in instants_of(event, latest=latest).items()
    }


_ENRICHMENT = ("socioeconomic_idx", "age")

# Values stay as they were written: a number read and written again may be another.
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def _enriched(read: _Reading, row: int, data: bytes, rows: pa.RecordBatch) -> bytes:
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
