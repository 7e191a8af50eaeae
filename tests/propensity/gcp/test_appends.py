"""
Appends on one connection, in any order of answers, failures and callers who go away.

Against the emulator they are tested where they are used, by the functions.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import grpc
import pyarrow as pa
import pytest
from google.api_core.exceptions import ServiceUnavailable
from google.cloud.bigquery_storage_v1.types import AppendRowsResponse
from hypothesis import given
from hypothesis import strategies as st

from propensity import tables
from propensity.errors import Unavailable
from propensity.gcp.appends import RowsRefused, TableAppends
from tests.interleaving import Interleaved, arrive, interleaved, some_given_up

TABLE = tables.SUPPRESSED_USERS
SCHEMA = TABLE.arrow_schema()
SETTINGS: Any = SimpleNamespace(deadline_s=5, project="p", dataset="d")
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE.value[0]


def names(count: int) -> list[str]:
    return [f"row.{number}" for number in range(count)]


def row_of(name: str) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([{"use_case": name}], schema=SCHEMA)


class BigQuery:
    """
    The service's client: it answers in order, and breaks off now and then.

    Args:
        babbles: How probable it is that it says something that was not asked.
    """

    def __init__(self, loop: Interleaved, *, babbles: float = 0.0) -> None:
        self.taken: list[str] = []
        self._loop = loop
        self._babbles = babbles

    async def append_rows(self, requests: AsyncIterator[Any], **_: Any) -> Any:
        return self.answers(requests)

    def happens(self, probability: float) -> bool:
        return self._loop.draw.random() < probability

    async def answers(self, requests: AsyncIterator[Any]) -> Any:
        is_first = True
        async for request in requests:
            assert bool(request.write_stream) == is_first
            is_first = False
            if self.happens(0.05):
                raise ServiceUnavailable("gone")
            await asyncio.sleep(self._loop.a_while())
            if self.happens(0.05):
                return
            answer = AppendRowsResponse()
            serialized = request.arrow_rows.rows.serialized_record_batch
            rows = pa.ipc.read_record_batch(pa.py_buffer(serialized), SCHEMA)
            [name] = rows["use_case"].to_pylist()
            if self.happens(0.1):
                answer.error.code = UNAVAILABLE
            elif self.happens(0.1):
                answer.row_errors = [{"index": 0, "message": name}]
            else:
                self.taken.append(name)
            yield answer
            if self.happens(self._babbles):
                # Once whoever asked has been answered.
                await asyncio.sleep(0)
                yield answer


@pytest.mark.timeout(120)
@given(seed=st.integers(0, 2**32))
def test_are_each_told_their_own_and_in_time(seed):
    """Who is told that rows are durable, or refused, is told of their own."""

    async def scenario(loop: Interleaved) -> TableAppends:
        service: Any = BigQuery(loop)
        appends = TableAppends(service, SETTINGS, TABLE)

        async def append(name: str) -> None:
            await arrive(loop)
            arrived = loop.now
            outcome: Any = None
            try:
                await appends.append(row_of(name))
            except (RowsRefused, Unavailable) as error:
                outcome = error
            assert loop.now <= arrived + SETTINGS.deadline_s
            if outcome is None:
                assert service.taken.count(name) == 1
            elif isinstance(outcome, RowsRefused):
                assert (outcome.rows, name in service.taken) == ({0: name}, False)

        await some_given_up(loop, [append(name) for name in names(40)])
        return appends  # with its connection, which is open

    interleaved(scenario, seed)


def test_go_by_a_new_stream_where_bigquery_has_closed_an_idle_one():
    """Who sends the first rows after a pause does not notice."""
    streams: list[int] = []

    async def answers(requests: AsyncIterator[Any]) -> Any:
        streams.append(0)
        async for _request in requests:
            if streams == [1]:
                raise ServiceUnavailable("gone")
            streams[-1] += 1
            yield AppendRowsResponse()

    async def scenario() -> None:
        async def append_rows(requests: AsyncIterator[Any], **_: Any) -> Any:
            return answers(requests)

        service: Any = SimpleNamespace(append_rows=append_rows)
        appends = TableAppends(service, SETTINGS, TABLE)
        await appends.append(row_of("a"))
        await appends.append(row_of("b"))

    asyncio.run(scenario())
    assert streams == [1, 1]


@pytest.mark.timeout(120)
@given(seed=st.integers(0, 2**32))
def test_break_off_after_an_answer_to_nothing(seed):
    """From there on answers belong to no request; others go by a new connection."""

    async def scenario(loop: Interleaved) -> TableAppends:
        service: Any = BigQuery(loop, babbles=0.5)
        appends = TableAppends(service, SETTINGS, TABLE)
        durable = set()
        for name in names(20):
            with contextlib.suppress(Unavailable, RowsRefused):
                await appends.append(row_of(name))
                durable.add(name)
            # Time for whatever else it says.
            await asyncio.sleep(1)
        # What was taken as time ran out is there, too.
        assert durable <= {*service.taken}
        return appends

    interleaved(scenario, seed)
