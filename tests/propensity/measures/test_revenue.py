"""
Revenue, specified: expected amounts beside what was paid, by user and by decile.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from propensity.measures.revenue import value_metrics
from propensity.tables.models import WeekValue

AMOUNTS = st.lists(
    st.tuples(st.integers(0, 50), st.sampled_from([0, 0, 10, 400]), st.integers(1, 30)),
    min_size=1,
    max_size=20,
)


def drawn(*, level: float, seed: int, users: int = 4_000) -> WeekValue:
    """Measures of users, of whom a fifth pay an amount with a heavy tail."""
    random = np.random.default_rng(seed)
    worth = random.lognormal(3.0, 1.0, users)
    pays = random.random(users) < 0.2
    paid = np.where(pays, worth * random.lognormal(-0.5, 1.0, users), 0.0)
    return value_metrics(level * 0.2 * worth, paid, np.ones(users))


@given(AMOUNTS)
def test_deciles_add_up(groups):
    """Users with one expected amount are shared out, whatever each of them paid."""
    expected, paid, users = np.array(groups, float).T
    found = value_metrics(expected, paid, users)
    deciles = found.value_deciles

    for name, of in (("users", np.ones_like(paid)), ("expected", expected)):
        assert sum(getattr(part, name) for part in deciles) == pytest.approx(of @ users)
    assert sum(part.paid for part in deciles) == pytest.approx(paid @ users)
    best = [part.expected for part in deciles]
    assert best == pytest.approx(sorted(best, reverse=True))
    if found.value_top_share is not None:
        share = deciles[0].paid / (paid @ users)
        assert share == pytest.approx(found.value_top_share)


def test_the_interval_of_the_error_is_right_in_95_of_100():
    """Of 40 payers, though single ones pay as much as all others."""
    found = [drawn(level=1.0, seed=seed, users=200) for seed in range(600)]
    holds = [one.value_error_low <= 0 <= one.value_error_high for one in found]

    assert 0.935 <= np.mean(holds) <= 0.97


def test_a_sum_of_few_payers_has_no_interval():
    few = value_metrics(np.arange(30.0), np.r_[np.zeros(11), np.ones(19)], np.ones(30))

    assert few.value_error == pytest.approx(30 * 29 / 2 / 19 - 1)
    assert few.value_error_low is few.value_observed_high is None
    nobody = value_metrics(np.array([1.0, 2.0]), np.zeros(2), np.ones(2))
    assert nobody.value_error is nobody.value_top_share is None
