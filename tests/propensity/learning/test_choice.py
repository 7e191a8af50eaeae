"""
The choice, specified: on probabilities of rows whose true ones are known.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.metrics import log_loss

from propensity.learning.choice import Judged, mean_of, pick, stacked_weights

COUNT = 3_000


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


def drawn(seed: int, *, users: int = 600) -> tuple[Judged, np.ndarray]:
    """Rows of users in some weeks, and their true log-odds."""
    random = np.random.default_rng(seed)
    odds = random.normal(-1.5, 1, COUNT)
    label = (random.random(COUNT) < sigmoid(odds)).astype(np.int8)
    weight = random.choice([1.0, 1.5], COUNT)
    return Judged(label=label, weight=weight, user=np.arange(COUNT) % users), odds


def noisy(odds: np.ndarray, sd: float, seed: int = 5) -> np.ndarray:
    """Probabilities whose log-odds are off by noise."""
    return sigmoid(odds + np.random.default_rng(seed).normal(0, sd, len(odds)))


class TestLoss:
    def test_is_scikit_learn_s(self):
        """The weighted mean of the rows' losses is the log loss."""
        judged, odds = drawn(1)
        probability = noisy(odds, 0.5)
        expected = log_loss(judged.label, probability, sample_weight=judged.weight)

        assert judged.mean(judged.loss(probability)) == pytest.approx(expected)

    def test_of_a_certain_mistake_is_finite(self):
        """A probability of 0 for what came is bad, and no infinity."""
        judged, _ = drawn(1)

        assert np.isfinite(judged.loss(np.zeros(COUNT))).all()


class TestDifference:
    def test_holds_the_truth_in_95_of_100(self):
        """Two models that are equally noisy differ by nothing; of 200 draws about ten
        intervals miss it."""
        missed = 0
        for seed in range(200):
            judged, odds = drawn(seed)
            first, second = (noisy(odds, 0.5, 2 * seed + turn) for turn in (0, 1))
            gap = judged.difference(judged.loss(first), judged.loss(second))
            missed += not gap.low <= 0 <= gap.high

        assert 2 <= missed <= 20

    def test_counts_a_user_once(self):
        """Copies of the rows, of the same users, prove nothing new."""
        judged, odds = drawn(2)
        first, second = judged.loss(noisy(odds, 0.2)), judged.loss(noisy(odds, 0.6))
        twice = Judged(
            label=np.tile(judged.label, 2),
            weight=np.tile(judged.weight, 2),
            user=np.tile(judged.user, 2),
        )
        once = judged.difference(first, second)
        again = twice.difference(np.tile(first, 2), np.tile(second, 2))

        assert again.estimate == pytest.approx(once.estimate)
        assert again.high - again.low == pytest.approx(once.high - once.low)


class TestPick:
    def test_takes_what_is_clearly_better(self):
        """Wherever it stands in the order."""
        judged, odds = drawn(3)
        losses = {
            "simple": judged.loss(noisy(odds, 1.5)),
            "better": judged.loss(sigmoid(odds)),
        }
        choice = pick(losses, judged)

        assert (choice.name, choice.best, choice.difference) == (
            "better",
            "better",
            None,
        )

    def test_takes_the_preferred_within_the_noise(self):
        """Of two that are alike the first counts, though the other's loss is less."""
        judged, odds = drawn(3)
        alike = noisy(odds, 0.01)
        losses = {"simple": judged.loss(alike), "best": judged.loss(sigmoid(odds))}
        least = min(losses, key=lambda name: judged.mean(losses[name]))
        other = next(name for name in losses if name != least)
        choice = pick({other: losses[other], least: losses[least]}, judged)

        assert (choice.name, choice.best) == (other, least)
        assert choice.difference is not None
        assert choice.difference.low <= 0 < choice.difference.estimate


class TestStackedWeights:
    @given(st.integers(0, 10_000))
    @budget(max_examples=15, deadline=None)
    def test_have_the_least_loss(self, seed):
        """No weights that scipy finds on the simplex have less: by a millionth with
        all models, by a ten-thousandth where one of under a hundredth is left out."""
        judged, odds = drawn(seed)
        each = [noisy(odds, sd, seed + turn) for turn, sd in enumerate((0.3, 0.8, 1.2))]
        result = stacked_weights(each, judged)

        def loss(free: np.ndarray) -> float:
            weights = np.exp(free - free.max())
            mixed = mean_of(each, list(weights / weights.sum()))
            return judged.mean(judged.loss(mixed))

        best = minimize(loss, np.zeros(3), method="Nelder-Mead").fun

        assert sum(result) == pytest.approx(1)
        assert min(result) >= 0
        worth = 1e-6 if all(result) else 1e-4
        assert judged.mean(judged.loss(mean_of(each, result))) <= best + worth

    def test_are_found_of_models_that_are_alike(self):
        """More weight for any would not help: the slope of the loss is that of the sum.

        Of like models each weight changes the loss little, and slowly found weights
        would be near those of the start.
        """
        judged, odds = drawn(2)
        first, second = noisy(odds, 0.3, 2), noisy(odds, 0.32, 3)
        each = [first, second, 0.97 * np.sqrt(first * second)]
        weights = stacked_weights(each, judged)

        mixed = np.exp(-judged.loss(mean_of(each, weights)))
        for probability, weight in zip(each, weights, strict=True):
            slope = judged.mean(np.exp(-judged.loss(probability)) / mixed)
            assert slope == pytest.approx(1, abs=1e-5) if weight else slope < 1

    def test_leave_out_what_is_noise(self):
        """A model that knows nothing gets no weight beside one that knows all."""
        judged, odds = drawn(4)
        random = np.random.default_rng(0).random(COUNT)

        assert stacked_weights([sigmoid(odds), random], judged) == [1.0, 0.0]

    def test_are_equal_for_equal_models(self):
        """There is no reason to prefer one."""
        judged, odds = drawn(4)
        same = noisy(odds, 0.4)

        assert stacked_weights([same, same], judged) == pytest.approx([0.5, 0.5])


class TestMeanOf:
    def test_is_weighted_or_not(self):
        """Equal weights without any."""
        each = [np.array([0.2, 0.4]), np.array([0.6, 0.0])]

        assert mean_of(each, None) == pytest.approx([0.4, 0.2])
        assert mean_of(each, [0.75, 0.25]) == pytest.approx([0.3, 0.3])
