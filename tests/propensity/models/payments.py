"""Numbers and payments that half-space trees learn from, drawn by a seed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from sklearn.metrics import roc_auc_score

from propensity.models.half_space_trees import HalfSpaceTrees

ABSURD = 1e9

# In the order in which trees are drawn from them.
NAMES = ("Amount", "V1", "V10", "V11", "V2", "V3")


def numbers(n: int, *, seed: int, gaps: float = 0.0) -> np.ndarray:
    """
    N rows of six features, in the order of ``NAMES``, in units that differ.

    Some values are far from the others, some equal, and all features drift, so that
    limits move. Gaps are NaN; the first row has none, as it says what features are.
    """
    generator = np.random.default_rng(seed)
    rows = 0.5 + 0.15 * generator.standard_normal((n, 6))
    rows += np.linspace(0, 0.3, n)[:, None]
    rows[generator.random((n, 6)) < 0.02] *= 4
    rows[:, 5] = np.round(rows[:, 5], 1)
    rows *= [100, 1, 1, 0.01, 5, 1]
    is_gap = generator.random((n, 6)) < gaps
    is_gap[0] = False
    rows[is_gap] = np.nan
    return rows


def named(rows: np.ndarray, *, seed: int = 0) -> list[dict[str, float]]:
    """The same rows by name: gaps are absent keys, keys have no order."""
    generator = np.random.default_rng(seed)
    return [
        {
            NAMES[column]: float(row[column])
            for column in generator.permutation(len(NAMES)).tolist()
            if not math.isnan(row[column])
        }
        for row in rows
    ]


def streamed(trees, rows, *, chunk=None, cuts=None):
    """Scores of rows in chunks of one size, or cut at places."""
    edges = sorted([0, *cuts, len(rows)]) if cuts else range(0, len(rows), chunk)
    edges = [*edges, len(rows)]
    return np.concatenate(
        [trees.score_and_learn(rows[start:stop]) for start, stop in pairwise(edges)]
    )


@dataclass(frozen=True)
class Labelled:
    """Rows whose label is known, in the order of time."""

    rows: np.ndarray
    label: np.ndarray

    def area(self, scores: np.ndarray) -> float:
        """ROC AUC of the rows that have a score."""
        known = ~np.isnan(scores)
        return float(roc_auc_score(self.label[known], scores[known]))

    def area_after(self, trees: HalfSpaceTrees, *, at: int, columns: object) -> float:
        """ROC AUC where one absurd row comes in between, which is not looked at."""
        rows = np.insert(self.rows, at, self.rows[at], axis=0)
        rows[at, columns] = ABSURD
        return self.area(np.delete(trees.score_and_learn(rows), at))
