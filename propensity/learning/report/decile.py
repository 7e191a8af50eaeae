"""
What the top tenth has in common, as a table of the page.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from propensity.learning.decile import strongest
from propensity.learning.report.words import decimals, percent

# Features shown; the card has all.
_SHOWN = 12


def in_common(card: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return feature, band, both shares, lift and interval; empty in older cards."""
    written = decimals(2)
    return [
        (
            *(str(entry["feature"]), str(entry["band"])),
            *(percent(entry["share_top"]), percent(entry["share_all"])),
            f"{written(entry['lift'])}×",
            f"{written(entry['low'])} to {written(entry['high'])}",
        )
        for entry in strongest(list(card.get("top_decile") or ()))[:_SHOWN]
    ]
