"""
Models of events, specified: chosen and judged by cost, with PR AUC beside it.
"""

from __future__ import annotations

import re
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
    @pytest.mark.parametrize(
        ("n", "frauds", "strengths", "trees", "place"),
        [
            pytest.param(4_000, 200, (1.0, 4.0, 1.0), (), 1, id="the cheapest"),
            pytest.param(4_000, 60, (3.0, 3.0, 3.0), (), 0, id="the simpler one"),
            # Trees are for the time before truths; they are not the simpler model.
            pytest.param(4_000, 60, (3.0, 3.0), (0,), 1, id="truths before trees"),
            pytest.param(4_000, 200, (4.0, 1.0), (0,), 0, id="trees that are cheaper"),
            pytest.param(1_000, 0, (1.0, 4.0), (), 0, id="without frauds"),
            pytest.param(1_000, 1_000, (1.0, 4.0), (), 0, id="with frauds alone"),
        ],
    )
    def test_takes_the_cheapest(self, n, frauds, strengths, trees, place):
        """Wherever it stands, and the simpler one where that is within the noise; the
        first where rows of one class tell nothing."""
        part, at, scores = drawn(n, frauds=frauds, strengths=strengths)

        choice = of_events.choose(scores, part, at, trees=trees, seed=1)
        assert choice.place == place

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
        ("frauds", "worse", "better"),
        [
            pytest.param(3, 3, 12, marks=pytest.mark.long),
            (9, 2, 15),
            pytest.param(30, 1, 18, marks=pytest.mark.long),
        ],
    )
    def test_lets_most_better_ones_in_and_few_worse(self, frauds, worse, better):
        """Of twenty challengers each, that are better or worse by over a deviation."""

        def promoted(*strengths: float) -> int:
            return sum(
                judged(frauds=frauds, strengths=strengths, seed=n) for n in range(20)
            )

        assert promoted(1.5, 3.0) <= worse
        assert promoted(3.0, 1.5) >= better


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
    @pytest.mark.parametrize(
        ("amounts", "caught", "false", "words"),
        [
            pytest.param(
                [100.0, 250.0, 900.0],
                [0, 1, 0],
                10,
                "on 3 frauds its alerts save 195.00 of 1,250.00, between .*: that "
                "proves little",
                id="few frauds prove little",
            ),
            pytest.param(
                [1.0] * 9,
                [1] + [0] * 8,
                61,
                "on 9 frauds looking costs 309.00 more than it brings, between .*saved",
                id="a loss is said plainly",
            ),
            pytest.param(
                [],
                [],
                3,
                "on 0 frauds looking costs 15.00 more than it brings",
                id="without a fraud there is no interval",
            ),
            pytest.param(
                [10.0, 20.0],
                [0, 0],
                0,
                "on 2 frauds it has no alerts, and saves nothing of 30.00",
                id="no figure looks like one that was reached",
            ),
        ],
    )
    def test_say_what_alerts_are_worth(self, amounts, caught, false, words):
        policy = Policy(
            amount=np.array(amounts),
            weight=np.ones(len(amounts)),
            is_caught=np.array(caught, bool),
            false_alerts=false,
            review_cost=REVIEW,
        )
        low, high = policy.interval(seed=1) or (None, None)

        assert re.fullmatch(words, of_events.savings(policy, low, high))

    def test_say_that_no_alert_pays(self):
        """By how many frauds that was found, which may be none."""
        sets = drawn(300, frauds=9, strengths=(2.0,))
        never = replace(costed(sets, sets), threshold=NEVER)

        assert of_events.worth(never) == (
            "with 9 frauds among the 300 rows to choose a threshold on, no alert paid "
            "its review of 5.00: so it has no alerts, and saves nothing"
        )
