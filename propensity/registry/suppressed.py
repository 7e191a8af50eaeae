"""
The list of suppressed users in the bucket: a copy of its table, for lookups.

``propensity forget`` and 01-Predictions keep it up to date.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

from propensity.errors import MissingTable, PropensityError, SettingsError
from propensity.gcp.artifacts import Artifacts, retried
from propensity.gcp.log import log
from propensity.suppression import (
    NOBODY,
    Entry,
    Suppressed,
    entries_of,
    key_id,
    recognised,
)

if TYPE_CHECKING:
    from propensity.gcp.queries import Queries
    from propensity.settings import Settings

OBJECT = "suppressed/users.json"


def check_key(artifacts: Artifacts, key: str) -> None:
    """
    Compare a key with the one that the list was last published under.

    An empty list has no user to tell the keys apart by; a user who is added under a
    wrong one stops every function.

    Raises:
        SettingsError: It is another one.
    """
    known = None
    if (stored := artifacts.find(OBJECT)) is not None:
        # A damaged object is written anew.
        with contextlib.suppress(ValueError, AttributeError):
            known = json.loads(stored.data).get("key_id")
    if known not in (None, key_id(key)):
        raise SettingsError(
            "PROPENSITY_SUPPRESSION_KEY is not the key of this deployment's functions",
            hint="Take theirs from Secret Manager; if you have changed it, let "
            "predictions run first",
            field="PROPENSITY_SUPPRESSION_KEY",
        )


def publish(warehouse: Queries, artifacts: Artifacts) -> None:
    """
    Write the list, as the table has it now, into the bucket.

    The table is read after the object, which changes by compare-and-set: so a slow
    writer cannot bring an older list back.

    Raises:
        Conflict: Others wrote it each time.
        AccessDenied, Unavailable: As named.
    """

    def write() -> None:
        stored = artifacts.find(OBJECT)
        try:
            entries = entries_of(warehouse)
        except MissingTable:
            entries = []
        key = warehouse.settings.suppression_key
        listed = {"key_id": key_id(key) if key else None, "users": sorted(entries)}
        data = json.dumps(listed).encode()
        if stored is None or stored.data != data:
            artifacts.replace(OBJECT, data, stored)

    retried(write)


@lru_cache(maxsize=1)
def _published(data: bytes, key: str) -> Suppressed:
    """Parse the object; every minute's is nearly always the one before it."""
    entries = [Entry(*user) for user in json.loads(data)["users"]]
    return recognised(entries, key)


def read_published(
    bucket: Artifacts, settings: Settings, *, table: Callable[[], Suppressed]
) -> Suppressed:
    """
    Read the list from the bucket, or by ``table`` where that fails.

    Without a list no lookup could be answered, since any user might be on it.

    Raises:
        SettingsError, MissingTable, Unavailable: As ``read``.
    """
    try:
        if not settings.suppression_key and bucket.find(OBJECT) is None:
            return NOBODY
        return _published(bucket.read(OBJECT).data, settings.suppression_key)
    except SettingsError:
        raise
    except (PropensityError, ValueError, KeyError, TypeError, RecursionError) as error:
        log("WARNING", f"suppressed users are read from the table: {error}")
        return table()
