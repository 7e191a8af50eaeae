"""
The memory of an instance, as its container or its machine says.

02-GetProba imports this, so nothing heavy may be imported here.
"""

from __future__ import annotations

import os
from pathlib import Path

# The limits of control groups, version 2 and version 1.
_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def instance_bytes() -> int:
    """Return the least limit that is known of this instance's memory."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for limit in _LIMITS:
        try:
            limits.append(int(limit.read_text()))
        except (OSError, ValueError):  # there is no such file, or it says "max"
            continue
    return min(limits)
