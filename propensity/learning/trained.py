"""
What a training gives: a model, the candidates that were judged, and the holdout; and
how much a model needs each feature.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Struct

from propensity.fraud import Stakes
from propensity.learning.rows import Parts, Slice
from propensity.measures.metrics import Curves
from propensity.models.encoding import Floats, numbers_of
from propensity.models.half_space_trees import HalfSpaceTrees
from propensity.models.scoring import Scorer
from propensity.tables.models import Metrics, Savings
from propensity.usecases import NUMBER, Candidate, UseCase

# ROC AUC of a feature alone from which it may know the outcome.
LEAK = 0.99

# Rows and repeats for the importance of a feature: enough for a ranking, and cheaper
# than another candidate.
_ROWS, _REPEATS = 1_000, 3

# Rows of a category from which they tell its rate.
_FEWEST = 10


@dataclass(frozen=True, kw_only=True)
class Model:
    """A fitted preprocessor and a fitted classifier of its output."""

    preprocessor: Any
    classifier: Any

    @property
    def is_anomaly(self) -> bool:
        """Whether it gives anomaly scores, and no probabilities."""
        return isinstance(self.classifier, HalfSpaceTrees)

    def scores(self, rows: pa.Table, use_case: UseCase) -> Floats:
        """Return the scores of rows, in order, as they are published."""
        scorer = Scorer(self.preprocessor, self.classifier, features=use_case.features)
        parts = [score for _, score in scorer.score(rows.to_batches())]
        return np.concatenate([np.empty(0), *parts])


@dataclass(frozen=True, kw_only=True)
class Judged:
    """
    A candidate, judged forward in time.

    Attributes:
        score: Of the judged rows, each by a model of older rows, (rows,); NaN of trees
            that are not warm.
        metrics: Of these rows, by name; None where one does not exist.
    """

    candidate: Candidate
    score: Floats
    metrics: Mapping[str, float | None]


class Importance(Struct, frozen=True, kw_only=True):
    """
    What a feature does for a model.

    Attributes:
        mean, std: Fall of ROC AUC without it, of several repeats.
        alone: ROC AUC of a ranking by it only.
    """

    feature: str
    mean: float
    std: float
    alone: float


@dataclass(frozen=True, kw_only=True)
class Holdout:
    """
    What the measured model gives the rows held out.

    Attributes:
        rows: The labelled rows held out.
        probability: Of these rows, (rows,). With ``is_anomaly`` these are anomaly
            scores, NaN unless the model is warm.
        live: The same of the model that goes live.
        baseline: Ranks by the use case's baseline, in [0, 1], of the judged rows and
            these, (rows,).
        baseline_roc_auc: Its ROC AUC of these rows; None with one class.
        curves: ROC, precision-recall and calibration, for a page.
        importance: Of each feature, the greatest first.
        savings, stakes: Of events: what the alerts save, and what the rows cost;
            ``baseline_saved``, what alerts by the baseline save.
    """

    rows: Slice
    probability: Floats
    live: Floats
    baseline: Floats
    baseline_roc_auc: float | None
    metrics: Metrics = Metrics()
    curves: Curves = Curves()
    importance: Sequence[Importance] = ()
    savings: Savings | None = None
    baseline_saved: Decimal | None = None
    stakes: Stakes | None = None

    def suspicions(self) -> list[str]:
        """Say which features rank alone as if they knew the outcome."""
        return [
            f"{one.feature} alone ranks at ROC AUC {one.alone:.3f}, as if it knew the "
            "outcome: check that it is known before the prediction date"
            for one in self.importance
            if one.alone >= LEAK
        ]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """
    A trained model.

    Attributes:
        chosen: The best candidate, and ``members`` those that it is the mean of.
        measured: Fitted without the holdout; ``live`` fitted on all rows.
    """

    parts: Parts
    judged: Sequence[Judged]
    chosen: Candidate
    members: Sequence[Candidate]
    measured: Model
    live: Model
    holdout: Holdout

    def judged_forward(self) -> tuple[Slice, Floats, Floats]:
        """
        Return all rows that were scored by models of older rows: judged and held out.

        Returns:
            The rows, their scores by the chosen candidate, and ranks by the baseline.
            Without the judged rows where trees were not warm for them.
        """
        held, judged = self.holdout, self.parts.choosing
        [score] = [one.score for one in self.judged if one.candidate == self.chosen]
        if np.isnan(score).any():
            return held.rows, held.probability, held.baseline[len(judged) :]
        both = np.concatenate([score, held.probability])
        return judged.followed_by(held.rows), both, held.baseline

    @property
    def is_anomaly(self) -> bool:
        """Whether it gives anomaly scores, and no probabilities."""
        return self.live.is_anomaly

    @property
    def is_warm(self) -> bool:
        """Whether it has seen enough to score."""
        return not self.is_anomaly or self.live.classifier.is_warm


# -- features --------------------------------------------------------------------------


def importance(
    model: Model, use_case: UseCase, holdout: Slice, *, older: Slice, seed: int
) -> list[Importance]:
    """
    Return how much ROC AUC falls when one feature is shuffled, greatest fall first.

    Args:
        model: It has not seen the rows of ``holdout``; of one class there is nothing.
        older: Rows that say how often a category has label 1.

    Source:
        Breiman, "Random Forests", Machine Learning 45, 2001, section 10.
    """
    if not holdout.has_both_classes:
        return []
    features = list(use_case.features)
    generator = np.random.default_rng(seed)
    # Label 1 is rare, so half the sample has it. ROC AUC does not depend on that.
    half = max(1, min(_ROWS, len(holdout)) // 2)
    drawn = []
    for label in (0, 1):
        places = np.flatnonzero(holdout.label == label)
        drawn.append(generator.permutation(places)[:half])
    sample = np.sort(np.concatenate(drawn))
    taken = holdout.rows.select([*features, "label", "weight"]).take(pa.array(sample))
    part = Slice(rows=taken.combine_chunks())
    rows = part.rows.select(features)
    varying = [name for name in features if pc.count_distinct(rows[name]).as_py() > 1]
    shuffled = [rows]
    for name in varying:
        place = rows.column_names.index(name)
        for _ in range(_REPEATS):
            column = rows[name].take(pa.array(generator.permutation(len(rows))))
            shuffled.append(rows.set_column(place, name, column))
    # All are scored at once: trees take half the time a row if there are many.
    whole = model.scores(pa.concat_tables(shuffled).combine_chunks(), use_case)
    best, *areas = (part.roc_auc(one) or 0.0 for one in np.split(whole, len(shuffled)))
    falls = best - np.array(areas).reshape(len(varying), _REPEATS)
    entries = []
    for name, kind in use_case.features.items():
        fall = falls[varying.index(name)] if name in varying else np.zeros(1)
        area = part.roc_auc(ranks_alone(older, part, name, kind)) or 0.0
        one = Importance(
            feature=name,
            mean=float(fall.mean()),
            std=float(fall.std()),
            alone=max(area, 1 - area),
        )
        entries.append(one)
    return sorted(entries, key=lambda entry: -entry.mean)


def ranks_alone(older: Slice, part: Slice, name: str, kind: str) -> Floats:
    """
    Return ranks of rows in [0, 1] by one feature, (rows,); a gap is the lowest number.

    A category ranks by its rate in older rows, and a gap is one of them. Rare and new
    ones rank by the rate of all rare ones: an id that only buyers have is rare.
    """
    column = part.rows[name]
    if kind == NUMBER:
        return _ranks(numbers_of(column))
    label = pd.Series(older.label)
    known = label.groupby(older.rows[name].to_pandas(), dropna=False)
    rates = known.mean()[known.size() >= _FEWEST]
    rare = label[known.transform("size") < _FEWEST]
    others = (rare if len(rare) >= _FEWEST else label).mean()
    own = column.to_pandas().map(rates).fillna(others)
    return _ranks(own.to_numpy(np.float64))


def baseline_score(use_case: UseCase, *parts: Slice) -> Floats:
    """Return ranks in [0, 1] by the baseline's feature; missing values come last."""
    baseline = use_case.baseline
    values = np.concatenate([numbers_of(part.rows[baseline.feature]) for part in parts])
    return _ranks(-values if baseline.ascending else values)


def _ranks(values: Floats) -> Floats:
    order = np.nan_to_num(values, nan=-np.inf)
    _, rank = np.unique(order, return_inverse=True)
    return np.asarray(rank / max(1, rank.max(initial=0)), dtype=np.float64)
