"""
Training on events, specified: on transactions of which some are known to be fraud.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from msgspec.structs import replace

from propensity.errors import NotEnoughData
from tests.propensity.streaming.cards.fitted_cards import (
    ALONE,
    FOREST,
    LINEAR,
    joined,
    train,
    trained,
)
from tests.support.scored_cards import USE_CASE, drawn


class TestSplit:
    def test_the_split_is_by_time(self):
        """The newest fifth of the known is held out, a quarter of the rest chosen on;
        no row is in two parts, and what is newer than all truths changes nothing. Rows
        may come in any order."""
        cards = drawn(1_000)
        label = [None if n >= 500 else int(one) for n, one in enumerate(cards.is_fraud)]
        mixed = pa.array(np.random.default_rng(1).permutation(1_000))
        rows = joined(cards, label).take(mixed)
        parts = train(rows, ALONE, minimum_conversions=2).parts
        fitted, judged, held = (
            part["event_id"].to_pylist()
            for part in (parts.unlabelled[0], parts.choosing.rows, parts.holdout.rows)
        )

        assert [*fitted, *judged, *held] == cards.ids[:500]
        assert (len(judged), len(held)) == (100, 100)
        assert parts.outcomes == {
            "known": 500, "unknown": 0, "pending": 500, "conflicting": 0,
        }  # fmt: skip


class TestCandidates:
    def test_candidates_learn_from_truths_once_there_are_enough(self):
        """Then a classifier is tried beside the trees."""
        assert [one.candidate for one in trained().candidates] == [FOREST, LINEAR]
        assert trained().chosen == LINEAR
        assert trained().holdout.metrics.brier is not None

    def test_candidates_do_without_truths_before(self):
        """The trees alone, whose anomaly scores are read as no probability."""
        training = train(joined(drawn(1_000)), minimum_conversions=60)

        assert [one.candidate for one in training.candidates] == [FOREST]
        assert training.holdout.metrics.brier is None

    def test_candidates_that_need_truths_refuse_without(self):
        """A use case that names no trees can not begin unlabelled."""
        supervised = replace(USE_CASE, candidates=(LINEAR,))

        with pytest.raises(NotEnoughData, match="every candidate of card_fraud needs"):
            train(joined(drawn(300), [None] * 300), supervised)


class TestHoldout:
    def test_the_holdout_has_the_savings_of_a_threshold(self):
        """Other truths in the holdout change what alerts save, and not where they
        begin."""
        cards = drawn(1_000)
        labels = cards.is_fraud.astype(int)
        other = np.where(np.arange(1_000) >= 800, 1 - labels, labels)
        once = trained().holdout.savings
        again = train(joined(cards, other.tolist())).holdout.savings

        assert once.alert_threshold == again.alert_threshold
        assert once.saved != again.saved
        assert once.saved > trained().holdout.baseline_saved
