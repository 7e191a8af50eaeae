"""
What the top tenth has in common, as a table of the page.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from propensity.learning.decile import strongest
from propensity.pages.words import count, decimals, percent, shown_of

# Features shown; the card has all.
_SHOWN = 12


def in_common(card: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the ``rows`` of the table, and which they are; None for older cards."""
    write = decimals(2)
    bands = strongest(list(card.get("top_decile") or ()))
    if not bands:
        return None
    rows = [
        (
            str(entry.get("feature")),
            str(entry.get("band")),
            count(entry.get("rows")),
            percent(entry.get("share_top")),
            percent(entry.get("share_all")),
            f"{write(entry.get('lift'))}×",
            f"{write(entry.get('low'))} to {write(entry.get('high'))}",
        )
        for entry in bands[:_SHOWN]
    ]
    return {"rows": rows, "shown": shown_of(len(rows), len(bands))}
