"""
Numbers as people write them: in settings, and after options of commands.

Python's own ``int`` and ``float`` also read the digits of other scripts and
underscores, and ``int`` fails in words of its own on thousands of digits.
``deploy`` imports this, so only the standard library may be imported here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_REAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")


def whole_of(text: str, least: float = -math.inf, most: float = math.inf) -> int | None:
    """
    Return the whole number that a text is, of 18 digits at most.

    None if it is none, or not within bounds, which are included.
    """
    number = int(text) if _WHOLE.fullmatch(text) else None
    return number if number is not None and least <= number <= most else None


def real_of(
    text: str, least: float = -math.inf, most: float = math.inf
) -> float | None:
    """
    Return the number that a text is, maybe infinite by its size.

    None if it is none, or not within bounds, which are included.
    """
    number = float(text) if _REAL.fullmatch(text) else None
    return number if number is not None and least <= number <= most else None


def whole_within(
    least: int, most: int | None = None, *, what: str = ""
) -> Callable[[str], int]:
    """
    Return a reader of whole numbers after an option, which have no sign.

    It raises ValueError, in words, for what is none within the bounds.

    Args:
        least: The smallest; 0 or more.
        most: The largest, None for any.
        what: The number's own name in the words.
    """
    bounds = f"{least} or more" if most is None else f"{least} to {most:,}"
    top = math.inf if most is None else most

    def read(text: str) -> int:
        number = whole_of(text, least, top) if text[:1] not in ("+", "-") else None
        if number is not None:
            return number
        if what:
            raise ValueError(
                f"{what} must be a whole number from {least} to {most}, not {text!r}"
            )
        raise ValueError(f"{text!r} is not a whole number of {bounds}")

    return read
