"""The effect of contacting: what is learned, and that its worth is measured fairly."""

from __future__ import annotations

import numpy as np
import pytest

from propensity.learning.effects import (
    Experiment,
    effects,
    model_of,
)
from propensity.measures.intervals import NORMAL


def experiment(users: int, added, *, seed: int) -> Experiment:
    """Users of whom 60% are contacted, which adds to their rate by their features."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(users, 4))
    is_contacted = random.random(users) < 0.6
    rate = 0.1 * np.exp(0.5 * features[:, 0] - 0.125) + is_contacted * added(features)
    return Experiment(
        features=features,
        is_contacted=is_contacted,
        outcome=(random.random(users) < rate).astype(float),
    )


def nothing(features):
    return np.zeros(len(features))


def errors_from_zero(seed: int) -> float:
    """By how many standard errors an order of chance differs from the other."""
    gain = effects(experiment(1_500, nothing, seed=seed)).gain()
    return NORMAL * gain.estimate / (gain.high - gain.estimate)


def test_an_order_of_chance_adds_neither_more_nor_less():
    """Users are ranked among those of their fold: among all, what a user did by chance
    would lower their rank."""
    distances = [errors_from_zero(seed) for seed in range(12)]

    # Their mean has a standard error of 0.29.
    assert abs(np.mean(distances)) < 0.9


def bent(features):
    """Those between two values react."""
    return np.where((features[:, 1] > 0.2) & (features[:, 1] < 1), 0.15, 0.01)


def line(features):
    return 0.06 + 0.03 * features[:, 1]


@pytest.mark.parametrize("added", [bent, line])
def test_who_reacts_is_contacted_first_whatever_the_form(added):
    """Of what the best order adds over a draw, an order by effect adds the most."""
    drawn = experiment(8_000, added, seed=3)
    true = added(drawn.features)
    best = np.sort(true)[-2_400:].mean() - true.mean()
    estimated = effects(drawn)
    chosen = np.argsort(-estimated.effect)[:2_400]
    later = model_of(drawn, estimated).predict(drawn.features)

    assert true[chosen].mean() - true.mean() > 0.6 * best
    assert true[np.argsort(-later)[:2_400]].mean() - true.mean() > 0.6 * best
