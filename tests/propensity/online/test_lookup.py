"""
Lookups, specified: one query for all who wait, and indexes that are followed behind the
answers. What a request may say is in ``functions/test_get_proba.py``.
"""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, date, datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest
from msgspec.structs import asdict

from propensity.errors import Unavailable
from propensity.gcp.artifacts import Artifacts, content_of, json_of
from propensity.gcp.asgi import instance_bytes
from propensity.gcp.queries import Queries
from propensity.online.indexes import RESERVED_BYTES
from propensity.online.lookup import Lookups, Question
from propensity.registry.index import IndexPointer, pointer_name, store_index
from propensity.tables.models import PREDICTIONS
from propensity.tables.stream import SUPPRESSED_USERS
from tests.support.clocks import ManualClock
from tests.support.deployment import KEY, Deployment
from tests.support.programs import ROOT
from tests.support.rows import put

TODAY = date(2026, 3, 3)
DAY = timedelta(days=1)
USE_CASE = "ga4_purchase"
POINTER = pointer_name(USE_CASE)


@pytest.fixture(scope="module")
def shared() -> Deployment:
    settings = {"PROPENSITY_REFRESH_S": "300", "PROPENSITY_SUPPRESSION_KEY": KEY}
    shared = Deployment(**settings)
    for table in (PREDICTIONS, SUPPRESSED_USERS):
        shared.warehouse.create(table)
    return shared


@pytest.fixture
def site(shared) -> Deployment:
    """Tables and a bucket that are empty."""
    shared.empty([PREDICTIONS, SUPPRESSED_USERS])
    return shared


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def lookups(site, clock) -> Lookups:
    """Lookups of an instance that has answered nothing yet."""
    return Lookups.open(site.settings, clock)


@pytest.fixture
def reads(monkeypatch) -> list[list[str]]:
    """The users of each read of the table."""
    reads = list[list[str]]()
    lookup = Queries.lookup

    def noted(queries: Queries, sql: str, parameters: Any) -> list[Any]:
        reads.append(parameters["user_ids"])
        return lookup(queries, sql, parameters)

    monkeypatch.setattr(Queries, "lookup", noted)
    return reads


def publish(site: Deployment, probability: float) -> IndexPointer:
    """Publish an index as 01-Predictions does; the table has another value then."""
    site.empty_tables([PREDICTIONS])
    put(site.warehouse, "ana", probability=probability, as_of=TODAY)
    store_index(site.warehouse, site.artifacts, USE_CASE, days=60)
    site.empty_tables([PREDICTIONS])
    put(site.warehouse, "ana", probability=0.25, as_of=TODAY)
    return content_of(site.artifacts.read(POINTER), IndexPointer, name=POINTER)


async def ask(
    lookups: Lookups, user: str = "ana", use_case: str = "", *, today: date = TODAY
) -> Any:
    """The answer for a user, as it is sent."""
    question = Question([user], use_case, is_single=True)
    answer = await lookups.answer(question, today=today)
    return json.loads(answer.body)


async def probability(lookups: Lookups) -> float | None:
    return (await ask(lookups))["probability"]


async def until(lookups: Lookups, clock: ManualClock, value: float) -> None:
    """Wait until answers have a probability."""
    async with asyncio.timeout(30):
        while await probability(lookups) != value:
            clock.advance(300)
            await asyncio.sleep(0.01)


async def test_the_table_is_read_once_for_all_who_arrive_together(site, lookups, reads):
    """Use cases are apart."""
    users = [f"user.{number}" for number in range(50)]
    for user in users:
        put(site.warehouse, user, as_of=TODAY)
    answers = await asyncio.gather(*(ask(lookups, user) for user in users))
    other = await ask(lookups, "user.0", "first_day_churn")

    assert {answer["probability"] for answer in answers} == {0.25}
    assert other["error"] == "unknown_user"
    assert [sorted(read) for read in reads] == [sorted(users), ["user.0"]]


