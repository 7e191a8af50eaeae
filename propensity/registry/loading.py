"""
A loaded model version: its training record and its scorer.

A version is loaded only if its checksum is the one that training recorded in BigQuery.
So write access to the bucket is not enough to run code in a function.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Any

from propensity.errors import ArtifactError, SchemaError
from propensity.statements import statement

if TYPE_CHECKING:
    from propensity.gcp.queries import Queries
    from propensity.models.scoring import Scorer
    from propensity.models.value import ValueModel
    from propensity.registry.versions import Registry
    from propensity.settings import Settings
    from propensity.usecases import UseCase


@dataclass(frozen=True, kw_only=True)
class Serving:
    """
    A loaded version: its training record and its scorer.

    A scorer serves one thread at a time, and the champion and a version that a request
    names may share one.

    Attributes:
        metadata: Its row of ``ma_model_training_metadata``.
        is_anomaly: Whether it gives anomaly scores and no probabilities.
        is_warm: Whether it has seen enough data to score; else all scores are NaN.
        value: Loads its model of amounts; None for one without.
    """

    version: int
    scorer: Scorer
    metadata: Mapping[str, Any]
    is_anomaly: bool = False
    is_warm: bool = True
    value: Callable[[], ValueModel] | None = None


def find_recorded(
    warehouse: Queries, use_case: str, version: int
) -> dict[str, Any] | None:
    """Return the training record of a version with its card; None without one."""
    if not 0 <= version < 2**63:
        return None
    rows = warehouse.rows(
        statement("model_metadata"), {"use_case": use_case, "model_version": version}
    )
    if not rows:
        return None
    return {**dict(rows[0].items()), "card": json.loads(rows[0]["card"])}


def recorded(warehouse: Queries, use_case: str, version: int) -> dict[str, Any]:
    """Return the same, or raise ArtifactError."""
    record = find_recorded(warehouse, use_case, version)
    if record is None:
        raise ArtifactError(
            f"version {version} of {use_case} is not recorded in "
            "ma_model_training_metadata, so its files cannot be verified"
        )
    return record


def find_promoted(
    warehouse: Queries,
    use_case: str,
    *,
    as_of: date = date.max,
    served: Sequence[int] = (),
) -> int | None:
    """
    Return the version that training had promoted by a date, None without one.

    Args:
        served: Versions that the pointer names. Of one that was cut off while it was
            promoted, its record does not say whether it was.
    """
    rows = warehouse.rows(
        statement("champion_as_of"),
        {"use_case": use_case, "as_of": as_of, "served": [-1, *served]},
    )
    return int(rows[0]["model_version"]) if rows else None


def newest_recorded(warehouse: Queries, use_case: str) -> int:
    """Return the newest version with a training record, -1 without one."""
    named = {"use_case": use_case, "at_most": 1}
    rows = warehouse.rows(statement("recorded_versions"), named)
    return int(rows[0]["model_version"]) if rows else -1


def loaded(
    registry: Registry,
    use_case: UseCase,
    metadata: Mapping[str, Any],
    *,
    settings: Settings,
    threads: int = 0,
) -> Serving:
    """
    Load a version and verify its bytes by its training record.

    Args:
        use_case: Its features and parameters must be those of the training: with
            others the model's features would mean something else.
        metadata: The training record.
        threads: As for ``Scorer``.

    Raises:
        ArtifactError: Its bytes are not those of the record.
        SchemaError: Its features or parameters are not those of today.
    """
    from propensity.models.half_space_trees import HalfSpaceTrees  # 03 has no sklearn
    from propensity.models.scoring import Scorer

    version, card = metadata["model_version"], metadata["card"]
    if mismatch := trained_otherwise(metadata, use_case, settings):
        raise SchemaError(
            f"version {version} {mismatch}, so its features would mean something else",
            hint="Train again, or set them back",
        )
    changed = {name for name, _ in card["features"].items() ^ use_case.features.items()}
    if changed:
        raise SchemaError(
            f"version {version} was trained on features that have changed since: "
            f"{', '.join(sorted(changed))}",
            hint="Train again",
        )
    preprocessor, model = registry.load(metadata)
    is_anomaly = isinstance(model, HalfSpaceTrees)
    return Serving(
        version=version,
        scorer=Scorer(preprocessor, model, features=card["features"], threads=threads),
        metadata=metadata,
        is_anomaly=is_anomaly,
        is_warm=model.is_warm if is_anomaly else True,
        value=partial(registry.load_value, metadata)
        if "value" in card["files"]
        else None,
    )


def trained_otherwise(
    metadata: Mapping[str, Any],
    use_case: UseCase,
    settings: Settings,
    *,
    statement: str = "",
) -> str:
    """
    Say what a version was trained with that is set otherwise today; "" for nothing.

    That is the use case's own parameters and, where features come from the export, the
    days that features and labels read. Of other sources both are days of the cohort.

    Args:
        metadata: The training record.
        statement: Only its parameters count; "" for all.
    """
    card: Mapping[str, Any] = metadata["card"]
    then, now = dict(card["statement_parameters"]), dict(use_case.chosen(settings))
    if use_case.reads_export or use_case.own_events:
        for name in ("lookback_days", "horizon_days"):
            then[name], now[name] = card[name], getattr(use_case, name)
    changed = [
        f"{name} {then.get(name)!r}, which is {now.get(name)!r} today"
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name)
        and (not statement or re.search(rf"@{name}\b", statement))
    ]
    return f"was trained with {', '.join(changed)}" if changed else ""
