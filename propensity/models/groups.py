"""
Effects of groups: users with a value of a feature, or with one between two of its
quantiles.

A sum of a few features' group means. In each step the feature counts whose groups
differ most beyond chance, by what is left of the target; where none does, it ends.

Sources:
    Bühlmann and Yu, "Boosting with the L2 loss: regression and classification", Journal
    of the American Statistical Association 98, 2003, on one feature in each step.
    Efron and Morris, "Data analysis using Stein's estimator and its generalizations",
    Journal of the American Statistical Association 70, 1975, on means that are shrunk
    by what chance alone makes of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from scipy.special import chdtrc
from sklearn.base import BaseEstimator, RegressorMixin

from propensity.models.encoding import Floats, Integers

# Numbers with more values are cut at their quantiles.
_MOST_GROUPS = 8
# Groups that differ so much are rarer by chance, feature by feature. Where they are
# chance after all, they are shrunk to little.
_BY_CHANCE = 0.05
# A step takes half of what the groups of a feature say: others may say it better.
_RATE = 0.5
_STEPS = 10


class GroupEffects(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """
    Regress a noisy target on groups of users. Pickles of models name this class.

    Attributes:
        mean_: Of the target.
        cuts_: Of each feature, between its groups, ascending.
        effects_: Of each feature, what its groups add to the mean.
    """

    def fit(self, features: Floats, target: Floats) -> Self:
        """Learn from features, (users, features), and a target, (users,)."""
        self.mean_ = float(target.mean())
        self.cuts_ = [_cuts(column) for column in features.T]
        groups = _groups(features, self.cuts_)
        self.effects_ = [np.zeros(len(cuts) + 1) for cuts in self.cuts_]
        left = target - self.mean_
        for _ in range(_STEPS):
            chance, feature, means = _most_different(left, groups)
            if chance > _BY_CHANCE:
                break
            self.effects_[feature][: len(means)] += _RATE * means
            left = left - _RATE * means[groups[feature]]
        return self

    def predict(self, features: Floats) -> Floats:
        """Return the target that is expected of users, (users,)."""
        expected = np.full(len(features), self.mean_)
        groups = _groups(features, self.cuts_)
        for number, effects in enumerate(self.effects_):
            expected += effects[groups[number]]
        return expected


def _cuts(column: Floats) -> Floats:
    """Return what lies between the groups of a feature."""
    values = np.unique(column)
    if len(values) > _MOST_GROUPS:
        inner = np.linspace(0, 1, _MOST_GROUPS + 1)[1:-1]
        return np.unique(np.quantile(column, inner))
    return np.asarray((values[1:] + values[:-1]) / 2)


def _groups(features: Floats, cuts: Sequence[Floats]) -> list[Integers]:
    """Return the group of each user, feature by feature."""
    return [
        np.searchsorted(ends, column)
        for ends, column in zip(cuts, features.T, strict=True)
    ]


def _most_different(left: Floats, groups: Sequence[Integers]) -> tuple[float, int, Any]:
    """
    Return the feature whose groups differ most: by what chance, and their means.

    The means are shrunk by the share of their differences that chance would make.
    """
    variance = left.var()
    best = (1.0, 0, np.zeros(1))
    for feature, group in enumerate(groups):
        users = np.bincount(group)
        others = np.count_nonzero(users) - 1
        if not others or not variance:
            continue
        means = np.bincount(group, left) / np.maximum(users, 1)
        differences = float((users * means**2).sum() / variance)
        chance = float(chdtrc(others, differences))
        if chance < best[0]:
            shrunk = max(1 - others / differences, 0.0) * means
            best = (chance, feature, shrunk)
    return best
