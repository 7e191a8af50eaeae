"""
The prediction index of each use case, kept fresh, in memory or read block by block.

The pointer is read in the background, and a new index takes the place of the old one
between two answers. Where there is no index that can be used, lookups read the
table instead; a log line says why, and the index is tried again.

02-GetProba imports this, so nothing heavy may be imported here.
"""

from __future__ import annotations

import hashlib
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from propensity.edges.log import log
from propensity.edges.memory import instance_bytes
from propensity.edges.objects import CONNECTIONS, UNCHANGED, Objects, Unchanged
from propensity.errors import ArtifactError, PropensityError, Unavailable
from propensity.index.layout import DamagedIndex, Head, hash_of
from propensity.index.reader import Entry, Index, find_in_block
from propensity.online.sources import FUNCTION, Prediction, Reading, Source
from propensity.registry.prediction_index import (
    IndexFile,
    IndexPointer,
    pointer_name,
)
from propensity.settings import Settings
from propensity.waiting.refreshed import Refreshed
from propensity.waiting.threads import DaemonThreads

# Seconds between looks at a pointer: one request that has no body while it is the same.
LOOK_S = 10.0
# A larger file is read block by block until it has been loaded, so that the first
# answer of an instance does not wait for that.
AT_ONCE_BYTES = 1024**2
# No deployment has so many. Further names are guesses: the use case that has been
# without an index for longest makes room for the next.
MAXIMUM_USE_CASES = 64
# Memory for all but indexes: Python, the framework and the requests under way.
RESERVED_BYTES = 128 * 1024**2


@dataclass(eq=False)
class Blocks:
    """
    An index that is not in memory: each lookup reads one range of the file.

    Attributes:
        objects: The bucket.
        file: Of the index.
        head: Its head, which stays in memory.
        instead: Read where a block cannot be.
        threads: Read blocks, several at a time.
        is_loading: Whether the whole file is to take its place.
    """

    objects: Objects
    file: IndexFile
    head: Head
    instead: Source
    threads: Executor
    is_loading: bool

    def read(self, use_case: str, user_ids: Sequence[str]) -> Reading:
        """Read each block with one of the users once; see ``Source``."""
        head = self.head
        by_block: dict[int, list[tuple[str, int]]] = defaultdict(list)
        for user_id in user_ids:
            user_hash = hash_of(user_id, key=head.key)
            by_block[head.block_of(user_hash)].append((user_id, user_hash))
        predictions = []
        try:
            blocks = self.threads.map(self._block, by_block)
            for users, block in zip(by_block.values(), blocks, strict=True):
                for user_id, user_hash in users:
                    entry = find_in_block(block, user_hash, head=head)
                    predictions.append(prediction_of(user_id, entry))
        except (PropensityError, DamagedIndex) as error:
            _warn(use_case, f"a block of {self.file.name} was not read: {error}")
            return self.instead.read(use_case, user_ids)
        return Reading([prediction for prediction in predictions if prediction])

    def _block(self, number: int) -> bytearray:
        first, end = self.head.offsets[number : number + 2]
        return self.objects.read(self.file.name, size=end - first, first=first)


def prediction_of(user_id: str, entry: Entry | None) -> Prediction | None:
    """Return an entry of an index as a prediction."""
    if entry is None:
        return None
    probability, percentile, (as_of, version) = entry
    return Prediction(user_id, probability, as_of, percentile or None, version)


