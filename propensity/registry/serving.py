"""
The champion in an instance's memory, refreshed in the background.

``Champions.state`` returns the version that serves now, as one immutable value: taken
once for an answer, or for a group of messages, it mixes no versions. A new champion is
read, verified and loaded in the background while the old one serves, and takes its
place between two answers. One that cannot be loaded leaves the old one in its place.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from propensity.errors import (
    OldEpoch,
    PropensityError,
    UnknownVersion,
)
from propensity.registry.champion import NOTHING_SERVES, Champion
from propensity.registry.loading import Serving, find_recorded, loaded, recorded
from propensity.registry.versions import Registry

if TYPE_CHECKING:
    from propensity.clock import Clock
    from propensity.edges.artifacts import Artifacts
    from propensity.edges.warehouse import Warehouse
    from propensity.usecases import UseCase

# Versions that stay loaded for requests that name them, beside those that serve.
KEPT_VERSIONS = 4

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


@dataclass(frozen=True, kw_only=True)
class _Snapshot:
    """The last read of a use case's pointer, and when to read it again."""

    state: ServingState
    generation: int
    until: float = 0.0


class Champions:
    """
    The champions of all use cases, loaded, and refreshed in the background.

    While calls come, ``state`` does not wait: every ``ttl_s`` a thread reads the
    pointer again and loads a new champion. The first call for a use case waits for
    that, and so does one after a pause. Several threads may call it; an event loop
    ``ready``.

    - A version that cannot be loaded replaces nothing: the old champion goes on. The
      error is reported once, and the load repeated.
    - A pointer that is gone, or has a lower epoch than before, is ignored.
    """

    def __init__(
        self,
        artifacts: Artifacts,
        warehouse: Warehouse,
        *,
        ttl_s: float,
        clock: Clock,
        threads: Executor,
        tell: Callable[[PropensityError], None] | None = None,
    ) -> None:
        """
        Args:
            artifacts: Of the bucket.
            warehouse: Has the training records.
            ttl_s: Seconds between reads of a pointer.
            clock: Measures them.
            threads: Read pointers and load versions behind the answers.
            tell: Called once with each error, in the thread that met it.
        """
        self._artifacts = artifacts
        self._warehouse = warehouse
        self._ttl_s = ttl_s
        self._clock = clock.monotonic
        self._threads = threads
        self._tell = tell
        self._snapshots: dict[str, _Snapshot] = {}
        self._reported: dict[str, str] = {}
        # The last failure of a first load.
        self._failures: dict[str, PropensityError] = {}
        self._refreshing: dict[str, threading.Lock] = {}
        self._versions: OrderedDict[tuple[str, int], Serving] = OrderedDict()
        # Held for a moment only, never during a read or a load.
        self._lock = threading.Lock()

    # The champion

    def state(self, use_case: UseCase) -> ServingState:
        """
        Return what serves now; a first call, and one after a pause, waits.

        Raises:
            ArtifactError, SchemaError, Unavailable: On the first call: the champion
                cannot be loaded.
        """
        if (snapshot := self._usable(use_case)) is None:
            return self._awaited(use_case)
        return self._served(use_case, snapshot)

    async def ready(self, use_case: UseCase) -> ServingState:
        """Return ``state``; what it waits for runs in a thread, off the event loop."""
        # One look at the clock: by a second one it might be overdue, and wait here.
        if (snapshot := self._usable(use_case)) is None:
            return await asyncio.to_thread(self._awaited, use_case)
        return self._served(use_case, snapshot)

    def _served(self, use_case: UseCase, snapshot: _Snapshot) -> ServingState:
        if self._clock() >= snapshot.until:
            self._refresh_behind(use_case)
        return snapshot.state

    def _usable(self, use_case: UseCase) -> _Snapshot | None:
        """Return the last read; None before the first, and if it is long overdue."""
        snapshot = self._snapshots.get(use_case.name)
        is_overdue = snapshot and self._clock() >= snapshot.until + self._ttl_s
        return None if is_overdue else snapshot

    def _awaited(self, use_case: UseCase) -> ServingState:
        """Follow the pointer; who waits for a first load that fails fails with it."""
        before = self._failures.get(use_case.name)
        with self._refreshing_of(use_case):
            if (snapshot := self._usable(use_case)) is not None:
                return snapshot.state
            last = self._failures.get(use_case.name)
            if last is not None and last is not before:
                raise copy(last)
            try:
                return self._refresh(use_case)
            except PropensityError as failed:
                # A copy has no traceback, in which are the bytes of the version.
                self._failures[use_case.name] = copy(failed)
                raise

    def _refresh_behind(self, use_case: UseCase) -> None:
        """Start to read the pointer again, unless a read is under way."""
        refreshing = self._refreshing_of(use_case)
        if not refreshing.acquire(blocking=False):
            return
        snapshot = self._snapshots[use_case.name]
        if self._clock() < snapshot.until:
            refreshing.release()
            return
        # However long the read takes, nobody waits for it.
        self._snapshots[use_case.name] = replace(snapshot, until=math.inf)

        def refresh() -> None:
            try:
                self._refresh(use_case)
            finally:
                refreshing.release()

        try:
            self._threads.submit(refresh)
        except RuntimeError:
            # No more threads, or the process ends: the old champion goes on.
            self._snapshots[use_case.name] = snapshot
            refreshing.release()

    def _refreshing_of(self, use_case: UseCase) -> threading.Lock:
        with self._lock:
            return self._refreshing.setdefault(use_case.name, threading.Lock())

    def _refresh(self, use_case: UseCase) -> ServingState:
        """Follow the pointer, as its only reader, and store the snapshot."""
        before = self._snapshots.get(use_case.name)
        snapshot = before
        try:
            snapshot = self._follow(use_case, before)
        except PropensityError as error:
            if before is None:
                raise
            self._note(use_case, error)
        finally:
            # Also after an unexpected error: it must not come at each call.
            if snapshot is not None:
                until = self._clock() + self._ttl_s
                self._snapshots[use_case.name] = replace(snapshot, until=until)
        assert snapshot is not None
        return snapshot.state

    def _follow(self, use_case: UseCase, before: _Snapshot | None) -> _Snapshot:
        """
        Read the pointer, and load its champion unless it serves already.

        Raises:
            PropensityError: One of the two cannot be read.
        """
        registry = Registry(self._artifacts, use_case.name)
        change = registry.champion_since(before.generation if before else 0)
        if change is None:
            assert before is not None
            self._reported.pop(use_case.name, None)
            return before
        pointer, generation = change
        if before is not None and _epoch(pointer) < before.state.epoch:
            raise _outdated(use_case, pointer, before.state)
        if pointer is None:
            nothing = ServingState(champion=None, epoch=NOTHING_SERVES)
            return _Snapshot(state=nothing, generation=0)
        serving = self.find_loaded(use_case, pointer.version)
        if serving is None:
            warehouse = self._warehouse.for_run()
            record = recorded(warehouse, use_case, pointer.version)
            serving = self._load(registry, use_case, record)
        self._reported.pop(use_case.name, None)
        state = ServingState(champion=serving, epoch=pointer.epoch)
        return _Snapshot(state=state, generation=generation)

    def _load(
        self, registry: Registry, use_case: UseCase, metadata: Mapping[str, Any]
    ) -> Serving:
        chosen = use_case.chosen(self._warehouse.settings)
        return loaded(registry, use_case, metadata, chosen=chosen)

    def _note(self, use_case: UseCase, error: PropensityError) -> None:
        """Report an error once, for as long as it lasts."""
        if self._reported.get(use_case.name) == error.message:
            return
        self._reported[use_case.name] = error.message
        if self._tell is not None:
            self._tell(error)

    # Versions by number

    def version(self, use_case: UseCase, number: int) -> Serving:
        """
        Return any version with a training record; a few stay loaded.

        Call it in a thread: it waits for a load, unless ``find_loaded`` has it.

        Raises:
            UnknownVersion: There is no such version.
            ArtifactError, SchemaError, Unavailable: It cannot be loaded.
        """
        if (serving := self.find_loaded(use_case, number)) is not None:
            return serving
        serving = self._read(use_case, number)
        with self._lock:
            self._versions[use_case.name, number] = serving
            while len(self._versions) > KEPT_VERSIONS:
                self._versions.popitem(last=False)
        return serving

    def find_loaded(self, use_case: UseCase, number: int) -> Serving | None:
        """Return a version if it is loaded, else None, without waiting."""
        if (snapshot := self._snapshots.get(use_case.name)) is not None:
            champion = snapshot.state.champion
            if champion is not None and champion.version == number:
                return champion
        key = (use_case.name, number)
        with self._lock:
            if (serving := self._versions.get(key)) is not None:
                self._versions.move_to_end(key)
            return serving

    def _read(self, use_case: UseCase, number: int) -> Serving:
        record = None
        if 0 <= number <= _LARGEST:
            record = find_recorded(self._warehouse.for_run(), use_case, number)
        if record is None:
            raise UnknownVersion(
                f"version {number} of {use_case.name} was never recorded",
                field="version",
            )
        return self._load(Registry(self._artifacts, use_case.name), use_case, record)


def _epoch(pointer: Champion | None) -> int:
    return NOTHING_SERVES if pointer is None else pointer.epoch


def _outdated(
    use_case: UseCase, pointer: Champion | None, state: ServingState
) -> OldEpoch:
    status = "is gone" if pointer is None else f"has epoch {pointer.epoch}"
    return OldEpoch(
        f"the pointer of {use_case.name} {status}, after epoch {state.epoch}: it is "
        "not followed until its epoch is higher, or this instance starts anew"
    )
