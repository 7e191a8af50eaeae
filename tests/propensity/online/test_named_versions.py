"""
Versions that requests name, specified: a few loads at once, each for all who wait.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter

import pytest

from propensity.errors import Unavailable, UnknownVersion
from propensity.online.named_versions import LOADS_AT_ONCE, NamedVersions
from propensity.waiting.threads import DaemonThreads
from tests.propensity.online.champions import PLAYERS


class Champions:
    """Knows even versions, and says so once it is let."""

    def __init__(self) -> None:
        self.loads: Counter[int] = Counter()
        self.loaded: dict[int, str] = {}
        self.is_let = threading.Event()

    def find_loaded(self, use_case, number):
        return self.loaded.get(number)

    def version(self, use_case, number):
        self.loads[number] += 1
        self.is_let.wait(30)
        if number % 2:
            raise UnknownVersion(f"{number}", field="version")
        self.loaded[number] = f"version {number}"
        return self.loaded[number]


@pytest.fixture
def champions() -> Champions:
    return Champions()


@pytest.fixture
def named(champions) -> NamedVersions:
    return NamedVersions(champions, DaemonThreads())


async def begun(*loads) -> list[asyncio.Task]:
    """Tasks that wait for their loads."""
    tasks = [asyncio.ensure_future(load) for load in loads]
    await asyncio.sleep(0)
    return tasks


class TestNamedVersions:
    async def test_load_one_for_all_who_ask(self, champions, named):
        tasks = await begun(*(named.find(PLAYERS, 2) for _ in range(50)))
        champions.is_let.set()
        assert await asyncio.gather(*tasks) == ["version 2"] * 50
        assert await named.find(PLAYERS, 2) == "version 2"
        assert champions.loads == {2: 1}

    async def test_leave_the_shared_threads_to_others(self, champions, named):
        """However many are loads for; those beyond a few are to come again."""
        tasks = await begun(*(named.find(PLAYERS, n) for n in range(1, 400, 2)))
        async with asyncio.timeout(20):
            assert await asyncio.to_thread(lambda: "read") == "read"
        champions.is_let.set()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert Counter(map(type, answers)) == {
            UnknownVersion: LOADS_AT_ONCE,
            Unavailable: 200 - LOADS_AT_ONCE,
        }
        # There is room again.
        assert await named.find(PLAYERS, 2) == "version 2"
        assert champions.loads.total() == LOADS_AT_ONCE + 1

    async def test_are_loaded_for_others_if_one_request_is_gone(self, champions, named):
        first, second = await begun(named.find(PLAYERS, 2), named.find(PLAYERS, 2))
        first.cancel()
        await asyncio.sleep(0)
        champions.is_let.set()
        assert await second == "version 2"
        assert champions.loads == {2: 1}
