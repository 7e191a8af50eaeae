"""Rows of a run, as 01-Predictions stages them."""

from __future__ import annotations

from datetime import date

import pyarrow as pa

from propensity.tables import PREDICTIONS_STAGING

DAY = date(2026, 3, 2)
VALUES = ("expected_value",)
VALUE = PREDICTIONS_STAGING.arrow_schema().field("expected_value").type


def staged(**users: float) -> pa.Table:
    """Return a row a user, with the user's probability."""
    return pa.table(
        {
            "user_id": list(users),
            "probability": list(users.values()),
            "run_id": ["r"] * len(users),
            "staged_on": pa.array([DAY] * len(users), pa.date32()),
            **{name: pa.nulls(len(users), VALUE) for name in VALUES},
        }
    )
