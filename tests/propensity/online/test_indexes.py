"""
Indexes that lookups follow, specified: trouble is survived, and nobody waits for it.

Files and pointers are in the Cloud Storage emulator; ``Shelf`` stands for BigQuery.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from propensity.gcp.artifacts import Artifacts
from propensity.online import indexes
from propensity.online.indexes import Indexes
from propensity.online.lookup import Lookups
from propensity.online.question import Question
from propensity.online.table import Table
from propensity.registry import index
from propensity.registry.index import IndexPointer, folder_of, pointer_name
from propensity.settings import Settings
from tests.clocks import ManualClock
from tests.propensity.online.shelf import Shelf
from tests.propensity.registry.test_index import DAY, batch, many
from tests.proxy import Proxy

TODAY = DAY + timedelta(days=1)
ANA = {"ana": (0.8125, 99, DAY, 2, None)}
NEWER = {"ana": (0.75, 99, DAY, 3, None)}
# What the shelf has of her.
OF_TABLE = b'"probability":0.25'


@pytest.fixture
def publish(artifacts: Artifacts, tmp_path):
    """Write an index and point to it, as 01-Predictions does."""

    def publish(rows: Any) -> IndexPointer:
        path = tmp_path / uuid.uuid4().hex
        users = index.write(path, [batch(rows)])
        name = f"{folder_of('c')}{path.name}.sqlite"
        artifacts.create_from(name, path)
        pointer = IndexPointer(
            name=name, size=path.stat().st_size, users=users, published_at="2026-03-02"
        )
        point(artifacts, json.dumps(vars(pointer)).encode())
        return pointer

    return publish


def point(artifacts: Artifacts, content: bytes) -> None:
    stored = artifacts.find(pointer_name("c"))
    artifacts.replace(
        pointer_name("c"), content, generation=stored.generation if stored else 0
    )


class Served:
    """Lookups as the function opens them, but for the table, and with a clock."""

    def __init__(self, *, endpoint: str = "", most_bytes: int | None = None) -> None:
        settings = Settings.from_environment()
        if endpoint:
            settings = replace(settings, storage_endpoint=endpoint)
        settings = replace(settings, use_case="c", refresh_s=300)
        self.clock, self.shelf = ManualClock(), Shelf("ana")
        shelf: Any = self.shelf
        self.bucket = Artifacts.open(settings, deadline_s=1)
        clock = self.clock.monotonic
        self.indexes = Indexes(
            self.bucket, settings, clock=clock, most_bytes=most_bytes
        )
        self.lookups = Lookups(
            Table(lambda: shelf, settings, clock=clock), settings, indexes=self.indexes
        )

    async def body(self, user_id: str = "ana", use_case: str = "c") -> bytes:
        """The answer for a user, as it is sent."""
        question = Question([user_id], use_case, is_single=True)
        answer = await self.lookups.answer(question, today=TODAY)
        return b"%d %s" % (answer.status_code, answer.body)

    async def until(self, text: bytes) -> None:
        """Wait until answers have a text."""
        async with asyncio.timeout(30):
            while text not in await self.body():
                self.clock.advance(indexes.LOOK_S)
                await asyncio.sleep(0.01)


def outcomes(capfd) -> list[str]:
    """Of the lines of the log since last asked."""
    output = capfd.readouterr().out.splitlines()
    return [json.loads(line)["outcome"] for line in output if line.startswith("{")]


class TestIndexes:
    async def test_are_loaded_once_for_all_who_wait(
        self, publish, environment, monkeypatch
    ):
        """Single flight: a hundred first lookups read the file once."""
        file = publish(ANA)
        with Proxy(environment["STORAGE_EMULATOR_HOST"]) as proxy:
            monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
            served = Served()
            await asyncio.gather(*[served.body() for _ in range(100)])
            reads = [asked.path for asked in proxy.asked]
        assert len([path for path in reads if file.name.split("/")[2] in path]) == 1
        assert served.shelf.reads == []

    async def test_follow_the_pointer_behind_the_answers(self, publish):
        """An answer of memory starts the look, and does not wait for it."""
        publish(ANA)
        served = Served()
        assert b"0.8125" in await served.body()
        publish(NEWER)
        assert b"0.8125" in await served.body()
        served.clock.advance(indexes.LOOK_S)
        assert b"0.8125" in await served.body()
        await served.until(b"0.75")
        assert served.shelf.reads == []

    async def test_do_not_answer_older_than_answers_may_be(self, publish):
        """After a long pause the first lookup waits for the pointer."""
        publish(ANA)
        served = Served()
        await served.body()
        publish(NEWER)
        served.clock.advance(301)
        assert b"0.75" in await served.body()

    async def test_know_who_is_unknown_without_a_query(self, publish):
        """Whoever the index lacks has no prediction."""
        publish(ANA)
        served = Served()
        assert (await served.body("nobody"))[:3] == b"404"
        assert served.shelf.reads == []

    async def test_that_do_not_fit_leave_lookups_to_the_table(self, publish, capfd):
        """During a switch there are two: a file may take half of the memory."""
        size = publish(many(2_000) | ANA).size
        large, small = (Served(most_bytes=2 * size + more) for more in (0, -1))
        assert b"0.8125" in await large.body()
        assert OF_TABLE in await small.body()
        assert outcomes(capfd) == ["loaded", "no_index", "read"]

    async def test_of_guessed_use_cases_are_bounded(self, publish):
        """Beyond some names the table is asked, as it knows them no more."""
        publish(ANA)
        served = Served()
        await served.body()
        for number in range(indexes.MAXIMUM_USE_CASES + 3):
            assert b"0.25" in await served.body(use_case=f"guess_{number}")
        assert b"0.8125" in await served.body()


def missing_pointer(artifacts, file):
    artifacts.delete(pointer_name("c"))


def broken_pointer(artifacts, file):
    point(artifacts, b'{"newest": 3}')


def large_pointer(artifacts, file):
    point(artifacts, json.dumps({**vars(file), "size": 10**20}).encode())


def missing_file(artifacts, file):
    artifacts.delete(file.name)


def other_file(artifacts, file):
    artifacts.delete(file.name)
    artifacts.create(file.name, b"not an index")


TROUBLES = [missing_pointer, broken_pointer, large_pointer, missing_file, other_file]


class TestTrouble:
    @pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.__name__)
    async def test_leads_to_the_table_is_logged_once_and_heals(
        self, artifacts, publish, trouble, capfd
    ):
        """The table's answer, a warning, and after the next publication the index."""
        trouble(artifacts, publish(ANA))
        served = Served()
        for _ in range(4):
            assert OF_TABLE in await served.body()
            served.clock.advance(1_000)
        assert outcomes(capfd).count("no_index") == 1
        publish(ANA)
        await served.until(b"0.8125")

    async def test_of_the_bucket_leaves_the_index_that_is_there(
        self, publish, environment, monkeypatch
    ):
        """For as long as answers may be old; then the table is read."""
        publish(ANA)
        is_down = False
        with Proxy(
            environment["STORAGE_EMULATOR_HOST"], lambda _: 503 if is_down else None
        ) as proxy:
            monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
            served = Served()
            assert b"0.8125" in await served.body()
            is_down = True
            for _ in range(3):
                served.clock.advance(90)
                assert b"0.8125" in await served.body()
            assert served.shelf.reads == []
            served.clock.advance(1_000)
            assert OF_TABLE in await served.body()
            is_down = False
            await served.until(b"0.8125")
