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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from joblib import cpu_count
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from threadpoolctl import threadpool_limits

from propensity.errors import NotEnoughData, UseCaseError
from propensity.learning import alerts, candidates, metrics, thresholds
from propensity.learning.alerts import Savings, Stakes, floats
from propensity.learning.candidates import CALIBRATIONS, PARALLEL_ROWS
from propensity.learning.importance import baseline_score, importance
from propensity.learning.preprocessor import default_preprocessor, fitted, transformed
from propensity.learning.rows import Parts, Slice
from propensity.learning.thresholds import Metrics, Selection
from propensity.models.anomaly import AnomalyModel
from propensity.models.half_space_trees import HalfSpaceTrees
from propensity.models.scoring import Scorer
from propensity.settings import Settings
from propensity.usecases import NUMBER, Candidate, UseCase
from propensity.usecases.declaration import FOREST

Floats = NDArray[np.float64]

# Folds of users that a calibration is judged on where there is one block alone.
_FOLDS = 5


@dataclass(frozen=True, kw_only=True)
class Model:
    """A fitted preprocessor and a fitted classifier of its output."""

    preprocessor: Any
    classifier: Any

    def scores(self, rows: pa.Table, use_case: UseCase) -> Floats:
        """Return the scores of rows, in order, as they are published."""
        features: Any = dict(use_case.features)
        scorer = Scorer(self.preprocessor, self.classifier, features=features)
        parts = [score for _, score in scorer.score(rows.to_batches())]
        return np.concatenate(parts) if parts else np.empty(0)


@dataclass(frozen=True, kw_only=True)
class Judged:
    """
    A candidate, judged forward in time.

    Attributes:
        score: Of the judged rows, each by a model of older rows, (rows,); NaN of trees
            that are not warm.
        metrics: Of these rows, by name; None where one does not exist.
        seconds: Of its fits.
        model: Of the newest block.
    """

    candidate: Candidate
    score: Floats
    metrics: Mapping[str, float | None]
    seconds: float
    model: Any


@dataclass(frozen=True, kw_only=True)
class Holdout:
    """
    What the measured model gives the rows held out.

    Attributes:
        rows: The labelled rows held out.
        probability: Of these rows, (rows,). With ``is_anomaly`` these are anomaly
            scores, NaN unless the model is warm.
        served: The same of the model that serves.
        baseline: Scores of the use case's baseline, in [0, 1], (rows,).
        baseline_roc_auc: Their ROC AUC; None with one class.
        is_enough: Whether label 1 is frequent enough to judge a first model.
        curves: ROC, precision-recall and calibration, for a page.
        importance: Fall of ROC AUC without a feature, greatest first.
        at_rates, savings, stakes: Of events: recall and cost by alert rate, what the
            alerts save, and what the rows cost.
    """

    rows: Slice
    probability: Floats
    served: Floats
    metrics: Metrics
    baseline: Floats
    baseline_roc_auc: float | None
    is_enough: bool
    curves: Mapping[str, Any]
    importance: Sequence[Mapping[str, Any]]
    at_rates: Sequence[Mapping[str, float | None]] = ()
    savings: Savings | None = None
    baseline_saved: Decimal | None = None
    stakes: Stakes | None = None


@dataclass(frozen=True, kw_only=True)
class Trained:
    """
    A trained model.

    Attributes:
        chosen: The best candidate, and ``members`` those that it is the mean of.
        calibrations: Log loss of the judged rows by calibration.
        best_threshold: With the best F1 on the judged rows, if any.
        measured: Fitted without the holdout; ``served`` fitted on all rows.
        encoder: The preprocessor of the first block.
        fits: Fits of classifiers in all.
    """

    parts: Parts
    judged: Sequence[Judged]
    chosen: Candidate
    members: Sequence[Candidate]
    calibration: str
    calibrations: Mapping[str, float]
    best_threshold: float | None
    measured: Model
    served: Model
    encoder: Any
    holdout: Holdout
    fits: int

    @property
    def is_anomaly(self) -> bool:
        """Whether it gives anomaly scores, and no probabilities."""
        return isinstance(self.served.classifier, AnomalyModel)

    @property
    def is_warm(self) -> bool:
        """Whether it has seen enough to score."""
        return not self.is_anomaly or self.served.classifier.is_warm


