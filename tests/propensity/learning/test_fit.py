"""
Training, specified: on users with a known propensity, in the order of time.

``snapshots`` draws labelled rows of a shop whose every user's true propensity is known
from three features; ``trained`` trains on them. Candidates are small: what is looked at
is which rows decide what, not how far a forest gets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.metrics import precision_recall_fscore_support, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from propensity.errors import NotEnoughData, SchemaError, UseCaseError
from propensity.learning import (
    bootstrap,
    calibration,
    candidates,
    data,
    fit,
    gate,
    importance,
    metrics,
    thresholds,
)
from propensity.learning.fit import Trained
from propensity.learning.gate import Verdict
from propensity.learning.preprocessor import (
    check_preprocessor,
    default_preprocessor,
    frame,
    transformed,
)
from propensity.models.scoring import MeanOfModels, Scorer
from propensity.registry.versions import pickled
from propensity.settings import Settings
from propensity.timeframe import Timeframe
from propensity.usecases import Baseline, Candidate, UseCase

WEEK = Timeframe(lookback_days=60, horizon_days=7, settle_days=3)
SETTINGS = Settings(project="p", minimum_training_rows=100, minimum_conversions=10)
FIRST = date(2026, 1, 1)

LINEAR = Candidate("linear", "LogisticRegression", {"C": 1.0, "max_iter": 500})
BOOSTED = Candidate(
    "boosted",
    "HistGradientBoostingClassifier",
    {"max_iter": 15, "early_stopping": False, "min_samples_leaf": 40},
)
FOREST = Candidate(
    "forest", "RandomForestClassifier", {"n_estimators": 12, "min_samples_leaf": 20}
)
MEAN = Candidate("mean", "MeanOfModels", {"of": ["linear", "boosted", "forest"]})

SHOP = UseCase(
    name="shop",
    title="Purchase",
    outcome="buy",
    entity="user_id",
    lookback_days=60,
    horizon_days=7,
    threshold=0.5,
    parameters={},
    features={
        "recency_days": "number",
        "spend": "number",
        "noise": "number",
        "refunds": "number",
        "country": "category",
    },
    baseline=Baseline(feature="recency_days", ascending=True),
    candidates=(LINEAR, BOOSTED, FOREST, MEAN),
)

Columns = dict[str, np.ndarray]


def propensity(columns: Columns) -> np.ndarray:
    """The true propensity of each row; about 0.2 on average."""
    spend = np.nan_to_num(columns["spend"], nan=10.0)
    odds = (
        0.2
        - 0.08 * columns["recency_days"]
        + 0.6 * np.arcsinh(spend - 10)
        + 0.7 * (columns["country"] == "DE")
    )
    return 1 / (1 + np.exp(-odds))


def drawn(weeks: int, users: int, *, seed: int) -> Columns:
    """Features of the same users in each week, and how the coin falls for each."""
    random = np.random.default_rng(seed)
    count = weeks * users
    spend = random.gamma(4, 2.5, count)
    spend[random.random(count) < 0.1] = np.nan
    return {
        "week": np.repeat(np.arange(weeks), users),
        "user": np.tile(np.arange(users), weeks),
        "recency_days": random.integers(0, 60, count).astype(float),
        "spend": spend,
        "noise": random.normal(size=count),
        "refunds": np.full(count, np.nan),
        "country": random.choice(["DE", "FR", "UK"], count),
        "coin": random.random(count),
    }


def table(columns: Columns, chance: np.ndarray, weight: Any = 1.0) -> pa.Table:
    """Rows as training reads them, each converting if its coin falls below chance."""
    dates = [FIRST + timedelta(weeks=int(week)) for week in columns["week"]]
    rows = {
        "as_of": pa.array(dates, pa.date32()),
        "user_id": pa.array([f"u{user}" for user in columns["user"]]),
        **{name: pa.array(columns[name], from_pandas=True) for name in SHOP.features},
        "label": pa.array((columns["coin"] < chance).astype(np.int64)),
        "weight": pa.array(np.broadcast_to(weight, chance.shape).astype(float)),
    }
    return pa.table(rows)


@cache
def snapshots(weeks: int = 8, users: int = 300, *, seed: int = 1) -> pa.Table:
    """Labelled rows of some weeks."""
    columns = drawn(weeks, users, seed=seed)
    return table(columns, propensity(columns))


def train(rows: pa.Table, **changed: Any) -> Trained:
    """Train one candidate with the settings of this file, or with other of both."""
    preprocessor = changed.pop("preprocessor", None)
    pools = changed.pop("pools", None)
    settings = replace(SETTINGS, **changed.pop("settings", {}))
    use_case = replace(SHOP, **{"candidates": (LINEAR,), **changed})
    return fit.train(
        data.of_users(rows, use_case, WEEK, settings=settings),
        use_case,
        preprocessor=preprocessor,
        settings=settings,
        pools=pools,
    )


@cache
def trained() -> Trained:
    """The model of the plain snapshots; many tests look at it, none changes it."""
    return train(snapshots(users=500), candidates=SHOP.candidates)


@cache
def small() -> Trained:
    """A linear model of fewer users, for others to be compared with."""
    return train(snapshots(users=150))


@cache
def rare() -> Trained:
    """A model of a shop where one week has too few conversions to hold out."""
    columns = drawn(12, 200, seed=3)
    settings = {"minimum_conversions": 15, "budget": "10"}
    return train(table(columns, propensity(columns) / 4), settings=settings)


def changed(
    rows: pa.Table, as_ofs: tuple[date, ...], name: str, new: Callable[[Any], Any]
) -> pa.Table:
    """The rows with a column of some as-of dates replaced by what ``new`` makes."""
    inside = pc.is_in(rows["as_of"], value_set=pa.array(as_ofs, pa.date32()))
    column = rows[name].combine_chunks()
    other = pa.array(new(column.to_numpy(zero_copy_only=False)), column.type)
    place = rows.column_names.index(name)
    return rows.set_column(place, name, pc.if_else(inside, other, column))


def part(rows: pa.Table, as_ofs: tuple[date, ...]) -> pa.Table:
    """The rows of some as-of dates."""
    return rows.filter(
        pc.is_in(rows["as_of"], value_set=pa.array(as_ofs, pa.date32()))
    ).sort_by([("as_of", "ascending"), ("user_id", "ascending")])


def own(**encoder: Any) -> ColumnTransformer:
    """A preprocessor of one's own: two numbers and the country."""
    return ColumnTransformer(
        [
            (
                "numbers",
                make_pipeline(SimpleImputer(), StandardScaler()),
                ["recency_days", "spend"],
            ),
            ("country", OneHotEncoder(**encoder), ["country"]),
        ]
    )


