"""
Did it help: conversions and revenue of treated users against a control group.

Users are assigned by a keyed hash before anything is sent, and each counts once. All
figures are of six sums for each group (``Sums``), which BigQuery adds up, and every
function takes arrays of sums as well: of many campaigns, or of one campaign's weeks.

The probability of before the campaign is the covariate (CUPED): what it explains of the
outcome is no noise of the comparison. An interval narrows by ``1 - sqrt(1 - r2)``, with
``r2`` the squared correlation of probability and outcome; a covariate that explains
nothing does no harm.

Limits of a group's mean come from a variance that follows the mean, as in the score
interval: rare conversions are skewed, and with a variance as estimated, a control group
that was lucky would too often make a campaign look good.

Sources:
    Deng, Xu, Kohavi and Walker (2013), Improving the sensitivity of online controlled
    experiments by utilizing pre-experiment data, section 3;
    Wilson (1927), Probable inference, the law of succession, and statistical inference;
    Zou and Donner (2008), Construction of confidence limits about effect measures, and
    Donner and Zou (2012), Closed-form confidence intervals for functions of the normal
    mean and standard deviation: limits of differences and of ratios;
    Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas (2024), Time-uniform central limit
    theory and asymptotic confidence sequences, theorem 2.2 and appendix B.2;
    Lindon and Malek (2022), Anytime-valid inference for multinomial count data.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import lgamma, log
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

LEVEL = 0.95
# A sequence is tightest at so many times the users of the first look: flat over half a
# year of weeks, whether many users are new each week or few.
TIGHTEST_AT = 4.0

# Probability that a sound assignment ever raises the alarm.
ALARM = 0.001
# Users that the prior of the share is worth: shares that are off by a tenth of the
# control group's are found after some ten thousand users.
_PRIOR_USERS = 100.0
# Conversions of both groups that a group's own dispersion has to outweigh.
_SHARED_CONVERSIONS = 50.0
# A dispersion below this share of what it could be is 0, but for rounding.
_ROUNDING = 1e-9

# A verdict needs so many conversions in all: below, no limit of a normal is near.
MINIMUM_CONVERSIONS = 10


@dataclass(frozen=True, kw_only=True)
class Sums:
    """
    Sums over the users of a group; scalars, or arrays of one shape.

    Attributes:
        x, xx: Of the covariate, and of its squares.
        y, yy: Of the outcome, and of its squares.
        xy: Of the products.
    """

    users: Floats
    x: Floats
    xx: Floats
    y: Floats
    yy: Floats
    xy: Floats

    @classmethod
    def of(cls, covariate: ArrayLike, outcome: ArrayLike) -> Sums:
        """Add up users: a covariate and an outcome each."""
        x = np.asarray(covariate, np.float64)
        y = np.asarray(outcome, np.float64)
        return cls(
            users=np.asarray(float(len(x))),
            x=x.sum(),
            xx=(x * x).sum(),
            y=y.sum(),
            yy=(y * y).sum(),
            xy=(x * y).sum(),
        )

    @property
    def mean(self) -> Floats:
        """Mean of the outcome."""
        return self.y / np.maximum(self.users, 1)

    def centred(self) -> tuple[Floats, Floats, Floats]:
        """Return the sums of squares and products about the means: xx, xy, yy."""
        users = np.maximum(self.users, 1)
        return (
            np.maximum(self.xx - self.x**2 / users, 0),
            self.xy - self.x * self.y / users,
            np.maximum(self.yy - self.y**2 / users, 0),
        )


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate with its lower and upper limit."""

    value: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """
    Treated users against the control group.

    Attributes:
        treated, control: Mean of the outcome by user, as adjusted by the covariate.
        ratio: treated over control, less 1; its upper limit may be infinite.
        explained: Share of the outcome's variance that the covariate explains.
    """

    treated: Interval
    control: Interval
    difference: Interval
    ratio: Interval
    explained: Floats


