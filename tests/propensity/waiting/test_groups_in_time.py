"""Group commit in time, specified: how long a group waits, and any order of things."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from propensity.errors import Conflict, Unavailable
from tests.propensity.waiting.written_table import Table, settle


class Clockwork(asyncio.SelectorEventLoop):
    """An event loop whose clock a test moves."""

    now = 1_000.0

    def time(self) -> float:
        return self.now

    async def wait(self, seconds: float) -> None:
        """Let so much time pass, and what is due happen."""
        await settle()
        self.now += seconds
        await settle()


LINGER_S = 30.0


@pytest.fixture
def loop() -> Clockwork:
    return Clockwork()


class TestLinger:
    async def test_waits_for_more(self, loop):
        """Items of several moments are one group, once the first has waited so long."""
        table = Table(linger_s=LINGER_S)
        tasks = []
        for item in range(5):
            tasks.append(table.submit(item))
            await loop.wait(5)
        await loop.wait(4.9)
        assert table.begun == []
        await loop.wait(0.1)

        assert table.begun == [[0, 1, 2, 3, 4]]
        await asyncio.gather(*tasks)

    async def test_is_of_every_group(self, loop):
        """What comes after a group waits as long as that did."""
        table = Table(linger_s=LINGER_S)
        first = table.submit("first")
        await loop.wait(LINGER_S)
        second = table.submit("second")
        await loop.wait(LINGER_S - 1)
        assert table.begun == [["first"]]
        await loop.wait(1)

        assert table.begun == [["first"], ["second"]]
        await asyncio.gather(first, second)

    @pytest.mark.parametrize(
        ("sizes", "bounds"), [([1, 1, 1], {"items": 3}), ([500, 500], {})]
    )
    async def test_does_not_wait_when_full(self, loop, sizes, bounds):
        """As many items, or as many bytes, as a group may hold go at once; the one
        that is left waits for company."""
        table = Table(linger_s=LINGER_S, **bounds)
        tasks = [table.submit(place, size) for place, size in enumerate(sizes)]
        rest = table.submit("rest")
        await settle()

        assert table.begun == [[*range(len(sizes))]]
        assert table.commit.waiting == 1
        await loop.wait(LINGER_S)
        assert table.begun[1:] == [["rest"]]
        await asyncio.gather(*tasks, rest)

    async def test_counts_from_the_first_item(self, loop):
        """Whoever waited for a writer that long need not wait again."""
        table = Table(is_held=True, linger_s=LINGER_S)
        first = table.submit("first")
        await loop.wait(LINGER_S)
        second = table.submit("second")
        await loop.wait(LINGER_S)
        assert table.begun == [["first"]]
        table.end()
        await settle()

        assert table.begun == [["first"], ["second"]]
        table.end()
        await asyncio.gather(first, second)

    async def test_of_steady_groups_is_for_as_many_as_came_last(self, loop):
        """A lone caller waits for nobody. After a group of two the next waits for two,
        and after one that only one came for, for one."""
        table = Table(linger_s=LINGER_S, is_steady=True)
        tasks = [table.submit(0)]
        await settle()
        assert table.begun == [[0]]
        tasks += [table.submit(1), table.submit(2)]
        await settle()
        tasks.append(table.submit(3))
        await loop.wait(1)
        assert table.begun[1:] == [[1, 2]]
        tasks.append(table.submit(4))
        await settle()
        assert table.begun[2:] == [[3, 4]]
        tasks.append(table.submit(5))
        await loop.wait(LINGER_S)
        tasks.append(table.submit(6))
        await settle()

        assert table.begun[3:] == [[5], [6]]
        await asyncio.gather(*tasks)


class Story:
    """Submissions, ends, failures and cancellations in some order, and what came."""

    def __init__(self, **bounds: int) -> None:
        self.bounds = {"size": 20, "waiting_size": 30, **bounds}
        self.table = Table(is_held=True, **self.bounds)
        self.tasks: list[asyncio.Task[Any]] = []
        self.sizes: list[int] = []
        self.failed: set[int] = set()

    async def tell(self, steps: Sequence[tuple[str, int]]) -> None:
        """Take the steps one by one, then end all that is under way."""
        for step, number in steps:
            getattr(self, step)(number)
            if step == "turn":
                await settle()
            assert self.table.commit.waiting <= self.bounds["waiting"]
            assert self.table.commit.running <= self.bounds["writers"]
        await settle()
        while self.table.under_way:
            self.end(0)
            await settle()

    def submit(self, number: int) -> None:
        self.sizes.append(number)
        self.tasks.append(self.table.submit(len(self.tasks), size=number))

    def end(self, number: int) -> None:
        for _, end in self._going(number):
            end.set_result(None)

    def fail(self, number: int) -> None:
        for group, end in self._going(number):
            self.failed.update(group)
            end.set_exception(Conflict("lost"))

    def cancel(self, number: int) -> None:
        if self.tasks:
            self.tasks[number % len(self.tasks)].cancel()

    def turn(self, number: int) -> None:
        pass

    def _going(self, number: int) -> list[tuple[list[int], asyncio.Future[None]]]:
        """One of the writes that are not told yet how they end, if there is one."""
        going = [write for write in self.table.under_way if not write[1].done()]
        return [going[number % len(going)]] if going else []


STORIES = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.integers(0, 25)),
        st.tuples(st.just("submit"), st.integers(0, 5)),
        st.tuples(st.sampled_from(["end", "fail"]), st.integers(0, 5)),
        st.tuples(st.just("cancel"), st.integers(0, 30)),
        st.tuples(st.just("turn"), st.just(0)),
    ),
    max_size=40,
)
LIMITS = st.fixed_dictionaries(
    {
        "writers": st.integers(1, 3),
        "items": st.integers(1, 4),
        "waiting": st.integers(1, 6),
    }
)


@given(STORIES, LIMITS)
def test_writes_everything_once_and_tells_everybody_the_truth(steps, bounds):
    """
    What begins to be written does so once and in order, in groups within their bounds,
    none of them empty; and in the end nobody waits.

    Who is answered was written; who is refused was not, and is nowhere; who is told of
    a failure was in a group that failed.
    """

    async def scenario() -> None:
        story = Story(**bounds)
        await story.tell(steps)
        table = story.table
        begun = [item for group in table.begun for item in group]

        assert begun == sorted(set(begun))
        assert set(table.written) == set(begun) - story.failed
        assert all(0 < len(group) <= bounds["items"] for group in table.begun)
        assert all(
            len(group) == 1
            or sum(story.sizes[item] for item in group) <= story.bounds["size"]
            for group in table.begun
        )
        assert all(task.done() for task in story.tasks)
        assert table.commit.waiting == table.commit.running == 0
        for item, task in enumerate(story.tasks):
            if task.cancelled():
                continue
            error = task.exception()
            if error is None:
                assert item in table.written
                assert task.result() == f"stored {item}"
            elif isinstance(error, Conflict):
                assert item in story.failed
            else:
                assert isinstance(error, Unavailable)
                assert item not in begun

    asyncio.run(scenario())
