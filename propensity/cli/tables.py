"""Tables of a terminal, and the days in them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date

from click import unstyle

from propensity.pages.words import plain_day

# A count, a share or a sum; or none.
NUMBER = re.compile(r"[-+\N{MINUS SIGN}]?[\d,.]*%?")


def day_text(value: date | str) -> str:
    """Write a day: 24 Jun 2026."""
    return plain_day(date.fromisoformat(str(value)[:10]))


def aligned(columns: Mapping[str, str], rows: Sequence[Mapping[str, str]]) -> str:
    """
    Return rows in columns that stand in line; without columns that are empty.

    Args:
        columns: Titles by key of the rows.
    """
    shown = []
    for key, title in columns.items():
        cells = [" ".join(row.get(key, "").split()) for row in rows]
        if any(cells):
            shown.append(_column([title] + cells))
    lines = ["  ".join(cells).rstrip() for cells in zip(*shown, strict=True)]
    return "\n".join(lines)


def _column(cells: Sequence[str]) -> list[str]:
    """Fill cells up to one width: numbers on the left, under a title."""
    plain = [unstyle(cell) for cell in cells]
    width = max(map(len, plain))
    is_numeric = all(NUMBER.fullmatch(text) for text in plain[1:])
    filled = []
    for cell, text in zip(cells, plain, strict=True):
        gap = " " * (width - len(text))
        filled.append(gap + cell if is_numeric else cell + gap)
    return filled
