"""
Where lookups find predictions: an index in memory, or else BigQuery's table.

The index of each use case is followed by its pointer and loaded whole. Without one the
table is read, by one query for all who wait.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from propensity.concurrency import GroupCommit, Refreshed
from propensity.errors import ArtifactError, PropensityError, Unavailable
from propensity.gcp.artifacts import Artifacts
from propensity.gcp.http import instance_bytes
from propensity.gcp.log import log
from propensity.registry.index import Index, IndexPointer, Prediction, pointer_name
from propensity.settings import Settings
from propensity.statements import statement

if TYPE_CHECKING:
    from propensity.gcp.queries import Queries

FUNCTION = "getProba"
# Memory for all but indexes: Python, the framework and the requests under way.
RESERVED_BYTES = 128 * 1024**2
# The alert leaves it out: before a first prediction it must not fire.
NOT_PUBLISHED = "no index has been published yet"

# Each query bills 10 MB or more, so few at a time; more than one, so that a slow query
# does not hold up all other requests.
CONCURRENT_QUERIES = 4
QUERY_USERS = 1_000
# Beyond this BigQuery is far behind, and waiting would end in a timeout anyway.
MAXIMUM_WAITING_USERS = 20 * QUERY_USERS

# A use case and a user.
Key = tuple[str, str]


class Indexes:
    """The indexes that lookups ask for. Belongs to one event loop."""

    def __init__(
        self, bucket: Artifacts, settings: Settings, *, clock: Callable[[], float]
    ) -> None:
        """``bucket`` has pointers and files; ``clock`` is monotonic, in seconds."""
        self._bucket = bucket
        self._clock = clock
        self._ttl_s = float(settings.refresh_s)
        # Of all indexes together; of a use case there are two during a switch.
        self._most_bytes = (instance_bytes() - RESERVED_BYTES) // 2
        # By use case: generation of a pointer, size and index that it led to. A file is
        # written once, so one that cannot be used is not read again.
        self._loaded: dict[str, tuple[int, int, Index | None]] = {}
        self._followed: dict[str, Refreshed[Index | None]] = {}

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
                clock=self._clock,
                on_error=lambda error: warn(use_case, f"index not read: {error}"),
            )
        try:
            return await followed.current()
        except PropensityError:
            return None

    def _load(self, use_case: str) -> Index | None:
        """
        Return the index that the pointer names now, in a thread; None without one.

        Raises:
            AccessDenied, Unavailable: The bucket did not answer.
        """
        stored = self._bucket.find(pointer_name(use_case))
        generation = stored.generation if stored else 0
        before, _, index = self._loaded.get(use_case, (-1, 0, None))
        if before == generation:
            return index
        index, size = None, 0
        try:
            if stored is None:
                raise ArtifactError(NOT_PUBLISHED)
            pointer = IndexPointer.parse(stored.data)
            index, size = self._opened(use_case, pointer), pointer.size
            log(
                "INFO",
                "loaded the prediction index",
                function=FUNCTION,
                use_case=use_case,
                outcome="loaded",
                rows_out=pointer.users,
                bytes=size,
            )
        except (ArtifactError, OSError) as error:
            # The disk of an instance may be full.
            warn(use_case, f"lookups read the table instead of the index: {error}")
        self._loaded[use_case] = generation, size, index
        return index

    def _opened(self, use_case: str, pointer: IndexPointer) -> Index:
        """Load the file of a pointer, or raise ArtifactError."""
        others = sum(
            size for name, (_, size, _) in self._loaded.items() if name != use_case
        )
        if others + pointer.size > self._most_bytes:
            raise ArtifactError(
                f"{pointer.name} has {pointer.size} bytes: with it indexes would not "
                "fit twice into this instance's memory"
            )
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "index"
            self._bucket.download(pointer.name, path)
            # The open file stays when its name is gone.
            return Index(path)


def warn(use_case: str, message: str) -> None:
    """Log that lookups of a use case are queries now."""
    log("WARNING", message, function=FUNCTION, use_case=use_case, outcome="no_index")


class Table:
    """``ma_predictions_table``. Belongs to one event loop."""

    def __init__(
        self,
        queries: Callable[[], Queries],
        settings: Settings,
    ) -> None:
        """``queries`` opens BigQuery, in a thread."""
        self._queries = queries
        self._settings = settings
        self._reads: GroupCommit[Key, Prediction | None] = GroupCommit(
            self._read,
            writers=CONCURRENT_QUERIES,
            size=QUERY_USERS,
            waiting=MAXIMUM_WAITING_USERS,
        )

    async def find(
        self, use_case: str, user_ids: Sequence[str]
    ) -> Mapping[str, Prediction | None]:
        """
        Return users' predictions, None for a user without one.

        Raises:
            PropensityError: The predictions could not be read.
            Unavailable: It takes too long, or too many wait.
        """
        reads: dict[str, asyncio.Future[Prediction | None]] = {}
        for user_id in dict.fromkeys(user_ids):
            read = reads[user_id] = self._reads.submit((use_case, user_id), size=1)
            # Its error is known, also if no caller waits for it any more.
            read.add_done_callback(lambda read: read.cancelled() or read.exception())
        if reads:
            limit = self._settings.deadline_s
            _, late = await asyncio.wait(reads.values(), timeout=limit)
            if late:
                raise Unavailable(f"no answer within {limit} s")
        return {user_id: read.result() for user_id, read in reads.items()}

    async def _read(self, keys: Sequence[Key]) -> list[Prediction | None]:
        """Read predictions by one query for each use case."""
        users_of: dict[str, set[str]] = defaultdict(set)
        for use_case, user_id in keys:
            users_of[use_case].add(user_id)
        found: dict[Key, Prediction] = {}
        for use_case, users in users_of.items():
            found |= await asyncio.to_thread(self._query, use_case, sorted(users))
        return [found.get(key) for key in keys]

    def _query(self, use_case: str, user_ids: Sequence[str]) -> dict[Key, Prediction]:
        queries = self._queries().for_run()
        parameters = {"use_case": use_case, "user_ids": user_ids}
        rows = queries.lookup(statement("lookup"), parameters)
        log(
            "INFO",
            "read predictions",
            function=FUNCTION,
            use_case=use_case,
            outcome="read",
            rows_in=len(user_ids),
            rows_out=len(rows),
            bytes_billed=queries.bytes_billed,
        )
        return {(use_case, row.user_id): Prediction.of(row) for row in rows}