def once() -> float:
    """Return the normal quantile of an interval that is looked at once."""
    return NormalDist().inv_cdf((1 + LEVEL) / 2)


def always(users: ArrayLike, first: ArrayLike) -> Floats:
    """
    Return what takes the quantile's place where an interval is looked at at any time.

    Args:
        users: Treated and control so far.
        first: The same at the first look, which says how fast users come.
    """
    alpha = 1 - LEVEL
    # Appendix B.2: the rho that is tightest at a given number of users.
    tightest = -2 * log(alpha) + log(-2 * log(alpha)) + 1
    share = np.asarray(users, np.float64) / np.maximum(first, 1)
    scaled = np.maximum(share, 1e-9) * tightest / TIGHTEST_AT
    return np.sqrt(2 * (scaled + 1) / scaled * np.log(np.sqrt(scaled + 1) / alpha))


def compare(
    treated: Sums,
    control: Sums,
    *,
    quantile: ArrayLike,
    is_binary: bool,
    is_adjusted: bool = True,
) -> Comparison:
    """
    Compare the means of an outcome.

    Args:
        treated: Sums of the users who were to be treated, whatever became of it.
        quantile: From ``once`` or ``always``.
        is_binary: Whether the outcome is 0 or 1; else it is an amount, 0 or more.

    Returns:
        All numbers in the shape of the sums; nan where a group has no user.
    """
    quantile = np.asarray(quantile, np.float64)
    inside = treated.centred(), control.centred()
    users = treated.users + control.users
    xx, xy, yy = (a + b for a, b in zip(*inside, strict=True))
    slope = np.where(xx > 0, xy / np.where(xx > 0, xx, 1), 0) * is_adjusted
    with np.errstate(divide="ignore", invalid="ignore"):
        explained = np.where(yy > 0, slope * xy / np.where(yy > 0, yy, 1), 0)
        centre = (treated.x + control.x) / users
        overall = (treated.y + control.y) / users
        shared = (yy - slope * xy) / np.maximum(users - 2, 1)
        dispersion = shared / _variance(overall, is_binary=is_binary)
        # Outcomes that are the same within each group say nothing of it: then who has
        # one is by chance alone, and what it is, is what they had on average.
        by_chance = (treated.yy + control.yy) / (treated.y + control.y)
        is_known = dispersion > _ROUNDING * by_chance
        dispersion = np.where(is_known, dispersion, by_chance)
        if is_binary:
            # Outcomes that are all the same say nothing of it.
            dispersion = np.where(np.isfinite(dispersion), dispersion, 1.0)
        groups = [
            _limits(
                sums,
                parts,
                slope=slope,
                centre=centre,
                shared=dispersion,
                quantile=quantile,
                is_binary=is_binary,
            )
            for sums, parts in zip((treated, control), inside, strict=True)
        ]
    return Comparison(
        treated=groups[0],
        control=groups[1],
        difference=_difference(*groups),
        ratio=_ratio(*groups),
        explained=explained,
    )


def _variance(mean: Floats, *, is_binary: bool) -> Floats:
    """Return the variance that goes with a mean, but for the dispersion."""
    return mean * (1 - mean) if is_binary else mean


def _limits(
    sums: Sums,
    parts: tuple[Floats, Floats, Floats],
    *,
    slope: Floats,
    centre: Floats,
    shared: Floats,
    quantile: Floats,
    is_binary: bool,
) -> Interval:
    """
    Return the adjusted mean of a group, with the limits of a score interval.

    The limits are the means m with ``(mean - m)^2 = q^2 dispersion V(m) / users``.
    """
    xx, xy, yy = parts
    mean = sums.mean - slope * (sums.x / sums.users - centre)
    # Noise may put the adjustment past what a mean can be.
    mean = np.clip(mean, 0, 1) if is_binary else np.maximum(mean, 0)
    residual = np.maximum(yy - 2 * slope * xy + slope**2 * xx, 0)
    own = residual / np.maximum(sums.users - 1, 1)
    own = own / _variance(sums.mean, is_binary=is_binary)
    # Of amounts, as many equal ones as would have this variance.
    count = np.where(sums.yy > 0, sums.y**2 / np.where(sums.yy > 0, sums.yy, 1), 0)
    weight = count / (count + _SHARED_CONVERSIONS)
    dispersion = np.where(weight > 0, weight * own + (1 - weight) * shared, shared)
    dispersion = np.where(np.isfinite(dispersion), dispersion, shared)
    spread = quantile**2 * dispersion / sums.users
    curve = 1 + spread if is_binary else 1.0
    middle = mean + spread / 2
    root = np.sqrt(np.maximum(middle**2 - curve * mean**2, 0))
    return Interval(
        value=mean, low=(middle - root) / curve, high=(middle + root) / curve
    )


