"""
Users in doubt: a delivery that did not end may have sent them without a record.

An object in the bucket has the dates whose delivery to a destination has begun, from
before anything is sent until all users are in the ledger. Users in doubt of an earlier
date are taken off the list like users in the ledger.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from functools import cached_property

from offline.audience.destinations.base import REMOVE, Destination
from offline.audience.ledger import Ledger
from offline.promote import Deployment
from propensity.privacy.suppression import Suppressed

# No use case is named so.
FOLDER = "audiences/under-way"


class Doubt:
    """
    The dates of an audience whose delivery to a destination has begun and not ended.

    Each has a reach: how many users a delivery may have sent beyond the last recorded
    user. Only the delivery whose turn it is writes.
    """

    def __init__(
        self, deployment: Deployment, *, audience: str, destination: Destination
    ) -> None:
        self._artifacts = deployment.artifacts
        name = f"{deployment.use_case.name}/{audience}/{destination.name}"
        self._name = f"{FOLDER}/{name}.json"
        # A destination that only adds cannot take users off its list.
        self._is_kept = REMOVE in destination.actions
        self._is_resumed = False

    def users(
        self, ledger: Ledger, suppressed: Callable[[], Suppressed], *, before: date
    ) -> set[str]:
        """Return who is in doubt as of dates before one."""
        reaches, _ = self._stored
        return {
            user
            for as_of, reach in reaches.items()
            if as_of < before
            for user in ledger.unknown(as_of, reach=reach, suppressed=suppressed())
        }

    def begin(self, as_of: date, *, reach: int) -> None:
        """Note a date before anything of it is sent."""
        reaches, generation = self._stored
        self._is_resumed = as_of in reaches
        if self._is_kept and reaches.get(as_of, 0) < reach:
            self._write(reaches | {as_of: reach}, generation)

    def end(self, ledger: Ledger, as_of: date, suppressed: Suppressed) -> None:
        """
        Forget a date whose users were all sent, and those before it.

        The date stays if a user of an earlier, interrupted attempt was suppressed
        since: that user is not sent again, and is taken off with the next date. A first
        attempt has recorded all whom it sent.
        """
        reaches, generation = self._stored
        if not reaches:
            return
        left = {
            day: reach
            for day, reach in reaches.items()
            if day > as_of
            or (
                day == as_of
                and self._is_resumed
                and ledger.unknown(as_of, reach=reach, suppressed=suppressed)
            )
        }
        self._write(left, generation)

    @cached_property
    def _stored(self) -> tuple[dict[date, int], int]:
        """The reach of each date, and the object's generation."""
        stored = self._artifacts.find(self._name) if self._is_kept else None
        if stored is None:
            return {}, 0
        reaches = {
            date.fromisoformat(as_of): reach
            for as_of, reach in json.loads(stored.data).items()
        }
        return reaches, stored.generation

    def _write(self, reaches: dict[date, int], generation: int) -> None:
        if not reaches:
            self._artifacts.delete(self._name)
            return
        days = {as_of.isoformat(): reach for as_of, reach in sorted(reaches.items())}
        data = json.dumps(days).encode()
        written = self._artifacts.replace(self._name, data, generation=generation)
        self._stored = reaches, written
