"""Groups of users whose target differs beyond chance, and by how much."""

from __future__ import annotations

import numpy as np
import pytest

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


def test_users_without_a_difference_have_the_mean():
    features, noise = users(4_000, seed=1)
    learned = GroupEffects().fit(features, noise)

    assert learned.predict(features) == pytest.approx(np.full(4_000, noise.mean()))


def test_a_value_that_is_new_belongs_to_the_nearest_group():
    features, noise = users(4_000)
    learned = GroupEffects().fit(features, 2.0 * (features[:, 0] > 1) + noise)
    far = np.array([[1_000.0, 0.0, 0.0]])

    assert learned.predict(far) == pytest.approx(1 + 1, abs=0.5)
