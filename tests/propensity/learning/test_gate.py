"""
Whether a new model is let in, specified: compared with the champion on the same rows.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.special import expit, logit

from propensity.learning import gate
from propensity.learning.gate import Rival, Verdict
from propensity.learning.trained import Trained
from tests.propensity.learning import fitted_cards
from tests.propensity.learning.shops import drawn, table, train, trained


def with_scores(model: Trained, score: np.ndarray, **held: Any) -> Trained:
    """A model that gives the rows held out other scores."""
    return replace(model, holdout=replace(model.holdout, probability=score, **held))


def distorted(sd: float, model: Trained | None = None) -> np.ndarray:
    """A model's probabilities, their log-odds spoilt by noise."""
    p = np.clip((model or trained()).holdout.probability, 1e-6, 1 - 1e-6)
    return expit(logit(p) + np.random.default_rng(2).normal(0, sd, len(p)))


def against(score: np.ndarray | None, model: Trained | None = None, **rival: Any):
    return gate.compare(
        model or trained(), Rival(version=3, score=score, **rival), seed=0
    )


def cards(rows: int, label: list[int | None] | None = None) -> Trained:
    """Half-Space Trees on transactions."""
    joined = fitted_cards.joined(fitted_cards.drawn(rows), label)
    return fitted_cards.train(joined, fitted_cards.ALONE)


def first(model: Trained) -> Verdict:
    return gate.compare(model, None, seed=0)


class TestFirst:
    def test_serves_if_it_beats_chance_and_the_baseline(self):
        """Not if labels are such that no feature tells, nor if it is far beyond chance
        and no better than the one rule: nothing serves, and the reason says so."""
        columns = drawn(6, 400, seed=100)
        coin = first(train(table(columns, np.full(2_400, 0.2))))
        alike = first(with_scores(trained(), trained().holdout.baseline / 2))

        assert first(trained()).promoted
        assert "better than chance and the baseline" in first(trained()).reason
        assert not coin.promoted
        assert "not shown to be better than chance" in coin.reason
        assert not alike.promoted
        assert "better than the baseline:" in alike.reason

    def test_of_events_must_not_cost_more_than_no_alerts(self):
        model = fitted_cards.trained()
        loss = replace(model.holdout.savings, saved=-model.holdout.savings.saved)
        costly = replace(model, holdout=replace(model.holdout, savings=loss))

        assert first(model).promoted
        assert "save" in first(model).reason
        assert not first(costly).promoted
        assert "PROPENSITY_ALERT_REVIEW_COST" in first(costly).reason

    def test_of_trees_serves_before_truths_are_known(self):
        """They learned none; the reason says that nothing is measured."""
        unknown = first(cards(400, [None] * 390 + [0] * 10))

        assert unknown.promoted
        assert "too few are known" in unknown.reason


class TestChallenger:
    def test_replaces_a_champion_that_cannot_score(self):
        assert against(None).promoted
        assert "cannot score" in against(None).reason

    @pytest.mark.parametrize(
        ("challenger", "champion", "is_promoted"),
        [(0.0, 2.0, True), (0.0, 0.0, True), (0.05, 0.0, True), (2.0, 0.0, False)],
        ids=["better", "the same", "within chance", "worse"],
    )
    def test_serves_unless_its_roc_auc_is_worse(
        self, challenger, champion, is_promoted
    ):
        """By the whole interval of the difference, on the same rows."""
        model = with_scores(trained(), distorted(challenger))
        verdict = against(distorted(champion), model)
        area = verdict.differences["roc_auc"]

        assert verdict.promoted == is_promoted == (area.high >= 0)
        assert verdict.reason.startswith("not worse" if is_promoted else "worse")
        assert "version 3 on the same 500 rows" in verdict.reason

    def test_tells_how_much_higher_its_level_is(self):
        """The season is read off weeks of the champion."""
        served = trained().holdout.served
        half = served / (2 - served)

        assert against(half).level_difference == pytest.approx(np.log(2), abs=1e-6)

    def test_is_compared_by_the_record_of_a_champion_that_knows_the_rows(self):
        """As in a second training of a day: its scores would be too good."""
        area = trained().holdout.metrics
        beaten = against(distorted(0), learned_roc_auc=area.roc_auc_high + 0.001)
        kept = against(distorted(0), learned_roc_auc=area.roc_auc_high - 0.001)

        assert not beaten.promoted
        assert kept.promoted
        assert "has learned from these rows since" in kept.reason

    def test_stays_out_where_nothing_can_be_compared(self):
        """Rows of one class; or it is not warm yet, and has no scores."""
        rows = replace(trained().holdout.rows, label=np.zeros(500, np.int8))
        one_class = with_scores(trained(), distorted(0), rows=rows)
        cold = against(np.zeros(20), cards(100))

        assert not against(distorted(0), one_class).promoted
        assert not cold.promoted
        assert "not warm" in cold.reason


class TestEvents:
    @pytest.mark.parametrize("sd", [0.0, 6.0])
    def test_are_decided_by_the_cost_of_alerts(self, sd):
        """With each model's own threshold; forty frauds are enough for an interval."""
        cards = fitted_cards.joined(fitted_cards.drawn(4_000, share=0.1))
        model = fitted_cards.train(cards)
        threshold = model.holdout.savings.alert_threshold
        spoilt = with_scores(model, distorted(sd, model))
        verdict = against(model.holdout.probability, spoilt, alert_threshold=threshold)

        assert set(verdict.differences) == {"cost", "roc_auc"}
        assert verdict.promoted == (sd == 0.0)
        assert verdict.promoted == (verdict.differences["cost"].low <= 0)

    def test_of_few_frauds_are_not_decided_by_one_of_them(self):
        """No interval holds: a challenger that misses one fraud more serves, and one
        that misses two is dearer whichever of them is left out."""
        model = fitted_cards.trained()
        held = model.holdout
        frauds = np.flatnonzero(held.rows.label)
        assert 2 < len(frauds) < 20
        perfect = held.rows.label.astype(float)
        stakes = replace(held.stakes, amount=np.full(len(perfect), 50.0))

        def verdict(missed: int) -> Verdict:
            score = perfect.copy()
            score[frauds[:missed]] = 0.0
            saved = replace(held.savings, alert_threshold=0.5)
            spoilt = with_scores(model, score, stakes=stakes, savings=saved)
            return against(perfect, spoilt, alert_threshold=0.5)

        assert [verdict(missed).promoted for missed in (0, 1, 2)] == [True, True, False]
        assert "too few for an interval" in verdict(1).reason
        assert verdict(1).differences["cost"].interval == (None, None)
