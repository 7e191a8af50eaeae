"""
Take users off the list of suppressed users, if they come back by their own choice.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from importlib import resources

from offline.forget_report import Allowed, pieces
from propensity.gcp.artifacts import Artifacts
from propensity.gcp.warehouse import Warehouse
from propensity.privacy import suppression
from propensity.privacy.suppression import EVERYWHERE, user_hash
from propensity.settings import Settings
from propensity.statements import statement

SQL = resources.files(__package__)


def allow_again(
    settings: Settings, user_ids: Sequence[str], *, use_case: str
) -> Allowed:
    """Take users off the list, and say how many were on it."""
    key = settings.required("suppression_key")
    scope = use_case or EVERYWHERE
    with (
        contextlib.closing(Warehouse.open(settings)) as warehouse,
        contextlib.closing(Artifacts.open(settings)) as artifacts,
    ):
        suppression.read(warehouse)
        removed = sum(
            warehouse.execute(
                statement("allow_again", own=SQL), {"hashes": hashes, "use_case": scope}
            )
            for hashes in pieces([user_hash(key, user) for user in user_ids])
        )
        suppression.publish(warehouse, artifacts)
    return Allowed(removed=removed)
