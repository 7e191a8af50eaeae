"""Lookups, in any order of requests, reads, failures and of callers who go away."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from propensity.errors import Unavailable
from propensity.online.lookup import Lookups
from propensity.online.question import Question
from propensity.online.sources import Reading
from propensity.online.values import Values
from tests.interleaving import Interleaved, arrive, interleaved, some_given_up
from tests.propensity.online.shelf import SETTINGS, TODAY, names, prediction

# So that reads end as requests time out, and entries of the cache expire meanwhile.
HASTY = replace(SETTINGS, deadline_s=5, refresh_s=3)
USERS = names(40)
NOBODY = USERS[::9]
# The threads of the scenario are on its loop.
THREADS: Any = ThreadPoolExecutor(1)


class Table:
    """Holds some users; a read of it may fail."""

    def __init__(self, loop: Interleaved) -> None:
        self._loop = loop
        self.fails = 0.2

    def read(self, use_case: str, user_ids: list[str]) -> Reading:
        assert len(set(user_ids)) == len(user_ids)
        self._fail()
        return Reading([prediction(user) for user in user_ids if user not in NOBODY])

    def lookup(self, sql: str, parameters: dict[str, str]) -> tuple[list[Any], int]:
        self._fail()
        user = parameters["user_id"]
        return [] if user in NOBODY else [Row(USERS.index(user) / 100)], 0

    def _fail(self) -> None:
        if self._loop.draw.random() < self.fails:
            raise Unavailable("no answer")


class Row:
    """A row of the table, whose expected value is that of one user alone."""

    probability, as_of, percentile, model_version = 0.5, TODAY, 1, 1

    def __init__(self, value: float) -> None:
        self.expected_value = value


@pytest.mark.timeout(120)
@given(seed=st.integers(0, 2**32), short=st.sampled_from([0.0, 0.2]))
def test_each_gets_their_own_in_time_and_no_read_is_left_behind(seed, short):
    """Also where the system has no thread for a read: the next has its place."""

    async def scenario(loop: Interleaved) -> None:
        clock: Any = SimpleNamespace(monotonic=loop.time)
        table, draw = Table(loop), loop.draw
        lookups = Lookups(table, HASTY, threads=THREADS, clock=clock)

        async def ask() -> None:
            await arrive(loop)
            users, arrived = draw.sample(USERS, draw.choice([1, 2, 5])), loop.now
            try:
                answer = await lookups.find("c", users)
            except Unavailable:
                answer = None
            assert loop.now <= arrived + HASTY.deadline_s
            assert answer in (
                None,
                {user: None if user in NOBODY else prediction(user) for user in users},
            )

        await some_given_up(loop, [ask() for _ in range(40)])
        # Whatever became of their reads, these are read at once, and together.
        loop.become_calm()
        table.fails = 0.0
        await asyncio.sleep(HASTY.deadline_s)
        assert set(await lookups.find("c", USERS)) == {*USERS}
        many = [lookups.find("c", [f"{n}.{u}" for u in USERS]) for n in range(100)]
        await asyncio.gather(*many)

    interleaved(scenario, seed, short=short)


@pytest.mark.timeout(120)
@given(seed=st.integers(0, 2**32), short=st.sampled_from([0.0, 0.2]))
def test_with_values_are_each_of_their_own_user_and_leave_nobody_waiting(seed, short):
    """Whatever became of their queries, as many may wait as before."""

    async def scenario(loop: Interleaved) -> None:
        threads: Any = SimpleNamespace(pool=lambda *_: THREADS)
        table: Any = Table(loop)
        settings = replace(HASTY, deadline_s=2)
        answers = Values(lambda: table, settings, threads=threads)

        async def ask() -> bool:
            await arrive(loop)
            user = loop.draw.choice(USERS)
            question = Question([user], None, is_single=True, values=True)
            try:
                answer = await answers.answer("c", question, oldest=0)
            except Unavailable as error:
                return "too many" not in str(error)
            assert (answer is None) == (user in NOBODY)
            if answer is not None:
                fields = json.loads(bytes(answer.body))
                at = USERS.index(user)
                assert (fields["user_id"], fields["expected_value"]) == (user, at / 100)
            return True

        for _ in range(8):
            await some_given_up(loop, [ask() for _ in range(40)])
        assert await ask()

    interleaved(scenario, seed, short=short)
