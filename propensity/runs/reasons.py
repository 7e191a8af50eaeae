"""
Reasons in a prediction run: the columns that say why, where a deployment wants them.

A model without reasons is published all the same, and the log says why it has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from propensity import tables
from propensity.errors import Unexplained

if TYPE_CHECKING:
    from propensity.models.reasons import Explainer
    from propensity.registry.loading import Serving
    from propensity.runs.run import Run

COLUMNS = ("base_log_odds", "reasons")

_KIND = tables.PREDICTIONS_STAGING.arrow_schema().field("reasons").type


@dataclass(frozen=True)
class Reasons:
    """
    What explains a run's probabilities.

    Attributes:
        explainer: Of the model; None for no reasons.
        log_odds_shift: The season's, in the probabilities; None for none.
    """

    explainer: Explainer | None
    log_odds_shift: float | None

    @classmethod
    def of(cls, run: Run, model: Serving, *, log_odds_shift: float | None) -> Reasons:
        """Prepare to explain a model, if the deployment wants that and it can be."""
        explainer = None
        if run.settings.explain_predictions and model.explainer is not None:
            try:
                explainer = model.explainer()
            except Unexplained as error:
                without(run, model, error.message)
        run.log_fields["explained"] = explainer is not None
        return cls(explainer, log_odds_shift)

    def columns(
        self, batch: pa.RecordBatch, probability: NDArray[np.float64]
    ) -> tuple[pa.Array, pa.Array]:
        """Return ``COLUMNS`` of scored rows; without reasons null and empty."""
        rows = len(probability)
        if self.explainer is None:
            ends = pa.array(np.zeros(rows + 1, dtype=np.int32))
            empty = pa.ListArray.from_arrays(ends, pa.array([], _KIND.value_type))
            return pa.nulls(rows, pa.float64()), empty
        shift = self.log_odds_shift
        contributions = self.explainer.contributions(
            batch, probability, log_odds_shift=shift
        )
        width = contributions.shape[1]
        names = pa.array(self.explainer.features).take(
            pa.array(np.tile(np.arange(width), rows))
        )
        each = pa.StructArray.from_arrays(
            [names, pa.array(contributions.ravel())], fields=list(_KIND.value_type)
        )
        ends = pa.array(np.arange(rows + 1, dtype=np.int32) * width)
        base = np.full(rows, self.explainer.base + (shift or 0.0))
        return pa.array(base), pa.ListArray.from_arrays(ends, each)


def without(run: Run, model: Serving, reason: str) -> None:
    """Say in the log why probabilities are published without reasons."""
    run.warn(f"version {model.version} is published without reasons: {reason}")
