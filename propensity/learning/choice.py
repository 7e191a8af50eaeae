"""
The choice between candidates: by out-of-time log loss, and what may be chance.

Pure functions of scores of the same rows. ``rolling`` makes the scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from propensity.learning.bootstrap import Difference
from propensity.models.value import Z

Floats = NDArray[np.float64]

# Probabilities of 0 and 1 would have an infinite loss.
_LEAST = 1e-15

# The weights of a stack are found when no round changes the loss by more.
_CONVERGED = 1e-12
_ROUNDS = 200

# A member with less weight is left out of a stack: it costs time and changes nothing.
_LEAST_WEIGHT = 0.01


@dataclass(frozen=True, kw_only=True)
class Judged:
    """
    The rows that judge candidates.

    Attributes:
        label: 0 or 1, (rows,).
        weight: (rows,), positive.
        user: Number of the row's user, (rows,), from 0 on.
    """

    label: NDArray[np.int8]
    weight: Floats
    user: NDArray[np.int64]

    def loss(self, probability: Floats) -> Floats:
        """Return the log loss of each row, in nats."""
        inside = np.clip(probability, _LEAST, 1 - _LEAST)
        return np.asarray(-np.log(np.where(self.label == 1, inside, 1 - inside)))

    def mean(self, values: Floats) -> float:
        """Return the weighted mean of values of the rows."""
        return float((self.weight * values).sum() / self.weight.sum())

    def difference(self, loss: Floats, other: Floats) -> Difference:
        """
        Return the mean of one loss less another's, with its 95% interval.

        Rows of one user are alike, so the interval is of the users' sums: the standard
        error of a ratio whose rows come in clusters.

        Source:
            Cochran, "Sampling Techniques", third edition, 1977, section 11.8.
        """
        gap = loss - other
        mean = self.mean(gap)
        count = int(self.user.max(initial=-1)) + 1
        sums = np.bincount(self.user, self.weight * (gap - mean), minlength=count)
        error = float(np.sqrt((sums**2).sum()) / self.weight.sum())
        return Difference(mean, mean - Z * error, mean + Z * error)


@dataclass(frozen=True, kw_only=True)
class Pick:
    """
    A choice by log loss.

    Attributes:
        losses: Mean log loss by name.
        difference: Of the chosen one's loss and the least; None if it is the least.
    """

    name: str
    best: str
    losses: Mapping[str, float]
    difference: Difference | None = None


def pick(losses: Mapping[str, Floats], judged: Judged) -> Pick:
    """
    Choose the first that is not shown to be worse than the one with the least loss.

    Args:
        losses: Log loss of each row by name, the preferred first. Simple before
            complex: within the noise of the comparison the order decides.
    """
    means = {name: judged.mean(loss) for name, loss in losses.items()}
    best = min(means, key=lambda name: means[name])
    for name, loss in losses.items():
        if name == best:
            break
        difference = judged.difference(loss, losses[best])
        if difference.low <= 0:
            return Pick(name=name, best=best, losses=means, difference=difference)
    return Pick(name=best, best=best, losses=means)


def stacked_weights(probabilities: Sequence[Floats], judged: Judged) -> list[float]:
    """
    Return the weights of the mean of models that has the least log loss.

    They are not negative and add up to one. The problem is convex: the probability of
    the label under each model is a component of a mixture. Members are alike, so a
    method without curvature would take tens of thousands of rounds.

    Args:
        probabilities: Of label 1, out of time, (rows,) for each model.

    Source:
        Kraft, "A Software Package for Sequential Quadratic Programming", DFVLR-FB
        88-28, 1988; Breiman, "Stacked Regressions", Machine Learning 24, 1996, on
        weights that are not negative.
    """
    likelihood = np.stack(
        [np.exp(-judged.loss(probability)) for probability in probabilities]
    )
    share = judged.weight / judged.weight.sum()

    def loss(weights: Floats) -> tuple[float, Floats]:
        mixed = (weights[:, np.newaxis] * likelihood).sum(axis=0)
        slope = -(likelihood * (share / mixed)).sum(axis=1)
        return float(-(share * np.log(mixed)).sum()), slope

    count = len(likelihood)
    solution = minimize(
        loss,
        np.full(count, 1 / count),
        jac=True,
        method="SLSQP",
        bounds=[(0, 1)] * count,
        constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1},
        options={"ftol": _CONVERGED, "maxiter": _ROUNDS},
    )
    weights = np.where(solution.x < _LEAST_WEIGHT, 0.0, solution.x)
    return [float(weight) for weight in weights / weights.sum()]


def mean_of(probabilities: Sequence[Floats], weights: Sequence[float] | None) -> Floats:
    """Return the mean of probabilities, as ``MeanOfModels`` gives it."""
    if weights is None:
        return np.asarray(np.mean(np.stack(probabilities), axis=0))
    return np.asarray(
        np.einsum("m,mr->r", np.asarray(weights), np.stack(probabilities))
    )