async def test_indexes_follow_the_pointer_behind_the_answers(
    site, lookups, clock, reads
):
    """An answer of memory starts the look, and does not wait for it; after a long
    pause the first lookup waits."""
    publish(site, 0.8125)
    assert await probability(lookups) == 0.8125
    publish(site, 0.75)
    clock.advance(300)
    assert await probability(lookups) == 0.8125
    await until(lookups, clock, 0.75)
    # The new one is there beside the old one, each as large as it may be.
    largest = {"size": (instance_bytes() - RESERVED_BYTES) // 2}
    for value in (0.8125, 0.75):
        pointer = publish(site, value)
        site.artifacts.overwrite(POINTER, json_of(asdict(pointer) | largest))
        clock.advance(601)
        assert await probability(lookups) == value
    assert reads == []


@pytest.mark.parametrize("change", [None, {"size": 10**20}, {"name": "gone"}])
async def test_indexes_in_trouble_heal(site, lookups, clock, change, capfd):
    """The table's answer, one warning, and after the next publication the index: none
    is there, it does not fit into the memory, or its file is lost."""
    pointer = publish(site, 0.8125)
    if change is None:
        site.artifacts.delete(POINTER)
    else:
        site.artifacts.overwrite(POINTER, json_of(asdict(pointer) | change))
    for _ in range(4):
        assert await probability(lookups) == 0.25
        clock.advance(1_000)
    assert capfd.readouterr().err.count('"no_index"') == 1
    publish(site, 0.8125)
    await until(lookups, clock, 0.8125)


async def test_indexes_stay_while_the_bucket_does_not_answer(
    site, lookups, clock, reads, capfd
):
    """However long that is: predictions change each week, and a lookup in the table is
    slow and billed. The log says that they do, and nobody is mailed."""
    publish(site, 0.8125)
    assert await probability(lookups) == 0.8125

    def find(*_: Any, **__: Any) -> None:
        raise Unavailable("injected")

    with patch.object(Artifacts, "find", find):
        for seconds in (190, 190, 100_000):
            clock.advance(seconds)
            assert await probability(lookups) == 0.8125
    assert reads == []
    said = capfd.readouterr().err
    assert '"index_kept"' in said
    assert '"no_index"' not in said
    publish(site, 0.75)
    await until(lookups, clock, 0.75)


async def test_an_answer_says_whether_it_is_stale(site, lookups):
    """That is after eight days, by the day of the request."""
    put(site.warehouse, "ana", as_of=TODAY)
    days = [TODAY + age * DAY for age in (0, 8, 9)]
    answers = [await ask(lookups, today=day) for day in days]

    assert [answer["stale"] for answer in answers] == [False, False, True]


def test_a_list_by_hand_has_the_newest_probabilities_of_one_use_case(site):
    """Defect: the page's statement listed those of all use cases, and of users who were
    scored years ago."""
    today = datetime.now(UTC).date()
    put(site.warehouse, "ana", as_of=today)
    put(site.warehouse, "ben", as_of=today, use_case="ga4_value", probability=0.9)
    put(site.warehouse, "eve", as_of=today - 365 * DAY, probability=0.9)
    page = (ROOT / "docs/operate.md").read_text()
    _, _, section = page.partition("## A region is down")
    statement = section.partition("```sql\n")[2].partition("```")[0]

    [listed] = site.warehouse.rows(statement.replace("propensity.", ""))
    assert listed["user_id"] == "ana"


async def test_an_answer_of_a_suppressed_user_is_that_of_an_unknown_one(
    site, lookups, reads
):
    """The table is not asked; of other users it is."""
    for user in ("ana", "ben"):
        put(site.warehouse, user, as_of=TODAY)
    site.suppress("ana")
    unknown, suppressed, known = [
        await ask(lookups, user) for user in ("nobody", "ana", "ben")
    ]

    assert suppressed == unknown | {"user_id": "ana"}
    assert known["probability"] == 0.25
    assert reads == [["nobody"], ["ben"]]
