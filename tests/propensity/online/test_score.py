"""
Online scoring without HTTP: numbers to the last bit, batches, and the log's queue.

Models are tiny and real. ``Table`` is what is logged to: it can be held, and made to
fail. What the function does over HTTP is in ``functions/test_score.py``.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET
from sklearn.compose import make_column_transformer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from propensity import tables, usecases
from propensity.clock import SYSTEM
from propensity.edges.appends import RowsRefused
from propensity.edges.counts import Counts
from propensity.errors import RequestError, SchemaError, Unavailable
from propensity.models.scoring import Scorer
from propensity.online import batches, inference_queue
from propensity.online.batches import MicroBatches, Scores
from propensity.online.inference_queue import InferenceQueue
from propensity.online.instances import Instance, Layout
from propensity.online.score_answers import events_of, log_rows
from propensity.online.score_request import Question, Reader
from propensity.registry.inference_log import Row
from propensity.registry.loading import Serving
from propensity.registry.serving import ServingState

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
LATEST = NOW + timedelta(minutes=10)
CARDS = usecases.load("card_fraud")
PLAYERS = replace(
    usecases.load("first_day_churn"),
    features={"bet_count": "number", "country": "category", "age": "number"},
)
READER = Reader([CARDS, PLAYERS], default=PLAYERS.name, maximum_instances=3)
CARD = {name: float(place) for place, name in enumerate(CARDS.features)}
PLAYER = {"bet_count": 3, "country": "GB", "age": 35.5}


def read(given: Mapping[str, Any]) -> Question:
    """Read a question."""
    return READER.question(json.dumps(given).encode(), latest=LATEST)


class TestQuestions:
    @settings(deadline=None)
    @given(
        st.lists(
            st.floats(allow_nan=False, allow_infinity=False)
            | st.integers(-(10**30), 10**30),
            min_size=29,
            max_size=29,
        ),
        st.booleans(),
    )
    def test_keep_every_number_to_the_last_bit(self, values, as_texts):
        """What Python writes of a number is read as that number, as a text too."""
        given = dict(zip(CARDS.features, values, strict=True))
        if as_texts:
            given = {name: repr(value) for name, value in given.items()}

        [one] = read(given).instances

        assert list(one.numbers) == [float(value) for value in values]

    def test_have_a_latency_from_their_moment_on(self):
        """None of it is below zero: a moment after the score makes no sense."""
        [told] = read(CARD | {"ingest_ts": NOW.timestamp()}).instances
        [untold] = read(CARD).instances

        assert told.latency_ms(NOW + timedelta(seconds=2)) == 2_000
        assert told.latency_ms(NOW) == 0
        assert told.latency_ms(NOW - timedelta(milliseconds=1)) is None
        assert untold.latency_ms(NOW) is UNSET


# -- models ----------------------------------------------------------------------------

LAYOUT = Layout(PLAYERS)
COUNTS = Counts("score")


def serving(
    version: int, *, labels: Sequence[int] = (0, 0, 1, 1), model=None
) -> Serving:
    """Return a model of players, which takes no nulls."""
    frame = pd.DataFrame(
        {
            "bet_count": [1.0, 2.0, 8.0, 9.0],
            "country": pd.Series(["GB", "MT", "GB", "MT"], dtype="str"),
            "age": [20.0, 30.0, 40.0, 50.0],
        }
    )
    preprocessor = make_column_transformer(
        (StandardScaler(), ["bet_count", "age"]),
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["country"]),
    )
    fitted = (LogisticRegression() if model is None else model).fit(
        preprocessor.fit_transform(frame), labels
    )
    scorer = Scorer.compile(preprocessor, fitted, features=dict(PLAYERS.features))
    return Serving(version=version, scorer=scorer, metadata={})


FIRST, SECOND = serving(1), serving(2, labels=(1, 1, 0, 0))
STATE = ServingState(champion=FIRST, shadow=None, epoch=5)


def player(bets: float, *, age: float = 30.0) -> Instance:
    """Return a player to be scored."""
    nulls = ["age"] if math.isnan(age) else []
    return Instance([bets, age], ["GB"], nulls)


def alone(one: Instance, by: Serving = FIRST) -> float:
    """Return what a version says of a player."""
    return float(by.scorer.probabilities(LAYOUT.rows([one]))[0])


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a test's coroutine in a loop of its own."""
    return asyncio.run(coroutine)