class TestModel:
    def test_beats_the_base_rate_and_the_one_rule(self):
        """Its log loss is below that of the base rate for everybody, its ROC AUC above
        recency alone."""
        found = trained().quality
        rate = found["base_rate"]
        guess = -(rate * np.log(rate) + (1 - rate) * np.log(1 - rate))

        assert found["log_loss"] < guess
        assert found["roc_auc"] > trained().baselines["recency_days alone"] + 0.02

    def test_comes_near_the_true_propensity(self):
        """Its ROC AUC is within 0.05 of the truth's on the same rows: 8 weeks of 500
        users leave a model of five features no more to miss."""
        holdout = trained().holdout
        columns = {name: holdout.rows[name].to_numpy() for name in SHOP.features}
        best = roc_auc_score(holdout.label, propensity(columns))

        assert trained().quality["roc_auc"] > best - 0.05

    def test_is_calibrated(self):
        """On a week of 500 users the calibration error is chance: it does not exceed
        0.05, three times what true probabilities show, and its interval holds 0."""
        assert trained().quality["calibration_error"] < 0.05
        assert trained().quality["calibration_error_low"] == 0

    @pytest.mark.parametrize(
        "candidate",
        [
            *(pytest.param(one, marks=pytest.mark.long) for one in (LINEAR, BOOSTED)),
            FOREST,
        ],
        ids=lambda one: one.name,
    )
    def test_is_the_same_for_the_same_seed(self, candidate):
        """The same rows and seed give the same probabilities, bit for bit, and scoring
        the same rows again does so, too."""
        rows = snapshots(users=150)
        once, twice = (train(rows, candidates=(candidate,)) for _ in range(2))
        scorer = Scorer.compile(*once.measured, features=dict(SHOP.features))

        assert once.probability.tobytes() == twice.probability.tobytes()
        assert pickled(once.model) == pickled(twice.model)
        for _ in range(5):
            again = fit.scores(scorer, once.holdout.rows)
            assert again.tobytes() == once.probability.tobytes()

    def test_does_not_depend_on_the_order_of_rows(self):
        """BigQuery returns rows in any order: the model is the same."""
        rows = snapshots(users=150)
        order = np.random.default_rng(0).permutation(len(rows))

        shuffled = train(rows.take(order))

        assert pickled(shuffled.model) == pickled(small().model)

    def test_trains_where_a_feature_has_no_value(self):
        """A shop without refunds has a column of nulls, and a model none the less."""
        assert trained().holdout.rows["refunds"].null_count == len(trained().holdout)
        assert np.isfinite(trained().probability).all()

    def test_mean_of_models_is_the_mean_of_their_probabilities(self):
        """The average candidate costs no fit: it is its members' mean, exactly."""
        tried = {one.candidate.name: one.model for one in trained().candidates}
        rows = frame(trained().holdout.rows, dict(SHOP.features))
        encoded = trained().choice.encoder.transform(rows)
        each = [tried[name].predict_proba(encoded) for name in MEAN.parameters["of"]]

        assert isinstance(tried["mean"], MeanOfModels)
        assert np.allclose(
            tried["mean"].predict_proba(encoded), np.mean(each, axis=0), atol=1e-15
        )


