"""
Payloads that wrap another: gzip, Zstandard or base64 around what a producer meant.

None is an event, so the message becomes a dead letter; but whoever unpacks it reads
what the event says of whom. Lookups import this, so nothing heavy may be imported here.
"""

from __future__ import annotations

import base64
import gzip
import re
import zlib
from collections.abc import Callable

# Of what is unpacked: a small payload may hold gigabytes, and any number of layers.
MAXIMUM_BYTES = 4 * 1024**2
MAXIMUM_LAYERS = 3

# Both alphabets of base64, and line breaks, as shells and mail programs add them.
_BASE64 = re.compile(rb"[A-Za-z0-9+/_\s-]++=*+\s*+")
_SPACE = re.compile(rb"\s+")
_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
_GZIP = b"\x1f\x8b"
_ZSTANDARD = b"\x28\xb5\x2f\xfd"
_PART_BYTES = 4096


def unwrapped(data: bytes) -> tuple[bytes, Callable[[bytes], bytes]] | None:
    """
    Return what a payload wraps, and what wraps it again; None if it wraps nothing.

    A payload that was cut gives what is left of it; of what is compressed at most
    ``MAXIMUM_BYTES``.
    """
    if data.startswith(_GZIP):
        try:
            # 31: gzip, with the largest window.
            inner = zlib.decompressobj(31).decompress(data, MAXIMUM_BYTES)
        except zlib.error:
            return None
        return inner, lambda text: gzip.compress(text, mtime=0)
    if data.startswith(_ZSTANDARD):
        return _of_zstandard(data)
    if _BASE64.fullmatch(data):
        digits = _SPACE.sub(b"", data).translate(_TO_STANDARD).rstrip(b"=")
        # A last digit alone holds no byte: the payload was cut.
        digits = digits[: len(digits) - (len(digits) % 4 == 1)]
        return base64.b64decode(digits + b"=" * (-len(digits) % 4)), base64.b64encode
    return None


def _of_zstandard(data: bytes) -> tuple[bytes, Callable[[bytes], bytes]] | None:
    """Return what Zstandard has compressed, as ``unwrapped``."""
    import pyarrow as pa  # a lookup never needs Arrow

    parts: list[bytes] = []
    try:
        with pa.CompressedInputStream(pa.BufferReader(data), "zstd") as stream:
            # In parts: where the payload was cut, the last of them fails.
            while len(parts) * _PART_BYTES < MAXIMUM_BYTES and (
                part := stream.read(_PART_BYTES)
            ):
                parts.append(part)
    except OSError:
        if not parts:
            return None
    return b"".join(parts), lambda text: pa.compress(text, codec="zstd", asbytes=True)
