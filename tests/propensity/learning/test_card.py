"""
The card of a version, specified: plain values, files that anybody can load, and a
description of the data that hides single users.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from propensity.runs.model_files import pseudonymise


def test_a_training_set_numbers_its_users_at_random():
    """Whoever has a list of ids could name them again by numbers in its order."""
    ids = [f"user {number:04}" for number in range(1_000)]
    table = pa.table({"user_id": ids, "recency": range(1_000)})
    stored = pseudonymise(table)

    assert stored["user_id"].to_pylist() == sorted(stored["user_id"].to_pylist())
    assert abs(np.corrcoef(stored["user_id"], stored["recency"])[0, 1]) < 0.2
    assert not stored.equals(pseudonymise(table))