class TestTime:
    def test_holds_out_the_newest_snapshot(self):
        """The figures are of the newest week, which nothing else has seen."""
        as_ofs = sorted(set(snapshots()["as_of"].to_pylist()))

        assert trained().split.holdout == (as_ofs[-1],)
        assert set(trained().holdout.rows["as_of"].to_pylist()) == {as_ofs[-1]}
        assert trained().quality["users"] == len(trained().holdout) == 500

    def test_holds_out_more_where_conversions_are_few(self):
        """Where one week has too few conversions, up to a quarter of them is held."""
        assert 1 < len(rare().split.holdout) <= 3

    @pytest.mark.parametrize(
        "candidate",
        [LINEAR, pytest.param(FOREST, marks=pytest.mark.long)],
        ids=lambda one: one.name,
    )
    def test_lets_nothing_of_the_holdout_into_the_model(self, candidate):
        """Other labels and features in the holdout: choice, calibration, and what is
        measured are the same bytes. What serves has learned from the holdout."""
        rows = snapshots(users=150)
        before = train(rows, candidates=(candidate,))
        held = before.split.holdout
        other = changed(rows, held, "label", lambda label: 1 - label)
        other = changed(other, held, "spend", lambda spend: spend * 1e6)
        other = changed(other, held, "country", lambda country: ["XX"] * len(country))
        after = train(other, candidates=(candidate,))

        assert pickled(after.measured) == pickled(before.measured)
        assert pickled(after.model) != pickled(before.model)
        assert after.calibrations == before.calibrations
        assert after.best_threshold == before.best_threshold
        assert after.choice.picked == before.choice.picked
        assert after.quality["roc_auc"] != before.quality["roc_auc"]

    def test_lets_nothing_of_the_calibration_slice_into_the_fit(self):
        """Other labels and features in the later slice: candidates are the same bytes;
        only which of them is chosen, and how it is calibrated, may change."""
        rows, two = snapshots(users=150), (LINEAR, FOREST)
        before = train(rows, candidates=two)
        later = before.split.calibrate
        other = changed(rows, later, "label", lambda label: 1 - label)
        other = changed(other, later, "spend", lambda spend: spend * 1e6)
        after = train(other, candidates=two)

        for one, two in zip(before.candidates, after.candidates, strict=True):
            assert pickled(one.model) == pickled(two.model)
            assert one.figures != two.figures
        assert pickled(after.choice.encoder) == pickled(before.choice.encoder)

    def test_does_not_fit_the_preprocessor_before_the_split(self):
        """The original fitted it on all rows. Here what only later rows have is
        unknown to it: their categories, and their part in means and medians."""
        rows, split = snapshots(users=150), small().split
        later = split.calibrate + split.holdout
        other = changed(rows, later, "spend", lambda spend: spend + 1e9)
        other = changed(other, later, "country", lambda country: ["XX"] * len(country))

        found = train(other).choice.encoder

        numbers, categories = found.named_transformers_.values()
        known = part(rows, split.train)
        spend = known["spend"].to_numpy()
        assert categories[-1].categories_[0].tolist() == ["DE", "FR", "UK"]
        assert numbers[0].statistics_[1] == pytest.approx(np.nanmedian(spend))
        assert numbers[-1].n_samples_seen_ == len(known)

    def test_counts_an_unseen_category_among_the_rare(self):
        """A country of which the training rows have none encodes like a rare one, or
        to nothing, and never fails."""
        rows = snapshots(users=150)
        other = changed(
            rows,
            small().split.holdout,
            "country",
            lambda country: ["XX"] * len(country),
        )

        assert np.isfinite(train(other).probability).all()


