"""
Versions that requests name by number: loaded a few at a time, once for all requests.

Each load queries BigQuery, which is billed, so few run at a time. They have threads of
their own: the list of suppressed users is read in the threads that all share.
"""

from __future__ import annotations

import asyncio
import functools

from propensity.errors import Unavailable
from propensity.registry.loading import Serving
from propensity.registry.serving import Champions
from propensity.usecases import UseCase
from propensity.waiting.threads import DaemonThreads, in_thread

LOADS_AT_ONCE = 4


class NamedVersions:
    """Loads behind the requests of one event loop."""

    def __init__(self, champions: Champions, threads: DaemonThreads) -> None:
        """
        Args:
            champions: Load versions.
            threads: Have a pool for that.
        """
        self._champions = champions
        self._threads = threads.pool(LOADS_AT_ONCE, "named_versions")
        self._loads: dict[tuple[str, int], asyncio.Future[Serving]] = {}

    async def find(self, use_case: UseCase, number: int) -> Serving:
        """
        Return a version; requests for the same one wait for the same load.

        Raises:
            UnknownVersion: There is no such version.
            ArtifactError, SchemaError, Unavailable: It cannot be loaded.
            Unavailable: Requests wait for other versions already.
        """
        serving = self._champions.find_loaded(use_case, number)
        if serving is not None:
            return serving
        key = (use_case.name, number)
        load = self._loads.get(key)
        if load is None:
            if len(self._loads) >= LOADS_AT_ONCE:
                raise Unavailable("too many versions are asked for at once")
            load = asyncio.ensure_future(
                in_thread(self._threads, self._champions.version, use_case, number)
            )
            self._loads[key] = load
            load.add_done_callback(functools.partial(self._end, key))
        # A request that is cancelled leaves the load to the others.
        return await asyncio.shield(load)

    def _end(self, key: tuple[str, int], load: asyncio.Future[Serving]) -> None:
        del self._loads[key]
        if not load.cancelled():
            # Reading the error keeps asyncio from warning if no request waits any more.
            load.exception()
