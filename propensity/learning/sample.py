"""
The rows that a fit reads: all, or of very many a seeded sample.

Encoded rows take several times the memory that they take in a table, and a model of a
few hundred leaves or weights is as good on half a million rows as on five: what a
training gains from more rows are figures, of the choice, the calibration and the
holdout, and those read all rows.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from propensity.learning.data import Slice

# Rows that a fit reads at most: as many as a training has where no setting says more,
# so that by default no fit is of a sample.
FIT_ROWS = 500_000


def places(count: int, *, seed: int) -> NDArray[np.int64]:
    """
    Return the places of the rows to fit on, ascending.

    Args:
        seed: Of the sample; it decides nothing where all rows are taken.
    """
    if count <= FIT_ROWS:
        return np.arange(count)
    drawn = np.random.default_rng(seed).choice(count, FIT_ROWS, replace=False)
    return np.sort(drawn)


def rows_of(count: int) -> int | None:
    """Return the rows of a sample of so many; None where all are read."""
    return FIT_ROWS if count > FIT_ROWS else None


def sampled(part: Slice, *, seed: int) -> Slice:
    """Return the rows to fit on, in their order; the same ones where they are few."""
    if len(part) <= FIT_ROWS:
        return part
    kept = places(len(part), seed=seed)
    return replace(
        part,
        rows=part.rows.take(pa.array(kept)),
        label=part.label[kept],
        weight=part.weight[kept],
    )
