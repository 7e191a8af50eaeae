"""
The effect of contacting, user by user, learned from users contacted at random.

An R-learner: what a user does is expected by one model, whether or not the user is
contacted; the difference from that is explained by a second one, a ridge regression
of features times contact. Both judge users whom they have not learned from.

Sources:
    Nie and Wager, "Quasi-oracle estimation of heterogeneous treatment effects",
    Biometrika 108, 2021, on the two models.
    Yadlowsky and others, "Evaluating treatment prioritization rules via rank-weighted
    average treatment effects", Journal of the American Statistical Association 120,
    2025, on comparing orders by the outcomes that each adds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor, VotingRegressor
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold, cross_val_predict
from threadpoolctl import threadpool_limits

from propensity.measures.intervals import NORMAL, POWER, Difference
from propensity.measures.statistic import Statistic
from propensity.models.encoding import Floats

# Each user is judged by models of the four fifths of users whom they are not in.
_FOLDS = 5
# Another cut into folds gives another order: the mean of a few depends less on luck.
_CUTS = 3
# From hardly shrunk to one effect for all; the error of leaving one out decides.
_PENALTIES = np.logspace(1, 6, 11)
# A gain that takes more users is none.
_MOST_USERS = 1e9


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """
    Users of whom some, drawn at random, were contacted.

    Attributes:
        features: Encoded, of about unit variance, (users, features).
        is_contacted: (users,).
        outcome: 1 or 0, or a sum of money, (users,).
    """

    features: Floats
    is_contacted: NDArray[np.bool_]
    outcome: Floats

    def __len__(self) -> int:
        return len(self.outcome)


@dataclass(frozen=True, kw_only=True)
class Effects:
    """
    What contacting adds, by models that do not know the user; (users,) each.

    Attributes:
        expected: The outcome, whether or not the user is contacted.
        effect: How much more it is if the user is contacted.
        added: The same, without bias and noisy, from what the user did. Its mean over
            any users chosen by features alone is what contacting them added.
    """

    expected: Floats
    effect: Floats
    added: Floats

    def mean(self, chosen: NDArray[np.bool_] | None = None) -> Difference:
        """Return what contacting adds to a user's outcome, of some users or of all."""
        added = self.added if chosen is None else self.added[chosen]
        return Statistic.of(added).interval()

    def curve(self, order: Floats, shares: Floats) -> Floats:
        """
        Return the added outcomes by the share contacted, per user of all.

        Args:
            order: Users with the highest values are contacted first, (users,).
            shares: From 0 to 1.
        """
        best_first = np.argsort(-order, kind="stable")
        sums = np.concatenate([[0.0], np.cumsum(self.added[best_first])])
        contacted = np.round(shares * len(order)).astype(int)
        return np.asarray(sums[contacted] / len(order))

    def gain(
        self, order: Floats | None = None, *, errors: float = NORMAL
    ) -> Difference:
        """
        Return by how much the curve by effect lies above that of another order.

        It is the mean over all shares that could be contacted, per user.

        Args:
            order: As of ``curve``; by expected outcome where None.
            errors: How many standard errors its interval reaches.
        """
        other = self.expected if order is None else order
        gains = self.added * (_rank(self.effect) - _rank(other))
        return Statistic.of(gains).interval(errors)


def effects(experiment: Experiment) -> Effects:
    """Return the effect of contacting on each user of an experiment."""
    features = experiment.features
    outcome = experiment.outcome
    share = experiment.is_contacted.mean()
    # Of a contacted user the share of the control group; of the others negative.
    contact = experiment.is_contacted - share
    effect = np.zeros(len(experiment))
    with threadpool_limits(1):
        folds = KFold(_FOLDS, shuffle=True, random_state=0)
        expected = cross_val_predict(_outcomes(), features, outcome, cv=folds)
        surprise = outcome - expected
        for cut in range(_CUTS):
            folds = KFold(_FOLDS, shuffle=True, random_state=cut)
            for learned, judged in folds.split(features):
                ridge = _of_effect(
                    features[learned], surprise[learned], contact[learned]
                )
                effect[judged] += ridge.predict(features[judged]) / _CUTS
    added = surprise * contact / (share * (1 - share))
    return Effects(expected=expected, effect=effect, added=added)


def model_of(experiment: Experiment, estimated: Effects) -> RidgeCV:
    """Return the model of the effect, of all users: for those who come later."""
    contact = experiment.is_contacted - experiment.is_contacted.mean()
    surprise = experiment.outcome - estimated.expected
    with threadpool_limits(1):
        return _of_effect(experiment.features, surprise, contact)


def _of_effect(features: Floats, surprise: Floats, contact: Floats) -> RidgeCV:
    """Return a model of what contacting adds to what was expected."""
    ridge = RidgeCV(_PENALTIES)
    return ridge.fit(features, surprise / contact, sample_weight=contact**2)


def users_needed(gain: Difference, users: int, *, errors: float = NORMAL) -> int | None:
    """
    Return how many users would show a gain of this size in four of five experiments.

    None if the gain is not above 0, or so small that nobody has as many.

    Args:
        errors: How many standard errors the interval of the gain reaches.
    """
    if gain.low is None or gain.estimate <= 0:
        return None
    error = (gain.estimate - gain.low) / errors
    needed = users * ((errors + POWER) * error / gain.estimate) ** 2
    return int(np.ceil(needed)) if needed < _MOST_USERS else None


def _outcomes() -> VotingRegressor:
    """Return a model of outcomes; trees alone order rare ones worse than chance."""
    trees = HistGradientBoostingRegressor(
        max_iter=60, max_leaf_nodes=8, min_samples_leaf=50, early_stopping=False
    )
    return VotingRegressor([("line", RidgeCV(_PENALTIES)), ("trees", trees)])


def _rank(values: Floats) -> Floats:
    """Return ranks from 0 to 1."""
    ranks = np.empty(len(values))
    ranks[np.argsort(values, kind="stable")] = np.linspace(0, 1, len(values))
    return ranks
