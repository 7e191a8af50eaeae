"""
Rows through the Storage Write API: of a run all, once, or none; of the stream each
caller is answered for its own, whatever fails.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import grpc
import pyarrow as pa
import pytest
from google.cloud.bigquery_storage_v1.types import AppendRowsResponse
from hypothesis import given
from hypothesis import strategies as st

from propensity.errors import AccessDenied, MissingTable, Unavailable
from propensity.gcp import writes
from propensity.gcp.appends import Appends
from propensity.gcp.warehouse import Warehouse
from propensity.gcp.writes import RowsRefused
from propensity.settings import Settings
from propensity.tables import every as tables
from tests.interleaving import Interleaved, arrive, interleaved, some_given_up
from tests.propensity.gcp.staging import SCORES, counted, of_run
from tests.proxy import GrpcProxy


@pytest.fixture
def warehouse(warehouse) -> Iterator[Warehouse]:
    """A dataset with a table that is empty before each test."""
    yield warehouse
    warehouse.execute("DELETE FROM ma_predictions_runs WHERE TRUE")


def failing(method, status):
    """A rule of the proxy: each call of a method fails, and never reaches BigQuery."""
    return lambda name, _: (status, False) if name == method else None


class Faulty(GrpcProxy):
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
        super().__init__({"/": settings.bigquery_storage_endpoint})
        self.rule = rule
        self.calls: dict[str, int] = {}

    def serve(
        self, method: str, sent: Iterator[bytes], context: Any
    ) -> Iterator[bytes]:
        name = method.rpartition("/")[2]
        number = self.calls[name] = self.calls.get(name, 0) + 1
        failure = self.rule(name, number)
        if failure and not failure[1]:
            context.abort(failure[0], f"Permission 'TABLES_UPDATE_DATA' {name}")
        answers = super().serve(method, sent, context)
        if failure is None:
            yield from answers
            return
        if name == "AppendRows":
            # One answer comes through, and then the connection breaks.
            yield next(answers)
            next(answers)
            if failure[0] is grpc.StatusCode.OK:
                return
        else:
            list(answers)
        context.abort(failure[0], "broken")


@pytest.fixture
def write_through(opened):
    """Write rows through a proxy."""

    def write(proxy: Faulty, rows: pa.Table) -> None:
        through = opened(bigquery_storage_endpoint=proxy.address, deadline_s=10)
        through.write(SCORES, rows)

    return write


class TestRowsOfARun:
    @pytest.mark.parametrize("count", [0, 30_000])
    def test_are_all_there(self, warehouse, count):
        """Many requests are one append; nothing to append is no error."""
        warehouse.write(SCORES, of_run(count))

        assert counted(warehouse) == (count, count)

    def test_go_in_requests_of_a_bounded_size(self):
        """BigQuery takes no more than 10 MB."""
        parts = [*writes.slices(of_run(200_000))]

        assert len(parts) > 2
        assert sum(map(len, parts)) == 200_000
        assert max(part.serialize().size for part in parts) < 3 * 1024**2

    def test_need_a_table(self, warehouse):
        """The error says what is missing."""
        with pytest.raises(MissingTable, match="no_such_table"):
            warehouse.write(replace(SCORES, name="no_such_table"), of_run(1))

    @pytest.mark.parametrize(
        "method",
        ["CreateWriteStream", "FinalizeWriteStream", "BatchCommitWriteStreams"],
    )
    @pytest.mark.parametrize("was_done", [False, True])
    def test_are_there_once_where_a_call_fails_once(
        self, settings, warehouse, write_through, method, was_done
    ):
        """Done or not, it is sent again and adds no row twice."""

        def rule(name, number):
            is_meant = name == method and number == 1
            return (grpc.StatusCode.UNAVAILABLE, was_done) if is_meant else None

        with Faulty(settings, rule) as proxy:
            write_through(proxy, of_run(100))

        assert proxy.calls[method] == 2
        assert counted(warehouse) == (100, 100)

    @pytest.mark.parametrize("status", ["UNAVAILABLE", "OK"])
    def test_are_there_once_where_the_connection_breaks(
        self, settings, warehouse, write_through, monkeypatch, status
    ):
        """Or ends. What was sent to a stream that broke is never committed."""
        monkeypatch.setattr(writes, "REQUEST_BYTES", 4_000)

        def rule(name, number):
            is_meant = name == "AppendRows" and number < 3
            return (grpc.StatusCode[status], True) if is_meant else None

        with Faulty(settings, rule) as proxy:
            write_through(proxy, of_run(1_000))

        assert counted(warehouse) == (1_000, 1_000)

    def test_are_given_up_after_the_time_of_a_query(
        self, settings, warehouse, write_through, monkeypatch
    ):
        """Nothing was committed."""
        monkeypatch.setattr(Settings, "query_timeout_s", 2)
        rule = failing("AppendRows", grpc.StatusCode.UNAVAILABLE)
        with Faulty(settings, rule) as proxy, pytest.raises(Unavailable):
            write_through(proxy, of_run(10))

        assert proxy.calls["AppendRows"] > 1
        assert counted(warehouse) == (0, 0)

    @pytest.mark.parametrize("method", ["CreateWriteStream", "AppendRows"])
    @pytest.mark.usefixtures("warehouse")
    def test_need_a_right_that_the_error_names(self, settings, write_through, method):
        """The first run of an account without it says what to grant."""
        rule = failing(method, grpc.StatusCode.PERMISSION_DENIED)
        with Faulty(settings, rule) as proxy, pytest.raises(AccessDenied) as caught:
            write_through(proxy, of_run(10))

        assert "bigquery.tables.updateData" in caught.value.message
        assert "ma_predictions_runs" in caught.value.message
        assert "deploy/setup.sh" in caught.value.message


# -- appends of the stream; against the emulator the functions' tests have them -------

TABLE = tables.SUPPRESSED_USERS
SCHEMA = TABLE.arrow_schema()
SETTINGS = Settings(project="p", dataset="d", deadline_s=5)
GONE = grpc.aio.AioRpcError(
    grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), "gone"
)


def row_of(name: str) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([{"use_case": name}], schema=SCHEMA)


class Service:
    """BigQuery as connections reach it, which break now and then."""

    def __init__(self, loop: Interleaved | None = None) -> None:
        self.taken: list[str] = []
        self.calls: list[Call] = []
        self.loop = loop

    def append_rows(self, **_: Any) -> Call:
        self.calls.append(Call(self))
        return self.calls[-1]

    def happens(self, probability: float) -> bool:
        return self.loop is not None and self.loop.draw.random() < probability

    async def passes(self) -> None:
        if self.loop is not None:
            await asyncio.sleep(self.loop.a_while())


class Call:
    """One connection, as ``grpc.aio`` has it."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._sent: list[Any] = []
        self._count = 0
        self.is_closed = False

    async def write(self, request: Any) -> None:
        if self.is_closed:
            raise asyncio.InvalidStateError
        assert bool(request.write_stream) == (self._count == 0)
        self._count += 1
        await self._service.passes()
        self._sent.append(request)

    async def read(self) -> Any:
        service = self._service
        if service.happens(0.05):
            raise GONE
        request = self._sent.pop(0)
        rows = request.arrow_rows.rows.serialized_record_batch
        [name] = pa.ipc.read_record_batch(pa.py_buffer(rows), SCHEMA)["use_case"]
        answer = AppendRowsResponse()
        if service.happens(0.1):
            answer.error.code = grpc.StatusCode.UNAVAILABLE.value[0]
        elif service.happens(0.1):
            answer.row_errors = [{"index": 0, "message": name.as_py()}]
        else:
            service.taken.append(name.as_py())
        await service.passes()
        return grpc.aio.EOF if service.happens(0.05) else answer

    def cancel(self) -> None:
        self.is_closed = True


