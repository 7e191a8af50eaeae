"""
Models of events, specified: chosen and judged by cost, with PR AUC beside it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from propensity.learning import cost, of_events
from propensity.learning.bootstrap import Difference
from propensity.learning.cost import NEVER, Policy, Stakes
from propensity.learning.data import Slice
from propensity.learning.of_events import Costed

REVIEW = 5.0


def drawn(
    n: int, *, frauds: int, strengths: tuple[float, ...], seed: int = 1
) -> tuple[Slice, Stakes, list[np.ndarray]]:
    """Draw events, and scores in which frauds are so many deviations higher."""
    generator = np.random.default_rng(seed)
    is_fraud = np.zeros(n, bool)
    is_fraud[generator.permutation(n)[:frauds]] = True
    amount = np.round(generator.gamma(2, 60, n), 2)
    scores = [
        1 / (1 + np.exp(4 - generator.normal(size=n) - strength * is_fraud))
        for strength in strengths
    ]
    part = Slice(
        rows=pa.table({"Amount": amount}),
        label=is_fraud.astype(np.int8),
        weight=np.ones(n),
    )
    at = Stakes(is_fraud=is_fraud, amount=amount, weight=np.ones(n), review_cost=REVIEW)
    return part, at, scores


class TestChoose:
    def test_takes_the_cheapest(self):
        """Where it is cheaper beyond noise, wherever it stands."""
        part, at, scores = drawn(4_000, frauds=200, strengths=(1.0, 4.0, 1.0))
        choice = of_events.choose(scores, part, at, seed=1)

        assert choice.place == 1
        assert choice.costs[1] == min(choice.costs)

    def test_takes_the_simpler_within_noise(self):
        """Of three that are alike, the first."""
        part, at, scores = drawn(4_000, frauds=60, strengths=(3.0, 3.0, 3.0))

        assert of_events.choose(scores, part, at, seed=1).place == 0

    def test_takes_what_knows_truths_before_trees_within_noise(self):
        """Trees are for the time before truths; they are not the simpler model."""
        part, at, scores = drawn(4_000, frauds=60, strengths=(3.0, 3.0))
        alike = of_events.choose(scores, part, at, trees=[0], seed=1)
        part, at, scores = drawn(4_000, frauds=200, strengths=(4.0, 1.0))
        better = of_events.choose(scores, part, at, trees=[0], seed=1)

        assert (alike.place, better.place) == (1, 0)

    def test_goes_by_thresholds_of_other_rows(self):
        """The cost of each is that of alerts that are held back."""
        part, at, scores = drawn(2_000, frauds=80, strengths=(2.0, 3.0))
        choice = of_events.choose(scores, part, at, seed=1)

        assert choice.costs == [
            float(cost.policy(cost.alerts_held_back(score, at), at).cost)
            for score in scores
        ]

    def test_goes_by_pr_auc_where_nobody_says_what_events_cost(self):
        """There is no cost then."""
        part, _, scores = drawn(4_000, frauds=200, strengths=(1.0, 4.0))
        choice = of_events.choose(scores, part, None, seed=1)

        assert (choice.place, choice.costs) == (1, [None, None])

    def test_leaves_out_what_gives_no_scores(self):
        """Trees that are not warm."""
        part, at, [score] = drawn(1_000, frauds=50, strengths=(2.0,))

        assert of_events.choose([None, score], part, at, seed=1).place == 1

    @pytest.mark.parametrize("frauds", [0, 1_000])
    def test_takes_the_first_where_nothing_can_be_judged(self, frauds):
        """Rows of one class tell nothing."""
        part, at, scores = drawn(1_000, frauds=frauds, strengths=(1.0, 4.0))

        assert of_events.choose(scores, part, at, seed=1).place == 0


def costed(
    early: tuple[Slice, Stakes, list[np.ndarray]],
    late: tuple[Slice, Stakes, list[np.ndarray]],
) -> Costed:
    """The first score's alerts, at the threshold of earlier rows."""
    threshold = cost.cheapest_threshold(early[2][0], early[1])
    policy = cost.policy(late[2][0] >= threshold, late[1])
    return Costed(
        choosing=early[1],
        holdout=late[1],
        threshold=threshold,
        policy=policy,
        figures=cost.figures(policy, threshold, seed=1),
    )


def judged(*, frauds: int, strengths: tuple[float, float], seed: int) -> bool:
    """Whether the first of two is taken in the place of the second."""
    n = 100 * frauds
    early = drawn(n, frauds=frauds, strengths=strengths, seed=seed)
    late = drawn(n, frauds=frauds, strengths=strengths, seed=seed + 10_000)
    judgement = of_events.judge(
        costed(early, late),
        *late[2],
        early[2][1],
        late[0],
        version=1,
        is_measured=frauds >= 20,
        seed=1,
    )
    return not judgement.is_worse


