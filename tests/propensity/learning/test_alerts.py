"""
Alerts of fraud, specified: what they cost, what they save, and from which score on.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from propensity.learning import alerts
from propensity.learning.alerts import NO_ALERTS, Stakes


def stakes(is_fraud: Any, amount: Any, *, price: float = 2.0) -> Stakes:
    fraud = np.array(is_fraud, bool)
    amounts = np.array(amount, float)
    return Stakes(
        is_fraud=fraud, amount=amounts, weight=np.ones(len(fraud)), review_cost=price
    )


def drawn(seed: int, rows: int = 400) -> tuple[np.ndarray, Stakes]:
    """Scores that tell, and what the rows cost."""
    random = np.random.default_rng(seed)
    fraud = random.random(rows) < 0.1
    score = np.clip(random.normal(0.3 + 0.3 * fraud, 0.15), 0, 1).round(2)
    return score, stakes(fraud, random.gamma(2, 20, rows).round(2))


@given(st.integers(0, 10_000))
def test_the_threshold_is_the_cheapest_there_is(seed):
    """No other score of the rows, as a threshold, costs less."""
    score, at = drawn(seed)
    best = alerts.cheapest_threshold(score, at)

    def cost(threshold: float) -> float:
        alert = score >= threshold
        return at.amount[at.is_fraud & ~alert].sum() + 2.0 * alert.sum()

    every = [cost(threshold) for threshold in (*np.unique(score), NO_ALERTS)]
    assert cost(best) == pytest.approx(min(every))


@pytest.mark.parametrize("fraud", [[0, 0], [0, 1]], ids=["no fraud", "a cheap one"])
def test_there_is_no_threshold_where_no_alert_pays(fraud):
    at = stakes(fraud, [1.0, 1.0])

    assert alerts.cheapest_threshold(np.array([0.1, 0.9]), at) == NO_ALERTS


class TestSavings:
    def test_are_amounts_less_reviews(self):
        """Of 130 lost without alerts 100 is stopped, by two reviews of 2."""
        score = np.array([0.1, 0.9, 0.8, 0.2])
        at = stakes([1, 1, 0, 0], [30, 100, 5, 5])
        saved = alerts.savings(score, at, threshold=0.5, seed=1)

        assert (saved.alerted, saved.alerted_conversions) == (2, 1)
        assert (saved.cost_without, saved.saved, saved.cost) == (130, 96, 34)
        assert saved.saved_share == pytest.approx(96 / 130)

    def test_are_exact_in_cents(self):
        """Ten amounts of a tenth are one, which floats do not add up to."""
        at = stakes([1] * 10, [0.1] * 10, price=0.0)
        saved = alerts.savings(np.ones(10), at, threshold=0.5, seed=1)

        assert saved.saved == Decimal("1.0")

    def test_have_an_interval_of_twenty_frauds(self):
        """Which holds what is saved; fewer frauds are too few to say."""
        score, at = drawn(3, rows=1_000)
        saved = alerts.savings(score, at, threshold=0.5, seed=1)
        few = replace(at, is_fraud=at.is_fraud & (np.cumsum(at.is_fraud) < 20))

        assert saved.saved_low < saved.saved < saved.saved_high
        assert alerts.savings(score, few, threshold=0.5, seed=1).saved_low is None

    def test_differ_by_the_cost_of_one_less_the_other(self):
        score, at = drawn(5, rows=2_000)
        apart = alerts.cost_difference(score >= 0.5, score >= 0.2, at, seed=1)
        saved = [
            float(alerts.savings(score, at, threshold=threshold, seed=1).saved)
            for threshold in (0.5, 0.2)
        ]

        assert apart.estimate == pytest.approx(saved[1] - saved[0])
        assert apart.low < apart.estimate < apart.high


class TestRates:
    def test_look_at_what_scores_highest(self):
        """Of ten rows two are looked at: one fraud of 100 is found, 30 is missed."""
        at = stakes([0, 0, 1, 0, 0, 0, 0, 0, 0, 1], [5.0, 5, 30, 5, 5, 5, 5, 5, 5, 100])
        [entry] = alerts.at_rates(np.arange(10) / 10, at, (0.2,))

        assert entry == {
            "rate": 0.2,
            "alerts": 2.0,
            "true_positives": 1.0,
            "recall": 0.5,
            "precision": 0.5,
            "cost": 34.0,
            "cost_without": 130.0,
        }

    @pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0]])
    def test_share_out_what_scores_the_same(self, order):
        label, amount = np.array([1, 0, 0, 0])[order], np.array([8.0, 1, 1, 1])[order]
        at = stakes(label, amount, price=0.0)
        [entry] = alerts.at_rates(np.full(4, 0.5), at, (0.5,))

        assert (entry["recall"], entry["cost"]) == (0.5, 4.0)


def test_money_is_read_as_the_nearest_floats():
    """As Python reads it; Arrow's own cast is off in the last place."""
    texts = ["0.10", "19.99", "123456789.01", None]
    column = pa.chunked_array([pa.array(texts).cast(pa.decimal128(38, 9))])
    values = alerts.floats(column)

    assert values[:3].tolist() == [0.10, 19.99, 123456789.01]
    assert np.isnan(values[3])
