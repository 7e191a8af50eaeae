"""
Why: in which direction a feature moves probabilities, and which moved a row most.

The first are the probabilities of a sample of rows, each with the same value of the
feature, by value. The second are log-odds, ln(p / (1 - p)): those of the row less those
of the same row with the usual value. Of a model that adds features up, such as a
logistic regression, the reasons of a row and the usual row add up to its own; of
another model they are approximate.

Source:
    Friedman, "Greedy function approximation: a gradient boosting machine", Annals of
    Statistics 29, 2001, section 8.2, on partial dependence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from sklearn.linear_model import LogisticRegression

from propensity.learning.card import Direction
from propensity.learning.model import Model
from propensity.learning.task import NUMBER
from propensity.models.encoding import Floats, floats_of
from propensity.pages.words import abbreviate
from propensity.table_files.column import Feature

# Rows and values that a direction is drawn from, and features that have one.
_ROWS = 200
_VALUES = 9
_FEATURES = 12
# How many reasons a row of a list has.
_REASONS = 3
# A smaller one would be written as 0.
_LEAST = 0.005


def directions(
    model: Model, features: Mapping[str, str], rows: pa.Table, names: Sequence[str]
) -> list[Direction]:
    """Return the directions of features, by a sample of rows."""
    generator = np.random.default_rng(0)
    drawn = generator.permutation(len(rows))[:_ROWS]
    sample = rows.select(list(features)).take(pa.array(drawn))
    sample = sample.combine_chunks()
    drawn_with = []
    parts = []
    for name in names[:_FEATURES]:
        values = _values(rows[name], features[name])
        drawn_with.append((name, values))
        parts += [_with(sample, name, value) for value in values]
    if not parts:
        return []
    # All are scored at once: trees take half the time a row if there are many.
    scores = model.scores(pa.concat_tables(parts).combine_chunks(), features)
    means = scores.reshape(-1, len(sample)).mean(axis=1).tolist()
    drawn_directions = []
    for name, values in drawn_with:
        shown = [written(value) for value in values]
        probabilities = means[: len(values)]
        means = means[len(values) :]
        drawn_directions.append(
            Direction(feature=name, values=shown, probabilities=probabilities)
        )
    return drawn_directions


@dataclass(frozen=True, kw_only=True)
class Reasons:
    """
    What moved the log-odds of rows.

    Attributes:
        usual: The log-odds of a row whose values are all usual.
        moved: By feature: how much more the row has than with its usual value, (rows,).
        total: The log-odds of the rows, (rows,).
        is_exact: Whether ``usual`` and ``moved`` add up to ``total``.
    """

    usual: float
    moved: pd.DataFrame
    total: Floats
    is_exact: bool

    def shown(self, rows: pa.Table, features: Mapping[str, Feature]) -> list[str]:
        """Return the three features that moved each row most, with its values."""
        moved = self.moved.to_numpy()
        strongest = np.argsort(-np.abs(moved), axis=1, kind="stable")[:, :_REASONS]
        names = list(self.moved.columns)
        columns = [rows[name].to_pylist() for name in names]
        listed = []
        for row, numbers in enumerate(strongest):
            parts = []
            for number in numbers:
                if abs(moved[row, number]) < _LEAST:
                    continue
                value = written(columns[number][row])
                if features[names[number]].kind == "date":
                    value += " days"
                parts.append(f"{names[number]} {value} ({moved[row, number]:+.2f})")
            listed.append(("" if self.is_exact else "about: ") + ", ".join(parts))
        return listed


def reasons(
    model: Model,
    features: Mapping[str, str],
    rows: pa.Table,
    *,
    training_rows: pa.Table,
) -> Reasons:
    """
    Return the reasons of rows.

    Args:
        training_rows: Their values say what is usual: the median, or the commonest.
    """
    total = _log_odds(model.scores(rows, features))
    moved = {}
    usual_row = rows.select(list(features))[:1]
    for name, kind in features.items():
        usual = _usual(training_rows[name], kind)
        usual_row = _with(usual_row, name, usual)
        others = model.scores(_with(rows, name, usual), features)
        moved[name] = total - _log_odds(others)
    return Reasons(
        usual=float(_log_odds(model.scores(usual_row, features))[0]),
        moved=pd.DataFrame(moved),
        total=total,
        is_exact=isinstance(model.classifier, LogisticRegression),
    )


def written(value: Any) -> str:
    """Write a value of a feature."""
    if value is None:
        return "empty"
    return value if isinstance(value, str) else abbreviate(value)


def _values(column: pa.ChunkedArray, kind: str) -> list[Any]:
    """Return values of a column that stand for all, a gap last."""
    values: list[Any]
    if kind == NUMBER:
        numbers = floats_of(column.drop_null())
        quantiles = np.linspace(0.02, 0.98, _VALUES)
        values = []
        # A number may be new since the older rows.
        if len(numbers):
            values = np.quantile(numbers, quantiles, method="nearest").tolist()
        values = sorted(set(values))
    else:
        counts = column.drop_null().to_pandas().value_counts()
        values = list(counts.index[:_VALUES])
    if column.null_count:
        values.append(None)
    return values


def _usual(column: pa.ChunkedArray, kind: str) -> Any:
    if column.null_count == len(column):
        return None
    if kind == NUMBER:
        return float(np.median(floats_of(column.drop_null())))
    return column.to_pandas().mode(dropna=False)[0]


def _with(rows: pa.Table, name: str, value: Any) -> pa.Table:
    kind = rows.schema.field(name).type
    scalar = pa.scalar(None if pd.isna(value) else value, kind)
    same = pa.repeat(scalar, len(rows))
    return rows.set_column(rows.column_names.index(name), name, same)


def _log_odds(probability: Floats) -> Floats:
    inside = np.clip(probability, 1e-15, 1 - 1e-15)
    return np.asarray(np.log(inside / (1 - inside)))
