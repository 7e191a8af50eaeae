"""
Season: how far the odds of all users have moved, and probabilities that follow.

A model knows the base rate of its training. Where it moves, all probabilities are too
low or too high by about the same factor of the odds, which is a shift of the log-odds:
ranks stay, and it can be read off weeks that were evaluated. Pure functions on arrays.

Source:
    Saerens, Latinne and Decaestecker, "Adjusting the Outputs of a Classifier to New a
    Priori Probabilities", Neural Computation 14, 2002: a new base rate moves all
    log-odds by one constant.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import lru_cache
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from propensity.learning.metrics import Outcomes

Floats = NDArray[np.float64]

# Weeks that are remembered: a quarter, as far as 03 goes back.
MEMORY = 13
# A shift of the log-odds is never beyond this: odds times or by 2.7.
MAXIMUM_LOG_ODDS_SHIFT = 1.0

# What is expected before a week is known, chosen on simulated shops and on the
# weeks of a real one. Either there is no drift, or it has a level and a slope, whose
# standard deviations in log-odds are one of these, since a break some weeks ago.
_NO_DRIFT = 0.2
_LEVELS = {0.1: 0.3, 0.2: 0.3, 0.4: 0.3, 0.8: 0.1}
_SLOPES = {0.0: 0.4, 0.05: 0.3, 0.1: 0.3}
_BREAK = 0.05
_NEWEST_BREAKS = 6
# A single week may be an odd one: nothing tells that from drift.
FEWEST_WEEKS = 2
# Levels of two weeks one horizon apart correlate by this: drift fades if nothing says
# that it goes on.
_PERSISTENCE = 0.98

# What moves a single week only, such as a bank holiday: its log-odds have one of these
# standard deviations, each equally likely.
_WEEKLY = (0.03, 0.1, 0.2, 0.35)

# A step of Newton's method below this changes no probability.
_SMALLEST_STEP = 1e-13
_STEPS = 200


@dataclass(frozen=True, kw_only=True)
class Residual:
    """The shift of log-odds that a week lacked, and its standard error."""

    log_odds: float
    standard_error: float


@dataclass(frozen=True, kw_only=True)
class Shift:
    """What is added to a week's log-odds, and its standard deviation."""

    log_odds: float
    error: float


@dataclass(frozen=True, kw_only=True)
class EvaluatedWeek:
    """
    A week whose outcomes are over, as the season reads it.

    Attributes:
        week: First day of the outcomes.
        model_version: The model of its probabilities.
        log_odds: The shift that its log-odds, as the model gave them, lacked.
        standard_error: Of ``log_odds``.
        conversions: Users with label 1.
        others: Users with label 0.
        is_final: Whether its labels were mature.
        late: Of a final week, what labels that came late added to ``log_odds``; None
            if the week was not evaluated before it was final.
    """

    week: date
    model_version: int
    log_odds: float
    standard_error: float
    conversions: int
    others: int
    is_final: bool = True
    late: float | None = None


@dataclass(frozen=True, kw_only=True)
class LevelDifference:
    """How much higher the log-odds of a version are than those of another one."""

    model_version: int
    compared_version: int
    log_odds: float


def apply(probability: Floats, shift: float | None) -> Floats:
    """
    Return probabilities with their log-odds shifted.

    Equal probabilities stay equal and none overtakes another; those that differ in the
    last digit may become equal. 0 and 1 stay. Without a shift the bits are the same,
    and a shift back gives the probabilities again within 1e-12.

    Args:
        probability: In [0, 1], of any shape.
        shift: To add to the log-odds; None and 0 change nothing.
    """
    if not shift:
        return probability
    with np.errstate(divide="ignore", over="ignore"):
        # Every step is monotone as it is rounded; p k / (1 + p (k - 1)) would not be.
        against = (1.0 - probability) / probability
        return np.asarray(1.0 / (1.0 + against * np.exp(-shift)), dtype=np.float64)


def residual(observed: Outcomes) -> Residual | None:
    """
    Return the shift after which the expected conversions are those that came.

    Its standard error is that of a logistic regression with this one coefficient:
    the inverse root of the sum of p (1 - p) at the solution.

    Returns:
        None where no shift does: nobody converted, or everybody did.
    """
    return _shift_to(
        observed.probability, observed.users, total=float(observed.conversions.sum())
    )


