"""
Training: judge the candidates forward in time, fit the best, and measure it once.

Rolling origin: on each block of rows a candidate is fitted on older ones, and scores
the block's. The candidate with the least log loss over all blocks is taken; of events,
the one whose alerts cost least. It is fitted on all rows before the holdout, measured
there, and, of users, fitted again on all rows: that model goes live.

Source:
    Tashman, "Out-of-sample tests of forecasting accuracy: an analysis and review",
    International Journal of Forecasting 16, 2000, on rolling origins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
from joblib import cpu_count
from msgspec import structs
from threadpoolctl import threadpool_limits

from propensity import fraud
from propensity.errors import NotEnoughData
from propensity.fraud import Stakes
from propensity.learning import candidates, trained
from propensity.learning.rows import JudgedRows, Parts, Slice
from propensity.measures import metrics, thresholds
from propensity.measures.revenue import amounts
from propensity.models.encoding import Floats, numbers_of
from propensity.settings import Settings
from propensity.usecases import Candidate, UseCase
from propensity.usecases.declaration import FOREST, MEAN


def train(
    parts: Parts,
    use_case: UseCase,
    *,
    preprocessor: Any | None,
    settings: Settings,
    jobs: int | None = None,
) -> trained.Trained:
    """
    Train, choose and measure.

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
        preprocessor = candidates.default_preprocessor(use_case)
    is_small = len(parts.every) <= candidates.PARALLEL_ROWS
    jobs = (jobs or int(cpu_count())) if is_small else 1
    with threadpool_limits(1 if is_small else None):
        return _Training(parts, use_case, preprocessor, settings, jobs).run()


