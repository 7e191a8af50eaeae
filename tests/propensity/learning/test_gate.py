"""
Whether a new model is let in, specified: compared with the champion on the same rows.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from propensity.learning import data, gate, importance, metrics
from propensity.learning.gate import Verdict
from tests.propensity.learning.shops import SHOP, drawn, table, train, trained


def distorted(sd: float) -> np.ndarray:
    """The plain model's probabilities, their log-odds spoilt by noise."""
    p = np.clip(trained().probability, 1e-6, 1 - 1e-6)
    noise = np.random.default_rng(2).normal(0, sd, len(p))
    return 1 / (1 + np.exp(-np.log(p / (1 - p)) - noise))


# Probabilities that are too high keep their order; their log loss tells.
RIVALS = {
    "plain": lambda: trained().probability,
    "noisy": lambda: distorted(2.0),
    "high": lambda: 0.85 * trained().probability + 0.15,
    "far too high": lambda: 0.1 * trained().probability + 0.9,
}


class TestCompare:
    """``against`` compares the plain model with a champion's probabilities."""

    def against(self, champion: Any, version: int | None = 3) -> Verdict:
        return gate.compare(trained(), champion, version=version, seed=0)

    def test_promotes_a_first_model_that_beats_chance_and_the_baseline(self):
        """By the intervals of both differences; the reason has the figures."""
        verdict = self.against(None, version=None)

        assert verdict.promoted
        assert verdict.compared_version is None
        assert "better than chance and recency_days alone" in verdict.reason
        assert "500 rows" in verdict.reason

    @pytest.mark.parametrize(
        "seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in (1, 2, 3))]
    )
    def test_refuses_a_first_model_that_is_a_coin(self, seed):
        """Labels that no feature tells: nothing serves, and the reason says so."""
        columns = drawn(6, 400, seed=100 + seed)
        training = train(table(columns, np.full(2_400, 0.2)))
        verdict = gate.compare(training, None, version=None, seed=0)

        assert not verdict.promoted
        assert verdict.compared_version is None
        assert "not shown to be better than chance" in verdict.reason
        assert "promote VERSION --force" in verdict.reason

    def test_refuses_a_first_model_that_is_the_baseline(self):
        """Beyond chance by far, and no better than the one rule."""
        holdout = trained().holdout
        order = importance.baseline_score(SHOP, holdout)
        alike = replace(trained(), probability=order / 2)
        verdict = gate.compare(alike, None, version=None, seed=0)

        assert not verdict.promoted
        assert "better than recency_days alone:" in verdict.reason

    def test_refuses_a_first_model_that_is_better_by_chance(self):
        """An estimate above a half whose interval holds a half proves nothing."""
        label = np.tile([0, 1], 30)
        score = np.linspace(0.3, 0.7, 60) + 0.02 * label
        rows = trained().holdout.rows.slice(0, 60)
        small = data.Slice(rows=rows, label=label, weight=np.ones(60))
        lucky = replace(
            trained(), holdout=small, probability=score, baseline_score=np.zeros(60)
        )
        verdict = gate.compare(lucky, None, version=None, seed=0)

        assert metrics.roc_auc(small.outcomes(score)) > 0.5
        assert not verdict.promoted

    def test_promotes_over_a_champion_that_cannot_score(self):
        """A champion of other features, or lost, cannot serve either."""
        verdict = self.against(None)

        assert verdict.promoted
        assert verdict.compared_version == 3
        assert "cannot score" in verdict.reason

    @pytest.mark.parametrize(
        ("challenger", "champion", "reason", "roc_auc", "log_loss"),
        [
            ("plain", "noisy", "not worse", "above", "below"),
            ("plain", "plain", "not worse", "equal", "equal"),
            ("noisy", "plain", "worse: ROC AUC -", "below", "above"),
            ("noisy", "far too high", "worse", "below", "below"),
            ("high", "plain", "worse", "equal", "above"),
        ],
    )
    def test_promotes_what_is_not_worse(
        self, challenger, champion, reason, roc_auc, log_loss
    ):
        """Unless the interval of either difference lies on the wrong side: what the
        champion lacks in calibration makes up for no rank, and the reverse."""
        rival = replace(trained(), probability=RIVALS[challenger]())
        verdict = gate.compare(rival, RIVALS[champion](), version=3, seed=0)

        assert verdict.promoted == reason.startswith("not")
        assert verdict.reason.startswith(reason)
        for name, side in (("roc_auc", roc_auc), ("log_loss", log_loss)):
            difference = verdict.differences[name]
            if side == "equal":
                assert difference.estimate == pytest.approx(0)
            else:
                assert difference.low > 0 if side == "above" else difference.high < 0

    def test_tells_the_figures(self):
        """The reason names both differences with their intervals, and the rows."""
        reason = self.against(distorted(0.3)).reason

        assert "log loss" in reason
        assert "version 3 on the same 500 rows" in reason

    def test_counts_rows_by_their_weights(self):
        """Rows that stand for many count as many in the comparison."""
        weight = np.where(trained().holdout.label == 1, 1.0, 9.0)
        weighted = replace(trained(), holdout=replace(trained().holdout, weight=weight))
        champion = distorted(0.5)
        verdict = gate.compare(weighted, champion, version=3, seed=0)
        own, other = (
            metrics.log_loss(weighted.holdout.outcomes(score))
            for score in (trained().probability, champion)
        )

        assert verdict.differences["log_loss"].estimate == pytest.approx(own - other)
