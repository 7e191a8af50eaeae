"""The budget: how many of the best rows, or which share of them, a team can act on."""

from __future__ import annotations

import re
from dataclasses import dataclass

# The most rows of a budget.
MOST = 1_000_000_000
_COUNT = re.compile(r"[0-9]{1,10}")
_SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?) ?%")


@dataclass(frozen=True)
class Budget:
    """
    A number of rows, or a share of them, highest probability first.

    Attributes:
        count: Rows for each as-of date (for each day, where rows are events); None for
            a share.
        share: Of the rows, above 0 and up to 1; None for a number.
    """

    count: int | None = None
    share: float | None = None

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read a budget: ``1000`` is a number, ``5%`` is a share."""
        if _COUNT.fullmatch(text) and 1 <= int(text) <= MOST:
            return cls(count=int(text))
        match = _SHARE.fullmatch(text)
        if match and 0 < float(match[1]) <= 100:
            return cls(share=float(match[1]) / 100)
        raise ValueError(
            f"use a number from 1 to {MOST}, for example 1000, or a share above 0% and "
            "up to 100%, for example 5%"
        )

    def __str__(self) -> str:
        if self.count is not None:
            return str(self.count)
        assert self.share is not None
        return f"{100 * self.share:.6f}".rstrip("0").rstrip(".") + "%"

    def rows(self, total: float, *, dates: int = 1) -> float:
        """
        Return how many of ``total`` rows the budget has room for, maybe a fraction.

        Args:
            total: Rows there are, which may be a sum of weights.
            dates: As-of dates, or days of events, that they are of.
        """
        if self.count is not None:
            return min(float(self.count * dates), total)
        assert self.share is not None
        return self.share * total
