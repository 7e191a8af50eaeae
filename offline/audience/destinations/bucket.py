"""
Parquet files in the bucket: ``audiences/<use case>/<audience>/<as of>/<key>.parquet``.

A file has treated users only: who is held out is in no file that others read. It is
written once; a delivery that is repeated finds its own bytes. ``propensity forget``
removes users from it, as from every Parquet file of the bucket.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from offline.audience.destinations import templates
from offline.audience.destinations.base import ADD, Request
from offline.audience.selection import Member
from propensity.edges.artifacts import Artifacts
from propensity.registry.objects import parquet_of

NAME = templates.RESERVED

SCHEMA = pa.schema(
    [
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("probability", pa.float64()),
        pa.field("audience", pa.string()),
        pa.field("as_of", pa.date32()),
    ]
)


class Bucket:
    """The bucket of the deployment."""

    name = NAME
    batch = 100_000
    at_once = 1
    actions = (ADD,)

    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts

    def problems(self, action: str, members: Sequence[Member]) -> Mapping[str, str]:
        """Return nobody: a file takes everybody."""
        return {}

    def send(self, request: Request) -> Mapping[str, str]:
        """Write a file."""
        count = len(request.members)
        rows = pa.table(
            {
                "user_id": [member.user_id for member in request.members],
                "probability": [member.probability for member in request.members],
                "audience": [request.audience] * count,
                "as_of": [request.as_of] * count,
            },
            schema=SCHEMA,
        )
        folder = f"audiences/{request.use_case}/{request.audience}/{request.as_of}"
        self._artifacts.create(f"{folder}/{request.key}.parquet", parquet_of(rows))
        return {}

    def close(self) -> None:
        """Do nothing: the deployment closes its bucket."""
