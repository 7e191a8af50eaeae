"""
The copy of the list of suppressed users in the bucket, which lookups read.

01-Predictions and ``propensity forget`` write it as the table has the list. It is
replaced as a whole, so that no reader sees a part of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.json import encode

from propensity.errors import (
    ArtifactError,
    MissingTable,
    PropensityError,
    SettingsError,
)
from propensity.gcp.artifacts import Artifacts, Stored, content_of, retried
from propensity.gcp.log import log
from propensity.suppression import (
    NOBODY,
    ListEntry,
    Suppressed,
    key_id,
    read_entries,
    recognised,
)

if TYPE_CHECKING:
    from propensity.gcp.queries import Queries
    from propensity.settings import Settings

FILE = "suppressed/users.json"


class PublishedList(Struct, frozen=True):
    """The content of the file: the table's rows, and the key in use."""

    users: list[ListEntry]
    key_id: str | None = None


def check_key(artifacts: Artifacts, key: str) -> None:
    """
    Compare a key with the one that the list was last published under.

    An empty list has no user to tell the keys apart by; a user who is added under a
    wrong one stops every function.
    """
    published = None
    stored = artifacts.find(FILE)
    if stored is not None:
        # A damaged object is written anew.
        with contextlib.suppress(ArtifactError):
            published = content_of(stored, PublishedList, name=FILE).key_id
    if published not in (None, key_id(key)):
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
    """

    def write() -> None:
        stored = artifacts.find(FILE)
        try:
            entries = read_entries(warehouse)
        except MissingTable:
            entries = []
        key = warehouse.settings.suppression_key
        data = encode(PublishedList(sorted(entries), key_id(key) if key else None))
        if stored is None or stored.data != data:
            artifacts.replace(FILE, data, stored)

    retried(write)


@lru_cache(maxsize=1)
def _recognised(stored: Stored, key: str) -> Suppressed:
    """Parse the object; every minute's is nearly always the one before it."""
    content = content_of(stored, PublishedList, name=FILE)
    return recognised(content.users, key)


def read_published(
    bucket: Artifacts, settings: Settings, *, table: Callable[[], Suppressed]
) -> Suppressed:
    """
    Read the list from the bucket, or by ``table`` where that fails.

    Without a list no lookup could be answered, since any user might be on it.
    """
    try:
        stored = bucket.find(FILE)
        if stored is not None:
            return _recognised(stored, settings.suppression_key)
        if not settings.suppression_key:
            return NOBODY
        log("WARNING", f"suppressed users are read from the table: no {FILE} yet")
    except SettingsError:
        raise
    except PropensityError as error:
        log("WARNING", f"suppressed users are read from the table: {error}")
    return table()
