"""
Half-Space Trees, specified: river's scores to the last bit, and limits that no absurd
amount moves.

River runs in a virtual environment of its own. It scores each row before it learns the
row.
"""

from __future__ import annotations

import math
from itertools import product

import numpy as np
from sklearn.metrics import roc_auc_score

from benchmarks.measuring.report import by_peer
from propensity.models.half_space_trees import HalfSpaceTrees

# Trees, height, window and seed, each with complete rows and with gaps.
SIZES = [(6, 3, 100, 0), (5, 8, 100, 42), (1, 8, 30, 7), (6, 1, 1, 42)]
CASES = [*product(SIZES, [0.0, 0.15])]
RIVER = """
import pickle, sys
from river import anomaly

answers = []
for rows, options in pickle.load(sys.stdin.buffer):
    model, scores = anomaly.HalfSpaceTrees(**options), []
    for row in rows:
        scores.append(float(model.score_one(row)))
        model.learn_one(row)
    answers.append(scores)
pickle.dump(answers, sys.stdout.buffer)
"""


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


def scores_of(trees: HalfSpaceTrees, rows: np.ndarray) -> np.ndarray:
    return trees.predict_proba(rows)[:, 1]


def test_scores_are_the_same_to_the_last_bit():
    """In chunks of any size. River gets rows that are scaled by our limits; without it
    the test fails, it is not skipped."""
    ours = []
    asked = []
    for (n_trees, height, window_size, seed), gaps in CASES:
        rows = numbers(300, seed=1, gaps=gaps) * [100, 1, 1, 0.01, 5, 1]
        options = {"n_trees": n_trees, "height": height, "window_size": window_size}
        trees = HalfSpaceTrees(**options, random_state=seed).fit(rows[:window_size])
        chunks = np.split(rows[window_size:], [1, 90, 90])
        ours.append(np.concatenate([*map(trees.score_and_learn, chunks)]))
        low, high = trees.limits_.T
        scaled = [named(row) for row in ((rows - low) / (high - low)).tolist()]
        asked.append((scaled, {**options, "seed": seed}))

    for case, scores, expected in zip(
        CASES, ours, by_peer("river", RIVER, *asked), strict=True
    ):
        theirs = expected[-len(scores) :]
        np.testing.assert_array_equal(scores, theirs, err_msg=f"{case}")


def named(row: list[float]) -> dict[str, float]:
    """Name the values of a row for river: a gap is an absent key."""
    # Two digits sort as numbers do.
    return {f"{n:02}": value for n, value in enumerate(row) if not math.isnan(value)}


class TestStream:
    def test_trees_give_no_score_before_a_full_window(self):
        """Nothing can be known before. Then scores lie in [0, 1], beyond all limits,
        too, and to score learns nothing."""
        rows = numbers(130, seed=1)
        trees = HalfSpaceTrees(4, 4, 50).fit(rows[:30])

        assert not trees.is_warm
        assert np.isnan(trees.predict_proba(rows)).all()
        scores = trees.score_and_learn(rows[30:])
        assert np.isnan(scores).tolist() == [True] * 20 + [False] * 80
        assert trees.is_warm
        far = scores_of(trees, 100 * rows)
        assert 0 <= far.min() <= far.max() <= 1
        assert np.array_equal(far, scores_of(trees, 100 * rows))


def area(absurd: int | None = None) -> float:
    """ROC AUC of payments by trees that go on learning after the first thousand; one
    row may have absurd amounts. Frauds are rare and stand out in the amount."""
    generator = np.random.default_rng(5)
    label = generator.random(4_000) < 0.01
    rows = generator.standard_normal((4_000, 4))
    rows[:, 3] = generator.lognormal(3, 0.5, 4_000)
    rows[label, :3] += 1
    rows[label, 3] = generator.lognormal(5.5, 0.3, label.sum())
    if absurd:
        rows[absurd] = 1e9
    trees = HalfSpaceTrees(random_state=1).fit(rows[:1_000])
    return float(roc_auc_score(label[1_000:], trees.score_and_learn(rows[1_000:])))


class TestRobustLimits:
    def test_limits_survive_an_absurd_row(self):
        """One row of billions, when trees are fitted or after it, costs less than 0.02
        of the area under the curve."""
        assert area() > 0.95
        for at in (100, 2_500):
            assert area() - area(at) < 0.02
