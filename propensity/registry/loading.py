"""
A model version, loaded: what was recorded of it, and what scores.

A version is loaded only if its bytes are those that training recorded in BigQuery, so
that whoever can write to the bucket can still not run code in a function.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from propensity import tables
from propensity.errors import ArtifactError, SchemaError
from propensity.statements import statement

if TYPE_CHECKING:
    from propensity.edges.warehouse import Warehouse
    from propensity.models.scoring import Scorer
    from propensity.registry.versions import Registry
    from propensity.usecases import UseCase


@dataclass(frozen=True, kw_only=True)
class Serving:
    """
    A version, loaded: what was recorded of it and what scores.

    Its scorer serves one thread at a time, wherever the version was taken from: what
    serves and what a request names may be the same.

    Attributes:
        is_anomaly: Whether it gives anomaly scores and no probabilities.
        is_warm: Whether it has seen enough to score at all; else all scores are NaN.
    """

    version: int
    scorer: Scorer
    metadata: Mapping[str, Any]
    is_anomaly: bool = False
    is_warm: bool = True


def recorded(warehouse: Warehouse, use_case: UseCase, version: int) -> dict[str, Any]:
    """
    Return what training recorded of a version.

    Raises:
        ArtifactError: It was not recorded.
    """
    found = find_recorded(warehouse, use_case, version)
    if found is None:
        raise ArtifactError(
            f"version {version} of {use_case.name} is not recorded in "
            f"{tables.TRAINING_METADATA.name}: its bytes can not be verified"
        )
    return found


def find_recorded(
    warehouse: Warehouse, use_case: UseCase, version: int
) -> dict[str, Any] | None:
    """Return what training recorded of a version, or None where it did not."""
    found = warehouse.rows(
        statement("model_metadata"),
        {"use_case": use_case.name, "model_version": version},
    )
    return dict(found[0].items()) if found else None


def loaded(
    registry: Registry,
    use_case: UseCase,
    metadata: Mapping[str, Any],
    *,
    chosen: Mapping[str, Any] | None = None,
) -> Serving:
    """
    Load a recorded version, its bytes verified by what was recorded.

    Args:
        registry: Of the use case.
        use_case: Whose features it must have been trained on.
        metadata: What was recorded of it.
        chosen: The use case's own parameters, as they are set now: with others its
            features would mean something else. None to load it whatever they are.

    Raises:
        ArtifactError: Its bytes are others.
        SchemaError: Its features or parameters are not those of today.
    """
    version = metadata["model_version"]
    trained_with = json.loads(metadata.get("statement_parameters") or "null")
    if None not in (chosen, trained_with) and trained_with != dict(chosen or {}):
        raise SchemaError(
            f"version {version} was trained with {trained_with}, and the settings say "
            f"{dict(chosen or {})}: its features would mean another thing. "
            "Train again, or set them back"
        )
    trained_on = json.loads(metadata["features"])
    if trained_on != dict(use_case.features):
        changed = sorted(set(trained_on.items()) ^ set(use_case.features.items()))
        raise SchemaError(
            f"version {version} was trained on other features than today's: "
            f"{', '.join(sorted({name for name, _ in changed})) or 'another order'}. "
            "Train again"
        )
    from propensity.models.anomaly import AnomalyModel  # 03 has no sklearn
    from propensity.models.scoring import Scorer

    preprocessor, model = registry.load(metadata)
    features: Any = dict(use_case.features)
    is_anomaly = isinstance(model, AnomalyModel)
    return Serving(
        version=version,
        scorer=Scorer.compile(preprocessor, model, features=features),
        metadata=metadata,
        is_anomaly=is_anomaly,
        is_warm=model.is_warm if is_anomaly else True,
    )
