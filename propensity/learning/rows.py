"""
The rows of a training: slices of them, and their parts by time.

Candidates are judged forward in time, on blocks of rows that are newer than those that
they were fitted on. The chosen one is fitted on all rows before the holdout and
measured there once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from propensity.learning.task import Limits
from propensity.measures import metrics
from propensity.measures.metric_intervals import by_user
from propensity.measures.metrics import Outcomes
from propensity.models.encoding import Flags, Floats
from propensity.timeframe import Split


@dataclass(frozen=True, kw_only=True)
class Slice:
    """Labelled rows in time order: raw features, ``label`` 0 or 1, and ``weight``."""

    rows: pa.Table

    @cached_property
    def label(self) -> NDArray[np.int8]:
        """The labels, (rows,)."""
        return np.asarray(self.rows["label"].to_numpy().astype(np.int8))

    @cached_property
    def weight(self) -> Floats:
        """The weights, (rows,)."""
        return np.asarray(self.rows["weight"].to_numpy().astype(np.float64))

    def __len__(self) -> int:
        return len(self.rows)

    def between(self, first: int, end: int | None = None) -> Slice:
        """Return the rows from ``first`` up to ``end``, without a copy."""
        return Slice(rows=self.rows[first:end])

    def where(self, kept: Flags) -> Slice:
        """Return the rows whose flag is true, (rows,)."""
        return Slice(rows=self.rows.filter(pa.array(kept)))

    def followed_by(self, later: Slice) -> Slice:
        """Return these rows and later ones."""
        return Slice(rows=pa.concat_tables([self.rows, later.rows]))

    @property
    def conversions(self) -> int:
        """Rows with label 1; several that stand for one user together count once."""
        positives = self.weight[self.label == 1]
        return round(min(float(positives.sum()), len(positives)))

    @property
    def has_both_classes(self) -> bool:
        """Whether there are rows with label 1 and rows with label 0."""
        return bool(self.label.any() and not self.label.all())

    def row_weight(self, label: int) -> float:
        """Return how many source rows a row with a label stands for, on average."""
        weights = self.weight[self.label == label]
        return float(weights.mean()) if len(weights) else 1.0

    @property
    def users(self) -> NDArray[np.int64]:
        """The number of each row's user, (rows,); a row without one is on its own."""
        users = pc.dictionary_encode(self.rows["user_id"].combine_chunks()).indices
        alone = pa.array(np.arange(len(self), 2 * len(self)), pa.int32())
        return np.asarray(pc.coalesce(users, alone).to_numpy(), dtype=np.int64)

    @property
    def sample_weight(self) -> Floats | None:
        """Weights for a fit; None if all are equal."""
        return None if np.ptp(self.weight) == 0 else self.weight

    def outcomes(self, score: Floats) -> Outcomes:
        """Group these rows by score, (rows,), as ``metrics.outcomes``."""
        return metrics.outcomes(score, self.label, weight=self.weight)

    def roc_auc(self, score: Floats) -> float | None:
        """Return the ROC AUC of these rows by score, (rows,); None with one class."""
        return metrics.roc_auc(self.outcomes(score))

    def slopes(
        self, score: Floats, slopes_of: Callable[[Outcomes], metrics.Slopes]
    ) -> Floats:
        """Return how far each row moves a metric of their scores, (rows,)."""
        observed = self.outcomes(score)
        by_group = slopes_of(observed)
        group = np.searchsorted(observed.probability, score)
        positive = by_group.positive[group]
        negative = by_group.negative[group]
        return self.weight * np.where(self.label == 1, positive, negative)

    def spread(
        self, score: Floats, slopes_of: Callable[[Outcomes], metrics.Slopes]
    ) -> tuple[float, float]:
        """Return the spread of a metric of their scores, as ``by_user``."""
        return by_user(self.slopes(score, slopes_of), self.label, self.users)


class JudgedRows(NamedTuple):
    """
    Rows to judge candidates on, as places among those before the holdout.

    Candidates are fitted on the rows up to ``fit_end`` and judged on those from
    ``first`` up to ``end``.
    """

    fit_end: int
    first: int
    end: int


@dataclass(frozen=True, kw_only=True)
class Parts:
    """
    The rows of a training, split by time.

    Attributes:
        split: The as-of dates of each part.
        before: The labelled rows before the holdout.
        blocks: Of these, oldest first; the judged rows follow each other. None where
            there are too few labels for candidates that learn from them.
        fitting: Labelled rows that the measured model is fitted on.
        holdout: Labelled rows that it is measured on.
        every: All labelled rows.
    """

    split: Split
    before: Slice
    blocks: Sequence[JudgedRows]
    fitting: Slice
    holdout: Slice
    every: Slice

    @property
    def choosing(self) -> Slice:
        """The judged rows of all blocks."""
        if not self.blocks:
            return self.before.between(0, 0)
        return self.before.between(self.blocks[0].first, self.blocks[-1].end)


def is_enough(part: Slice, limits: Limits) -> bool:
    """Tell whether rows are enough to fit on."""
    return len(part) >= limits.rows and limits.conversions <= part.conversions < len(
        part
    )


def slice_of(rows: pa.Table, as_ofs: Sequence[date]) -> Slice:
    """Return the rows of some as-of dates."""
    values = pa.array(as_ofs, pa.date32())
    return Slice(rows=rows.filter(pc.is_in(rows["as_of"], value_set=values)))


def in_order(rows: pa.Table, *, elapsed: str = "") -> pa.Table:
    """Return rows by date, user and ``elapsed``, if any; the same table if they are."""
    order = [("as_of", "ascending"), ("user_id", "ascending")]
    if elapsed:
        order.append((elapsed, "ascending"))
    indices = pc.sort_indices(rows, order)
    if pc.all(pc.equal(pc.pairwise_diff(indices.cast(pa.int64()), 1), 1)).as_py():
        return rows
    return rows.take(indices)


def repeated(rows: pa.Table, *, elapsed: str = "") -> int:
    """Return how many rows are of the date, user and ``elapsed`` of another one."""
    keys = ["as_of", "user_id"]
    if elapsed:
        keys.append(elapsed)
    return len(rows) - len(rows.group_by(keys).aggregate([]))
