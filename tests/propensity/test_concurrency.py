"""
Groups, and values kept fresh: durable before answered, bounded, never too old.

``Table`` is what groups are written to: it can be held, so that "while a write is under
way" is a fact here and not a matter of luck.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from propensity.concurrency import PAUSE_S, GroupCommit, Refreshed
from propensity.errors import Conflict, Unavailable

BOUNDS: dict[str, Any] = {"writers": 1, "size": 10, "waiting": 100}


async def settle() -> None:
    """Let everything happen that waits for nothing."""
    for _ in range(10):
        await asyncio.sleep(0)


class Table:
    """Takes groups; while it is held each waits to be told how it ends."""

    def __init__(self, *, is_held: bool = False, **bounds: Any) -> None:
        self.begun: list[list[Any]] = []
        self.written: list[Any] = []
        self.under_way: list[tuple[list[Any], asyncio.Future[None]]] = []
        self.is_held = is_held
        self.commit: GroupCommit[Any, Any] = GroupCommit(
            self.write, **{**BOUNDS, **bounds}
        )

    async def write(self, items: Sequence[Any]) -> Sequence[Any]:
        group = list(items)
        self.begun.append(group)
        if self.is_held:
            end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.under_way.append((group, end))
            try:
                await end
            finally:
                self.under_way.remove((group, end))
        self.written += group
        return [f"stored {item}" for item in group]

    async def end_all(self) -> None:
        """End what is under way, and what follows on it, until all is written."""
        self.is_held = False
        for _, end in self.under_way:
            if not end.done():
                end.set_result(None)
        await settle()
        await asyncio.sleep(0.001)
        await settle()

    def submit(self, item: Any, size: int = 1) -> asyncio.Task[Any]:
        """Submit an item; it is in the queue once the loop has turned."""

        async def submitted() -> Any:
            return await self.commit.submit(item, size=size)

        return asyncio.create_task(submitted())


async def test_groups_refuse_what_is_too_much_to_wait():
    table = Table(is_held=True, waiting=10)
    first = table.submit(0, 10)
    await settle()
    waiting = table.submit(1, 10)
    await settle()
    with pytest.raises(Unavailable):
        await asyncio.wait_for(table.commit.submit(2, size=1), 5)
    await table.end_all()
    await asyncio.gather(first, waiting)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.integers(0, 25)),
        st.tuples(st.sampled_from(["end", "fail", "give up", "turn"]), st.just(0)),
        st.tuples(st.just("cancel"), st.integers(0, 30)),
    ),
    max_size=40,
)


@given(STEPS, st.integers(1, 3), st.integers(5, 30))
def test_groups_write_everything_once(steps, writers, waiting):
    """
    Items are begun once, in order, in groups within their bounds, and nobody waits in
    the end. An item larger than any group is a group of its own. Who is answered was
    written; who is refused was not begun.
    """

    async def scenario() -> None:
        table = Table(is_held=True, writers=writers, waiting=waiting)
        tasks: list[asyncio.Task[Any]] = []
        sizes = list[int]()
        failed: set[int] = set()
        for step, number in steps:
            going = [write for write in table.under_way if not write[1].done()]
            if step == "submit":
                tasks.append(table.submit(len(tasks), size=number))
                sizes.append(number)
            elif step == "cancel" and tasks:
                tasks[number % len(tasks)].cancel()
            elif step == "turn":
                await settle()
            elif going and step == "give up":
                failed.update(going[0][0])
                going[0][1].cancel()
            elif going and step == "end":
                going[0][1].set_result(None)
            elif going:
                failed.update(going[0][0])
                going[0][1].set_exception(Conflict("lost"))
            assert len(table.under_way) <= writers
        await settle()
        await table.end_all()
        begun = [item for group in table.begun for item in group]

        assert begun == sorted(set(begun))
        assert set(table.written) == set(begun) - failed
        assert all(table.begun)
        for group in table.begun:
            assert len(group) == 1 or sum(sizes[item] for item in group) <= 10
        for item, task in enumerate(tasks):
            assert task.done()
            if task.cancelled():
                continue
            error = task.exception()
            if error is None:
                assert task.result() == f"stored {item}"
            elif isinstance(error, Conflict):
                assert item in failed
            else:
                assert isinstance(error, Unavailable)
                assert item not in begun or item in failed

    asyncio.run(scenario())


class Source:
    """A source that counts how often it is read, and a clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.reads = 0
        self.takes_s = 0.0
        self.errors: list[BaseException] = []
        self.error: Exception | None = None
        self.value = Refreshed(
            self.read,
            ttl_s=10,
            grace_s=5,
            clock=lambda: self.now,
            on_error=self.errors.append,
        )

    def read(self) -> int:
        self.reads += 1
        self.now += self.takes_s
        if self.error is not None:
            raise self.error
        return self.reads


async def test_a_refreshed_value_is_read_once_for_all_also_if_that_takes_long():
    source = Source()
    values = await asyncio.gather(*(source.value.current() for _ in range(9)))
    source.now += 9.9
    assert [*values, await source.value.current()] == [1] * 10
    source.takes_s = 20
    source.now += 10
    async with asyncio.timeout(5):
        assert [await source.value.current() for _ in range(2)] == [2, 3]


async def test_a_value_is_read_again_after_a_failure():
    """Within the grace the old value serves on."""
    source = Source()
    await source.value.current()
    source.error = OSError("down")
    source.now += 12
    assert await source.value.current() == 1
    await asyncio.sleep(0.01)
    assert (len(source.errors), await source.value.current()) == (1, 1)
    source.now += 10
    for _ in range(4):
        with pytest.raises(OSError, match="down"):
            await source.value.current()
    source.error = None
    source.now += PAUSE_S
    assert await source.value.current() == source.reads
    assert [str(error) for error in source.errors] == ["down", "down"]
