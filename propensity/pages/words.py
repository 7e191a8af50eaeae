"""
Words and numbers as pages write them: plain text, which the templates escape.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, TypeGuard

Number = float | int | None

# The card of a version, a part of it, or a row of a table, as JSON and templates have
# them. One release writes a card and later ones read it, so it has no class.
Plain = Mapping[str, Any]
Format = Callable[[Number], str]

DASH = "—"

# Control characters break markup; direction marks let a name rewrite its neighbours;
# surrogates and noncharacters cannot be written at all.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e"
    "\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)

# The hyphen of a negative number; one of a name or a date follows a letter or a digit.
_NEGATIVE = re.compile(r"(?<![\w-])-(?=\d)")


def cleaned(value: Any) -> Any:
    """Return a card whose texts, names of keys as well, can stand in a page."""
    if isinstance(value, str):
        return _UNSAFE.sub("\N{REPLACEMENT CHARACTER}", value)
    if isinstance(value, Mapping):
        return {cleaned(key): cleaned(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [cleaned(entry) for entry in value]
    return value


def present(value: Number | Decimal) -> TypeGuard[float]:
    """Return whether there is such a figure."""
    return value is not None and math.isfinite(value)


def share_of(part: Number, total: Number) -> float | None:
    """Return a share, None of nothing."""
    return part / total if part is not None and total else None


def count(value: Number) -> str:
    """Write a count with thousands apart."""
    return f"{value:,.0f}" if present(value) else DASH


def plain_day(value: date) -> str:
    """Write a date for people, such as 24 Jun 2026, in a plain text."""
    return f"{value.day} {value:%b %Y}"


def unbroken_day(value: object) -> str:
    """Write a date for people, such as 24 Jun 2026, which no line breaks in two."""
    if not isinstance(value, date):
        return str(value)
    return plain_day(value).replace(" ", "\N{NO-BREAK SPACE}")


def short_day(value: date) -> str:
    """Write a date of these weeks, such as 24 Jun."""
    return f"{value.day}\N{NO-BREAK SPACE}{value:%b}"


def tenth(n: int) -> str:
    """Name a tenth of the users by its rank, 1 for the first."""
    return "Top 10%" if n == 1 else f"{10 * n - 10}% to {10 * n}%"


def signed(value: Number, write: Format) -> str:
    """Write a difference with its sign."""
    return f"{'+' if present(value) and value > 0 else ''}{write(value)}"


def minus(text: str) -> str:
    """Return a text whose negative numbers have real minus signs."""
    return _NEGATIVE.sub("\N{MINUS SIGN}", text)


def plural(n: Number, noun: str) -> str:
    """Write a count with its noun."""
    return f"{count(n)} {noun}{'' if n == 1 else 's'}"


def infinitive(outcome: str) -> str:
    """Write what users do as what they are expected to: to buy, or to be fraud."""
    return f"to be {outcome[4:]}" if outcome.startswith("are ") else f"to {outcome}"


def period(days: int) -> str:
    """Name the span of outcomes."""
    names = {1: "day", 7: "week", 91: "quarter"}
    return names.get(days, "period")


def percent(value: Number) -> str:
    """Write a share as a percentage, more precisely when it is small."""
    if not present(value):
        return DASH
    hundredths = 100 * value
    return _minus(
        f"{hundredths:.2f}%" if 0 < abs(hundredths) < 1 else f"{hundredths:.1f}%"
    )


def share(value: Number) -> str:
    """Write a share that someone chose, as a percentage without more digits."""
    return _minus(f"{100 * value:.4g}%") if present(value) else DASH


def amount(value: Number | Decimal, currency: str = "", whole_from: int = 100) -> str:
    """Write a sum of money: cents matter where it is small only."""
    if not present(value):
        return DASH
    is_whole = abs(value) >= whole_from or value == 0
    unit = Decimal(1) if is_whole else Decimal("0.01")
    # Halves go up, as on a bill.
    rounded = _minus(f"{Decimal(str(value)).quantize(unit, ROUND_HALF_UP):,f}")
    return f"{rounded} {currency}".rstrip()


def about(value: Number, currency: str = "") -> str:
    """Write a sum of money that is not exact, in three digits if it is large."""
    if not present(value):
        return DASH
    return amount(float(f"{value:.3g}"), currency, whole_from=10)


def chosen_by(selection: str | None) -> str:
    """Write the rule of members for people: deciles 3 are the top 30%."""
    if selection is None:
        return DASH
    deciles = re.fullmatch(r"deciles (\d+)(.*)", selection)
    if deciles:
        return f"the top {10 * int(deciles[1])}%{deciles[2]}"
    threshold = re.fullmatch(r"threshold (\S+)(.*)", selection)
    if threshold:
        return f"all with a probability of {threshold[1]} or more{threshold[2]}"
    return re.sub(r"^top (\d+)", lambda top: f"the top {int(top[1]):,}", selection)


def money(value: Number) -> str:
    """Write a sum of money, with cents."""
    return _minus(f"{value:,.2f}") if present(value) else DASH


def decimals(places: int) -> Format:
    """Give a format of so many decimals."""
    return lambda value: _minus(f"{value:.{places}f}") if present(value) else DASH


def abbreviate(value: Number) -> str:
    """Write a number of any size in a few characters."""
    if not present(value):
        return DASH
    size = abs(value)
    if size >= 9.995e14 or 0 < size < 1e-4:
        return _minus(f"{value:.2e}")
    for unit, name in ((1e3, "k"), (1e6, "M"), (1e9, "B"), (1e12, "T")):
        digits = f"{value / unit:.3g}"
        # Rounded first: nearly a thousand of one unit is one of the next.
        if size >= 1e4 and abs(float(digits)) < 1000:
            return _minus(f"{digits}{name}")
    if float(value).is_integer():
        return _minus(f"{value:,.0f}")
    return _minus(f"{value:,.{max(0, 2 - math.floor(math.log10(size)))}f}")


def ends(row: Mapping[str, Number], key: str, write: Format) -> str:
    """Write the interval of a metric."""
    low = row.get(f"{key}_low")
    high = row.get(f"{key}_high")
    return f"{write(low)} to {write(high)}" if present(low) else DASH


def _minus(number: str) -> str:
    """Write a real minus sign, and none before a zero."""
    if not number.strip("-0.%"):
        number = number.lstrip("-")
    return number.replace("-", "\N{MINUS SIGN}")