class Groups(MicroBatches):
    """Batches whose groups are looked at: how many instances each had."""

    def __init__(self, *, linger_s: float = 30.0) -> None:
        super().__init__(Counts("score"), clock=SYSTEM, linger_s=linger_s)

    @property
    def begun(self) -> int:
        """How many groups there were."""
        return self._counts._counts["groups"]

    async def one(self, bets: float, state: ServingState = STATE) -> Scores:
        """Score a player."""
        return await self.score(LAYOUT, state, [player(bets)], [""])


class TestMicroBatches:
    def test_score_at_once_what_comes_alone(self):
        """One caller, one question after the other: nobody is waited for, or this would
        take minutes."""

        async def ask() -> int:
            groups = Groups()
            for bets in range(5):
                found = await groups.one(bets)
                assert found.values == [alone(player(bets))]
            return groups.begun

        assert run(ask()) == 5

    def test_score_together_what_comes_together(self):
        """Questions that wait at the same time are one call."""

        async def ask() -> int:
            groups = Groups()
            found = await asyncio.gather(*(groups.one(bets) for bets in range(40)))
            assert [one.values for one in found] == [
                [pytest.approx(alone(player(bets)), abs=1e-12)] for bets in range(40)
            ]
            return groups.begun

        assert run(ask()) == 1

    def test_wait_for_as_many_as_came_before(self):
        """After a group of two the next waits for two."""

        async def ask() -> int:
            groups = Groups()
            await asyncio.gather(groups.one(1), groups.one(2))
            first = asyncio.create_task(groups.one(3))
            for _ in range(10):
                await asyncio.sleep(0)
            assert not first.done()
            await groups.one(4)
            await first
            return groups.begun

        assert run(ask()) == 2

    def test_wait_no_longer_than_they_may(self):
        """Whoever came before may not come again."""

        async def ask() -> int:
            groups = Groups(linger_s=0.01)
            await asyncio.gather(groups.one(1), groups.one(2))
            await groups.one(3)
            await groups.one(4)
            return groups.begun

        assert run(ask()) == 3

    def test_give_each_answer_one_version(self):
        """Questions that meet on the way to another version are scored by their own."""
        other = ServingState(champion=SECOND, shadow=FIRST, epoch=6)

        async def ask() -> list[Scores]:
            groups = Groups()
            standings = [STATE, other, STATE, other]
            return await asyncio.gather(
                *(
                    groups.score(LAYOUT, one, [player(1), player(9)], ["", ""])
                    for one in standings
                )
            )

        found = run(ask())

        for one, state in zip(found, [STATE, other] * 2, strict=True):
            assert one.state is state
            assert one.values == pytest.approx(
                [alone(player(bets), state.champion) for bets in (1, 9)], abs=1e-12
            )
        assert found[0].shadow is None
        assert found[1].shadow == pytest.approx([alone(player(1)), alone(player(9))])

    def test_fail_for_one_version_alone(self):
        """A version that breaks fails those that asked for it, and leaves nobody
        waiting."""

        async def ask() -> list[Any]:
            groups = Groups()
            return await asyncio.gather(
                groups.one(1, broken), groups.one(2), return_exceptions=True
            )

        broken = ServingState(
            champion=replace(FIRST, version=9, scorer=None), shadow=None, epoch=9
        )

        failed, other = run(ask())

        assert isinstance(failed, AttributeError)
        assert other.values == [alone(player(2))]

    def test_refuse_a_null_that_nothing_fills(self):
        """Only the question that has it; the field is named."""

        async def ask() -> list[Any]:
            groups = Groups()
            return await asyncio.gather(
                groups.one(1),
                groups.score(
                    LAYOUT,
                    STATE,
                    [player(1), player(2, age=math.nan)],
                    ["instances[0].", "instances[1]."],
                ),
                groups.one(2),
                return_exceptions=True,
            )

        first, second, third = run(ask())

        assert first.values == [alone(player(1))]
        assert isinstance(second, RequestError)
        assert second.field == "instances[1].age"
        assert third.values == [alone(player(2))]

    def test_refuse_what_a_model_cannot_compute_with(self):
        """Only the question that has it; its number farthest from 0 is named."""

        async def ask() -> list[Any]:
            groups = Groups()
            huge = [player(1), player(2, age=1e300), player(3)]
            return await asyncio.gather(
                groups.score(LAYOUT, state, huge, ["a.", "b.", "c."]),
                groups.one(1, state),
                return_exceptions=True,
            )

        # Trees of this kind read single precision, in which this is infinite.
        trees = serving(3, model=GradientBoostingClassifier(n_estimators=2))
        state = ServingState(champion=trees, shadow=None, epoch=7)

        refused, other = run(ask())

        assert isinstance(refused, RequestError)
        assert refused.field == "b.age"
        assert other.values == [alone(player(1), trees)]

    def test_answer_although_a_shadow_fails(self, capsys):
        """A shadow that takes no such value is told of in the log, and in no answer."""
        trees = serving(3, model=GradientBoostingClassifier(n_estimators=2))
        state = ServingState(champion=FIRST, shadow=trees, epoch=7)

        async def ask() -> Scores:
            given = [player(2, age=1e300)]
            return await Groups().score(LAYOUT, state, given, [""])

        found = run(ask())

        assert found.shadow is None
        assert found.values == [alone(player(2, age=1e300))]
        assert json.loads(capsys.readouterr().out)["severity"] == "ERROR"

    def test_score_many_instances_off_the_event_loop(self, monkeypatch):
        """A long list holds nobody up; those behind it are answered after it."""
        monkeypatch.setattr(batches, "THREAD_INSTANCES", 10)

        async def ask() -> list[Scores]:
            groups = Groups()
            many = [player(bets) for bets in range(300)]
            return await asyncio.gather(
                groups.score(LAYOUT, STATE, many, [""] * 300), groups.one(7)
            )

        many, one = run(ask())

        wanted = FIRST.scorer.probabilities(
            LAYOUT.rows([player(b) for b in range(300)])
        )
        np.testing.assert_allclose(many.values, wanted, rtol=0, atol=1e-12)
        assert one.values == [pytest.approx(alone(player(7)), abs=1e-12)]

    def test_pass_over_who_has_gone(self):
        """A request that was given up is not scored, and harms no other."""

        async def ask() -> Scores:
            groups = Groups()
            gone = asyncio.create_task(groups.one(1))
            other = asyncio.create_task(groups.one(2))
            await asyncio.sleep(0)
            gone.cancel()
            return await other

        assert run(ask()).values == [alone(player(2))]


