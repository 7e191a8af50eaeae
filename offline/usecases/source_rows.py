"""
Made-up rows of sources, and canaries among them.

A canary is a row that became known at or after an as-of date, or a row of before in
which a moment is filled that came later: a feature that changes by one leaks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from offline.usecases.events import TICK, USERS
from propensity.timeframe import DAY, midnight
from propensity.usecases.sources import MOMENTS, Source

# Days before an as-of date on which rows of a user became known.
_KNOWN_DAYS = (40, 5)
_LATER = (timedelta(), TICK, timedelta(hours=30))
# Above all that rows have otherwise.
_CANARY = 1e6


def rows(
    source: Source, as_of: date, *, is_leaking: bool
) -> Iterator[Mapping[str, Any]]:
    """
    Yield rows of a source.

    Args:
        is_leaking: With rows from the as-of date on; and moments that rows of before
            lack are of after it.
    """
    start = midnight(as_of)
    later = [start + wait for wait in _LATER] if is_leaking else []
    for number in range(USERS):
        for step, time in enumerate([*(start - n * DAY for n in _KNOWN_DAYS), *later]):
            size = _CANARY if time in later else 1.0 + (number + step) % 7
            filled = start + DAY if is_leaking else None
            row = {}
            for name, kind in source.types.items():
                at: datetime | None = filled if number % 2 else time - DAY
                if name in (source.valid_from, *source.plans):
                    at = time
                row[name] = _value(kind, size, at)
            is_number = source.types[source.user_id] == "INT64"
            yield row | {source.user_id: number if is_number else f"user.{number:02}"}


def _value(kind: str, size: float, moment: datetime | None) -> Any:
    """Return a value of a type, made of a number or a moment."""
    if kind in MOMENTS:
        return moment.date() if moment and kind == "DATE" else moment
    made = {"STRING": str, "FLOAT64": float, "NUMERIC": Decimal, "BOOL": bool}
    return made.get(kind, int)(int(size) % 2 if kind == "BOOL" else int(size))
