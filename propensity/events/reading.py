"""
From messages to rows: decode, validate, enrich, encode; a batch of messages at a time.

Pure: messages, the postcode table and the time are given. A message gives one row of
``stream_events`` and one enriched event; or, where it says what came of an earlier
event, one row of ``truth_events``; or it is refused for a reason and goes to
``dead_letters`` as it came.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import filterfalse, product
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from propensity.events.catalogue import MAXIMUM_DEPTH, Catalogue, check_unread
from propensity.events.messages import Message
from propensity.events.postcodes import PostcodeIndex
from propensity.events.rows import (
    DAY_US,
    EVENT_SCHEMA,
    MAXIMUM_RAW_BYTES,
    STRING,
    TRUTH_SCHEMA,
    UTC_TIME,
    Decoded,
    Rules,
    amounts_of,
    enriched_event,
    microseconds,
    moments_of,
    published,
    sparse_columns,
)
from propensity.events.values import EPOCH, Refused, truth_of
from propensity.ids import MAXIMUM_ID_CHARACTERS
from propensity.privacy.suppression import Suppressed


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
        truth_events = read.only(
            [row for row, is_one in enumerate(are_truths) if is_one]
        )
        read = read.only([row for row, is_one in enumerate(are_truths) if not is_one])
        truths, truth_places = _truths(
            messages, truth_events, refused, latest, received_at
        )
    readable = len(refused)
    amounts = amounts_of(read, refused)
    texts = [event.event_time for event in read.events]
    moments = moments_of(
        texts, ["event_time"] * len(texts), read.places, refused, latest
    )
    sparse, unknown = sparse_columns(
        read, moments, refused, postcodes=postcodes, rules=rules, latest=latest
    )
    days = (microseconds(moments) // DAY_US).astype(np.int32)
    first_day = (received_at - EPOCH - rules.lateness) // timedelta(days=1)
    count = len(read.places)
    is_all = count == len(messages)
    taken = messages if is_all else [messages[place] for place in read.places]
    columns: dict[str, Any] = {
        "use_case": pa.array(read.use_cases, STRING),
        "event_id": pa.array(read.event_ids, STRING),
        "user_id": pa.array(read.user_ids, STRING),
        "event_type": pa.array(read.event_types, STRING),
        "event_time": moments,
        "event_date": pa.array(days).view(pa.date32()),
        "amount": amounts,
        **sparse,
        "is_late": pa.array(days < first_day),
        **_delivery(taken, received_at),
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
        enriched[row] = enriched_event(read, row, enriched[row], rows)
    return Accepted(
        rows=rows,
        enriched=enriched,
        places=read.places,
        truths=truths,
        truth_places=truth_places,
        refused=refused,
        unknown_postcodes=unknown,
    )


def _delivery(messages: Sequence[Message], received_at: datetime) -> dict[str, Any]:
    """Return the columns that say how events came: by which message, and when."""
    count = len(messages)
    return {
        "message_id": pa.array([one.message_id for one in messages], STRING),
        "published_at": published(messages),
        "received_at": pa.repeat(pa.scalar(received_at, UTC_TIME), count),
        "received_on": pa.repeat(pa.scalar(received_at.date(), pa.date32()), count),
    }


_NO_TRUTHS = pa.RecordBatch.from_pylist([], schema=TRUTH_SCHEMA)


def unsuppressed(
    accepted: Accepted, messages: Sequence[Message], suppressed: Suppressed
) -> tuple[Accepted, int]:
    """
    Return what came of a batch without anything about users on the list.

    A truth is about the user that its event is about: a type of truths has an
    identity, which is both.

    Args:
        accepted: What ``accept`` returned.
        messages: Of the batch.
        suppressed: The list.

    Returns:
        What is left, and how many messages are not in it any more.
    """
    kept, kept_truths = (
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
    left_out = sum(map(len, before)) - sum(map(len, (kept, kept_truths, refused)))
    if not left_out:
        return accepted, 0
    left = replace(
        accepted,
        rows=accepted.rows.take(pa.array(kept, pa.int64())),
        enriched=[accepted.enriched[row] for row in kept],
        places=[accepted.places[row] for row in kept],
        truths=accepted.truths.take(pa.array(kept_truths, pa.int64())),
        truth_places=[accepted.truth_places[row] for row in kept_truths],
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
    read: Decoded,
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
    moments = moments_of(texts, fields, read.places, refused, latest)
    taken = [messages[place] for place in read.places]
    columns: dict[str, Any] = {
        "use_case": pa.array(read.use_cases, STRING),
        "event_id": pa.array(read.event_ids, STRING),
        "label": pa.array(labels, pa.int64()),
        "truth_time": moments,
        **_delivery(taken, received_at),
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
) -> Decoded:
    """
    Decode messages, each for itself, and find out what each event is.

    In lists, since a loop over messages takes longer than decoding them does.
    """
    read = Decoded()
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
            refused.setdefault(places[row], _too_long("event_id"))
    if len(refused) == undecoded:
        return read
    return read.only([row for row, place in enumerate(places) if place not in refused])


def _too_long(field: str) -> Refused:
    return Refused("bad_value", "too long", field=field)


def _identify(read: Decoded, catalogue: Catalogue, refused: dict[int, Refused]) -> None:
    """Let events with an identity go by it, whatever else they came under."""
    for row, name in enumerate(read.event_types):
        if (field := catalogue.identities.get(name)) is not None:
            identity = str(getattr(read.events[row], field))
            if len(identity) > MAXIMUM_ID_CHARACTERS:
                refused[read.places[row]] = _too_long(field)
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