def _difference(a: Interval, b: Interval) -> Interval:
    value = a.value - b.value
    return Interval(
        value=value,
        low=value - np.hypot(a.value - a.low, b.high - b.value),
        high=value + np.hypot(a.high - a.value, b.value - b.low),
    )


def _ratio(a: Interval, b: Interval) -> Interval:
    """Return a over b, less 1; the high limit is inf where b may be 0."""

    def limit(of_a: Floats, of_b: Floats, sign: int) -> Floats:
        product = a.value * b.value
        further = of_a * of_b * (2 * a.value - of_a) * (2 * b.value - of_b)
        root = np.sqrt(np.maximum(product**2 - further, 0))
        return np.asarray((product + sign * root) / (of_b * (2 * b.value - of_b)))

    with np.errstate(divide="ignore", invalid="ignore"):
        value = a.value / b.value - 1
        low, high = limit(a.low, b.high, -1) - 1, limit(a.high, b.low, 1) - 1
    high = np.where((b.low > 0) & np.isfinite(high), high, np.inf)
    low = np.where(np.isfinite(low), low, -1.0)
    return Interval(value=value, low=np.where(np.isnan(value), np.nan, low), high=high)


def sample_ratio(
    treated: ArrayLike, control: ArrayLike, *, share: float
) -> NDArray[np.float64]:
    """
    Return the p-value of the assignment's share at each look, valid at any time.

    It is one over the largest factor so far by which the counts speak for another
    share, the beta distribution about ``share``. By Ville's inequality a sound
    assignment ever comes to ``p`` or less with at most that probability.

    Args:
        treated, control: Users so far, by look on the last axis.
        share: Of the control group, as set; below 1, and 0 for none.
    """
    treated = np.asarray(treated, np.float64)
    control = np.asarray(control, np.float64)
    if not share:
        return np.ones_like(treated)
    a, b = share * _PRIOR_USERS, (1 - share) * _PRIOR_USERS
    factor = (
        _log_beta(a + control, b + treated)
        - _log_beta(a, b)
        - control * np.log(share)
        - treated * np.log1p(-share)
    )
    largest = np.maximum.accumulate(np.maximum(factor, 0), axis=-1)
    return np.asarray(np.exp(-largest))


def _log_beta(a: ArrayLike, b: ArrayLike) -> Floats:
    """Return the logarithm of the beta function; 03-ModelEvaluation has no SciPy."""
    gamma = np.vectorize(lgamma, otypes=[np.float64])
    return np.asarray(gamma(a) + gamma(b) - gamma(np.add(a, b)))


def verdict(difference: Interval, *, conversions: float, is_sound: bool) -> str:
    """
    Return what can be said of a campaign: helps, harms, open, or why nothing can.

    Without users in both groups nothing can, however many convert.

    Args:
        difference: With limits of ``always``.
        conversions: Of both groups.
        is_sound: Whether the assignment's share raised no alarm.
    """
    if not is_sound:
        return "sample_ratio"
    if not np.isfinite(difference.value):
        return "no_control"
    if conversions < MINIMUM_CONVERSIONS:
        return "too_few"
    if difference.low > 0:
        return "helps"
    return "harms" if difference.high < 0 else "open"
