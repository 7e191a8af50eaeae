"""
Expected values in runs: what buyers paid, and what users are worth.

A model without amounts gives probabilities alone, and the columns are null.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from propensity.learning import alerts

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
    from propensity.learning.value import with_amounts as joined  # 03 has no sklearn

    paid = run.warehouse.batches(
        run.use_case.statement(STATEMENT),
        run.use_case.window(run.settings, snapshots, today=run.as_of),
    )
    return joined(rows, paid)


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
    users = alerts.floats(groups["users"])
    amount = alerts.amounts(alerts.floats(groups["amount"]))
    expected = alerts.floats(groups["expected_value"])
    return {
        "value_promised": alerts.total(expected * users),
        "value_observed": alerts.total(amount * users),
    }
