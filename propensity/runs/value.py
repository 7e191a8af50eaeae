"""
Expected values in runs: what buyers paid, and what users are worth.

A model without amounts gives probabilities alone, and the columns are null.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from propensity import tables
from propensity.learning import cost, gini
from propensity.models.value import Total

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from propensity.models.value import ValueModel
    from propensity.registry.loading import Serving
    from propensity.runs.run import Run

Floats = NDArray[np.float64]

COLUMNS = ("expected_value", "expected_value_low", "expected_value_high")

# A use case whose outcomes have amounts has this statement of its own.
STATEMENT = "converter_amounts"

_KIND = tables.PREDICTIONS_STAGING.arrow_schema().field(COLUMNS[0]).type


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
        total: Of the users so far.
        promised: The sum of their expected values, as they are published.
        shift_error: Standard deviation of the season's shift; 0 without one.
    """

    model: ValueModel | None
    shift_error: float = 0.0
    total: Total = field(default_factory=Total)
    promised: Decimal = Decimal(0)

    @classmethod
    def of(cls, run: Run, model: Serving, *, shift_error: float) -> Values:
        """Load a version's model of amounts, if it has one; the log line says so."""
        run.log_fields["valued"] = model.value is not None
        return cls(model.value() if model.value is not None else None, shift_error)

    def columns(
        self, batch: pa.RecordBatch, probability: Floats, *, unshifted: Floats
    ) -> list[pa.Array]:
        """
        Return ``COLUMNS`` of scored rows; null without amounts.

        Args:
            batch: The rows, with their features.
            probability: As it is published.
            unshifted: As the model gave it, without the season's shift.
        """
        if self.model is None:
            return [pa.nulls(len(probability), _KIND) for _ in COLUMNS]
        amount = self.model.shifted(
            self.model.amounts(batch), probability, unshifted=unshifted
        )
        self.total += self.model.total(probability, amount)
        value = probability * amount
        columns = [money(values) for values in (value, *self.model.interval(value))]
        self.promised += pc.sum(columns[0]).as_py() or 0
        return columns

    def summary(self) -> dict[str, Any] | None:
        """
        Return the sum that is promised, with the interval of what will be paid.

        None without amounts.
        """
        if self.model is None:
            return None
        low, high = self.model.sum_interval(self.total, shift_error=self.shift_error)
        return {"sum": self.promised, "low": low, "high": high}


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
    return gini.figures(
        gini.Paid(
            cost.floats(groups["expected_value"]),
            cost.amounts(cost.floats(groups["amount"])),
            cost.floats(groups["users"]),
        )
    )
