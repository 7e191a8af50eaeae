"""The prediction index as a step of 01-Predictions, after its publication."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from propensity.errors import PropensityError
from propensity.privacy import suppression
from propensity.registry import index

if TYPE_CHECKING:
    from propensity.runs.run import Run


def publish(run: Run) -> int:
    """
    Publish the index of what the table has now; return its users.

    Raises:
        PropensityError: The index was not published, and the message says so. The next
            run of any date publishes it.
    """
    began = time.perf_counter()
    artifacts, use_case = run.registry.artifacts, run.use_case.name
    try:
        suppression.publish(run.warehouse, artifacts)
        pointer = index.publish(run.warehouse, artifacts, use_case, run_id=run.run_id)
    except PropensityError as error:
        error.message = (
            f"the predictions were published, but not their index: {error.message}. "
            "Lookups answer from the index before until a run is repeated"
        )
        raise
    run.log_fields.update(
        index_users=pointer.users,
        index_bytes=pointer.size,
        index_seconds=round(time.perf_counter() - began, 3),
    )
    return pointer.users
