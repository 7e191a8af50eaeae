"""
Alerts of fraud, specified: what they cost, what they save, and from which score on.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from propensity.measures.revenue import amounts
from propensity.streaming.cards import alerts
from propensity.streaming.cards.alerts import NO_ALERTS, Stakes


def stakes(is_fraud: Any, amount: Any, *, price: float = 2.0) -> Stakes:
    return Stakes(
        is_fraud=np.array(is_fraud, bool),
        amount=np.array(amount, float),
        weight=np.ones(len(is_fraud)),
        review_cost=price,
    )


def drawn(seed: int, rows: int = 400) -> tuple[np.ndarray, Stakes]:
    """Scores that tell, and what the rows cost."""
    random = np.random.default_rng(seed)
    is_fraud = random.random(rows) < 0.1
    score = np.clip(random.normal(0.3 + 0.3 * is_fraud, 0.15), 0, 1).round(2)
    return score, stakes(is_fraud, random.gamma(2, 20, rows).round(2))


@given(st.integers(0, 10_000))
def test_the_threshold_is_the_cheapest_there_is(seed):
    """No other score of the rows, as a threshold, costs less; what is worth less than a
    review is no alert."""
    score, at = drawn(seed)
    at = replace(at, review_cost=20.0)
    best = alerts.cheapest_threshold(score, at)

    def cost(threshold: float) -> float:
        alert = at.alerts(score, threshold)
        return at.amount[at.is_fraud & ~alert].sum() + 20.0 * alert.sum()

    every = [cost(threshold) for threshold in (*np.unique(score), NO_ALERTS)]
    assert cost(best) == pytest.approx(min(every))


def test_an_alert_is_what_is_worth_its_review():
    """By probability and amount; where an amount is unknown nothing is."""
    at = stakes([0, 1, 0, 1], amounts(np.array([300, 8, 100, np.nan])), price=5)
    probability = np.array([0.02, 0.6, 0.049, 1.0])

    assert at.alerts(probability, None).tolist() == [True, False, False, False]
    assert at.alerts(probability, 0.02).tolist() == [True, True, True, False]
    dear = replace(at, review_cost=9.0)
    assert dear.alerts(probability, 0.02).tolist() == [True, False, True, False]


class TestSavings:
    def test_savings_are_amounts_less_reviews(self):
        """Of 130.20 lost without alerts 100.10 is stopped, by two reviews of 2; to the
        cent, which floats are not."""
        score = np.array([0.1, 0.9, 0.8, 0.2])
        at = stakes([1, 1, 0, 0], [30.10, 100.10, 5, 5])
        saved = alerts.savings(score >= 0.8, at, threshold=0.8)

        assert (saved.alerted, saved.alerted_conversions) == (2, 1)
        sums = saved.cost_without, saved.saved, saved.cost
        assert sums == tuple(map(Decimal, ("130.2", "96.1", "34.1")))
        assert saved.saved_share == pytest.approx(96.1 / 130.2)