class TestCandidates:
    def test_are_chosen_on_the_later_slice(self):
        """Figures are those of the later slice, and the least log loss there wins; on
        their own training rows overgrown trees would."""
        overgrown = Candidate("overgrown", "ExtraTreesClassifier", {"n_estimators": 20})
        rows = snapshots(users=200)
        found = train(rows, candidates=(overgrown, LINEAR))
        features = dict(SHOP.features)

        def area(model: Any, as_ofs: tuple[date, ...]) -> float:
            seen = part(rows, as_ofs)
            encoded = found.choice.encoder.transform(frame(seen, features))
            label = seen["label"].to_numpy()
            return roc_auc_score(label, model.predict_proba(encoded)[:, 1])

        first, second = (one.model for one in found.candidates)
        assert area(first, found.split.train) > area(second, found.split.train)
        for one in found.candidates:
            assert one.figures["roc_auc"] == pytest.approx(
                area(one.model, found.split.calibrate)
            )
        assert found.chosen == LINEAR

    @pytest.mark.parametrize(
        ("candidate", "message"),
        [
            (Candidate("x", "DeepThought"), "unknown algorithm 'DeepThought'"),
            (Candidate("x", "LogisticRegression", {"trees": 3}), "x: .*trees"),
            (Candidate("x", "LogisticRegression", {"C": -1}), "x cannot be fitted"),
            (Candidate("x", "MeanOfModels", {"of": ["nobody"]}), "nobody"),
            (Candidate("x", "MeanOfModels"), "mean of none"),
            (Candidate("x", "MeanOfModels", {"of": ["linear"], "by": 1}), "by"),
        ],
    )
    def test_that_cannot_be_are_refused_by_name(self, candidate, message):
        """An unknown algorithm, parameter or member is a mistake of usecase.toml."""
        with pytest.raises(UseCaseError, match=message):
            train(snapshots(users=80), candidates=(LINEAR, candidate))

    def test_may_fix_their_own_random_state(self):
        """A parameter in usecase.toml comes before the deployment's seed."""
        own_seed = replace(FOREST, parameters={**FOREST.parameters, "random_state": 7})

        assert candidates.estimator(own_seed, {}, seed=1).random_state == 7
        assert candidates.estimator(FOREST, {}, seed=1).random_state == 1


class TestCalibration:
    def test_is_none_where_the_model_is_calibrated(self):
        """Logistic regression on a logistic truth needs none, and gets none: methods
        are compared by folds of users, so that flexibility does not win by itself."""
        found = train(snapshots(10, 500, seed=4))

        assert set(found.calibrations) == set(calibration.CALIBRATIONS)
        assert found.calibration == "none"

    def test_is_another_where_the_model_is_not(self):
        """Overgrown trees are too sure of themselves: the calibration learns it from
        the later slice, and probabilities are right on the holdout."""
        overgrown = Candidate("overgrown", "ExtraTreesClassifier", {"n_estimators": 20})
        found = train(snapshots(10, 400, seed=5), candidates=(overgrown,))

        assert found.calibration != "none"
        assert found.calibrations[found.calibration] < found.calibrations["none"]
        assert found.quality["mean_probability"] == pytest.approx(
            found.quality["base_rate"], rel=0.25
        )

    @pytest.mark.parametrize("weeks", [20, 27])
    def test_does_not_take_a_level_that_is_past(self, weeks):
        """Some weeks ago twice as many bought. What a calibration would learn there is
        wrong in the blocks after, which decide."""
        columns = drawn(weeks, 200, seed=5)
        is_past = (columns["week"] > weeks - 14) & (columns["week"] < weeks - 9)
        chance = propensity(columns) * np.where(is_past, 1.0, 0.5)
        found = train(table(columns, chance))

        assert len(found.blocks) > 1
        assert found.calibrations["none"] == min(found.calibrations.values())
        assert found.calibration == "none"

    def test_is_none_where_only_one_user_converts(self):
        """A fold without conversions can fit no calibration; the model stays as it is,
        and the run does not fail."""
        columns = drawn(3, 400, seed=6)
        chance = np.where(columns["week"] == 1, 0.0, propensity(columns))
        rows = table(columns, chance)
        split = ((FIRST + timedelta(weeks=1)),)
        rows = changed(
            rows, split, "label", lambda label: (columns["user"] == 5).astype(int)
        )

        found = train(rows, settings={"minimum_conversions": 1})

        assert found.calibration == "none"
        assert list(found.calibrations) == ["none"]

    def test_bends_no_forest_the_wrong_way(self):
        """A forest has no decision function; its log-odds are what is calibrated, and
        probabilities keep their order."""
        rows = snapshots(users=200)
        found = train(rows, candidates=(FOREST,))
        choosing = data.slice_of(rows, found.split.calibrate)
        encoded = transformed(found.preprocessor, choosing.rows, dict(SHOP.features))
        (one,) = found.candidates
        raw = one.model.predict_proba(encoded)[:, 1]

        for method in ("sigmoid", "temperature"):
            model = calibration.calibrated(one.model, method, encoded, choosing)
            bent = model.predict_proba(encoded)[:, 1]
            assert np.all(np.diff(bent[np.argsort(raw, kind="stable")]) >= -1e-12)


