"""
The prediction indexes that lookups ask for: each is followed by its pointer, and loaded
whole.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from propensity import errors
from propensity.concurrency import Refreshed
from propensity.gcp.artifacts import Artifacts, content_of
from propensity.gcp.asgi import instance_bytes
from propensity.gcp.log import log
from propensity.registry.index import Index, IndexPointer, pointer_name
from propensity.settings import Settings

FUNCTION = "getProba"
# Memory for all but indexes: Python, the framework and the requests under way.
RESERVED_BYTES = 128 * 1024**2
# The alert leaves it out: before a first prediction it must not fire.
NOT_PUBLISHED = "no index has been published yet"


@dataclass(frozen=True)
class Loaded:
    """
    What a pointer led to. A file is written once, so it is read once, and not again if
    it cannot be used: then there is no index.
    """

    generation: int
    size: int
    index: Index | None


class Indexes:
    """The indexes that lookups ask for. Belongs to one event loop."""

    def __init__(
        self, bucket: Artifacts, settings: Settings, *, clock: Callable[[], float]
    ) -> None:
        """``bucket`` has pointers and files; ``clock`` is monotonic, in seconds."""
        self._bucket = bucket
        self._clock = clock
        self._ttl_s = float(settings.refresh_s)
        # All indexes share this memory; a use case has two of them during a switch.
        self._most_bytes = (instance_bytes() - RESERVED_BYTES) // 2
        self._followed: dict[str, Refreshed[Loaded]] = {}

    async def current(self, use_case: str) -> Index | None:
        """
        Return the index of a use case of this deploy; None to read the table.

        The first call waits for it. Later ones wait only after no call for longer
        than answers may be old.
        """
        followed = self._followed.get(use_case)
        if followed is None:
            followed = self._followed[use_case] = Refreshed(
                lambda: self._load(use_case),
                ttl_s=self._ttl_s,
                grace_s=self._ttl_s,
                # Predictions change each day or week, and each has its date.
                keeps=True,
                clock=self._clock,
                on_error=lambda error: self._not_read(use_case, error),
            )
        try:
            return (await followed.current()).index
        except errors.PropensityError:
            return None

    def _not_read(self, use_case: str, error: Exception) -> None:
        """Log that an index could not be followed; the last one answers on."""
        last = self._followed[use_case].last
        outcome = "index_kept" if last and last.index else "no_index"
        warn(use_case, f"index not read: {error}", outcome=outcome)

    def _load(self, use_case: str) -> Loaded:
        """Return what the pointer leads to now, in a thread."""
        stored = self._bucket.find(pointer_name(use_case))
        generation = stored.generation if stored else 0
        before = self._followed[use_case].last
        if before is not None and before.generation == generation:
            return before
        index = None
        size = 0
        try:
            if stored is None:
                raise errors.ArtifactError(NOT_PUBLISHED)
            name = pointer_name(use_case)
            pointer = content_of(stored, IndexPointer, name=name)
            index = self._opened(use_case, pointer)
            size = pointer.size
            log(
                "INFO",
                "loaded the prediction index",
                function=FUNCTION,
                use_case=use_case,
                outcome="loaded",
                rows_out=pointer.users,
                bytes=size,
            )
        except (errors.ArtifactError, OSError) as error:
            # The disk of an instance may be full.
            warn(use_case, f"lookups read the table instead of the index: {error}")
        return Loaded(generation, size, index)

    def _opened(self, use_case: str, pointer: IndexPointer) -> Index:
        others = 0
        for name, followed in list(self._followed.items()):
            if name != use_case and followed.last is not None:
                others += followed.last.size
        if others + pointer.size > self._most_bytes:
            raise errors.ArtifactError(
                f"{pointer.name} has {pointer.size} bytes: with it indexes would not "
                "fit twice into this instance's memory"
            )
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "index"
            self._bucket.download(pointer.name, path)
            # The open file stays when its name is gone.
            return Index(path)


def warn(use_case: str, message: str, *, outcome: str = "no_index") -> None:
    """Log what is wrong with an index: by default, that lookups are queries now."""
    log("WARNING", message, function=FUNCTION, use_case=use_case, outcome=outcome)
