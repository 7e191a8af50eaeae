"""
Season: how far the odds of all users have moved, and probabilities that follow.

A model knows the base rate of its training. Where it moves, all probabilities are too
low or too high by about the same factor of the odds, which is a shift of the log-odds:
ranks stay, and it can be read off evaluated weeks, whichever version scored them.

Weeks of a shop differ by more than chance. How much more is learned from the same
weeks: ``forecast`` says how far the next one may be from what is expected of it.

Source:
    Saerens, Latinne and Decaestecker, "Adjusting the Outputs of a Classifier to New a
    Priori Probabilities", Neural Computation 14, 2002: a new base rate moves all
    log-odds by one constant.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from operator import attrgetter

import numpy as np

from propensity.measures.intervals import students_quantile
from propensity.measures.metrics import Outcomes
from propensity.measures.money import exact_money
from propensity.models.encoding import Floats
from propensity.tables.models import Range
from propensity.timeframe import LONGEST_DAYS

# Weeks that are remembered: a quarter, as far as 03 goes back. Of fewer than two weeks
# nothing is known: a single one may be odd.
MEMORY_WEEKS = 13
FEWEST_WEEKS = 2

# A shift of the log-odds is never beyond this: odds are multiplied or divided by 2.7.
MAXIMUM_LOG_ODDS_SHIFT = 1.0

# Standard deviations in log-odds: of the season before any week is known, of what it
# moves by in a week, and of what moves a single week only, such as a bank holiday.
_SEASON = 0.05
_MOVE = 0.1
_WEEK = 0.05

# What weeks differ by is learned from these standard deviations on: they weigh as much
# as so many weeks, and a week counts for so many times its variance at the most. So a
# broken tag is no habit of the shop.
_PRIOR_WEEKS = 4
_MOST = 6.0
# Of the season while no week is followed, in log-odds; and of a week's revenue, in
# logarithms of what users paid over what was expected.
_UNFOLLOWED = 0.08
_REVENUE = 0.25

# The bisection ends at this shift, and 64 halvings reach a float's last bit.
_FARTHEST = 64.0
_HALVINGS = 64


@dataclass(frozen=True, kw_only=True)
class EvaluatedWeek:
    """
    A week whose outcomes are over, as the season reads it.

    ``log_odds`` is the shift that its log-odds, as the model gave them, lacked. Those
    with label 1 are ``conversions``, and the ``others`` have label 0. ``log_revenue``
    is the logarithm of what users paid over what was expected; None without amounts.
    """

    week: date
    log_odds: float
    standard_error: float
    conversions: int
    others: int
    log_revenue: float | None = None


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """
    How far a week may be from what is expected of it.

    Attributes:
        spread: Of its log-odds, the scale of Student's distribution.
        value_spread: The same of the logarithm of its revenue.
        freedom: Degrees of freedom of both.
    """

    spread: float
    value_spread: float
    freedom: int

    def range(
        self,
        *,
        users: int,
        expected: float,
        information: float,
        value: Decimal | None = None,
    ) -> Range:
        """
        Return what comes in 19 weeks of 20.

        Args:
            users: Those of the week.
            expected, information: Sums of their p and p (1 - p).
            value: Their expected revenue; None without amounts.
        """
        # One shift of all log-odds moves the sum of p by the sum of p (1 - p).
        factor = self._factor(self.spread * information / expected)
        least = None
        most = None
        if value is not None:
            value_factor = self._factor(self.value_spread)
            least = exact_money(float(value) / value_factor)
            most = exact_money(float(value) * value_factor)
        return Range(
            conversions_low=math.floor(expected / factor),
            conversions_high=min(math.ceil(expected * factor), users),
            value_low=least,
            value_high=most,
            spread=self.spread,
            value_spread=self.value_spread,
            freedom=self.freedom,
        )

    def _factor(self, spread: float) -> float:
        return math.exp(min(students_quantile(self.freedom) * spread, _FARTHEST))


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
    Return the shift for the next week from the newest ones; None without enough, and
    where outcomes last longer than ``LONGEST_DAYS``.

    Args:
        weeks: Of any versions, in any order.
        horizon_days: Days of outcomes in a week.
        minimum_conversions: Fewer of either label in all of the weeks prove nothing.
    """
    recent = _apart(weeks, horizon_days)
    if not _is_followed(recent, horizon_days, minimum_conversions):
        return None
    level = _follow(recent, horizon_days).level
    return float(np.clip(level, -MAXIMUM_LOG_ODDS_SHIFT, MAXIMUM_LOG_ODDS_SHIFT))