class TestThreshold:
    def test_is_measured_on_rows_that_did_not_choose_it(self):
        """Precision, recall and F1 of the holdout at it are scikit-learn's; F1 is not
        far from the best that one could choose in hindsight."""
        found, label = trained(), trained().holdout.label
        best = found.quality["best_threshold"]
        called = found.probability >= best
        precision, recall, f1, _ = precision_recall_fscore_support(
            label, called, average="binary"
        )
        in_hindsight = max(
            precision_recall_fscore_support(
                label, found.probability >= one, average="binary"
            )[2]
            for one in np.unique(found.probability)[::5]
        )

        assert found.quality["best_threshold_source"] == "training"
        assert [
            found.quality[f"{name}_at_best"] for name in ("precision", "recall", "f1")
        ] == pytest.approx([precision, recall, f1])
        assert found.quality["users_at_best"] == called.sum()
        assert 0.85 * in_hindsight < f1 <= in_hindsight + 0.01

    def test_is_the_best_on_the_blocks(self):
        """By the probabilities, out of time, that chose the recipe."""
        found = trained()
        choice = found.choice

        assert found.best_threshold == thresholds.best_threshold(
            metrics.outcomes(choice.probability, choice.rows.label)
        )

    @pytest.mark.parametrize(
        ("budget", "users"), [("", 20), ("5%", 10), ("80", 80), ("100000", 200)]
    )
    def test_comes_with_a_budget(self, budget, users):
        """Of the setting, or the use case's tenth; precision and recall are those of
        so many with the highest probabilities."""
        found = train(snapshots(users=200), settings={"budget": budget})
        quality, label = found.quality, found.holdout.label
        best = np.argsort(-found.probability, kind="stable")[:users]

        assert quality["budget"] == (budget or "10%")
        assert quality["users_at_budget"] == pytest.approx(users)
        # Without ties, as a linear model has hardly any.
        hits = label[best].sum()
        assert quality["true_positives_at_budget"] == pytest.approx(hits, abs=1)
        assert quality["recall_at_budget"] == pytest.approx(
            quality["true_positives_at_budget"] / label.sum()
        )

    def test_comes_with_a_budget_for_each_week_held_out(self):
        """Ten a week are twenty of two weeks."""
        weeks = len(rare().split.holdout)

        assert weeks > 1
        assert rare().quality["users_at_budget"] == 10 * weeks


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

        found = train(sampled)
        scorer = Scorer.compile(
            found.preprocessor, found.model, features=dict(SHOP.features)
        )
        mean = fit.scores(scorer, whole).mean()

        assert np.mean(sampled["label"].to_numpy()) > 3 * base_rate
        assert mean == pytest.approx(base_rate, rel=0.1)
        assert found.sampling == {0: pytest.approx(0.1), 1: 1.0}
        assert found.train_base_rate == pytest.approx(base_rate, rel=0.1)
        assert found.quality["base_rate"] == pytest.approx(base_rate, rel=0.25)

    def test_widens_the_intervals(self):
        """Rows that were left out prove nothing: the holdout's intervals are those of
        the rows there are, and not of the users they stand for."""
        columns = drawn(4, 1_000, seed=11)
        chance = propensity(columns) / 3
        kept = (columns["coin"] < chance) | (columns["user"] % 25 == 0)
        weight = np.where(columns["coin"] < chance, 1.0, 25.0)
        rows = table(columns, chance, weight).filter(pa.array(kept))

        found = train(rows)
        as_if_all = bootstrap.quality(
            metrics.outcomes(
                found.probability, found.holdout.label, weight=found.holdout.weight
            ),
            threshold=0.5,
            seed=SETTINGS.seed,
        )

        def width(quality: Any) -> float:
            return quality["roc_auc_high"] - quality["roc_auc_low"]

        assert found.quality["roc_auc"] == as_if_all["roc_auc"]
        assert width(found.quality) > 1.2 * width(as_if_all)

    def test_of_nothing_is_a_rate_of_one(self):
        """Where all rows were read the rate says so."""
        assert trained().sampling == {0: 1.0, 1: 1.0}


