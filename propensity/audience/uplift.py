"""
Did an audience help: what its treated users did, against those held out at random.

Users are assigned by a keyed hash before anything is sent. A user counts once, in the
week of becoming a member; the figures of a week are of all users so far. Differences
are adjusted for the probabilities by which users became members: by how much the groups
differed from the start is no effect. Intervals hold at each weekly look (``boundary``).
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from math import erfc, hypot, sqrt
from typing import TypeVar

from msgspec.structs import replace

from propensity.audience.adjusted import Sums, adjusted
from propensity.measures.intervals import POWER, Difference, rate_interval
from propensity.tables.audiences import Figures, GroupSums, Revenue

# p-value of the groups' sizes below which no figure can be trusted.
ALARM = 0.001
# A verdict needs so many conversions in all: below, there are too few to say.
MINIMUM_CONVERSIONS = 10
# Amounts are skewed: of fewer buyers in a group, an interval of money misses too often.
MINIMUM_BUYERS = 40
# Sums of a group that are None while nothing is known.
SUMS = (
    "revenue",
    "revenue_squares",
    "probability_squares",
    "probability_conversions",
    "probability_revenue",
)
Amount = TypeVar("Amount", Decimal, float)


def figures(
    sums: Iterable[GroupSums],
    *,
    control_share: float,
    errors: float,
    is_final: bool = False,
) -> Figures:
    """
    Return the figures of an audience.

    Args:
        sums: Of both groups, of all weeks so far: of users who became members in each.
        control_share: Share that is held out.
        errors: How many standard errors an interval reaches at this look.
        is_final: Whether no outcome of these users is missing any more.
    """
    treated = GroupSums(is_control=False, probability=0.0)
    control = GroupSums(is_control=True, probability=0.0)
    for more in sums:
        if more.is_control:
            control = _added(control, more)
        else:
            treated = _added(treated, more)
    difference = None
    uplift = None
    smallest = None
    explained = None
    if treated.users and control.users:
        bought = conversions_of(treated)
        anyway = conversions_of(control)
        means = adjusted(bought, anyway)
        difference = rate_difference(bought, anyway, errors=errors)
        smallest = detectable(bought, anyway, errors=errors)
        explained = means.explained
        if means.control > 0:
            uplift = means.treated / means.control - 1
    estimate, low, high = _interval(difference)
    p_value = sample_ratio(treated.users, control.users, share=control_share)
    return Figures(
        treated_users=treated.users,
        control_users=control.users,
        treated_conversions=treated.conversions,
        control_conversions=control.conversions,
        conversion_difference=estimate,
        conversion_difference_low=low,
        conversion_difference_high=high,
        variance_explained=explained,
        conversion_lift=uplift,
        detectable_difference=smallest,
        sample_ratio_p=p_value,
        verdict=verdict(
            difference,
            conversions=treated.conversions + control.conversions,
            is_sound=p_value >= ALARM,
            is_final=is_final,
        ),
        revenue=_revenue(treated, control, errors=errors),
    )


def _added(total: GroupSums, more: GroupSums) -> GroupSums:
    """
    Add up sums of a group; amounts are None while none is known.

    The probability is None if any week has none: an earlier release evaluated it.
    """
    probability = None
    if total.probability is not None and more.probability is not None:
        probability = total.probability + more.probability
    sums = {name: _sum(getattr(total, name), getattr(more, name)) for name in SUMS}
    return replace(
        total,
        users=total.users + more.users,
        conversions=total.conversions + more.conversions,
        probability=probability,
        **sums,
    )


def conversions_of(group: GroupSums) -> Sums:
    """Return the conversions of a group, and what was expected of its users."""
    return Sums(
        users=group.users,
        positives=group.conversions,
        outcomes=group.conversions,
        squares=group.conversions,
        covariates=group.probability,
        covariate_squares=group.probability_squares,
        products=group.probability_conversions,
    )


def revenue_of(group: GroupSums) -> Sums:
    """Return what a group has paid: nothing where no amount of it is known."""
    squares = group.revenue_squares
    return Sums(
        users=group.users,
        positives=group.conversions,
        outcomes=float(_paid(group)),
        squares=0.0 if squares is None else squares,
        covariates=group.probability,
        covariate_squares=group.probability_squares,
        products=group.probability_revenue,
    )


def _sum(total: Amount | None, amount: Amount | None) -> Amount | None:
    """Add an amount; None while none is known."""
    if total is None or amount is None:
        return amount if total is None else total
    return total + amount


def _interval(
    difference: Difference | None,
) -> tuple[float | None, float | None, float | None]:
    """Return a difference and its ends, each None if it is not known."""
    if difference is None:
        return None, None, None
    return difference.estimate, difference.low, difference.high


def _revenue(
    treated: GroupSums, control: GroupSums, *, errors: float
) -> Revenue | None:
    """Return what members have paid; None where no amount is known."""
    if treated.revenue is None and control.revenue is None:
        return None
    difference = None
    if treated.users and control.users:
        difference = mean_difference(
            revenue_of(treated), revenue_of(control), errors=errors
        )
    estimate, low, high = _interval(difference)
    return Revenue(
        treated_revenue=_paid(treated),
        control_revenue=_paid(control),
        revenue_difference=estimate,
        revenue_difference_low=low,
        revenue_difference_high=high,
    )


def _paid(group: GroupSums) -> Decimal:
    return Decimal(0) if group.revenue is None else group.revenue


def rate_difference(treated: Sums, control: Sums, *, errors: float) -> Difference:
    """
    Return the share of converters among the treated less that among the control group.

    Args:
        errors: How many standard errors the interval reaches.

    Source:
        Newcombe, "Interval estimation for the difference between independent
        proportions", Statistics in Medicine 17, 1998: method 10; here for as many users
        as would show a rate as exactly without a covariate.
    """
    means = adjusted(treated, control)
    low, high = _below_and_above(treated, means.treated_users, errors=errors)
    control_low, control_high = _below_and_above(
        control, means.control_users, errors=errors
    )
    value = means.treated - means.control
    more = errors * sqrt(means.slope_variance)
    return Difference(
        value,
        low=value - hypot(low, control_high, more),
        high=value + hypot(high, control_low, more),
    )


def _below_and_above(
    group: Sums, users: float, *, errors: float
) -> tuple[float, float]:
    """Return how far the interval of a rate reaches below it and above it."""
    conversions = group.outcomes * users / group.users
    low, high = rate_interval(conversions, users, errors=errors)
    return group.mean - low, high - group.mean


def mean_difference(treated: Sums, control: Sums, *, errors: float) -> Difference:
    """
    Return the amount per user of the treated minus the control group's.

    It has no interval where a group has less than ``MINIMUM_BUYERS``. The control group
    is small, and amounts are skewed: its buyers alone seldom show how much the largest
    orders vary. So the spread of a buyer's amount, in relation to its mean, is that of
    the buyers of both groups (``benchmarks.verdicts`` has what that is worth).
    """
    means = adjusted(treated, control)
    value = means.treated - means.control
    buyers = treated.positives + control.positives
    if min(treated.positives, control.positives) < MINIMUM_BUYERS:
        return Difference(value, None, None)
    relative_squares = 0.0
    for group in (treated, control):
        if group.outcomes > 0:
            mean_amount = group.outcomes / group.positives
            relative_squares += group.squares / mean_amount**2 / buyers
    variance = means.slope_variance
    for group, users in (
        (treated, means.treated_users),
        (control, means.control_users),
    ):
        mean_amount = group.outcomes / group.positives
        squares = group.mean * mean_amount * relative_squares
        variance += max(squares - group.mean**2, 0.0) / users
    half = errors * sqrt(variance)
    return Difference(value, value - half, value + half)


def detectable(treated: Sums, control: Sums, *, errors: float) -> float:
    """
    Return the smallest true difference of the rates that so many users would show.

    Args:
        errors: How many standard errors an interval reaches at this look.

    Returns:
        The difference that this look would find in 80% of cases; 0 without conversions.
    """
    means = adjusted(treated, control)
    users = treated.users + control.users
    rate = (treated.outcomes + control.outcomes) / users
    if not rate:
        return 0.0
    counts = means.treated_users, means.control_users
    low, _ = rate_interval(rate * counts[0], counts[0], errors=errors)
    _, control_high = rate_interval(rate * counts[1], counts[1], errors=errors)
    error = sqrt(rate * (1 - rate) * (1 / counts[0] + 1 / counts[1]))
    return POWER * error + hypot(rate - low, control_high - rate)


def sample_ratio(treated: int, control: int, *, share: float) -> float:
    """
    Return the p-value of the groups' sizes, by the chi-square test.

    Args:
        share: Of the control group, as set; below 1, and 0 for none.
    """
    users = treated + control
    if not share or not users:
        return 1.0
    deviation = abs(control - share * users) / sqrt(users * share * (1 - share))
    return erfc(deviation / sqrt(2))


def verdict(
    difference: Difference | None, *, conversions: int, is_sound: bool, is_final: bool
) -> str:
    """
    Return the verdict on a campaign: helps, harms, open, or why there is none.

    Args:
        difference: Of the rates of conversion; None without users in both groups.
        conversions: Of both groups.
        is_sound: Whether the groups' sizes raised no alarm.
    """
    if not is_sound:
        return "sample_ratio"
    if difference is None:
        return "no_control"
    if conversions < MINIMUM_CONVERSIONS:
        return "too_few"
    if not is_final:
        return "open"
    if difference.is_above():
        return "helps"
    return "harms" if difference.is_below() else "open"
