"""
Did an audience help: what its treated users did, against those held out at random.

Users are assigned by a keyed hash before anything is sent. A user counts once, in the
week of becoming a member; the figures of a week are of all users so far. Differences
are adjusted for the probabilities by which users became members: by how much the groups
differed from the start is no effect.

Intervals hold at each weekly look: ``looks`` says how far they reach.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from math import erfc, sqrt

from propensity.measures.intervals import Difference, in_columns
from propensity.measures.statistic import (
    Amounts,
    Share,
    adjusted,
    detectable,
    difference_of_means,
    variance_explained,
    with_common_spread,
)
from propensity.measures.verdicts import (
    HARMS,
    HELPS,
    LOST,
    NO_CONTROL,
    OPEN,
    TOO_FEW,
    UpliftVerdict,
)
from propensity.tables.audiences import Figures, GroupSums, Revenue

# p-value of the groups' sizes below which no figure can be trusted.
ALARM = 0.001
# A verdict needs so many conversions in all: below, there are too few to say.
MINIMUM_CONVERSIONS = 10


def figures(
    sums: Sequence[GroupSums],
    *,
    control_share: float,
    errors: float,
    is_final: bool = False,
) -> Figures:
    """
    Return the figures of an audience.

    Args:
        sums: Of both groups, of all weeks so far: of users who became members in each.
        errors: How many standard errors an interval reaches at this look.
        is_final: Whether no outcome of these users is missing any more.
    """
    treated = [group for group in sums if not group.is_control]
    control = [group for group in sums if group.is_control]
    bought = conversions_of(treated)
    anyway = conversions_of(control)
    added = None
    uplift = None
    smallest = None
    less = None
    if bought.users and anyway.users:
        contacted, others = adjusted(bought, anyway)
        added = difference_of_means(contacted, others, errors=errors)
        smallest = detectable(contacted, others, errors=errors)
        less = variance_explained(contacted, others)
        if others.mean > 0:
            uplift = contacted.mean / others.mean - 1
    treated_users = int(bought.users)
    control_users = int(anyway.users)
    p_value = sample_ratio(treated_users, control_users, share=control_share)
    return Figures(
        treated_users=treated_users,
        control_users=control_users,
        treated_conversions=int(bought.positives),
        control_conversions=int(anyway.positives),
        **in_columns("conversion_difference", added),
        variance_explained=less,
        conversion_lift=uplift,
        detectable_difference=smallest,
        sample_ratio_p=p_value,
        verdict=verdict(
            added,
            conversions=int(bought.positives + anyway.positives),
            is_sound=p_value >= ALARM,
            is_final=is_final,
        ).code,
        revenue=_revenue(treated, control, errors=errors),
    )


def conversions_of(groups: Iterable[GroupSums]) -> Share:
    """Return the share of users who converted, and what was expected of them."""
    share = Share()
    for sums in groups:
        share += Share(
            users=sums.users,
            positives=sums.conversions,
            total=sums.conversions,
            squares=sums.conversions,
            covariates=sums.probability,
            covariate_squares=sums.probability_squares,
            products=sums.probability_conversions,
        )
    return share


def amounts_of(groups: Iterable[GroupSums]) -> Amounts:
    """Return what users paid: nothing where no amount is known."""
    amounts = Amounts()
    for sums in groups:
        amounts += Amounts(
            users=sums.users,
            positives=sums.conversions,
            total=float(sums.revenue or 0),
            squares=sums.revenue_squares or 0.0,
            products=sums.probability_revenue or 0.0,
            covariates=sums.probability,
            covariate_squares=sums.probability_squares,
        )
    return amounts


def _revenue(
    treated: Sequence[GroupSums], control: Sequence[GroupSums], *, errors: float
) -> Revenue | None:
    """Return what members have paid; None where no amount is known."""
    if all(group.revenue is None for group in [*treated, *control]):
        return None
    added = None
    if treated and control:
        group, other = with_common_spread(amounts_of(treated), amounts_of(control))
        added = difference_of_means(*adjusted(group, other), errors=errors)
    return Revenue(
        treated_revenue=_paid(treated),
        control_revenue=_paid(control),
        **in_columns("revenue_difference", added),
    )


def _paid(groups: Iterable[GroupSums]) -> Decimal:
    return sum((sums.revenue or Decimal(0) for sums in groups), Decimal(0))


def sample_ratio(treated: int, control: int, *, share: float) -> float:
    """Return the p-value of the groups' sizes, by the chi-square test."""
    users = treated + control
    if not share or not users:
        return 1.0
    deviation = abs(control - share * users) / sqrt(users * share * (1 - share))
    return erfc(deviation / sqrt(2))


def verdict(
    difference: Difference | None, *, conversions: int, is_sound: bool, is_final: bool
) -> UpliftVerdict:
    """Return the verdict on a campaign: helps, harms, open, or why there is none."""
    if not is_sound:
        return LOST
    if difference is None:
        return NO_CONTROL
    if conversions < MINIMUM_CONVERSIONS:
        return TOO_FEW
    if not is_final:
        return OPEN
    if difference.is_above():
        return HELPS
    return HARMS if difference.is_below() else OPEN
