"""
Half-Space Trees, specified: streams, warm-up, scikit-learn's rules, refusals, pickles.
"""

from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import parametrize_with_checks

from propensity.models.half_space_trees import HalfSpaceTrees
from tests.propensity.models.payments import NAMES, named, numbers, streamed

BY_NUMBER = numbers(100, seed=1)
BY_NAME = named(BY_NUMBER)
ANY_LIMITS = st.sampled_from(["robust", "minmax", None])


class TestStream:
    @given(
        limits=ANY_LIMITS,
        gaps=st.sampled_from([0.0, 0.02, 0.4]),
        cuts=st.lists(st.integers(0, 200), min_size=1, max_size=12),
        window_size=st.sampled_from([1, 20, 64]),
        seed=st.integers(0, 100),
    )
    def test_does_not_depend_on_how_it_is_cut(
        self, limits, gaps, cuts, window_size, seed
    ):
        """The scores, and all that is kept, are those of one chunk; empty ones too."""
        rows = numbers(200, seed=seed, gaps=gaps)
        trees = HalfSpaceTrees(7, 5, window_size, limits=limits, random_state=seed)
        whole, cut = clone(trees), clone(trees)

        np.testing.assert_array_equal(
            streamed(cut, rows, cuts=cuts), whole.score_and_learn(rows)
        )
        assert pickle.dumps(cut) == pickle.dumps(whole)

    @given(seed=st.integers(0, 1_000))
    def test_does_not_depend_on_the_order_within_a_window(self, seed):
        """What is counted is where rows are: their order is not in the masses."""
        generator = np.random.default_rng(seed)
        first, window, next_ = np.split(numbers(120, seed=seed), 3)
        trees = HalfSpaceTrees(7, 5, 40, random_state=seed).partial_fit(first)
        other = copy.deepcopy(trees)
        trees.score_and_learn(window)
        other.score_and_learn(generator.permutation(window))

        np.testing.assert_array_equal(
            other.score_and_learn(next_), trees.score_and_learn(next_)
        )

    @given(limits=ANY_LIMITS, seed=st.integers(0, 1_000))
    def test_scores_lie_between_zero_and_one(self, limits, seed):
        """Whatever the limits, and beyond them."""
        trees = HalfSpaceTrees(5, 6, 30, limits=limits, random_state=seed)
        trees.score_and_learn(numbers(60, seed=seed, gaps=0.1))
        scores = trees.anomaly_score(100 * numbers(200, seed=seed + 1, gaps=0.1))

        assert scores.min() >= 0
        assert scores.max() <= 1

    @pytest.mark.parametrize("limits", ["robust", "minmax", None])
    @pytest.mark.parametrize("gaps", [0.0, 0.2])
    def test_scores_by_what_came_before_a_row(self, limits, gaps):
        """Scoring a row and learning it afterwards is the same, and learns no more."""
        rows = numbers(150, seed=8, gaps=gaps)
        at_once = HalfSpaceTrees(6, 5, 40, limits=limits, random_state=1)
        by_one = clone(at_once)
        at_once.score_and_learn(rows[:60])
        by_one.partial_fit(rows[:60])
        scores = []
        for row in rows[60:]:
            scores.append(by_one.anomaly_score(row[None])[0])
            by_one.partial_fit(row[None])

        np.testing.assert_array_equal(at_once.score_and_learn(rows[60:]), scores)

    @pytest.mark.parametrize("n", [1, 3, 100])
    @pytest.mark.parametrize("gaps", [0.0, 0.3])
    @pytest.mark.parametrize("limits", ["robust", "minmax"])
    def test_rows_mean_the_same_in_any_form(self, n, gaps, limits):
        """An array, a frame, mappings with absent keys, with None, with text."""
        rows = numbers(200, seed=9, gaps=gaps)
        frame = pd.DataFrame(rows, columns=NAMES)
        trees = HalfSpaceTrees(6, 5, 40, limits=limits, random_state=1).fit(frame)
        part, blank = frame[:n], frame[:n].astype(object)
        forms = {
            "array": rows[:n],
            "array by columns": np.asfortranarray(rows[:n]),
            "keys absent": named(rows[:n]),
            "in a tuple": tuple(named(rows[:n])),
            "NaN": part.to_dict("records"),
            "None": blank.where(part.notna(), None).to_dict("records"),
        }
        if not gaps:
            forms["text"] = part.map(repr).to_dict("records")
        scores = trees.anomaly_score(part)
        learned = copy.deepcopy(trees).score_and_learn(part)

        for form, x in forms.items():
            own = copy.deepcopy(trees)
            assert np.array_equal(own.anomaly_score(x), scores), form
            assert np.array_equal(own.score_and_learn(x), learned), form

    def test_nothing_is_no_chunk(self):
        """A chunk without rows changes nothing, before the first row either."""
        trees = HalfSpaceTrees(3, 3, 10)
        before = trees.score_and_learn([])
        assert not trees.is_warm
        trees.score_and_learn(numbers(20, seed=1))

        assert before.shape == (0,)
        assert trees.score_and_learn(np.empty((0, 6))).shape == (0,)


