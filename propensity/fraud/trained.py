"""What a training on events gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import pyarrow as pa

from propensity.fraud.alerts import Stakes
from propensity.learning.model import Model
from propensity.learning.rows import Parts, Slice
from propensity.learning.trained import Holdout, Trained
from propensity.models.encoding import Floats
from propensity.models.half_space_trees import HalfSpaceTrees
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
    unless these are warm.

    Attributes:
        savings: What the alerts save; None without amounts.
        baseline_saved: What alerts by the baseline save.
        stakes: What the rows cost.
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
    def is_anomaly(self) -> bool:
        """Whether it gives anomaly scores, and no probabilities."""
        return gives_anomalies(self.live)

    @property
    def is_warm(self) -> bool:
        """Whether it has seen enough to score."""
        return not self.is_anomaly or self.live.classifier.is_warm

    def judged_forward(self) -> tuple[Slice, Floats, Floats]:
        """As of users, without the judged rows where trees were not warm for them."""
        if not np.isnan(self.judged_score).any():
            return super().judged_forward()
        baseline = self.holdout.baseline[len(self.parts.choosing) :]
        return self.holdout.rows, self.holdout.probability, baseline


def gives_anomalies(model: Model) -> bool:
    """Tell whether a model gives anomaly scores, and no probabilities."""
    return isinstance(model.classifier, HalfSpaceTrees)
