"""Objects of the registry in the bucket, as bytes, and times in them."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from propensity.errors import ArtifactError

if TYPE_CHECKING:
    import pyarrow as pa

    from propensity.gcp.artifacts import Stored


def json_of(value: Mapping[str, Any]) -> bytes:
    """Return an object's content as bytes."""
    return json.dumps(value, indent=1, sort_keys=True).encode()


def parquet_of(rows: pa.Table) -> bytes:
    """Return rows as a Parquet file."""
    # Lookups have no pyarrow.
    import pyarrow.parquet as pq

    file = io.BytesIO()
    pq.write_table(rows, file, compression="zstd")
    return file.getvalue()


def instant_of(moment: datetime) -> str:
    """Return a time as a text; texts sort as times do."""
    return moment.isoformat(timespec="microseconds")


def object_of(stored: Stored, name: str) -> dict[str, Any]:
    """
    Return an object's content.

    Raises:
        ArtifactError: It is not a JSON object.
    """
    try:
        value = json.loads(stored.data)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{name} is not JSON") from error
    if not isinstance(value, dict):
        raise ArtifactError(f"{name} is not a JSON object")
    return value