class TestWarmUp:
    @pytest.mark.parametrize("limits", ["robust", "minmax", None])
    @pytest.mark.parametrize("chunk", [1, 7, 100])
    def test_shows_until_the_first_window_is_full(self, limits, chunk):
        """No score but NaN is given for what nothing can be known about."""
        rows = numbers(70, seed=1)
        trees = HalfSpaceTrees(4, 4, 50, limits=limits, random_state=1)
        was_warm, scores = [], []
        for start in range(0, 70, chunk):
            was_warm.append(trees.is_warm)
            scores.append(trees.score_and_learn(rows[start : start + chunk]))

        assert np.isnan(np.concatenate(scores)).tolist() == [True] * 50 + [False] * 20
        assert was_warm == [start >= 50 for start in range(0, 70, chunk)]
        assert trees.is_warm

    @pytest.mark.parametrize("limits", ["robust", "minmax", None])
    def test_leaves_other_scores_unknown_too(self, limits):
        """After fewer rows than a window has there is no score, and no outlier."""
        rows = numbers(30, seed=1)
        trees = HalfSpaceTrees(4, 4, 50, limits=limits).fit(rows)

        assert not trees.is_warm
        assert np.isnan(trees.anomaly_score(rows)).all()
        assert np.isnan(trees.score_samples(rows)).all()
        assert np.isnan(trees.decision_function(rows)).all()
        assert trees.predict(rows).tolist() == [1] * 30
        assert trees.partial_fit(rows[:20]).is_warm

    def test_gives_the_score_that_is_asked_for(self):
        """River gives 0; so do we where that is wanted."""
        trees = HalfSpaceTrees(4, 4, 50, warm_up_score=0.0)

        assert trees.score_and_learn(numbers(50, seed=1)).tolist() == [0.0] * 50


class TestEstimator:
    @parametrize_with_checks([HalfSpaceTrees(), HalfSpaceTrees(5, 4, 10, limits=None)])
    def test_keeps_the_rules_of_scikit_learn(self, estimator, check):
        """All checks of an estimator and of an outlier detector; no exceptions."""
        check(estimator)

    def test_fits_anew(self):
        """To fit is to forget: twice is once, and what came before does not matter."""
        rows = numbers(300, seed=1)
        trees = HalfSpaceTrees(5, 5, 50, random_state=4)
        once = clone(trees).fit(rows)
        again = trees.fit(rows[:120] * 3).partial_fit(rows[:10]).fit(rows)

        assert pickle.dumps(again) == pickle.dumps(once)

    @pytest.mark.parametrize("limits", ["robust", "minmax"])
    def test_goes_on_after_it_was_fitted(self, limits):
        """More rows are learned on top; limits and trees stay as fitted."""
        rows = numbers(300, seed=1)
        trees = HalfSpaceTrees(5, 5, 50, limits=limits, random_state=4)
        on_top = clone(trees).fit(rows[:130]).partial_fit(rows[130:])
        at_once = clone(trees).fit(rows[:130])
        at_once.score_and_learn(rows[130:])

        assert np.array_equal(on_top.anomaly_score(rows), at_once.anomaly_score(rows))
        assert on_top.offset_ == clone(trees).fit(rows[:130]).offset_

    def test_draws_the_same_trees_from_the_same_seed(self):
        """Seeds of any integer type; others, and none, draw other trees."""
        rows = numbers(300, seed=1)

        def scores(seed):
            return (
                HalfSpaceTrees(5, 5, 50, random_state=seed)
                .fit(rows)
                .score_samples(rows)
            )

        assert np.array_equal(scores(4), scores(np.int64(4)))
        assert not np.array_equal(scores(4), scores(5))
        assert not np.array_equal(scores(None), scores(None))

    def test_scores_as_the_isolation_forest_does(self, payments):
        """The lower, the more abnormal, from -1 to 0; the anomaly score turned over."""
        rows = payments.rows
        trees = HalfSpaceTrees(random_state=0).fit(rows)
        scores = trees.score_samples(rows)
        forest = IsolationForest(random_state=0).fit(rows)

        assert np.array_equal(scores, -trees.anomaly_score(rows))
        assert np.corrcoef(scores, forest.score_samples(rows))[0, 1] > 0.6
        assert scores[payments.label].mean() < scores[~payments.label].mean()

    def test_flags_the_share_that_is_asked_for(self, payments):
        """Of the rows that were fitted; the threshold is where decisions are 0."""
        trees = HalfSpaceTrees(contamination=0.05, random_state=0).fit(payments.rows)
        decisions = trees.decision_function(payments.rows)
        flagged = trees.predict(payments.rows) == -1

        assert np.array_equal(flagged, decisions < 0)
        assert flagged.mean() == pytest.approx(0.05, abs=0.005)

    def test_has_no_threshold_without_fit(self):
        """A stream alone gives scores, not decisions, and the error says so."""
        rows = numbers(100, seed=1)
        trees = HalfSpaceTrees(5, 5, 50).partial_fit(rows)

        with pytest.raises(NotFittedError, match="only fit learns one"):
            trees.predict(rows)
        assert np.isfinite(trees.score_samples(rows)).all()

    def test_orders_features_by_name(self):
        """Trees do not depend on the order of a frame's columns."""
        frame = pd.DataFrame(numbers(200, seed=1), columns=NAMES)
        backwards = frame[frame.columns[::-1]]
        trees = HalfSpaceTrees(5, 5, 50, random_state=1)

        assert np.array_equal(
            clone(trees).fit(frame).anomaly_score(frame),
            clone(trees).fit(backwards).anomaly_score(backwards),
        )


