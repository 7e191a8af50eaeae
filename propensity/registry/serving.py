"""
The champion in an instance's memory, refreshed in the background.

``Champions.state`` returns the version that serves now, as one immutable value: taken
once for an answer, or for a group of messages, it mixes no versions. A new champion is
read, verified and loaded in the background while the old one serves, and takes its
place between two answers. One that cannot be loaded leaves the old one in its place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from propensity.concurrency import Refreshed
from propensity.errors import (
    ArtifactError,
    PropensityError,
    Unavailable,
    UnknownVersion,
)
from propensity.gcp.log import log
from propensity.registry.champion import NOTHING_SERVES
from propensity.registry.loading import Serving, find_recorded, loaded, recorded
from propensity.registry.versions import Registry
from propensity.usecases import NUMBER

if TYPE_CHECKING:
    from propensity.clock import Clock
    from propensity.gcp.artifacts import Artifacts
    from propensity.gcp.queries import Queries
    from propensity.usecases import UseCase

# Versions that requests have named and that stay loaded.
KEPT_VERSIONS = 4
# Requests that may wait for other versions.
WANTED_VERSIONS = 100


@dataclass(frozen=True, kw_only=True)
class ServingState:
    """
    What serves at a moment. Take it once for an answer.

    Attributes:
        champion: Its scores are the answer; None before the first promotion.
        epoch: Of the pointer; -1 without a pointer.
    """

    champion: Serving | None
    epoch: int


class Champions:
    """
    The champions of all use cases, and versions by number. Belongs to one event loop.

    While calls come, ``state`` does not wait: every PROPENSITY_REFRESH_S a thread reads
    the pointer again and loads a new champion. The first call for a use case waits for
    that, and so does one after a pause.
    """

    def __init__(
        self, artifacts: Artifacts, warehouse: Queries, *, clock: Clock, function: str
    ) -> None:
        """
        Args:
            artifacts: Of the bucket.
            warehouse: Has the training records, and the settings.
            clock: Measures the seconds between reads of a pointer.
            function: In the log.
        """
        self._artifacts = artifacts
        self._warehouse = warehouse
        self._clock = clock.monotonic
        self._function = function
        self._followed: dict[str, Refreshed[ServingState]] = {}
        # What served last, by use case.
        self._states: dict[str, ServingState] = {}
        self._versions: dict[tuple[str, int], Serving] = {}
        self._loading = asyncio.Lock()
        self._wanted = 0

    async def state(self, use_case: UseCase) -> ServingState:
        """
        Return what serves.

        Raises:
            ArtifactError, SchemaError, Unavailable: Nothing was loaded yet, and the
                champion cannot be.
        """
        followed = self._followed.get(use_case.name)
        if followed is None:
            ttl_s = self._warehouse.settings.refresh_s
            followed = self._followed[use_case.name] = Refreshed(
                partial(self._read, use_case),
                ttl_s=ttl_s,
                grace_s=ttl_s,
                clock=self._clock,
                on_error=self._log,
            )
        return await followed.current()

    async def version(self, use_case: UseCase, number: int) -> Serving:
        """
        Return any version with a training record; the last few stay loaded.

        Raises:
            UnknownVersion: There is no such version.
            ArtifactError, SchemaError, Unavailable: It cannot be loaded.
        """
        key = use_case.name, number
        if key not in self._versions:
            if self._wanted >= WANTED_VERSIONS:
                raise Unavailable("too many versions are asked for: try again")
            self._wanted += 1
            try:
                # One at a time: each load is a query, which is billed.
                async with self._loading:
                    if key not in self._versions:
                        load = asyncio.to_thread(self._version, use_case, number)
                        self._versions[key] = await load
            finally:
                self._wanted -= 1
        # To the end: those that were asked for last stay loaded.
        self._versions[key] = serving = self._versions.pop(key)
        if len(self._versions) > KEPT_VERSIONS:
            del self._versions[next(iter(self._versions))]
        return serving

    def _version(self, use_case: UseCase, number: int) -> Serving:
        record = find_recorded(self._warehouse, use_case.name, number)
        if record is None:
            raise UnknownVersion(
                f"{use_case.name} has no version {number}", field="version"
            )
        return self._loaded(use_case, record)

    def _read(self, use_case: UseCase) -> ServingState:
        """
        Return what the pointer names now; what served before if that cannot serve.

        Raises:
            PropensityError: It cannot, and nothing served before.
        """
        before = self._states.get(use_case.name)
        try:
            self._states[use_case.name] = self._followed_from(before, use_case)
        except PropensityError as error:
            if before is None:
                raise
            self._log(error)
        return self._states[use_case.name]

    def _followed_from(
        self, before: ServingState | None, use_case: UseCase
    ) -> ServingState:
        """Read the pointer, and load its champion unless it serves already."""
        registry = Registry(self._artifacts, use_case.name)
        pointer = registry.champion()
        champion = before.champion if before else None
        if pointer is None:
            if champion:
                raise ArtifactError(
                    f"{registry.pointer} is gone: version {champion.version} goes on"
                )
            return ServingState(champion=None, epoch=NOTHING_SERVES)
        if champion is None or champion.version != pointer.version:
            record = recorded(self._warehouse, use_case.name, pointer.version)
            champion = self._loaded(use_case, record)
        return ServingState(champion=champion, epoch=pointer.epoch)

    def _loaded(self, use_case: UseCase, record: Mapping[str, Any]) -> Serving:
        registry = Registry(self._artifacts, use_case.name)
        return loaded(registry, use_case, record, settings=self._warehouse.settings)

    def _log(self, error: BaseException) -> None:
        log("ERROR", str(error), function=self._function, outcome="champion")


_HOUR = timedelta(hours=1)


class UserFeatures(NamedTuple):
    """
    Features of a user on the stream as of now, and when the use case scores the user.

    Attributes:
        elapsed: The feature with the hours since ``since``; empty for none.
    """

    values: Mapping[str, Any]
    until: datetime | None
    since: datetime | None = None
    elapsed: str = ""

    def at(self, moment: datetime) -> Mapping[str, Any] | None:
        """
        Return the features; None from the moment on when the user is not scored.

        What is known by now can be newer than the moment: then so are the hours.
        """
        if self.until is None or moment >= self.until:
            return None
        if not self.elapsed or self.since is None:
            return self.values
        hours = max(self.values[self.elapsed], (moment - self.since) / _HOUR)
        return {**self.values, self.elapsed: hours}


def users_on_the_stream(
    warehouse: Queries,
    use_case: UseCase,
    user_ids: Collection[str],
    *,
    first_event_day: date,
) -> dict[str, UserFeatures]:
    """
    Return the features of users as of now, by one query; users may have none.

    Args:
        first_event_day: Of the oldest event that is to be scored.
    """
    rows = warehouse.lookup(
        use_case.statement("stream_rows"),
        use_case.serving(warehouse.settings, user_ids, first_event_day=first_event_day),
    )
    found = {}
    for row in rows:
        # The model's floats, not BigQuery's decimals: Arrow does not round a large one.
        values = {
            name: float(row[name])
            if kind == NUMBER and row[name] is not None
            else row[name]
            for name, kind in use_case.features.items()
        }
        found[row["user_id"]] = UserFeatures(
            values,
            until=row.get("scored_until"),
            since=row.get("scored_from"),
            elapsed=use_case.stream.elapsed,
        )
    return found
