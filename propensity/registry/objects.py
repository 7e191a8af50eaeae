"""JSON objects of the registry in the bucket, and moments in them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from propensity.edges.artifacts import Stored
from propensity.errors import ArtifactError

# Of so many that race for an object one would have to lose every time to give up.
CLAIMS = 100


def json_of(value: Mapping[str, Any]) -> bytes:
    """Return what an object says as bytes."""
    return json.dumps(value, indent=1, sort_keys=True).encode()


def instant_of(moment: datetime) -> str:
    """Return a moment so that texts sort as moments do."""
    return moment.isoformat(timespec="microseconds")


def object_of(stored: Stored, name: str) -> dict[str, Any]:
    """
    Return what an object says.

    Raises:
        ArtifactError: It is no JSON object.
    """
    try:
        value = json.loads(stored.data)
    except ValueError as error:
        raise ArtifactError(f"{name} is not JSON") from error
    if not isinstance(value, dict):
        raise ArtifactError(f"{name} is not a JSON object")
    return value