class Indexes:
    """The index of every use case that lookups ask for. Belongs to one event loop."""

    def __init__(
        self,
        objects: Objects,
        settings: Settings,
        *,
        instead: Source,
        clock: Callable[[], float],
        threads: DaemonThreads,
    ) -> None:
        """
        Args:
            objects: The bucket.
            settings: Of the deployment.
            instead: Read where a block of an index cannot be.
            clock: Monotonic, in seconds.
            threads: Read blocks.
        """
        self._objects = objects
        self._settings = settings
        self._instead = instead
        self._clock = clock
        # During a switch there are two.
        available = max(0, instance_bytes() - RESERVED_BYTES) // 2
        self._most_bytes = settings.lookup_index_bytes or available
        # Of the files that are in memory as a whole, or about to be.
        self._bytes: dict[str, int] = {}
        self._counting = threading.Lock()
        self._threads = threads.pool(CONNECTIONS, "blocks")
        self._by_use_case: dict[str, Refreshed[Index | Blocks | None]] = {}
        self._loaders: dict[str, _Loader] = {}

    def fresh(self, use_case: str) -> Index | None:
        """Return the index of a use case if it is in memory, and looked at lately."""
        refreshed = self._by_use_case.get(use_case)
        index = None if refreshed is None else refreshed.fresh()
        return index if isinstance(index, Index) else None

    async def current(self, use_case: str) -> Index | Blocks | None:
        """
        Return the index of a use case; None where the table is to be read.

        The first call waits for it. Later ones wait only if nobody called for longer
        than answers may be old.
        """
        refreshed = self._by_use_case.get(use_case)
        if refreshed is None:
            is_full = len(self._by_use_case) >= MAXIMUM_USE_CASES
            if is_full and not self._make_room():
                return None
            ttl_s = float(self._settings.refresh_s)
            look_s = min(LOOK_S, ttl_s / 2)
            loader = self._loaders[use_case] = _Loader(
                self, use_case, ttl_s=ttl_s, clock=self._clock, is_guess=is_full
            )
            refreshed = self._by_use_case[use_case] = Refreshed(
                loader.load,
                ttl_s=look_s,
                grace_s=ttl_s - look_s,
                clock=self._clock,
                since=lambda: loader.seen_at,
                tell=lambda error: _warn(use_case, f"index not loaded: {error!r}"),
            )
        index = await refreshed.current()
        if isinstance(index, Blocks) and index.is_loading:
            refreshed.expire()
        return index

    def _make_room(self) -> bool:
        """Forget the use case that has been without an index for longest."""
        for use_case, loader in self._loaders.items():
            if loader.is_without_index:
                del self._loaders[use_case], self._by_use_case[use_case]
                return True
        return False

    def open(self, use_case: str, file: IndexFile, *, is_first: bool) -> Index | Blocks:
        """
        Load a file, or its head where the whole does not fit beside those of others.

        Args:
            use_case: Whose index it is.
            file: Of the index.
            is_first: Whether lookups wait for it, so that the head will do for now.

        Raises:
            ArtifactError, DamagedIndex: It is missing or not as it was written.
            AccessDenied, Unavailable: As named.
        """
        fits = self._reserve(use_case, file.size)
        if not fits or (is_first and file.size > AT_ONCE_BYTES):
            head = Head.parse(self._objects.read(file.name, size=file.head_bytes))
            return Blocks(
                self._objects,
                file,
                head,
                instead=self._instead,
                threads=self._threads,
                is_loading=fits,
            )
        checksum = hashlib.sha256()
        data = self._objects.read(file.name, size=file.size, checksum=checksum)
        if checksum.hexdigest() != file.sha256:
            raise ArtifactError(
                f"{file.name} does not have the SHA-256 that its pointer names"
            )
        return Index(data)

    def release(self, use_case: str) -> None:
        """Give back the memory of a use case's index."""
        with self._counting:
            self._bytes.pop(use_case, None)

    def _reserve(self, use_case: str, size: int) -> bool:
        """Reserve memory for a file; tell whether it fits."""
        with self._counting:
            self._bytes.pop(use_case, None)
            fits = sum(self._bytes.values()) + size <= self._most_bytes
            if fits:
                self._bytes[use_case] = size
        return fits

    def pointer(self, use_case: str, *, than: int) -> tuple[IndexPointer, int] | None:
        """
        Return a pointer and its generation, None if it has not changed since.

        Raises:
            ArtifactError: There is none, or it is damaged.
            AccessDenied, Unavailable: As named.
        """
        stored = self._objects.find_newer(pointer_name(use_case), than=than)
        if stored is UNCHANGED:
            return None
        assert not isinstance(stored, Unchanged)
        if stored is None:
            raise ArtifactError(
                f"no index has been published for {use_case}: the next run of "
                "01-Predictions does it"
            )
        return IndexPointer.parse(stored, use_case), stored.generation


class _Loader:
    """Follows one pointer; ``load`` runs in a thread, once at a time."""

    def __init__(
        self,
        indexes: Indexes,
        use_case: str,
        *,
        ttl_s: float,
        clock: Callable[[], float],
        is_guess: bool,
    ) -> None:
        """
        Args:
            is_guess: Whether a missing index is not logged: guesses would fill the log.
        """
        self._indexes = indexes
        self._use_case = use_case
        self._ttl_s = ttl_s
        self._clock = clock
        self._index: Index | Blocks | None = None
        self._generation = 0
        # When the index was last compared with the pointer.
        self.seen_at = clock()
        # A file that cannot be used, why, and until when it is not read again.
        self._refused: tuple[str, str, float] | None = None
        self._trouble = ""
        self._is_guess = is_guess
        # Whether the last look has ended without an index.
        self.is_without_index = False

    def load(self) -> Index | Blocks | None:
        """Return the index that the pointer names now; None if it cannot be used."""
        began = self._clock()
        self.is_without_index = False
        try:
            self._follow(began)
            self.seen_at = began
        except (PropensityError, DamagedIndex) as error:
            is_recent = began - self.seen_at < self._ttl_s
            if not (isinstance(error, Unavailable) and is_recent):
                # It is known as of now that there is no index to use.
                self._index, self._generation, self.seen_at = None, 0, began
                self._indexes.release(self._use_case)
            if isinstance(self._index, Blocks):
                # Try again at the next look, and not at the next lookup.
                self._index.is_loading = False
            instead = (
                "lookups read the table instead"
                if self._index is None
                else "lookups go on with the index that is there"
            )
            # Log it once, and not at every look.
            if self._trouble != (message := f"{error}; {instead}"):
                self._trouble = message
                if not self._is_guess:
                    _warn(self._use_case, message)
        self.is_without_index = self._index is None
        return self._index

    def _follow(self, began: float) -> None:
        changed = self._indexes.pointer(self._use_case, than=self._generation)
        if changed is None:
            return
        pointer, generation = changed
        file = pointer.newest
        if self._refused is not None:
            name, reason, until = self._refused
            if file.name == name and began < until:
                raise ArtifactError(reason)
        try:
            is_first = self._index is None
            index = self._indexes.open(self._use_case, file, is_first=is_first)
        except (ArtifactError, DamagedIndex) as error:
            # Not the error, whose traceback has the bytes of the file.
            self._refused = (file.name, str(error), began + self._ttl_s)
            raise
        is_loading = isinstance(index, Blocks) and index.is_loading
        self._index, self._generation = index, 0 if is_loading else generation
        self._trouble, self._is_guess = "", False
        log(
            "INFO",
            "loaded the prediction index",
            function=FUNCTION,
            use_case=self._use_case,
            outcome="loaded" if isinstance(index, Index) else "loaded_head",
            rows_out=file.users,
            bytes=file.size,
            published_at=file.published_at,
            seconds=self._clock() - began,
        )


def _warn(use_case: str, message: str) -> None:
    log("WARNING", message, function=FUNCTION, use_case=use_case, outcome="no_index")
