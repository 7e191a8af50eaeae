"""
Scores of a group, specified: who comes together is scored together, each by their own.
"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from sklearn.ensemble import GradientBoostingClassifier

from propensity.errors import RequestError
from propensity.online.score import Waiting, scores_of
from propensity.online.score_request import Instance
from propensity.registry.loading import Serving
from tests.propensity.online.champions import FIRST, LAYOUT, SECOND, serving


def player(bets: float, *, age: float = 30.0, prefix: str = "") -> Instance:
    """Return a player to be scored."""
    return Instance([bets, age], ["GB"], prefix)


def alone(instance: Instance, by: Serving = FIRST) -> float:
    """Return what a version says of a player."""
    return float(by.scorer.probabilities(LAYOUT.rows([instance]))[0])


class TestScores:
    def test_are_those_of_each_alone(self):
        """Of one call for all; in the order of the group."""
        group = [Waiting(LAYOUT, FIRST, [player(bets)]) for bets in range(40)]

        assert scores_of(group) == [
            [pytest.approx(alone(player(bets)), abs=1e-12)] for bets in range(40)
        ]

    def test_are_of_the_version_that_each_has_asked_for(self):
        """Questions that meet on the way to another version are scored by their own."""
        players = [player(1), player(9)]
        versions = [FIRST, SECOND] * 2
        results = scores_of([Waiting(LAYOUT, version, players) for version in versions])

        for values, version in zip(results, versions, strict=True):
            expected = [alone(each, version) for each in players]
            assert values == pytest.approx(expected, abs=1e-12)

    def test_fail_for_one_version_alone(self):
        """A version that breaks fails those that asked for it, and nobody else."""
        broken = replace(FIRST, version=9, scorer=None)
        failed, other = scores_of(
            [Waiting(LAYOUT, broken, [player(1)]), Waiting(LAYOUT, FIRST, [player(2)])]
        )

        assert isinstance(failed, AttributeError)
        assert other == [alone(player(2))]

    def test_refuse_a_null_that_nothing_fills(self):
        """Only the question that has it; the field is named."""
        several = [player(1), player(2, age=math.nan, prefix="instances[1].")]
        first, second, third = scores_of(
            [
                Waiting(LAYOUT, FIRST, [player(1)]),
                Waiting(LAYOUT, FIRST, several),
                Waiting(LAYOUT, FIRST, [player(2)]),
            ]
        )

        assert first == [alone(player(1))]
        assert isinstance(second, RequestError)
        assert second.field == "instances[1].age"
        assert third == [alone(player(2))]

    def test_refuse_what_a_model_cannot_compute_with(self):
        """Only the question that has it; its number farthest from 0 is named."""
        # Trees of this kind read single precision, in which this is infinite.
        trees = serving(3, model=GradientBoostingClassifier(n_estimators=2))
        huge = [player(1), player(2, age=1e300, prefix="b."), player(3)]
        refused, other = scores_of(
            [Waiting(LAYOUT, trees, huge), Waiting(LAYOUT, trees, [player(1)])]
        )

        assert isinstance(refused, RequestError)
        assert refused.field == "b.age"
        assert other == [alone(player(1), trees)]
