"""
Lookups, specified: the cache, the coalescing of reads, and what a request may say.

``Shelf`` is BigQuery in memory, which counts its reads and can be held or made to fail:
so "while a query is under way" is a fact here and not a matter of luck. BigQuery itself
is read in ``functions/test_get_proba.py``.
"""

from __future__ import annotations

import asyncio
import gc
import json
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from propensity.clock import SYSTEM
from propensity.errors import MissingTable, RequestError, Unavailable
from propensity.online import table
from propensity.online.lookup import Lookups
from propensity.online.question import Question, read_question
from propensity.online.table import Table
from propensity.privacy.suppression import Suppressed, user_hash
from tests.clocks import ManualClock
from tests.propensity.online.shelf import (
    SETTINGS,
    TODAY,
    Shelf,
    names,
    open_shelf,
    prediction,
    until,
)

DAY = timedelta(days=1)


class TestCoalescing:
    async def test_reads_all_who_arrive_together_at_once(self):
        """Fifty requests of one moment are one read."""
        users = names(50)
        shelf, rows = open_shelf(*users)
        answers = await asyncio.gather(*(rows.find("c", [u]) for u in users))

        assert [answer[u] for u, answer in zip(users, answers, strict=True)] == [
            prediction(u) for u in users
        ]
        assert [sorted(read) for read in shelf.reads] == [sorted(users)]

    async def test_reads_a_user_whom_many_ask_for_once(self):
        """Requests for a user who is being read wait for that read."""
        shelf, rows = open_shelf("u", is_held=True)
        first = asyncio.create_task(rows.find("c", ["u"]))
        await until(shelf, 1)
        others = [asyncio.create_task(rows.find("c", ["u"])) for _ in range(99)]
        await asyncio.sleep(0.01)
        shelf.release()
        answers = await asyncio.gather(first, *others)

        assert answers == [{"u": prediction("u")}] * 100
        assert shelf.reads == [("u",)]

    async def test_puts_whoever_waits_into_the_next_read(self):
        """With all queries under way, what arrives is read together after them."""
        shelf, rows = open_shelf(is_held=True)
        tasks = []
        for number in range(table.CONCURRENT_QUERIES):
            tasks.append(asyncio.create_task(rows.find("c", [f"first.{number}"])))
            await until(shelf, number + 1)
        tasks += [asyncio.create_task(rows.find("c", [u])) for u in names(200)]
        await asyncio.sleep(0.01)
        shelf.release()
        await asyncio.gather(*tasks)

        assert len(shelf.reads) == table.CONCURRENT_QUERIES + 1
        assert sorted(shelf.reads[-1]) == sorted(names(200))
        assert shelf.most_at_once == table.CONCURRENT_QUERIES

    async def test_reads_a_thousand_users_at_most_at_a_time(self):
        """More than fit into one read are spread over several."""
        shelf, rows = open_shelf()
        await asyncio.gather(*(rows.find("c", [u]) for u in names(2_500)))

        assert sorted(map(len, shelf.reads)) == [500, 1_000, 1_000]

    async def test_keeps_use_cases_apart(self):
        """A read is of one use case, and so is a cached answer."""
        shelf, rows = open_shelf("u")
        await asyncio.gather(rows.find("a", ["u"]), rows.find("b", ["u"]))
        await rows.find("c", ["u"])

        assert shelf.reads == [("u",)] * 3

    async def test_asks_only_for_those_who_are_not_known(self):
        """Of a list, the cached are answered from the cache and the rest are read."""
        shelf, rows = open_shelf("a", "b")
        await rows.find("c", ["a"])
        answer = await rows.find("c", ["a", "b", "nobody", "b"])

        assert answer == {"a": prediction("a"), "b": prediction("b"), "nobody": None}
        assert shelf.reads == [("a",), ("b", "nobody")]


