"""
Log lines: one line of JSON each, on standard error, where Cloud Logging reads them.
Standard output is for a command's answer.

Lines have no user and no event: only runs, counts and outcomes.
https://cloud.google.com/logging/docs/structured-logging
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Mapping

# A line an event would cost more than the event.
LOG_EVERY_S = 10.0

_TRACE = re.compile(r"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-")


def log(severity: str, message: str, **fields: object) -> None:
    """Write one line; never with a user id."""
    line = {"severity": severity, "message": message, **fields}
    # Text and line break in one: between two writes may come another thread's line.
    sys.stderr.write(json.dumps(line, default=str) + "\n")
    sys.stderr.flush()


def trace_of(traceparent: str) -> dict[str, str]:
    """
    Return the field of a log line that shows it under its request in Cloud Logging.

    Args:
        traceparent: Of the request, by W3C Trace Context; Cloud Run adds it. Callers
            may write it, too, so a malformed one is ignored.
    """
    # Lines are written even if the settings are wrong.
    project = os.environ.get("GOOGLE_CLOUD_PROJECT")
    match = _TRACE.match(traceparent)
    if not project or not match:
        return {}
    return {"logging.googleapis.com/trace": f"projects/{project}/traces/{match[1]}"}


class Counts:
    """The counts of an instance since its last line. Belongs to one event loop."""

    def __init__(self, function: str) -> None:
        self._function = function
        self._counts: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, reasons: Mapping[str, int] | None = None, /, **counts: int) -> None:
        """Add to the counts; they are logged within ``LOG_EVERY_S``."""
        # Counter.update would take several times as long, for each request.
        for name, count in counts.items():
            self._counts[name] += count
        if reasons is not None:
            for reason, count in reasons.items():
                self._reasons[reason] += count
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(LOG_EVERY_S, self.write)

    def write(self) -> None:
        """Log the counts since the last line."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        fields: dict[str, object] = {**self._counts}
        if self._reasons:
            fields["reasons"] = {**self._reasons}
        severity = "WARNING" if self._reasons else "INFO"
        log(severity, "counts", function=self._function, outcome="ok", **fields)
        self._counts.clear()
        self._reasons.clear()
