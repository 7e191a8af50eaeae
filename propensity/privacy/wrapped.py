"""
Payloads that wrap another: gzip, Zstandard or base64 around what a producer meant.

Such a payload is no event, so the message becomes a dead letter. But anybody can unpack
it, and read which user it names. Lookups import this, so nothing heavy may be imported
here.
"""

from __future__ import annotations

import base64
import gzip
import re
import zlib
from collections.abc import Callable
from typing import NamedTuple

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


class Wrapped(NamedTuple):
    """
    What a payload wraps.

    Attributes:
        inner: As much of it as could be read.
        wrap: Wraps a text in the same way.
        is_whole: Whether the payload holds nothing else.
    """

    inner: bytes
    wrap: Callable[[bytes], bytes]
    is_whole: bool = True


def unwrapped(data: bytes) -> Wrapped | None:
    """
    Return what a payload wraps; None if it wraps nothing.

    A payload that was cut or damaged gives what is left of it; of what is compressed at
    most ``MAXIMUM_BYTES``.
    """
    if data.startswith(_GZIP):
        return _of_gzip(data)
    if data.startswith(_ZSTANDARD):
        return _of_zstandard(data)
    if _BASE64.fullmatch(data):
        digits = _SPACE.sub(b"", data).translate(_TO_STANDARD).rstrip(b"=")
        # A last digit alone holds no byte: the payload was cut.
        digits = digits[: len(digits) - (len(digits) % 4 == 1)]
        inner = base64.b64decode(digits + b"=" * (-len(digits) % 4))
        return Wrapped(inner, base64.b64encode)
    return None


def _of_gzip(data: bytes) -> Wrapped | None:
    """Return what the members have, one behind the other, up to the first damage."""
    inner = bytearray()
    # 31: gzip, with the largest window.
    member, at = zlib.decompressobj(31), 0
    step = _PART_BYTES
    while at < len(data) and len(inner) < MAXIMUM_BYTES:
        before, part = member.copy(), data[at : at + step]
        try:
            inner += member.decompress(part, MAXIMUM_BYTES - len(inner))
        except zlib.error:
            if step == 1:
                break
            # A wrong checksum would hide all that stands in the same part.
            member, step = before, 1
            continue
        at += len(part) - len(member.unused_data)
        if member.eof:
            if not data.startswith(_GZIP, at):
                break
            member = zlib.decompressobj(31)
    if not inner:
        return None
    is_whole = at == len(data) and member.eof
    return Wrapped(bytes(inner), lambda text: gzip.compress(text, mtime=0), is_whole)


def _of_zstandard(data: bytes) -> Wrapped:
    """Return what Zstandard has compressed, up to the block before a damage."""
    import pyarrow as pa  # a lookup never needs Arrow

    inner = bytearray()
    is_whole = False
    try:
        with pa.CompressedInputStream(pa.BufferReader(data), "zstd") as stream:
            # In parts: where the payload was cut, the last of them fails.
            while (room := MAXIMUM_BYTES - len(inner)) > 0 and (
                part := stream.read(min(room, _PART_BYTES))
            ):
                inner += part
            is_whole = len(inner) < MAXIMUM_BYTES
    except OSError:
        pass
    return Wrapped(
        bytes(inner),
        lambda text: pa.compress(text, codec="zstd", asbytes=True),
        is_whole,
    )