@dataclass(frozen=True)
class _Training:
    """A training under way."""

    parts: Parts
    use_case: UseCase
    preprocessor: Any
    settings: Settings
    jobs: int

    def run(self) -> trained.Trained:
        parts = self.parts
        judged = [*self._judged_trees(), *self._judged_classifiers()]
        if not judged:
            raise NotEnoughData(
                f"{parts.before.conversions} of the {len(parts.before)} events to "
                "train and to choose on are known to be label 1, which is too few: "
                f"every candidate of {self.use_case.name} needs at least "
                f"{self.settings.minimum_conversions}"
            )
        best = min(judged, key=self._loss)
        by_name = {one.candidate.name: one.candidate for one in judged}
        members = [by_name[name] for name in candidates.members(best.candidate)]
        if best.candidate.algorithm == FOREST:
            models = [self._trees(best.candidate, parts.unlabelled[1])]
        elif self.use_case.scores_events:
            models = self._fitted(members, [parts.fitting])
        else:
            models = self._fitted(members, [parts.fitting, parts.every])
        return trained.Trained(
            parts=parts,
            judged=judged,
            chosen=best.candidate,
            members=members,
            measured=models[0],
            live=models[-1],
            holdout=self._holdout(models[0], models[-1], best.score),
        )

    def _judged_classifiers(self) -> list[trained.Judged]:
        """Judge the candidates that learn from labels, if there are enough."""
        parts, blocks = self.parts, self.parts.blocks
        learning = [c for c in self.use_case.candidates if c.algorithm != FOREST]
        if not blocks or not learning:
            return []
        # The encoder knows nothing that any block judges.
        features, known = self.use_case.features, parts.before
        first = known.between(0, blocks[0].fit_end)
        encoder = candidates.fitted(self.preprocessor, first, features)
        encoded = candidates.transformed(encoder, known.rows, features)

        def scored(candidate: Candidate, block: JudgedRows) -> Floats:
            rows, seed = known.between(0, block.fit_end), self.settings.seed
            model = candidates.fit(candidate, encoded[: len(rows)], rows, seed=seed)
            judged = encoded[block.first : block.end]
            return np.asarray(model.predict_proba(judged)[:, 1])

        fits = []
        for candidate in learning:
            if candidate.algorithm != MEAN:
                fits += [partial(scored, candidate, block) for block in blocks]
        results = iter(candidates.run_parallel(fits, jobs=self.jobs))
        scores: dict[str, Floats] = {}
        for one in learning:
            if one.algorithm == MEAN:
                of = [scores[name] for name in candidates.members(one)]
                scores[one.name] = np.mean(of, axis=0)
            else:
                scores[one.name] = np.concatenate([*islice(results, len(blocks))])
        return [self._judged(one, scores[one.name]) for one in learning]

    def _judged_trees(self) -> list[trained.Judged]:
        """Judge Half-Space Trees, fitted on all rows before those to choose on."""
        parts, judged = self.parts, []
        for candidate in self.use_case.candidates:
            if candidate.algorithm == FOREST:
                model = self._trees(candidate, parts.unlabelled[0])
                score = model.scores(parts.choosing.rows, self.use_case)
                judged.append(self._judged(candidate, score))
        return judged

    def _trees(self, candidate: Candidate, rows: Any) -> trained.Model:
        seed = self.settings.seed
        return candidates.fit_trees(candidate, rows, self.use_case.features, seed=seed)

    def _judged(self, candidate: Candidate, score: Floats) -> trained.Judged:
        """Return a candidate with the metrics that it is compared by."""
        is_anomaly = candidate.algorithm == FOREST
        names = ("roc_auc", "pr_auc", "log_loss", "brier")
        values: dict[str, float | None] = dict.fromkeys(names)
        if len(score) and not np.isnan(score).any():
            observed = self.parts.choosing.outcomes(score)
            for name in names[:2] if is_anomaly else names:
                values[name] = getattr(metrics, name)(observed)
            if self.use_case.stream.amount:
                stakes, threshold = self._stakes(self.parts.choosing), None
                if is_anomaly:
                    threshold = fraud.cheapest_threshold(score, stakes)
                alerted = stakes.alerts(score, threshold)
                saved = fraud.savings(alerted, stakes, threshold=threshold)
                values["cost"] = float(saved.cost)
        return trained.Judged(candidate=candidate, score=score, metrics=values)

    def _loss(self, judged: trained.Judged) -> tuple[float, float]:
        """Return the values to minimise: log loss; of events cost, then PR AUC."""
        values = judged.metrics
        if not self.use_case.scores_events:
            loss = values["log_loss"]
            return np.inf if loss is None else loss, 0.0
        cost = values.get("cost")
        if cost is None:  # nothing is paid, or not all rows can be scored yet
            cost = np.inf if self.use_case.stream.amount else 0.0
        return cost, -(values["pr_auc"] or 0.0)

    def _fitted(
        self, members: Sequence[Candidate], learned: Sequence[Slice]
    ) -> list[trained.Model]:
        """Return the mean of candidates, fitted on each of several slices."""
        features, encoders, calls = self.use_case.features, [], []
        for part in learned:
            encoders.append(candidates.fitted(self.preprocessor, part, features))
            encoded = candidates.transformed(encoders[-1], part.rows, features)
            for one in members:
                seed = self.settings.seed
                calls.append(partial(candidates.fit, one, encoded, part, seed=seed))
        fits = iter(candidates.run_parallel(calls, jobs=self.jobs))
        models = []
        for encoder in encoders:
            combined = candidates.combined([*islice(fits, len(members))])
            models.append(trained.Model(preprocessor=encoder, classifier=combined))
        return models

    def _holdout(
        self,
        measured: trained.Model,
        live: trained.Model,
        judged: Floats,
    ) -> trained.Holdout:
        """Measure a model on the rows held out, beside the scores of judged rows."""
        part, use_case, seed = self.parts.holdout, self.use_case, self.settings.seed
        score = measured.scores(part.rows, use_case)
        judged_rows = self.parts.choosing
        baseline = trained.baseline_score(use_case, judged_rows, part)
        holdout = trained.Holdout(
            rows=part,
            probability=score,
            live=score if live is measured else live.scores(part.rows, use_case),
            baseline=baseline,
            baseline_roc_auc=part.roc_auc(baseline[len(judged_rows) :]),
        )
        if not len(part) or np.isnan(score).any():
            return holdout
        observed = part.outcomes(score)
        is_anomaly = measured.is_anomaly
        curves = metrics.curves(observed)
        if is_anomaly:
            curves = structs.replace(curves, calibration=())
        holdout = replace(
            holdout,
            metrics=thresholds.measured(
                observed,
                threshold=use_case.threshold,
                budget=use_case.chosen_budget(self.settings),
                dates=len(self.parts.split.holdout),
                spread=partial(part.spread, score),
                is_anomaly=is_anomaly,
            ),
            curves=curves,
            importance=trained.importance(
                measured, use_case, part, older=self.parts.before, seed=seed
            ),
        )
        if not self.use_case.scores_events:
            return holdout
        return self._with_alerts(holdout, measured, judged)

    def _with_alerts(
        self, holdout: trained.Holdout, measured: trained.Model, judged: Floats
    ) -> trained.Holdout:
        """
        Return a holdout of events with what alerts on it cost and save.

        The baseline's threshold is the cheapest on the judged rows. Trees learn no
        labels, so theirs is of all rows before the holdout, as the measured trees score
        them. A classifier has none: its alerts are by probability and amount.
        """
        part, earlier = holdout.rows, self.parts.choosing
        if not self.use_case.stream.amount:
            return holdout
        stakes, threshold = self._stakes(part), None
        if measured.is_anomaly:
            earlier = self.parts.before
            judged = measured.scores(earlier.rows, self.use_case)
            threshold = fraud.cheapest_threshold(judged, self._stakes(earlier))
        ranks = trained.baseline_score(self.use_case, earlier, part)
        before, now = np.split(ranks, [len(earlier)])
        cheapest = fraud.cheapest_threshold(before, self._stakes(earlier))
        alerted = stakes.alerts(now, cheapest)
        beside = fraud.savings(alerted, stakes, threshold=cheapest)
        alerted = stakes.alerts(holdout.probability, threshold)
        return replace(
            holdout,
            savings=fraud.savings(alerted, stakes, threshold=threshold),
            baseline_saved=beside.saved,
            stakes=stakes,
        )

    def _stakes(self, part: Slice) -> Stakes:
        """Return what labelled rows cost: nothing if the use case names no amount."""
        name = self.use_case.stream.amount
        amount = numbers_of(part.rows[name]) if name else np.zeros(len(part))
        return Stakes(
            is_fraud=part.label == 1,
            amount=amounts(amount),
            weight=part.weight,
            review_cost=self.settings.alert_review_cost,
        )
