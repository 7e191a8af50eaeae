"""
Words and numbers as the page writes them: plain text, which the templates escape.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeGuard

Number = float | int | None

Format = Callable[[Number], str]

DASH = "—"

NAME_LENGTH = 24

# Control characters break markup; direction marks let a name rewrite its neighbours;
# surrogates and noncharacters cannot be written at all.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e"
    "\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)


def cleaned(value: Any) -> Any:
    """Return a card whose texts, names of keys as well, can stand in a page."""
    if isinstance(value, str):
        return _UNSAFE.sub("\N{REPLACEMENT CHARACTER}", value)
    if isinstance(value, Mapping):
        return {cleaned(key): cleaned(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [cleaned(entry) for entry in value]
    return value


def text(value: object) -> str:
    """Escape a value for HTML and SVG, element or quoted attribute."""
    return html.escape(_UNSAFE.sub("\N{REPLACEMENT CHARACTER}", str(value)))


def short(value: object, length: int = NAME_LENGTH) -> str:
    """Cut a name to ``length`` characters, the last one an ellipsis, and escape it."""
    name = str(value)
    return text(name if len(name) <= length else name[: length - 1] + "…")


def count(value: Number) -> str:
    """Write a count with thousands apart."""
    return f"{value:,.0f}" if present(value) else DASH


def percent(value: Number) -> str:
    """Write a share as a percentage, more precisely when it is small; a real minus."""
    if not present(value):
        return DASH
    shown = 100 * value
    return _minus(f"{shown:.2f}%" if 0 < abs(shown) < 1 else f"{shown:.1f}%")


def money(value: Number) -> str:
    """Write a sum of money, with a real minus sign."""
    return _minus(f"{value:,.2f}") if present(value) else DASH


def decimals(places: int) -> Format:
    """Give a format of so many decimals, with a real minus sign."""

    def write(value: Number) -> str:
        return _minus(f"{value:.{places}f}") if present(value) else DASH

    return write


def compact(value: Number) -> str:
    """Write a number of any size in a few characters."""
    if not present(value):
        return DASH
    size = abs(value)
    if size >= 9.995e14 or 0 < size < 1e-4:
        return _minus(f"{value:.2e}")
    for unit, name in ((1e3, "k"), (1e6, "M"), (1e9, "B"), (1e12, "T")):
        shown = f"{value / unit:.3g}"
        # Rounded first: what is nearly a thousand of one unit is one of the next.
        if size >= 1e4 and abs(float(shown)) < 1000:
            return _minus(f"{shown}{name}")
    if float(value).is_integer():
        return _minus(f"{value:,.0f}")
    return _minus(f"{value:,.{max(0, 2 - math.floor(math.log10(size)))}f}")


def bounded(figures: Mapping[str, Any], key: str, write: Format) -> str:
    """Write a figure, and its interval if there is one."""
    low, high = figures.get(f"{key}_low"), figures.get(f"{key}_high")
    interval = f" ({write(low)} to {write(high)})" if present(low) else ""
    return f"{write(figures.get(key))}{interval}"


def present(value: Number) -> TypeGuard[float]:
    """Tell whether there is such a figure."""
    return value is not None and math.isfinite(value)


def _minus(number: str) -> str:
    if not number.strip("-0.%"):
        number = number.lstrip("-")
    return number.replace("-", "\N{MINUS SIGN}")


def plural(n: Number, noun: str) -> str:
    """Write a count with its noun."""
    return f"{count(n)} {noun}{'' if n == 1 else 's'}"


def moment(value: Any) -> str:
    """Shorten an ISO time to the minute."""
    match = re.fullmatch(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d).*?(Z|\+00:00)?", str(value))
    if not match:
        return DASH if value is None else str(value)
    return f"{match[1]} {match[2]}{' UTC' if match[3] else ''}"


def listed_dates(dates: Sequence[Any] | None) -> str:
    """Write a few dates in full, many by their ends."""
    shown = [str(date) for date in dates or ()]
    if len(shown) > 4:
        return f"{shown[0]} to {shown[-1]} ({len(shown)} dates)"
    return ", ".join(shown) or DASH


def sentence(value: Any) -> str:
    """Write a reason as a sentence."""
    words = str(value or "").strip()
    if not words:
        return ""
    words = words[0].upper() + words[1:]
    return words if words[-1] in ".!?" else f"{words}."


def shared(value: Number) -> str:
    """Write a count that may be a fraction: of one decimal where it is small."""
    if not present(value) or value >= 1000 or abs(value - round(value)) < 1e-9:
        return count(value)
    return decimals(1)(value)


def ratio(part: Number, whole: Number) -> float | None:
    """Return a share, None of nothing."""
    return part / whole if part is not None and whole else None


def round_up(value: float) -> float:
    """Find the end of an axis that divides well into four, at most 1."""
    ends = (0.004, 0.01, 0.02, 0.04, 0.08, 0.12, 0.16, 0.2, 0.28, 0.4, 0.6, 0.8)
    return next((end for end in ends if end >= value), 1.0)
