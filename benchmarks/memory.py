"""The memory of this process, as Linux counts it."""

from __future__ import annotations

import re
from pathlib import Path


def forget_peak() -> None:
    """Have the most memory counted from here on."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def resident_mb() -> float:
    """Return the memory that this process has now."""
    return _status_mb("VmRSS")


def peak_mb() -> float:
    """Return the most memory that this process has had."""
    return _status_mb("VmHWM")


def _status_mb(entry: str) -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    match = re.search(rf"^{entry}:\s+(\d+) kB", status, re.MULTILINE)
    assert match is not None
    return int(match[1]) / 1024
