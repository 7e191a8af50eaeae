"""
The prediction index as a step of 01-Predictions, after its publication.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from propensity.errors import PropensityError
from propensity.privacy import published
from propensity.registry import index_writer

if TYPE_CHECKING:
    from propensity.runs.run import Run


def publish(run: Run) -> int | None:
    """
    Publish the index of what the table has now; return its users.

    With PROPENSITY_LOOKUP_SOURCE=bigquery there is none, and an index from before is
    withdrawn: it would be older than the table.

    Raises:
        PropensityError: The index was not published, and the message says so. The table
            was; lookups go on reading the index before. The next run of any date
            publishes it.
    """
    if run.settings.lookup_source == "index":
        return _published(run)
    with _explained():
        index_writer.withdraw(run.registry.artifacts, run.use_case.name)
    return None


def renew(run: Run) -> int | None:
    """
    Publish the index anew where there is one; return its users, None without.

    For runs by an operator, whose settings may not be those of the functions, and so do
    not say whether there should be an index.

    Raises:
        PropensityError: As ``publish``.
    """
    with _explained():
        pointer, _ = index_writer.find_pointer(
            run.registry.artifacts, run.use_case.name
        )
    return None if pointer is None else _published(run)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Say in the message of an error that the predictions were published."""
    try:
        yield
    except PropensityError as error:
        error.message = (
            "the predictions were published, and their index was not: "
            f"{error.message}. "
            "Lookups answer from the index before until a run is repeated"
        )
        raise


def _published(run: Run) -> int:
    artifacts, use_case = run.registry.artifacts, run.use_case.name
    began = time.perf_counter()
    with _explained():
        published.publish(run.warehouse, artifacts)
        file = index_writer.publish(
            run.warehouse, artifacts, use_case, run_id=run.run_id, at=run.began_at
        )
    run.log_fields.update(
        index_users=file.users,
        index_bytes=file.size,
        index_seconds=round(time.perf_counter() - began, 3),
    )
    try:
        index_writer.remove_old(artifacts, use_case)
    except PropensityError as error:
        run.warn(f"old indexes not removed: {error}")
    return file.users
