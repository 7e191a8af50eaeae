"""
What of indexes is in memory, specified: of one that is being loaded, and of several.
"""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from propensity.edges.objects import Objects
from propensity.online import indexed
from propensity.online.question import Question
from propensity.registry.prediction_index import pointer_name
from tests.clocks import ManualClock
from tests.propensity.index.test_index import many
from tests.propensity.online.test_indexed import (
    ANA,
    AT_ONCE,
    DAY,
    TODAY,
    Table,
    body,
    changed_file,
    lines,
    lookups_of,
    publish,
)
from tests.proxy import Asked, Proxy


class TestIndexes:
    async def test_of_use_cases_share_the_memory(self, artifacts, capfd):
        """Of two that fit alone and not together the second is read by blocks, until
        the first is gone."""
        first = publish(artifacts, many(2_000), use_case="c")
        publish(artifacts, many(2_000), use_case="d")

        most = int(1.5 * first.size)
        lookups = lookups_of(Table(), lookup_index_bytes=most, **AT_ONCE)

        async def ask(use_case: str) -> None:
            question = Question(["user.7"], use_case, True)
            answer = await lookups.answer(question, today=TODAY)
            assert answer.status_code == 200

        await ask("c")
        await ask("d")
        publish(artifacts, many(2_000), use_case="c")
        await ask("c")
        artifacts.delete(pointer_name("c"))
        answer = await lookups.answer(Question(["u"], "c", True), today=TODAY)
        assert answer.status_code == 404
        publish(artifacts, many(2_000), use_case="d")
        await ask("d")
        outcomes = [line["outcome"] for line in lines(capfd)]
        assert [outcome for outcome in outcomes if outcome.startswith("loaded")] == [
            *("loaded", "loaded_head", "loaded", "loaded")
        ]

    @pytest.mark.parametrize("is_damaged", [True, False])
    async def test_that_are_refused_or_replaced_leave_nothing_in_memory(
        self, artifacts, monkeypatch, is_damaged
    ):
        """Garbage is collected rarely in the function: a damaged file that an error has
        in its traceback would be there twice after the next attempt."""
        read, held = Objects.read, []

        class Bytes(bytearray):
            """Bytes that can be looked for."""

        def read_tracked(self, *arguments, **named):
            data = Bytes(read(self, *arguments, **named))
            held.append(weakref.ref(data))
            return data

        monkeypatch.setattr(Objects, "read", read_tracked)

        gc.disable()
        try:
            lookups = lookups_of(Table(), **AT_ONCE)
            for _ in range(3):
                file = publish(artifacts, many(2_000))
                if is_damaged:
                    changed_file(artifacts, file)
                await body(lookups, "user.7")
            alive = [data for data in held if data() is not None]
            assert (len(held), len(alive)) == (3, 0 if is_damaged else 1)
        finally:
            gc.enable()

    async def test_that_fail_to_load_are_not_tried_again_at_every_lookup(
        self, artifacts, environment
    ):
        """Blocks answer meanwhile; the whole is tried again at the next look."""
        users = 1 + indexed.AT_ONCE_BYTES // 18
        rows = {f"user.{n}": (0.5, 1, DAY, 1) for n in range(users)}
        file = publish(artifacts, rows)
        whole, requests = f"bytes=0-{file.size - 1}", []
        is_down = True

        def rule(request: Asked) -> int | None:
            if request.headers.get("Range") != whole:
                return None
            requests.append(request)
            return 503 if is_down else None

        with Proxy(environment["STORAGE_EMULATOR_HOST"], rule) as proxy:
            clock = ManualClock()
            lookups = lookups_of(
                Table(),
                clock=clock,
                storage_endpoint=proxy.url,
            )
            for _ in range(20):
                answer = await body(lookups, "user.7", is_single=True)
                assert answer[:3] == b"200"
                await asyncio.sleep(0.1)
            assert 0 < len(requests) <= 3
            is_down = False
            async with asyncio.timeout(30):
                while lookups.answer_at_once("user.7", today=TODAY) is None:
                    clock.advance(indexed.LOOK_S)
                    await body(lookups, "user.7")
                    await asyncio.sleep(0.05)


async def test_an_index_ages_while_its_pointer_cannot_be_read(artifacts, environment):
    """Defect: a look at the pointer that had failed made the index as young as one that
    had succeeded, so that it answered for ten minutes."""
    publish(artifacts, ANA)
    is_down = False
    with Proxy(
        environment["STORAGE_EMULATOR_HOST"], lambda _: 503 if is_down else None
    ) as proxy:
        clock = ManualClock()
        lookups = lookups_of(
            Table({"ana": (0.25, 1, DAY, 3)}),
            clock=clock,
            refresh_s=300,
            storage_endpoint=proxy.url,
        )
        assert b"0.8125" in await body(lookups, "ana")
        is_down = True
        clock.advance(299)
        # It starts a look, and does not wait for it.
        assert b"0.8125" in await body(lookups, "ana")
        looks = len(proxy.asked)
        async with asyncio.timeout(30):
            while len(proxy.asked) < looks + 3:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        clock.advance(2)
        assert b"0.25" in await body(lookups, "ana")


class TestGuesses:
    """Of names of use cases, by whoever may ask."""

    async def test_take_no_memory(self, artifacts):
        """Beyond some names the table is asked, as it knows them no more."""
        lookups = lookups_of(Table())
        for number in range(indexed.MAXIMUM_USE_CASES + 9):
            question = Question(["u"], f"guess_{number}", True)
            answer = await lookups.answer(question, today=TODAY)
            assert answer.status_code == 404
        assert len(lookups._indexes._by_use_case) == indexed.MAXIMUM_USE_CASES

    async def test_take_no_index_from_a_use_case(self, artifacts):
        """Not one that is in memory, and not one that is asked for later."""
        table = Table()
        lookups = lookups_of(table)

        async def guess() -> None:
            for number in range(indexed.MAXIMUM_USE_CASES + 9):
                question = Question(["u"], f"guess_{number}", True)
                await lookups.answer(question, today=TODAY)

        await guess()
        table.reads.clear()
        publish(artifacts, ANA)
        assert b"0.8125" in await body(lookups, "ana")
        await guess()
        table.reads.clear()
        assert b"0.8125" in await body(lookups, "ana")
        assert lookups._indexes.fresh("c") is not None
        assert table.reads == []
