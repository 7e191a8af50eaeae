"""
Training on events, specified: on transactions of which some are known to be fraud.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from tests.propensity.streaming.cards.fitted_cards import (
    ALONE,
    joined,
    train,
    trained,
)
from tests.support.scored_cards import drawn


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
