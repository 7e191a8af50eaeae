"""95% intervals of rates and of differences."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

Ends = tuple[float | None, float | None]

# Users of a label: of fewer, a metric has no interval.
FEW = 20

# Standard errors on either side of a 95% interval.
NORMAL = 1.959964

# Standard errors beyond an interval at which an effect is found in 80% of cases.
POWER = 0.8416


@final
@dataclass(frozen=True)
class Difference:
    """A metric less another one, with the ends of its interval, if there is one."""

    estimate: float
    low: float | None
    high: float | None

    def is_above(self) -> bool:
        """Tell whether it is above 0 beyond chance."""
        return self.low is not None and self.low > 0

    def is_below(self) -> bool:
        """Tell whether it is below 0 beyond chance."""
        return self.high is not None and self.high < 0

    def times(self, factor: float) -> Difference:
        """Return it in another unit, by a factor above 0."""
        low = None if self.low is None else factor * self.low
        high = None if self.high is None else factor * self.high
        return Difference(factor * self.estimate, low, high)

    def plus(self, amount: float) -> Difference:
        """Return it with an amount that is known added."""
        low = None if self.low is None else self.low + amount
        high = None if self.high is None else self.high + amount
        return Difference(self.estimate + amount, low, high)

    def format(self, form: str = "+.4f") -> str:
        """Write it with its interval."""
        if self.low is None or self.high is None:
            return f"{self.estimate:{form}} (too few for an interval)"
        return f"{self.estimate:{form}} ({self.low:{form}} to {self.high:{form}})"


def in_columns(name: str, measured: Difference | None) -> dict[str, float | None]:
    """Return a difference by column: its name, and the name with _low and _high."""
    if measured is None:
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    return {
        name: measured.estimate,
        f"{name}_low": measured.low,
        f"{name}_high": measured.high,
    }


def difference_in(row: Mapping[str, Any], name: str) -> Difference | None:
    """Return the difference that columns of a row have; None if they have none."""
    estimate = row.get(name)
    if estimate is None or not math.isfinite(estimate):
        return None
    return Difference(estimate, row.get(f"{name}_low"), row.get(f"{name}_high"))


def rate_interval(
    conversions: float, users: float, *, errors: float = NORMAL
) -> tuple[float, float]:
    """
    Return the interval of a rate, in [0, 1] and around it.

    Args:
        conversions: 0 to ``users``; may be a fraction.
        users: Above 0.
        errors: How many standard errors it reaches; by default those of 95%.

    Source:
        Wilson, "Probable Inference, the Law of Succession, and Statistical Inference",
        Journal of the American Statistical Association 22, 1927: the score interval,
        which holds for few rows and rates near 0, too.
    """
    rate = conversions / users
    spread = errors**2 / users
    middle = (rate + spread / 2) / (1 + spread)
    half = errors * math.sqrt(rate * (1 - rate) / users + spread / (4 * users))
    half = half / (1 + spread)
    return min(max(middle - half, 0.0), rate), max(min(middle + half, 1.0), rate)


def students_quantile(freedom: float) -> float:
    """
    Return how many standard errors Student's 95% interval reaches, of 1 degree or more.

    Source:
        Abramowitz and Stegun, "Handbook of Mathematical Functions", 1964, 26.7.5, since
        03 has no SciPy.
    """
    z = NORMAL
    return (
        z
        + (z**3 + z) / 4 / freedom
        + (5 * z**5 + 16 * z**3 + 3 * z) / 96 / freedom**2
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384 / freedom**3
    )


def lift_interval(conversions: float, users: float, base_rate: float) -> Difference:
    """Return how many times the base rate a rate is, with its interval."""
    low, high = rate_interval(conversions, users)
    rate = conversions / users
    return Difference(rate / base_rate, low / base_rate, high / base_rate)
