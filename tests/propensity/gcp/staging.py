"""Rows of a run, as 01-Predictions appends them."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pyarrow as pa

from propensity.tables import every as tables

DAY = date(2026, 3, 2)
VALUES = ("expected_value",)
# Rows of all days at once.
SCORES = replace(tables.SCORES, requires_filter=False)
VALUE = SCORES.arrow_schema().field("expected_value").type


def staged(**users: float) -> pa.Table:
    """Return a row a user, with the user's probability."""
    return pa.table(
        {
            "use_case": ["u"] * len(users),
            "user_id": list(users),
            "probability": list(users.values()),
            "run_id": ["r"] * len(users),
            "as_of": pa.array([DAY] * len(users), pa.date32()),
            **{name: pa.nulls(len(users), VALUE) for name in VALUES},
        }
    )
