"""
Events whose fields are numbers, a batch at once: their further fields as JSON, and bare
ones as they are published.

A bare event in the usual form keeps its numbers as they were written. A number that was
written as a number needs no parser of its own, and most instants are written in one
way. An event with a number in a text is left to the parsers of ``values``.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any

import msgspec

from propensity.events.rows import Decoded
from propensity.events.usual_form import Parts
from propensity.events.usual_times import are_within, times_in
from propensity.events.values import instant_in

# An instant as JSON in the usual format, to the millisecond in UTC, in a line.
_USUAL = b'"0000-00-00T00:00:00.000Z"\n'

# The names that a bare event is published with.
_ADDED = frozenset({"event_id", "use_case", "user_id", "event_type"})
_LONGEST_ADDED = max(map(len, _ADDED))
_BRACE = ord("}")
_encode = msgspec.json.Encoder().encode
_encode_lines = msgspec.json.Encoder().encode_lines


def complete(decoded: Decoded, payloads: list[bytes], latest: datetime) -> None:
    """
    Set the further fields of a batch's numeric events, and render those that are bare.

    Args:
        decoded: The batch, changed in place: its numeric events keep only their further
            fields, and their instants are replaced.
        payloads: Of its messages, by row. Those of bare events are replaced by the JSON
            to publish, so they no longer count as ``altered``.
        latest: A later instant makes no sense.
    """
    kinds = decoded.kinds
    for kind in kinds:
        if kind.numeric is None:
            continue
        rows: Sequence[int] = range(len(decoded.events))
        sent, event_ids = payloads, decoded.event_ids
        if len(kinds) > 1:
            rows = [row for row in rows if type(decoded.events[row]) is kind]
            sent = [payloads[row] for row in rows]
            event_ids = [event_ids[row] for row in rows]
        parts = decoded.parts
        if parts is not None and not parts.are_within(latest):
            parts = None
        if parts is not None:
            decoded.attributes, are_usual = parts.column(), True
        else:
            form = kind.numeric.usual_form if kind.is_bare else None
            usual = form.further(event_ids, sent, latest) if form else {}
            decoded.further.update((rows[at], text) for at, text in usual.items())
            others = [row for at, row in enumerate(rows) if at not in usual]
            are_usual = _write(decoded, others, kind, latest)
        if kind.is_exact and are_usual:
            _publish(decoded, rows, payloads, kind, parts)


def _write(decoded: Decoded, rows: Sequence[int], kind: Any, latest: datetime) -> bool:
    """Set the further fields of a kind's events; say if all instants were usual."""
    events: Sequence[Any] = [decoded.events[row] for row in rows]
    if not kind.is_exact:
        rows, events = _finite(rows, events)
    are_usual = [_set_instants(events, n, latest) for n in kind.numeric.instants]
    if kind.is_exact:
        # What is unset is not encoded.
        for name in kind.numeric.others:
            for event in events:
                setattr(event, name, msgspec.UNSET)
    # Behind the last line feed is nothing.
    lines = _encode_lines(events).split(b"\n")
    decoded.further.update(zip(rows, lines, strict=False))
    decoded.further = dict(sorted(decoded.further.items()))
    return all(are_usual)


def _finite(rows: Sequence[int], events: Sequence[Any]) -> tuple[list[int], list[Any]]:
    """Return the events whose numbers are numbers, reduced to those and instants."""
    remaining, reduced = [], []
    for row, event in zip(rows, events, strict=True):
        numeric = event.numeric
        numbers = numeric.numbers_of(event)
        try:
            total = sum(numbers)
        except TypeError:  # a number in a text
            continue
        # Of a number that is not finite no sum is.
        if total - total == 0:
            remaining.append(row)
            instants = [getattr(event, name) for name in numeric.instants]
            reduced.append(numeric.attributes(*numbers, *instants))
    return remaining, reduced


def _set_instants(events: Sequence[Any], name: str, latest: datetime) -> bool:
    """Set an instant of events to its text in ISO 8601; say if all were usual."""
    present, raws = events, [*map(attrgetter(name), events)]
    if msgspec.UNSET in raws:
        present = [e for e in events if getattr(e, name) is not msgspec.UNSET]
        raws = [raw for raw in raws if raw is not msgspec.UNSET]
    texts = _usual(raws, latest)
    is_usual = texts is not None
    if texts is None:
        moments = [instant_in(raw, latest=latest) for raw in raws]
        texts = [None if moment is None else moment.isoformat() for moment in moments]
    for event, text in zip(present, texts, strict=True):
        setattr(event, name, text)
    return is_usual


def _usual(raws: Sequence[Any], latest: datetime) -> Sequence[str | None] | None:
    """Return instants in ISO 8601; None if one is not in the usual format or range."""
    lines = b"\n".join([*raws, b""])
    times = times_in(lines, _USUAL, len(raws))
    if times is None or not are_within(times, latest):
        return None
    text = lines.decode().replace('"', "").replace(".000Z", "+00:00")
    return text.replace("Z", "000+00:00").split("\n")[:-1]


def _publish(
    decoded: Decoded,
    rows: Sequence[int],
    payloads: list[bytes],
    kind: Any,
    parts: Parts | None,
) -> None:
    """
    Replace bare events with exactly the fields of their type by what is published.

    No name that is added is in such an event, but perhaps as its identity. Others, and
    those of a batch with several use cases, are left to ``enrich``.
    """
    is_all = len(rows) == len(payloads)
    sent, event_ids, use_cases = (
        one if is_all else [one[row] for row in rows]
        for one in (payloads, decoded.event_ids, decoded.use_cases)
    )
    if (
        not rows
        or use_cases.count(use_cases[0]) < len(rows)
        or (
            min(map(len, event_ids)) <= _LONGEST_ADDED
            and not _ADDED.isdisjoint(event_ids)
        )
        or not (parts or _are_closed(sent))
    ):
        return
    start, end = b',"event_id":', b',"event_type":%b}' % _encode(kind.type_name)
    middle = b',"use_case":%b,"user_id":' % _encode(use_cases[0])
    joined = b"".join
    ids = _encode_lines(event_ids).split(b"\n")[:-1]
    published = [
        joined((data[:-1], start, event_id, middle, event_id, end))
        for data, event_id in zip(sent, ids, strict=True)
    ]
    if is_all:
        payloads[:] = published
        decoded.altered = []
        return
    for row, data in zip(rows, published, strict=True):
        payloads[row] = data
    decoded.altered = sorted({*decoded.altered}.difference(rows))


def _are_closed(sent: Sequence[bytes]) -> bool:
    """Say whether events end in their brace, and have no escapes."""
    return {data[-1] for data in sent} == {_BRACE} and b"\\" not in b"".join(sent)
