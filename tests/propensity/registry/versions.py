"""A registry in a bucket, and what somebody does in it, by hand or with bad intent."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from propensity import usecases
from propensity.registry.versions import Champion, Registry
from propensity.tables.models import TRAINING_METADATA

NOW = datetime(2026, 3, 2, 6, tzinfo=UTC)

SHA = "0" * 64


def overwrite(registry: Registry, name: str, data: bytes) -> None:
    """Write an object as somebody would who can write to the bucket."""
    registry.artifacts.overwrite(name, data, content_type="application/json")


def store(
    registry: Registry,
    *,
    model: bytes,
    preprocessor: bytes,
    features: Mapping[str, str],
) -> tuple[int, pa.Table]:
    """Store a model as training does; return its version, and its row."""
    version = registry.claim(run_id=uuid.uuid4().hex, at=NOW)
    files = {"model": (model, ""), "preprocessor": (preprocessor, "")}
    published = registry.publish(
        version, {f"{part}.joblib": file for part, file in files.items()}
    )
    card = {
        "features": dict(features),
        "statement_parameters": dict(usecases.load(registry.use_case).parameters),
        "files": {},
    }
    row: dict[str, Any] = {
        "use_case": registry.use_case,
        "model_version": version,
        "training_date": NOW.date(),
        "as_of": NOW.date(),
        "algorithm": "logistic_regression",
        "card": json.dumps(card),
    }
    for part in files:
        row[f"{part}_object"] = published.objects[f"{part}.joblib"]
        row[f"{part}_sha256"] = published.checksums[f"{part}.joblib"]
    return version, TRAINING_METADATA.arrow([row])


class Malicious:
    """Creates a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self):
        return (Path.touch, (self.file,))


def promote(registry: Registry, version: int, **options: Any) -> Champion:
    """Promote instead of what serves, or of another champion."""
    instead_of = options.pop("instead_of", registry.champion())
    return registry.promote(
        version, model_sha256=SHA, at=NOW, instead_of=instead_of, **options
    )
