"""
Did an audience help: what its treated users did, against those held out at random.

Users are assigned by a keyed hash before anything is sent. A user counts once, in the
week of becoming a member; the figures of a week are of all users so far.

A team that looks each week stops at the first good news. Intervals hold at every weekly
look of a year: in 5% of cases at most, an audience without an effect ever seems to
help or to harm.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from math import erfc, hypot, sqrt
from typing import TypeVar

from msgspec.structs import replace

from propensity.measures.intervals import Difference, rate_interval
from propensity.tables.audiences import Figures, GroupSums, Revenue

# p-value of the groups' sizes below which no figure can be trusted.
ALARM = 0.001
# A verdict needs so many conversions in all: below, there are too few to say.
MINIMUM_CONVERSIONS = 10
# Amounts are skewed: of fewer buyers in a group, an interval of money misses too often.
MINIMUM_BUYERS = 20
# How many standard errors an interval reaches. Of 52 weekly looks at all users so far,
# none leaves these in 95% of cases (tests/propensity/audience/test_uplift.py).
ERRORS = 2.85
# Standard errors beyond the interval at which an effect is found in 80% of cases.
POWER = 0.8416
Amount = TypeVar("Amount", Decimal, float)


def figures(
    sums: Iterable[GroupSums], *, control_share: float, is_final: bool = False
) -> Figures:
    """
    Return the figures of an audience.

    Args:
        sums: Of both groups, of all weeks so far: of users who became members in each.
        control_share: Share that is held out.
        is_final: Whether no outcome of these users is missing any more.
    """
    treated = GroupSums(is_control=False)
    control = GroupSums(is_control=True)
    for more in sums:
        if more.is_control:
            control = _added(control, more)
        else:
            treated = _added(treated, more)
    difference = None
    uplift = None
    smallest = None
    if treated.users and control.users:
        bought = treated.conversions
        anyway = control.conversions
        difference = rate_difference((bought, treated.users), (anyway, control.users))
        smallest = detectable(treated, control)
        if anyway:
            uplift = bought / treated.users / (anyway / control.users) - 1
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
        conversion_lift=uplift,
        detectable_difference=smallest,
        sample_ratio_p=p_value,
        verdict=verdict(
            difference,
            conversions=treated.conversions + control.conversions,
            is_sound=p_value >= ALARM,
            is_final=is_final,
        ),
        revenue=_revenue(treated, control),
    )


def _added(total: GroupSums, more: GroupSums) -> GroupSums:
    """Add up sums of a group; amounts are None while none is known."""
    return replace(
        total,
        users=total.users + more.users,
        conversions=total.conversions + more.conversions,
        revenue=_sum(total.revenue, more.revenue),
        revenue_squares=_sum(total.revenue_squares, more.revenue_squares),
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


def _revenue(treated: GroupSums, control: GroupSums) -> Revenue | None:
    """Return what members have paid; None where no amount is known."""
    if treated.revenue is None and control.revenue is None:
        return None
    difference = None
    if treated.users and control.users:
        difference = mean_difference(treated, control)
    estimate, low, high = _interval(difference)
    return Revenue(
        treated_revenue=_revenue_of(treated),
        control_revenue=_revenue_of(control),
        revenue_difference=estimate,
        revenue_difference_low=low,
        revenue_difference_high=high,
    )


def _revenue_of(group: GroupSums) -> Decimal:
    """Return what a group has paid: nothing where no amount of it is known."""
    return Decimal(0) if group.revenue is None else group.revenue


def rate_difference(
    treated: tuple[float, int], control: tuple[float, int]
) -> Difference:
    """
    Return the share of converters among the treated less that among the control group.

    Args:
        treated, control: Conversions, and users, above 0.

    Source:
        Newcombe, "Interval estimation for the difference between independent
        proportions", Statistics in Medicine 17, 1998: method 10. The same boundary at
        every look: Pocock, "Group sequential methods in the design and analysis of
        clinical trials", Biometrika 64, 1977.
    """
    rate = treated[0] / treated[1]
    low, high = rate_interval(treated[0], treated[1], errors=ERRORS)
    control_rate = control[0] / control[1]
    control_low, control_high = rate_interval(control[0], control[1], errors=ERRORS)
    value = rate - control_rate
    return Difference(
        value,
        low=value - hypot(rate - low, control_high - control_rate),
        high=value + hypot(high - rate, control_rate - control_low),
    )


def mean_difference(treated: GroupSums, control: GroupSums) -> Difference:
    """
    Return the amount per user of the treated minus the control group's.

    It has no interval where a group has less than ``MINIMUM_BUYERS``.
    """
    means = []
    variance = 0.0
    for group in (treated, control):
        mean = float(_revenue_of(group)) / group.users
        means.append(mean)
        if group.revenue_squares is not None:
            squares = group.revenue_squares / group.users
            variance += max(squares - mean**2, 0.0) / group.users
    value = means[0] - means[1]
    half = ERRORS * sqrt(variance)
    if min(treated.conversions, control.conversions) < MINIMUM_BUYERS:
        return Difference(value, None, None)
    return Difference(value, value - half, value + half)


def detectable(treated: GroupSums, control: GroupSums) -> float:
    """
    Return the smallest true difference of the rates that so many users would show.

    Args:
        treated, control: Sums of groups with users.

    Returns:
        The difference that this look would find in 80% of cases; 0 without conversions.
    """
    users = treated.users + control.users
    rate = (treated.conversions + control.conversions) / users
    if not rate:
        return 0.0
    no_effect = rate_difference(
        (rate * treated.users, treated.users), (rate * control.users, control.users)
    )
    assert no_effect.low is not None
    error = sqrt(rate * (1 - rate) * (1 / treated.users + 1 / control.users))
    return POWER * error - no_effect.low


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
