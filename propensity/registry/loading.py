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
    from propensity.gcp.warehouse import Warehouse
    from propensity.models.scoring import Pools, Scorer
    from propensity.models.value import ValueModel
    from propensity.registry.versions import Registry
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


def recorded(warehouse: Warehouse, use_case: UseCase, version: int) -> dict[str, Any]:
    """
    Return the training record of a version.

    Raises:
        ArtifactError: There is none.
    """
    record = find_recorded(warehouse, use_case, version)
    if record is None:
        raise ArtifactError(
            f"version {version} of {use_case.name} is not recorded in "
            "ma_model_training_metadata: its bytes can not be verified"
        )
    return record


def find_recorded(
    warehouse: Warehouse, use_case: UseCase, version: int
) -> dict[str, Any] | None:
    """Return the training record of a version with its card; None without one."""
    rows = warehouse.rows(
        statement("model_metadata"),
        {"use_case": use_case.name, "model_version": version},
    )
    if not rows:
        return None
    return {**dict(rows[0].items()), "card": json.loads(rows[0]["card"])}


def newest_record(warehouse: Warehouse, use_case: str) -> dict[str, Any] | None:
    """Return version, date and verdict of the newest training, None without one."""
    rows = warehouse.rows(
        statement("recorded_versions"), {"use_case": use_case, "at_most": 1}
    )
    return dict(rows[0].items()) if rows else None


def find_promoted(
    warehouse: Warehouse,
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


def newest_recorded(warehouse: Warehouse, use_case: str) -> int:
    """Return the newest version with a training record, -1 without one."""
    newest = newest_record(warehouse, use_case)
    return int(newest["model_version"]) if newest else -1


def loaded(
    registry: Registry,
    use_case: UseCase,
    metadata: Mapping[str, Any],
    *,
    chosen: Mapping[str, Any] | None = None,
    pools: Pools | None = None,
) -> Serving:
    """
    Load a version and verify its bytes by its training record.

    Args:
        use_case: Its features must be those of the training.
        metadata: The training record.
        chosen: The use case's own parameters, by today's settings: with others its
            features would mean something else. None to skip this check.
        pools: As for ``Scorer.compile``.

    Raises:
        ArtifactError: Its bytes are not those of the record.
        SchemaError: Its features or parameters are not those of today.
    """
    from propensity.models.half_space_trees import HalfSpaceTrees  # 03 has no sklearn
    from propensity.models.scoring import Scorer

    version = metadata["model_version"]
    if chosen is not None and (
        otherwise := trained_otherwise(metadata, use_case, chosen)
    ):
        raise SchemaError(
            f"version {version} {otherwise}: its features would mean another thing. "
            "Train again, or set them back"
        )
    trained_on = metadata["card"]["features"]
    if trained_on != dict(use_case.features):
        changed = sorted(set(trained_on.items()) ^ set(use_case.features.items()))
        raise SchemaError(
            f"version {version} was trained on other features than today's: "
            f"{', '.join(sorted({name for name, _ in changed})) or 'another order'}. "
            "Train again"
        )
    preprocessor, model = registry.load(metadata)
    is_anomaly = isinstance(model, HalfSpaceTrees)
    return Serving(
        version=version,
        scorer=Scorer(preprocessor, model, features=trained_on, pools=pools),
        metadata=metadata,
        is_anomaly=is_anomaly,
        is_warm=model.is_warm if is_anomaly else True,
        value=partial(registry.load_value, metadata)
        if "value" in metadata["card"]["files"]
        else None,
    )


def trained_otherwise(
    metadata: Mapping[str, Any],
    use_case: UseCase,
    chosen: Mapping[str, Any],
    *,
    statement: str = "",
) -> str:
    """
    Say what a version was trained with that is set otherwise today; "" for nothing.

    That is the use case's own parameters and, where features come from the export, the
    days that features and labels read. Of other sources both are days of the cohort.

    Args:
        metadata: The training record.
        use_case: As it is today.
        chosen: Its own parameters, by today's settings.
        statement: Only its parameters count; "" for all.
    """

    def counted(values: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: value
            for name, value in values.items()
            if not statement or re.search(rf"@{name}\b", statement)
        }

    card = metadata["card"]
    then, now = counted(card["statement_parameters"]), counted(chosen)
    if then != now:
        return f"was trained with {then}, and the settings say {now}"
    if not use_case.reads_export:
        return ""
    days = ("lookback_days", "horizon_days")
    now = counted({name: getattr(use_case, name) for name in days})
    now = {name: today for name, today in now.items() if card[name] != today}
    if not now:
        return ""
    then = {name: card[name] for name in now}
    return f"was trained with {then}, and usecase.toml says {now}"
