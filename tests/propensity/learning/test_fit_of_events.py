"""
Training on events, specified: on transactions of which some are known to be fraud.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from propensity.errors import NotEnoughData, SchemaError
from propensity.learning import event_rows
from propensity.learning.trained import Trained
from propensity.models.half_space_trees import HalfSpaceTrees
from tests.propensity.learning.fitted_cards import (
    ALONE,
    FOREST,
    LINEAR,
    forest,
    joined,
    train,
    trained,
)
from tests.scored_cards import USE_CASE, drawn


class TestDataset:
    def test_is_in_the_order_of_time(self):
        """Whatever order rows come in; at one moment, by id."""
        cards = drawn(40)
        rows = joined(cards).take(pa.array(np.random.default_rng(1).permutation(40)))

        assert event_rows.dataset(rows, USE_CASE)["event_id"].to_pylist() == (cards.ids)

    @pytest.mark.parametrize("text", ['{"V1": "a"}', "no JSON", '{"V1": [1]}'])
    def test_refuses_other_features(self, text):
        """What another model was given is not guessed at."""
        with pytest.raises(SchemaError, match="inference_log holds"):
            event_rows.dataset(joined(drawn(2), features=[text, text]), USE_CASE)


class TestSplit:
    def test_is_by_time_and_of_what_is_known(self):
        """The newest fifth of the known is held out, a quarter of the rest chosen on;
        what is newer than all truths changes nothing of that."""
        cards = drawn(1_000)
        label = [None if n >= 500 else int(one) for n, one in enumerate(cards.is_fraud)]
        training = train(joined(cards, label), ALONE, minimum_conversions=2)

        parts = training.parts
        assert sizes(training) == (300, 100, 100)
        assert parts.holdout.rows["event_id"].to_pylist() == cards.ids[400:500]
        assert parts.outcomes == {
            "known": 500, "unknown": 0, "pending": 500, "conflicting": 0,
        }  # fmt: skip
        assert max(parts.split.train) <= min(parts.split.calibrate)
        assert max(parts.split.calibrate) <= min(parts.split.holdout)

    def test_holds_out_more_where_frauds_are_few(self):
        """Up to three tenths of the known."""
        cards = drawn(1_000, share=0)
        is_fraud = np.zeros(1_000, int)
        is_fraud[[100, 200, 300, 720, 730, 740, 760, 900]] = 1

        rows = joined(cards, is_fraud.tolist())

        assert len(train(rows, ALONE).parts.holdout) == 300
        assert len(train(rows, ALONE, minimum_conversions=2).parts.holdout) == 250

    def test_never_lets_a_row_into_two_parts(self):
        """Nor is one without a truth chosen on or held out."""
        label = np.random.default_rng(6).choice([None, 0, 1], 50)
        self.look_at_the_parts(label.tolist())

    def look_at_the_parts(self, label):
        cards = drawn(len(label))
        training = train(joined(cards, label), ALONE, minimum_conversions=2)
        fitted, judged, held = (
            set(part["event_id"].to_pylist())
            for part in (
                training.parts.unlabelled[0],
                training.parts.choosing.rows,
                training.parts.holdout.rows,
            )
        )

        assert len(fitted | judged | held) == len(fitted) + len(judged) + len(held)
        assert all(label[cards.ids.index(one)] is not None for one in judged | held)


class TestCandidates:
    def test_learn_from_truths_once_there_are_enough(self):
        """Then a classifier is tried beside the trees, and calibrated if it wins."""
        model = trained()

        assert [one.candidate.name for one in model.judged] == [
            "half_space_trees", "linear",
        ]  # fmt: skip
        assert model.chosen == LINEAR
        assert model.calibration in model.calibrations
        assert not model.is_anomaly

    @pytest.mark.parametrize(
        "changed",
        [{"minimum_conversions": 60}, {"minimum_training_rows": 601}],
        ids=str,
    )
    def test_do_without_truths_before(self, changed):
        """Too few frauds, or too few rows: the trees alone."""
        training = train(joined(drawn(1_000)), **changed)

        assert [one.candidate for one in training.judged] == [FOREST]

    def test_that_need_truths_refuse_without(self):
        """A use case that names no trees can not begin unlabelled."""
        supervised = replace(USE_CASE, candidates=(LINEAR,))

        with pytest.raises(NotEnoughData, match="no candidate of card_fraud"):
            train(joined(drawn(300), [None] * 300), supervised)

    def test_see_all_rows_in_order_where_they_are_trees(self):
        """Known or not: the masses are of the last window of what was fitted on."""
        cards = drawn(1_000)
        half = [None if n % 2 else int(one) for n, one in enumerate(cards.is_fraud)]
        training = train(joined(cards, half), ALONE, minimum_conversions=2)
        trees = training.served.classifier
        alone = HalfSpaceTrees(random_state=42, **FOREST.parameters)
        alone.fit(cards.features[: len(training.parts.unlabelled[1])])

        assert isinstance(trees, HalfSpaceTrees)
        assert trees.predict_proba(cards.features)[:, 1] == pytest.approx(
            alone.predict_proba(cards.features)[:, 1], abs=0
        )


class TestHoldout:
    def test_reads_no_anomaly_score_as_a_probability(self):
        assert forest().holdout.metrics.brier is None
        assert forest().holdout.curves["calibration"] == []
        assert trained().holdout.metrics.brier is not None

    def test_has_the_savings_of_a_threshold_of_earlier_rows(self):
        """Other truths in the holdout change what alerts save, and not where they
        begin."""
        cards = drawn(1_000)
        labels = cards.is_fraud.astype(int)
        other = np.where(np.arange(1_000) >= 800, 1 - labels, labels)
        once, again = (
            train(joined(cards, some.tolist())).holdout.savings
            for some in (labels, other)
        )

        assert once.alert_threshold == again.alert_threshold
        assert once.saved != again.saved
        assert once.saved > trained().holdout.baseline_saved

    @pytest.mark.parametrize("label", [None, 0, 1])
    def test_has_nothing_without_both_classes(self, label):
        """Nothing known, or one class: null, and no crash; the trees learn all rows."""
        training = train(joined(drawn(400), [label] * 400), ALONE)

        assert len(training.parts.unlabelled[1]) == 400
        assert training.holdout.metrics.roc_auc is None
        assert training.is_warm

    def test_has_nothing_below_a_window(self):
        """It is a version all the same, which says that it is not warm."""
        training = train(joined(drawn(100)), ALONE)

        assert not training.is_warm
        assert np.isnan(training.holdout.probability).all()
        assert training.holdout.metrics.roc_auc is None


def sizes(training: Trained) -> tuple[int, int, int]:
    """Rows to fit, to choose on and to hold out."""
    parts = training.parts
    return len(parts.unlabelled[0]), len(parts.choosing), len(parts.holdout)
