"""
What training learns from, specified: which rows are drawn, and that they are enough.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from propensity.errors import NotEnoughData
from propensity.learning import metrics
from propensity.learning.intervals import interval
from tests.propensity.learning.shops import (
    FIRST,
    SETTINGS,
    SHOP,
    drawn,
    propensity,
    snapshots,
    table,
    train,
)


class TestSampling:
    def test_does_not_resample_without_recalibrating(self):
        """The original balanced the classes and published the balanced model's
        probabilities. Here rows of label 0 that were left out are stood for by weights:
        the mean probability of all users is their base rate, to a tenth."""
        columns = drawn(8, 1_000, seed=7)
        chance = propensity(columns) / 3
        whole = table(columns, chance)
        kept = (columns["coin"] < chance) | (columns["user"] % 10 == 0)
        weight = np.where(columns["coin"] < chance, 1.0, 10.0)
        sampled = table(columns, chance, weight).filter(pa.array(kept))
        base_rate = np.mean(whole["label"].to_numpy())

        training = train(sampled)
        mean = training.served.scores(whole, SHOP).mean()

        assert np.mean(sampled["label"].to_numpy()) > 3 * base_rate
        assert mean == pytest.approx(base_rate, rel=0.1)
        assert training.parts.sampling == {0: pytest.approx(0.1), 1: 1.0}
        assert training.holdout.metrics.base_rate == pytest.approx(base_rate, rel=0.25)

    def test_widens_the_intervals(self):
        """Rows that were left out prove nothing: the holdout's intervals are those of
        the rows there are, and not of the users they stand for."""
        columns = drawn(4, 2_000, seed=11)
        chance = propensity(columns) / 3
        kept = (columns["coin"] < chance) | (columns["user"] % 25 == 0)
        weight = np.where(columns["coin"] < chance, 1.0, 25.0)
        rows = table(columns, chance, weight).filter(pa.array(kept))

        training = train(rows)
        held = training.holdout
        observed = held.rows.outcomes(held.probability)
        low, high = interval(observed, metrics.roc_auc, seed=SETTINGS.seed)

        width = held.metrics.roc_auc_high - held.metrics.roc_auc_low
        assert width > 1.2 * (high - low)


class TestNotEnoughData:
    def refused(self, rows: pa.Table, parameters: Any = None, **settings: Any) -> str:
        """The message of a training that is refused."""
        with pytest.raises(NotEnoughData) as refused:
            train(rows, parameters=parameters or {}, settings=settings)
        return refused.value.message

    @pytest.mark.parametrize("weeks", [1, 2])
    def test_says_how_many_snapshots_are_needed(self, weeks):
        """Train, calibrate and hold out need three; the message lists those there are
        and what each takes."""
        message = self.refused(snapshots(weeks, 100))

        assert "3 snapshots or more are needed" in message
        assert str(FIRST) in message
        assert "60 days before" in message

    def test_says_that_there_is_no_row(self):
        """Nobody's events are too little, not a crash: perhaps of another column."""
        message = self.refused(snapshots(3, 10).slice(0, 0))

        assert "no snapshot has a user" in message
        assert "PROPENSITY_USER_COLUMN" in message

    @pytest.mark.parametrize(
        ("name", "least"), [("training_rows", 1_000), ("conversions", 90)]
    )
    def test_says_how_many_are_needed(self, name, least):
        """The setting that asks for more rows, or more of label 1, and what to do."""
        message = self.refused(snapshots(4, 50), **{f"minimum_{name}": least})

        assert f"at least {least} are needed" in message
        assert ("users who buy" in message) == (name == "conversions")
        assert "Wait for more weeks" in message

    @pytest.mark.parametrize("label", [0, 1])
    def test_says_that_there_is_one_class(self, label):
        """Where nobody, or everybody, does: counts; and not that rows were too few,
        which they may be as well."""
        columns = drawn(4, 100, seed=8)
        rows = table(columns, np.full(400, float(label)))
        message = self.refused(rows, minimum_training_rows=10_000)

        assert "the 200 rows to train on lack one class: " in message
        assert f"{200 * label} are of users who buy (label 1)" in message
        assert "too few" not in message

    def test_names_the_label_event_only_where_there_is_one(self):
        """Nobody buys where the event is misspelt; whose label comes another way has no
        such setting."""
        nobody = table(drawn(4, 100, seed=8), np.zeros(400))
        event = "PROPENSITY_LABEL_EVENT"

        assert event in self.refused(nobody, {"label_event": "purchase"})
        assert event not in self.refused(nobody)
