"""
Expected values in runs: what buyers paid, and what users are worth.

A model without amounts gives probabilities alone, and the columns are null.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from propensity.learning import cost

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from propensity.runs.run import Run

# A use case whose outcomes have amounts has this statement of its own.
STATEMENT = "converter_amounts"


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