def forecast(
    weeks: Sequence[EvaluatedWeek],
    *,
    as_of: date,
    horizon_days: int,
    minimum_conversions: int,
    information: float,
) -> Forecast | None:
    """
    Say how far the next week may be from what is expected of it, with its ``shift``.

    The scale of what the filter's constants expect is learned: from none of the weeks
    it is 1, and with each week nearer to what they differed by.

    Args:
        as_of: First day of the week that is asked for.
        information: The sum of its p (1 - p).
        weeks, horizon_days, minimum_conversions: As ``shift`` has them.

    Returns:
        None without any information, and of longer outcomes than ``LONGEST_DAYS``
        before a few that share no day are known.

    Source:
        West and Harrison, "Bayesian Forecasting and Dynamic Models", 1997, section
        4.5: an unknown scale of all variances, and Student's forecast.
    """
    recent = _apart(weeks, horizon_days)
    is_long = horizon_days > LONGEST_DAYS
    if not information or (is_long and len(recent) < FEWEST_WEEKS):
        return None
    if _is_followed(recent, horizon_days, minimum_conversions):
        followed = _follow(recent, horizon_days)
        squares = followed.squares
        moved = _MOVE**2 * (as_of - recent[-1].week).days / horizon_days
        variance = followed.variance + moved
    else:
        variance = _UNFOLLOWED**2
        squares = []
        for week in recent:
            expected = variance + week.standard_error**2 + _WEEK**2
            squares.append(week.log_odds**2 / expected)
    value_squares = []
    for week in recent:
        if week.log_revenue is not None:
            value_squares.append((week.log_revenue / _REVENUE) ** 2)
    return Forecast(
        spread=math.sqrt(_scale(squares) * (variance + _WEEK**2 + 1 / information)),
        value_spread=_REVENUE * math.sqrt(_scale(value_squares)),
        freedom=_PRIOR_WEEKS + len(recent),
    )


def _scale(squares: Sequence[float]) -> float:
    """Return the scale of variances by squares of weeks over what was expected."""
    counted = sum(min(square, _MOST) for square in squares)
    return (_PRIOR_WEEKS + counted) / (_PRIOR_WEEKS + len(squares))


def _apart(weeks: Sequence[EvaluatedWeek], horizon_days: int) -> list[EvaluatedWeek]:
    """Return the newest weeks that share no day, the oldest of them first."""
    recent: list[EvaluatedWeek] = []
    for week in sorted(weeks, key=attrgetter("week"), reverse=True):
        # Weeks that share days with a newer one would count these twice.
        if not recent or (recent[-1].week - week.week).days >= horizon_days:
            recent.append(week)
    return recent[:MEMORY_WEEKS][::-1]


def _is_followed(
    recent: Sequence[EvaluatedWeek], horizon_days: int, minimum_conversions: int
) -> bool:
    """Tell whether probabilities follow these weeks."""
    labels = [
        sum(week.conversions for week in recent),
        sum(week.others for week in recent),
    ]
    is_enough = len(recent) >= FEWEST_WEEKS and min(labels) >= minimum_conversions
    return is_enough and horizon_days <= LONGEST_DAYS


@dataclass(frozen=True, kw_only=True)
class _Followed:
    """Level and variance after some weeks, and each week's square over its variance."""

    level: float
    variance: float
    squares: list[float]


def _follow(recent: Sequence[EvaluatedWeek], horizon_days: int) -> _Followed:
    """
    Follow weeks, the oldest first.

    A Kalman filter of a level that walks at random: chance is shrunk towards none, and
    a step is followed within a few weeks.

    Source:
        Harvey, "Forecasting, Structural Time Series Models and the Kalman Filter",
        1989, section 4.1: the local level model.
    """
    level = 0.0
    variance = _SEASON**2
    before = recent[0].week
    squares = []
    for week in recent:
        variance += _MOVE**2 * (week.week - before).days / horizon_days
        before = week.week
        expected = variance + week.standard_error**2 + _WEEK**2
        squares.append((week.log_odds - level) ** 2 / expected)
        gain = variance / expected
        level += gain * (week.log_odds - level)
        variance *= 1 - gain
    return _Followed(level=level, variance=variance, squares=squares)
