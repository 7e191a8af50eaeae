"""
Season: how far the odds of all users have moved, and probabilities that follow.

A model knows the base rate of its training. Where it moves, all probabilities are too
low or too high by about the same factor of the odds, which is a shift of the log-odds:
ranks stay, and it can be read off evaluated weeks, whichever version scored them.

Source:
    Saerens, Latinne and Decaestecker, "Adjusting the Outputs of a Classifier to New a
    Priori Probabilities", Neural Computation 14, 2002: a new base rate moves all
    log-odds by one constant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from operator import attrgetter

import numpy as np

from propensity.measures.metrics import Outcomes
from propensity.models.encoding import Floats

# Weeks that are remembered: a quarter, as far as 03 goes back. Of fewer than two weeks
# nothing is known: a single one may be odd.
MEMORY_WEEKS = 13
FEWEST_WEEKS = 2

# Outcomes of more days are known too late to say how the next ones will be.
LONGEST_DAYS = 28

# A shift of the log-odds is never beyond this: odds are multiplied or divided by 2.7.
MAXIMUM_LOG_ODDS_SHIFT = 1.0

# Standard deviations in log-odds: of the season before any week is known, of what it
# moves by in a week, and of what moves a single week only, such as a bank holiday.
_SEASON = 0.05
_MOVE = 0.1
_WEEK = 0.05

# The bisection ends at this shift, and 64 halvings reach a float's last bit.
_FARTHEST = 64.0
_HALVINGS = 64


@dataclass(frozen=True, kw_only=True)
class EvaluatedWeek:
    """
    A week whose outcomes are over, as the season reads it.

    ``log_odds`` is the shift that its log-odds, as the model gave them, lacked. Those
    with label 1 are ``conversions``, and the ``others`` have label 0.
    """

    week: date
    log_odds: float
    standard_error: float
    conversions: int
    others: int


def apply(probability: Floats, shift: float | None) -> Floats:
    """
    Return probabilities with a shift, if any, added to their log-odds.

    None overtakes another; 0 and 1 stay. Without a shift the bits are the same.
    """
    if not shift:
        return probability
    with np.errstate(divide="ignore", over="ignore"):
        # Every step is monotone as it is rounded; p k / (1 + p (k - 1)) would not be.
        against = (1.0 - probability) / probability
        return np.asarray(1.0 / (1.0 + against * np.exp(-shift)), dtype=np.float64)


def residual(observed: Outcomes) -> tuple[float, float] | None:
    """
    Return the shift after which the expected conversions are those observed.

    Returns:
        The shift, and its standard error, as of a logistic regression with this one
        coefficient, the inverse root of the sum of p (1 - p). None where no shift does:
        no user converted, or all did.
    """
    total = float(observed.conversions.sum())
    shift = _shift_to(observed.probability, observed.users, total=total)
    if shift is None:
        return None
    shifted = apply(observed.probability, shift)
    information = float((observed.users * shifted * (1.0 - shifted)).sum())
    return shift, information**-0.5


def _shift_to(probability: Floats, users: Floats, *, total: float) -> float | None:
    """Return the shift with which the probabilities of all users add up to a total."""
    # Probabilities of 0 and 1 can not be moved.
    movable = (probability > 0) & (probability < 1) & (users > 0)
    target = total - float(users[probability >= 1].sum())
    p = probability[movable]
    n = users[movable]
    if not 0 < target < float(n.sum()):
        return None
    low = -_FARTHEST
    high = _FARTHEST
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        is_above = float((n * apply(p, middle)).sum()) > target
        low, high = (low, middle) if is_above else (middle, high)
    return (low + high) / 2


def shift(
    weeks: Sequence[EvaluatedWeek], *, horizon_days: int, minimum_conversions: int
) -> float | None:
    """
    Return the shift for the next week from the newest ones; None without enough.

    A Kalman filter of a level that walks at random: chance is shrunk towards none, and
    a step is followed within a few weeks.

    Args:
        weeks: Of any versions, in any order.
        horizon_days: Days of outcomes in a week.
        minimum_conversions: Fewer of either label in all of the weeks prove nothing.

    Source:
        Harvey, "Forecasting, Structural Time Series Models and the Kalman Filter",
        1989, section 4.1: the local level model.
    """
    recent: list[EvaluatedWeek] = []
    for week in sorted(weeks, key=attrgetter("week"), reverse=True):
        # Weeks that share days with a newer one would count these twice.
        if not recent or (recent[-1].week - week.week).days >= horizon_days:
            recent.append(week)
    recent = recent[:MEMORY_WEEKS]
    labels = [
        sum(week.conversions for week in recent),
        sum(week.others for week in recent),
    ]
    if len(recent) < FEWEST_WEEKS or min(labels) < minimum_conversions:
        return None
    level = 0.0
    variance = _SEASON**2
    before = recent[-1].week
    for week in reversed(recent):
        variance += _MOVE**2 * (week.week - before).days / horizon_days
        before = week.week
        gain = variance / (variance + week.standard_error**2 + _WEEK**2)
        level += gain * (week.log_odds - level)
        variance *= 1 - gain
    return float(np.clip(level, -MAXIMUM_LOG_ODDS_SHIFT, MAXIMUM_LOG_ODDS_SHIFT))
