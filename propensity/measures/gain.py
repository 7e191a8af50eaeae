"""What contacting brought: figures per user, times the contacted users."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from propensity.measures.intervals import Difference, difference_in
from propensity.measures.verdicts import LOST, verdict_of


class Gain(NamedTuple):
    """
    How many more users had the outcome as they were contacted, and how much more they
    paid; the profit is the margin of it minus the cost. Each is None if not known.
    """

    buyers: Difference | None = None
    amount: Difference | None = None
    profit: Difference | None = None


def gained(
    row: Mapping[str, Any],
    *,
    cost: Decimal | float | None = None,
    margin: float | None = None,
) -> Gain:
    """Return what contacting brought, by a row of figures; nothing of lost users."""
    if verdict_of(row["verdict"]) is LOST:
        return Gain()
    users = row["treated_users"]
    buyers = difference_in(row, "conversion_difference")
    amount = difference_in(row, "revenue_difference")
    profit = None
    if buyers is not None:
        buyers = buyers.times(users)
    if amount is not None:
        amount = amount.times(users)
        if cost is not None and margin is not None:
            profit = amount.times(margin).plus(-float(cost))
    return Gain(buyers, amount, profit)
