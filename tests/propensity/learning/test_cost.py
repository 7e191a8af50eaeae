"""
The cost of alerts, specified: exact sums, thresholds out of sample, honest intervals.
"""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st

from propensity.learning import cost
from propensity.learning.cost import NEVER, Policy, Stakes


def stakes(
    is_fraud: list[int], amount: list[float], *, review_cost: float = 5.0, weight=None
) -> Stakes:
    return Stakes(
        is_fraud=np.array(is_fraud, bool),
        amount=np.array(amount, float),
        weight=np.ones(len(amount)) if weight is None else np.array(weight, float),
        review_cost=review_cost,
    )


def of(amounts: list[float], caught: list[int], false_alerts: float = 0) -> Policy:
    """A policy that catches some frauds, at 5 a review."""
    return Policy(
        amount=np.array(amounts, float),
        weight=np.ones(len(amounts)),
        is_caught=np.array(caught, bool),
        false_alerts=false_alerts,
        review_cost=5.0,
    )


class TestPolicy:
    def test_costs_reviews_and_missed_amounts(self):
        """Two alerts, one of them right; a fraud of 30.10 is missed."""
        at = stakes([1, 0, 1, 0], [100.05, 7.0, 30.1, 8.0])
        policy = cost.policy(np.array([True, True, False, False]), at)

        assert (policy.alerts, policy.caught, policy.frauds) == (2.0, 1.0, 2)
        assert policy.cost == Decimal("40.1")
        assert policy.cost_without == Decimal("130.15")
        assert policy.saved == Decimal("90.05")
        assert policy.saved_share == pytest.approx(90.05 / 130.15)

    def test_adds_money_up_exactly(self):
        """Ten times a tenth is one, and a cent is not lost beside a billion."""
        assert of([0.1] * 10, [0] * 10).cost == Decimal(1)
        assert of([1e9, 0.01], [0, 0]).cost == Decimal("1000000000.01")

    def test_says_that_looking_cost_more_than_it_brought(self):
        """Never clipped: 62 reviews for a fraud of 10 are a loss of thirty times."""
        policy = of([10.0], [1], false_alerts=61)

        assert policy.saved == Decimal(-300)
        assert policy.saved_share == -30.0

    def test_has_no_share_without_a_loss(self):
        """Without a fraud, or with frauds of nothing, the money is defined alone."""
        for policy in (of([], [], 3), of([0.0], [0], 3)):
            assert policy.saved == Decimal(-15)
            assert policy.saved_share is None

    def test_counts_a_row_as_often_as_it_weighs(self):
        """A row that stands for nine others is ten events, reviewed and lost."""
        weighted = cost.policy(
            np.array([True, False, True]),
            stakes([1, 1, 0], [20.0, 30.0, 0.0], weight=[10, 2, 3]),
        )
        repeated = cost.policy(
            np.repeat([True, False, True], [10, 2, 3]),
            stakes(
                [1] * 12 + [0] * 3,
                [20.0] * 10 + [30.0] * 2 + [0.0] * 3,
            ),
        )

        assert (weighted.cost, weighted.saved) == (repeated.cost, repeated.saved)

    @pytest.mark.parametrize(
        ("given_", "lost"),
        [(np.nan, 0.0), (-3.0, 0.0), (np.inf, cost.MAXIMUM_AMOUNT), (2.5, 2.5)],
    )
    def test_loses_what_an_amount_can_be(self, given_, lost):
        """Nothing where it is missing or negative; at most what a column can hold."""
        assert cost.amounts(np.array([given_])).tolist() == [lost]


class TestThreshold:
    def test_is_the_cheapest(self):
        """Below it alerts cost more than they bring, above it a fraud is missed."""
        score = np.array([0.9, 0.8, 0.7, 0.2, 0.1])
        at = stakes([1, 0, 1, 0, 1], [50.0, 1.0, 20.0, 1.0, 4.0])

        assert cost.cheapest_threshold(score, at) == pytest.approx(0.45)

    def test_is_above_all_scores_where_no_alert_pays(self):
        """A fraud of 3 is not worth a review of 5."""
        at = stakes([1, 0], [3.0, 3.0])
        threshold = cost.cheapest_threshold(np.array([1.0, 0.1]), at)

        assert threshold == NEVER > 1
        assert not cost.alerts_held_back(np.array([1.0, 0.1]), at).any()

    def test_is_above_all_scores_without_a_fraud_to_choose_by(self):
        """On rows without fraud, or without rows, no alerts are cheapest."""
        assert cost.cheapest_threshold(np.array([0.5]), stakes([0], [9.0])) == NEVER
        assert cost.cheapest_threshold(np.empty(0), stakes([], [])) == NEVER

    def test_of_free_reviews_catches_every_fraud(self):
        """And has no alert more than that takes."""
        at = stakes([0, 1, 0, 1, 0], [1.0] * 5, review_cost=0.0)
        score = np.array([0.9, 0.8, 0.7, 0.6, 0.1])

        assert 0.1 < cost.cheapest_threshold(score, at) <= 0.6

    @given(
        st.lists(
            st.tuples(
                st.integers(0, 4), st.booleans(), st.integers(0, 40), st.integers(1, 3)
            ),
            min_size=1,
            max_size=25,
        )
    )
    @budget(deadline=None)
    def test_costs_no_more_than_any_other(self, rows):
        """Nor than no alert at all; rows of one score are alerts together."""
        score = np.array([row[0] for row in rows]) / 4
        at = stakes(
            [row[1] for row in rows],
            [float(row[2]) for row in rows],
            weight=[row[3] for row in rows],
        )
        threshold = cost.cheapest_threshold(score, at)
        least = cost.policy(score >= threshold, at).cost

        for other in (0.0, 0.2, 0.25, 0.5, 0.75, 1.0, NEVER):
            assert least <= cost.policy(score >= other, at).cost

    def test_of_a_row_is_chosen_without_it(self):
        """On noise, thresholds chosen on the same rows save; held back they do not."""
        generator = np.random.default_rng(3)
        within, held_back = [], []
        for _ in range(30):
            score = generator.random(400)
            at = stakes(
                generator.random(400) < 0.05, np.round(generator.gamma(1, 90, 400), 2)
            )
            threshold = cost.cheapest_threshold(score, at)
            within.append(float(cost.policy(score >= threshold, at).saved))
            alerted = cost.alerts_held_back(score, at)
            held_back.append(float(cost.policy(alerted, at).saved))

        assert np.mean(within) > 0 > np.mean(held_back)