def level_difference(
    challenger: Floats, champion: Floats, *, weight: Floats
) -> float | None:
    """
    Return the shift of a champion's log-odds that gives the mean of a challenger's.

    Args:
        challenger, champion: Probabilities of the same rows, (rows,).
        weight: (rows,), positive.

    Returns:
        None where no shift does.
    """
    total = float((challenger * weight).sum())
    shift = _shift_to(champion, weight, total=total)
    return shift.log_odds if shift else None


def _shift_to(probability: Floats, users: Floats, *, total: float) -> Residual | None:
    """Return the shift with which the probabilities of all users add up to a total."""
    # Probabilities of 0 and 1 can not be moved.
    movable = (probability > 0) & (probability < 1) & (users > 0)
    target = total - float(users[probability >= 1].sum())
    p, n = probability[movable], users[movable]
    if not 0 < target < float(n.sum()):
        return None
    low, high, shift = -np.inf, np.inf, 0.0
    for _ in range(_STEPS):
        moved = apply(p, shift)
        excess = float((n * moved).sum()) - target
        low, high = (low, shift) if excess > 0 else (shift, high)
        slope = float((n * moved * (1.0 - moved)).sum())
        step = -excess / slope if slope > 0 else -np.sign(excess)
        # Far from the solution the slope is flat; one e-fold of the odds at a time.
        following = shift + float(np.clip(step, -1.0, 1.0))
        if not low <= following <= high:
            following = (low + high) / 2
        if abs(following - shift) <= _SMALLEST_STEP * (1.0 + abs(shift)):
            break
        shift = following
    moved = apply(p, shift)
    information = float((n * moved * (1.0 - moved)).sum())
    if not information > 0:
        return None
    return Residual(log_odds=shift, standard_error=information**-0.5)


def of_version(
    weeks: Iterable[EvaluatedWeek],
    differences: Iterable[LevelDifference],
    *,
    version: int,
) -> list[EvaluatedWeek]:
    """
    Return weeks as they would have been with one version's probabilities.

    A newer model has learned a part of the drift: it lacks what the older one lacked,
    less the difference of their levels. Weeks of a version that was never compared with
    this one, over others or not, are left out.

    Args:
        differences: Of a version and the one that it was compared with.
    """
    levels = _levels(differences, version)
    return [
        replace(
            week,
            model_version=version,
            log_odds=week.log_odds + levels[week.model_version],
        )
        for week in weeks
        if week.model_version in levels
    ]


def _levels(
    differences: Iterable[LevelDifference], version: int
) -> Mapping[int, float]:
    """Return how much higher the versions' log-odds are than one version's."""
    beside: dict[int, list[tuple[int, float]]] = {}
    for difference in differences:
        beside.setdefault(difference.model_version, []).append(
            (difference.compared_version, -difference.log_odds)
        )
        beside.setdefault(difference.compared_version, []).append(
            (difference.model_version, difference.log_odds)
        )
    levels, reached = {version: 0.0}, [version]
    for place in reached:
        for other, higher in beside.get(place, []):
            if other not in levels:
                levels[other] = levels[place] + higher
                reached.append(other)
    return levels


