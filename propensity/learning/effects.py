"""
The effect of contacting, user by user, learned from users contacted at random.

An R-learner: what a user does is expected by one model, whether or not the user is
contacted; the difference from that, divided by contact, is explained by a second one.
It is the mean of three, so that no data are spent on a choice: a ridge regression, the
shrunken effects of groups, and small boosted trees, which bend and know pairs of
features. Both models judge users whom they have not learned from.

Users are judged fold by fold, each fold by its own models. A user who did more than was
expected raises what the models of all other folds expect, so that users of two folds
cannot be ranked together: by chance alone, an order by effect would then add less.

Sources:
    Nie and Wager, "Quasi-oracle estimation of heterogeneous treatment effects",
    Biometrika 108, 2021, on the two models.
    Athey and Imbens, "Recursive partitioning for heterogeneous causal effects", PNAS
    113, 2016, on what the second one explains.
    Yadlowsky and others, "Evaluating treatment prioritization rules via rank-weighted
    average treatment effects", Journal of the American Statistical Association 120,
    2025, on comparing orders by the outcomes that each adds.
    Nadeau and Bengio, "Inference for the generalization error", Machine Learning 52,
    2003, on folds whose models have learned from each other's users.
    Efron and Stein, "The jackknife estimate of variance", Annals of Statistics 9, 1981.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn.ensemble import HistGradientBoostingRegressor, VotingRegressor
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold
from threadpoolctl import threadpool_limits

from propensity.measures.intervals import FEW, NORMAL, POWER, Difference
from propensity.measures.statistic import Statistic
from propensity.models.effect import EffectRegressor, with_expected
from propensity.models.encoding import Flags, Floats, Integers
from propensity.models.groups import GroupEffects

# Each user is judged by models of the four fifths of users whom they are not in.
_FOLDS = 5
# From hardly shrunk to one effect for all; the error of leaving one out decides.
_PENALTIES = np.logspace(1, 6, 11)
# Fewer users in a group say nothing of an order.
FEWEST = 200
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
        fold: Users of the same number were judged by the same models.
        expected: The outcome, whether or not the user is contacted.
        effect: How much more it is if the user is contacted.
        by_fold: The same by the models of each fold, also for users whom they know,
            (folds, users): what an order owes to the users that it learned from.
        added: The same, without bias and noisy, from what the user did. Its mean over
            any users chosen by features alone is what contacting them added.
    """

    fold: Integers
    expected: Floats
    effect: Floats
    by_fold: Floats
    added: Floats

    def mean(self, chosen: Flags | None = None) -> Difference:
        """Return what contacting adds to a user's outcome, of some users or of all."""
        added = self.added if chosen is None else self.added[chosen]
        return Statistic.of(added).interval()

    def curve(self, order: Floats, shares: Floats) -> Floats:
        """
        Return the added outcomes by the share contacted, per user of all.

        Args:
            order: Users with the highest values are contacted first, (users,). Folds
                contribute the same share of their users.
            shares: From 0 to 1.
        """
        best_first = np.argsort(-self._rank(order), kind="stable")
        sums = np.concatenate([[0.0], np.cumsum(self.added[best_first])])
        contacted = np.round(shares * len(order)).astype(int)
        return np.asarray(sums[contacted] / len(order))

    def gain(self) -> Difference:
        """
        Return by how much the curve by effect lies above that by expected outcome.

        It is the mean over all shares that could be contacted, per user.
        """
        ranks = [self._rank(effect) for effect in self.by_fold]
        return self._more(
            self._rank(self.effect), self._rank(self.expected), by_fold=ranks
        )

    def gain_at(self, share: float, order: Floats | None = None) -> Difference:
        """
        Return how much more contacting a share of users adds by effect, per user.

        Args:
            share: From 0 to 1.
            order: The other one, as of ``curve``; at random where None.
        """
        others = np.full(len(self.added), share)
        if order is not None:
            others = self._best(order, share)
        best = [self._best(effect, share) for effect in self.by_fold]
        return self._more(self._best(self.effect, share), others, by_fold=best)

    def gain_of_expected(self, share: float) -> Difference:
        """Return how much more a share adds by expected outcome than at random."""
        best = self._best(self.expected, share)
        return Statistic.of(self.added * (best - share)).interval()

    def _more(
        self,
        by_effect: Floats,
        other: Floats,
        *,
        by_fold: Sequence[Floats],
    ) -> Difference:
        """
        Return what contacting by effect adds more than contacting in another way.

        Its variance is that of the gains, and of what the order owes to chance: folds
        learn from each other, so that a user moves their own gain and, through the
        order, those of others. It is at most as large as if effects were chance alone,
        and 0 where the order is certain, which models of different folds tell.

        Args:
            by_effect, other: The share of cases in which a user is contacted, (users,).
            by_fold: The same as ``by_effect``, by the models of each fold.
        """
        gains = self.added * (by_effect - other)
        of_chance = np.var(self.added * (by_effect - by_effect.mean()))
        # The jackknife's variance, as each fold's models leave its users out.
        of_order = np.var(by_fold, axis=0) * len(by_fold)
        variance = gains.var() + min(of_chance, (self.added**2 * of_order).mean())
        half = NORMAL * float(np.sqrt(variance / len(gains)))
        estimate = float(gains.mean())
        return Difference(estimate, estimate - half, estimate + half)

    def _best(self, order: Floats, share: float) -> Floats:
        """Return 1 for the first users in an order, and 0 for others."""
        return (self._rank(order) > 1 - share).astype(np.float64)

    def _rank(self, values: Floats) -> Floats:
        """Return ranks between 0 and 1 within each fold; equal values share theirs."""
        ranks = np.empty(len(values))
        for number in np.unique(self.fold):
            users = np.flatnonzero(self.fold == number)
            places = stats.rankdata(values[users])
            ranks[users] = (places - 0.5) / len(users)
        return ranks


