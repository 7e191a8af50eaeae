"""Counts of an instance of a function, as a log line every ten seconds."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from propensity.gcp.log import log

# A line an event would cost more than the event.
LOG_EVERY_S = 10.0

_NO_REASONS: Mapping[str, int] = MappingProxyType({})


class Counts:
    """The counts of an instance since its last line. Belongs to one event loop."""

    def __init__(self, function: str) -> None:
        self._function = function
        self._counts: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, reasons: Mapping[str, int] = _NO_REASONS, /, **counts: int) -> None:
        """
        Add to the counts; they are logged within ``LOG_EVERY_S``.

        Args:
            reasons: Number of refused events by reason.
            counts: Fields of the line.
        """
        # Counter.update would take several times as long, for each request.
        for name, count in counts.items():
            self._counts[name] += count
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
        fields: dict[str, Any] = {**self._counts}
        if self._reasons:
            fields["reasons"] = {**self._reasons}
        severity = "WARNING" if self._reasons else "INFO"
        log(severity, "counts", function=self._function, outcome="ok", **fields)
        self._counts.clear()
        self._reasons.clear()
