"""
The choice of a candidate, in words for the page.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from propensity.pages.words import DASH, count, present


def facts(card: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return how a model of users was chosen, name by name; none of events."""
    choice = card.get("choice")
    if not isinstance(choice, Mapping):
        return []
    members = choice.get("members") or ()
    blocks = choice.get("blocks") or ()
    named = [
        (
            "Choice",
            f"the least log loss on {count(choice.get('rows'))} rows in "
            f"{len(blocks) or DASH} block{'s' if len(blocks) != 1 else ''} of dates, "
            "each scored by models of the dates before it",
        )
    ]
    if len(members) > 1:
        named.append(("Mean of", ", ".join(map(str, members))))
    if present(card.get("fits")):
        named.append(("Fits", count(card["fits"])))
    if choice.get("is_refitted"):
        named.append(
            (
                "Fitted again",
                "on all dates above, the same way: that model serves. All figures are "
                "of the one before, which has not learned from the dates held out",
            )
        )
    return named