class TestNotEnoughData:
    def refused(self, rows: pa.Table, **settings: Any) -> str:
        """The message of a training that is refused."""
        with pytest.raises(NotEnoughData) as refused:
            train(rows, settings=settings)
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
        """An empty source is too little, not a crash."""
        assert "no day at all" in self.refused(snapshots(3, 10).slice(0, 0))

    def test_says_how_many_rows_are_needed(self):
        """The setting that asks for more is named, and what to do."""
        message = self.refused(snapshots(4, 50), minimum_training_rows=1_000)

        assert "PROPENSITY_MINIMUM_TRAINING_ROWS is 1000" in message
        assert "Wait for more weeks" in message

    @pytest.mark.parametrize("label", [0, 1])
    def test_says_that_there_is_one_class(self, label):
        """Where nobody, or everybody, does: the class that is missing, and counts; and
        not that rows were too few, which they may be as well."""
        columns = drawn(4, 100, seed=8)
        rows = table(columns, np.full(400, float(label)))
        message = self.refused(rows, minimum_training_rows=10_000)
        counts = f"{200 * label} of label 1, {200 - 200 * label} of label 0, of 200"

        assert f"lack one class, label {1 - label}" in message
        assert ("all are" if label else "none is") + " of users who buy" in message
        assert counts in message
        assert "too few" not in message

    def test_names_the_label_event_only_where_there_is_one(self):
        """Nobody buys where the event is misspelt; whose label comes another way has no
        such setting, and it is no cause where nobody does not buy."""
        columns = drawn(4, 100, seed=8)

        def message(label: float, **parameters: str) -> str:
            with pytest.raises(NotEnoughData) as refused:
                train(table(columns, np.full(400, label)), parameters=parameters)
            return refused.value.message

        event = "PROPENSITY_LABEL_EVENT"
        assert event in message(0.0, label_event="purchase")
        assert event not in message(1.0, label_event="purchase")
        assert event not in message(0.0)
        with pytest.raises(NotEnoughData) as refused:
            train(snapshots(4, 100), settings={"minimum_conversions": 90})
        assert event not in refused.value.message

    def test_says_that_rows_are_a_sample(self):
        """A class that has no row among those that were read may have some."""
        columns = drawn(4, 100, seed=8)
        message = self.refused(table(columns, np.zeros(400), weight=50.0))

        assert "PROPENSITY_MAXIMUM_TRAINING_ROWS" in message

    def test_says_which_part_has_one_class(self):
        """A holdout of users who do not buy could measure nothing."""
        columns = drawn(4, 100, seed=9)
        chance = np.where(columns["week"] == 3, 0.0, propensity(columns))
        message = self.refused(table(columns, chance))

        assert "the rows to hold out (2026-01-22) lack one class, label 1" in message
        assert "0 of label 1, 100 of label 0" in message

    def test_says_how_many_conversions_are_needed(self):
        """Few of label 1 decide nothing: the setting is named, and what to do."""
        message = self.refused(snapshots(4, 100), minimum_conversions=90)

        assert "PROPENSITY_MINIMUM_CONVERSIONS is 90" in message
        assert "users who buy" in message
        assert "Wait for more weeks" in message


