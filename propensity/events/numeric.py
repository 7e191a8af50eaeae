"""
Events whose fields are numbers, a batch at once: their further fields as JSON, and bare
ones as they are published.

A number that was written as a number needs no parser of its own, and most instants are
written in one way. An event with a number in a text is left to the parsers of
``values``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any

import msgspec

from propensity.events.rows import Decoded
from propensity.events.values import EARLIEST, instant_in

# Instants as JSON in the usual format, to the millisecond in UTC; each in a line.
_USUAL = re.compile(
    rb'(?:"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z"\n)*+'
)
_LINE = len('"2026-03-01T12:00:00.123Z"\n')
_TEXT = len('"2026-03-01T12:00:00.123')

# The names that a bare event is published with, as JSON.
_ADDED = frozenset(
    f'"{name}"'.encode() for name in ("event_id", "use_case", "user_id", "event_type")
)
_encode = msgspec.json.Encoder().encode
_encode_lines = msgspec.json.Encoder().encode_lines


def complete(decoded: Decoded, payloads: Sequence[bytes], latest: datetime) -> None:
    """
    Set ``further`` and ``published`` of a batch's events of numbers.

    Args:
        decoded: The batch; the instants of its events are replaced.
        payloads: Of its messages, by row.
        latest: A later instant makes no sense.
    """
    by_type: dict[Any, Sequence[int]] = {}
    types = [type(decoded.events[row]) for row in decoded.sparse]
    for kind in {*types}:
        of_kind = zip(decoded.sparse, types, strict=True)
        by_type[kind] = [row for row, one in of_kind if one is kind]
    for kind, of_type in by_type.items():
        if kind.numeric is None:
            continue
        rows, events = of_type, [decoded.events[row] for row in of_type]
        if not kind.is_exact:
            rows, events = _finite(rows, events)
        are_usual = [_set_instants(events, n, latest) for n in kind.numeric.instants]
        first = b"," + kind.numeric.first if kind.is_exact else b"{"
        lines = _encode_lines(events).split(b"\n")
        for row, line in zip(rows, lines, strict=False):
            decoded.further[row] = b"{" + line[line.index(first) + 1 :]
        if kind.is_exact and all(are_usual):
            _publish(decoded, rows, payloads, kind.type_name)
    if len(by_type) > 1:
        decoded.further = dict(sorted(decoded.further.items()))


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


def _usual(raws: Sequence[Any], latest: datetime) -> list[str | None] | None:
    """Return instants in ISO 8601; None if one is not in the usual format or range."""
    joined = b"\n".join([*raws, b""])
    if not _USUAL.fullmatch(joined):
        return None
    lines = joined.decode()
    starts = range(0, len(lines), _LINE)
    texts = [lines[start + 1 : start + _TEXT] for start in starts]
    try:
        moments = [*map(datetime.fromisoformat, texts)]
    except ValueError:  # in no calendar
        return None
    if moments and not (
        EARLIEST.replace(tzinfo=None) <= min(moments)
        and max(moments) <= latest.replace(tzinfo=None)
    ):
        return None
    if ".000Z" not in lines:
        return [f"{text}000+00:00" for text in texts]
    return [moment.replace(tzinfo=UTC).isoformat() for moment in moments]


def _publish(
    decoded: Decoded, rows: Sequence[int], payloads: Sequence[bytes], event_type: str
) -> None:
    """
    Set bare events with exactly the fields of their type, as they are published.

    No name that is added is in such an event, but perhaps as its identity.
    """
    end = b',"event_type":%b}' % _encode(event_type)
    ids = _encode_lines([decoded.event_ids[row] for row in rows]).split(b"\n")
    sent = [payloads[row] for row in rows]
    if not _ADDED.isdisjoint(ids) or b"\\" in b"".join(sent):
        return
    names = {decoded.use_cases[row] for row in rows}
    use_cases = {name: b',"use_case":%b,"user_id":' % _encode(name) for name in names}
    for row, data, event_id in zip(rows, sent, ids, strict=False):
        if data.endswith(b"}"):
            use_case = use_cases[decoded.use_cases[row]]
            parts = (data[:-1], b',"event_id":', event_id, use_case, event_id, end)
            decoded.published[row] = b"".join(parts)
