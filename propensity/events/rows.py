"""
Rows: Arrow columns from decoded events, and rows of dead letters.

A column is parsed for a whole batch at once if its values have the usual format, and
value by value if not. An invalid event is added to ``refused``, by the place of its
message; its values in the columns then mean nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from propensity import tables
from propensity.events.messages import Message
from propensity.events.postcodes import PostcodeIndex
from propensity.events.record_batches import (
    STRING,
    Column,
    column_of,
    nulls,
    present,
    sparse_texts,
    sparse_values,
)
from propensity.events.redaction import redacted
from propensity.events.types import PERSONAL
from propensity.events.usual_form import Parts
from propensity.events.usual_times import are_within, usual_times
from propensity.events.values import (
    EARLIEST,
    EARLIEST_US,
    EPOCH,
    MICROSECOND,
    MOMENT,
    Refused,
    age_at,
    checked_age,
    instants_of,
    label_of,
    microseconds_of,
    moment_of,
    number_of,
    numerals_of,
)

EVENT_SCHEMA = tables.STREAM_EVENTS.arrow_schema()
TRUTH_SCHEMA = tables.TRUTH_EVENTS.arrow_schema()
DEAD_LETTER_SCHEMA = tables.DEAD_LETTERS.arrow_schema()

# A larger row would not fit in one append.
MAXIMUM_RAW_BYTES = 4 * 1024**2

UTC_TIME = pa.timestamp("us", "UTC")
DAY_US = timedelta(days=1) // MICROSECOND
_DATE, _FLOAT = pa.date32(), pa.float64()

# Columns that few events have: those of a registration, and further fields as JSON.
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
    """The settings of a deployment about events."""

    maximum_bytes: int
    clock_skew: timedelta
    lateness: timedelta
    keeps_personal: bool


class Decoded:
    """The decoded events of a batch, in lists of equal length."""

    __slots__ = (
        *("added", "altered", "attributes", "event_ids", "event_types", "events"),
        *("further", "kinds", "parts", "places", "sparse", "use_cases", "user_ids"),
    )

    def __init__(self) -> None:
        self.places: list[int] = []
        self.events: list[Any] = []
        # The structs of the events.
        self.kinds: set[Any] = set()
        self.event_types: list[str] = []
        self.use_cases: list[Any] = []
        self.event_ids: list[Any] = []
        self.user_ids: list[Any] = []
        # Rows of events with more than an amount, and rows that get further fields
        # before they are published.
        self.sparse: list[int] = []
        self.altered: list[int] = []
        # The further fields of events of numbers as JSON: a column, where that was all
        # at once, or by row.
        self.attributes: Column | None = None
        # If all events are of one type and in its usual form.
        self.parts: Parts | None = None
        self.further: dict[int, bytes] = {}
        # By row, the enrichment of the other events.
        self.added: dict[int, Mapping[str, Any]] = {}

    def only(self, rows: Sequence[int]) -> Decoded:
        """Return the events of some rows."""
        subset = Decoded()
        moved = {row: new for new, row in enumerate(rows)}
        subset.places = [self.places[row] for row in rows]
        subset.events = [self.events[row] for row in rows]
        subset.kinds = {*map(type, subset.events)}
        subset.event_types = [self.event_types[row] for row in rows]
        subset.use_cases = [self.use_cases[row] for row in rows]
        subset.event_ids = [self.event_ids[row] for row in rows]
        subset.user_ids = [self.user_ids[row] for row in rows]
        subset.sparse = [moved[row] for row in self.sparse if row in moved]
        subset.altered = [moved[row] for row in self.altered if row in moved]
        for name in ("further", "added"):
            fields = getattr(self, name)
            own = {moved[row]: one for row, one in fields.items() if row in moved}
            setattr(subset, name, own)
        return subset


def times_of(
    texts: Sequence[str],
    messages: Sequence[Message],
    *,
    fields: Sequence[str],
    places: Sequence[int],
    refused: dict[int, Refused],
    latest: datetime,
) -> tuple[NDArray[np.int64], Column]:
    """
    Return the times of events in microseconds since 1970; that of a refused event means
    nothing. And the column of the publication times of their messages.

    Args:
        texts: The times of the events.
        messages: Theirs, in the same order.
        fields: The name of each field, for the error.
        places: The message of each.
        refused: Gets the invalid ones.
        latest: A later time is invalid.
    """
    publications = [message.published_at for message in messages]
    # As a rule both are written alike: together they take half of the time.
    both = usual_times([*texts, *publications])
    if both is not None:
        since, published_at = both[: len(texts)], present(both[len(texts) :])
    else:
        own, others = usual_times(texts), usual_times(publications)
        since = (
            _moments_of(texts, fields=fields, places=places, refused=refused)
            if own is None
            else own
        )
        published_at = (
            column_of(published(messages)) if others is None else present(others)
        )
    if not are_within(since, latest):
        _refuse_range(
            since, texts, fields=fields, places=places, refused=refused, latest=latest
        )
    return since, published_at


def _moments_of(
    texts: Sequence[str],
    *,
    fields: Sequence[str],
    places: Sequence[int],
    refused: dict[int, Refused],
) -> NDArray[np.int64]:
    """Return times of which some may be in no usual format; see ``times_of``."""
    try:
        moments = pa.array(texts, STRING).cast(UTC_TIME)
    except pa.ArrowInvalid:
        odd = _each(texts, fields)
        for row, moment in odd.items():
            if isinstance(moment, Refused):
                refused.setdefault(places[row], moment)
                odd[row] = EPOCH
        others = [None if row in odd else text for row, text in enumerate(texts)]
        moments = pc.coalesce(
            pa.array(others, STRING).cast(UTC_TIME),
            pa.array([odd.get(row) for row in range(len(texts))], UTC_TIME),
        )
    since: NDArray[np.int64] = moments.view(pa.int64()).to_numpy()
    return since


def _refuse_range(
    since: NDArray[np.int64],
    texts: Sequence[str],
    *,
    fields: Sequence[str],
    places: Sequence[int],
    refused: dict[int, Refused],
    latest: datetime,
) -> None:
    """Refuse the events of moments that are too early or too late."""
    is_late = since > microseconds_of(latest)
    for row in np.flatnonzero(is_late | (since < EARLIEST_US)).tolist():
        # Arrow has years that datetime lacks; they are refused as bad times.
        moment = _moment(texts[row], fields[row])
        if not isinstance(moment, Refused):
            detail = "in the future" if is_late[row] else f"before {EARLIEST:%Y}"
            moment = Refused("bad_time", detail, field=fields[row])
        refused.setdefault(places[row], moment)


def _each(texts: Sequence[str], fields: Sequence[str]) -> dict[int, datetime | Refused]:
    """Return the times that Arrow may not parse, by row, each parsed alone."""
    odd = {row: text for row, text in enumerate(texts) if not MOMENT.fullmatch(text)}
    others = [text for row, text in enumerate(texts) if row not in odd]
    try:
        pa.array(others, STRING).cast(UTC_TIME)
    except (
        pa.ArrowInvalid
    ):  # a well-formed time, such as 30 February, is in no calendar
        odd = dict(enumerate(texts))
    return {row: _moment(text, fields[row]) for row, text in odd.items()}


def _moment(text: str, field: str) -> datetime | Refused:
    try:
        return moment_of(text, field=field)
    except Refused as error:
        return error


def published(messages: Sequence[Message]) -> pa.Array:
    """Return the publication times of messages; null if unknown."""
    texts = [message.published_at or None for message in messages]
    column = pa.array(texts, STRING)
    with contextlib.suppress(pa.ArrowInvalid):
        return column.cast(UTC_TIME)
    try:
        # Pub/Sub may send nanoseconds; BigQuery keeps microseconds.
        return column.cast(pa.timestamp("ns", "UTC")).cast(UTC_TIME, safe=False)
    except pa.ArrowInvalid:
        moments = [None if text is None else _moment(text, "") for text in texts]
        return pa.array(
            [None if isinstance(moment, Refused) else moment for moment in moments],
            UTC_TIME,
        )


def sparse_columns(
    decoded: Decoded,
    since: NDArray[np.int64],
    refused: dict[int, Refused],
    *,
    postcodes: PostcodeIndex | None,
    rules: Rules,
    latest: datetime,
) -> tuple[dict[str, Column], int]:
    """
    Return the columns that few events have, and the number of unknown postcodes.

    Events of numbers are ``numeric``'s, and their further fields are in
    ``decoded.attributes`` or ``decoded.further``.
    """
    count = len(decoded.events)
    filled: dict[str, dict[int, Any]] = {}
    unknown = 0
    if decoded.attributes is not None:
        return {**_absent(count), "attributes": decoded.attributes}, 0
    for row in decoded.sparse:
        if row in decoded.further or decoded.places[row] in refused:
            continue
        event = decoded.events[row]
        try:
            moment = EPOCH + int(since[row]) * MICROSECOND
            values = _details(event, moment, rules, latest)
        except Refused as error:
            refused[decoded.places[row]] = error
            continue
        if (postcode := values.get("postcode")) is not None:
            index = (
                postcodes.find(postcode)
                if postcodes is not None
                else None
                if event.socioeconomic_idx is msgspec.UNSET
                else event.socioeconomic_idx
            )
            values["socioeconomic_idx"] = index
            unknown += index is None
        if event.enrichment:
            decoded.added[row] = {name: values.get(name) for name in event.enrichment}
        for name, value in values.items():
            if value is not None:
                filled.setdefault(name, {})[row] = value
    if decoded.further:
        parsed = filled.get("attributes")
        filled["attributes"] = (
            dict(sorted({**decoded.further, **parsed}.items()))
            if parsed
            else decoded.further
        )
    columns = {
        name: _sparse(values, count, _SPARSE[name]) for name, values in filled.items()
    }
    return {**_absent(count), **columns}, unknown


@lru_cache(maxsize=4096)
def _absent(count: int) -> Mapping[str, Column]:
    """Return the columns that few events have, where none has."""
    return {name: nulls(kind, count) for name, kind in _SPARSE.items()}


def _sparse(values: dict[int, Any], count: int, kind: pa.DataType) -> Column:
    """Return a column with values in some rows."""
    if kind == STRING:
        if str in {*map(type, values.values())}:
            values = {row: text.encode() for row, text in values.items()}
        return sparse_texts(values, count)
    if kind == _DATE:
        days = {row: (day - EPOCH.date()).days for row, day in values.items()}
        return sparse_values(days, count, "<i")
    return sparse_values(values, count, "<d" if kind == _FLOAT else "<q")


def _details(
    event: Any, moment: datetime, rules: Rules, latest: datetime
) -> dict[str, Any]:
    """
    Return the values of an event beside its amount, by column.

    Raises:
        Refused: A value is invalid.
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
                # A producer that holds back personal fields must send the age.
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
        values["attributes"] = msgspec.json.encode(further)
    return values


