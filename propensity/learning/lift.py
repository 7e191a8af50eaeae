"""
Did it help: conversions and revenue of treated users against a control group.

Users are assigned by a keyed hash before anything is sent, and each counts once. The
intervals hold for a single look, once the outcomes are final.

Sources:
    Newcombe (1998), Interval estimation for the difference between independent
    proportions, method 10.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import erfc, hypot, sqrt

from propensity.learning.intervals import NORMAL, rate_interval

# p-value of the groups' sizes below which no figure can be trusted.
ALARM = 0.001
# A verdict needs so many conversions in all: below, there are too few to say.
MINIMUM_CONVERSIONS = 10


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate with the ends of its 95% interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Amounts:
    """What the users of a group paid: sums of the amounts and of their squares."""

    users: int
    total: float
    squares: float

    @property
    def mean(self) -> float:
        """Amount per user."""
        return self.total / self.users

    @property
    def variance_of_mean(self) -> float:
        """Squared standard error of the mean."""
        return max(self.squares / self.users - self.mean**2, 0.0) / self.users


def rate_difference(treated: tuple[int, int], control: tuple[int, int]) -> Interval:
    """
    Return the share of converters among the treated less that among the control group.

    Args:
        treated, control: Conversions, and users, above 0.
    """
    rates = treated[0] / treated[1], control[0] / control[1]
    low, high = rate_interval(*treated)
    other_low, other_high = rate_interval(*control)
    value = rates[0] - rates[1]
    return Interval(
        value=value,
        low=value - hypot(rates[0] - low, other_high - rates[1]),
        high=value + hypot(high - rates[0], rates[1] - other_low),
    )


def mean_difference(treated: Amounts, control: Amounts) -> Interval:
    """Return the amount per user of the treated less that of the control group."""
    value = treated.mean - control.mean
    half = NORMAL * sqrt(treated.variance_of_mean + control.variance_of_mean)
    return Interval(value=value, low=value - half, high=value + half)


def sample_ratio(treated: int, control: int, *, share: float) -> float:
    """
    Return the p-value of the groups' sizes, by the chi-square test.

    Args:
        treated, control: Users.
        share: Of the control group, as set; below 1, and 0 for none.
    """
    users = treated + control
    if not share or not users:
        return 1.0
    deviation = abs(control - share * users) / sqrt(users * share * (1 - share))
    return erfc(deviation / sqrt(2))


def verdict(
    difference: Interval | None, *, conversions: int, is_sound: bool, is_final: bool
) -> str:
    """
    Return what can be said of a campaign: helps, harms, open, or why nothing can.

    Args:
        difference: Of the rates of conversion; None without users in both groups.
        conversions: Of both groups.
        is_sound: Whether the groups' sizes raised no alarm.
        is_final: Whether no outcome is missing any more.
    """
    if not is_sound:
        return "sample_ratio"
    if difference is None:
        return "no_control"
    if conversions < MINIMUM_CONVERSIONS:
        return "too_few"
    if not is_final:
        return "open"
    if difference.low > 0:
        return "helps"
    return "harms" if difference.high < 0 else "open"
