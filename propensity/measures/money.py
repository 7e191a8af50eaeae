"""Money as it is stored."""

from __future__ import annotations

from decimal import Decimal


def exact_money(value: float) -> Decimal:
    """Return a sum of money with six decimals; of floats that are 0.1 it is a tenth."""
    return Decimal(repr(round(float(value), 6)))
