"""
Decoding: messages to events, each with its type, use case, user and id.

It works on whole lists: a Python loop over messages takes longer than decoding.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import chain, product
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np

from propensity.events.catalogue import MAXIMUM_DEPTH, Catalogue, check_unread
from propensity.events.messages import Message
from propensity.events.rows import Decoded, Rules
from propensity.events.usual_form import Parts, usual_parts
from propensity.events.values import Refused
from propensity.ids import MAXIMUM_ID_CHARACTERS, is_text

_BRACE = ord("{")

# What stands in JSON for a control character behind a backslash, and in UTF-8 behind
# the byte of all above ASCII.
_ESCAPED_CONTROL = re.compile(rb"[bfnrt]|u00(?:[0189]|7[fF])")
_ABOVE_ASCII = b"\xc2"
_CONTROL_ABOVE_ASCII = re.compile(rb"[\x80-\x9f]")
_DELETE = b"\x7f"

_ids_of = attrgetter("user_id", "event_id")


def decode(
    messages: Sequence[Message],
    catalogue: Catalogue,
    rules: Rules,
    refused: dict[int, Refused],
) -> Decoded:
    """
    Return the valid events of messages.

    Args:
        messages: In any order.
        catalogue: Of the event types.
        rules: Of the deployment.
        refused: Gets the reasons of the others, by message.
    """
    decoded = Decoded()
    events, places = decoded.events, decoded.places
    for first, run, parts in _decode_runs(messages, catalogue, rules, refused, first=0):
        events += run
        places += range(first, first + len(run))
        decoded.parts = parts if len(run) == len(messages) else None
    undecoded = len(refused)
    types = _read(decoded)
    kinds = decoded.kinds
    met = {kind.type_name for kind in kinds}
    if not met.isdisjoint(catalogue.identities):
        _identify(decoded, catalogue, refused)
    sparse = {kind for kind in kinds if not kind.is_plain}
    if len(sparse) == len(kinds):
        decoded.sparse = [*range(len(types))]
    elif sparse:
        decoded.sparse = [row for row, kind in enumerate(types) if kind in sparse]
    decoded.altered = decoded.sparse
    has_ids = all(decoded.event_ids)
    if not (has_ids and all(decoded.use_cases)):
        _name(decoded, messages, catalogue, has_ids=has_ids)
    use_cases, event_ids = decoded.use_cases, decoded.event_ids
    if not catalogue.taken.issuperset(product({*use_cases}, met)):
        for row, pair in enumerate(zip(use_cases, decoded.event_types, strict=True)):
            if pair not in catalogue.taken:
                refused[places[row]] = catalogue.no_taker(*pair)
    # Decoding checks ids of payloads, and not those of messages.
    if not has_ids and not _are_ids(event_ids):
        _refuse_ids(event_ids, places, refused)
    if len(refused) == undecoded:
        return decoded
    return decoded.only(
        [row for row, place in enumerate(places) if place not in refused]
    )


def _read(decoded: Decoded) -> list[Any]:
    """Set types, use cases and ids from events' own fields; return their structs."""
    events = decoded.events
    types = [*map(type, events)]
    kinds = decoded.kinds = {*types}
    names = {kind: kind.type_name for kind in kinds}
    decoded.event_types = (
        [*names.values()] * len(types)
        if len(names) == 1
        else [*map(names.__getitem__, types)]
    )
    if all(kind.is_exact for kind in kinds):
        # Types without any field for these.
        decoded.use_cases, decoded.event_ids, decoded.user_ids = (
            [None] * len(events) for _ in range(3)
        )
    else:
        decoded.use_cases = [event.use_case for event in events]
        decoded.event_ids = [event.event_id for event in events]
        decoded.user_ids = [event.user_id for event in events]
    return types


def _name(
    decoded: Decoded,
    messages: Sequence[Message],
    catalogue: Catalogue,
    *,
    has_ids: bool,
) -> None:
    """Set use case and id of events that lack them from the messages' attributes."""
    if len(decoded.sparse) < len(decoded.events):
        pairs = enumerate(zip(decoded.use_cases, decoded.event_ids, strict=True))
        nameless = {row for row, pair in pairs if None in pair}
        decoded.altered = sorted(nameless.union(decoded.sparse))
    is_all = len(decoded.places) == len(messages)
    sources = messages if is_all else [messages[place] for place in decoded.places]
    attributes = [message.attributes for message in sources]
    types = decoded.event_types
    use_cases = (
        [catalogue.default.get(types[0])] * len(types)
        if len(decoded.kinds) == 1
        else [*map(catalogue.default.get, types)]
    )
    if any(attributes):
        use_cases = [
            own.get("use_case") or default
            for own, default in zip(attributes, use_cases, strict=True)
        ]
    if decoded.use_cases.count(None) < len(use_cases):
        use_cases = [
            default if own is None else own
            for own, default in zip(decoded.use_cases, use_cases, strict=True)
        ]
    decoded.use_cases = use_cases
    if not has_ids:
        decoded.event_ids = [
            event_id or own.get("event_id") or message.message_id
            for event_id, own, message in zip(
                decoded.event_ids, attributes, sources, strict=True
            )
        ]


