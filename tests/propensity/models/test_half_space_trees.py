"""
Half-Space Trees, specified: river's scores to the last bit, and limits that no absurd
amount moves.

River runs in a virtual environment of its own, as one process that is sent rows and
answers with scores: of each row, before it learns the row.
"""

from __future__ import annotations

import math
import pickle
import subprocess
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from local import venvs
from local.stack.state import LOCAL, ROOT
from propensity.models.half_space_trees import HalfSpaceTrees

RIVER = """
import pickle, sys
from river import anomaly

while True:
    try:
        rows, options = pickle.load(sys.stdin.buffer)
    except EOFError:
        break
    model = anomaly.HalfSpaceTrees(**options)
    scores = []
    for row in rows:
        scores.append(float(model.score_one(row)))
        model.learn_one(row)
    pickle.dump(scores, sys.stdout.buffer)
    sys.stdout.buffer.flush()
"""
ABSURD = 1e9


@pytest.fixture(scope="session")
def river() -> Iterator[Callable[..., np.ndarray]]:
    """River's scores of rows; without it these tests fail, they are not skipped."""
    requirements = ROOT / "benchmarks" / "requirements-river.txt"
    python = venvs.python_of(requirements, folder=LOCAL / "venvs")
    with subprocess.Popen(
        [python, "-c", RIVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:

        def scores_of(rows: np.ndarray, **options: object) -> np.ndarray:
            # A gap is an absent key; two digits sort as numbers do.
            named = [
                {
                    f"{column:02}": value
                    for column, value in enumerate(row)
                    if not math.isnan(value)
                }
                for row in rows.tolist()
            ]
            pickle.dump((named, options), process.stdin)
            process.stdin.flush()
            return np.array(pickle.load(process.stdout))

        yield scores_of
        process.stdin.close()


def numbers(n: int, *, seed: int, gaps: float = 0.0) -> np.ndarray:
    """Rows of six features around 0.5 that drift; the first row has no gap."""
    generator = np.random.default_rng(seed)
    rows = 0.5 + 0.15 * generator.standard_normal((n, 6))
    rows += np.linspace(0, 0.3, n)[:, None]
    rows[generator.random((n, 6)) < 0.02] *= 4
    rows[:, 5] = np.round(rows[:, 5], 1)
    is_gap = generator.random((n, 6)) < gaps
    is_gap[0] = False
    rows[is_gap] = np.nan
    return rows


def streamed(trees: HalfSpaceTrees, rows: np.ndarray, cuts: list[int]) -> np.ndarray:
    """Scores of rows that come in chunks."""
    return np.concatenate(
        [trees.score_and_learn(part) for part in np.split(rows, sorted(cuts))]
    )


def scores_of(trees: HalfSpaceTrees, rows: np.ndarray) -> np.ndarray:
    return trees.predict_proba(rows)[:, 1]


class TestRiver:
    @pytest.mark.parametrize("gaps", [0.0, 0.15], ids=["complete", "with gaps"])
    @pytest.mark.parametrize("cuts", [[], [1, 2, 90, 90, 170]])
    @pytest.mark.parametrize(
        "size",
        [(6, 3, 100, 0), (5, 8, 100, 42), (1, 8, 30, 7), (6, 1, 1, 42)],
    )
    def test_gives_the_same_scores_to_the_last_bit(self, river, gaps, cuts, size):
        """Trees, windows and seeds; in chunks of any size. River gets rows that are
        scaled by our limits."""
        n_trees, height, window_size, seed = size
        rows = numbers(300, seed=1, gaps=gaps) * [100, 1, 1, 0.01, 5, 1]
        options = {"n_trees": n_trees, "height": height, "window_size": window_size}
        trees = HalfSpaceTrees(**options, random_state=seed).fit(rows[:window_size])
        scores = streamed(trees, rows[window_size:], cuts)

        low, high = trees.limits_.T
        expected = river((rows - low) / (high - low), seed=seed, **options)
        np.testing.assert_array_equal(scores, expected[window_size:])

    def test_gives_the_same_scores_of_the_same_rows(self, river):
        """Without limits of its own, from the first window on."""
        rows = numbers(600, seed=2, gaps=0.05)
        trees = HalfSpaceTrees(10, limits=None, random_state=42).fit(rows[:250])
        scores = trees.score_and_learn(rows[250:])
        np.testing.assert_array_equal(scores, river(rows, seed=42)[250:])


class TestStream:
    @given(
        gaps=st.sampled_from([0.0, 0.02, 0.4]),
        cuts=st.lists(st.integers(0, 200), max_size=12),
        window_size=st.sampled_from([1, 20, 64]),
        seed=st.integers(0, 100),
    )
    def test_does_not_depend_on_how_it_is_cut(self, gaps, cuts, window_size, seed):
        """The scores, and all that is kept, are those of one chunk; also where it was
        pickled in between."""
        rows = numbers(264, seed=seed, gaps=gaps)
        whole, cut = (
            HalfSpaceTrees(7, 5, window_size, random_state=seed).fit(rows[:64])
            for _ in range(2)
        )
        cut = pickle.loads(pickle.dumps(cut))

        for part, cuts_of_it in ((rows[64:], cuts), (rows, [])):
            np.testing.assert_array_equal(
                streamed(cut, part, cuts_of_it), whole.score_and_learn(part)
            )

    @given(gaps=st.sampled_from([0.0, 0.1]), seed=st.integers(0, 1_000))
    def test_scores_lie_between_zero_and_one(self, gaps, seed):
        """Beyond all limits, too; to score learns nothing."""
        trees = HalfSpaceTrees(5, 6, 30, random_state=seed)
        trees.fit(numbers(60, seed=seed, gaps=gaps))
        rows = 100 * numbers(200, seed=seed + 1, gaps=gaps)
        scores = scores_of(trees, rows)

        assert 0 <= scores.min() <= scores.max() <= 1
        np.testing.assert_array_equal(scores, scores_of(trees, rows))

    def test_gives_no_score_until_the_first_window_is_full(self):
        """Nothing can be known before."""
        rows = numbers(130, seed=1)
        trees = HalfSpaceTrees(4, 4, 50).fit(rows[:30])

        assert not trees.is_warm
        assert np.isnan(trees.predict_proba(rows)).all()
        scores = trees.score_and_learn(rows[30:])
        assert np.isnan(scores).tolist() == [True] * 20 + [False] * 80
        assert trees.is_warm
        assert trees.predict_proba(rows).sum(axis=1) == pytest.approx(1)

    def test_draws_the_same_trees_from_the_same_seed(self):
        """And others from others; to fit is to forget."""
        rows = numbers(300, seed=1)

        def scores(seed, *, before=rows[:7]):
            trees = HalfSpaceTrees(5, 5, 50, random_state=seed).fit(before)
            return scores_of(trees.fit(rows), rows)

        assert np.array_equal(scores(4), scores(4, before=rows[:170]))
        assert not np.array_equal(scores(4), scores(5))
        assert not np.array_equal(scores(None), scores(None))

    @pytest.mark.parametrize(
        ("parameters", "message"),
        [
            ({"n_trees": 0}, "n_trees must be an integer from 1 to 1000, got 0"),
            ({"height": 1.5}, "height must be an integer from 1 to 20, got 1.5"),
            ({"window_size": -1}, "window_size must be an integer"),
            ({"height": 50}, "height must be an integer"),
        ],
    )
    def test_names_the_parameter_that_is_wrong(self, parameters, message):
        with pytest.raises(ValueError, match=message):
            HalfSpaceTrees(**parameters).fit(numbers(10, seed=1))

    def test_refuses_rows_that_are_none(self):
        """Infinity is no measurement. No row of the chunk is learned."""
        rows = numbers(100, seed=1)
        trees = HalfSpaceTrees(3, 3, 40, random_state=1).fit(rows)
        before = pickle.dumps(trees)
        odd = rows[:3].copy()
        odd[2, 4] = -math.inf

        for method in (trees.score_and_learn, trees.predict_proba):
            with pytest.raises(ValueError, match="infinity"):
                method(odd)
            with pytest.raises(ValueError, match="expecting 6 features"):
                method(rows[:, :5])
        assert pickle.dumps(trees) == before
        with pytest.raises(ValueError, match="not fitted"):
            HalfSpaceTrees().predict_proba(rows)


def payments() -> tuple[np.ndarray, np.ndarray]:
    """Three features and an amount; frauds are rare and stand out in the amount."""
    generator = np.random.default_rng(5)
    label = generator.random(4_000) < 0.01
    rows = generator.standard_normal((4_000, 4))
    rows[:, 3] = generator.lognormal(3, 0.5, 4_000)
    rows[label, :3] += 1
    rows[label, 3] = generator.lognormal(5.5, 0.3, label.sum())
    return rows, label


def area(rows: np.ndarray, label: np.ndarray, *, seed: int) -> float:
    """ROC AUC of rows after the first thousand, by trees that go on learning."""
    trees = HalfSpaceTrees(random_state=seed).fit(rows[:1_000])
    return float(roc_auc_score(label[1_000:], trees.score_and_learn(rows[1_000:])))


class TestRobustLimits:
    @pytest.mark.parametrize("at", [100, 2_500])
    @pytest.mark.parametrize("columns", [3, slice(None)], ids=["amount", "all"])
    def test_survive_an_absurd_amount(self, at, columns):
        """One row of billions, when trees are fitted or after it, costs less than 0.02
        of the area under the curve."""
        rows, label = payments()
        before = area(rows, label, seed=1)
        rows[at, columns] = ABSURD

        assert before > 0.95
        assert before - area(rows, label, seed=1) < 0.02

    @pytest.mark.parametrize(
        ("values", "limits"),
        [
            ([7.0] * 100, (6.5, 7.5)),
            ([0.0] * 97 + [1.0] * 3, (0.0, 1.5)),
            ([math.nan] * 100, (0.0, 1.0)),
            ([math.nan] * 98 + [3.0, 3.0], (2.5, 3.5)),
        ],
        ids=["constant", "nearly constant", "missing", "nearly missing"],
    )
    def test_have_width_whatever_the_values(self, values, limits):
        """A feature that says nothing, or little, is no reason to fail."""
        rows = np.column_stack([values, np.linspace(0, 1, 100)])
        trees = HalfSpaceTrees(3, 3, 50, random_state=0).fit(rows)

        assert tuple(trees.limits_[0]) == limits
        assert np.isfinite(scores_of(trees, rows)).all()
