"""
Rows through the Storage Write API: of a run all, once, or none; of the stream each
caller is answered for its own, whatever fails.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, Self

import grpc
import pyarrow as pa
import pytest
from google.api_core import exceptions as api
from google.cloud.bigquery_storage_v1.types import AppendRowsResponse

from propensity.errors import Unavailable
from propensity.gcp import writes
from propensity.gcp.writes import Appends
from propensity.settings import Settings
from propensity.tables.stream import SUPPRESSED_USERS
from tests.propensity.gcp.conftest import of_run

SETTINGS = Settings(project="p", dataset="d", deadline_s=1)


class Client:
    """Google's client, which fails at a method's first call: before it is done, or
    once it is."""

    def __init__(self, fails: str = "", *, is_done: bool = False) -> None:
        self.fails = fails
        self.is_done = is_done
        self.calls = Counter[str]()
        self.streams: dict[str, int] = {}
        self.rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def call(self, method: str, work: Callable[[], Any]) -> Any:
        self.calls[method] += 1
        if method != self.fails or self.calls[method] > 1:
            return work()
        if self.is_done:
            work()
        raise api.ServiceUnavailable("down")

    def create_write_stream(self, **_: Any) -> Any:
        name = f"stream {len(self.streams)}"
        self.call("create", lambda: self.streams.setdefault(name, 0))
        return SimpleNamespace(name=name)

    def append_rows(self, requests: Iterator[Any], **_: Any) -> Any:
        first, *others = requests
        count = 0
        for request in [first, *others]:
            rows = request.arrow_rows.rows.serialized_record_batch
            count += pa.ipc.read_record_batch(rows, of_run(1).schema).num_rows
        self.call("append", lambda: self.take(first.write_stream, count))
        return Answers(AppendRowsResponse() for _ in [first, *others])

    def take(self, stream: str, count: int) -> None:
        if stream.endswith("_default"):
            self.rows += count
        else:
            self.streams[stream] += count

    def finalize_write_stream(self, *, name: str, **_: Any) -> Any:
        self.call("finalize", lambda: None)
        return SimpleNamespace(row_count=self.streams[name])

    def batch_commit_write_streams(self, request: Any, retry: Any, **_: Any) -> Any:
        [name] = request.write_streams

        def commit() -> None:
            self.rows += self.streams.pop(name, 0)

        retry(self.call)("commit", commit)
        return SimpleNamespace(stream_errors=[])


class Answers(list[Any]):
    """Answers to requests."""

    def cancel(self) -> None:
        """End the call."""


def test_rows_of_a_run_go_in_requests_of_a_bounded_size():
    """BigQuery takes no more than 10 MB."""
    parts = [*writes.slices(of_run(200_000))]

    assert sum(map(len, parts)) == 200_000
    assert max(part.serialize().size for part in parts) < 3 * 1024**2


@pytest.mark.parametrize("method", ["create", "append", "finalize", "commit"])
@pytest.mark.parametrize("is_done", [True, False])
def test_rows_of_a_run_are_there_once_where_a_call_fails_once(
    method, is_done, monkeypatch
):
    """Done or not, it is sent again and adds no row twice: what was sent to a stream
    that broke is never committed. An append of many requests is such a write."""
    client = Client(method, is_done=is_done)
    monkeypatch.setattr(writes, "open_client", lambda *_: client)
    monkeypatch.setattr(writes, "REQUEST_BYTES", 4_000)
    writes.append(SETTINGS, "t", of_run(1_000))

    assert client.calls[method] == 2
    assert client.rows == 1_000


@pytest.mark.parametrize(("fails", "rows"), [("", 30), ("append", 40)])
def test_rows_in_pieces_take_one_call_each(fails, rows, monkeypatch):
    """Such as what became of each request; after a failure they are sent again, and
    maybe there twice."""
    client = Client(fails, is_done=True)
    monkeypatch.setattr(writes, "open_writer", lambda _: client)
    for count in (10, 20):
        writes.append(SETTINGS, "t", of_run(count))

    assert client.rows == rows
    assert client.calls == {"append": 3 if fails else 2}


# -- appends of the stream; against the emulator the functions' tests have them -------

TABLE = SUPPRESSED_USERS
SCHEMA = TABLE.arrow_schema()


class Call:
    """A connection, as ``grpc.aio`` has it: it answers each request in its turn."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._unanswered: list[list[str]] = []
        self.is_closed = False

    async def write(self, request: Any) -> None:
        if self.is_closed:
            raise asyncio.InvalidStateError
        sent = pa.py_buffer(request.arrow_rows.rows.serialized_record_batch)
        rows = pa.ipc.read_record_batch(sent, SCHEMA)
        self._unanswered.append(rows["use_case"].to_pylist())

    async def read(self) -> Any:
        while self._service.hangs:
            await asyncio.sleep(0.01)
        names = self._unanswered.pop(0)
        if "the last" in names:
            return grpc.aio.EOF
        wrong = [
            {"index": index, "message": name}
            for index, name in enumerate(names)
            if name.startswith("bad")
        ]
        if not wrong:
            self._service.taken += names
        return AppendRowsResponse(row_errors=wrong)

    def cancel(self) -> None:
        self.is_closed = True


class Service:
    """BigQuery as connections reach it, and appends to it."""

    def __init__(self) -> None:
        self.hangs = False
        self.taken: list[str] = []
        self.calls: list[Call] = []
        self.appends = Appends(SETTINGS)
        self.appends.__dict__["_client"] = SimpleNamespace(transport=self)

    def append_rows(self, **_: Any) -> Call:
        self.calls.append(Call(self))
        return self.calls[-1]

    async def append(self, *names: str) -> dict[int, str]:
        sent = [{"use_case": name} for name in names]
        rows = pa.RecordBatch.from_pylist(sent, schema=SCHEMA)
        return await self.appends.append(TABLE, rows)


async def test_appends_are_answered_for_their_own_rows():
    """Neither who is late nor who gives up nor who is refused leaves the next one
    a wrong answer; none of that takes longer than the deadline."""
    service = Service()
    service.hangs = True
    async with asyncio.timeout(10):
        with pytest.raises(Unavailable):
            await service.append("late")
    given_up = asyncio.create_task(service.append("given up"))
    await asyncio.sleep(0.05)
    given_up.cancel()
    await asyncio.sleep(0.05)
    service.hangs = False
    assert await service.append("d", "bad", "e", "bad too") == {1: "bad", 3: "bad too"}
    await asyncio.gather(*(service.append(name) for name in "abc"))
    with pytest.raises(Unavailable):
        await service.append("the last")

    assert sorted(service.taken) == ["a", "b", "c", "d", "e"]
    assert all(call.is_closed for call in service.calls[:2])
    # Who sends the first rows after a pause does not notice a closed connection.
    for call in service.calls:
        call.is_closed = True
    assert await service.append("f") == {}
