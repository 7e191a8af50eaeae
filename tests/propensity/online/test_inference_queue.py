"""The queue of the log's rows, in any order of answers, failures and ends."""

from __future__ import annotations

import asyncio

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from propensity import tables
from propensity.errors import Unavailable
from propensity.gcp.log import Counts
from propensity.gcp.writes import RowsRefused
from propensity.online.inference_queue import InferenceQueue
from propensity.registry.inference_log import Row
from tests.interleaving import Interleaved, arrive, interleaved

_COLUMNS = tables.INFERENCE_LOG.arrow_schema().names


def row_of(name: str) -> Row:
    fields = {"inference_id": name, "features": "{}"}
    return tuple(fields.get(column) for column in _COLUMNS)


@pytest.mark.timeout(120)
@given(seed=st.integers(0, 2**32))
def test_is_empty_once_the_last_request_has_ended(seed):
    """Who stops the server after its last request loses no row that a table takes."""
    stored: set[str] = set()
    refused: set[str] = set()

    async def scenario(loop: Interleaved) -> None:
        draw = loop.draw

        async def append(rows: pa.RecordBatch) -> None:
            await asyncio.sleep(loop.a_while())
            ids = rows["inference_id"].to_pylist()
            if draw.random() < 0.1:
                place = draw.randrange(len(ids))
                refused.add(ids[place])
                raise RowsRefused({place: "no"})
            if draw.random() < 0.3:
                raise draw.choice([Unavailable("no answer"), KeyError("what")])
            stored.update(ids)
            if draw.random() < 0.1:
                raise Unavailable("the answer was lost")

        queue = InferenceQueue(append, Counts("score"))

        async def request(number: int) -> None:
            await arrive(loop)
            await asyncio.sleep(loop.a_while())
            queue.add([row_of(f"{number}.{part}") for part in range(2)])
            await arrive(loop)
            await queue.settle()

        await asyncio.gather(*(request(number) for number in range(20)))

    interleaved(scenario, seed)
    assert stored | refused == {f"{n}.{part}" for n in range(20) for part in range(2)}
