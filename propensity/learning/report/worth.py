"""
What users are worth, as a part of the page: the sums.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from propensity.pages.words import DASH, count, money

_ALGORITHMS = {
    "mean": "the mean of all buyers",
    "boosted_trees": "boosted trees of the features",
}


def worth(card: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return sentence and rows of the part; None for a version without amounts."""
    value = card.get("value")
    if not isinstance(value, Mapping):
        return None
    algorithm = _ALGORITHMS.get(str(value.get("algorithm")), DASH)
    return {
        "intro": (
            f"What a buyer pays is {algorithm}, learned from "
            f"{count(value.get('buyers'))} rows of buyers, whose mean is "
            f"{money(value.get('mean_amount'))}."
        ),
        "rows": [
            ("Promised in all", money(value.get("value_promised"))),
            ("Came in all", money(value.get("value_observed"))),
        ],
    }
