"""
Lookups of an index, specified: both sources answer alike, and trouble is survived.

Files and pointers are in the Cloud Storage emulator. ``Table`` stands for BigQuery and
counts its reads.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as limits
from hypothesis import strategies as st

from propensity.edges.artifacts import Artifacts
from propensity.edges.objects import Objects
from propensity.index.layout import Head
from propensity.online import indexed
from propensity.online.indexed import Indexes
from propensity.online.lookup import CONCURRENT_QUERIES, Lookups
from propensity.online.question import Question
from propensity.online.sources import Prediction, Reading
from propensity.registry.prediction_index import (
    IndexFile,
    IndexPointer,
    folder_of,
    pointer_name,
)
from propensity.settings import Settings
from propensity.waiting.threads import DaemonThreads
from tests.clocks import ManualClock
from tests.propensity.index.test_index import DAY, IDS, ROWS, batch, built, many
from tests.proxy import Proxy

TODAY = DAY + timedelta(days=1)
ANA = {"ana": (0.8125, 99, DAY, 2)}
# Any pointer of any age is looked at before each answer.
AT_ONCE = {"refresh_s": 0}


class Table:
    """The predictions table, in memory."""

    def __init__(self, rows=()) -> None:
        self.rows = dict(rows)
        self.reads: list[list[str]] = []

    def read(self, use_case: str, user_ids: Sequence[str]) -> Reading:
        self.reads.append(list(user_ids))
        rows = [(user, self.rows[user]) for user in user_ids if user in self.rows]
        return Reading(
            [
                Prediction(user, probability, as_of, percentile, version)
                for user, (probability, percentile, as_of, version) in rows
            ]
        )


def publish(artifacts: Artifacts, rows, *, use_case: str = "c") -> IndexFile:
    """Write an index and point to it, as 01-Predictions does."""
    data = built(batch(rows), key=uuid.uuid4().bytes)
    head = Head.parse(data)
    file = IndexFile(
        name=f"{folder_of(use_case)}{uuid.uuid4().hex}.index",
        size=len(data),
        head_bytes=head.offsets[0],
        sha256=hashlib.sha256(data).hexdigest(),
        users=len(rows),
        published_at="2026-03-02",
    )
    artifacts.create(file.name, data)
    point(artifacts, IndexPointer(newest=file, previous=None).encoded(), use_case)
    return file


def point(artifacts: Artifacts, content: bytes, use_case: str = "c") -> None:
    stored = artifacts.find(pointer_name(use_case))
    artifacts.replace(
        pointer_name(use_case), content, generation=stored.generation if stored else 0
    )


def overwrite(artifacts: Artifacts, name: str, data: bytes) -> None:
    artifacts.delete(name)
    artifacts.create(name, data)


def lookups_of(table: Table, *, clock=None, with_index: bool = True, **changed):
    """Lookups as the function opens them, but for the table."""
    settings = Settings.from_environment()
    values = {"use_case": "c", "deadline_s": 8, "refresh_s": 1, **changed}
    settings = Settings(**{**vars(settings), **values})
    clock = clock or ManualClock()
    indexes = Indexes(
        Objects.open(settings),
        settings,
        instead=table,
        clock=clock.monotonic,
        threads=DaemonThreads(),
    )
    return Lookups(
        table,
        settings,
        indexes=indexes if with_index else None,
        threads=ThreadPoolExecutor(CONCURRENT_QUERIES),
        clock=clock,
    )


async def body(lookups: Lookups, *user_ids: str, is_single: bool = False) -> bytes:
    """The answer of a question, as it is sent."""
    question = Question(list(user_ids), "c", is_single)
    answer = await lookups.answer(question, today=TODAY)
    return b"%d %s" % (answer.status_code, answer.body)


async def every_body(lookups: Lookups, user_ids: Sequence[str]) -> list[bytes]:
    """Answers of all users together, and of some alone."""
    alone = [await body(lookups, user, is_single=True) for user in user_ids[:5]]
    return [await body(lookups, *user_ids), *alone]


def lines(capfd) -> list[dict]:
    """The lines of the log since last asked."""
    return [json.loads(line) for line in capfd.readouterr().out.splitlines()]


class TestSources:
    # The fixture is one bucket for all examples: each publishes over the last.
    @limits(
        max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(
        before=ROWS,
        after=ROWS,
        others=st.lists(IDS, min_size=1),
        is_whole=st.booleans(),
    )
    def test_answer_alike_before_during_and_after_a_switch(
        self, artifacts, before, after, others, is_whole
    ):
        """Byte for byte, for any ids; in a switch each answer is of one publication."""
        users = sorted({*before, *after, *others})
        fit = {"lookup_index_bytes": 0 if is_whole else 1}
        open_table = partial(lookups_of, with_index=False, **AT_ONCE)

        async def scenario() -> None:
            unread = Table()
            by_index = lookups_of(unread, **AT_ONCE, **fit)
            of_before = await every_body(open_table(Table(before)), users)
            of_after = await every_body(open_table(Table(after)), users)
            publish(artifacts, before)

            assert await every_body(by_index, users) == of_before

            switching = asyncio.to_thread(publish, artifacts, after)
            meanwhile = [every_body(by_index, users) for _ in range(3)]
            _, *answers = await asyncio.gather(switching, *meanwhile)

            for every in answers:
                for answer, *possible in zip(every, of_before, of_after, strict=True):
                    assert answer in possible
            assert await every_body(by_index, users) == of_after
            assert unread.reads == []

        asyncio.run(scenario())


class TestIndexes:
    async def test_are_loaded_once_for_all_who_wait(self, artifacts, environment):
        """Single flight: a hundred first lookups read pointer and file once."""
        file = publish(artifacts, ANA)
        with Proxy(environment["STORAGE_EMULATOR_HOST"]) as proxy:
            lookups = lookups_of(Table(), storage_endpoint=proxy.url)
            await asyncio.gather(*[body(lookups, "ana") for _ in range(100)])
            reads = [request.path for request in proxy.asked]
        assert len([path for path in reads if file.name.split("/")[2] in path]) == 1
        assert len(reads) == 2

    async def test_follow_the_pointer_behind_the_answers(self, artifacts):
        """An answer of memory starts the look, and does not wait for it."""
        publish(artifacts, ANA)

        clock, table = ManualClock(), Table()
        lookups = lookups_of(table, clock=clock)
        assert b"0.8125" in await body(lookups, "ana")
        publish(artifacts, {"ana": (0.25, 1, DAY, 3)})
        assert b"0.8125" in await body(lookups, "ana")
        clock.advance(indexed.LOOK_S)
        assert b"0.8125" in await body(lookups, "ana")
        async with asyncio.timeout(30):
            while b"0.25" not in await body(lookups, "ana"):
                await asyncio.sleep(0.01)
        assert table.reads == []

    async def test_do_not_answer_older_than_answers_may_be(self, artifacts):
        """After a long pause the first lookup waits for the pointer."""
        publish(artifacts, ANA)

        clock = ManualClock()
        lookups = lookups_of(Table(), clock=clock, refresh_s=300)
        await body(lookups, "ana")
        publish(artifacts, {"ana": (0.25, 1, DAY, 3)})
        clock.advance(301)
        assert b"0.25" in await body(lookups, "ana")

    @pytest.mark.parametrize(("limit", "ranges"), [(0, 1), (1, 3)])
    async def test_read_two_ranges_at_most_where_the_file_does_not_fit(
        self, artifacts, environment, limit, ranges
    ):
        """The head once, and then one block for each lookup; the whole file else."""
        file = publish(artifacts, many(2_000))
        with Proxy(environment["STORAGE_EMULATOR_HOST"]) as proxy:
            lookups = lookups_of(
                Table(), lookup_index_bytes=limit, storage_endpoint=proxy.url
            )
            for user in ("user.7", "user.8"):
                assert (await body(lookups, user, is_single=True))[:3] == b"200"
            paths = [request.path for request in proxy.asked]
        assert sum(file.name.split("/")[2] in path for path in paths) == ranges

    async def test_answer_by_ranges_until_a_large_file_is_loaded(
        self, artifacts, capfd
    ):
        """The first answer of an instance does not wait for the whole file."""
        users = 1 + indexed.AT_ONCE_BYTES // 18
        publish(artifacts, {f"user.{n}": (0.5, 1, DAY, 1) for n in range(users)})

        table = Table()
        lookups = lookups_of(table)
        assert (await body(lookups, "user.7", is_single=True))[:3] == b"200"
        outcomes = [line["outcome"] for line in lines(capfd)]
        assert outcomes == ["loaded_head", "read"]
        assert (await body(lookups, "nobody", is_single=True))[:3] == b"404"
        async with asyncio.timeout(30):
            while lookups.answer_at_once("user.7", today=TODAY) is None:
                await body(lookups, "user.7")
                await asyncio.sleep(0.01)
        assert (await body(lookups, "user.9", is_single=True))[:3] == b"200"
        assert table.reads == []


def missing_pointer(artifacts, file):
    artifacts.delete(pointer_name("c"))


def broken_pointer(artifacts, file):
    point(artifacts, b'{"newest": 3}')


def no_pointer(artifacts, file):
    point(artifacts, b"\xff")


def large_pointer(artifacts, file):
    file = replace(file, size=10**20, head_bytes=10**15)
    point(artifacts, IndexPointer(newest=file, previous=None).encoded())


def missing_file(artifacts, file):
    artifacts.delete(file.name)


def cut_file(artifacts, file):
    overwrite(artifacts, file.name, artifacts.read(file.name).data[:-8])


def changed_file(artifacts, file):
    data = bytearray(artifacts.read(file.name).data)
    data[-9] ^= 1
    overwrite(artifacts, file.name, bytes(data))


TROUBLES = [
    *(missing_pointer, broken_pointer, no_pointer, large_pointer),
    *(missing_file, cut_file, changed_file),
]


class TestTrouble:
    @pytest.mark.parametrize("limit", [0, 1], ids=["whole", "blocks"])
    @pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.__name__)
    async def test_leads_to_the_table_is_logged_and_heals(
        self, artifacts, trouble, limit, capfd
    ):
        """The table's answer, a warning, and after the next publication the index."""
        trouble(artifacts, publish(artifacts, ANA))
        table = Table({"ana": (0.75, 90, DAY, 2)})

        lookups = lookups_of(table, lookup_index_bytes=limit, **AT_ONCE)
        assert b'"probability":0.75' in await body(lookups, "ana", is_single=True)
        assert table.reads == [["ana"]]
        warnings = [line for line in lines(capfd) if line["severity"] == "WARNING"]
        assert {line["outcome"] for line in warnings} == {"no_index"}
        publish(artifacts, ANA)
        assert b'"probability":0.8125' in await body(lookups, "ana", is_single=True)
        assert table.reads == [["ana"]]

    async def test_that_lasts_is_logged_once(self, artifacts, capfd):
        """A use case without an index is not a line for every look."""
        clock = ManualClock()
        lookups = lookups_of(Table(ANA), clock=clock)
        for _ in range(5):
            await body(lookups, "ana", is_single=True)
            clock.advance(1_000)
        outcomes = [line["outcome"] for line in lines(capfd)]
        assert outcomes.count("no_index") == 1

    async def test_of_a_file_is_not_read_again_at_every_look(
        self, artifacts, environment
    ):
        """A large file that is damaged would be loaded all the time."""
        file = publish(artifacts, ANA)
        changed_file(artifacts, file)
        with Proxy(environment["STORAGE_EMULATOR_HOST"]) as proxy:
            clock = ManualClock()
            lookups = lookups_of(Table(ANA), clock=clock, storage_endpoint=proxy.url)
            for _ in range(4):
                await body(lookups, "ana", is_single=True)
                clock.advance(indexed.LOOK_S)
                await asyncio.sleep(0.1)
            paths = [request.path for request in proxy.asked]
        assert sum(file.name.split("/")[2] in path for path in paths) == 1

    async def test_of_the_service_leaves_the_index_that_is_there(
        self, artifacts, environment, capfd
    ):
        """For as long as answers may be old; then the table is read. The log says
        each."""
        publish(artifacts, ANA)
        is_down, messages = False, []

        def hear() -> None:
            messages.extend(
                line["message"].partition("; ")[2]
                for line in lines(capfd)
                if line["outcome"] == "no_index"
            )

        with Proxy(
            environment["STORAGE_EMULATOR_HOST"], lambda _: 503 if is_down else None
        ) as proxy:
            clock, table = ManualClock(), Table({"ana": (0.75, 90, DAY, 2)})
            lookups = lookups_of(table, clock=clock, storage_endpoint=proxy.url)
            assert b"0.8125" in await body(lookups, "ana")
            is_down = True
            for _ in range(3):
                clock.advance(90)
                assert b"0.8125" in await body(lookups, "ana")
            assert table.reads == []
            async with asyncio.timeout(30):
                while not messages:
                    await asyncio.sleep(0.05)
                    hear()
            clock.advance(1_000)
            assert b"0.75" in await body(lookups, "ana")
            hear()
        assert messages == [
            "lookups go on with the index that is there",
            "lookups read the table instead",
        ]
