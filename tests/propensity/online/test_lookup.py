"""
Lookups, specified: one query for all who wait, indexes that are followed behind the
answers, and what a request may say.

``Shelf`` is BigQuery in memory, which counts its reads.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from google.cloud.bigquery import Row
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import asdict

from local.ground.storage import Storage
from propensity.errors import Unavailable
from propensity.gcp.artifacts import Artifacts, json_of
from propensity.online.indexes import Indexes
from propensity.online.lookup import Lookups, PredictionsTable, Question
from propensity.registry import index
from propensity.registry.index import (
    IndexedPrediction,
    IndexPointer,
    index_folder,
    pointer_name,
)
from propensity.settings import Settings
from propensity.suppression import NOBODY, Suppressed, user_hash
from tests.support.clocks import ManualClock

TODAY = date(2026, 3, 3)
DAY = timedelta(days=1)
SETTINGS = Settings(project="p", use_case="c", refresh_s=300, deadline_s=120)
PREDICTION = IndexedPrediction(0.25, 71, TODAY.isoformat(), 3, None)
TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=256)


class Shelf:
    """BigQuery, as the table is read."""

    bytes_billed = 0

    def __init__(self, *user_ids: str) -> None:
        self.users = user_ids
        self.reads: list[list[str]] = []

    def for_run(self) -> Shelf:
        return self

    def lookup(self, sql: str, parameters: Any) -> list[Any]:
        self.reads.append(parameters["user_ids"])
        values = PREDICTION._asdict() | {"as_of": TODAY}
        found = [user for user in parameters["user_ids"] if user in self.users]
        names = {name: at for at, name in enumerate(("user_id", *values))}
        return [Row((user, *values.values()), names) for user in found]


NO_INDEX: Any = SimpleNamespace(current=lambda _: asyncio.sleep(0))


def lookups_of(
    shelf: Any,
    settings: Settings = SETTINGS,
    *,
    indexes: Any = NO_INDEX,
    suppressed: Suppressed = NOBODY,
) -> Lookups:
    """Lookups as the function opens them, but for the table."""
    listed: Any = SimpleNamespace(current=lambda: asyncio.sleep(0, suppressed))
    table = PredictionsTable(lambda: shelf, settings)
    return Lookups(table, settings, indexes, listed, frozenset({"c", "d"}))


async def answer_of(
    lookups: Lookups, user_id: str, use_case: str = "c", *, today: date = TODAY
) -> Any:
    """The answer for a user, as it is sent."""
    question = Question([user_id], use_case, is_single=True)
    return await lookups.answer(question, today=today)


class TestTable:
    async def test_the_table_reads_all_who_arrive_together_at_once(self):
        """Requests of one moment are one read; use cases are apart."""
        users = [f"user.{number}" for number in range(50)]
        shelf: Any = Shelf(*users)
        rows = PredictionsTable(lambda: shelf, SETTINGS)
        answers = await asyncio.gather(*(rows.find("c", [u]) for u in users))
        await rows.find("d", users)

        assert answers == [{user: PREDICTION} for user in users]
        assert [sorted(read) for read in shelf.reads] == [sorted(users)] * 2


ANA = {"ana": (0.8125, 99, TODAY - DAY, 2, None, None)}
NEWER = {"ana": (0.75, 99, TODAY - DAY, 3, None, None)}
# The table has this of her.
OF_TABLE = b'"probability":0.25'


def batch(rows: Any) -> pa.RecordBatch:
    """Rows as the statement gives them, by user: the values of the other columns."""
    named = []
    for user, values in rows.items():
        fields = zip(IndexedPrediction._fields, values, strict=True)
        named.append({"user_id": user, **dict(fields)})
    return pa.RecordBatch.from_pylist(named)


STORAGE: Any = Storage()


class Bucket(Artifacts):
    """The bucket, which may not answer."""

    is_down = False

    def find(self, name: str, **how: Any) -> Any:
        self.check()
        return super().find(name, **how)

    def download(self, name: str, file: Path) -> None:
        self.check()
        super().download(name, file)

    def check(self) -> None:
        if self.is_down:
            raise Unavailable("injected")


@pytest.fixture
def artifacts() -> Artifacts:
    return Artifacts(STORAGE.create_bucket("bucket"), SETTINGS)


@pytest.fixture
def publish(artifacts: Artifacts, tmp_path):
    """Write an index and point to it, as 01-Predictions does."""

    def publish(rows: Any) -> IndexPointer:
        path = tmp_path / uuid.uuid4().hex
        users = index.write_index(path, [batch(rows)])
        pointer = IndexPointer(
            f"{index_folder('c')}{path.name}", path.stat().st_size, users
        )
        artifacts.create_from(pointer.name, path)
        point(artifacts, json_of(pointer))
        return pointer

    return publish


def point(artifacts: Artifacts, content: bytes) -> None:
    artifacts.overwrite(pointer_name("c"), content)


class Served:
    """Lookups with indexes, and with a clock."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.shelf = Shelf("ana")
        self.bucket = Bucket(STORAGE.bucket("bucket"), SETTINGS)
        indexes = Indexes(self.bucket, SETTINGS, clock=self.clock.monotonic)
        self.lookups = lookups_of(self.shelf, indexes=indexes)

    async def body(self, user_id: str = "ana", use_case: str = "c") -> bytes:
        """The answer for a user, as it is sent."""
        answer = await answer_of(self.lookups, user_id, use_case)
        return b"%d %s" % (answer.status_code, answer.body)

    async def until(self, text: bytes) -> None:
        """Wait until answers have a text."""
        async with asyncio.timeout(30):
            while text not in await self.body():
                self.clock.advance(300)
                await asyncio.sleep(0.01)


