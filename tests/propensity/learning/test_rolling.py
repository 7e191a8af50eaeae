"""
Rolling origins, specified: what a block may know, and the recipe that follows.

The shop is that of ``shops``: users with a known propensity in each week.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from propensity.learning import data
from propensity.learning.fit import Trained
from propensity.learning.preprocessor import default_preprocessor, transformed
from propensity.learning.recipe import Recipe
from propensity.models.scoring import MeanOfModels
from propensity.registry.versions import pickled
from tests.propensity.learning.shops import (
    BOOSTED,
    FOREST,
    LINEAR,
    MEAN,
    SHOP,
    fit_sizes,
    part,
    snapshots,
    train,
)

FEATURES = dict(SHOP.features)


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
        [(LINEAR,), (LINEAR, FOREST), (LINEAR, BOOSTED, FOREST, MEAN)],
        ids=["one", "two", "means"],
    )
    def test_counts_its_fits(self, candidates, monkeypatch):
        """Candidates on every block, and twice the chosen ones: as many as there
        were."""
        sizes = fit_sizes(monkeypatch)

        assert train(snapshots(26, 60), candidates=candidates).fits == len(sizes)


class TestChoice:
    @pytest.mark.parametrize(("weeks", "blocks"), [(16, 2), (8, 1)])
    def test_is_the_least_log_loss(self, weeks, blocks):
        """Candidates and their mean have figures of the same rows."""
        training = train(
            snapshots(weeks, 150), candidates=(LINEAR, BOOSTED, FOREST, MEAN)
        )
        losses = {
            fit.candidate.name: fit.figures["log_loss"]
            for fit in training.choice.candidates
        }

        assert len(training.blocks) == blocks
        assert set(losses) == {"linear", "boosted", "forest", "mean"}
        assert losses[training.chosen.name] == min(losses.values())

    def test_serves_the_plain_mean_of_members(self):
        """Each member is fitted on the rows."""
        rows = snapshots(5, 200)
        recipe = Recipe(candidate=MEAN, members=[LINEAR, BOOSTED], calibrator=None)
        part_of = data.slice_of(rows, sorted(set(rows["as_of"].to_pylist())))
        [(encoder, model)] = recipe.models(
            [part_of], SHOP, preprocessor=default_preprocessor(SHOP), seed=1, pools=None
        )
        encoded = transformed(encoder, part_of.rows, FEATURES)
        each = [member.predict_proba(encoded)[:, 1] for member in model.members]

        assert isinstance(model, MeanOfModels)
        assert model.predict_proba(encoded)[:, 1] == pytest.approx(
            np.mean(each, axis=0), abs=1e-15
        )