class TestJudge:
    @pytest.mark.parametrize(
        ("frauds", "at_most"),
        [
            pytest.param(3, 3, marks=pytest.mark.long),
            (9, 2),
            pytest.param(30, 1, marks=pytest.mark.long),
        ],
    )
    def test_seldom_lets_a_worse_one_in(self, frauds, at_most):
        """Of twenty challengers that are worse by more than a deviation."""
        promoted = [
            judged(frauds=frauds, strengths=(1.5, 3.0), seed=seed) for seed in range(20)
        ]

        assert sum(promoted) <= at_most

    @pytest.mark.parametrize(
        ("frauds", "at_least"),
        [
            pytest.param(3, 12, marks=pytest.mark.long),
            (9, 15),
            pytest.param(30, 18, marks=pytest.mark.long),
        ],
    )
    def test_lets_most_better_ones_in(self, frauds, at_least):
        """Of twenty that are better by as much."""
        promoted = [
            judged(frauds=frauds, strengths=(3.0, 1.5), seed=seed) for seed in range(20)
        ]

        assert sum(promoted) >= at_least


NOTHING, BETTER, WORSE = (
    Difference(0.0, -1.0, 1.0),
    Difference(0.5, -1.0, 1.0),
    Difference(-0.5, -1.0, 1.0),
)
SHOWN_BETTER, SHOWN_WORSE = Difference(0.5, 0.1, 1.0), Difference(-0.5, -1.0, -0.1)


class TestRules:
    """A cost is worse above zero, an area below."""

    @pytest.mark.parametrize(
        ("area", "dearer", "is_measured", "is_worse"),
        [
            (NOTHING, NOTHING, True, False),
            (BETTER, SHOWN_BETTER, True, True),
            (SHOWN_WORSE, NOTHING, True, True),
            (SHOWN_WORSE, SHOWN_WORSE, True, False),
            (WORSE, BETTER, True, True),
            (WORSE, WORSE, True, False),
            (BETTER, BETTER, True, False),
            (WORSE, WORSE, False, True),
            (BETTER, BETTER, False, True),
            (BETTER, WORSE, False, False),
            (NOTHING, NOTHING, False, False),
            (WORSE, None, True, False),
            (WORSE, None, False, True),
            (SHOWN_WORSE, None, True, True),
        ],
    )
    def test_are_these(self, area, dearer, is_measured, is_worse):
        """Beyond noise, or both figures; with few frauds either of them."""
        against = None if dearer is None else of_events.Against(dearer, False)

        assert is_worse == of_events.is_worse(area, against, is_measured=is_measured)

    def test_refuse_a_greater_loss(self):
        """Alerts that cost more than none, and more than the champion's."""
        against = of_events.Against(NOTHING, True)

        assert of_events.is_worse(BETTER, against, is_measured=True)


class TestWords:
    def of(self, amounts: list[float], caught: list[int], false: float) -> str:
        policy = Policy(
            amount=np.array(amounts),
            weight=np.ones(len(amounts)),
            is_caught=np.array(caught, bool),
            false_alerts=false,
            review_cost=REVIEW,
        )
        low, high = policy.interval(seed=1) or (None, None)
        return of_events.savings(policy, low, high)

    def test_say_how_little_three_frauds_are(self):
        """The number, the bounds, and that they prove little."""
        words = self.of([100.0, 250.0, 900.0], [0, 1, 0], 10)

        assert words.startswith(
            "on 3 frauds its alerts save 195.00 of 1,250.00, between"
        )
        assert words.endswith(": that proves little")

    def test_say_that_looking_cost_more_than_it_brought(self):
        """Plainly."""
        words = self.of([1.0] * 9, [1] + [0] * 8, 61)

        assert "on 9 frauds looking costs 309.00 more than it brings" in words
        assert "proves" not in words

    def test_say_it_without_a_fraud(self):
        """There is no interval then."""
        assert self.of([], [], 3) == (
            "on 0 frauds looking costs 15.00 more than it brings"
        )

    def test_say_that_there_are_no_alerts(self):
        """No figure looks like one that was reached."""
        assert self.of([10.0, 20.0], [0, 0], 0) == (
            "on 2 frauds it has no alerts, and saves nothing of 30.00"
        )

    def test_say_that_no_alert_pays(self):
        """By how many frauds that was found, which may be none."""
        sets = drawn(300, frauds=9, strengths=(2.0,))
        never = replace(costed(sets, sets), threshold=NEVER)

        assert of_events.worth(never) == (
            "with 9 frauds among the 300 rows to choose a threshold on, no alert paid "
            "its review of 5.00: so it has no alerts, and saves nothing"
        )
