"""
Rows through the Storage Write API: of a run all, once, or none; of the stream each
caller is answered for its own, whatever fails.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
from collections.abc import Callable, Iterator
from concurrent import futures
from types import SimpleNamespace
from typing import Any, Self

import grpc
import pyarrow as pa
import pytest
from google.cloud.bigquery_storage_v1.types import AppendRowsResponse

from local.processes import HOST
from propensity.errors import Unavailable
from propensity.gcp import writes
from propensity.gcp.warehouse import Warehouse
from propensity.gcp.writes import Appends
from propensity.settings import Settings
from propensity.tables.stream import SUPPRESSED_USERS
from tests.propensity.gcp.conftest import SCORES, counted, of_run

DOWN = grpc.StatusCode.UNAVAILABLE
ENDED = grpc.StatusCode.OK
UNLIMITED = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
]


@pytest.fixture
def warehouse(warehouse) -> Iterator[Warehouse]:
    """A dataset with a table that is empty before each test."""
    yield warehouse
    warehouse.execute("DELETE FROM ma_predictions_runs WHERE TRUE")


class Faulty(grpc.GenericRpcHandler):
    """
    Stands before the emulator, and fails as it is told.

    ``rule`` gets a method's name and how often it was called, and returns the status
    to fail with: before the call is forwarded or, with True, once it has been.
    """

    def __init__(
        self,
        settings: Settings,
        rule: Callable[[str, int], tuple[grpc.StatusCode, bool] | None],
    ) -> None:
        self._upstream = settings.bigquery_storage_endpoint
        self.rule = rule
        self.calls: dict[str, int] = {}

    def __enter__(self) -> Self:
        self._channel = grpc.insecure_channel(self._upstream, options=UNLIMITED)
        pool = futures.ThreadPoolExecutor(64)
        self._server = grpc.server(pool, handlers=[self], options=UNLIMITED)
        self.address = f"{HOST}:{self._server.add_insecure_port(f'{HOST}:0')}"
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(0).wait()
        self._channel.close()

    def service(self, details: Any) -> Any:
        """Return what serves a method."""
        answer = functools.partial(self.answer, details.method)
        return grpc.stream_stream_rpc_method_handler(answer)

    def answer(
        self, method: str, sent: Iterator[bytes], context: Any
    ) -> Iterator[bytes]:
        name = method.rpartition("/")[2]
        number = self.calls[name] = self.calls.get(name, 0) + 1
        status, was_done = self.rule(name, number) or (None, True)
        if not was_done:
            context.abort(status, f"Permission 'TABLES_UPDATE_DATA' {name}")
        if status is not None and name == "AppendRows":
            # One request arrives, and then the connection breaks, or ends. All might
            # be stored otherwise, before the client knows.
            sent = itertools.islice(sent, 1)
        routing = [
            pair
            for pair in context.invocation_metadata()
            if pair[0] == "x-goog-request-params"
        ]
        call = self._channel.stream_stream(method)(sent, metadata=routing)
        context.add_callback(call.cancel)
        try:
            if status is None or name == "AppendRows":
                yield from call
            else:
                list(call)
        except grpc.RpcError as error:
            context.abort(error.code(), error.details())
        if status not in {None, grpc.StatusCode.OK}:
            context.abort(status, "broken")


@pytest.fixture
def through(opened):
    """Open the warehouse behind a proxy."""

    def open_through(proxy: Faulty, **limits: int) -> Warehouse:
        address = proxy.address
        return opened(bigquery_storage_endpoint=address, deadline_s=10, **limits)

    return open_through


class TestRowsOfARun:
    def test_rows_of_a_run_go_in_requests_of_a_bounded_size(self):
        """BigQuery takes no more than 10 MB."""
        parts = [*writes.slices(of_run(200_000))]

        assert sum(map(len, parts)) == 200_000
        assert max(part.serialize().size for part in parts) < 3 * 1024**2

    @pytest.mark.parametrize(
        ("method", "failure"),
        [
            ("CreateWriteStream", (DOWN, True)),
            ("FinalizeWriteStream", (DOWN, True)),
            ("BatchCommitWriteStreams", (DOWN, False)),
            ("BatchCommitWriteStreams", (DOWN, True)),
            ("AppendRows", (DOWN, True)),
            ("AppendRows", (ENDED, True)),
        ],
    )
    def test_rows_of_many_requests_are_there_once_where_a_call_fails_once(
        self, settings, warehouse, through, method, failure
    ):
        """Done or not, it is sent again and adds no row twice. What was sent to a
        stream that broke, or ended, is never committed. An append of many requests is
        such a write."""

        def rule(name, number):
            return failure if (name, number) == (method, 1) else None

        with pytest.MonkeyPatch.context() as patch, Faulty(settings, rule) as proxy:
            patch.setattr(writes, "REQUEST_BYTES", 4_000)
            through(proxy).append(SCORES, of_run(1_000))

        assert proxy.calls[method] == 2
        assert counted(warehouse) == (1_000, 1_000)


@pytest.mark.parametrize("failure", [None, (DOWN, False), (DOWN, True)])
def test_rows_in_pieces_take_one_call_each(settings, warehouse, through, failure):
    """Such as what became of each request; after a failure they are sent again, and
    maybe there twice. Defect: each took four calls by a connection of its own."""
    with Faulty(settings, lambda _, n: failure if n == 1 else None) as proxy:
        for count in (10, 20):
            through(proxy).append(SCORES, of_run(count))

    assert proxy.calls == {"AppendRows": 2 if failure is None else 3}
    assert counted(warehouse) == (40 if failure == (DOWN, True) else 30, 20)


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
        self.appends = Appends(Settings(project="p", dataset="d", deadline_s=1))
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
