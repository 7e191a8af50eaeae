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
# none leaves these in 95% of cases (tests/propensity/audience/test_lift.py).
ERRORS = 2.85
# Standard errors beyond the interval at which an effect is found in 80% of cases.
POWER = 0.8416


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
    difference = lift = least = None
    if treated.users and control.users:
        bought = treated.conversions
        anyway = control.conversions
        difference = rate_difference((bought, treated.users), (anyway, control.users))
        least = detectable(treated, control)
        if anyway:
            lift = bought / treated.users / (anyway / control.users) - 1
    p_value = sample_ratio(treated.users, control.users, share=control_share)
    return Figures(
        treated_users=treated.users,
        control_users=control.users,
        treated_conversions=treated.conversions,
        control_conversions=control.conversions,
        conversion_difference=difference and difference.estimate,
        conversion_difference_low=difference and difference.low,
        conversion_difference_high=difference and difference.high,
        conversion_lift=lift,
        detectable_difference=least,
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
    revenue = total.revenue
    squares = total.revenue_squares
    if more.revenue is not None:
        revenue = more.revenue + (revenue or 0)
        squares = (more.revenue_squares or 0.0) + (squares or 0.0)
    return replace(
        total,
        users=total.users + more.users,
        conversions=total.conversions + more.conversions,
        revenue=revenue,
        revenue_squares=squares,
    )


def _revenue(treated: GroupSums, control: GroupSums) -> Revenue | None:
    """Return what members have paid; None where no amount is known."""
    if treated.revenue is None and control.revenue is None:
        return None
    difference = None
    if treated.users and control.users:
        difference = mean_difference(treated, control)
    return Revenue(
        treated_revenue=treated.revenue or Decimal(0),
        control_revenue=control.revenue or Decimal(0),
        revenue_difference=difference and difference.estimate,
        revenue_difference_low=difference and difference.low,
        revenue_difference_high=difference and difference.high,
    )


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
    rates = treated[0] / treated[1], control[0] / control[1]
    low, high = rate_interval(*treated, errors=ERRORS)
    other_low, other_high = rate_interval(*control, errors=ERRORS)
    value = rates[0] - rates[1]
    return Difference(
        value,
        low=value - hypot(rates[0] - low, other_high - rates[1]),
        high=value + hypot(high - rates[0], rates[1] - other_low),
    )


def mean_difference(treated: GroupSums, control: GroupSums) -> Difference:
    """
    Return the amount per user of the treated minus the control group's.

    It has no interval where a group has less than ``MINIMUM_BUYERS``.
    """
    means = []
    variance = 0.0
    for group in (treated, control):
        mean = float(group.revenue or 0) / group.users
        squares = (group.revenue_squares or 0.0) / group.users
        means.append(mean)
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
    users = treated.users, control.users
    rate = (treated.conversions + control.conversions) / sum(users)
    no_effect = rate_difference(
        (rate * users[0], users[0]), (rate * users[1], users[1])
    )
    error = sqrt(rate * (1 - rate) * (1 / users[0] + 1 / users[1]))
    return POWER * error - (no_effect.low or 0.0) if rate else 0.0


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
