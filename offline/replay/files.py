"""
Lines of a file as messages.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import contextlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO

import msgspec

from offline.replay.messages import Outgoing, Source, Tally, head_of, identified
from offline.table_files import decompressed
from propensity.errors import SchemaError

# The longest line: base64 and the attributes make more of a message.
MAXIMUM_LINE_BYTES = 16 * 1024**2


class _Message(msgspec.Struct, gc=False, rename="camel", forbid_unknown_fields=True):
    """A message as Pub/Sub's JSON writes it; its data may be an object too."""

    data: msgspec.Raw
    attributes: dict[str, str] | None = None
    message_id: str = ""
    publish_time: str = ""
    ordering_key: str = ""


_decode_message = msgspec.json.Decoder(_Message).decode
_decode_text = msgspec.json.Decoder(str).decode


@contextlib.contextmanager
def lines_of(path: Path, *, skip: int, topic: str, tally: Tally) -> Iterator[Source]:
    """
    Open a file of events.

    Args:
        path: One a line; may be packed by gzip or Zstandard.
        tally: Counts those that are too long, and those that have no identity.

    Raises:
        SchemaError: There is no such file.
    """
    try:
        raw = path.open("rb")
    except OSError as error:
        raise SchemaError(f"{path} can not be read: {error.strerror}") from error
    with raw:
        lines = _lines(path, raw, tally)
        yield Source(
            messages=_of_lines(lines, skip=skip, topic=topic, tally=tally),
            total=path.stat().st_size,
            position=raw.tell,
        )


def _lines(path: Path, raw: IO[bytes], tally: Tally) -> Iterator[tuple[int, bytes]]:
    """Yield lines with their number, from 1; in the place of one too long, nothing."""
    number = 0
    try:
        file = decompressed(raw)
        while line := file.readline(MAXIMUM_LINE_BYTES):
            number += 1
            if len(line) == MAXIMUM_LINE_BYTES and not line.endswith(b"\n"):
                tally.left_out["longer than a line may be"] += 1
                while line and not line.endswith(b"\n"):
                    line = file.readline(MAXIMUM_LINE_BYTES)
                line = b""
            yield number, line
    except OSError as error:
        raise SchemaError(
            f"{path} can not be read after line {number}: {error}"
        ) from error


def _of_lines(
    lines: Iterable[tuple[int, bytes]], *, skip: int, topic: str, tally: Tally
) -> Iterator[Outgoing]:
    for number, line in lines:
        text = line.removesuffix(b"\n").removesuffix(b"\r")
        if number == 1:
            text = text.removeprefix(codecs.BOM_UTF8)
        if number <= skip or not text.strip():
            continue
        data, attributes, message_id = unwrapped(text)
        if message_id:
            attributes = identified(data, attributes, message_id)
        elif not (head_of(data).event_id or attributes.get("event_id")):
            tally.nameless += 1
        yield Outgoing(data, attributes, topic, f" with --skip {number - 1}")


def unwrapped(line: bytes) -> tuple[bytes, Mapping[str, str], str]:
    """
    Return the payload, the attributes and the message id of a line.

    The line itself is the payload unless it is a message: an object with ``data``,
    base64 or an object, and nothing else but ``attributes`` and what else Pub/Sub says
    of one.
    """
    if b'"data"' not in line:
        return line, {}, ""
    try:
        decoded = _decode_message(line)
        data = bytes(decoded.data)
        if data.startswith(b'"'):
            data = base64.b64decode(_decode_text(data), validate=True)
        elif not data.startswith(b"{"):
            return line, {}, ""
    except (msgspec.MsgspecError, binascii.Error, ValueError, RecursionError):
        return line, {}, ""
    return data, decoded.attributes or {}, decoded.message_id
