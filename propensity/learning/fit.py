"""
Training: judge the candidates forward in time, fit the best, and measure it once.

Rolling origin: on each block of rows a candidate is fitted on older ones, and scores
the block's. The candidate with the least log loss over all blocks is taken, then the
calibration with the least; of events, the candidate whose alerts cost least. It is
fitted on all rows before the holdout, measured there, and, of users, fitted again on
all rows: that model serves.

Source:
    Tashman, "Out-of-sample tests of forecasting accuracy: an analysis and review",
    International Journal of Forecasting 16, 2000, on rolling origins.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from joblib import cpu_count
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from propensity.errors import NotEnoughData
from propensity.learning import alerts, candidates, metrics, thresholds
from propensity.learning.alerts import Stakes, floats
from propensity.learning.candidates import CALIBRATIONS, PARALLEL_ROWS
from propensity.learning.importance import baseline_score, importance
from propensity.learning.preprocessor import default_preprocessor, fitted, transformed
from propensity.learning.rows import Judged as Block
from propensity.learning.rows import Parts, Slice
from propensity.learning.thresholds import Metrics, Selection
from propensity.learning.trained import Holdout, Judged, Model, Trained
from propensity.learning.trees import fit_trees
from propensity.models.anomaly import AnomalyModel
from propensity.settings import Settings
from propensity.usecases import Candidate, UseCase
from propensity.usecases.declaration import FOREST

Floats = NDArray[np.float64]

# Folds of users that a calibration is judged on where there is one block alone.
_FOLDS = 5


def train(
    parts: Parts,
    use_case: UseCase,
    *,
    preprocessor: Any | None,
    settings: Settings,
    jobs: int | None = None,
) -> Trained:
    """
    Train, choose, calibrate and measure.

    With too few labels only Half-Space Trees can be fitted, which learn from all rows.

    Args:
        parts: The rows, split by time: from ``rows.of_users`` or ``rows.of_events``.
        use_case: Its features, candidates, baseline and amount.
        preprocessor: Unfitted ColumnTransformer for candidates that learn from labels;
            clones are fitted. None for the default.
        settings: The minimum of conversions, the cost of an alert, and the seed.
        jobs: Fits of few rows at once; None for one per processor.

    Raises:
        NotEnoughData: There are too few labels for the use case's candidates.
        SchemaError: The rows or the preprocessor do not fit the use case.
        UseCaseError: A candidate is wrong.
    """
    if preprocessor is None:
        preprocessor = default_preprocessor(use_case)
    training = _Training(
        parts, use_case, preprocessor, settings, jobs or int(cpu_count())
    )
    return training.run()


class _Training:
    """A training under way."""

    def __init__(
        self,
        parts: Parts,
        use_case: UseCase,
        preprocessor: Any,
        settings: Settings,
        jobs: int,
    ) -> None:
        self.parts, self.use_case, self.preprocessor = parts, use_case, preprocessor
        self.settings, self.seed = settings, settings.seed
        self.features = dict(use_case.features)
        self.is_small = len(parts.every or parts.before) <= PARALLEL_ROWS
        self.jobs = jobs if self.is_small else 1

    def run(self) -> Trained:
        """Do all of it."""
        parts = self.parts
        with threadpool_limits(1 if self.is_small else None):
            judged = self._judged_forests() + self._judged_classifiers()
            if not judged:
                raise NotEnoughData(
                    f"{parts.before.conversions} of the {len(parts.before)} events to "
                    "train and to choose on are known to be label 1, which is too few: "
                    f"at least {self.settings.minimum_conversions} are needed, and no "
                    f"candidate of {self.use_case.name} does without"
                )
            best = min(judged, key=self._loss)
            is_forest = best.candidate.algorithm == FOREST
            by_name = {one.candidate.name: one for one in judged}
            members = [
                by_name[name] for name in candidates.members(best.candidate, by_name)
            ]
            score, calibration, losses, calibrator = best.score, "none", {}, None
            if not is_forest:
                each = np.column_stack([one.score for one in members])
                crossed = self._calibrated(each, best.score)
                losses = {
                    name: metrics.log_loss(parts.choosing.outcomes(values)) or 0.0
                    for name, values in crossed.items()
                }
                calibration = min(losses, key=lambda name: losses[name])
                score = crossed[calibration]
                calibrator = candidates.calibrator(calibration, each, parts.choosing)
            learned = [parts.fitting, *([parts.every] if parts.every else [])]
            names = [one.candidate for one in members]
            if is_forest:
                assert parts.unlabelled is not None
                models = [
                    fit_trees(
                        best.candidate,
                        parts.unlabelled[1],
                        self.features,
                        seed=self.seed,
                    )
                ]
            else:
                models = self._fitted(names, learned, calibrator)
        threshold = None
        if parts.choosing.has_both_classes and not np.isnan(score).any():
            threshold = thresholds.best_threshold(parts.choosing.outcomes(score))
        alone = sum(not candidates.is_mean(one.candidate) for one in judged)
        return Trained(
            parts=parts,
            judged=judged,
            chosen=best.candidate,
            members=names,
            calibration=calibration,
            calibrations=losses,
            best_threshold=threshold,
            measured=models[0],
            served=models[-1],
            holdout=self._holdout(models[0], models[-1], score, threshold),
            fits=alone * max(1, len(parts.blocks)) + len(members) * len(learned),
        )

    def _judged_classifiers(self) -> list[Judged]:
        """Judge the candidates that learn from labels, if there are enough."""
        parts, blocks = self.parts, self.parts.blocks
        learning = [c for c in self.use_case.candidates if c.algorithm != FOREST]
        if not blocks or not learning:
            return []
        # The encoder knows nothing that any block judges.
        first = parts.before.between(0, blocks[0].fit_end)
        encoder = fitted(self.preprocessor, first, self.features)
        known = parts.before.between(0, blocks[-1].end)
        encoded = transformed(encoder, known.rows, self.features)

        def fit(candidate: Candidate, block: Block) -> tuple[Floats, float]:
            began = time.perf_counter()
            rows = known.between(0, block.fit_end)
            model = candidates.fit(
                candidate, encoded[: block.fit_end], rows, seed=self.seed
            )
            seconds = time.perf_counter() - began
            judged = encoded[block.first : block.end]
            return model.predict_proba(judged)[:, 1], seconds

        alone = [c for c in learning if not candidates.is_mean(c)]
        calls = [partial(fit, c, block) for c in alone for block in blocks]
        results = iter(candidates.side_by_side(calls, jobs=self.jobs))
        scores, seconds = {}, {}
        for candidate in alone:
            fits = [next(results) for _ in blocks]
            scores[candidate.name] = np.concatenate([score for score, _ in fits])
            seconds[candidate.name] = sum(each for _, each in fits)
        means = {
            one.name: np.mean(
                [scores[name] for name in candidates.members(one, scores)], axis=0
            )
            for one in learning
        }
        return [
            Judged(
                candidate=one,
                score=means[one.name],
                metrics=self._metrics(means[one.name]),
                seconds=seconds.get(one.name, 0.0),
            )
            for one in learning
        ]

    def _judged_forests(self) -> list[Judged]:
        """Judge Half-Space Trees, fitted on all rows before those to choose on."""
        judged = []
        for candidate in self.use_case.candidates:
            if candidate.algorithm != FOREST or self.parts.unlabelled is None:
                continue
            began = time.perf_counter()
            model = fit_trees(
                candidate, self.parts.unlabelled[0], self.features, seed=self.seed
            )
            seconds = time.perf_counter() - began
            score = model.scores(self.parts.choosing.rows, self.use_case)
            values = self._metrics(score, is_anomaly=True)
            judged.append(
                Judged(
                    candidate=candidate, score=score, metrics=values, seconds=seconds
                )
            )
        return judged

    def _metrics(
        self, score: Floats, *, is_anomaly: bool = False
    ) -> dict[str, float | None]:
        """Return the metrics that compare candidates on the judged rows."""
        names = ("roc_auc", "pr_auc", "log_loss", "brier")
        values: dict[str, float | None] = dict.fromkeys(names)
        if not len(score) or np.isnan(score).any():
            return values
        choosing = self.parts.choosing
        observed = choosing.outcomes(score)
        for name in names[:2] if is_anomaly else names:
            values[name] = getattr(metrics, name)(observed)
        if (stakes := self._stakes(choosing)) is not None:
            threshold = alerts.cheapest_threshold(score, stakes)
            gain = stakes.gain[score >= threshold].sum()
            lost = (stakes.amount * stakes.weight)[stakes.is_fraud].sum()
            values["cost"] = float(lost - gain)
        return values

    def _loss(self, judged: Judged) -> tuple[float, float]:
        """Return what is to be least: log loss; of events cost, then PR AUC."""
        values = judged.metrics
        if self.parts.unlabelled is None:
            return values["log_loss"] or 0.0, 0.0
        return values.get("cost") or 0.0, -(values["pr_auc"] or 0.0)

    def _calibrated(self, each: Floats, score: Floats) -> dict[str, Floats]:
        """
        Return scores of the judged rows by calibration, each fitted on other rows.

        On the blocks after those that it is fitted on: what a calibration has learned
        of the level of some weeks may be wrong in the next. Where there is one block,
        on folds by user, since a user's rows are alike. A calibration that cannot be
        fitted, for want of a class, is left out.

        Args:
            each: Of the members, (rows, members).
            score: Their mean, (rows,).
        """
        choosing, blocks = self.parts.choosing, self.parts.blocks
        if len(blocks) > 1:
            sizes = [block.end - block.first for block in blocks]
            fold = np.repeat(np.arange(len(blocks)), sizes)
            folds = [(fold < n, fold == n) for n in range(1, len(blocks))]
        else:
            users = choosing.users
            random = np.random.default_rng(self.seed)
            fold = random.integers(0, _FOLDS, users.max() + 1)[users]
            folds = [(fold != n, fold == n) for n in range(_FOLDS)]
        by_method = {"none": score}
        for method in CALIBRATIONS[1:]:
            crossed = score.copy()
            for learned, inside in folds:
                rows = Slice(
                    rows=choosing.rows,
                    label=choosing.label[learned],
                    weight=choosing.weight[learned],
                )
                if not rows.has_both_classes:
                    break
                if inside.any():
                    fit: Any = candidates.calibrator(method, each[learned], rows)
                    crossed[inside] = fit.predict_proba(each[inside])[:, 1]
            else:
                by_method[method] = crossed
        return by_method

    def _fitted(
        self,
        members: Sequence[Candidate],
        learned: Sequence[Slice],
        calibrator: Any | None,
    ) -> list[Model]:
        """Return the mean of candidates, fitted on each of several slices."""
        encoders, calls = [], []
        for part in learned:
            encoders.append(fitted(self.preprocessor, part, self.features))
            encoded = transformed(encoders[-1], part.rows, self.features)
            calls += [
                partial(candidates.fit, member, encoded, part, seed=self.seed)
                for member in members
            ]
        fits = iter(candidates.side_by_side(calls, jobs=self.jobs))
        return [
            Model(
                preprocessor=encoder,
                classifier=candidates.combined(
                    [next(fits) for _ in members], calibrator
                ),
            )
            for encoder in encoders
        ]

    def _holdout(
        self, measured: Model, served: Model, judged: Floats, threshold: float | None
    ) -> Holdout:
        """
        Measure a model on the rows held out.

        Args:
            judged: Scores of the judged rows, (rows,).
            threshold: With the best F1 on these.
        """
        part, use_case = self.parts.holdout, self.use_case
        score = measured.scores(part.rows, use_case)
        is_anomaly = isinstance(measured.classifier, AnomalyModel)
        baseline = baseline_score(use_case, part)
        is_scored = len(part) > 0 and not np.isnan(score).any()
        holdout = Holdout(
            rows=part,
            probability=score,
            served=score if served is measured else served.scores(part.rows, use_case),
            metrics=Metrics(),
            baseline=baseline,
            baseline_roc_auc=metrics.roc_auc(part.outcomes(baseline)),
            is_enough=is_scored
            and part.has_both_classes
            and part.conversions >= self.settings.minimum_conversions,
            curves={},
            importance=(),
        )
        if not is_scored:
            return holdout
        observed = part.outcomes(score)
        curves = metrics.curves(observed)
        selection = Selection(
            budget=use_case.chosen_budget(self.settings),
            dates=len(self.parts.split.holdout),
            threshold=threshold,
        )
        return replace(
            holdout,
            metrics=thresholds.measured(
                observed,
                selection,
                threshold=use_case.threshold,
                seed=self.seed,
                per_row=part.per_row,
                is_anomaly=is_anomaly,
            ),
            curves={**curves, "calibration": []} if is_anomaly else curves,
            importance=importance(
                lambda rows: measured.scores(rows, use_case),
                self.features,
                part,
                seed=self.seed,
            ),
            **self._alerts(measured, score, judged),
        )

    def _alerts(self, measured: Model, score: Floats, judged: Floats) -> dict[str, Any]:
        """
        Return what alerts on the rows held out cost and save; nothing of users.

        The threshold is the cheapest on the judged rows. Trees learn no labels, so
        theirs is of all rows before the holdout, as the measured trees score them.
        """
        part, stakes = self.parts.holdout, self._stakes(self.parts.holdout)
        if self.parts.unlabelled is None:
            return {}
        if stakes is None:
            free = self._costs(part, np.zeros(len(part)))
            return {"at_rates": alerts.at_rates(score, free)}
        earlier = self.parts.choosing
        if isinstance(measured.classifier, AnomalyModel):
            earlier = self.parts.before
            judged = measured.scores(earlier.rows, self.use_case)
        known = self._stakes(earlier)
        assert known is not None
        ranks = baseline_score(self.use_case, earlier, part)
        own, baseline = (
            alerts.savings(
                now,
                stakes,
                threshold=alerts.cheapest_threshold(before, known),
                seed=self.seed,
            )
            for now, before in (
                (score, judged),
                (ranks[len(earlier) :], ranks[: len(earlier)]),
            )
        )
        return {
            "at_rates": alerts.at_rates(score, stakes),
            "savings": own,
            "baseline_saved": baseline.saved,
            "stakes": stakes,
        }

    def _stakes(self, part: Slice) -> Stakes | None:
        """Return what labelled rows cost; None if the use case names no amount."""
        if not self.use_case.amount:
            return None
        return self._costs(
            part, alerts.amounts(floats(part.rows[self.use_case.amount]))
        )

    def _costs(self, part: Slice, amount: Floats) -> Stakes:
        return Stakes(
            is_fraud=part.label == 1,
            amount=amount,
            weight=part.weight,
            review_cost=self.settings.alert_review_cost,
        )