# -- the log ---------------------------------------------------------------------------


class Table:
    """Takes rows of the log, unless it is told to fail."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.failures: list[Exception] = []
        self.appends = 0
        self.log = InferenceQueue(self.append, Counts("score"))

    async def append(self, rows: pa.RecordBatch) -> None:
        self.appends += 1
        assert rows.schema == tables.INFERENCE_LOG.arrow_schema()
        if self.failures:
            raise self.failures.pop(0)
        self.rows += rows.to_pylist()


def scored_rows(
    ids: Sequence[str], *, shadow: bool = False, value: float = 0.25
) -> list[Row]:
    """Return rows of the log of players with these identities."""
    question = read({"features": PLAYER | {"event_id": ids[0]}})
    state = replace(STATE, shadow=SECOND if shadow else None)
    values = [value] * len(ids)
    events = events_of(
        question,
        LAYOUT,
        [question.instances[0]] * len(ids),
        event_ids=ids,
        latencies_ms=[1.5] * len(ids),
        at=NOW,
    )
    return log_rows(
        PLAYERS,
        events,
        Scores(state, values, values if shadow else None, NOW),
        ids=events.inference_ids(PLAYERS, 1),
    )


@pytest.fixture(autouse=True)
def _quick(monkeypatch) -> None:
    """Pauses that a test need not wait for are short."""
    monkeypatch.setattr(inference_queue, "LINGER_S", 0.001)
    monkeypatch.setattr(inference_queue, "RETRY_S", 0.001)


class TestLog:
    def test_is_written_in_groups_behind_the_answers(self):
        """Everything once, in few appends."""

        async def fill() -> Table:
            table = Table()
            for place in range(1_200):
                table.log.add(scored_rows([f"e{place}"]))
            assert table.appends == 0
            await table.log.settle()
            return table

        table = run(fill())

        assert [row["event_id"] for row in table.rows] == [
            f"e{n}" for n in range(1_200)
        ]
        assert table.appends == 3
        assert table.log.waiting == 0

    @pytest.mark.parametrize(
        "error", [Unavailable("down"), SchemaError("no"), KeyError("what")]
    )
    def test_is_written_again_until_it_is_taken(self, error, capsys):
        """Whatever an append fails with, nothing of it is let go."""

        async def fill() -> Table:
            table = Table()
            table.failures = [error] * 3
            table.log.add(scored_rows(["a", "b"]))
            await table.log.settle()
            return table

        table = run(fill())

        assert [row["event_id"] for row in table.rows] == ["a", "b"]
        assert table.appends == 4
        assert capsys.readouterr().out.count("not logged yet") == 3

    def test_goes_without_rows_that_no_table_takes(self, capsys):
        """The others are written; how many were lost is an error in the log."""

        async def fill() -> Table:
            table = Table()
            table.failures = [RowsRefused({1: "too long"})]
            table.log.add(scored_rows(["a", "b", "c"]))
            await table.log.settle()
            return table

        table = run(fill())

        assert [row["event_id"] for row in table.rows] == ["a", "c"]
        assert "refuses 1 rows" in capsys.readouterr().out

    def test_has_room_for_so_much(self, monkeypatch):
        """Beyond, nothing is taken until something was written; what was reserved and
        not used is given back."""
        monkeypatch.setattr(inference_queue, "WAITING_ROWS", 5)

        async def fill() -> Table:
            table = Table()
            table.log.reserve(3)
            with pytest.raises(Unavailable):
                table.log.reserve(3)
            table.log.release(3)
            table.log.add(scored_rows(["a", "b", "c"]))
            with pytest.raises(Unavailable):
                table.log.reserve(3)
            await table.log.settle()
            table.log.reserve(5)
            return table

        assert run(fill()).log.waiting == 5

    def test_has_room_for_so_many_bytes(self, monkeypatch):
        """Long texts fill it too."""
        monkeypatch.setattr(inference_queue, "WAITING_BYTES", 2_000)

        async def fill() -> None:
            table = Table()
            table.log.add(scored_rows(["a", "b", "c"]))
            with pytest.raises(Unavailable):
                table.log.reserve(1)
            await table.log.settle()
            table.log.reserve(1)

        run(fill())

    def test_is_held_by_one_answer_at_a_time(self):
        """So many requests, and one of them waits for the log on behalf of all."""

        async def fill() -> tuple[bool, bool, bool]:
            table = Table()
            table.log.add(scored_rows(["a"]))
            first = table.log.background()
            assert first is not None
            holding = asyncio.create_task(first())
            await asyncio.sleep(0)
            second = table.log.background()
            await holding
            return second is None, table.log.background() is not None, bool(table.rows)

        assert run(fill()) == (True, True, True)