class TestInterval:
    @pytest.mark.parametrize("frauds", [3, 9, 30, 300])
    def test_holds_what_a_policy_saves_on_average(self, frauds):
        """In nine cases of ten at least, also where frauds are few: amounts as of cards
        with little spread, a fixed threshold, a new number of frauds each time."""
        generator = np.random.default_rng(frauds)
        recall, alerts, truth, held = 0.6, 4 * frauds, 0.0, 0
        truth = frauds * recall * (100 - 5) - 5 * alerts
        for seed in range(100):
            n = max(1, generator.poisson(frauds))
            policy = Policy(
                amount=generator.gamma(4, 25, n),
                weight=np.ones(n),
                is_caught=generator.random(n) < recall,
                false_alerts=float(generator.poisson(alerts)),
                review_cost=5.0,
            )
            low, high = policy.interval(seed=seed)
            held += low <= truth <= high

        assert held >= 88

    def test_of_three_frauds_says_how_little_that_is(self):
        """All missed so far: it can still be that alerts bring more than they cost; all
        caught so far: it can be that they do not."""
        low, high = of([100.0] * 3, [0, 0, 0], 10).interval(seed=1)
        assert low < 0 < high

        low, high = of([100.0] * 3, [1, 1, 1], 40).interval(seed=1)
        assert low < 0 < high

    def test_narrows_with_frauds(self):
        """Relative to what is at stake."""
        width = {}
        for n in (3, 30, 300):
            low, high = of([100.0] * n, [1, 0, 1] * (n // 3), n).interval(seed=1)
            width[n] = float(high - low) / (100 * n)

        assert width[3] > 2 * width[30] > 4 * width[300]

    def test_needs_a_fraud(self):
        """Without one nobody knows what one costs."""
        assert of([], [], 5).interval(seed=1) is None

    def test_of_no_alerts_is_nothing(self):
        """Who looks at nothing saves nothing, for certain."""
        assert of([10.0], [0]).interval(seed=1) == (0, 0)

    def test_is_the_same_again(self):
        """Same policy, same seed."""
        policy = of([10.0, 70.0], [0, 1], 3)

        assert policy.interval(seed=4) == policy.interval(seed=4)


class TestDifference:
    def test_is_of_what_only_one_treats_so(self):
        """Challenger less champion: what both do cancels out."""
        at = stakes([1, 1, 0, 0], [100.0, 40.0, 0.0, 0.0])
        challenger = np.array([True, True, True, False])
        champion = np.array([True, False, False, False])
        difference = cost.paired_difference(challenger, champion, at, seed=1)

        assert difference.estimate == pytest.approx(10 - 40)
        assert difference.low < difference.estimate < difference.high

    def test_of_equal_alerts_is_none(self):
        """Nothing differs, and no resample does."""
        at = stakes([1, 0], [9.0, 9.0])
        alerts = np.array([True, True])
        difference = cost.paired_difference(alerts, alerts, at, seed=1)

        assert (difference.estimate, difference.low, difference.high) == (0, 0, 0)

    def test_is_beyond_noise_with_frauds_enough(self):
        """One of ten missed of 300, at equal reviews."""
        generator = np.random.default_rng(2)
        at = stakes([1] * 300 + [0] * 900, [100.0] * 1_200)
        champion = np.arange(1_200) < 300
        challenger = champion.copy()
        challenger[generator.permutation(300)[:30]] = False
        difference = cost.paired_difference(challenger, champion, at, seed=1)

        assert difference.low > 0


def test_money_of_a_column_is_the_nearest_float():
    """So that its text is the amount, which sums are made of; null is not a number."""
    amounts = [Decimal(cents) / 100 for cents in (*range(1, 2_000), 100_000_007)]
    column = pa.array([*amounts, None], pa.decimal128(38, 9))
    values = cost.floats(pa.chunked_array([column]))

    assert values[:-1].tolist() == [*map(float, amounts)]
    assert np.isnan(values[-1])


def test_money_has_the_decimals_of_a_column():
    """Nine, and a float is taken as it is written."""
    assert cost.money(0.1) == Decimal("0.1")
    assert cost.money(1e12 + 0.25) == Decimal("1000000000000.25")
    assert cost.money(Decimal("1.23456789012")).as_tuple().exponent == -9


def test_figures_are_named_as_columns():
    """As many as tables have, in their order."""
    values = cost.figures(of([10.0], [1], 61), 0.25, seed=1)

    assert [*values] == [
        "review_cost", "alert_threshold", "alerted", "alerted_conversions", "cost",
        "cost_without", "saved", "saved_low", "saved_high", "saved_share",
    ]  # fmt: skip
    assert (values["alerted"], values["alerted_conversions"]) == (62, 1)
    assert values["saved_low"] <= values["saved"] <= values["saved_high"]
