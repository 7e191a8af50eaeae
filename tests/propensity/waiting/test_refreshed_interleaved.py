"""A value that is kept, in any order of calls, reads, failures and pauses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from propensity.errors import Unavailable
from propensity.waiting.refreshed import PAUSE_S, Refreshed
from tests.interleaving import Interleaved, arrive, interleaved, some_given_up

TTL_S, GRACE_S = 5.0, 3.0
PAUSES_S = (3.0, 8.0, 1_000.0)


class Source:
    """Numbers its reads; some fail. Knows when each began."""

    def __init__(self, loop: Interleaved) -> None:
        self._loop = loop
        self.begun: list[float] = []
        self.failed: list[float] = []
        self.value = Refreshed(
            self.read,
            ttl_s=TTL_S,
            grace_s=GRACE_S,
            clock=loop.time,
            tell=lambda _: self.failed.append(loop.now),
        )

    def read(self) -> int:
        number = len(self.begun) - 1
        if self._loop.draw.random() < 0.3:
            raise Unavailable(f"read {number}")
        return number


@pytest.mark.timeout(120)
@given(seed=st.integers(0, 2**32))
def test_is_never_older_than_it_may_be_and_nobody_waits_for_ever(seed):
    """Who calls gets a value that is young enough, or was read since; callers who go
    away take no other's. After a failed read nothing is read for a while."""

    async def scenario(loop: Interleaved) -> None:
        source, draw = Source(loop), loop.draw
        begin = loop.run_in_executor

        def begun(*call: object) -> object:
            since_failure = [loop.now - at for at in source.failed]
            assert all(seconds >= PAUSE_S for seconds in since_failure)
            source.begun.append(loop.now)
            return begin(*call)

        loop.run_in_executor = begun  # type: ignore[method-assign]

        async def call() -> None:
            await arrive(loop)
            if draw.random() < 0.2:
                # The process stands still, and its timers with it.
                loop.now += draw.choice(PAUSES_S)
            if draw.random() < 0.2:
                source.value.expire()
            arrived = loop.now
            try:
                number = await source.value.current()
            except Unavailable:
                return
            oldest = min(arrived, loop.now - TTL_S - GRACE_S)
            assert source.begun[number] >= oldest

        await some_given_up(loop, [call() for _ in range(20)])

    interleaved(scenario, seed)
