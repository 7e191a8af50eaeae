"""
From messages to rows: decode, validate, enrich, encode; a batch of messages at a time.

Pure: messages, the postcode table and the time are arguments. A message becomes a row
of ``stream_events`` and an enriched event; or, if it tells the outcome of an earlier
event, a row of ``truth_events``; or it is refused with a reason and becomes a dead
letter.
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

from propensity.events import numeric
from propensity.events.amounts import amounts_of
from propensity.events.catalogue import MAXIMUM_DEPTH, Catalogue, check_unread
from propensity.events.enrichment import enrich
from propensity.events.messages import Message
from propensity.events.postcodes import PostcodeIndex
from propensity.events.record_batches import (
    Batch,
    Column,
    Layout,
    dense_texts,
    nulls,
    present,
)
from propensity.events.rows import (
    DAY_US,
    EVENT_SCHEMA,
    MAXIMUM_RAW_BYTES,
    TRUTH_SCHEMA,
    Decoded,
    Rules,
    sparse_columns,
    times_of,
)
from propensity.events.values import EPOCH, Refused, microseconds_of, truth_of
from propensity.ids import MAXIMUM_ID_CHARACTERS
from propensity.privacy.suppression import Suppressed


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """
    The outcome of a batch.

    Attributes:
        events: Rows of ``stream_events``.
        decoded: The events of those rows.
        enriched: The enriched event of each row, as JSON.
        truth_events: Rows of ``truth_events``.
        truth_places: The message of each truth.
        refused: The reasons of refusals, by message.
        unknown_postcodes: How many postcodes have no index.
    """

    events: Batch
    decoded: Decoded
    enriched: Sequence[bytes]
    truth_events: Batch
    truth_places: Sequence[int]
    refused: Mapping[int, Refused]
    unknown_postcodes: int

    @property
    def rows(self) -> pa.RecordBatch:
        """The rows of ``stream_events``."""
        return self.events.rows

    @property
    def places(self) -> Sequence[int]:
        """The message of each row."""
        return self.decoded.places

    @property
    def truths(self) -> pa.RecordBatch:
        """The rows of ``truth_events``."""
        return self.truth_events.rows

    @property
    def reasons(self) -> Mapping[str, int]:
        """The number of refused messages, by reason."""
        return Counter(refusal.reason for refusal in self.refused.values())


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
        postcodes: The postcode table; None for events that are enriched already.
        received_at: Now, in UTC.
        rules: Of the deployment.
    """
    refused: dict[int, Refused] = {}
    decoded = _events_of(messages, catalogue, rules, refused)
    latest = received_at + rules.clock_skew
    truths, truth_places = _NO_TRUTHS, list[int]()
    if not catalogue.truths.isdisjoint(decoded.event_types):
        are_truths = [name in catalogue.truths for name in decoded.event_types]
        truth_events = decoded.only(
            [row for row, is_truth in enumerate(are_truths) if is_truth]
        )
        decoded = decoded.only(
            [row for row, is_truth in enumerate(are_truths) if not is_truth]
        )
        truths, truth_places = _truths(
            messages, truth_events, refused, latest, received_at
        )
    readable = len(refused)
    amounts = amounts_of(decoded, refused)
    count = len(decoded.places)
    is_all = count == len(messages)
    sources = messages if is_all else [messages[place] for place in decoded.places]
    payloads = [message.data for message in sources]
    since, publications = times_of(
        [event.event_time for event in decoded.events],
        sources,
        fields=["event_time"] * count,
        places=decoded.places,
        refused=refused,
        latest=latest,
    )
    if decoded.sparse:
        numeric.complete(decoded, payloads, latest)
    sparse, unknown = sparse_columns(
        decoded, since, refused, postcodes=postcodes, rules=rules, latest=latest
    )
    days = (since // DAY_US).astype(np.int32)
    first_day = (received_at - EPOCH - rules.lateness) // timedelta(days=1)
    columns = {
        "use_case": dense_texts(decoded.use_cases),
        "event_id": dense_texts(decoded.event_ids),
        "user_id": dense_texts(decoded.user_ids),
        "event_type": dense_texts(decoded.event_types),
        "message_id": dense_texts([message.message_id for message in sources]),
        "event_time": present(since),
        "event_date": present(days),
        "amount": amounts,
        **sparse,
        "is_late": (
            0,
            (b"", np.packbits(days < first_day, bitorder="little").tobytes()),
        ),
        "published_at": publications,
        **_receipt(received_at, count),
    }
    events = _EVENTS.batch(count, [columns[name] for name in _EVENTS.names])
    if len(refused) > readable:
        remaining = [
            row for row, place in enumerate(decoded.places) if place not in refused
        ]
        events, decoded = events.take(remaining), decoded.only(remaining)
        payloads = [payloads[row] for row in remaining]
    return Accepted(
        events=events,
        decoded=decoded,
        enriched=enrich(decoded, payloads),
        truth_events=truths,
        truth_places=truth_places,
        refused=refused,
        unknown_postcodes=unknown,
    )


def _receipt(received_at: datetime, count: int) -> dict[str, Column]:
    """Return the columns of receipt."""
    since = microseconds_of(received_at)
    return {
        "received_at": (0, (b"", since.to_bytes(8, "little") * count)),
        "received_on": (0, (b"", (since // DAY_US).to_bytes(4, "little") * count)),
    }


_EVENTS = Layout(EVENT_SCHEMA)
_TRUTHS = Layout(TRUTH_SCHEMA)
_NO_TRUTHS = _TRUTHS.batch(0, [nulls(field.type, 0) for field in TRUTH_SCHEMA])


def unsuppressed(
    accepted: Accepted, messages: Sequence[Message], suppressed: Suppressed
) -> tuple[Accepted, int]:
    """
    Return the outcome of a batch without users on the list.

    The user of a truth is its event id: types with a truth have an identity, which is
    both.

    Args:
        accepted: From ``accept``.
        messages: Of the batch.
        suppressed: The list.

    Returns:
        The rest of the outcome, and the number of messages that were taken out.
    """
    decoded, truths = accepted.decoded, accepted.truths
    event_rows, truth_rows = (
        [
            row
            for row, (user, use_case) in enumerate(zip(users, use_cases, strict=True))
            if not suppressed.covers(user, use_case)
        ]
        for users, use_cases in (
            (decoded.user_ids, decoded.use_cases),
            [truths[name].to_pylist() for name in ("event_id", "use_case")],
        )
    )
    refused = unmentioned(accepted.refused, messages, suppressed)
    before = (accepted.places, accepted.truth_places, accepted.refused)
    n_suppressed = sum(map(len, before)) - sum(
        map(len, (event_rows, truth_rows, refused))
    )
    if not n_suppressed:
        return accepted, 0
    remaining = replace(
        accepted,
        events=accepted.events.take(event_rows),
        decoded=decoded.only(event_rows),
        enriched=[accepted.enriched[row] for row in event_rows],
        truth_events=accepted.truth_events.take(truth_rows),
        truth_places=[accepted.truth_places[row] for row in truth_rows],
        refused=refused,
    )
    return remaining, n_suppressed


def unmentioned(
    refused: Mapping[int, Refused],
    messages: Sequence[Message],
    suppressed: Suppressed,
) -> dict[int, Refused]:
    """Return the refusals of messages that name no user on the list."""
    return {
        place: reason
        for place, reason in refused.items()
        if not suppressed.is_mentioned(
            messages[place].data[:MAXIMUM_RAW_BYTES], messages[place].attributes
        )
    }


def _truths(
    messages: Sequence[Message],
    decoded: Decoded,
    refused: dict[int, Refused],
    latest: datetime,
    received_at: datetime,
) -> tuple[Batch, list[int]]:
    """Return rows of ``truth_events`` and the message of each."""
    readable = len(refused)
    texts, fields, labels = [], [], []
    for place, event in zip(decoded.places, decoded.events, strict=True):
        truth, truth_time = event.declared.truth
        texts.append(getattr(event, truth_time))
        fields.append(truth_time)
        try:
            labels.append(truth_of(getattr(event, truth), field=truth))
        except Refused as error:
            refused[place] = error
            labels.append(0)
    sources = [messages[place] for place in decoded.places]
    since, publications = times_of(
        texts,
        sources,
        fields=fields,
        places=decoded.places,
        refused=refused,
        latest=latest,
    )
    columns = {
        "use_case": dense_texts(decoded.use_cases),
        "event_id": dense_texts(decoded.event_ids),
        "message_id": dense_texts([message.message_id for message in sources]),
        "label": present(np.array(labels, np.int64)),
        "truth_time": present(since),
        "published_at": publications,
        **_receipt(received_at, len(sources)),
    }
    rows = _TRUTHS.batch(len(sources), [columns[name] for name in _TRUTHS.names])
    if len(refused) == readable:
        return rows, decoded.places
    remaining = [
        row for row, place in enumerate(decoded.places) if place not in refused
    ]
    return rows.take(remaining), [decoded.places[row] for row in remaining]


def _events_of(
    messages: Sequence[Message],
    catalogue: Catalogue,
    rules: Rules,
    refused: dict[int, Refused],
) -> Decoded:
    """
    Decode messages, and complete type, use case, user and id of each event.

    It works on whole lists: a Python loop over messages takes longer than decoding.
    """
    decoded = Decoded()
    events, places = decoded.events, decoded.places
    for first, run in _decode_runs(messages, catalogue, rules, refused, first=0):
        events += run
        places += range(first, first + len(run))
    undecoded = len(refused)
    kinds = {*map(type, events)}
    types = decoded.event_types = [event.type_name for event in events]
    use_cases = decoded.use_cases = [event.use_case for event in events]
    event_ids = decoded.event_ids = [event.event_id for event in events]
    decoded.user_ids = [event.user_id for event in events]
    met = {*types}
    if not catalogue.identities.keys().isdisjoint(met):
        _identify(decoded, catalogue, refused)
    if not all(kind.is_plain for kind in kinds):
        decoded.sparse = [row for row, event in enumerate(events) if not event.is_plain]
    decoded.altered = decoded.sparse
    if None in use_cases or None in event_ids:
        _name(decoded, messages, catalogue)
    if not catalogue.taken.issuperset(product({*use_cases}, met)):
        for row, pair in enumerate(zip(use_cases, types, strict=True)):
            if pair not in catalogue.taken:
                refused[places[row]] = catalogue.no_taker(*pair)
    if max(map(len, event_ids), default=0) > MAXIMUM_ID_CHARACTERS:
        for place, event_id in zip(places, event_ids, strict=True):
            if len(event_id) > MAXIMUM_ID_CHARACTERS:
                refused.setdefault(place, _too_long("event_id"))
    if len(refused) == undecoded:
        return decoded
    return decoded.only(
        [row for row, place in enumerate(places) if place not in refused]
    )


def _name(decoded: Decoded, messages: Sequence[Message], catalogue: Catalogue) -> None:
    """Set use case and id of events that lack one from their messages."""
    use_cases, event_ids = decoded.use_cases, decoded.event_ids
    pairs = enumerate(zip(use_cases, event_ids, strict=True))
    nameless = [row for row, (one, other) in pairs if one is None or other is None]
    if len(decoded.sparse) < len(use_cases):
        decoded.altered = sorted({*nameless, *decoded.sparse})
    default = catalogue.default
    for row in nameless:
        message = messages[decoded.places[row]]
        attributes = message.attributes
        if use_cases[row] is None:
            named = attributes.get("use_case") if attributes else None
            use_cases[row] = named or default.get(decoded.event_types[row])
        if not event_ids[row]:
            event_ids[row] = attributes.get("event_id") or message.message_id


def _too_long(field: str) -> Refused:
    return Refused("bad_value", "too long", field=field)


def _identify(read: Decoded, catalogue: Catalogue, refused: dict[int, Refused]) -> None:
    """Set user and id of events with an identity to it."""
    identities = catalogue.identities
    for row, (event, name) in enumerate(
        zip(read.events, read.event_types, strict=True)
    ):
        if name in identities:
            identity = str(getattr(event, identities[name]))
            if len(identity) > MAXIMUM_ID_CHARACTERS:
                refused[read.places[row]] = _too_long(identities[name])
            read.event_ids[row] = read.user_ids[row] = identity


def _decode_runs(
    messages: Sequence[Message],
    catalogue: Catalogue,
    rules: Rules,
    refused: dict[int, Refused],
    *,
    first: int,
) -> Iterator[tuple[int, list[Any]]]:
    """Yield runs of valid events, each with the place of its first message."""
    try:
        yield first, _decode_all(messages, catalogue, rules)
    except (Refused, msgspec.MsgspecError, ValueError, RecursionError) as error:
        if len(messages) == 1:
            data = messages[0].data
            refused[first] = (
                error if isinstance(error, Refused) else catalogue.explain(data, error)
            )
            return
    else:
        return
    # An invalid event must not refuse the others: halve the batch to find it.
    half = len(messages) // 2
    yield from _decode_runs(messages[:half], catalogue, rules, refused, first=first)
    yield from _decode_runs(
        messages[half:], catalogue, rules, refused, first=first + half
    )


def _is_nested(joined: bytes, count: int) -> bool:
    """Say whether there may be more in valid events than so many flat objects."""
    return b"[" in joined or joined.count(b"{") > count


def _decode_all(
    messages: Sequence[Message], catalogue: Catalogue, rules: Rules
) -> list[Any]:
    """
    Return the events of messages.

    Raises:
        Refused, MsgspecError, ValueError, RecursionError: One of them is invalid.
    """
    for message in messages:
        if message.problem is not None:
            raise message.problem
    payloads = [message.data for message in messages]
    longest = max(map(len, payloads), default=0)
    if longest > rules.maximum_bytes:
        raise Refused("too_large", f"over {rules.maximum_bytes} bytes")
    events = catalogue.read_all(messages, payloads)
    # Short ASCII is valid in undeclared fields, too.
    for data in filterfalse(bytes.isascii, payloads):
        check_unread(data)
    if longest > 2 * MAXIMUM_DEPTH and _is_nested(b"".join(payloads), len(payloads)):
        for data in payloads:
            if len(data) > 2 * MAXIMUM_DEPTH:
                check_unread(data)
    return events
