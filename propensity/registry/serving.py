"""
What serves now, kept loaded, and followed while an instance serves.

``Champions.state`` says at any moment what serves, as one value that never changes:
whoever takes it once for an answer, or for a group of messages, mixes no versions. A
new version is read, verified and loaded in the background, beside the one that serves,
and takes its place between two answers.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
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


# Versions that requests named and that are kept loaded, beside those that serve.
KEPT_VERSIONS = 4

# How long a version that cannot be loaded is not tried again, and how many are known.
REFUSED_S = 10.0
REFUSED_VERSIONS = 1_000

# Versions whose loads wait for each other only by chance.
_STRIPES = 16

_LARGEST = 2**63 - 1


@dataclass(frozen=True, kw_only=True)
class ServingState:
    """
    What serves at a moment: take it once for an answer, and the answer is of a piece.

    Attributes:
        champion: What answers; None where nothing was promoted.
        shadow: What scores beside it, for the log alone; None for nothing.
        epoch: Of the pointer that this follows; -1 where there is none.
        refused: The version that the pointer names as champion where that one cannot
            be loaded, and another serves in its place; else None.
    """

    champion: Serving | None
    shadow: Serving | None
    epoch: int
    refused: int | None = None


@dataclass(frozen=True, kw_only=True)
class _Known:
    """What is known of a use case's pointer, and how long it is taken for true."""

    state: ServingState
    pointer: Champion | None
    generation: int
    until: float


