"""
A statistic: what the users of a group did, as one value.

It holds a count, sums and sums of squares, so that weeks and audiences add up. It knows
its mean, its variance, and how far an interval reaches from the mean. A share, an
amount per user and an adjusted mean are such values; ``difference_of_means`` compares
any two.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import hypot, sqrt
from typing import TYPE_CHECKING, Self

from propensity.measures.intervals import (
    FEW,
    NORMAL,
    POWER,
    Difference,
    rate_interval,
)
from propensity.measures.verdicts import MINIMUM_BUYERS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# A variance below this, in relation to its scale, is rounding.
ROUNDING = 1e-9

# How far an interval reaches below a mean and above it; None of too few users.
Reach = tuple[float, float] | None


@dataclass(frozen=True, kw_only=True)
class Statistic:
    """
    A mean of the users of a group.

    Attributes:
        users, positives: How many, and how many of them have an outcome.
        total, squares: Sums of the outcomes, and of their squares.
        covariates, covariate_squares, products: Sums of a covariate that was known
            before the treatment, 0 where it isn't; products are with the outcome.
    """

    users: float = 0
    positives: float = 0
    total: float = 0.0
    squares: float = 0.0
    covariates: float = 0.0
    covariate_squares: float = 0.0
    products: float = 0.0

    @classmethod
    def of(cls, outcomes: NDArray[np.float64]) -> Self:
        """Return the statistic of the outcomes of a group, (users,)."""
        return cls(
            users=len(outcomes),
            positives=int((outcomes != 0).sum()),
            total=float(outcomes.sum()),
            squares=float((outcomes**2).sum()),
        )

    def __add__(self, other: Statistic) -> Self:
        return replace(
            self,
            users=self.users + other.users,
            positives=self.positives + other.positives,
            total=self.total + other.total,
            squares=self.squares + other.squares,
            covariates=self.covariates + other.covariates,
            covariate_squares=self.covariate_squares + other.covariate_squares,
            products=self.products + other.products,
        )

    @property
    def mean(self) -> float:
        return self.total / self.users

    @property
    def variance(self) -> float:
        """Of the outcomes; rounding of sums may make it negative otherwise."""
        return max(self.squares / self.users - self.mean**2, 0.0)

    def reach(self, errors: float, users: float | None = None) -> Reach:
        """
        Return how far an interval reaches below the mean and above it.

        Args:
            errors: How many standard errors it reaches.
            users: Its own, or as many as would show the mean as exactly.
        """
        count = self.users if users is None else users
        if count < 2:
            return None
        half = errors * sqrt(self.variance / (count - 1))
        return half, half

    def interval(self, errors: float = NORMAL) -> Difference:
        """Return the mean, as a difference from 0, with its interval."""
        reach = self.reach(errors)
        if reach is None:
            return Difference(self.mean, None, None)
        return Difference(self.mean, self.mean - reach[0], self.mean + reach[1])


@dataclass(frozen=True, kw_only=True)
class Share(Statistic):
    """A share of users, whose outcomes are 1 or 0."""

    def reach(self, errors: float, users: float | None = None) -> Reach:
        count = self.users if users is None else users
        low, high = rate_interval(self.mean * count, count, errors=errors)
        return self.mean - low, high - self.mean


@dataclass(frozen=True, kw_only=True)
class Amounts(Statistic):
    """
    An amount per user, most of whom pay nothing.

    Attributes:
        spread: The mean square of a buyer's amount divided by its squared mean; None
            for that of the group's own buyers.
    """

    spread: float | None = None

    def reach(self, errors: float, users: float | None = None) -> Reach:
        if self.positives < MINIMUM_BUYERS:
            return None
        count = self.users if users is None else users
        squares = self.squares / self.users
        if self.spread is not None:
            squares = self.mean * self.total / self.positives * self.spread
        half = errors * sqrt(max(squares - self.mean**2, 0.0) / count)
        return half, half


@dataclass(frozen=True, kw_only=True)
class Adjusted:
    """
    The mean of a group as if it had the covariate's mean over all users.

    Attributes:
        plain: The group's own.
        users: How many would show the plain mean as exactly.
        slope_variance: Half of the difference's: where the covariate tells more of one
            group than of the other, the effect depends on who the users are.
    """

    plain: Statistic
    mean: float
    users: float
    slope_variance: float = 0.0

    def reach(self, errors: float) -> Reach:
        """Return how far an interval reaches below the mean and above it."""
        reach = self.plain.reach(errors, self.users)
        if reach is None:
            return None
        more = errors * sqrt(self.slope_variance)
        return hypot(reach[0], more), hypot(reach[1], more)


def difference_of_means(
    group: Statistic | Adjusted, other: Statistic | Adjusted, *, errors: float
) -> Difference:
    """
    Return a group's mean minus another's.

    It has no interval where one of them has none. Its ends are as far from it as those
    of both means together.

    Args:
        errors: How many standard errors the interval reaches.

    Source:
        Newcombe, "Interval estimation for the difference between independent
        proportions", Statistics in Medicine 17, 1998: method 10. Zou and Donner,
        "Construction of confidence limits about effect measures: a general approach",
        Statistics in Medicine 27, 2008: of any two means.
    """
    value = group.mean - other.mean
    reach = group.reach(errors)
    of_other = other.reach(errors)
    if reach is None or of_other is None:
        return Difference(value, None, None)
    below, above = reach
    other_below, other_above = of_other
    return Difference(
        value,
        low=value - hypot(below, other_above),
        high=value + hypot(above, other_below),
    )


def detectable(group: Adjusted, other: Adjusted, *, errors: float) -> float:
    """
    Return the smallest true difference of shares that so many users would show.

    Args:
        errors: How many standard errors an interval reaches at this look.

    Returns:
        The difference that this look would find in 80% of cases; 0 without positives.
    """
    both = group.plain + other.plain
    rate = both.mean
    if not rate:
        return 0.0
    low, _ = rate_interval(rate * group.users, group.users, errors=errors)
    _, high = rate_interval(rate * other.users, other.users, errors=errors)
    error = sqrt(rate * (1 - rate) * (1 / group.users + 1 / other.users))
    return POWER * error + hypot(rate - low, high - rate)


def with_common_spread(group: Amounts, other: Amounts) -> tuple[Amounts, Amounts]:
    """
    Return two groups that know the spread of amounts by the buyers of both.

    A control group is small, and amounts are skewed: its buyers alone seldom show how
    much the largest orders vary.
    """
    buyers = group.positives + other.positives
    spread = 0.0
    for each in (group, other):
        if each.total > 0:
            spread += each.squares / (each.total / each.positives) ** 2 / buyers
    return replace(group, spread=spread), replace(other, spread=spread)


def adjusted(group: Statistic, other: Statistic) -> tuple[Adjusted, Adjusted]:
    """
    Return two groups as if both had the covariate's mean over all users.

    What the covariate explains is no chance any more, so fewer users show an effect. It
    explains nothing where it isn't known, or too few have an outcome.

    Source:
        Lin, "Agnostic notes on regression adjustments to experimental data", Annals of
        Applied Statistics 7, 2013: a slope for each group, so that it never does worse
        than the plain difference, also with unequal groups. The covariate as of Deng,
        Xu, Kohavi and Walker, "Improving the Sensitivity of Online Controlled
        Experiments by Utilizing Pre-Experiment Data", WSDM 2013.
    """
    line = _line(group)
    other_line = _line(other)
    if line is None or other_line is None:
        return (
            Adjusted(plain=group, mean=group.mean, users=group.users),
            Adjusted(plain=other, mean=other.mean, users=other.users),
        )
    users = group.users + other.users
    share = other.users / users
    # What the groups' means of the covariate differ by is chance.
    chance = line.mean - other_line.mean
    variance = (
        (1 - share) * line.variance
        + share * other_line.variance
        + share * (1 - share) * chance**2
    )
    slope_variance = (line.slope - other_line.slope) ** 2 * variance / users / 2
    return (
        Adjusted(
            plain=group,
            mean=group.mean - line.slope * share * chance,
            users=group.users / line.remaining,
            slope_variance=slope_variance,
        ),
        Adjusted(
            plain=other,
            mean=other.mean + other_line.slope * (1 - share) * chance,
            users=other.users / other_line.remaining,
            slope_variance=slope_variance,
        ),
    )


def variance_explained(group: Adjusted, other: Adjusted) -> float:
    """Return the share of the plain difference's variance that the covariate took."""
    before = 0.0
    after = 0.0
    for each in (group, other):
        before += each.plain.variance / each.plain.users
        after += each.plain.variance / each.users
    return 1 - after / before if before else 0.0


@dataclass(frozen=True, kw_only=True)
class _Line:
    """
    The regression of a group.

    Attributes:
        mean, variance: Of the covariate.
        remaining: Share of the outcomes' variance that it leaves.
    """

    mean: float
    variance: float
    slope: float
    remaining: float


def _line(group: Statistic) -> _Line | None:
    """Return the least squares of a group; None if it has none to rely on."""
    users = group.users
    # Of fewer users with an outcome, or without one, no slope is learned.
    is_few = min(group.positives, users - group.positives) < FEW
    if is_few or not group.variance:
        return None
    mean = group.covariates / users
    squares = group.covariate_squares / users
    variance = squares - mean**2
    if variance <= ROUNDING * squares:
        return None
    covariance = group.products / users - mean * group.mean
    slope = covariance / variance
    remaining = max(1 - slope * covariance / group.variance, ROUNDING)
    # The slope is a second figure that is learned from these users.
    remaining *= (users - 1) / (users - 2)
    return _Line(mean=mean, variance=variance, slope=slope, remaining=remaining)
