"""Groups of users whose target differs beyond chance, and by how much."""

from __future__ import annotations

import numpy as np

from propensity.models.groups import GroupEffects


def users(count: int, seed: int = 0):
    random = np.random.default_rng(seed)
    return random.normal(size=(count, 3)), random.normal(size=count)


def test_a_group_between_two_values_is_found_and_its_effect_is_shrunk():
    features, noise = users(4_000)
    in_group = np.abs(features[:, 1]) < 0.3
    learned = GroupEffects().fit(features, in_group + noise)
    expected = learned.predict(features)

    difference = expected[in_group].mean() - expected[~in_group].mean()
    assert 0.6 < difference < 1
    assert np.abs(learned.effects_[0]).max() < 0.1
