"""
Bodies in chunks and in parts, and ranges of bytes, as HTTP has them.

``gcp-storage-emulator`` leaves the end of a chunked body unread, and so closes the
connection on which a client sends its next request. It knows no range of the last
bytes, and answers one beyond the end with an impossible one. It does not find the parts
of a body whose boundary is between single quotes, which gcloud and gsutil write.

Source: RFC 9112, 7.1, and RFC 9110, 14.
"""

from __future__ import annotations

import re
from typing import Any

from local.emulators.storage.store import UnsatisfiableError

_SINGLE_QUOTED = re.compile(r"(boundary=)'([^'\"]*)'")
_RANGE = re.compile(r"\s*bytes=(?:(?P<first>[0-9]+)-[0-9]*|-(?P<last>[0-9]+))\s*")


def chunked_body(stream: Any) -> bytes:
    """
    Return a body that is sent in chunks; nothing of it is left unread.

    Raises:
        ValueError: A chunk has no size.
    """
    chunks = []
    while size := int(stream.readline().partition(b";")[0].strip() or b"0", 16):
        chunks.append(stream.read(size))
        stream.readline()
    # Trailers, and the empty line behind them.
    while stream.readline().strip():
        pass
    return b"".join(chunks)


def forward_range(header: str, size: int) -> str | None:
    """
    Return the range of the last bytes of an object as one from its beginning.

    Args:
        header: The header ``Range``.
        size: Of the object.

    Returns:
        None for any other range.

    Raises:
        UnsatisfiableError: There is no byte in the range.
    """
    match = _RANGE.fullmatch(header)
    if match is None:
        return None
    if match["last"] is None:
        if int(match["first"]) >= size:
            raise UnsatisfiableError(size)
        return None
    if not size or not int(match["last"]):
        raise UnsatisfiableError(size)
    return f"bytes={max(0, size - int(match['last']))}-"


def boundary_in_double_quotes(content_type: str) -> str:
    """Return the type of a body in parts so that its boundary is read as meant."""
    return _SINGLE_QUOTED.sub(r'\1"\2"', content_type)
