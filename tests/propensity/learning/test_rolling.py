"""
Rolling origins, specified: what a block may know, and the recipe that follows.

The shop is that of ``shops``: users with a known propensity in each week.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from propensity.learning import data
from propensity.learning.choice import mean_of
from propensity.learning.fit import Trained
from propensity.learning.preprocessor import default_preprocessor, transformed
from propensity.learning.recipe import Recipe, aged
from propensity.models.scoring import MeanOfModels
from propensity.registry.versions import pickled
from propensity.usecases import Candidate
from tests.propensity.learning.shops import (
    BOOSTED,
    FOREST,
    LINEAR,
    MEAN,
    SHOP,
    drawn,
    fit_sizes,
    part,
    propensity,
    snapshots,
    table,
    train,
)

FEATURES = dict(SHOP.features)
STACKED = replace(
    MEAN,
    name="stacked",
    parameters={"of": ["linear", "boosted", "forest"], "weights": "stacked"},
)


@cache
def linear() -> Trained:
    """One candidate on two blocks; many tests look at it, none changes it."""
    return train(snapshots(16, 150), candidates=(LINEAR,))


class TestBlocks:
    def test_are_scored_by_models_of_what_was_final_before(self):
        """The newest block's model is the one of the block's own rows to fit on, and
        the encoder is that of the first block."""
        rows, training = snapshots(16, 150), linear()
        [candidate] = training.choice.candidates
        earlier = data.slice_of(
            part(rows, training.blocks[-1].fitting), training.blocks[-1].fitting
        )
        encoded = transformed(training.choice.encoder, earlier.rows, FEATURES)
        again = LogisticRegression(C=1.0, max_iter=500, tol=1e-7, random_state=42)
        again.fit(encoded, earlier.label)

        assert len(training.blocks) == 2
        assert candidate.model.coef_.tolist() == again.coef_.tolist()
        assert training.choice.encoder.named_transformers_["numbers"][
            -1
        ].n_samples_seen_ == len(part(rows, training.blocks[0].fitting))

    def test_judge_all_their_rows_once(self):
        """Figures are of the rows of all blocks together."""
        training = linear()
        judged = [as_of for block in training.blocks for as_of in block.judged]

        assert training.split.calibrate == tuple(judged)
        assert training.rows["calibrate"] == len(training.choice.rows) == 8 * 150
        assert len(training.choice.probability) == 8 * 150

    def test_are_left_out_where_their_rows_are_too_few(self):
        """A block that could fit on too little judges nothing; without any, one slice
        next to the holdout does."""
        rows = snapshots(16, 150)
        fewer = train(
            rows, candidates=(LINEAR,), settings={"minimum_training_rows": 1_000}
        )
        fewest = train(
            rows, candidates=(LINEAR,), settings={"minimum_training_rows": 1_600}
        )

        assert len(fewer.blocks) == 1
        assert [len(block.judged) for block in fewest.blocks] == [3]


class TestRecipe:
    def test_is_fitted_again_on_all_rows(self):
        """What serves has learned from the rows held out; what was measured has not."""
        rows, training = snapshots(16, 150), linear()
        encoder, model = training.measured

        def seen(preprocessor) -> int:
            return preprocessor.named_transformers_["numbers"][-1].n_samples_seen_

        assert seen(training.preprocessor) == len(rows)
        # Without the holdout, and the week whose labels were not final before it.
        assert seen(encoder) == len(rows) - 2 * 150
        assert pickled(model) != pickled(training.model)

    @pytest.mark.parametrize(
        "candidates",
        [(LINEAR,), (LINEAR, FOREST), (LINEAR, BOOSTED, FOREST, MEAN, STACKED)],
        ids=["one", "two", "means"],
    )
    def test_counts_its_fits(self, candidates, monkeypatch):
        """Candidates on every block, half-lives of the quickest, and twice the chosen
        ones: as many as there were."""
        sizes = fit_sizes(monkeypatch)

        assert train(snapshots(26, 60), candidates=candidates).fits == len(sizes)


class TestHalfLife:
    def test_is_none_where_nothing_changes(self):
        """Old rows are worth as much as new ones, and a half-life must be shown to be
        better."""
        training = train(snapshots(30, 100), candidates=(LINEAR,))

        assert set(training.choice.half_lives) == {"none", "13"}
        assert training.choice.recipe.half_life_weeks is None

    def test_forgets_what_has_changed(self):
        """Half a year ago users bought for another reason: old rows weigh less, and
        the probabilities are the better for it."""
        columns = drawn(40, 150, seed=2)
        is_old = columns["week"] < 18
        swapped = {**columns, "recency_days": 60 - columns["recency_days"]}
        chance = np.where(is_old, propensity(swapped), propensity(columns))
        training = train(table(columns, chance), candidates=(LINEAR,))
        losses = training.choice.half_lives

        assert training.choice.recipe.half_life_weeks == 13
        assert losses["13"] < losses["26"] < losses["none"]

    def test_halves_weights_by_age(self):
        """A row a half-life older than the newest weighs half as much as it."""
        rows = data.slice_of(
            snapshots(5, 20), sorted(set(snapshots(5, 20)["as_of"].to_pylist()))
        )
        training = aged(rows, 2.0).weight.reshape(5, 20)

        assert training[:, 0].tolist() == pytest.approx(
            [0.25, 2**-1.5, 0.5, 2**-0.5, 1]
        )
        assert aged(rows, None) is rows


class TestMeans:
    @pytest.mark.parametrize(("weeks", "blocks"), [(16, 2), (8, 1)])
    def test_are_judged_like_the_others(self, weeks, blocks):
        """Each has figures of the same rows. A stack knows no weights before its first
        block: there it is the plain mean."""
        training = train(
            snapshots(weeks, 150), candidates=(LINEAR, BOOSTED, FOREST, MEAN, STACKED)
        )
        figures = {
            fit.candidate.name: fit.figures for fit in training.choice.candidates
        }

        assert len(training.blocks) == blocks
        assert set(figures) == {"linear", "boosted", "forest", "mean", "stacked"}
        assert all(None not in each.values() for each in figures.values())
        assert (figures["mean"] == figures["stacked"]) == (blocks == 1)

    def test_that_are_stacked_leave_out_members_without_weight(self):
        """What knows nothing beside a model that knows all costs no fit in the end."""
        useless = Candidate(
            "forest",
            "RandomForestClassifier",
            {"max_depth": 1, "n_estimators": 1, "max_features": 1},
        )
        both = replace(
            STACKED, parameters={"of": ["linear", "forest"], "weights": "stacked"}
        )
        training = train(snapshots(16, 300), candidates=(LINEAR, useless, both))
        weights = training.choice.stacks["stacked"]
        recipe = training.choice.recipe

        assert sum(weights) == pytest.approx(1)
        assert weights[0] > 0.8
        assert all(recipe.weights or [1])
        assert len(recipe.members) == len(recipe.weights or [1])

    def test_serve_with_their_weights(self):
        """The model is the weighted mean of its members, each fitted on the rows."""
        rows = snapshots(5, 200)
        recipe = Recipe(
            candidate=STACKED,
            members=[LINEAR, BOOSTED],
            weights=[0.7, 0.3],
            half_life_weeks=None,
            calibrator=None,
        )
        part_of = data.slice_of(rows, sorted(set(rows["as_of"].to_pylist())))
        [(encoder, model)] = recipe.models(
            [part_of], SHOP, preprocessor=default_preprocessor(SHOP), seed=1, pools=None
        )
        encoded = transformed(encoder, part_of.rows, FEATURES)
        each = [member.predict_proba(encoded)[:, 1] for member in model.members]

        assert isinstance(model, MeanOfModels)
        assert model.predict_proba(encoded)[:, 1] == pytest.approx(
            mean_of(each, [0.7, 0.3]), abs=1e-15
        )
