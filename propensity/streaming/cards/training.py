"""The training of a use case whose rows are events, such as card transactions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from msgspec import structs

from propensity.errors import NotEnoughData
from propensity.learning.importance import baseline_score
from propensity.learning.model import Model
from propensity.learning.rows import Slice
from propensity.learning.task import FOREST, Candidate
from propensity.learning.trained import JudgedCandidate, Learned, Rival, Trained
from propensity.learning.training import Fitted, Training
from propensity.learning.users import metrics_of
from propensity.measures.metrics import Curves, Outcomes
from propensity.measures.revenue import amounts
from propensity.models.encoding import Floats, floats_of
from propensity.streaming.cards.alerts import (
    NO_ALERTS,
    Stakes,
    cheapest_threshold,
    savings,
)
from propensity.streaming.cards.trained import (
    EventHoldout,
    EventParts,
    EventTrained,
    gives_anomalies,
)
from propensity.streaming.cards.trees import fit_trees
from propensity.tables.models import Metrics


@dataclass(frozen=True, kw_only=True)
class EventTraining(Training):
    """
    A training on scored events.

    The candidate whose alerts cost least is the best; without amounts, the one with the
    highest PR AUC. The model that is measured goes live. Half-Space Trees learn from
    all events, with and without a label, so they are there from the first day.
    """

    parts: EventParts

    def judge(self) -> Sequence[JudgedCandidate]:
        """Judge trees, and of enough labels the candidates that learn from them."""
        trees = list[Candidate]()
        learning = list[Candidate]()
        for candidate in self.task.candidates:
            kind = trees if candidate.algorithm == FOREST else learning
            kind.append(candidate)
        choosing = self.parts.choosing
        results = []
        for candidate in trees:
            model = self._trees(candidate, self.parts.unlabelled[0])
            score = model.scores(choosing.rows, self.task.features)
            results.append(self._judged(candidate, score))
        if learning and self.parts.blocks:
            scores = self.classifier_scores(learning)
            for candidate in learning:
                results.append(self._judged(candidate, scores[candidate.name]))
        if not results:
            before = self.parts.before
            raise NotEnoughData(
                f"{before.conversions} of the {len(before)} events to train and to "
                "choose on are known to be label 1, which is too few: every candidate "
                f"of {self.task.name} needs at least "
                f"{self.limits.conversions}"
            )
        return results

    def loss(self, candidate: JudgedCandidate) -> tuple[float, ...]:
        """Return the cost of the alerts, then the PR AUC, the highest first."""
        cost = candidate.metrics.get("cost")
        # Nothing is paid, or trees are not warm for all rows.
        if cost is None:
            cost = np.inf if self.task.amount else 0.0
        pr_auc = candidate.metrics["pr_auc"]
        return cost, 0.0 if pr_auc is None else -pr_auc

    def fit(self, chosen: Candidate, members: Sequence[Candidate]) -> Fitted:
        """Fit on all rows before the holdout."""
        if chosen.algorithm == FOREST:
            model = self._trees(chosen, self.parts.unlabelled[1])
        else:
            [model] = self.fitted(members, [self.parts.fitting])
        return Fitted(measured=model, live=model)

    def metrics(self, model: Model, observed: Outcomes, score: Floats) -> Metrics:
        """Return the metrics; of anomaly scores those of a ranking."""
        if gives_anomalies(model):
            return self._ranked(observed, score)
        return super().metrics(model, observed, score)

    def curves(self, model: Model, observed: Outcomes) -> Curves:
        """Return the curves; an anomaly score has no calibration."""
        curves = super().curves(model, observed)
        if gives_anomalies(model):
            return structs.replace(curves, calibration=())
        return curves

    def result(self, trained: Trained) -> EventTrained:
        """Add what alerts on the rows held out cost and save."""
        return EventTrained(
            parts=self.parts,
            candidates=trained.candidates,
            chosen=trained.chosen,
            members=trained.members,
            measured=trained.measured,
            live=trained.live,
            holdout=self._with_alerts(trained),
        )

    def rival(self, version: int, score: Floats | None, learned: Learned) -> Rival:
        """Return the champion: events it may have learned from are not read."""
        # Trees that were never measured have no alerts.
        alert_threshold = learned.alert_threshold
        if alert_threshold is None and learned.only_ranks:
            alert_threshold = NO_ALERTS
        return Rival(version=version, score=score, alert_threshold=alert_threshold)

    def rival_of(self, trained: Trained, version: int) -> Rival:
        assert isinstance(trained, EventTrained)
        saved = trained.holdout.savings
        return Rival(
            version=version,
            score=trained.holdout.probability,
            alert_threshold=saved.alert_threshold if saved else None,
        )

    def _trees(self, candidate: Candidate, rows: pa.Table) -> Model:
        features = self.task.features
        return fit_trees(candidate, rows, features, seed=self.limits.seed)

    def _judged(self, candidate: Candidate, score: Floats) -> JudgedCandidate:
        only_ranks = candidate.algorithm == FOREST
        values: dict[str, float | None] = dict.fromkeys(
            ("roc_auc", "pr_auc", "log_loss", "brier")
        )
        if len(score) and not np.isnan(score).any():
            values = metrics_of(self.parts.choosing, score)
            if only_ranks:
                values |= {"log_loss": None, "brier": None}
            if self.task.amount:
                values["cost"] = self._cost(score, has_threshold=only_ranks)
        return JudgedCandidate(candidate=candidate, score=score, metrics=values)

    def _cost(self, score: Floats, *, has_threshold: bool) -> float:
        """Return what alerts on the judged rows cost; scores are of these, (rows,)."""
        stakes = self._stakes(self.parts.choosing)
        threshold = cheapest_threshold(score, stakes) if has_threshold else None
        alerted = stakes.alerts(score, threshold)
        return float(savings(alerted, stakes, threshold=threshold).cost)

    def _with_alerts(self, trained: Trained) -> EventHoldout:
        """
        Return the holdout with what alerts on it cost and save.

        The baseline's threshold is the cheapest on the judged rows. Trees learn no
        labels, so theirs is of all rows before the holdout, as the measured trees score
        them. A classifier has none: its alerts are by probability and amount.
        """
        holdout = EventHoldout(**vars(trained.holdout))
        is_scored = not np.isnan(holdout.probability).any()
        if not len(holdout.rows) or not is_scored or not self.task.amount:
            return holdout
        stakes = self._stakes(holdout.rows)
        earlier = self.parts.choosing
        threshold = None
        if gives_anomalies(trained.measured):
            earlier = self.parts.before
            score = trained.measured.scores(earlier.rows, self.task.features)
            threshold = cheapest_threshold(score, self._stakes(earlier))
        ranks = baseline_score(self.task.baseline, earlier, holdout.rows)
        cheapest = cheapest_threshold(ranks[: len(earlier)], self._stakes(earlier))
        baseline_alerts = stakes.alerts(ranks[len(earlier) :], cheapest)
        baseline = savings(baseline_alerts, stakes, threshold=cheapest)
        alerted = stakes.alerts(holdout.probability, threshold)
        return replace(
            holdout,
            savings=savings(alerted, stakes, threshold=threshold),
            baseline_saved=baseline.saved,
            stakes=stakes,
        )

    def _stakes(self, part: Slice) -> Stakes:
        """Return what labelled rows cost: nothing if the use case names no amount."""
        name = self.task.amount
        amount = floats_of(part.rows[name]) if name else np.zeros(len(part))
        return Stakes(
            is_fraud=part.label == 1,
            amount=amounts(amount),
            weight=part.weight,
            review_cost=self.limits.review_cost,
        )