def _identify(read: Decoded, catalogue: Catalogue, refused: dict[int, Refused]) -> None:
    """Set user and id of events whose type has an identity to that identity."""
    identities, types = catalogue.identities, read.event_types
    if len({kind.type_name for kind in read.kinds}) == 1:
        own = [*map(attrgetter(identities[types[0]]), read.events)]
        # Decoding checks texts, and not the digits of numbers.
        if {*map(type, own)} == {str}:
            read.event_ids, read.user_ids = own, own
            return
    for row, name in enumerate(types):
        if name in identities:
            identity = str(getattr(read.events[row], identities[name]))
            if len(identity) > MAXIMUM_ID_CHARACTERS:
                refused[read.places[row]] = _too_long(identities[name])
            read.event_ids[row] = read.user_ids[row] = identity


def _are_ids(texts: Sequence[str]) -> bool:
    """Tell whether all of some texts are ids, or some may be none."""
    if max(map(len, texts)) > MAXIMUM_ID_CHARACTERS:
        return False
    return "".join(texts).isprintable()


def _refuse_ids(
    event_ids: Sequence[str], places: Sequence[int], refused: dict[int, Refused]
) -> None:
    """Refuse events whose id is none, unless they are refused already."""
    for place, event_id in zip(places, event_ids, strict=True):
        if len(event_id) > MAXIMUM_ID_CHARACTERS:
            refused.setdefault(place, _too_long("event_id"))
        elif not is_text(event_id):
            refused.setdefault(place, _no_text("event_id"))


def _too_long(field: str) -> Refused:
    return Refused("bad_value", "too long", field=field)


def _no_text(field: str) -> Refused:
    return Refused("bad_value", "control characters", field=field)


def _may_hold_control(joined: bytes, *, is_ascii: bool) -> bool:
    """Tell whether a text in JSON may have a control character, escaped or not."""
    if _DELETE in joined:
        return True
    if b"\\" in joined and any(map(_ESCAPED_CONTROL.match, joined.split(b"\\")[1:])):
        return True
    return not is_ascii and any(
        map(_CONTROL_ABOVE_ASCII.match, joined.split(_ABOVE_ASCII)[1:])
    )


def _check_ids(events: Sequence[Any]) -> None:
    """
    Check that ids of payloads have no control characters, as ``ids`` has it.

    Raises:
        Refused: One has.
    """
    # All at once first: addresses have line breaks, and ids nearly never.
    kinds: set[Any] = {*map(type, events)}
    if not any(kind.declared.identity for kind in kinds):
        texts = chain.from_iterable(map(_ids_of, events))
        if "".join(filter(None, texts)).isprintable():
            return
    for event in events:
        for field in ("user_id", "event_id", event.declared.identity):
            value = getattr(event, field) if field else None
            if isinstance(value, str) and not is_text(value):
                raise _no_text(field)


def _decode_runs(
    messages: Sequence[Message],
    catalogue: Catalogue,
    rules: Rules,
    refused: dict[int, Refused],
    *,
    first: int,
) -> Iterator[tuple[int, list[Any], Parts | None]]:
    """Yield runs of valid events, with the place of the first, and ``_decode_all``."""
    try:
        yield first, *_decode_all(messages, catalogue, rules)
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
    """Tell whether ``count`` valid events may be more than flat objects."""
    # bytes.count takes four times as long.
    return b"[" in joined or (
        int(np.count_nonzero(np.frombuffer(joined, np.uint8) == _BRACE)) > count
    )


def _decode_all(
    messages: Sequence[Message], catalogue: Catalogue, rules: Rules
) -> tuple[list[Any], Parts | None]:
    """
    Return the events of messages, and their parts if all are in the usual form.

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
    parts = usual_parts(events, payloads)
    if parts is not None:
        # There is no more to check: neither a control character nor a nested value.
        return events, parts
    joined = b"".join(payloads)
    is_ascii = joined.isascii()
    # Short ASCII is valid in undeclared fields, too.
    if not is_ascii or (
        longest > 2 * MAXIMUM_DEPTH and _is_nested(joined, len(payloads))
    ):
        for data in payloads:
            if len(data) > 2 * MAXIMUM_DEPTH or not data.isascii():
                check_unread(data)
    if _may_hold_control(joined, is_ascii=is_ascii):
        _check_ids(events)
    return events, None