class TestRefusal:
    @pytest.mark.parametrize(
        ("parameters", "message"),
        [
            ({"n_trees": 0}, "n_trees must be an integer above 0, got 0"),
            ({"height": 1.5}, "height must be an integer above 0, got 1.5"),
            ({"window_size": -1}, "window_size must be an integer above 0"),
            ({"height": 50}, "at most 2\\*\\*53"),
            ({"contamination": 0.6}, "contamination must be in"),
            ({"limits": "quantiles"}, "limits must be 'robust', 'minmax'"),
            ({"limits": [(0, 1)]}, "limits must be 'robust', 'minmax'"),
            ({"limits": {6: (0, 1)}}, "limits has 6, which is not among the features"),
            ({"limits": {0: (1, 1)}}, "limits of 0 must be a lower and a higher"),
            ({"limits": {0: (0, math.inf)}}, "limits of 0 must be a lower and a"),
            ({"random_state": "42"}, "random_state must be an integer or None"),
        ],
        ids=str,
    )
    @pytest.mark.parametrize("learn", ["fit", "partial_fit", "score_and_learn"])
    def test_names_the_parameter(self, parameters, message, learn):
        """Parameters are checked when they are used, as scikit-learn wants it."""
        trees = HalfSpaceTrees(**parameters)

        with pytest.raises(ValueError, match=message):
            getattr(trees, learn)(numbers(10, seed=1))

        trees.set_params(**HalfSpaceTrees(2, 2, 5).get_params())
        getattr(trees, learn)(numbers(10, seed=1))
        assert trees.is_warm

    @pytest.mark.parametrize("value", [math.inf, -math.inf])
    @pytest.mark.parametrize("n", [1, 100])
    @pytest.mark.parametrize("limits", ["robust", "minmax"])
    def test_names_the_feature_that_is_infinity(self, value, n, limits):
        """It is no measurement. No row of the chunk is learned."""
        rows = named(numbers(200, seed=1))
        trees = HalfSpaceTrees(3, 3, 40, limits=limits, random_state=1).fit(rows)
        before = pickle.dumps(trees)
        bad = [dict(row) for row in rows[:n]]
        bad[-1]["V2"] = value
        array = np.array([[row[name] for name in sorted(NAMES)] for row in bad])

        for x in (bad, array):
            for method in (trees.score_and_learn, trees.anomaly_score):
                with pytest.raises(
                    ValueError, match=f"row {n - 1} has infinity as .*V2"
                ):
                    method(x)
        assert pickle.dumps(trees) == before

    @pytest.mark.parametrize(
        ("learned", "rows", "message"),
        [
            pytest.param(BY_NAME, [BY_NAME[0] | {"V2": "many"}], "'many'", id="text"),
            pytest.param(
                BY_NUMBER, BY_NAME[:1], "6 features by number", id="names for numbers"
            ),
            pytest.param(
                [], [{}, {"V1": 1.0}], "first row names the features", id="no names"
            ),
            pytest.param(
                BY_NUMBER,
                BY_NUMBER[:1, :5],
                "5 features.*expecting 6",
                id="a column less",
            ),
            pytest.param(
                BY_NUMBER,
                BY_NUMBER[:, :5],
                "5 features.*expecting 6",
                id="of many rows",
            ),
        ],
    )
    def test_refuses_rows_of_another_sort(self, learned, rows, message):
        """What cannot be read as a number is not taken for missing, nor is it guessed
        which column a name means."""
        trees = HalfSpaceTrees(3, 3, 40)
        trees.score_and_learn(learned)

        with pytest.raises(ValueError, match=message):
            trees.score_and_learn(rows)


class TestPickle:
    @pytest.mark.parametrize("n", [0, 30, 170])
    @pytest.mark.parametrize("limits", ["robust", "minmax", None])
    def test_goes_on_where_it_was(self, n, limits):
        """In the first window, in a later one, or before any row."""
        rows = numbers(400, seed=1, gaps=0.05)
        trees = HalfSpaceTrees(5, 5, 50, limits=limits, random_state=1)
        trees.score_and_learn(rows[:n])
        loaded = pickle.loads(pickle.dumps(trees))

        np.testing.assert_array_equal(
            loaded.score_and_learn(rows[n:]), trees.score_and_learn(rows[n:])
        )
        assert loaded.is_warm

    @pytest.mark.parametrize("n", [249, 1_100])
    def test_is_small(self, n):
        """Less than 200 kB for 25 trees of height 8 and 29 features, at any time."""
        rows = np.random.default_rng(0).standard_normal((n, 29))
        trees = HalfSpaceTrees().partial_fit(rows)

        assert len(pickle.dumps(trees)) < 100_000
