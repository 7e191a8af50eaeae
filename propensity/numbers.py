"""
Numbers as people write them: in settings, and after options of commands.

Python's own ``int`` and ``float`` also read the digits of other scripts and
underscores, and ``int`` fails in words of its own on thousands of digits.
``offline.cost`` imports this, so only the standard library may be imported here.
"""

from __future__ import annotations

import re

_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_REAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")


def whole_of(text: str) -> int | None:
    """Return the whole number that a text is, of 18 digits at most; None if none."""
    return int(text) if _WHOLE.fullmatch(text) else None


def real_of(text: str) -> float | None:
    """Return the number that a text is, maybe infinite by its size; None if none."""
    return float(text) if _REAL.fullmatch(text) else None
