"""
Enrichment: accepted events as they are published, with what the stream adds to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec

from propensity.events.rows import Decoded

# Raw values: a number that is parsed and written again may change.
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def enrich(decoded: Decoded, payloads: list[bytes]) -> list[bytes]:
    """Return events as JSON, each with its identity and its enrichment."""
    for row in decoded.altered:
        event = decoded.events[row]
        added: dict[str, Any] = {}
        if event.event_id != (event_id := decoded.event_ids[row]):
            added["event_id"] = event_id
        if event.use_case is None:
            added["use_case"] = decoded.use_cases[row]
        if event.user_id != (user_id := decoded.user_ids[row]):
            added["user_id"] = user_id
        if event.is_bare:
            added["event_type"] = event.type_name
        added.update(decoded.added.get(row, ()))
        if added:
            payloads[row] = with_fields(payloads[row], added)
    return payloads


def with_fields(data: bytes, added: Mapping[str, Any]) -> bytes:
    """
    Return a JSON object with further fields; its own values stay the same bytes.

    Args:
        data: The object, not empty.
        added: Further fields; they replace fields of the same name.
    """
    # The name may also be in a nested object, or be written with escapes.
    if (b"\\" in data and b"\\u" in data) or any(
        _quoted(name) in data for name in added
    ):
        return msgspec.json.encode({**_decode_fields(data), **added})
    whole = data.rstrip()
    return whole[:-1] + b"," + msgspec.json.encode(added)[1:]


@cache
def _quoted(name: str) -> bytes:
    return f'"{name}"'.encode()
