"""
What users are worth, as a part of the page: sums, ranking, and how sure both are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from propensity.learning.report.content import written_interval
from propensity.pages.words import DASH, count, decimals, money, percent, present

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
            ("Promised in all", money(value.get("value_promised")), ""),
            ("Came in all", money(value.get("value_observed")), ""),
            ("Came over promised", *_figure(value, "value_ratio", 2)),
            ("Normalised Gini index", *_figure(value, "value_gini", 3)),
            (
                "The same by probability alone",
                decimals(3)(value.get("gini_by_probability")),
                "",
            ),
            (
                "Groups of users within their interval and chance",
                percent(value["coverage"]) if present(value.get("coverage")) else DASH,
                "",
            ),
        ],
    }


def _figure(value: Mapping[str, Any], name: str, places: int) -> tuple[str, str]:
    return decimals(places)(value.get(name)), written_interval(value, name, places)
