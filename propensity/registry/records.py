"""
What training has recorded of its versions, in BigQuery; nothing here loads a model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

from msgspec import convert
from msgspec.structs import replace

from propensity import errors
from propensity.registry.versions import Record
from propensity.statements import statement

if TYPE_CHECKING:
    from propensity.gcp.queries import Queries
    from propensity.settings import Settings
    from propensity.tables.models import TrainedVersion
    from propensity.usecases import UseCase


def find_recorded(warehouse: Queries, use_case: str, version: int) -> Record | None:
    """Return the training record of a version; None without one."""
    if not 0 <= version < 2**63:
        return None
    parameters = {"use_case": use_case, "model_versions": [version]}
    rows = warehouse.rows(statement("trained_versions"), parameters)
    if not rows:
        return None
    present = {name: value for name, value in rows[0].items() if value is not None}
    return convert({**present, "card": json.loads(present["card"])}, Record)


def recorded(warehouse: Queries, use_case: str, version: int) -> Record:
    """Return the training record of a version, or raise ArtifactError."""
    record = find_recorded(warehouse, use_case, version)
    if record is None:
        raise errors.ArtifactError(
            f"version {version} of {use_case} is not recorded in "
            "ma_model_training_metadata, so its files cannot be verified"
        )
    return record


def find_promoted(
    warehouse: Queries,
    use_case: str,
    *,
    as_of: date = date.max,
    champions: Sequence[int] = (),
) -> int | None:
    """
    Return the version that training had promoted by a date, None without one.

    Args:
        champions: Versions that the pointer names. Of one that was cut off while it was
            promoted, its record does not say whether it was.
    """
    rows = warehouse.rows(
        statement("champion_as_of"),
        {"use_case": use_case, "as_of": as_of, "champions": champions},
    )
    return int(rows[0]["model_version"]) if rows else None


def newest_recorded(warehouse: Queries, use_case: str) -> int:
    """Return the newest version with a training record, -1 without one."""
    parameters = {"use_case": use_case, "at_most": 1}
    rows = warehouse.rows(statement("recorded_versions"), parameters)
    return int(rows[0]["model_version"]) if rows else -1


def training_mismatch(
    record: Record, use_case: UseCase, settings: Settings, *, statement: str = ""
) -> str:
    """
    Say what a version was trained with that is set otherwise today; "" for nothing.

    That is the use case's own parameters and, where features come from the export, the
    days that features and labels read. Of other sources both are days of the cohort.

    Args:
        statement: Only its parameters count; "" for all.
    """
    card = record.card
    then = dict(card.statement_parameters)
    now = dict(use_case.statement_parameters(settings))
    if use_case.reads_export or use_case.own_events:
        for name in ("lookback_days", "horizon_days"):
            then[name] = getattr(card, name)
            now[name] = getattr(use_case, name)
    changed = []
    for name in sorted(then.keys() | now.keys()):
        if statement and not re.search(rf"@{name}\b", statement):
            continue
        old = then.get(name)
        new = now.get(name)
        if old != new:
            changed.append(f"{name} {old!r}, which is {new!r} today")
    return f"was trained with {', '.join(changed)}" if changed else ""


def pending(row: TrainedVersion) -> TrainedVersion:
    """Return a row as it is before the pointer moves, and if the run ends here."""
    why = f"interrupted before it was recorded whether it is live: {row.verdict}"
    return replace(row, promoted=None, verdict=why)