def _instants(event: Any, latest: datetime) -> dict[str, str | None]:
    """Return an event's instants in ISO 8601; null for one that makes no sense."""
    return {
        name: None if moment is None else moment.isoformat()
        for name, moment in instants_of(event, latest=latest).items()
    }


def dead_letters(
    messages: Sequence[Message],
    refused: Mapping[int, Refused],
    *,
    received_at: datetime,
    personal: Mapping[str, str],
) -> pa.RecordBatch:
    """
    Return rows of ``dead_letters``: refused messages, without personal values.

    Args:
        messages: Of the batch.
        refused: The reasons, by place in ``messages``.
        received_at: Now, in UTC.
        personal: Kinds of the personal fields, by name.
    """
    letters = [messages[place] for place in refused]
    reasons = list(refused.values())
    count = len(letters)
    columns: dict[str, Any] = {
        "message_id": [message.message_id for message in letters],
        "reason": [refusal.reason for refusal in reasons],
        "field": [refusal.field for refusal in reasons],
        "detail": [refusal.detail for refusal in reasons],
        "raw": [
            redacted(message.data[:MAXIMUM_RAW_BYTES], personal) for message in letters
        ],
        "raw_size": [len(message.data) for message in letters],
        "attributes": [
            msgspec.json.encode(message.attributes).decode() for message in letters
        ],
        "published_at": published(letters),
        "received_at": [received_at] * count,
        "received_on": [received_at.date()] * count,
    }
    return pa.RecordBatch.from_arrays(
        [pa.array(columns[field.name], field.type) for field in DEAD_LETTER_SCHEMA],
        schema=DEAD_LETTER_SCHEMA,
    )
