"""
Expected values in runs: what buyers paid, and what users are worth.

A model without amounts gives probabilities alone, and the columns are null.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from propensity import tables
from propensity.learning import cost

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from propensity.models.value import ValueModel
    from propensity.registry.loading import Serving
    from propensity.runs.run import Run

Floats = NDArray[np.float64]

COLUMN = "expected_value"

# A use case whose outcomes have amounts has this statement of its own.
STATEMENT = "converter_amounts"

_KIND = tables.PREDICTIONS_STAGING.arrow_schema().field(COLUMN).type


def has_amounts(run: Run) -> bool:
    """Tell whether outcomes of the run's use case have amounts."""
    return run.use_case.has_statement(STATEMENT)


def with_amounts(run: Run, rows: pa.Table, snapshots: Sequence[date]) -> pa.Table:
    """
    Return labelled rows with what their buyers paid within the label's horizon.

    The same rows where the use case has no amounts, or none of these buyers has one.
    """
    if not has_amounts(run):
        return rows
    from propensity.learning import amounts  # not of use to 03

    paid = run.warehouse.batches(
        run.use_case.statement(STATEMENT),
        run.use_case.window(run.settings, snapshots, today=run.as_of),
    )
    return amounts.with_amounts(rows, paid)


@dataclass
class Values:
    """
    Expected values of a run's users, and their sum so far.

    Attributes:
        model: Of the version; None for none.
        promised: The sum of the users' expected values so far, as they are published.
    """

    model: ValueModel | None
    promised: Decimal = Decimal(0)

    @classmethod
    def of(cls, run: Run, model: Serving) -> Values:
        """Load a version's model of amounts, if it has one; the log line says so."""
        run.log_fields["valued"] = model.value is not None
        return cls(model.value() if model.value is not None else None)

    def column(self, batch: pa.RecordBatch, probability: Floats) -> pa.Array:
        """
        Return ``COLUMN`` of scored rows; null without amounts.

        Args:
            batch: The rows, with their features.
            probability: As it is published.
        """
        if self.model is None:
            return pa.nulls(len(probability), _KIND)
        column = money(probability * self.model.amounts(batch))
        self.promised += pc.sum(column).as_py() or 0
        return column

    def summary(self) -> Decimal | None:
        """Return the sum that is promised; None without amounts."""
        return None if self.model is None else self.promised


def money(values: Floats) -> pa.Array:
    """Return amounts with the decimals of BigQuery's NUMERIC."""
    return pc.cast(pa.array(np.minimum(values, cost.MAXIMUM_AMOUNT)), _KIND)


def evaluated(run: Run, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return what the expected values of a publication were worth, by column name.

    Nothing where the use case has no amounts, or the publication no expected values.

    Args:
        parameters: Of ``evaluation_amounts.sql``.
    """
    if not has_amounts(run):
        return {}
    groups = run.warehouse.table(
        run.use_case.statement("evaluation_amounts"), parameters
    )
    if not len(groups):
        return {}
    users = cost.floats(groups["users"])
    amount = cost.amounts(cost.floats(groups["amount"]))
    return {
        "value_promised": cost.exact(cost.floats(groups["expected_value"]), users),
        "value_observed": cost.exact(amount, users),
    }
