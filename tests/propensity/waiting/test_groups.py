"""
Group commit, specified: durable before answered, bounded, and everything once.

``Table`` is what is written to: it counts, can be held, and can be made to fail, so
that "while a write is under way" is a fact here and not a matter of luck.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from propensity.errors import Conflict, Unavailable
from propensity.waiting.groups import GroupCommit

# No limit on the time of an example: the machine may be busy.

BOUNDS: dict[str, Any] = {
    "writers": 1,
    "items": 10,
    "size": 1_000,
    "waiting": 100,
    "waiting_size": 10_000,
}


class Table:
    """Takes groups, each until it is told how it ends."""

    def __init__(self, **bounds: Any) -> None:
        self.begun: list[list[Any]] = []
        self.written: list[Any] = []
        self.under_way: list[tuple[list[Any], asyncio.Future[None]]] = []
        self.most_at_once = 0
        self.is_held = False
        self.commit: GroupCommit[Any, Any] = GroupCommit(
            self.write, **{**BOUNDS, **bounds}
        )

    async def write(self, items: Sequence[Any]) -> Sequence[Any]:
        group = list(items)
        self.begun.append(group)
        if self.is_held:
            told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.under_way.append((group, told))
            self.most_at_once = max(self.most_at_once, len(self.under_way))
            try:
                await told
            finally:
                self.under_way.remove((group, told))
        self.written += group
        return [f"stored {item}" for item in group]

    def end(self, place: int = 0, error: BaseException | None = None) -> None:
        """End a write that is under way."""
        told = self.under_way[place][1]
        if error is None:
            told.set_result(None)
        else:
            told.set_exception(error)

    def cancel(self, place: int = 0) -> None:
        """Cancel what a write under way waits for."""
        self.under_way[place][1].cancel()

    def submit(self, item: Any, size: int = 1) -> asyncio.Task[Any]:
        """Submit an item; it is in the queue once the loop has turned."""

        async def submitted() -> Any:
            return await self.commit.submit(item, size=size)

        return asyncio.create_task(submitted())


def run(scenario: Coroutine[object, object, None]) -> None:
    asyncio.run(scenario)


async def settle() -> None:
    """Let everything happen that waits for nothing."""
    for _ in range(10):
        await asyncio.sleep(0)


def errors(tasks: Sequence[asyncio.Task[Any]]) -> list[type[BaseException] | None]:
    """How tasks that are over ended."""
    return [type(task.exception()) if task.exception() else None for task in tasks]


class TestGroups:
    def test_hold_what_arrives_together(self):
        """Ten requests of one moment are one write, and each gets its own result."""

        async def scenario() -> None:
            table = Table()
            tasks = [table.submit(item) for item in range(10)]
            results = await asyncio.gather(*tasks)

            assert table.begun == [[*range(10)]]
            assert results == [f"stored {item}" for item in range(10)]

        run(scenario())

    def test_hold_what_arrives_during_a_write(self):
        """Nobody waits for more; what came while the last was written goes next."""

        async def scenario() -> None:
            table = Table()
            table.is_held = True
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

        run(scenario())

    def test_answer_nobody_before_they_are_written(self):
        """A write under way has told nobody anything; once it is over, its own."""

        async def scenario() -> None:
            table = Table(writers=2, items=2)
            table.is_held = True
            tasks = [table.submit(item) for item in range(4)]
            await settle()
            assert not any(task.done() for task in tasks)
            table.end(1)
            await settle()

            assert [task.done() for task in tasks] == [False, False, True, True]
            table.end()
            await asyncio.gather(*tasks)

        run(scenario())

    @pytest.mark.parametrize("writers", [1, 2, 5])
    def test_are_so_many_at_once(self, writers):
        """No more groups are under way than there are writers."""

        async def scenario() -> None:
            table = Table(writers=writers, items=1)
            table.is_held = True
            tasks = [table.submit(item) for item in range(9)]
            await settle()
            assert table.commit.running == len(table.under_way) == writers
            while table.under_way:
                table.end()
                await settle()
            await asyncio.gather(*tasks)

            assert table.most_at_once == writers
            assert table.commit.running == 0

        run(scenario())

    def test_have_so_many_items(self):
        """A group is full at its bound, and the rest is the next, in order."""

        async def scenario() -> None:
            table = Table(items=4)
            await asyncio.gather(*(table.submit(item) for item in range(10)))

            assert table.begun == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]

        run(scenario())

    def test_have_so_many_bytes(self):
        """A group ends before the item that would be too much; one that is larger than
        any group is a group of its own."""

        async def scenario() -> None:
            table = Table(size=100)
            sizes = [60, 40, 1, 99, 100, 5, 900, 5, 95]
            await asyncio.gather(
                *(table.submit(place, size) for place, size in enumerate(sizes))
            )

            groups = [[sizes[place] for place in group] for group in table.begun]
            assert groups == [[60, 40], [1, 99], [100], [5], [900], [5, 95]]

        run(scenario())


class TestFailures:
    def test_reach_their_group_and_no_other(self):
        """Whoever was in it is told what happened; the others are written."""

        async def scenario() -> None:
            table = Table(writers=2, items=2)
            table.is_held = True
            tasks = [table.submit(item) for item in range(6)]
            await settle()
            table.end(0, Conflict("lost"))
            await settle()
            while table.under_way:
                table.end()
                await settle()

            assert errors(tasks) == [Conflict, Conflict, None, None, None, None]
            assert table.written == [2, 3, 4, 5]

        run(scenario())

    def test_leave_nobody_waiting_when_a_write_is_cancelled(self):
        """A write that is given up did not happen, and may be tried again."""

        async def scenario() -> None:
            table = Table(items=2)
            table.is_held = True
            tasks = [table.submit(item) for item in range(3)]
            await settle()
            table.cancel()
            await settle()
            table.end()
            await settle()

            assert errors(tasks) == [Unavailable, Unavailable, None]

        run(scenario())

    def test_leave_nobody_waiting_when_results_are_missing(self):
        """A write that does not say what became of each is a failed one."""

        async def scenario() -> None:
            async def forgetful(items: Sequence[int]) -> Sequence[int]:
                return items[1:]

            commit: GroupCommit[int, int] = GroupCommit(forgetful, **BOUNDS)
            with pytest.raises(ValueError, match="0 results of 1 items"):
                await commit.submit(1, size=1)

        run(scenario())


class TestBounds:
    def test_are_on_what_waits(self):
        """Items under way do not count; one too many is refused, and not written."""

        async def scenario() -> None:
            table = Table(items=2, waiting=3)
            table.is_held = True
            tasks = [table.submit(item) for item in range(2)]
            await settle()
            tasks += [table.submit(item) for item in range(2, 5)]
            await settle()
            assert table.commit.waiting == 3
            with pytest.raises(Unavailable) as caught:
                await table.commit.submit(5, size=1)
            assert caught.value.retryable
            while table.under_way:
                table.end()
                await settle()

            assert table.written == [0, 1, 2, 3, 4]
            assert await asyncio.gather(*tasks)
            table.is_held = False
            assert await table.commit.submit(5, size=1) == "stored 5"

        run(scenario())

    def test_are_on_bytes_that_wait(self):
        """Large items fill them sooner; one that is larger alone is still taken."""

        async def scenario() -> None:
            table = Table(waiting_size=100)
            table.is_held = True
            first = table.submit("under way", size=90)
            await settle()
            huge = table.submit("huge", size=500)
            await settle()
            with pytest.raises(Unavailable):
                await table.commit.submit("small", size=1)
            while table.under_way:
                table.end()
                await settle()
            await asyncio.gather(first, huge)

            assert table.written == ["under way", "huge"]

        run(scenario())


class TestCancelledWaiters:
    def test_are_not_written_for(self):
        """A request that has gone before its group began is left out."""

        async def scenario() -> None:
            table = Table(items=2)
            table.is_held = True
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

        run(scenario())

    def test_begin_no_group(self):
        """Where all have gone there is nothing to write, and what follows goes on."""

        async def scenario() -> None:
            table = Table(items=2)
            table.is_held = True
            first = table.submit("first")
            await settle()
            tasks = [table.submit(item) for item in range(2)]
            last = table.submit("last")
            await settle()
            for task in tasks:
                task.cancel()
            table.end()
            await settle()
            table.end()
            await asyncio.gather(first, last)

            assert table.begun == [["first"], ["last"]]
            assert table.commit.waiting == table.commit.running == 0

        run(scenario())

    def test_are_written_once_they_are_under_way(self):
        """The others of the group get their own results."""

        async def scenario() -> None:
            table = Table()
            table.is_held = True
            tasks = [table.submit(item) for item in range(3)]
            await settle()
            tasks[1].cancel()
            table.end()
            await settle()

            assert table.written == [0, 1, 2]
            assert tasks[1].cancelled()
            assert [tasks[0].result(), tasks[2].result()] == ["stored 0", "stored 2"]

        run(scenario())


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


def run_by(scenario: Callable[[Clockwork], Coroutine[object, object, None]]) -> None:
    with asyncio.Runner(loop_factory=Clockwork) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, Clockwork)
        runner.run(scenario(loop))


class TestLinger:
    def test_waits_for_more(self):
        """Items of several moments are one group, once the first has waited so long."""

        async def scenario(loop: Clockwork) -> None:
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

        run_by(scenario)

    def test_is_of_every_group(self):
        """What comes after a group waits as long as that did."""

        async def scenario(loop: Clockwork) -> None:
            table = Table(linger_s=LINGER_S)
            first = table.submit("first")
            await loop.wait(LINGER_S)
            second = table.submit("second")
            await loop.wait(LINGER_S - 1)
            assert table.begun == [["first"]]
            await loop.wait(1)

            assert table.begun == [["first"], ["second"]]
            await asyncio.gather(first, second)

        run_by(scenario)

    @pytest.mark.parametrize(
        ("sizes", "bounds"), [([1, 1, 1], {"items": 3}), ([500, 500], {})]
    )
    def test_does_not_wait_when_full(self, sizes, bounds):
        """As many items, or as many bytes, as a group may hold go at once; the one
        that is left waits for company."""

        async def scenario(loop: Clockwork) -> None:
            table = Table(linger_s=LINGER_S, **bounds)
            tasks = [table.submit(place, size) for place, size in enumerate(sizes)]
            rest = table.submit("rest")
            await settle()

            assert table.begun == [[*range(len(sizes))]]
            assert table.commit.waiting == 1
            await loop.wait(LINGER_S)
            assert table.begun[1:] == [["rest"]]
            await asyncio.gather(*tasks, rest)

        run_by(scenario)

    def test_counts_from_the_first_item(self):
        """Whoever waited for a writer that long need not wait again."""

        async def scenario(loop: Clockwork) -> None:
            table = Table(linger_s=LINGER_S)
            table.is_held = True
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

        run_by(scenario)

    def test_of_steady_groups_is_for_as_many_as_came_last(self):
        """A lone caller waits for nobody. After a group of two the next waits for two,
        and after one that only one came for, for one."""

        async def scenario(loop: Clockwork) -> None:
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

        run_by(scenario)


class Story:
    """Submissions, ends, failures and cancellations in some order, and what came."""

    def __init__(self, **bounds: int) -> None:
        self.bounds = {"size": 20, "waiting_size": 30, **bounds}
        self.table = Table(**self.bounds)
        self.table.is_held = True
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
        for _, told in self._going(number):
            told.set_result(None)

    def fail(self, number: int) -> None:
        for group, told in self._going(number):
            self.failed.update(group)
            told.set_exception(Conflict("lost"))

    def cancel(self, number: int) -> None:
        if self.tasks:
            self.tasks[number % len(self.tasks)].cancel()

    def turn(self, number: int) -> None:
        pass

    def _going(self, number: int) -> list[tuple[list[int], asyncio.Future[None]]]:
        """One of the writes that are not told yet how they end, if there is one."""
        going = [one for one in self.table.under_way if not one[1].done()]
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


class TestAnyOrderOfThings:
    @given(STORIES, LIMITS)
    def test_writes_everything_once(self, steps, bounds):
        """What begins to be written does so once and in order, in groups within their
        bounds, none of them empty; and in the end nobody waits."""

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

        run(scenario())

    @given(STORIES, LIMITS)
    def test_tells_everybody_the_truth(self, steps, bounds):
        """Who is answered was written; who is refused was not, and is nowhere; who is
        told of a failure was in a group that failed."""

        async def scenario() -> None:
            story = Story(**bounds)
            await story.tell(steps)
            begun = {item for group in story.table.begun for item in group}
            refused, lost, stored = set(), set(), set()
            for item, task in enumerate(story.tasks):
                if not task.cancelled():
                    error = task.exception()
                    kinds = {Unavailable: refused, Conflict: lost, type(None): stored}
                    kinds[type(error)].add(item)

            assert not refused & begun
            assert lost <= story.failed
            assert stored <= set(story.table.written)
            assert all(
                story.tasks[item].result() == f"stored {item}" for item in stored
            )

        run(scenario())


class TestResults:
    def test_may_come_at_once(self):
        """What does not wait has no task, and keeps to the bounds of a group."""

        async def scenario() -> None:
            begun = []

            def squares(items: Sequence[int]) -> list[int]:
                begun.append([*items])
                return [item * item for item in items]

            commit: GroupCommit[int, int] = GroupCommit(squares, writers=1, size=2)
            results = asyncio.gather(*(commit.submit(n, size=1) for n in range(5)))

            assert await results == [0, 1, 4, 9, 16]
            assert begun == [[0, 1], [2, 3], [4]]
            assert commit.running == 0

        run(scenario())
