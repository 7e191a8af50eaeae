"""
The champion in an instance's memory, refreshed in the background.

``Champions.state`` returns the versions that serve now, as one immutable value: taken
once for an answer, or for a group of messages, it mixes no versions. A new version is
read, verified and loaded in the background while the old one serves, and takes its
place between two answers.
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
    ArtifactError,
    OldEpoch,
    PropensityError,
    SchemaError,
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

# Pause before a version that cannot be loaded is tried again, and most such versions in
# memory.
REFUSED_S = 10.0
REFUSED_VERSIONS = 1_000

# Locks for loads: two versions wait for each other only if they share a lock.
_STRIPES = 16

_LARGEST = 2**63 - 1
# Another load a moment later would end alike; any other error is one of a service.
_DAMAGES = (ArtifactError, SchemaError)


@dataclass(frozen=True, kw_only=True)
class ServingState:
    """
    The versions that serve at a moment. Take it once for an answer.

    Attributes:
        champion: Its scores are the answer; None before the first promotion.
        shadow: Its scores are for the log alone; None without a shadow.
        epoch: Of the pointer; -1 without a pointer.
        refused: The pointer's champion if it cannot be loaded, so that another version
            serves in its place; else None.
    """

    champion: Serving | None
    shadow: Serving | None
    epoch: int
    refused: int | None = None


@dataclass(frozen=True, kw_only=True)
class _Snapshot:
    """The last read of a use case's pointer, and when to read it again."""

    state: ServingState
    pointer: Champion | None
    generation: int
    until: float = 0.0