class TestPreprocessor:
    def test_of_one_s_own_is_cloned(self):
        """What was uploaded stays unfitted; a clone is fitted and kept."""
        given = own(handle_unknown="ignore")
        found = train(snapshots(users=100), preprocessor=given)

        assert not hasattr(given, "transformers_")
        assert found.preprocessor.feature_names_in_.tolist() == list(SHOP.features)
        assert found.model is not None

    def test_of_one_s_own_may_give_sparse_columns(self):
        """One-hot columns of many values are sparse by default; every candidate reads
        them all the same."""
        columns = drawn(5, 200, seed=10)
        columns["country"] = np.array([f"c{user % 40}" for user in columns["user"]])
        sparse = ColumnTransformer(
            [("country", OneHotEncoder(handle_unknown="ignore"), ["country"])]
        )

        rows = table(columns, np.full(1_000, 0.3))
        found = train(rows, preprocessor=sparse, candidates=SHOP.candidates)

        assert len(found.candidates) == 4

    @pytest.mark.parametrize(
        "wrong",
        [
            ColumnTransformer([("x", StandardScaler(), ["no_such_feature"])]),
            ColumnTransformer([("x", StandardScaler(), ["country"])]),
            RandomForestClassifier(),
            "a preprocessor",
        ],
        ids=["unknown", "text", "classifier", "string"],
    )
    def test_that_does_not_fit_is_refused(self, wrong):
        """Another schema, or no preprocessor at all, stops training."""
        with pytest.raises(SchemaError, match="preprocessor"):
            train(snapshots(users=50), preprocessor=wrong)

    def test_that_fails_on_later_rows_is_refused(self):
        """Encoders refuse new categories by default; next week has some, so training
        says what to change."""
        rows = snapshots(users=100)
        later = train(rows).split.calibrate
        other = changed(rows, later, "country", lambda country: ["XX"] * len(country))

        with pytest.raises(SchemaError, match="handle_unknown"):
            train(other, preprocessor=own())

    def test_that_leaves_gaps_is_told_by_the_candidate(self):
        """A preprocessor may leave gaps to trees; a candidate that reads none says so
        by its name."""
        gaps = ColumnTransformer([("spend", "passthrough", ["spend"])])
        rows = snapshots(users=100)

        assert train(rows, preprocessor=gaps, candidates=(BOOSTED,)).model is not None
        with pytest.raises(UseCaseError, match="linear cannot be fitted: .*NaN"):
            train(rows, preprocessor=gaps)

    def test_is_the_use_case_s_default_without_one(self):
        """It reads each feature, and gives numbers only."""
        found = trained().preprocessor

        assert found.feature_names_in_.tolist() == list(SHOP.features)


class TestCheckPreprocessor:
    def test_accepts_the_default_and_one_s_own(self):
        """What training would accept is accepted at the upload."""
        check_preprocessor(default_preprocessor(SHOP), SHOP)
        check_preprocessor(own(handle_unknown="ignore"), SHOP)

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
            (ColumnTransformer([("x", StandardScaler(), ["gone"])]), "gone"),
            (ColumnTransformer([("x", "drop", ["spend"])]), "a column or more"),
        ],
        ids=["other", "unseen", "text", "unknown", "nothing"],
    )
    def test_refuses_what_training_would_stumble_on(self, wrong, message):
        """The upload fails, and not the training of the next month."""
        with pytest.raises(SchemaError, match=message):
            check_preprocessor(wrong, SHOP)

    def test_leaves_the_preprocessor_unfitted(self):
        """Checking fits a clone."""
        given = own(handle_unknown="ignore")
        check_preprocessor(given, SHOP)

        assert not hasattr(given, "transformers_")


class TestImportance:
    def test_ranks_features_by_what_they_tell(self):
        """The features behind the propensity come before noise; a column without
        values is worth exactly nothing."""
        found = {entry["feature"]: entry["mean"] for entry in trained().importance}

        assert list(found)[0] == "recency_days"
        assert set(found) == set(SHOP.features)
        assert found["recency_days"] > 0.1
        assert abs(found["noise"]) < 0.02
        assert found["refunds"] == 0

    def test_is_sorted_by_the_fall(self):
        """The greatest fall of ROC AUC comes first."""
        means = [entry["mean"] for entry in trained().importance]

        assert means == sorted(means, reverse=True)


class TestBaseline:
    def test_ranks_by_the_feature_alone(self):
        """Recent users first: the ROC AUC is that of the negative recency."""
        holdout = trained().holdout
        area = roc_auc_score(holdout.label, -holdout.rows["recency_days"].to_numpy())

        assert trained().baselines == {"recency_days alone": pytest.approx(area)}

    def test_puts_missing_values_last(self):
        """Users of whom the feature says nothing come behind all others."""
        baseline = Baseline(feature="spend", ascending=False)
        found = train(snapshots(users=100), baseline=baseline)
        spend = np.nan_to_num(found.holdout.rows["spend"].to_numpy(), nan=-1.0)

        assert found.baselines["spend alone"] == pytest.approx(
            roc_auc_score(found.holdout.label, spend)
        )


