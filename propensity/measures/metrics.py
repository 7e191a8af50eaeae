"""
Metrics of scores and their outcomes.

Pure functions on arrays. Scores are grouped by distinct probability, with the rows and
conversions of each: exact, and in bounded memory for many users.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct, structs
from numpy.typing import NDArray

from propensity.models.encoding import Floats
from propensity.tables.models import LiftDecile

BINS = 10

# A curve on a page shows no more points than this.
_POINTS = 200

# log(0) is infinite: a wrong probability of exactly 0 or 1 costs as much as 1e-15.
_EPSILON = 1e-15


@dataclass(frozen=True)
class Outcomes:
    """
    Rows and conversions by distinct probability, ascending.

    ``probability``, ``users`` and ``conversions`` have one shape, (groups,). Users and
    conversions may be fractions where rows carry weights.
    """

    probability: Floats
    users: Floats
    conversions: Floats

    def __post_init__(self) -> None:
        if np.any(np.diff(self.probability) <= 0):
            raise ValueError("probabilities must ascend and be distinct")
        # NaN, for which no comparison holds, must fail too.
        if not np.all((self.probability >= 0) & (self.probability <= 1)):
            raise ValueError("probabilities must be in [0, 1]")
        if not np.all((self.conversions >= 0) & (self.conversions <= self.users)):
            raise ValueError("conversions must be from 0 to the number of users")

    @property
    def has_both_classes(self) -> bool:
        """Whether there are rows with label 1 and rows with label 0."""
        positives = self.conversions.sum()
        return bool(0 < positives < self.users.sum())


def outcomes(
    probability: Floats, label: NDArray[Any], *, weight: Floats | None = None
) -> Outcomes:
    """Group rows by probability; label is 0 or 1, and weight positive, (rows,)."""
    weights = np.ones(len(probability)) if weight is None else weight
    return grouped(probability, weights, np.where(np.asarray(label) == 1, weights, 0.0))


def grouped(probability: Floats, users: Floats, conversions: Floats) -> Outcomes:
    """Return groups in any order as Outcomes; equal probabilities are merged."""
    distinct, group = np.unique(probability, return_inverse=True)
    together = summed(group, users, len(distinct))
    # Rounding in the sums must not give more conversions than users.
    positive = np.minimum(summed(group, conversions, len(distinct)), together)
    return Outcomes(distinct, together, positive)


def roc_auc(observed: Outcomes) -> float | None:
    """
    Return the area under the ROC curve, ties counting half; None with one class.

    Source:
        Hanley and McNeil, "The meaning and use of the area under a receiver operating
        characteristic (ROC) curve", Radiology 143, 1982: the Mann-Whitney statistic.
    """
    if not observed.has_both_classes:
        return None
    positives = observed.conversions
    negatives = observed.users - positives
    below = np.cumsum(negatives) - negatives
    # Summed without BLAS, here as below: its threads cost more than they save.
    pairs = (positives * (below + negatives / 2)).sum()
    return float(pairs / (positives.sum() * negatives.sum()))


def pr_auc(observed: Outcomes) -> float | None:
    """Return the average precision, as scikit-learn defines it; None with one class."""
    if not observed.has_both_classes:
        return None
    selected, hits = above(observed)
    # The highest groups may have no users.
    precision = hits / np.maximum(selected, 1e-300)
    return float((observed.conversions[::-1] * precision).sum() / hits[-1])


class Slopes(NamedTuple):
    """
    How far a metric moves with one more row, by group: of label 1, and of label 0.

    The variance of a metric is the variance of the sum of its rows' slopes.
    """

    positive: Floats
    negative: Floats


def roc_auc_slopes(observed: Outcomes) -> Slopes:
    """
    Return the slopes of the ROC AUC of rows of both classes.

    Source:
        DeLong, DeLong and Clarke-Pearson, "Comparing the areas under two or more
        correlated receiver operating characteristic curves", Biometrics 44, 1988.
    """
    positives = observed.conversions
    negatives = observed.users - positives
    n_positives = positives.sum()
    n_negatives = negatives.sum()
    # The share of the other class that a row is ranked right against.
    beaten = (np.cumsum(negatives) - negatives / 2) / n_negatives
    missed = 1 - (np.cumsum(positives) - positives / 2) / n_positives
    area = (positives * beaten).sum() / n_positives
    return Slopes((beaten - area) / n_positives, (missed - area) / n_negatives)


def pr_auc_slopes(observed: Outcomes) -> Slopes:
    """
    Return the slopes of the average precision of rows of both classes.

    They are its derivatives: a row adds to the selection from its group on down.
    """
    selected, hits = above(observed)
    converted = observed.conversions[::-1]
    total = hits[-1]
    precision = hits / np.maximum(selected, 1e-300)
    shares = converted / np.maximum(selected, 1e-300)
    gained = np.cumsum(shares[::-1])[::-1]
    lost = np.cumsum((shares * precision)[::-1])[::-1]
    average = (converted * precision).sum() / total
    positive = (precision - average + gained - lost) / total
    return Slopes(positive[::-1], -lost[::-1] / total)


def brier(observed: Outcomes) -> float | None:
    """Return the mean squared error of the probabilities; None without rows."""
    p = observed.probability
    n = observed.users
    c = observed.conversions
    return ratio((c * (1 - p) ** 2 + (n - c) * p**2).sum(), n.sum())


def log_loss(observed: Outcomes) -> float | None:
    """Return the mean negative log-likelihood in nats; None without rows."""
    p = np.clip(observed.probability, _EPSILON, 1 - _EPSILON)
    n = observed.users
    c = observed.conversions
    return ratio(-(c * np.log(p) + (n - c) * np.log1p(-p)).sum(), n.sum())


def losses(probability: Floats, label: NDArray[Any]) -> Floats:
    """Return the negative log-likelihood of each row, (rows,), in nats."""
    p = np.clip(probability, _EPSILON, 1 - _EPSILON)
    return np.asarray(-np.log(np.where(label == 1, p, 1 - p)), dtype=np.float64)


class CalibrationBin(Struct, frozen=True):
    """Users together: how many, their mean probability, and how many converted."""

    mean_probability: float
    rate: float
    users: float


def calibration_bins(observed: Outcomes) -> list[CalibrationBin]:
    """
    Return bins with about equal numbers of users, lowest probability first.

    Users with the same probability stay together, so bins may differ in size, and there
    may be fewer.
    """
    bins = list[CalibrationBin]()
    total = observed.users.sum()
    if total <= 0:
        return bins
    middle = np.cumsum(observed.users) - observed.users / 2
    number = (middle / total * BINS).astype(np.int64).clip(max=BINS - 1)
    users = summed(number, observed.users, BINS)
    expected = summed(number, observed.users * observed.probability, BINS)
    converted = summed(number, observed.conversions, BINS)
    for index in np.flatnonzero(users > 0):
        count = float(users[index])
        mean = float(expected[index]) / count
        rate = float(converted[index]) / count
        bins.append(CalibrationBin(mean, rate, count))
    return bins


def calibration_error(observed: Outcomes) -> float | None:
    """
    Return the expected calibration error over ten equally filled bins.

    Bins of equal width would not do, because purchase probabilities crowd near zero.

    Source:
        Naeini, Cooper and Hauskrecht, "Obtaining Well Calibrated Probabilities Using
        Bayesian Binning", AAAI 2015, with their bins filled equally.
    """
    bins = calibration_bins(observed)
    if not bins:
        return None
    mean, rate, users = np.array(
        [structs.astuple(calibration_bin) for calibration_bin in bins]
    ).T
    return float(np.average(np.abs(mean - rate), weights=users))


class Confusion(NamedTuple):
    """Predictions at a threshold, and the shares of them; None of nothing."""

    true_positives: int
    true_negatives: int
    false_positives: int
    false_negatives: int
    precision: float | None
    recall: float | None
    f1: float | None


def confusion(observed: Outcomes, *, threshold: float) -> Confusion:
    """Count predictions at a threshold; a probability equal to it is positive."""
    positive = observed.probability >= threshold
    n = observed.users
    c = observed.conversions
    hits = c[positive].sum()
    false_positives = (n - c)[positive].sum()
    misses = c[~positive].sum()
    negatives = (n - c)[~positive].sum()
    return Confusion(
        true_positives=round(hits),
        true_negatives=round(negatives),
        false_positives=round(false_positives),
        false_negatives=round(misses),
        precision=ratio(hits, hits + false_positives),
        recall=ratio(hits, hits + misses),
        f1=ratio(2 * hits, 2 * hits + false_positives + misses),
    )


def lift_by_decile(observed: Outcomes) -> list[LiftDecile]:
    """
    Return ten equal parts of the users, highest probability first.

    Users with the same probability are divided between the parts in proportion, so that
    the order of ties has no effect. Sizes and conversions are therefore fractions.
    """
    total = observed.users.sum()
    positives = observed.conversions.sum()
    if total <= 0:
        return []
    size = total / BINS
    users = observed.users[::-1]
    mass = tenths(users, users * observed.probability[::-1])
    # Rounding in the sums must not give a part more conversions than users.
    conversions = tenths(users, observed.conversions[::-1]).clip(0.0, size)
    return [
        LiftDecile(
            decile=decile + 1,
            users=float(size),
            conversions=float(conversions[decile]),
            mean_probability=float(mass[decile] / size),
            lift=ratio(conversions[decile] / size, positives / total),
        )
        for decile in range(BINS)
    ]


def of_first(users: Floats, quantity: Floats, counts: Any) -> Floats:
    """
    Return how much of a quantity, (groups,), the first of so many users have.

    A group at the border is divided in proportion, so that the order of users with one
    score makes no difference.
    """
    ends = np.concatenate([[0.0], np.cumsum(users)])
    running = np.concatenate([[0.0], np.cumsum(quantity)])
    return np.asarray(np.interp(counts, ends, running), dtype=np.float64)


def tenths(users: Floats, quantity: Floats) -> Floats:
    """Return how much of a quantity is in each of ten equal parts, as ``of_first``."""
    ends = np.linspace(0, users.sum(), BINS + 1)
    return np.diff(of_first(users, quantity, ends))


class Curves(Struct, frozen=True, kw_only=True):
    """
    Curves of scores, thinned for a page; empty where there is none.

    Attributes:
        roc: [false positive rate, true positive rate] and ``pr`` [recall, precision],
            each from the highest threshold down.
    """

    roc: Sequence[Sequence[float]] = ()
    pr: Sequence[Sequence[float]] = ()
    calibration: Sequence[CalibrationBin] = ()


def curves(observed: Outcomes) -> Curves:
    """Return the ROC, precision-recall and calibration curves."""
    bins = calibration_bins(observed)
    if not observed.has_both_classes:
        return Curves(calibration=bins)
    selected, hits = above(observed)
    shown = np.unique(np.linspace(0, len(hits) - 1, _POINTS).astype(int))
    recall = (hits / hits[-1])[shown]
    false_positive_rate = ((selected - hits) / (selected[-1] - hits[-1]))[shown]
    roc = np.column_stack([false_positive_rate, recall]).tolist()
    return Curves(
        roc=[[0.0, 0.0]] + roc,
        pr=np.column_stack([recall, (hits / selected)[shown]]).tolist(),
        calibration=bins,
    )


def above(observed: Outcomes) -> tuple[Floats, Floats]:
    """Return rows and conversions at or above each probability, highest first."""
    return np.cumsum(observed.users[::-1]), np.cumsum(observed.conversions[::-1])


def relative_shift(before: Floats, now: Floats) -> float:
    """
    Return how far scores moved between two runs, relative to the earlier mean.

    Both are percentiles of probabilities, least first. 0 if nothing changed, 1 if all
    scores fall to zero or double.
    """
    return float(np.abs(now - before).mean() / max(before.mean(), 1e-12))


def summed(group: NDArray[Any], values: Floats, count: int) -> Floats:
    """Return the sum of the values of each of ``count`` groups."""
    sums = np.bincount(group, weights=values, minlength=count)
    return np.asarray(sums, dtype=np.float64)


def ratio(part: float, total: float) -> float | None:
    """Return a share; None of nothing."""
    return float(part / total) if total > 0 else None
