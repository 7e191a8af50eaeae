"""The training of a use case whose rows are users at dates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pyarrow.compute as pc

from propensity.learning.rows import Slice
from propensity.learning.task import Candidate
from propensity.learning.trained import JudgedCandidate, Learned, Rival, Trained
from propensity.learning.training import Fitted, Training
from propensity.measures import metrics
from propensity.models.encoding import Floats


@dataclass(frozen=True, kw_only=True)
class UserTraining(Training):
    """
    A training on labelled snapshots of users.

    The candidate with the least log loss is the best. It is measured without the
    holdout, and fitted again on all rows: that model goes live.
    """

    def judge(self) -> Sequence[JudgedCandidate]:
        """Judge all candidates; ``split_users`` sees to it that there are labels."""
        choosing = self.parts.choosing
        scores = self.classifier_scores(self.task.candidates)
        results = []
        for candidate in self.task.candidates:
            score = scores[candidate.name]
            measured = metrics_of(choosing, score)
            results.append(
                JudgedCandidate(candidate=candidate, score=score, metrics=measured)
            )
        return results

    def loss(self, candidate: JudgedCandidate) -> tuple[float, ...]:
        log_loss = candidate.metrics["log_loss"]
        return (np.inf if log_loss is None else log_loss,)

    def fit(self, chosen: Candidate, members: Sequence[Candidate]) -> Fitted:
        """Fit without the holdout, and on all rows."""
        learned = [self.parts.fitting, self.parts.every]
        models = self.fitted(members, learned)
        return Fitted(measured=models[0], live=models[1])

    def rival(self, version: int, score: Floats | None, learned: Learned) -> Rival:
        """
        Return the champion with the rows whose outcomes it has not learned from.

        Its scores of the others, as in a second training of the same day, would look
        better than they are.
        """
        is_new = None
        if learned.until is not None and self.task.horizon_days is not None:
            first_new = learned.until + timedelta(days=self.task.horizon_days)
            as_of = self.parts.holdout.rows["as_of"]
            is_new = pc.greater_equal(as_of, first_new).to_numpy()
        return Rival(version=version, score=score, is_new=is_new)

    def rival_of(self, trained: Trained, version: int) -> Rival:
        return Rival(version=version, score=trained.holdout.probability)


def metrics_of(part: Slice, score: Floats) -> dict[str, float | None]:
    """Return the metrics that candidates are compared by, of scores, (rows,)."""
    observed = part.outcomes(score)
    return {
        "roc_auc": metrics.roc_auc(observed),
        "pr_auc": metrics.pr_auc(observed),
        "log_loss": metrics.log_loss(observed),
        "brier": metrics.brier(observed),
    }
