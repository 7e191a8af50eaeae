"""
Training on users, specified: on a known propensity, in the order of time; which rows
are enough, and which preprocessors and candidates are refused.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from propensity.errors import NotEnoughData, SchemaError
from propensity.learning.candidates import (
    check_preprocessor,
)
from propensity.measures import metrics
from propensity.measures.metric_intervals import interval, of_rows
from propensity.registry.versions import pickled
from propensity.usecases import Candidate
from tests.propensity.learning.shops import (
    FOREST,
    LINEAR,
    MEAN,
    SHOP,
    changed,
    drawn,
    propensity,
    snapshots,
    table,
    train,
    trained,
)

OVERGROWN = Candidate("overgrown", "ExtraTreesClassifier", {"n_estimators": 20})


def own(**encoder: Any) -> ColumnTransformer:
    """A preprocessor of one's own: two numbers and the country."""
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    country = ("country", OneHotEncoder(**encoder), ["country"])
    return ColumnTransformer([("numbers", numbers, ["recency_days", "spend"]), country])


class TestModel:
    def test_a_model_comes_near_the_true_propensity(self):
        """Its ROC AUC is above recency alone, and within 0.05 of the truth's on the
        same rows: 8 weeks of 500 users leave five features no more to miss. The mean
        of candidates is the mean of their scores. A column without values is worth
        nothing, and noise next to nothing."""
        held = trained().holdout
        columns = {name: held.rows.rows[name].to_numpy() for name in SHOP.features}
        best = roc_auc_score(held.rows.label, propensity(columns))
        recency = roc_auc_score(held.rows.label, -columns["recency_days"])

        scores = {one.candidate.name: one.score for one in trained().candidates}
        each = [scores[name] for name in MEAN.parameters["of"]]

        importance = {one.feature: one.mean for one in held.importance}
        assert [*importance][0] == "recency_days"
        assert {*importance} == {*SHOP.features}
        assert importance["recency_days"] > 0.1
        assert abs(importance["noise"]) < 0.02
        assert importance["refunds"] == 0
        assert held.baseline_roc_auc == pytest.approx(recency)
        assert scores["mean"] == pytest.approx(np.mean(each, axis=0), abs=1e-15)
        assert max(best - 0.05, recency + 0.02) < held.metrics.roc_auc
        assert held.metrics.calibration_error < 0.05

    def test_a_model_is_the_same_for_the_same_seed(self):
        """The same rows and seed give the same model, bit for bit, however many fits
        are made at once; and rows may come in any order."""
        rows = snapshots(users=150)
        order = np.random.default_rng(0).permutation(len(rows))
        once = train(rows, candidates=SHOP.candidates)
        again = train(rows.take(order), candidates=SHOP.candidates, jobs=2)

        assert pickled(once.live.classifier) == pickled(again.live.classifier)
        assert np.array_equal(once.holdout.probability, again.holdout.probability)


def test_a_fit_learns_nothing_of_the_holdout():
    """Other labels and features in the holdout: the choice, and what is measured,
    are the same bytes. What serves has learned from the holdout."""
    rows = snapshots(users=150)
    before = train(rows)
    held = before.parts.split.holdout
    other = changed(rows, held, "label", lambda label: 1 - label)
    other = changed(other, held, "spend", lambda spend: spend * 1e6)
    other = changed(other, held, "country", lambda country: ["XX"] * len(country))
    after = train(other)

    assert pickled(after.measured) == pickled(before.measured)
    assert pickled(after.live) != pickled(before.live)
    assert after.chosen == before.chosen
    assert after.holdout.metrics.roc_auc != before.holdout.metrics.roc_auc


def test_a_fit_judges_candidates_by_models_of_older_rows():
    """Other labels of what is judged change no score."""
    rows = snapshots(users=150)
    two = (LINEAR, FOREST)
    before = train(rows, candidates=two)
    later = before.parts.split.calibrate
    other = changed(rows, later, "label", lambda label: 1 - label)
    after = train(other, candidates=two)

    for first, second in zip(before.candidates, after.candidates, strict=True):
        assert np.array_equal(first.score, second.score)
        assert first.metrics != second.metrics


class TestCandidates:
    def test_candidates_win_by_the_least_log_loss_on_newer_rows(self):
        """On their own training rows overgrown trees would win."""
        training = train(snapshots(users=200), candidates=(OVERGROWN, LINEAR))
        losses = [one.metrics["log_loss"] for one in training.candidates]

        assert losses[1] < losses[0]
        assert training.chosen == LINEAR


def test_a_sample_proves_no_more_than_its_rows():
    """Rows of label 0 that were left out are stood for by weights: the mean probability
    of all users is their base rate, to a tenth; intervals are as wide as of the rows
    there are."""
    columns = drawn(8, 1_000, seed=7)
    chance = propensity(columns) / 3
    is_positive = columns["coin"] < chance
    weight = np.where(is_positive, 1.0, 10.0)
    kept = pa.array(is_positive | (columns["user"] % 10 == 0))
    whole = table(columns, chance)
    training = train(table(columns, chance, weight).filter(kept))
    base_rate = np.mean(whole["label"].to_numpy())
    held = training.holdout
    judged = training.parts.choosing
    observed = held.rows.outcomes(held.probability)
    area = metrics.roc_auc(observed)
    low, high = interval(area, *of_rows(observed, metrics.roc_auc_slopes(observed)))

    assert training.live.scores(whole, SHOP.features).mean() == pytest.approx(
        base_rate, rel=0.1
    )
    before = np.average(training.candidates[0].score, weights=judged.weight)
    assert before == pytest.approx(base_rate, rel=0.3)
    assert [training.parts.every.row_weight(label) for label in (1, 0)] == [1, 10]
    assert held.metrics.base_rate == pytest.approx(base_rate, rel=0.25)
    assert held.metrics.roc_auc_high - held.metrics.roc_auc_low > 1.2 * (high - low)


def too_few(rows: pa.Table, parameters: Any = None, **settings: Any) -> str:
    """The message of a training that is refused."""
    with pytest.raises(NotEnoughData) as refused:
        train(rows, parameters=parameters or {}, settings=settings)
    return refused.value.message


def test_a_training_that_lacks_snapshots_rows_or_conversions_counts_them():
    """Of 300 users a date with five rows each, which weigh a fifth, no more convert
    than of 300 with one row each."""
    rows = snapshots(5, 300)
    fifths = pa.array(np.full(len(rows), 0.2))
    index = rows.column_names.index("weight")
    moments = pa.concat_tables([rows.set_column(index, "weight", fifths)] * 5)

    assert "3 are needed, to train, to choose and to test" in too_few(snapshots(2))
    assert "PROPENSITY_USER_COLUMN" in too_few(snapshots(2).slice(0, 0))
    assert "900 rows to train" in too_few(rows, minimum_training_rows=901)
    message = too_few(moments, minimum_conversions=90)
    assert re.search(" of the 1500 rows to choose on .* 90 are", message)


class TestPreprocessor:
    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            (StandardScaler(), "ColumnTransformer"),
            (own(), "handle_unknown"),
            (
                ColumnTransformer(
                    [("x", SimpleImputer(), ["spend"])], remainder="passthrough"
                ),
                "encode every category",
            ),
        ],
    )
    def test_a_preprocessor_is_refused_at_the_upload(self, wrong, message):
        with pytest.raises(SchemaError, match=message):
            check_preprocessor(wrong, SHOP.features)
