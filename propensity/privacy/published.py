"""
The list of suppressed users as an object of the bucket, for lookups without BigQuery.

``propensity forget`` changes the table and publishes the list. 01-Predictions publishes
it, too, before its index: so where there is an index there is a list. It has what the
table has: keyed hashes, and no id.

02-GetProba imports this, so nothing heavy may be imported here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from propensity import tables
from propensity.edges.log import log
from propensity.edges.objects import UNCHANGED, Objects, Stored, Unchanged
from propensity.errors import (
    ArtifactError,
    Conflict,
    MissingTable,
    PropensityError,
    SettingsError,
)
from propensity.privacy.suppression import COLUMNS, Entry, Suppressed, recognised

if TYPE_CHECKING:
    from propensity.edges.artifacts import Artifacts
    from propensity.edges.warehouse import Warehouse

OBJECT = "suppressed/users.json"
TRIES = 10


def publish(warehouse: Warehouse, artifacts: Artifacts) -> None:
    """
    Write the list as the table has it now.

    The table is read after the object, which changes by compare-and-set: so a slow
    writer cannot bring an older list back.

    Raises:
        Conflict: Others wrote it each time.
        AccessDenied, Unavailable: As named.
    """
    for _ in range(TRIES):
        stored = artifacts.find(OBJECT)
        try:
            rows = warehouse.listed(tables.SUPPRESSED_USERS, COLUMNS)
        except MissingTable:
            rows = []
        entries = sorted((row.use_case, row.user_hash, row.key_id) for row in rows)
        data = json.dumps({"users": entries}).encode()
        if stored is not None and stored.data == data:
            return
        try:
            artifacts.replace(
                OBJECT, data, generation=stored.generation if stored else 0
            )
        except Conflict:
            continue
        return
    raise Conflict(f"{OBJECT} is written again and again")


@dataclass(repr=False)  # which would show the key
class PublishedList:
    """
    Reads the list from the bucket, or from the table if that fails.

    Without a list nobody could be answered, since any user might be on it.

    Attributes:
        objects: The bucket.
        key: Of the hashes.
        function: In the log.
        table: Reads the list from BigQuery.
    """

    objects: Objects
    key: str
    function: str
    table: Callable[[], Suppressed]
    _known: tuple[int, Suppressed] | None = field(default=None, init=False)

    def read(self) -> Suppressed:
        """
        Return the list: the one that was read before if the object has not changed.

        Raises:
            SettingsError: It was made under another key.
            MissingTable, Unavailable: As ``suppression.read``.
        """
        than, known = self._known or (0, None)
        try:
            stored = self.objects.find_newer(OBJECT, than=than)
            if stored is UNCHANGED and known is not None:
                return known
            if stored is not None:
                assert not isinstance(stored, Unchanged)
                self._known = (stored.generation, self._listed(stored))
                return self._known[1]
        except SettingsError:
            raise
        except PropensityError as error:
            log(
                "WARNING",
                f"{error}; suppressed users are read from the table instead",
                function=self.function,
            )
        return self.table()

    def _listed(self, stored: Stored) -> Suppressed:
        try:
            users = json.loads(stored.data)["users"]
            entries = [Entry(*map(str, user)) for user in users]
            return recognised(entries, key=self.key)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ArtifactError(
                f"{OBJECT} is not a list of suppressed users"
            ) from error
