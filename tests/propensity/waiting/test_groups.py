"""
Group commit, specified: durable before answered, bounded, and everything once.

``Table`` is what is written to: it counts, can be held, and can be made to fail, so
that "while a write is under way" is a fact here and not a matter of luck.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from propensity.errors import Unavailable
from propensity.waiting.groups import GroupCommit
from tests.propensity.waiting.written_table import BOUNDS, Table, settle


def errors(tasks: Sequence[asyncio.Task[Any]]) -> list[type[BaseException] | None]:
    """How tasks that are over ended."""
    return [type(task.exception()) if task.exception() else None for task in tasks]


class TestGroups:
    async def test_hold_what_arrives_together(self):
        """Ten requests of one moment are one write, and each gets its own result."""
        table = Table()
        tasks = [table.submit(item) for item in range(10)]
        results = await asyncio.gather(*tasks)

        assert table.begun == [[*range(10)]]
        assert results == [f"stored {item}" for item in range(10)]

    async def test_hold_what_arrives_during_a_write(self):
        """Nobody waits for more; what came while the last was written goes next."""
        table = Table(is_held=True)
        tasks = [table.submit(0)]
        await settle()
        for item in range(1, 8):
            tasks.append(table.submit(item))
            await settle()
        table.end()
        await settle()
        table.end()
        await asyncio.gather(*tasks)

        assert table.begun == [[0], [1, 2, 3, 4, 5, 6, 7]]

    async def test_answer_nobody_before_they_are_written(self):
        """A write under way has told nobody anything; once it is over, its own."""
        table = Table(is_held=True, writers=2, items=2)
        tasks = [table.submit(item) for item in range(4)]
        await settle()
        assert not any(task.done() for task in tasks)
        table.end(1)
        await settle()

        assert [task.done() for task in tasks] == [False, False, True, True]
        table.end()
        await asyncio.gather(*tasks)

    @pytest.mark.parametrize("writers", [1, 2, 5])
    async def test_are_so_many_at_once(self, writers):
        """No more groups are under way than there are writers."""
        table = Table(is_held=True, writers=writers, items=1)
        tasks = [table.submit(item) for item in range(9)]
        await settle()
        assert table.commit.running == len(table.under_way) == writers
        await table.end_all()
        await asyncio.gather(*tasks)

        assert table.most_at_once == writers
        assert table.commit.running == 0

    async def test_have_so_many_items(self):
        """A group is full at its bound, and the rest is the next, in order."""
        table = Table(items=4)
        await asyncio.gather(*(table.submit(item) for item in range(10)))

        assert table.begun == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]

    async def test_have_so_many_bytes(self):
        """A group ends before the item that would be too much; one that is larger than
        any group is a group of its own."""
        table = Table(size=100)
        sizes = [60, 40, 1, 99, 100, 5, 900, 5, 95]
        await asyncio.gather(
            *(table.submit(place, size) for place, size in enumerate(sizes))
        )

        groups = [[sizes[place] for place in group] for group in table.begun]
        assert groups == [[60, 40], [1, 99], [100], [5], [900], [5, 95]]


class TestFailures:
    async def test_leave_nobody_waiting_when_a_write_is_cancelled(self):
        """A write that is given up did not happen, and may be tried again."""
        table = Table(is_held=True, items=2)
        tasks = [table.submit(item) for item in range(3)]
        await settle()
        table.cancel()
        await settle()
        table.end()
        await settle()

        assert errors(tasks) == [Unavailable, Unavailable, None]

    async def test_leave_nobody_waiting_when_results_are_missing(self):
        """A write that does not say what became of each is a failed one."""

        async def forgetful(items: Sequence[int]) -> Sequence[int]:
            return items[1:]

        commit: GroupCommit[int, int] = GroupCommit(forgetful, **BOUNDS)
        with pytest.raises(ValueError, match="0 results of 1 items"):
            await commit.submit(1, size=1)


class TestBounds:
    async def test_are_on_what_waits(self):
        """Items under way do not count; one too many is refused, and not written."""
        table = Table(is_held=True, items=2, waiting=3)
        tasks = [table.submit(item) for item in range(2)]
        await settle()
        tasks += [table.submit(item) for item in range(2, 5)]
        await settle()
        assert table.commit.waiting == 3
        with pytest.raises(Unavailable) as caught:
            await table.commit.submit(5, size=1)
        assert caught.value.retryable
        await table.end_all()

        assert table.written == [0, 1, 2, 3, 4]
        assert await asyncio.gather(*tasks)
        table.is_held = False
        assert await table.commit.submit(5, size=1) == "stored 5"

    async def test_are_on_bytes_that_wait(self):
        """Large items fill them sooner; one that is larger alone is still taken."""
        table = Table(is_held=True, waiting_size=100)
        first = table.submit("under way", size=90)
        await settle()
        huge = table.submit("huge", size=500)
        await settle()
        with pytest.raises(Unavailable):
            await table.commit.submit("small", size=1)
        await table.end_all()
        await asyncio.gather(first, huge)

        assert table.written == ["under way", "huge"]


class TestCancelledWaiters:
    async def test_are_not_written_for(self):
        """A request that has gone before its group began is left out."""
        table = Table(is_held=True, items=2)
        first = table.submit("first")
        await settle()
        tasks = [table.submit(item, size=300) for item in range(4)]
        await settle()
        tasks[0].cancel()
        tasks[2].cancel()
        table.end()
        await settle()
        table.end()
        await asyncio.gather(first, tasks[1], tasks[3])

        assert table.begun == [["first"], [1, 3]]


class TestResults:
    async def test_may_come_at_once(self):
        """What does not wait has no task, and keeps to the bounds of a group."""
        begun = []

        def squares(items: Sequence[int]) -> list[int]:
            begun.append([*items])
            return [item * item for item in items]

        commit: GroupCommit[int, int] = GroupCommit(squares, writers=1, size=2)
        results = asyncio.gather(*(commit.submit(n, size=1) for n in range(5)))

        assert await results == [0, 1, 4, 9, 16]
        assert begun == [[0, 1], [2, 3], [4]]
        assert commit.running == 0
