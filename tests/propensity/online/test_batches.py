"""
Micro-batches, specified: who comes together is scored together, and waits for nobody.
"""

from __future__ import annotations

import asyncio
import gc
import math
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from sklearn.ensemble import GradientBoostingClassifier

from propensity.clock import SYSTEM
from propensity.edges.counts import Counts
from propensity.errors import RequestError
from propensity.online import batches
from propensity.online.batches import THREAD_INSTANCES, MicroBatches, Scores
from propensity.online.instances import Instance
from propensity.registry.loading import Serving
from propensity.registry.serving import ServingState
from propensity.waiting.threads import THREADS
from tests.propensity.online.champions import FIRST, LAYOUT, SECOND, STATE, serving


def player(bets: float, *, age: float = 30.0) -> Instance:
    """Return a player to be scored."""
    nulls = ["age"] if math.isnan(age) else []
    return Instance([bets, age], ["GB"], nulls)


def alone(instance: Instance, by: Serving = FIRST) -> float:
    """Return what a version says of a player."""
    return float(by.scorer.probabilities(LAYOUT.rows([instance]))[0])


class Groups(MicroBatches):
    """Batches whose groups are looked at: how many instances each had."""

    def __init__(self) -> None:
        super().__init__(Counts("score"), clock=SYSTEM, linger_s=30.0, threads=THREADS)

    @property
    def begun(self) -> int:
        """How many groups there were."""
        return self._counts._counts["groups"]

    async def player(self, bets: float, state: ServingState = STATE) -> Scores:
        """Score a player."""
        return await self.score(LAYOUT, state, [player(bets)], [""])


class TestMicroBatches:
    async def test_score_at_once_what_comes_alone(self):
        """One caller, one question after the other: nobody is waited for, or this would
        take minutes."""
        groups = Groups()
        for bets in range(5):
            scored = await groups.player(bets)
            assert scored.values == [alone(player(bets))]
        assert groups.begun == 5

    async def test_need_none_of_the_threads_that_wait_for_services(self):
        """A table or a bucket that does not answer holds up no score: all threads of
        the loop may wait for it."""
        answered = threading.Event()
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        waiting = asyncio.create_task(asyncio.to_thread(answered.wait, 60))
        await asyncio.sleep(0)
        players = [player(bets) for bets in range(THREAD_INSTANCES + 1)]
        try:
            async with asyncio.timeout(10):
                scored = await Groups().score(
                    LAYOUT, STATE, players, [""] * len(players)
                )
        finally:
            answered.set()
            await waiting

        assert len(scored.values) == THREAD_INSTANCES + 1

    async def test_score_together_what_comes_together(self):
        """Questions that wait at the same time are one call."""
        groups = Groups()
        scores = await asyncio.gather(*(groups.player(bets) for bets in range(40)))
        assert [scored.values for scored in scores] == [
            [pytest.approx(alone(player(bets)), abs=1e-12)] for bets in range(40)
        ]
        assert groups.begun == 1

    async def test_wait_for_as_many_as_came_before(self):
        """After a group of two the next waits for two."""
        groups = Groups()
        await asyncio.gather(groups.player(1), groups.player(2))
        first = asyncio.create_task(groups.player(3))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not first.done()
        await groups.player(4)
        await first
        assert groups.begun == 2

    async def test_give_each_answer_one_version(self):
        """Questions that meet on the way to another version are scored by their own."""
        other = ServingState(champion=SECOND, epoch=6)

        groups = Groups()
        states = [STATE, other] * 2
        scores = await asyncio.gather(
            *(
                groups.score(LAYOUT, state, [player(1), player(9)], ["", ""])
                for state in states
            )
        )

        for scored, state in zip(scores, states, strict=True):
            assert scored.state is state
            assert scored.values == pytest.approx(
                [alone(player(bets), state.champion) for bets in (1, 9)], abs=1e-12
            )

    async def test_fail_for_one_version_alone(self):
        """A version that breaks fails those that asked for it, and leaves nobody
        waiting."""
        broken = ServingState(champion=replace(FIRST, version=9, scorer=None), epoch=9)

        groups = Groups()
        failed, other = await asyncio.gather(
            groups.player(1, broken), groups.player(2), return_exceptions=True
        )

        assert isinstance(failed, AttributeError)
        assert other.values == [alone(player(2))]

    async def test_refuse_a_null_that_nothing_fills(self):
        """Only the question that has it; the field is named."""
        groups = Groups()
        first, second, third = await asyncio.gather(
            groups.player(1),
            groups.score(
                LAYOUT,
                STATE,
                [player(1), player(2, age=math.nan)],
                ["instances[0].", "instances[1]."],
            ),
            groups.player(2),
            return_exceptions=True,
        )

        assert first.values == [alone(player(1))]
        assert isinstance(second, RequestError)
        assert second.field == "instances[1].age"
        assert third.values == [alone(player(2))]

    def test_keep_nothing_of_what_they_refuse(self):
        """The error is in no cycle, so that the request goes with it, and does not wait
        for the collector."""

        async def ask() -> weakref.ref[RequestError] | None:
            try:
                await Groups().score(LAYOUT, STATE, [player(2, age=math.nan)], [""])
            except RequestError as error:
                return weakref.ref(error)
            return None

        gc.collect()
        gc.disable()
        try:
            refused = asyncio.run(ask())
            assert refused is not None
            assert refused() is None
        finally:
            gc.enable()

    async def test_refuse_what_a_model_cannot_compute_with(self):
        """Only the question that has it; its number farthest from 0 is named."""
        # Trees of this kind read single precision, in which this is infinite.
        trees = serving(3, model=GradientBoostingClassifier(n_estimators=2))
        state = ServingState(champion=trees, epoch=7)

        groups = Groups()
        huge = [player(1), player(2, age=1e300), player(3)]
        refused, other = await asyncio.gather(
            groups.score(LAYOUT, state, huge, ["a.", "b.", "c."]),
            groups.player(1, state),
            return_exceptions=True,
        )

        assert isinstance(refused, RequestError)
        assert refused.field == "b.age"
        assert other.values == [alone(player(1), trees)]

    async def test_score_many_instances_off_the_event_loop(self, monkeypatch):
        """A long list holds nobody up; those behind it are answered after it."""
        monkeypatch.setattr(batches, "THREAD_INSTANCES", 10)

        groups = Groups()
        many = [player(bets) for bets in range(300)]
        of_many, of_last = await asyncio.gather(
            groups.score(LAYOUT, STATE, many, [""] * 300), groups.player(7)
        )

        expected = FIRST.scorer.probabilities(
            LAYOUT.rows([player(b) for b in range(300)])
        )
        np.testing.assert_allclose(of_many.values, expected, rtol=0, atol=1e-12)
        assert of_last.values == [pytest.approx(alone(player(7)), abs=1e-12)]