def appends_of(service: Service) -> Appends:
    appends = Appends(SETTINGS)
    appends.__dict__["_client"] = SimpleNamespace(transport=service)
    return appends


class TestAppendsOfTheStream:
    @pytest.mark.timeout(120)
    @given(seed=st.integers(0, 2**32))
    def test_are_each_answered_for_their_own_rows_and_in_time(self, seed):
        """Who is told that rows are durable, or refused, is told of their own."""

        async def scenario(loop: Interleaved) -> Appends:
            service = Service(loop)
            appends = appends_of(service)

            async def append(name: str) -> None:
                await arrive(loop)
                arrived = loop.now
                outcome: Any = None
                try:
                    await appends.append(TABLE, row_of(name))
                except (RowsRefused, Unavailable) as error:
                    outcome = error
                assert loop.now <= arrived + SETTINGS.deadline_s
                if outcome is None:
                    assert name in service.taken
                elif isinstance(outcome, RowsRefused):
                    assert outcome.rows == {0: name}

            await some_given_up(loop, [append(f"row.{number}") for number in range(40)])
            return appends

        interleaved(scenario, seed)

    def test_go_by_a_new_connection_where_bigquery_has_closed_an_idle_one(self):
        """Who sends the first rows after a pause does not notice."""
        service = Service()
        appends = appends_of(service)

        async def scenario() -> None:
            await appends.append(TABLE, row_of("a"))
            await appends.append(TABLE, row_of("b"))
            service.calls[0].is_closed = True
            await appends.append(TABLE, row_of("c"))

        asyncio.run(scenario())
        assert service.taken == ["a", "b", "c"]
        assert len(service.calls) == 2