class TestFailures:
    async def test_fail_only_those_who_wait_for_them(self):
        """A failed read is told to those who wait for it; all others do not notice."""
        shelf, rows = open_shelf("a", "b", is_held=True)
        shelf.failure = MissingTable("gone")
        failing = [asyncio.create_task(rows.find("c", ["a"])) for _ in range(3)]
        await until(shelf, 1)
        shelf.failure = None
        fine = asyncio.create_task(rows.find("c", ["b"]))
        await until(shelf, 2)
        shelf.release()

        assert await fine == {"b": prediction("b")}
        results = await asyncio.gather(*failing, return_exceptions=True)
        assert [type(result) for result in results] == [MissingTable] * 3

    async def test_are_not_cached(self):
        """The next request after a failure reads again."""
        shelf, rows = open_shelf("u")
        shelf.failure = Unavailable("down")
        with pytest.raises(Unavailable):
            await rows.find("c", ["u"])
        shelf.failure = None

        assert await rows.find("c", ["u"]) == {"u": prediction("u")}

    async def test_of_a_client_that_goes_away_harm_nobody(self):
        """A cancelled request leaves the read to those who still wait for it."""
        shelf, rows = open_shelf("u", is_held=True)
        leaving, staying = (
            asyncio.create_task(rows.find("c", ["u"])) for _ in range(2)
        )
        await until(shelf, 1)
        leaving.cancel()
        shelf.release()

        assert await staying == {"u": prediction("u")}
        assert leaving.cancelled()
        assert await rows.find("c", ["u"]) == {"u": prediction("u")}
        assert shelf.reads == [("u",)]

    async def test_that_nobody_waits_for_any_more_are_silent(self):
        """A read that fails after its only client left disturbs nothing."""
        shelf, rows = open_shelf("u", is_held=True)
        shelf.failure = Unavailable("down")
        complaints = []
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: complaints.append(context)
        )
        leaving = asyncio.create_task(rows.find("c", ["u"]))
        await until(shelf, 1)
        leaving.cancel()
        shelf.failure = None
        shelf.release()

        assert await rows.find("c", ["v"]) == {"v": None}
        # A future complains of an unread error as it goes.
        del leaving
        gc.collect()
        assert complaints == []

    async def test_include_a_read_that_takes_too_long(self):
        """Nobody waits longer than the time limit; what is read late is still kept."""
        shelf, rows = open_shelf("u", is_held=True, deadline_s=1)
        with pytest.raises(Unavailable, match="within 1 s"):
            await rows.find("c", ["u"])
        shelf.release()

        assert await rows.find("c", ["u"]) == {"u": prediction("u")}
        assert shelf.reads == [("u",)]

    async def test_come_at_once_when_too_many_wait(self):
        """Beyond a bound of waiting users a request is refused, to be tried again."""
        shelf, rows = open_shelf(is_held=True)
        most = table.MAXIMUM_WAITING_USERS // 1_000 + table.CONCURRENT_QUERIES
        waiting = []
        for group in range(most):
            users = names(1_000, prefix=f"{group}")
            waiting.append(asyncio.create_task(rows.find("c", users)))
            await until(shelf, min(group + 1, table.CONCURRENT_QUERIES))
        await asyncio.sleep(0)
        with pytest.raises(Unavailable, match="too much"):
            await rows.find("c", ["one more"])
        shelf.release()

        assert len(await asyncio.gather(*waiting)) == len(waiting)


class TestCache:
    @pytest.mark.parametrize("user_id", ["known", "nobody"])
    async def test_answers_until_its_time_is_over(self, user_id):
        """Known and unknown users alike are read once in the time to live."""
        clock = ManualClock()
        shelf, rows = open_shelf("known", clock=clock)
        await rows.find("c", [user_id])
        clock.advance(299)
        await rows.find("c", [user_id])
        assert len(shelf.reads) == 1
        clock.advance(1)
        await rows.find("c", [user_id])

        assert len(shelf.reads) == 2

    async def test_counts_age_from_the_beginning_of_the_read(self):
        """A slow read is as old as its query, not as its answer."""
        clock = ManualClock()
        shelf, rows = open_shelf("u", is_held=True, clock=clock)
        first = asyncio.create_task(rows.find("c", ["u"]))
        await until(shelf, 1)
        clock.advance(200)
        shelf.release()
        await first
        clock.advance(100)
        await rows.find("c", ["u"])

        assert len(shelf.reads) == 2

    async def test_is_bounded(self, monkeypatch):
        """It holds so many users, and lets the oldest go."""
        monkeypatch.setattr(table, "KEPT_USERS", 2)
        shelf, rows = open_shelf()
        for user_id in ("a", "b", "c", "b", "c", "a"):
            await rows.find("c", [user_id])

        assert shelf.reads == [("a",), ("b",), ("c",), ("a",)]

    async def test_can_be_off(self):
        """Without a cache every request reads, and those of one moment still share."""
        shelf, rows = open_shelf("u", refresh_s=0)
        await asyncio.gather(*(rows.find("c", ["u"]) for _ in range(5)))
        await rows.find("c", ["u"])

        assert shelf.reads == [("u",), ("u",)]


TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=256)


async def answer_of(rows: Table, *user_ids: str, today=TODAY, **question: Any) -> Any:
    """The answer to a question, as it is sent."""
    asked = Question(user_ids, **{"use_case": None, "is_single": True, **question})
    return await Lookups(rows, SETTINGS).answer(asked, today=today)


class TestAnswer:
    @given(user_id=TEXT, probability=st.floats(0, 1))
    def test_is_json_whatever_the_user_is_called(self, user_id, probability):
        """The answer parses to exactly the fields of the contract, in their order."""
        shelf: Any = Shelf(user_id, probability=probability)
        rows = Table(lambda: shelf, SETTINGS, clock=SYSTEM.monotonic)
        answer = asyncio.run(answer_of(rows, user_id))

        assert list(json.loads(answer.body).items()) == [
            ("user_id", user_id),
            ("probability", probability),
            ("prediction_date", "2026-03-01"),
            ("model_version", 3),
            ("percentile", 71),
            ("stale", False),
        ]

    async def test_ages_while_it_is_cached(self):
        """Whether it is stale is decided by the day of the request, not of the read:
        once older than the days that are set, and not on the last."""
        _, rows = open_shelf("u")
        days = [TODAY + age * DAY for age in (0, 8, 9)]
        answers = [await answer_of(rows, "u", today=day) for day in days]

        stale = [json.loads(answer.body)["stale"] for answer in answers]
        assert stale == [False, False, True]

    async def test_of_a_suppressed_user_is_that_of_an_unknown_one(self):
        """In the use case that the list names; the table is not asked."""
        shelf, rows = open_shelf("u", "v")
        hidden = Suppressed("key", [("c", user_hash("key", "u"))])

        class Listed:
            async def current(self) -> Suppressed:
                return hidden

        listed: Any = Listed()
        lookups = Lookups(rows, SETTINGS, suppressed=listed)
        statuses = {}
        for use_case, user_id in (("c", "u"), ("c", "v"), ("d", "u")):
            question = Question([user_id], use_case, is_single=True)
            answer = await lookups.answer(question, today=TODAY)
            statuses[use_case, user_id] = answer.status_code

        assert statuses == {("c", "u"): 404, ("c", "v"): 200, ("d", "u"): 200}
        assert ("u",) in shelf.reads
        assert len(shelf.reads) == 2


def question_of(
    method: str = "GET",
    *,
    query_string: bytes = b"",
    body: bytes = b"",
    content_type: str = "application/json",
) -> Question:
    """Read a request as the server hands it over, its body in two parts."""
    parts = [body[: len(body) // 2], body[len(body) // 2 :]]

    async def receive() -> dict[str, object]:
        part = parts.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(parts)}

    scope = {
        "type": "http",
        "method": method,
        "path": "/",
        "query_string": query_string,
        "headers": [(b"content-type", content_type.encode())],
    }
    return asyncio.run(read_question(Request(scope, receive)))


class TestQuestion:
    @given(user_id=TEXT)
    def test_takes_any_text_for_a_user(self, user_id):
        """Percent-encoded in the address, or in JSON, a user id arrives as it was."""
        body = json.dumps({"user_ids": [user_id], "use_case": "card_fraud"}).encode()
        query_string = f"use_case=card_fraud&user_id={quote(user_id)}".encode()

        assert question_of(query_string=query_string) == Question(
            (user_id,), "card_fraud", is_single=True
        )
        assert question_of("POST", body=body) == Question(
            [user_id], "card_fraud", is_single=False
        )

    @given(query_string=st.binary(max_size=400))
    def test_refuses_what_it_cannot_read(self, query_string):
        """Any bytes are a question about one user or a RequestError, nothing else."""
        try:
            question = question_of(query_string=query_string)
        except RequestError:
            return

        assert len(question.user_ids) == 1

    @given(body=st.binary(max_size=400) | st.text().map(str.encode))
    def test_refuses_a_body_that_it_cannot_read(self, body):
        """Arbitrary bytes as a body are a RequestError and nothing else."""
        with pytest.raises(RequestError):
            question_of("POST", body=body)