class TestIndexes:
    async def test_indexes_follow_the_pointer_behind_the_answers(self, publish):
        """An answer of memory starts the look, and does not wait for it; after a long
        pause the first lookup waits."""
        publish(ANA)
        served = Served()
        assert b"0.8125" in await served.body()
        publish(NEWER)
        served.clock.advance(300)
        assert b"0.8125" in await served.body()
        await served.until(b"0.75")
        publish(ANA)
        served.clock.advance(601)
        assert b"0.8125" in await served.body()
        assert served.shelf.reads == []

    @pytest.mark.parametrize("change", [None, {"size": 10**20}, {"name": "gone"}])
    async def test_indexes_in_trouble_heal(self, artifacts, publish, change, capfd):
        """The table's answer, one warning, and after the next publication the index:
        none is there, it does not fit into the memory, or its file is lost."""
        pointer = publish(ANA)
        if change is None:
            artifacts.delete(pointer_name("c"))
        else:
            point(artifacts, json_of(asdict(pointer) | change))
        served = Served()
        for _ in range(4):
            assert OF_TABLE in await served.body()
            served.clock.advance(1_000)
        assert capfd.readouterr().err.count('"no_index"') == 1
        publish(ANA)
        await served.until(b"0.8125")

    async def test_indexes_stay_while_the_bucket_does_not_answer(
        self, publish, monkeypatch
    ):
        """However long that is: predictions change each week, and a lookup in the table
        is slow and billed. Defect: it was thrown away after two minutes."""
        publish(ANA)
        served = Served()
        assert b"0.8125" in await served.body()
        served.bucket.is_down = True
        for _ in range(3):
            served.clock.advance(190)
            assert b"0.8125" in await served.body()
        publish(NEWER)
        monkeypatch.setattr(Bucket, "find", Artifacts.find)
        served.clock.advance(100_000)
        assert b"0.8125" in await served.body()
        assert served.shelf.reads == []
        served.bucket.is_down = False
        await served.until(b"0.75")


LISTED = Suppressed("key", [("c", user_hash("key", "u"))])


class TestAnswer:
    @given(user_id=TEXT)
    def test_an_answer_is_json_whatever_the_user_is_called(self, user_id):
        """The answer parses to exactly the fields of the contract, in their order."""
        answer = asyncio.run(answer_of(lookups_of(Shelf(user_id)), user_id))

        assert list(json.loads(answer.body).items()) == [
            ("user_id", user_id),
            ("probability", 0.25),
            ("prediction_date", TODAY.isoformat()),
            ("model_version", 3),
            ("percentile", 71),
            ("stale", False),
        ]

    async def test_an_answer_says_whether_it_is_stale(self):
        """That is after eight days, by the day of the request."""
        lookups = lookups_of(Shelf("u"))
        days = [TODAY + age * DAY for age in (0, 8, 9)]
        answers = [await answer_of(lookups, "u", today=day) for day in days]

        stale = [json.loads(answer.body)["stale"] for answer in answers]
        assert stale == [False, False, True]

    async def test_an_answer_of_a_suppressed_user_is_that_of_an_unknown_one(self):
        """In the use case that the list names; the table is not asked."""
        shelf = Shelf("u", "v")
        lookups = lookups_of(shelf, suppressed=LISTED)
        unknown = await answer_of(lookups, "w")
        answers = [await answer_of(lookups, "u", name) for name in ("c", "d")]

        assert [answer.status_code for answer in answers] == [404, 200]
        assert answers[0].body == unknown.body.replace(b'"w"', b'"u"')
        assert len(shelf.reads) == 2