def effects(experiment: Experiment) -> Effects:
    """Return the effect of contacting on each user of an experiment."""
    features = experiment.features
    outcome = experiment.outcome
    fold = np.zeros(len(experiment), dtype=np.intp)
    expected = np.zeros(len(experiment))
    effect = np.zeros(len(experiment))
    by_fold = np.zeros((_FOLDS, len(experiment)))
    folds = list(KFold(_FOLDS, shuffle=True, random_state=0).split(features))
    with threadpool_limits(1):
        for number, (learned, judged) in enumerate(folds):
            model = _of_outcome().fit(features[learned], outcome[learned])
            fold[judged] = number
            expected[judged] = model.predict(features[judged])
        added = _added(experiment, expected)
        columns = with_expected(features, expected, _unit(expected))
        for number, (learned, judged) in enumerate(folds):
            model = _of_effect().fit(columns[learned], added[learned])
            by_fold[number] = model.predict(columns)
            effect[judged] = by_fold[number, judged]
    return Effects(
        fold=fold, expected=expected, effect=effect, by_fold=by_fold, added=added
    )


def model_of(experiment: Experiment, estimated: Effects) -> EffectRegressor:
    """Return the model of the effect, of all users: for those who come later."""
    features = experiment.features
    unit = _unit(estimated.expected)
    columns = with_expected(features, estimated.expected, unit)
    with threadpool_limits(1):
        return EffectRegressor(
            outcome=_of_outcome().fit(features, experiment.outcome),
            effect=_of_effect().fit(columns, estimated.added),
            unit=unit,
        )


def _added(experiment: Experiment, expected: Floats) -> Floats:
    """Return what contacting added to each user's outcome: noisy, without bias."""
    share = experiment.is_contacted.mean()
    # Of a contacted user the share of the control group; of the others negative.
    contact = experiment.is_contacted - share
    added = (experiment.outcome - expected) * contact / (share * (1 - share))
    return np.asarray(added, dtype=np.float64)


def _unit(expected: Floats) -> float:
    """Return what gives expected outcomes unit variance."""
    spread = float(expected.std())
    if spread == 0:
        return 1.0
    return spread


def users_needed(gain: Difference, users: int) -> int | None:
    """
    Return how many users would show a gain of this size in four of five experiments.

    None if the gain is not above 0, or so small that nobody has as many.
    """
    if gain.low is None or gain.estimate <= 0:
        return None
    error = (gain.estimate - gain.low) / NORMAL
    needed = users * ((NORMAL + POWER) * error / gain.estimate) ** 2
    return int(np.ceil(needed)) if needed < _MOST_USERS else None


def missing(needed: int, users: int) -> int:
    """Return how many users are missing, with two digits: more would be guessed."""
    return int(float(f"{max(needed - users, 1):.2g}"))


def too_few(outcome: Floats, name: str) -> str:
    """Say why a group of users, (users,), says nothing of effects; "" if it does."""
    users = len(outcome)
    positives = int(np.count_nonzero(outcome))
    others = users - positives
    wanted = f"{FEW} with it and {FEW} without"
    if not np.isin(outcome, (0, 1)).all():
        # Of sums everybody may have one, if they differ.
        others = FEW if np.ptp(outcome) else 0
        wanted = f"{FEW} with it, and different sums"
    if users >= FEWEST and min(positives, others) >= FEW:
        return ""
    return (
        f"{positives:,} of {users:,} users ({name}) have the outcome: it takes "
        f"{FEWEST} users, {wanted}"
    )


def _of_outcome() -> VotingRegressor:
    """Return a model of outcomes; trees alone order rare ones worse than chance."""
    trees = HistGradientBoostingRegressor(
        max_iter=60,
        max_leaf_nodes=8,
        min_samples_leaf=50,
        early_stopping=False,
        random_state=0,
    )
    return VotingRegressor([("line", RidgeCV(_PENALTIES)), ("trees", trees)])


def _of_effect() -> VotingRegressor:
    """Return a model of effects, which are small beside what users do by chance."""
    trees = HistGradientBoostingRegressor(
        max_iter=30,
        learning_rate=0.05,
        max_leaf_nodes=4,
        min_samples_leaf=200,
        early_stopping=False,
        random_state=0,
    )
    return VotingRegressor(
        [("line", RidgeCV(_PENALTIES)), ("groups", GroupEffects()), ("trees", trees)]
    )
