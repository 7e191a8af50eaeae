"""
The champion in an instance's memory, refreshed in the background.

``Champions.state`` returns the version that serves now, as one immutable value: taken
once for an answer, or for a group of messages, it mixes no versions. A new champion is
read, verified and loaded in the background while the old one serves, and takes its
place between two answers. One that cannot be loaded leaves the old one in its place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from propensity.concurrency import Refreshed
from propensity.errors import OldEpoch, PropensityError, Unavailable, UnknownVersion
from propensity.gcp.log import log
from propensity.registry.champion import NOTHING_SERVES
from propensity.registry.loading import Serving, find_recorded, loaded, recorded
from propensity.registry.versions import Registry
from propensity.usecases import NUMBER

if TYPE_CHECKING:
    from propensity.clock import Clock
    from propensity.gcp.artifacts import Artifacts
    from propensity.gcp.warehouse import Warehouse
    from propensity.usecases import UseCase

# Versions that requests have named and that stay loaded.
KEPT_VERSIONS = 4
# Of these, under way: each load is a query, which is billed.
LOADS_AT_ONCE = 4

_LARGEST = 2**63 - 1


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
        self, artifacts: Artifacts, warehouse: Warehouse, *, clock: Clock, function: str
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
        self._versions: dict[tuple[str, int], asyncio.Task[Serving]] = {}

    async def state(self, use_case: UseCase) -> ServingState:
        """
        Return what serves.

        Raises:
            ArtifactError, SchemaError, Unavailable: Nothing was loaded yet, and the
                champion cannot be.
        """
        if use_case.name not in self._followed:
            registry = Registry(self._artifacts, use_case.name)
            load = partial(self._load_champion, use_case)
            follower = _Follower(registry, load, function=self._function)
            ttl_s = self._warehouse.settings.refresh_s
            self._followed[use_case.name] = Refreshed(
                follower.state,
                ttl_s=ttl_s,
                grace_s=ttl_s,
                clock=self._clock,
                on_error=follower.report,
            )
        return await self._followed[use_case.name].current()

    async def version(self, use_case: UseCase, number: int) -> Serving:
        """
        Return any version with a training record; the last few stay loaded.

        Raises:
            UnknownVersion: There is no such version.
            ArtifactError, SchemaError, Unavailable: It cannot be loaded.
            Unavailable: Requests wait for other versions already.
        """
        key = use_case.name, number
        load = self._versions.pop(key, None)
        if load is None:
            if sum(not one.done() for one in self._versions.values()) >= LOADS_AT_ONCE:
                raise Unavailable("too many versions are loaded at once; try again")
            load = asyncio.create_task(
                asyncio.to_thread(self._load_version, use_case, number)
            )
            load.add_done_callback(partial(self._forget_failed, key))
        # The last that was asked for is the last to go.
        self._versions[key] = load
        if len(self._versions) > KEPT_VERSIONS:
            del self._versions[next(iter(self._versions))]
        # A request that is cancelled leaves the load to the others.
        return await asyncio.shield(load)

    def _forget_failed(self, key: tuple[str, int], load: asyncio.Task[Serving]) -> None:
        is_failed = load.cancelled() or load.exception()
        if is_failed and self._versions.get(key) is load:
            del self._versions[key]

    def _load_version(self, use_case: UseCase, number: int) -> Serving:
        record = None
        if 0 <= number <= _LARGEST:
            record = find_recorded(self._warehouse, use_case, number)
        if record is None:
            raise UnknownVersion(
                f"version {number} of {use_case.name} was never recorded",
                field="version",
            )
        return self._loaded(use_case, record)

    def _load_champion(self, use_case: UseCase, number: int) -> Serving:
        record = recorded(self._warehouse, use_case, number)
        return self._loaded(use_case, record)

    def _loaded(self, use_case: UseCase, record: Mapping[str, Any]) -> Serving:
        chosen = use_case.chosen(self._warehouse.settings)
        registry = Registry(self._artifacts, use_case.name)
        return loaded(registry, use_case, record, chosen=chosen)


class _Follower:
    """Follows one pointer; ``state`` runs in a thread, once at a time."""

    def __init__(
        self, registry: Registry, load: Callable[[int], Serving], *, function: str
    ) -> None:
        self._registry = registry
        self._load = load
        self._function = function
        self._state: ServingState | None = None
        self._reported = ""

    def state(self) -> ServingState:
        """
        Return what the pointer names now; what served before if that cannot serve.

        Raises:
            PropensityError: It cannot, and nothing served before.
        """
        try:
            self._state = self._read(self._state)
            self._reported = ""
        except PropensityError as error:
            if self._state is None:
                raise
            self.report(error)
        return self._state

    def report(self, error: BaseException) -> None:
        """Log an error once, for as long as it lasts."""
        if self._reported != str(error):
            self._reported = str(error)
            log("ERROR", str(error), function=self._function, outcome="champion")

    def _read(self, before: ServingState | None) -> ServingState:
        """Read the pointer, and load its champion unless it serves already."""
        pointer = self._registry.find_champion()
        epoch = NOTHING_SERVES if pointer is None else pointer.epoch
        if before is not None and epoch < before.epoch:
            status = "is gone" if pointer is None else f"has epoch {epoch}"
            raise OldEpoch(
                f"the pointer of {self._registry.use_case} {status}, after epoch "
                f"{before.epoch}: it is not followed until its epoch is higher, or "
                "this instance starts anew"
            )
        champion = before.champion if before else None
        if pointer is None:
            champion = None
        elif champion is None or champion.version != pointer.version:
            champion = self._load(pointer.version)
        return ServingState(champion=champion, epoch=epoch)


class UserFeatures(NamedTuple):
    """Features of a user on the stream, and until when the use case scores the user."""

    values: Mapping[str, Any]
    until: datetime | None

    def at(self, moment: datetime) -> Mapping[str, Any] | None:
        """Return the features; None from the moment on when the user is not scored."""
        is_scored = self.until is not None and moment < self.until
        return self.values if is_scored else None


def users_on_the_stream(
    warehouse: Warehouse,
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
        found[row["user_id"]] = UserFeatures(values, row.get("scored_until"))
    return found