def shift(
    weeks: Sequence[EvaluatedWeek],
    *,
    week: date,
    horizon_days: int,
    minimum_conversions: int,
    bound: float,
) -> Shift | None:
    """
    Return the shift for a week from the newest weeks before it; None without enough.

    The posterior mean of the drift, and its deviation, from ``FEWEST_WEEKS`` to
    ``MEMORY`` weeks that do not overlap. How much single weeks vary, and whether and
    since when the odds drift, is not known: every hypothesis counts by how likely it
    makes the weeks. So chance is shrunk towards none, a shop with odd weeks is followed
    slowly, and a step that neither explains is followed within two weeks. Late labels
    are expected to add to weeks that are not final what they added to the others.

    Args:
        weeks: As ``of_version`` returns them, in any order; all ended by ``week``.
        week: First day of the outcomes to predict.
        horizon_days: Days of outcomes in a week.
        minimum_conversions: Fewer of either label in all of the weeks prove nothing.
        bound: The largest shift in either direction; 0 is none.

    Source:
        Hoeting et al., "Bayesian Model Averaging", Statistical Science 14, 1999; Adams
        and MacKay, "Bayesian Online Changepoint Detection", arXiv:0710.3742, 2007, with
        Gaussian segments that have a level and a slope.
    """
    known = _newest(weeks, horizon_days=horizon_days)
    if not bound or len(known) < FEWEST_WEEKS:
        return None
    least = min(
        sum(week.conversions for week in known), sum(week.others for week in known)
    )
    if least < minimum_conversions:
        return None
    age = np.array([(week - other.week).days / horizon_days for other in known])
    late = _late(known)
    log_odds = np.array([week.log_odds + (not week.is_final) * late for week in known])
    error = np.array([week.standard_error for week in known])
    chance, between, ahead, unknown = _hypotheses(tuple(age))
    weights, means, variances = [], [], []
    for weekly in _WEEKLY:
        covariance = between + np.diag(error**2 + weekly**2)
        solved = np.linalg.solve(covariance, log_odds[:, None])[..., 0]
        explained = np.linalg.solve(covariance, ahead[..., None])[..., 0]
        _, determinant = np.linalg.slogdet(covariance)
        weights.append(np.log(chance) - 0.5 * (solved @ log_odds + determinant))
        means.append((ahead * solved).sum(axis=1))
        variances.append(unknown - (ahead * explained).sum(axis=1))
    likelihood = np.exp(np.concatenate(weights) - np.max(weights))
    likelihood /= likelihood.sum()
    mean, variance = np.concatenate(means), np.concatenate(variances)
    expected = float(likelihood @ mean)
    # What each hypothesis leaves open, and how far they are apart.
    spread = float(likelihood @ (np.maximum(variance, 0.0) + (mean - expected) ** 2))
    return Shift(
        log_odds=float(np.clip(expected, -bound, bound)), error=float(np.sqrt(spread))
    )


def _late(weeks: Sequence[EvaluatedWeek]) -> float:
    """Return what late labels add to a week, as they did to weeks that are final."""
    added = [(week.late, week.conversions) for week in weeks if week.late is not None]
    if not added:
        return 0.0
    return float(np.average([late for late, _ in added], weights=[n for _, n in added]))


@lru_cache
def _hypotheses(
    ages: tuple[float, ...],
) -> tuple[Floats, Floats, Floats, Floats]:
    """
    Return what may be behind weeks of these ages, newest first.

    Before a break the drift had a level of its own, which says nothing of what follows.

    Returns:
        Of each hypothesis its chance, and the covariances of the drift: between the
        weeks, (hypotheses, weeks, weeks), and of each with the week to predict,
        (hypotheses, weeks), and the drift's variance in that week.
    """
    age, n = np.array(ages), len(ages)
    fading = _PERSISTENCE ** np.abs(age[:, None] - age)
    chance, between, ahead = [_NO_DRIFT], [np.zeros((n, n))], [np.zeros(n)]
    unknown = [0.0]
    for since, break_chance in _breaks(n):
        newer = np.arange(n) < since
        together = np.equal.outer(newer, newer) * fading
        # Weeks since the segment began; the slope counts from there.
        ramp = np.where(newer, age[since - 1] - age, 0.0)
        for (level, level_chance), (slope, slope_chance) in itertools.product(
            _LEVELS.items(), _SLOPES.items()
        ):
            chance.append((1 - _NO_DRIFT) * break_chance * level_chance * slope_chance)
            between.append(level**2 * together + slope**2 * np.outer(ramp, ramp))
            ahead.append(
                level**2 * newer * _PERSISTENCE**age + slope**2 * age[since - 1] * ramp
            )
            unknown.append(level**2 + slope**2 * age[since - 1] ** 2)
    return np.array(chance), np.array(between), np.array(ahead), np.array(unknown)


def _breaks(weeks: int) -> Iterator[tuple[int, float]]:
    """Yield how many of the newest weeks follow the last break, and the chances."""
    newest = min(weeks - 1, _NEWEST_BREAKS)
    for since in range(1, newest + 1):
        yield since, _BREAK * (1 - _BREAK) ** (since - 1)
    yield weeks, (1 - _BREAK) ** newest


def _newest(
    weeks: Sequence[EvaluatedWeek], *, horizon_days: int
) -> list[EvaluatedWeek]:
    """Return the newest weeks, without those that share days with a newer one."""
    chosen: list[EvaluatedWeek] = []
    for week in sorted(weeks, key=attrgetter("week"), reverse=True):
        if not chosen or (chosen[-1].week - week.week).days >= horizon_days:
            chosen.append(week)
    return chosen[:MEMORY]
