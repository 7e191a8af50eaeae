"""Loads from buckets and exports into them alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# The lines of local-bigquery that this replaces, by module.
REPLACES = {
    "local_bigquery.jobs.load": (
        "from local_bigquery.jobs.storage import literal, paths",
    ),
    "local_bigquery.jobs.extract": (
        "from local_bigquery.jobs.storage import literal, written",
    ),
}


def stay_in_buckets() -> None:
    """Refuse files of this machine, which a statement could read or write."""
    from local_bigquery.jobs import extract, load

    load.paths = _of_buckets(load.paths)
    extract.written = _of_buckets(extract.written)


def _of_buckets(function: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse a URI, the last argument, that is not one of Cloud Storage."""
    from local_bigquery.errors import BigQueryError

    def checked(*arguments: Any) -> Any:
        if not arguments[-1].startswith("gs://"):
            problem = f"Source or target is not in a bucket: {arguments[-1]}"
            raise BigQueryError("invalid", problem)
        return function(*arguments)

    return checked
