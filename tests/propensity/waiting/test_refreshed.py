"""
A value that is kept and read again, specified: how old it may be, and when it fails.
"""

from __future__ import annotations

import asyncio
import threading
import traceback

import pytest

from propensity.waiting.refreshed import PAUSE_S, Refreshed


class Source:
    """A source that counts how often it is read, and a clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.reads = 0
        self.errors: list[BaseException] = []
        self.error: Exception | None = None

    def read(self) -> int:
        self.reads += 1
        if self.error is not None:
            raise self.error
        return self.reads


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def value(source) -> Refreshed[int]:
    """A value of ten seconds, with five of grace."""
    return Refreshed(
        source.read,
        ttl_s=10,
        grace_s=5,
        clock=lambda: source.now,
        tell=source.errors.append,
    )


async def test_is_read_once_for_all_who_ask_within_its_time(source, value):
    """Those who ask first wait for one reading together."""
    first = await asyncio.gather(*(value.current() for _ in range(9)))
    source.now += 9.9
    assert [*first, await value.current()] == [1] * 10


async def test_is_used_while_the_next_is_read(source, value):
    """Within the grace nobody waits; whoever asks later has the new one."""
    values = [await value.current()]
    source.now += 11
    values.append(await value.current())
    while source.reads < 2:
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.01)
    assert [*values, await value.current()] == [1, 1, 2]


async def test_is_waited_for_where_the_old_one_is_too_old(source, value):
    """After a night without requests the first one does not see yesterday's value."""
    values = [await value.current()]
    source.now += 3600
    assert [*values, await value.current()] == [1, 2]


async def test_is_read_again_where_the_process_paused_within_a_read():
    """What it tells was right before the pause; who came later waits for a new one,
    and so does everybody who came with it, once."""
    source = Source()
    is_released = threading.Event()

    def read() -> int:
        value = source.read()
        assert is_released.wait(30)
        return value

    value = Refreshed(
        read, ttl_s=10, grace_s=5, clock=lambda: source.now, tell=source.errors.append
    )
    before = asyncio.create_task(value.current())
    while not source.reads:
        await asyncio.sleep(0.001)
    source.now += 3600
    after = [asyncio.create_task(value.current()) for _ in range(3)]
    await asyncio.sleep(0)
    is_released.set()
    values = await asyncio.gather(before, *after)
    assert values[1:] == [2, 2, 2]
    assert source.reads == 2


@pytest.mark.timeout(20)
async def test_is_read_again_for_whoever_asks_as_a_reading_from_before_a_pause_ends(
    source, value
):
    """The next one is waited for, and others get their turn meanwhile."""
    await value.current()
    source.now += 11
    before = asyncio.all_tasks()
    await value.current()
    [reading] = asyncio.all_tasks() - before
    while not reading.done():
        await asyncio.sleep(0)
    # What else was to follow on the reading has not been called yet.
    source.now += 1_000
    assert await value.current() == 3


async def test_that_is_to_be_read_again_at_once_pauses_after_a_failure_all_the_same(
    source, value
):
    """Else each call in a row would read, for as long as reads fail."""
    values = [await value.current()]
    source.error = OSError("no")
    for _ in range(9):
        value.expire()
        values.append(await value.current())
        await asyncio.sleep(0.01)
    assert source.reads == 2
    source.error = None
    source.now += PAUSE_S
    values.append(await value.current())
    await asyncio.sleep(0.01)
    assert [*values, await value.current()] == [1] * 11 + [3]


async def test_fails_once_the_old_one_is_too_old_and_tries_again_after_a_pause(
    source, value
):
    """What cannot be read is told; within the grace the old value serves on."""
    await value.current()
    source.error = OSError("down")
    source.now += 12
    assert await value.current() == 1
    await asyncio.sleep(0.01)
    source.now += 10
    with pytest.raises(OSError, match="down"):
        await value.current()
    source.error = None
    with pytest.raises(OSError, match="down"):
        await value.current()
    source.now += PAUSE_S
    assert await value.current() == source.reads
    assert [str(error) for error in source.errors] == ["down", "down"]


async def test_that_is_too_old_is_not_fresh_in_the_pause_after_a_failed_read(
    source, value
):
    """A pause before the next read makes no old value young."""
    await value.current()
    values = [value.fresh()]
    source.error = OSError("down")
    source.now += 3600
    with pytest.raises(OSError, match="down"):
        await value.current()
    values.append(value.fresh())
    source.error = None
    source.now += PAUSE_S
    await value.current()
    assert [*values, value.fresh()] == [1, None, source.reads]


async def test_that_fails_keeps_none_who_asked_in_memory(source, value):
    """One error that all callers raise would have all of them, and what they came
    with, in its traceback."""
    source.error = OSError("down")
    frames: list[int] = []

    for _ in range(5):
        try:
            await value.current()
        except OSError as error:
            frames.append(len([*traceback.walk_tb(error.__traceback__)]))

    first, second, *others = frames
    assert source.reads == 1
    assert {*others} == {second}
