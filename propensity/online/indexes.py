"""
The prediction index of each use case, followed by its pointer and loaded whole.

02-GetProba imports this for every lookup, so nothing heavy may be imported here.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from propensity.errors import ArtifactError, PropensityError
from propensity.gcp.artifacts import Artifacts, Stored, Unchanged
from propensity.gcp.log import log
from propensity.gcp.memory import instance_bytes
from propensity.registry.index import Index, IndexPointer, pointer_name
from propensity.settings import Settings
from propensity.waiting.refreshed import Refreshed

FUNCTION = "getProba"
# Seconds between looks at a pointer: one request that has no body while it is the same.
LOOK_S = 10.0
# No deployment has so many; further names are guesses, and answered from the table.
MAXIMUM_USE_CASES = 64
# Memory for all but indexes: Python, the framework and the requests under way.
RESERVED_BYTES = 128 * 1024**2


class Indexes:
    """The indexes that lookups ask for. Belongs to one event loop."""

    def __init__(
        self,
        bucket: Artifacts,
        settings: Settings,
        *,
        clock: Callable[[], float],
        most_bytes: int | None = None,
    ) -> None:
        """
        Args:
            bucket: Has pointers and files.
            settings: Of the deployment.
            clock: Monotonic, in seconds.
            most_bytes: Of all indexes together, twice, since there are two of a use
                case during a switch; None for what the instance's memory allows.
        """
        self._bucket = bucket
        self._clock = clock
        self._ttl_s = float(settings.refresh_s)
        self._most_bytes = (
            instance_bytes() - RESERVED_BYTES if most_bytes is None else most_bytes
        )
        self._sizes: dict[str, int] = {}
        self._followed: dict[str, Refreshed[Index | None]] = {}

    async def current(self, use_case: str) -> Index | None:
        """
        Return the index of a use case; None where the table is to be read.

        The first call waits for it. Later ones wait only if nobody called for longer
        than answers may be old.
        """
        if use_case not in self._followed:
            if len(self._followed) >= MAXIMUM_USE_CASES:
                return None
            look_s = min(LOOK_S, self._ttl_s / 2)
            self._followed[use_case] = Refreshed(
                _Follower(self, use_case).load,
                ttl_s=look_s,
                grace_s=self._ttl_s - look_s,
                clock=self._clock,
                tell=lambda error: _warn(use_case, f"index not read: {error}"),
            )
        try:
            return await self._followed[use_case].current()
        except PropensityError:
            return None

    def find_newer(self, use_case: str, *, than: int) -> Stored | Unchanged | None:
        """Read the pointer of a use case unless it still has a generation."""
        return self._bucket.find_newer(pointer_name(use_case), than=than)

    def load(self, use_case: str, pointer: IndexPointer) -> Index:
        """
        Load a file.

        Raises:
            ArtifactError: It is missing, damaged, or does not fit into memory.
            AccessDenied, Unavailable: As named.
        """
        self._sizes[use_case] = pointer.size
        if 2 * sum(self._sizes.values()) > self._most_bytes:
            del self._sizes[use_case]
            raise ArtifactError(
                f"{pointer.name} has {pointer.size} bytes: with it indexes would not "
                "fit twice into this instance's memory"
            )
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "index"
            self._bucket.download(pointer.name, path)
            # The open file stays when its name is gone.
            return Index(path)


class _Follower:
    """Follows one pointer; ``load`` runs in a thread, once at a time."""

    def __init__(self, indexes: Indexes, use_case: str) -> None:
        self._indexes = indexes
        self._use_case = use_case
        self._index: Index | None = None
        # Of the pointer that was followed last; 0 where there was none.
        self._generation = -1

    def load(self) -> Index | None:
        """
        Return the index that the pointer names now; None if it cannot be used.

        A file is written once, so one that cannot be used is not read again.

        Raises:
            AccessDenied, Unavailable: The bucket did not answer.
        """
        than = max(0, self._generation)
        stored = self._indexes.find_newer(self._use_case, than=than)
        if isinstance(stored, Unchanged):
            return self._index
        generation = stored.generation if stored else 0
        if generation != self._generation:
            self._index = self._loaded(stored)
            self._generation = generation
        return self._index

    def _loaded(self, stored: Stored | None) -> Index | None:
        try:
            if stored is None:
                raise ArtifactError("no index has been published yet")
            pointer = IndexPointer.parse(stored)
            index = self._indexes.load(self._use_case, pointer)
        except ArtifactError as error:
            _warn(self._use_case, f"{error}; lookups read the table instead")
            return None
        log(
            "INFO",
            "loaded the prediction index",
            function=FUNCTION,
            use_case=self._use_case,
            outcome="loaded",
            rows_out=pointer.users,
            bytes=pointer.size,
            published_at=pointer.published_at,
        )
        return index


def _warn(use_case: str, message: str) -> None:
    log("WARNING", message, function=FUNCTION, use_case=use_case, outcome="no_index")
