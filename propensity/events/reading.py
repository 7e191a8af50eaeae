"""
From messages to rows: decode, validate, enrich, encode; a batch of messages at a time.

Pure: messages, the postcode table and the time are arguments. A message becomes a row
of ``stream_events`` and an enriched event; or, if it tells the outcome of an earlier
event, a row of ``truth_events``; or it is refused with a reason and becomes a dead
letter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec
import numpy as np
import pyarrow as pa

from propensity.events import numeric
from propensity.events.amounts import amounts_of
from propensity.events.catalogue import Catalogue
from propensity.events.decoding import decode
from propensity.events.enrichment import enrich
from propensity.events.messages import Message
from propensity.events.postcodes import PostcodeIndex
from propensity.events.record_batches import (
    Batch,
    Column,
    Layout,
    dense_texts,
    few_texts,
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
from propensity.privacy.suppression import Suppressed


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """
    The outcome of a batch. A message is named by its place in the batch.

    Attributes:
        events: Rows of ``stream_events``.
        decoded: The events of those rows.
        enriched: The enriched event of each row, as JSON.
        truth_events: Rows of ``truth_events``.
        truth_places: The place of each truth's message.
        refused: Why messages were refused, by place.
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
        """The place of each row's message."""
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
    decoded = decode(messages, catalogue, rules, refused)
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
    event_ids = dense_texts(decoded.event_ids)
    columns = {
        "use_case": few_texts(decoded.use_cases),
        "event_id": event_ids,
        # An identity is both.
        "user_id": event_ids
        if decoded.user_ids is decoded.event_ids
        else dense_texts(decoded.user_ids),
        "event_type": few_texts(decoded.event_types),
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
    remaining = msgspec.structs.replace(
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
    """Return rows of ``truth_events``, and the place of each row's message."""
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
