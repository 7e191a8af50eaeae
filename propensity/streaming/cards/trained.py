"""What a training on events gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial

import numpy as np
import pyarrow as pa

from propensity.learning.model import Model
from propensity.learning.rows import Parts, Slice
from propensity.learning.trained import Alerts, Holdout, Rival, Trained
from propensity.measures.intervals import Difference
from propensity.models.encoding import Floats
from propensity.models.half_space_trees import HalfSpaceTrees
from propensity.pages.words import plural
from propensity.streaming.cards.alerts import Stakes, cost_difference
from propensity.tables.models import Savings


@dataclass(frozen=True, kw_only=True)
class EventParts(Parts):
    """
    The rows of a training on events, most of which have no label yet.

    Attributes:
        unlabelled: All rows before those to choose on, and all before the holdout,
            with and without a label, for models that need none.
        outcomes: Numbers of rows with and without a label.
    """

    unlabelled: Sequence[pa.Table]
    outcomes: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class EventHoldout(Holdout):
    """
    What the measured model gives the events held out.

    Their ``probability`` is an anomaly score where Half-Space Trees give it, and NaN
    unless these are warm. Without amounts nothing is known of what alerts save.
    """

    savings: Savings | None = None
    baseline_saved: Decimal | None = None
    stakes: Stakes | None = None


@dataclass(frozen=True, kw_only=True)
class EventTrained(Trained):
    """A model that was trained on events."""

    parts: EventParts
    holdout: EventHoldout

    @property
    def alerts(self) -> Alerts:
        return _alerts_of(self.live, self.holdout)

    def judged_forward(self) -> tuple[Slice, Floats, Floats]:
        """As of users, without the judged rows where trees were not warm for them."""
        if not np.isnan(self.judged_score).any():
            return super().judged_forward()
        baseline = self.holdout.baseline[len(self.parts.choosing) :]
        return self.holdout.rows, self.holdout.probability, baseline


def _alerts_of(live: Model, holdout: EventHoldout) -> Alerts:
    """Return what the gate is told of a model's alerts on the events held out."""
    only_rank = gives_anomalies(live)
    savings = holdout.savings
    return Alerts(
        only_rank=only_rank,
        is_warm=not only_rank or live.classifier.is_warm,
        cost_more_than_none=savings is not None and savings.saved < 0,
        cost_difference=partial(_cost_difference, holdout),
        words="" if savings is None else _in_words(savings, holdout.rows.conversions),
    )


def _cost_difference(holdout: EventHoldout, champion: Rival) -> Difference | None:
    if holdout.savings is None or holdout.stakes is None or champion.score is None:
        return None
    threshold = holdout.savings.alert_threshold
    return cost_difference(
        holdout.stakes.alerts(holdout.probability, threshold),
        holdout.stakes.alerts(champion.score, champion.alert_threshold),
        holdout.stakes,
        user=holdout.rows.users,
    )


def _in_words(savings: Savings, frauds: int) -> str:
    basis = f"; on {plural(frauds, 'fraud')}"
    lost = f"{savings.cost_without:,.2f}"
    if not savings.alerted:
        return f"{basis} it has no alerts, and saves nothing of {lost}"
    interval = "too few for an interval"
    if savings.saved_low is not None:
        interval = f"{savings.saved_low:,.2f} to {savings.saved_high:,.2f}"
    return f"{basis} its alerts save {savings.saved:,.2f} of {lost} ({interval})"


def gives_anomalies(model: Model) -> bool:
    """Tell whether a model gives anomaly scores, and no probabilities."""
    return isinstance(model.classifier, HalfSpaceTrees)