class TestCompare:
    """``against`` compares the plain model with a champion's probabilities."""

    def against(self, champion: Any, version: int | None = 3) -> Verdict:
        return gate.compare(trained(), champion, version=version, seed=0)

    def distorted(self, sd: float) -> np.ndarray:
        """The challenger's probabilities, their log-odds spoilt by noise."""
        p = np.clip(trained().probability, 1e-6, 1 - 1e-6)
        noise = np.random.default_rng(2).normal(0, sd, len(p))
        return 1 / (1 + np.exp(-np.log(p / (1 - p)) - noise))

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
        found = train(table(columns, np.full(2_400, 0.2)))
        verdict = gate.compare(found, None, version=None, seed=0)

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
        score = np.linspace(0.3, 0.7, 60)
        score[label == 1] += 0.02
        part = data.slice_of(trained().holdout.rows, trained().split.holdout)
        rows = part.rows.slice(0, 60)
        small = data.Slice(rows=rows, label=label, weight=np.ones(60))
        found = replace(
            trained(),
            holdout=small,
            probability=score,
            baseline_score=np.zeros(60),
        )
        seen = metrics.outcomes(score, label)
        verdict = gate.compare(found, None, version=None, seed=0)

        assert (metrics.roc_auc(seen) or 0) > 0.5
        assert not verdict.promoted

    def test_promotes_over_a_champion_that_cannot_score(self):
        """A champion of other features, or lost, cannot serve either."""
        verdict = self.against(None)

        assert verdict.promoted
        assert verdict.compared_version == 3
        assert "cannot score" in verdict.reason

    def test_promotes_what_is_clearly_better(self):
        """The champion's scores are noise beside the challenger's."""
        verdict = self.against(self.distorted(2.0))

        assert verdict.promoted
        assert verdict.differences["roc_auc"].low > 0
        assert verdict.reason.startswith("not worse")

    def test_refuses_what_is_clearly_worse(self):
        """The interval of the difference lies wholly on the wrong side."""
        spoilt = replace(trained(), probability=self.distorted(2.0))
        verdict = gate.compare(spoilt, trained().probability, version=3, seed=0)

        assert not verdict.promoted
        assert verdict.differences["roc_auc"].high < 0
        assert verdict.reason.startswith("worse: ROC AUC -")

    def test_refuses_what_ranks_worse_though_its_log_loss_is_less(self):
        """What the champion lacks in calibration makes up for no rank."""
        spoilt = replace(trained(), probability=self.distorted(2.0))
        high = 0.1 * trained().probability + 0.9
        verdict = gate.compare(spoilt, high, version=3, seed=0)

        assert not verdict.promoted
        assert verdict.differences["roc_auc"].high < 0
        assert verdict.differences["log_loss"].high < 0

    def test_refuses_what_ranks_alike_but_is_miscalibrated(self):
        """Probabilities too high by 0.15 keep their order; their log loss tells."""
        high = 0.85 * trained().probability + 0.15
        verdict = gate.compare(
            replace(trained(), probability=high),
            trained().probability,
            version=3,
            seed=0,
        )

        assert not verdict.promoted
        assert verdict.differences["roc_auc"].estimate == pytest.approx(0)
        assert verdict.differences["log_loss"].low > 0

    def test_promotes_an_equal(self):
        """A challenger that scores as the champion does is not worse."""
        verdict = self.against(trained().probability.copy())

        assert verdict.promoted
        assert verdict.differences["roc_auc"].estimate == 0

    def test_tells_the_figures(self):
        """The reason names both differences with their intervals, and the rows."""
        reason = self.against(self.distorted(0.3)).reason

        assert "log loss" in reason
        assert "version 3 on the same 500 rows" in reason

    def test_counts_rows_by_their_weights(self):
        """Rows that stand for many count as many in the comparison."""
        weight = np.where(trained().holdout.label == 1, 1.0, 9.0)
        weighted = replace(trained(), holdout=replace(trained().holdout, weight=weight))
        champion = self.distorted(0.5)
        verdict = gate.compare(weighted, champion, version=3, seed=0)
        losses = [
            metrics.log_loss(
                metrics.outcomes(p, trained().holdout.label, weight=weight)
            )
            for p in (trained().probability, champion)
        ]

        assert verdict.differences["log_loss"].estimate == pytest.approx(
            losses[0] - losses[1]
        )