@dataclass(frozen=True, kw_only=True)
class _Choice:
    """The best candidate, its calibration, and its scores of the judged rows."""

    candidate: Candidate
    members: Sequence[Candidate]
    score: Floats
    method: str
    losses: Mapping[str, float]
    calibrator: Any


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
        self.stakes = self._stakes(parts.choosing)
        self.is_small = len(parts.every or parts.before) <= PARALLEL_ROWS
        self.jobs = jobs if self.is_small else 1
        self.encoder: Any = None

    def run(self) -> Trained:
        """Do all of it."""
        parts = self.parts
        with threadpool_limits(1 if self.is_small else None):
            judged = self._forests() + self._classifiers()
            if not judged:
                raise NotEnoughData(
                    f"{parts.before.conversions} of the {len(parts.before)} events to "
                    "train and to choose on are known to be label 1, which is too few: "
                    f"at least {self.settings.minimum_conversions} are needed, and no "
                    f"candidate of {self.use_case.name} does without"
                )
            choice = self._choice(judged)
            learned = [parts.fitting, *([parts.every] if parts.every else [])]
            models = self._models(choice, learned)
        measured, served = models[0], models[-1]
        best = None
        if parts.choosing.has_both_classes and not np.isnan(choice.score).any():
            best = thresholds.best_threshold(parts.choosing.outcomes(choice.score))
        alone = [one for one in judged if not candidates.is_mean(one.candidate)]
        return Trained(
            parts=parts,
            judged=judged,
            chosen=choice.candidate,
            members=choice.members,
            calibration=choice.method,
            calibrations=choice.losses,
            best_threshold=best,
            measured=measured,
            served=served,
            encoder=self.encoder,
            holdout=self._holdout(choice, measured, served, best),
            fits=len(alone) * max(1, len(parts.blocks))
            + len(choice.members) * len(learned),
        )

    # Candidates on blocks

    def _classifiers(self) -> list[Judged]:
        """Judge the candidates that learn from labels, if there are enough."""
        parts = self.parts
        learning = [c for c in self.use_case.candidates if c.algorithm != FOREST]
        if not parts.blocks or not learning:
            return []
        # The encoder knows nothing that any block judges.
        first = parts.before.between(0, parts.blocks[0].fit_end)
        self.encoder = fitted(self.preprocessor, first, self.features)
        until = parts.blocks[-1].end
        encoded = transformed(
            self.encoder, parts.before.between(0, until).rows, self.features
        )

        def fit(candidate: Candidate, end: int) -> tuple[Any, float]:
            began = time.perf_counter()
            rows = parts.before.between(0, end)
            model = candidates.fit(candidate, encoded[:end], rows, seed=self.seed)
            return model, time.perf_counter() - began

        alone = [c for c in learning if not candidates.is_mean(c)]
        calls = [partial(fit, c, b.fit_end) for c in alone for b in parts.blocks]
        results = iter(candidates.side_by_side(calls, jobs=self.jobs))
        judged: dict[str, Judged] = {}
        for candidate in alone:
            fits = [next(results) for _ in parts.blocks]
            score = [
                model.predict_proba(encoded[block.first : block.end])[:, 1]
                for (model, _), block in zip(fits, parts.blocks, strict=True)
            ]
            judged[candidate.name] = Judged(
                candidate=candidate,
                score=np.concatenate(score),
                metrics={},
                seconds=sum(seconds for _, seconds in fits),
                model=fits[-1][0],
            )
        for candidate in learning:
            if candidates.is_mean(candidate):
                of = [judged[name] for name in candidates.members(candidate, judged)]
                judged[candidate.name] = Judged(
                    candidate=candidate,
                    score=np.mean([one.score for one in of], axis=0),
                    metrics={},
                    seconds=0.0,
                    model=candidates.combined([one.model for one in of]),
                )
        return [
            replace(one, metrics=self._measured(one.score))
            for one in (judged[c.name] for c in learning)
        ]

    def _forests(self) -> list[Judged]:
        """Judge Half-Space Trees, fitted on all rows before those to choose on."""
        if self.parts.unlabelled is None:
            return []
        judged = []
        for candidate in self.use_case.candidates:
            if candidate.algorithm != FOREST:
                continue
            began = time.perf_counter()
            model = self._forest(candidate, self.parts.unlabelled[0])
            seconds = time.perf_counter() - began
            score = model.scores(self.parts.choosing.rows, self.use_case)
            judged.append(
                Judged(
                    candidate=candidate,
                    score=score,
                    metrics=self._measured(score, is_anomaly=True),
                    seconds=seconds,
                    model=model.classifier,
                )
            )
        return judged

    def _forest(self, candidate: Candidate, rows: pa.Table) -> Model:
        """Fit Half-Space Trees on the numbers of rows in time order."""
        numbers = [f for f, kind in self.features.items() if kind == NUMBER]
        usual = _thinned(rows, self.seed)
        every = Slice(
            rows=usual, label=np.zeros(len(usual), np.int8), weight=np.ones(len(usual))
        )
        passing = ColumnTransformer([("numbers", "passthrough", numbers)])
        encoder = fitted(passing, every, dict.fromkeys(numbers, NUMBER))
        encoded = transformed(encoder, usual, dict.fromkeys(numbers, NUMBER))
        try:
            parameters = {"random_state": self.seed, **candidate.parameters}
            trees = AnomalyModel(HalfSpaceTrees(**parameters)).fit(np.asarray(encoded))
        except (ValueError, TypeError) as error:
            raise UseCaseError(
                f"candidate {candidate.name} cannot be fitted: {error}"
            ) from error
        return Model(preprocessor=encoder, classifier=trees)

    def _measured(
        self, score: Floats, *, is_anomaly: bool = False
    ) -> dict[str, float | None]:
        """Return the metrics that compare candidates on the judged rows."""
        names: tuple[str, ...] = ("roc_auc", "pr_auc", "log_loss", "brier")
        values: dict[str, float | None] = dict.fromkeys(names)
        if not len(score) or np.isnan(score).any():
            return values
        observed = self.parts.choosing.outcomes(score)
        for name in names[:2] if is_anomaly else names:
            values[name] = getattr(metrics, name)(observed)
        if self.stakes is not None:
            threshold = alerts.cheapest_threshold(score, self.stakes)
            gain = self.stakes.gain[score >= threshold].sum()
            lost = (self.stakes.amount * self.stakes.weight)[self.stakes.is_fraud].sum()
            values["cost"] = float(lost - gain)
        return values

    # The choice

    def _choice(self, judged: Sequence[Judged]) -> _Choice:
        """Choose candidate and calibration."""
        best = min(judged, key=self._loss)
        by_name = {one.candidate.name: one for one in judged}
        names = candidates.members(best.candidate, by_name)
        each = np.column_stack([by_name[name].score for name in names])
        crossed, method = {"none": best.score}, "none"
        losses: dict[str, float] = {}
        if best.candidate.algorithm != FOREST:
            crossed = self._calibrated(each, best.score)
            losses = {
                name: metrics.log_loss(self.parts.choosing.outcomes(score)) or 0.0
                for name, score in crossed.items()
            }
            method = min(losses, key=lambda name: losses[name])
        return _Choice(
            candidate=best.candidate,
            members=[by_name[name].candidate for name in names],
            score=crossed[method],
            method=method,
            losses=losses,
            calibrator=candidates.calibrator(method, each, self.parts.choosing),
        )

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
        choosing = self.parts.choosing
        if len(self.parts.blocks) > 1:
            ends = np.array([block.end for block in self.parts.blocks])
            places = np.arange(len(score)) + self.parts.blocks[0].first
            fold = np.searchsorted(ends, places, side="right")
            learned = [fold < number for number in range(1, len(ends))]
            inside = [fold == number for number in range(1, len(ends))]
        else:
            users = choosing.users
            random = np.random.default_rng(self.seed)
            fold = random.integers(0, _FOLDS, users.max() + 1)[users]
            inside = [fold == number for number in range(_FOLDS)]
            learned = [~part for part in inside]
        by_method = {"none": score}
        for method in CALIBRATIONS[1:]:
            crossed = score.copy()
            for known, part in zip(learned, inside, strict=True):
                rows = Slice(
                    rows=choosing.rows,
                    label=choosing.label[known],
                    weight=choosing.weight[known],
                )
                if not 0 < rows.label.sum() < len(rows.label):
                    break
                if part.any():
                    fit: Any = candidates.calibrator(method, each[known], rows)
                    crossed[part] = fit.predict_proba(each[part])[:, 1]
            else:
                by_method[method] = crossed
        return by_method

    def _models(self, choice: _Choice, learned: Sequence[Slice]) -> list[Model]:
        """Return the chosen model, fitted on each of several slices."""
        if choice.candidate.algorithm == FOREST:
            assert self.parts.unlabelled is not None
            return [self._forest(choice.candidate, self.parts.unlabelled[1])]
        encoders, calls = [], []
        for part in learned:
            encoders.append(fitted(self.preprocessor, part, self.features))
            encoded = transformed(encoders[-1], part.rows, self.features)
            calls += [
                partial(candidates.fit, member, encoded, part, seed=self.seed)
                for member in choice.members
            ]
        fits = iter(candidates.side_by_side(calls, jobs=self.jobs))
        return [
            Model(
                preprocessor=encoder,
                classifier=candidates.combined(
                    [next(fits) for _ in choice.members], choice.calibrator
                ),
            )
            for encoder in encoders
        ]

    # The holdout

    def _holdout(
        self, choice: _Choice, measured: Model, served: Model, best: float | None
    ) -> Holdout:
        """Measure a model on the rows held out."""
        part, use_case = self.parts.holdout, self.use_case
        score = measured.scores(part.rows, use_case)
        is_anomaly = choice.candidate.algorithm == FOREST
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
        selection = Selection(
            budget=use_case.chosen_budget(self.settings),
            dates=len(self.parts.split.holdout),
            threshold=best,
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
            curves=metrics.curves(observed)
            | ({"calibration": []} if is_anomaly else {}),
            importance=importance(
                lambda rows: measured.scores(rows, use_case),
                self.features,
                part,
                seed=self.seed,
            ),
            **self._alerts(choice, measured, holdout),
        )

    def _alerts(
        self, choice: _Choice, measured: Model, holdout: Holdout
    ) -> dict[str, Any]:
        """
        Return what alerts on the rows held out cost and save; nothing of users.

        The threshold is the cheapest on the judged rows. Trees learn no labels, so
        theirs is of all rows before the holdout, as the measured trees score them.
        """
        stakes = self._stakes(holdout.rows)
        if self.parts.unlabelled is None:
            return {}
        if stakes is None:
            free = Stakes(
                is_fraud=holdout.rows.label == 1,
                amount=np.zeros(len(holdout.rows)),
                weight=holdout.rows.weight,
                review_cost=self.settings.alert_review_cost,
            )
            return {"at_rates": alerts.at_rates(holdout.probability, free)}
        earlier, score = self.parts.choosing, choice.score
        if choice.candidate.algorithm == FOREST:
            earlier = self.parts.before
            score = measured.scores(earlier.rows, self.use_case)
        known = self._stakes(earlier)
        assert known is not None
        threshold = alerts.cheapest_threshold(score, known)
        rank = baseline_score(self.use_case, earlier, holdout.rows)
        baseline = alerts.savings(
            rank[len(earlier) :],
            stakes,
            threshold=alerts.cheapest_threshold(rank[: len(earlier)], known),
            seed=self.seed,
        )
        return {
            "at_rates": alerts.at_rates(holdout.probability, stakes),
            "savings": alerts.savings(
                holdout.probability, stakes, threshold=threshold, seed=self.seed
            ),
            "baseline_saved": baseline.saved,
            "stakes": stakes,
        }

    def _stakes(self, part: Slice) -> Stakes | None:
        """Return what labelled rows cost; None if the use case names no amount."""
        if not self.use_case.amount:
            return None
        return Stakes(
            is_fraud=part.label == 1,
            amount=alerts.amounts(floats(part.rows[self.use_case.amount])),
            weight=part.weight,
            review_cost=self.settings.alert_review_cost,
        )


def _thinned(rows: pa.Table, seed: int) -> pa.Table:
    """
    Return a sample of rows in proportion to their weights.

    Trees count rows and ignore weights: if a sample has kept all frauds, they would
    look usual. Rows with at least the median weight of label 0 stay.
    """
    weight, others = rows["weight"].to_numpy(), floats(rows["label"]) != 1
    chance = weight / np.median(weight[others]) if others.any() else weight
    if chance.min(initial=1.0) >= 1:
        return rows
    drawn = np.random.default_rng(seed).random(len(rows))
    return rows.filter(pa.array(drawn < chance))
