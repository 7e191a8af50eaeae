"""Whether a new model of events is let in, specified, and the page that says why."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from propensity.learning import data, modelcard
from propensity.learning.fit import Trained
from propensity.learning.gate import Verdict, compare
from propensity.learning.report.page import training_page
from tests.propensity.learning.fitted_cards import (
    ALONE,
    SMALL,
    forest,
    joined,
    scored,
    train,
    trained,
)
from tests.scored_cards import START, drawn


def rivals(challenger: Trained, champion: Trained) -> Verdict:
    """Compare two models of the same rows, as 00-ModelTraining does."""
    earlier = scored(champion, challenger.choosing.rows)
    return compare(challenger, champion.probability, version=3, seed=1, earlier=earlier)


class TestCompare:
    def test_promotes_a_first_that_beats_chance_and_the_baseline(self):
        """By ROC AUC, of probabilities and of anomaly scores."""
        for model in (trained(), forest()):
            first = compare(model, None, version=None, seed=1)

            assert first.promoted
            assert "better than chance and Amount alone" in first.reason

    def test_promotes_a_first_that_is_not_warm(self):
        """It gives no scores, and says so."""
        cold = train(joined(drawn(100)), ALONE)
        first = compare(cold, None, version=None, seed=1)

        assert first.promoted
        assert "not warm" in first.reason

    @pytest.mark.parametrize("use_case", [SMALL, ALONE], ids=["classifier", "trees"])
    def test_refuses_a_first_that_is_a_coin(self, use_case):
        """Truths enough, which no feature tells: nothing serves."""
        cards = drawn(2_000)
        random = np.random.default_rng(4)
        training = train(
            joined(cards, (random.random(2_000) < 0.1).astype(int)), use_case
        )
        first = compare(training, None, version=None, seed=1)

        assert training.is_measured
        assert not first.promoted
        assert "not shown to be better than chance" in first.reason
        assert first.compared_version is None

    @pytest.mark.parametrize("frauds", [0, 4])
    def test_promotes_trees_before_truths_are_known(self, frauds):
        """They need none, and serve first; that nothing is proved is said."""
        cards = drawn(600)
        labels: list[int | None] = [None if n % 5 else 0 for n in range(600)]
        labels[600 - 5 * frauds :: 5] = [1] * frauds
        training = train(joined(cards, labels), ALONE)
        first = compare(training, None, version=None, seed=1)

        assert first.promoted
        assert "too few are known" in first.reason
        assert f"{training.holdout.conversions} of the" in first.reason

    def test_refuses_a_first_that_learned_from_truths_and_cannot_be_measured(self):
        """A model of truths does not serve unproved."""
        holdout = trained().holdout
        genuine = replace(holdout, label=np.zeros(len(holdout), np.int8))
        one_class = replace(trained(), holdout=genuine)
        first = compare(one_class, None, version=None, seed=1)

        assert not first.promoted
        assert "measures nothing" in first.reason

    def test_promotes_what_is_not_worse(self):
        """By cost and PR AUC on the same rows; log loss means nothing to an anomaly
        score, and ROC AUC is recorded."""
        model, other = trained(), forest()
        same = rivals(model, model)
        better, worse = rivals(model, other), rivals(other, model)

        assert same.promoted
        assert better.promoted
        assert not worse.promoted
        assert [*same.differences] == ["cost", "pr_auc", "roc_auc"]
        assert same.differences["cost"].estimate == 0
        assert worse.differences["cost"].estimate > 0 > better.differences["cost"].low
        assert (worse.compared_version, worse.reason[:5]) == (3, "worse")

    def test_goes_by_pr_auc_without_amounts(self):
        """Where nobody says what a missed event costs."""
        free = replace(ALONE, amount="")
        training = train(joined(drawn(1_000)), free)
        verdict = compare(training, training.holdout.label * 1.0, version=3, seed=1)

        assert training.costed is None
        assert [*verdict.differences] == ["pr_auc", "roc_auc"]
        assert not verdict.promoted

    def test_chooses_thresholds_of_trees_on_all_earlier_frauds(self):
        """Where the rows to choose candidates on have none: trees saw no label."""
        cards = drawn(1_000, share=0)
        is_fraud = np.zeros(1_000, int)
        is_fraud[[100, 200, 300, 900, 950]] = 1
        training = train(joined(cards, is_fraud.tolist()), ALONE, minimum_conversions=2)

        assert len(training.choosing) == 1_000 - len(training.holdout)
        assert training.costed.choosing.frauds == 3
        assert len(forest().choosing) == 200

    def test_says_what_its_alerts_save_and_how_sure_that_is(self):
        """Of how many frauds, between which bounds."""
        verdict = rivals(trained(), trained())
        costed = trained().costed
        words = verdict.reason.split("; ")[-1]

        assert words.startswith(f"on {trained().holdout.conversions} frauds its alerts")
        assert (
            f"{costed.policy.saved:,.2f} of {costed.policy.cost_without:,.2f}" in words
        )
        assert f"between {costed.figures['saved_low']:,.2f} and" in words

    def test_refuses_a_first_whose_alerts_cost_more_than_none(self):
        """It ranks better than chance and the amounts, and still brings a loss."""
        costed = trained().costed
        dear = replace(costed.policy, review_cost=1_000.0)
        loss = replace(trained(), costed=replace(costed, policy=dear))
        first = compare(loss, None, version=None, seed=1)

        assert compare(trained(), None, version=None, seed=1).promoted
        assert not first.promoted
        assert "looking costs" in first.reason
        assert "PROPENSITY_ALERT_REVIEW_COST" in first.reason

    @pytest.mark.parametrize(
        ("labels", "champion", "is_promoted", "reason"),
        [
            pytest.param([1] + [0] * 499, 0.5, False, "nothing to compare", id="of 0"),
            pytest.param([0] + [1] * 499, 0.5, False, "nothing to compare", id="of 1"),
            pytest.param(
                [1] + [None] * 499, 0.5, False, "nothing to compare", id="of none"
            ),
            pytest.param([None] * 100, None, False, "not warm", id="not warm"),
            pytest.param(
                [None] * 400,
                None,
                True,
                "gives no scores",
                id="no rival",
            ),
        ],
    )
    def test_keeps_the_champion_where_nothing_can_be_compared(
        self, labels, champion, is_promoted, reason
    ):
        """A slice of one class, or of none, promotes nothing, nor do scores that are
        unknown; but where the champion gives none either, nothing serves."""
        training = train(joined(drawn(len(labels)), labels), ALONE)
        scores = None if champion is None else np.full(len(training.holdout), champion)
        verdict = compare(training, scores, version=2, seed=1)

        assert verdict.promoted == is_promoted
        assert reason in verdict.reason


class TestPage:
    @pytest.mark.parametrize("labels", ["all", "none", "one class"])
    @pytest.mark.parametrize("use_case", [SMALL, ALONE], ids=["classifier", "trees"])
    def test_says_what_it_is_about(self, use_case, labels):
        """Transactions and alerts, never users; a figure that is missing says why."""
        label = {"all": None, "none": [None] * 600, "one class": [0] * 600}[labels]
        rows = joined(drawn(600), label)
        training = train(rows, use_case)
        card = modelcard.card(
            use_case,
            training,
            compare(training, None, version=None, seed=1),
            version=0,
            rows=data.dataset(rows, use_case),
            data_until=None,
            as_of=START.date(),
            settle_days=7,
            chosen={},
            trained_at=START,
            bytes_billed=0,
        )
        page = training_page(json.loads(json.dumps(card, default=str)))
        assert ("Alerts of the baseline" in page) == (label is None)
        words = page[page.index("<main>") :].lower()

        assert "user" not in words
        assert "conver" not in words
        assert f"those that {use_case.outcome}" in words
        assert "transaction" in words
        assert "alert" in words
        assert ("could not be measured" in page) == (label is not None)
        assert "None" not in page
        assert "nan" not in words.replace("finance", "")

    @pytest.mark.parametrize(
        ("changed", "words"),
        [
            ({}, "save 90.10 of 130.15 (69.2%)"),
            (
                {"saved": -300.0, "saved_share": -30.0},
                "cost 300.00 more than they bring",
            ),
            ({"alert_threshold": 2.0, "saved": 0.0}, "so there are no alerts"),
        ],
        ids=["saved", "lost", "no alerts"],
    )
    def test_says_what_alerts_save_or_lose(self, changed, words):
        """In money and as a share, a loss as what it is."""
        card = {
            "use_case": "card_fraud",
            "quality": {"users": 9, "conversions": 2},
            "outcomes": {"known": 9},
            "cost": {
                "review_cost": 5.0,
                "alert_threshold": 0.5,
                "alerted": 2,
                "alerted_conversions": 1,
                "cost": 40.05,
                "cost_without": 130.15,
                "saved": 90.1,
                "saved_low": -20.0,
                "saved_high": 200.0,
                "saved_share": 90.1 / 130.15,
                "baseline_saved": 1.0,
                **changed,
            },
        }
        page = training_page(card)

        assert words in page
        assert "−20.00 to 200.00" in page
        assert "That rests on 2 events of label 1." in page
