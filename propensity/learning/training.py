"""
Training: judge the candidates forward in time, fit the best, and measure it once.

Rolling origin: on each block of rows a candidate is fitted on older ones, and scores
the block's. The best over all blocks is fitted on all rows before the holdout and
measured there. What is best, and which model goes live, differs between users and
events.

Source:
    Tashman, "Out-of-sample tests of forecasting accuracy: an analysis and review",
    International Journal of Forecasting 16, 2000, on rolling origins.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from joblib import cpu_count
from threadpoolctl import threadpool_limits

from propensity.learning import candidates
from propensity.learning.importance import baseline_score, importance
from propensity.learning.model import Model
from propensity.learning.rows import JudgedRows, Parts, Slice
from propensity.learning.task import MEAN, Candidate, Limits, Task
from propensity.learning.trained import (
    Holdout,
    JudgedCandidate,
    Learned,
    Rival,
    Trained,
)
from propensity.measures import metrics, thresholds
from propensity.measures.metrics import Curves, Outcomes
from propensity.models.encoding import Floats
from propensity.tables.models import Metrics
from propensity.watching import Watched, unwatched


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A model that is measured on the holdout, and the one that would go live."""

    measured: Model
    live: Model


@dataclass(frozen=True, kw_only=True)
class Training(ABC):
    """
    A training of one kind of rows: of users at dates, or of events.

    Attributes:
        parts: The rows, split by time.
        preprocessor: Unfitted ColumnTransformer for candidates that learn from labels;
            clones are fitted. None for the task's.
        jobs: Fits of few rows at once; None for one per processor.
        watched: Yields the fits, and shows how many are done.
    """

    parts: Parts
    task: Task
    limits: Limits
    preprocessor: Any | None = None
    jobs: int | None = None
    watched: Watched = unwatched

    @abstractmethod
    def judge(self) -> Sequence[JudgedCandidate]:
        """Judge the candidates forward in time."""

    @abstractmethod
    def loss(self, candidate: JudgedCandidate) -> tuple[float, ...]:
        """Return the values that the best candidate has the least of."""

    @abstractmethod
    def fit(self, chosen: Candidate, members: Sequence[Candidate]) -> Fitted:
        """Fit the best candidate, which is the mean of its members."""

    def result(self, trained: Trained) -> Trained:
        """Return a training with what this kind of rows has beyond the metrics."""
        return trained

    @abstractmethod
    def rival(self, version: int, score: Floats | None, learned: Learned) -> Rival:
        """
        Return the champion, as a challenger is compared with it.

        Args:
            score: Of the holdout rows, (rows,); None where it cannot score them.
        """

    @abstractmethod
    def rival_of(self, trained: Trained, version: int) -> Rival:
        """Return another training on the same rows as a rival."""

    def run(self) -> Trained:
        """Train, choose and measure."""
        with threadpool_limits(1 if self._is_small else None):
            results = self.judge()
            best = min(results, key=self.loss)
            names = candidates.members(best.candidate)
            by_name = {entry.candidate.name: entry.candidate for entry in results}
            members = [by_name[name] for name in names]
            fitted = self.fit(best.candidate, members)
            return self.result(
                Trained(
                    parts=self.parts,
                    candidates=results,
                    chosen=best.candidate,
                    members=members,
                    measured=fitted.measured,
                    live=fitted.live,
                    holdout=self.holdout(fitted),
                )
            )

    def classifier_scores(self, learning: Sequence[Candidate]) -> dict[str, Floats]:
        """Return the scores of the judged rows by candidates that learn from labels."""
        blocks = self.parts.blocks
        features = self.task.features
        labelled = self.parts.before
        # The encoder knows nothing that any block judges.
        encoder = self.encoder_of(labelled.between(0, blocks[0].fit_end))
        encoded = candidates.transformed(encoder, labelled.rows, features)

        def scored(candidate: Candidate, block: JudgedRows) -> Floats:
            rows = labelled.between(0, block.fit_end)
            seed = self.limits.seed
            model = candidates.fit(candidate, encoded[: len(rows)], rows, seed=seed)
            later = encoded[block.first : block.end]
            return np.asarray(model.predict_proba(later)[:, 1])

        fits = []
        for candidate in learning:
            if candidate.algorithm != MEAN:
                fits += [partial(scored, candidate, block) for block in blocks]
        jobs = self._jobs(len(labelled))
        results = candidates.run_parallel(
            fits, jobs=jobs, label="comparing candidates", watched=self.watched
        )
        scores: dict[str, Floats] = {}
        for candidate in learning:
            if candidate.algorithm == MEAN:
                members = [scores[name] for name in candidates.members(candidate)]
                scores[candidate.name] = np.mean(members, axis=0)
            else:
                # They are in the order in which they were begun.
                scores[candidate.name] = np.concatenate(results[: len(blocks)])
                results = results[len(blocks) :]
        return scores

    def fitted(
        self, members: Sequence[Candidate], learned: Sequence[Slice]
    ) -> list[Model]:
        """Return the mean of candidates, fitted on each of several slices."""
        features = self.task.features
        encoders = []
        calls = []
        for part in learned:
            encoder = self.encoder_of(part)
            encoders.append(encoder)
            encoded = candidates.transformed(encoder, part.rows, features)
            for member in members:
                calls.append(partial(self.fit_one, member, encoded, part))
        jobs = self._jobs(max(map(len, learned)))
        fits = candidates.run_parallel(
            calls, jobs=jobs, label="fitting the best", watched=self.watched
        )
        models = []
        for number, encoder in enumerate(encoders):
            first = number * len(members)
            combined = candidates.combined(fits[first : first + len(members)])
            models.append(Model(preprocessor=encoder, classifier=combined))
        return models

    def fit_one(self, candidate: Candidate, encoded: Any, part: Slice) -> Any:
        """Return a candidate, fitted on encoded rows."""
        return candidates.fit(candidate, encoded, part, seed=self.limits.seed)

    def encoder_of(self, part: Slice) -> Any:
        """Return the preprocessor, fitted on rows."""
        features = self.task.features
        return candidates.fitted(self._preprocessor, part, features)

    def holdout(self, fitted: Fitted) -> Holdout:
        """Measure a model on the rows held out."""
        part = self.parts.holdout
        score = fitted.measured.scores(part.rows, self.task.features)
        choosing = self.parts.choosing
        baseline = baseline_score(self.task.baseline, choosing, part)
        holdout = Holdout(
            rows=part,
            probability=score,
            baseline=baseline,
            baseline_roc_auc=part.roc_auc(baseline[len(choosing) :]),
        )
        if not len(part) or np.isnan(score).any():
            return holdout
        observed = part.outcomes(score)
        return replace(
            holdout,
            metrics=self.metrics(fitted.measured, observed, score),
            curves=self.curves(fitted.measured, observed),
            importance=importance(
                fitted.measured,
                self.task.features,
                part,
                older=self.parts.before,
                seed=self.limits.seed,
                watched=self.watched,
            ),
        )

    def metrics(self, model: Model, observed: Outcomes, score: Floats) -> Metrics:
        """Return the metrics of the rows held out by a model's scores, (rows,)."""
        return thresholds.score_metrics(
            observed,
            threshold=self.task.threshold,
            **self._measured_by(score),
        )

    def curves(self, model: Model, observed: Outcomes) -> Curves:
        """Return the curves of the rows held out by a model's scores."""
        return metrics.curves(observed)

    def _ranked(self, observed: Outcomes, score: Floats) -> Metrics:
        return thresholds.rank_metrics(observed, **self._measured_by(score))

    def _measured_by(self, score: Floats) -> dict[str, Any]:
        return {
            "budget": self.task.budget,
            "dates": len(self.parts.split.holdout),
            "spread": partial(self.parts.holdout.spread, score),
        }

    @property
    def _preprocessor(self) -> Any:
        if self.preprocessor is not None:
            return self.preprocessor
        return candidates.preprocessor_of(self.task)

    @property
    def _is_small(self) -> bool:
        return len(self.parts.every) <= candidates.PARALLEL_ROWS

    def _jobs(self, rows: int) -> int:
        # Fits of many rows use all processors themselves.
        if rows > candidates.PARALLEL_ROWS:
            return 1
        return self.jobs if self.jobs else int(cpu_count())
