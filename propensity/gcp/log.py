"""
Log lines: one line of JSON each, as Cloud Logging reads it from standard output.

Lines have no user and no event: only runs, counts and outcomes.

https://cloud.google.com/logging/docs/structured-logging

02-GetProba imports this, so nothing heavy may be imported here.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator

_stream = "stdout"


@contextlib.contextmanager
def apart() -> Iterator[None]:
    """Write lines to standard error meanwhile: a command's answer is on the other."""
    global _stream  # noqa: PLW0603
    before, _stream = _stream, "stderr"
    try:
        yield
    finally:
        _stream = before


def severity_of(status: int) -> str:
    """Return the severity of the line for an answer's HTTP status."""
    if status >= 500:
        return "ERROR"
    return "WARNING" if status >= 400 else "INFO"


def log(severity: str, message: str, **fields: object) -> None:
    """Write one line; never with a user id."""
    line = {"severity": severity, "message": message, **fields}
    # Text and line break in one: `print` writes them one after the other, and another
    # thread's line may come between them.
    stream = getattr(sys, _stream)
    # A command's may be closed.
    if stream is not None:
        stream.write(json.dumps(line, default=str) + "\n")
        stream.flush()