class Champions:
    """
    The champions of all use cases, loaded, and refreshed in the background.

    While calls come, ``state`` does not wait: every ``ttl_s`` a thread reads the
    pointer again and loads new versions. The first call for a use case waits for that,
    and so does one after a pause. Several threads may call it; an event loop ``ready``.

    - A version that cannot be loaded replaces nothing: the old champion goes on, a new
      shadow does not start. The error is reported once, and the load repeated.
    - If no champion is loaded yet, earlier champions are tried in its place.
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
        self._reported: dict[str, set[str]] = {}
        # The last failure of a first load, and until when it stands.
        self._failures: dict[str, tuple[float, PropensityError]] = {}
        self._refreshing: dict[str, threading.Lock] = {}
        self._versions: OrderedDict[tuple[str, int], Serving] = OrderedDict()
        self._refused: OrderedDict[tuple[str, int], tuple[float, PropensityError]] = (
            OrderedDict()
        )
        self._loading = tuple(threading.Lock() for _ in range(_STRIPES))
        # Held for a moment only, never during a read or a load.
        self._lock = threading.Lock()

    # The champion and its shadow

    def state(self, use_case: UseCase) -> ServingState:
        """
        Return the versions that serve now; a first call, and one after a pause, waits.

        Raises:
            ArtifactError, SchemaError, Unavailable: On the first call: no version of
                the pointer can be loaded.
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
            # So do later ones for a moment, where no other load would end differently.
            if last and (last is not before or self._clock() < last[0]):
                raise copy(last[1])
            try:
                return self._refresh(use_case)
            except PropensityError as failed:
                stands_s = REFUSED_S if isinstance(failed, _DAMAGES) else 0.0
                # A copy has no traceback, in which are the bytes of the version.
                until = self._clock() + stands_s
                self._failures[use_case.name] = (until, copy(failed))
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
            # No more threads, or the process ends: the old versions go on.
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
        Read the pointer and load its versions, as far as possible.

        Raises:
            PropensityError: The pointer cannot be read; or none of its versions can be
                loaded, and none serves yet.
        """
        registry = Registry(self._artifacts, use_case.name)
        change = registry.champion_since(before.generation if before else 0)
        if change is None:
            assert before is not None
            if _is_whole(before):
                self._reported.pop(use_case.name, None)
                return before
            pointer, generation = before.pointer, before.generation
        else:
            pointer, generation = change
        if before is not None and _epoch(pointer) < _epoch(before.pointer):
            self._note(use_case, _outdated(use_case, pointer, before.state))
            return before
        if pointer is None:
            nothing = ServingState(champion=None, shadow=None, epoch=NOTHING_SERVES)
            return _Snapshot(state=nothing, pointer=None, generation=0)
        state = self._load_state(registry, use_case, pointer, before)
        snapshot = _Snapshot(state=state, pointer=pointer, generation=generation)
        if _is_whole(snapshot):
            self._reported.pop(use_case.name, None)
        return snapshot

    def _load_state(
        self,
        registry: Registry,
        use_case: UseCase,
        pointer: Champion,
        before: _Snapshot | None,
    ) -> ServingState:
        """Return the versions of a pointer; those that serve are not loaded again."""
        state = before.state if before else None
        ready = (state.champion, state.shadow) if state else ()

        def version(number: int) -> Serving:
            for serving in ready:
                if serving is not None and serving.version == number:
                    return serving
            with self._lock:
                serving = self._versions.get((use_case.name, number))
            return serving or self._load(
                registry,
                use_case,
                recorded(self._warehouse.for_run(), use_case, number),
            )

        refused = None
        champion = state.champion if state else None
        try:
            champion = version(pointer.version)
        except PropensityError as error:
            if champion is None:
                champion = self._fallback(pointer, version, error)
            if champion is None and state is None:
                raise
            refused = pointer.version
            self._note(use_case, _instead(error, pointer, champion))
        shadow = None
        if pointer.shadow not in {None, pointer.version, champion and champion.version}:
            assert pointer.shadow is not None
            try:
                shadow = version(pointer.shadow)
            except PropensityError as error:
                self._note(use_case, _without_shadow(error, pointer.shadow))
        return ServingState(
            champion=champion, shadow=shadow, epoch=pointer.epoch, refused=refused
        )

    def _fallback(
        self,
        pointer: Champion,
        version: Callable[[int], Serving],
        error: PropensityError,
    ) -> Serving | None:
        """Return the last earlier champion that can be loaded, if any."""
        if not isinstance(error, _DAMAGES):
            # The champion itself may be sound: a service failed.
            return None
        for number in pointer.earlier:
            if number == pointer.version:
                continue
            try:
                return version(number)
            except _DAMAGES:
                continue
        return None

    def _load(
        self, registry: Registry, use_case: UseCase, metadata: Mapping[str, Any]
    ) -> Serving:
        chosen = use_case.chosen(self._warehouse.settings)
        serving = loaded(registry, use_case, metadata, chosen=chosen)
        # Here, and not within the first answer, which would hold up all others.
        serving.scorer.prepare()
        return serving

    def _note(self, use_case: UseCase, error: PropensityError) -> None:
        """Report an error once, for as long as it lasts."""
        reported = self._reported.setdefault(use_case.name, set())
        if error.message in reported:
            return
        reported.add(error.message)
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
        key = (use_case.name, number)
        with self._loading[hash(key) % _STRIPES]:
            if (serving := self.find_loaded(use_case, number)) is not None:
                return serving
            try:
                serving = self._read(use_case, number)
            except (UnknownVersion, *_DAMAGES) as error:
                # A copy has no traceback, in which are the bytes of the version.
                with self._lock:
                    self._refused[key] = (self._clock() + REFUSED_S, copy(error))
                    while len(self._refused) > REFUSED_VERSIONS:
                        self._refused.popitem(last=False)
                raise
            with self._lock:
                self._versions[key] = serving
                while len(self._versions) > KEPT_VERSIONS:
                    self._versions.popitem(last=False)
            return serving

    def find_loaded(self, use_case: UseCase, number: int) -> Serving | None:
        """
        Return a version if it is loaded, else None, without waiting.

        Raises:
            UnknownVersion, ArtifactError, SchemaError: A load failed a moment ago.
        """
        if (snapshot := self._snapshots.get(use_case.name)) is not None:
            for serving in (snapshot.state.champion, snapshot.state.shadow):
                if serving is not None and serving.version == number:
                    return serving
        key = (use_case.name, number)
        with self._lock:
            if (serving := self._versions.get(key)) is not None:
                self._versions.move_to_end(key)
                return serving
            until, error = self._refused.get(key, (0.0, None))
            if error is None:
                return None
            if self._clock() >= until:
                del self._refused[key]
                return None
        # A copy, or each request would stay in the traceback of the one error.
        raise copy(error)

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


def _is_whole(snapshot: _Snapshot) -> bool:
    """Tell whether all versions of the pointer are loaded: there is none to retry."""
    pointer, state = snapshot.pointer, snapshot.state
    if pointer is None:
        return True
    is_shadowed = pointer.shadow in {None, pointer.version} or bool(state.shadow)
    return state.refused is None and is_shadowed


def _outdated(
    use_case: UseCase, pointer: Champion | None, state: ServingState
) -> OldEpoch:
    status = "is gone" if pointer is None else f"has epoch {pointer.epoch}"
    return OldEpoch(
        f"the pointer of {use_case.name} {status}, after epoch {state.epoch}: it is "
        "not followed until its epoch is higher, or this instance starts anew"
    )


def _instead(
    error: PropensityError, pointer: Champion, champion: Serving | None
) -> PropensityError:
    serves = f"version {champion.version} serves" if champion else "nothing serves"
    return type(error)(
        f"version {pointer.version} is refused as champion, and {serves} in its place: "
        f"{error.message}"
    )


def _without_shadow(error: PropensityError, shadow: int) -> PropensityError:
    return type(error)(
        f"version {shadow} is refused as shadow, and none scores: {error.message}"
    )
