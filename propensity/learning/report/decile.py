"""
What the top tenth has in common, as a table of the page.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from propensity.learning.decile import strongest
from propensity.pages.words import count, decimals, percent

# Features shown; the card has all.
_SHOWN = 12


def in_common(card: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the cells of each row; none for older cards."""
    written = decimals(2)
    return [
        (
            *(str(entry.get("feature")), str(entry.get("band"))),
            *(count(entry.get("rows")), percent(entry.get("share_top"))),
            *(percent(entry.get("share_all")), f"{written(entry.get('lift'))}×"),
            f"{written(entry.get('low'))} to {written(entry.get('high'))}",
        )
        for entry in strongest(list(card.get("top_decile") or ()))[:_SHOWN]
    ]