class Champions:
    """
    What serves of each use case, kept loaded, and looked after while it serves.

    Once something is known of a use case, ``state`` never waits: when the pointer is
    older than a while, one thread reads it again in the background and loads what is
    new. May be called by several threads and from an event loop; the very first call
    loads, and is for a thread or for ``ready``.

    - What cannot be loaded takes nobody's place: the champion that serves goes on, a
      new shadow does not begin. It is reported once and tried again after each while.
    - Where none serves yet, the versions that served before are tried in its place.
    - A pointer of a lower epoch than the one known, or one that is gone, is ignored.
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
            warehouse: Where versions are recorded.
            ttl_s: How long a pointer is taken for true.
            clock: Says when a pointer is old.
            threads: Read pointers and load versions behind the answers.
            tell: Gets once everything that could not be followed, by the thread
                that found it.
        """
        self._artifacts = artifacts
        self._warehouse = warehouse
        self._ttl_s = ttl_s
        self._clock = clock.monotonic
        self._threads = threads
        self._tell = tell
        self._known: dict[str, _Known] = {}
        self._reported: dict[str, set[str]] = {}
        self._failures: dict[str, tuple[int, PropensityError]] = {}
        self._refreshing: dict[str, threading.Lock] = {}
        self._versions: OrderedDict[tuple[str, int], Serving] = OrderedDict()
        self._refused: OrderedDict[tuple[str, int], tuple[float, PropensityError]] = (
            OrderedDict()
        )
        self._loading = tuple(threading.Lock() for _ in range(_STRIPES))
        # Held for a look or an entry, never while anything is read or loaded.
        self._lock = threading.Lock()

    # What serves

    def state(self, use_case: UseCase) -> ServingState:
        """
        Return what serves now; only the first call of a use case waits for it.

        Raises:
            ArtifactError, SchemaError, Unavailable: On the first call: nothing that
                the pointer names can be loaded.
        """
        known = self._known.get(use_case.name)
        if known is None:
            return self._first(use_case)
        if self._clock() >= known.until:
            self._refresh_behind(use_case)
        return known.state

    async def ready(self, use_case: UseCase) -> ServingState:
        """Return what serves now; a first load runs in a thread, off the event loop."""
        if use_case.name in self._known:
            return self.state(use_case)
        return await asyncio.to_thread(self.state, use_case)

    def _first(self, use_case: UseCase) -> ServingState:
        """Load what serves; who waits while another tries in vain fails with it."""
        tried, _ = self._failures.get(use_case.name, (0, None))
        with self._refreshing_of(use_case):
            known = self._known.get(use_case.name)
            if known is not None:
                return known.state
            now_tried, error = self._failures.get(use_case.name, (0, None))
            if error is not None and now_tried > tried:
                raise error
            try:
                return self._refreshed(use_case)
            except PropensityError as failed:
                self._failures[use_case.name] = (now_tried + 1, failed)
                raise

    def _refresh_behind(self, use_case: UseCase) -> None:
        """Begin to read the pointer again, unless that is under way."""
        refreshing = self._refreshing_of(use_case)
        if not refreshing.acquire(blocking=False):
            return
        if self._clock() < self._known[use_case.name].until:
            refreshing.release()
            return

        def refresh() -> None:
            try:
                self._refreshed(use_case)
            finally:
                refreshing.release()

        try:
            self._threads.submit(refresh)
        except RuntimeError:
            # No more threads, or the process ends: what serves goes on.
            refreshing.release()

    def _refreshing_of(self, use_case: UseCase) -> threading.Lock:
        with self._lock:
            return self._refreshing.setdefault(use_case.name, threading.Lock())

    def _refreshed(self, use_case: UseCase) -> ServingState:
        """Follow the pointer, as its only reader, and note what it has come to."""
        before = self._known.get(use_case.name)
        followed = before
        try:
            followed = self._followed(use_case, before)
        except PropensityError as error:
            if before is None:
                raise
            self._note(use_case, error)
        finally:
            # Also after an error that nobody expected: it must not come at each call.
            if followed is not None:
                until = self._clock() + self._ttl_s
                self._known[use_case.name] = replace(followed, until=until)
        assert followed is not None
        return followed.state

    def _followed(self, use_case: UseCase, before: _Known | None) -> _Known:
        """
        Read the pointer and load what it names, as far as that can be.

        Raises:
            PropensityError: The pointer cannot be read; or nothing that it names can be
                loaded and nothing serves yet.
        """
        registry = Registry(self._artifacts, use_case.name)
        found = registry.champion_since(before.generation if before else 0)
        if found is None:
            assert before is not None
            if _is_whole(before):
                self._reported.pop(use_case.name, None)
                return before
            pointer, generation = before.pointer, before.generation
        else:
            pointer, generation = found
        if before is not None and _epoch(pointer) < _epoch(before.pointer):
            self._note(use_case, _outdated(use_case, pointer, before.state))
            return before
        if pointer is None:
            nothing = ServingState(champion=None, shadow=None, epoch=NOTHING_SERVES)
            return _Known(state=nothing, pointer=None, generation=0, until=0.0)
        state = self._loaded(registry, use_case, pointer, before)
        followed = _Known(
            state=state, pointer=pointer, generation=generation, until=0.0
        )
        if _is_whole(followed):
            self._reported.pop(use_case.name, None)
        return followed

    def _loaded(
        self,
        registry: Registry,
        use_case: UseCase,
        pointer: Champion,
        before: _Known | None,
    ) -> ServingState:
        """Return the versions that a pointer names, those that serve as they are."""
        state = before.state if before else None
        ready = (state.champion, state.shadow) if state else ()

        def version(number: int) -> Serving:
            for one in ready:
                if one is not None and one.version == number:
                    return one
            with self._lock:
                kept = self._versions.get((use_case.name, number))
            return kept or self._load(
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
                champion = self._in_place(pointer, version, error)
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

    def _in_place(
        self,
        pointer: Champion,
        version: Callable[[int], Serving],
        error: PropensityError,
    ) -> Serving | None:
        """Return the last version that served before and can be loaded, if any."""
        if not isinstance(error, ArtifactError | SchemaError):
            # The champion may be sound: what failed is the way to it.
            return None
        for number in pointer.earlier:
            if number == pointer.version:
                continue
            try:
                return version(number)
            except (ArtifactError, SchemaError):
                continue
        return None

    def _load(
        self, registry: Registry, use_case: UseCase, metadata: Mapping[str, Any]
    ) -> Serving:
        chosen = use_case.chosen(self._warehouse.settings)
        return loaded(registry, use_case, metadata, chosen=chosen)

    def _note(self, use_case: UseCase, error: PropensityError) -> None:
        """Keep an error, and tell of it, once for as long as it lasts."""
        reported = self._reported.setdefault(use_case.name, set())
        if error.message in reported:
            return
        reported.add(error.message)
        if self._tell is not None:
            self._tell(error)

    # Versions by number

    def version(self, use_case: UseCase, number: int) -> Serving:
        """
        Return any version that was ever recorded; a few are kept loaded.

        Waits for a load, unless ``kept`` has it: to be called by a thread.

        Raises:
            UnknownVersion: There is no such version.
            ArtifactError, SchemaError, Unavailable: It cannot be loaded.
        """
        key = (use_case.name, number)
        with self._loading[hash(key) % _STRIPES]:
            if (found := self.kept(use_case, number)) is not None:
                return found
            try:
                made = self._read(use_case, number)
            except (UnknownVersion, ArtifactError, SchemaError) as error:
                with self._lock:
                    self._refused[key] = (self._clock() + REFUSED_S, error)
                    while len(self._refused) > REFUSED_VERSIONS:
                        self._refused.popitem(last=False)
                raise
            with self._lock:
                self._versions[key] = made
                while len(self._versions) > KEPT_VERSIONS:
                    self._versions.popitem(last=False)
            return made

    def kept(self, use_case: UseCase, number: int) -> Serving | None:
        """
        Return a version if it is loaded, else None, without waiting.

        Raises:
            UnknownVersion, ArtifactError, SchemaError: It was tried a moment ago.
        """
        if (known := self._known.get(use_case.name)) is not None:
            for one in (known.state.champion, known.state.shadow):
                if one is not None and one.version == number:
                    return one
        key = (use_case.name, number)
        with self._lock:
            if (found := self._versions.get(key)) is not None:
                self._versions.move_to_end(key)
                return found
            until, error = self._refused.get(key, (0.0, None))
            if error is None:
                return None
            if self._clock() >= until:
                del self._refused[key]
                return None
        raise error

    def _read(self, use_case: UseCase, number: int) -> Serving:
        found = None
        if 0 <= number <= _LARGEST:
            found = find_recorded(self._warehouse.for_run(), use_case, number)
        if found is None:
            raise UnknownVersion(
                f"version {number} of {use_case.name} was never recorded",
                field="version",
            )
        return self._load(Registry(self._artifacts, use_case.name), use_case, found)


def _epoch(pointer: Champion | None) -> int:
    return NOTHING_SERVES if pointer is None else pointer.epoch


def _is_whole(known: _Known) -> bool:
    """Tell whether all that a pointer names is loaded, so that nothing is to retry."""
    pointer, state = known.pointer, known.state
    if pointer is None:
        return True
    is_shadowed = pointer.shadow in {None, pointer.version} or bool(state.shadow)
    return state.refused is None and is_shadowed


def _outdated(
    use_case: UseCase, pointer: Champion | None, state: ServingState
) -> OldEpoch:
    found = "is gone" if pointer is None else f"has epoch {pointer.epoch}"
    return OldEpoch(
        f"the pointer of {use_case.name} {found}, after epoch {state.epoch}: it is "
        "not followed until its epoch is higher, or this instance starts anew"
    )


def _instead(
    error: PropensityError, pointer: Champion, champion: Serving | None
) -> PropensityError:
    serves = (
        "nothing serves" if champion is None else f"version {champion.version} serves"
    )
    return type(error)(
        f"version {pointer.version} is refused as champion, and {serves} in its place: "
        f"{error.message}"
    )


def _without_shadow(error: PropensityError, shadow: int) -> PropensityError:
    return type(error)(
        f"version {shadow} is refused as shadow, and none scores: {error.message}"
    )
