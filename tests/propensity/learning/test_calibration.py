"""
Calibration, specified: how its method is chosen.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from sklearn.linear_model import LogisticRegression

from propensity.learning import calibration
from propensity.learning.data import Slice

USERS, WEEKS = 120, 10


def weeks_of_users() -> tuple[LogisticRegression, np.ndarray, Slice]:
    """Return a model, its input and rows: each user alike in every week, by chance."""
    random = np.random.default_rng(7)
    score = np.repeat(random.normal(size=USERS), WEEKS)
    label = np.repeat(random.integers(0, 2, USERS), WEEKS).astype(np.int8)
    users = np.repeat([f"user.{number}" for number in range(USERS)], WEEKS)
    model = LogisticRegression()
    model.classes_, model.n_features_in_ = np.array([0, 1]), 1
    model.coef_, model.intercept_ = np.ones((1, 1)), np.zeros(1)
    rows = pa.table({"user_id": users.tolist()})
    part = Slice(rows=rows, label=label, weight=np.ones(len(label)))
    return model, score[:, np.newaxis], part


class TestLosses:
    def test_keep_a_user_s_rows_on_one_side(self):
        """Labels by chance are learned by heart from a user's other weeks, and only
        then does the most flexible method seem better than none at all."""
        model, encoded, part = weeks_of_users()
        chance = float(np.log(2))

        crossed = calibration.out_of_sample(model, encoded, part, seed=1)
        losses = calibration.losses(crossed, part)

        assert set(losses) == set(calibration.CALIBRATIONS)
        assert losses["isotonic"] > 0.98 * chance
        assert losses["isotonic"] > losses["sigmoid"]


class TestCrossFitted:
    def test_knows_nothing_of_a_user_s_own_labels(self):
        """Other labels of one user change the probabilities of others only."""
        model, encoded, part = weeks_of_users()
        mine = np.array(part.rows["user_id"].to_pylist()) == "user.3"
        other = replace(part, label=np.where(mine, 1 - part.label, part.label))

        before = calibration.out_of_sample(model, encoded, part, seed=1)
        after = calibration.out_of_sample(model, encoded, other, seed=1)

        assert set(before) == set(calibration.CALIBRATIONS)
        for method in calibration.CALIBRATIONS[1:]:
            assert (after[method][mine] == before[method][mine]).all()
            assert (after[method][~mine] != before[method][~mine]).any()
        assert (after["none"] == before["none"]).all()


class TestAttached:
    @pytest.mark.parametrize("method", calibration.CALIBRATIONS)
    def test_is_the_calibration_of_the_model_s_own_scores(self, method):
        """Fitted on decisions alone and put behind the model, it gives what it gives
        when it is fitted with the model."""
        random = np.random.default_rng(3)
        encoded = random.normal(size=(800, 2))
        label = (random.random(800) < 1 / (1 + np.exp(-2 * encoded[:, 0]))).astype("i1")
        part = Slice(
            rows=pa.table({"user_id": [str(n) for n in range(800)]}),
            label=label,
            weight=np.ones(800),
        )
        model = LogisticRegression(C=0.01).fit(encoded, label)
        decision = model.decision_function(encoded)
        calibrated = calibration.attached(
            calibration.calibrator(method, decision, part), model
        )
        expected = calibration.calibrated(model, method, encoded, part)

        assert calibrated.predict_proba(encoded) == pytest.approx(
            expected.predict_proba(encoded), abs=1e-12
        )
        assert calibrated.n_features_in_ == 2
