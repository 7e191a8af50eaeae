"""What a training gives: a model, the candidates that were judged, and the holdout."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from propensity.learning.importance import Importance
from propensity.learning.model import Model
from propensity.learning.rows import Parts, Slice
from propensity.learning.task import Candidate
from propensity.measures.intervals import Difference
from propensity.measures.metrics import Curves
from propensity.models.encoding import Flags, Floats
from propensity.tables.models import Metrics

# ROC AUC of a feature alone from which it may know the outcome.
LEAK = 0.99


@dataclass(frozen=True, kw_only=True)
class JudgedCandidate:
    """
    A candidate, judged forward in time.

    Attributes:
        score: Of the judged rows, each by a model of older rows, (rows,).
        metrics: Of these rows, by name; None where one does not exist.
    """

    candidate: Candidate
    score: Floats
    metrics: Mapping[str, float | None]


@dataclass(frozen=True, kw_only=True)
class Holdout:
    """
    What the measured model gives the rows held out.

    Attributes:
        rows: The labelled rows held out.
        probability: Of these rows, (rows,).
        baseline: Ranks by the use case's baseline, in [0, 1], of the judged rows and
            these, (rows,).
        baseline_roc_auc: Its ROC AUC of these rows; None with one class.
        curves: ROC, precision-recall and calibration, for a page.
        importance: Of each feature, the greatest first.
    """

    rows: Slice
    probability: Floats
    baseline: Floats
    baseline_roc_auc: float | None
    metrics: Metrics = Metrics()
    curves: Curves = Curves()
    importance: Sequence[Importance] = ()

    def suspicions(self) -> list[str]:
        """Say which features rank alone as if they knew the outcome."""
        suspicions = []
        for feature in self.importance:
            if feature.alone >= LEAK:
                suspicions.append(
                    f"{feature.feature} alone ranks at ROC AUC {feature.alone:.3f}, as "
                    "if it knew the outcome: check that it is known before the "
                    "prediction date"
                )
        return suspicions


@dataclass(frozen=True, kw_only=True)
class Rival:
    """
    The champion, as a challenger is compared with it.

    Attributes:
        score: Of the challenger's holdout rows, (rows,); None where it cannot score
            today's features.
        is_new: Which of these rows it has not learned from, (rows,); None for all.
        alert_threshold: Of anomaly scores; above 1 without alerts. None where there are
            none, or where they are by probability and amount.
    """

    version: int
    score: Floats | None
    is_new: Flags | None = None
    alert_threshold: float | None = None

    def new_rows(self, holdout: Holdout) -> Flags:
        """Return which rows of a holdout it has not learned from, (rows,)."""
        if self.is_new is not None:
            return self.is_new
        return np.ones(len(holdout.rows), np.bool_)


@dataclass(frozen=True, kw_only=True)
class Learned:
    """
    What is known of the training of a champion.

    Attributes:
        until: The newest date that it has learned from.
        only_ranks: Whether it gives anomaly scores, which are no probabilities.
    """

    until: date | None = None
    only_ranks: bool = False
    alert_threshold: float | None = None


@dataclass(frozen=True, kw_only=True)
class Alerts:
    """
    What the gate is told of the alerts of a model of events.

    Attributes:
        only_rank: Whether they are by anomaly scores, which are no probabilities.
        is_warm: Whether the model has seen enough to score.
        cost_more_than_none: Whether they cost more than none would.
        cost_difference: Returns their cost less a champion's; None without amounts.
        words: What they save, and on how many frauds; "" without amounts.
    """

    only_rank: bool
    is_warm: bool
    cost_more_than_none: bool
    cost_difference: Callable[[Rival], Difference | None]
    words: str


@dataclass(frozen=True, kw_only=True)
class Trained:
    """
    A trained model.

    Attributes:
        chosen: The best candidate, and ``members`` those that it is the mean of.
        measured: Fitted without the holdout; ``live`` goes live.
    """

    parts: Parts
    candidates: Sequence[JudgedCandidate]
    chosen: Candidate
    members: Sequence[Candidate]
    measured: Model
    live: Model
    holdout: Holdout

    @property
    def alerts(self) -> Alerts | None:
        """What the gate is told of a model of events; None of users."""
        return None

    @property
    def judged_score(self) -> Floats:
        """The chosen candidate's scores of the judged rows, (rows,)."""
        [score] = [c.score for c in self.candidates if c.candidate == self.chosen]
        return score

    def judged_forward(self) -> tuple[Slice, Floats, Floats]:
        """
        Return all rows that were scored by models of older rows: judged and held out.

        Returns:
            The rows, their scores by the chosen candidate, and ranks by the baseline.
        """
        rows = self.parts.choosing.followed_by(self.holdout.rows)
        score = np.concatenate([self.judged_score, self.holdout.probability])
        return rows, score, self.holdout.baseline
