"""
Rows through the Storage Write API: of a run all, once, or none; of the stream in any
order of answers, failures and callers who go away.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import grpc
import pyarrow as pa
import pytest
from google.api_core.exceptions import ServiceUnavailable
from google.cloud.bigquery_storage_v1.types import AppendRowsResponse
from hypothesis import given
from hypothesis import strategies as st

from propensity.errors import AccessDenied, MissingTable, SchemaError, Unavailable
from propensity.gcp import writes
from propensity.gcp.warehouse import Warehouse
from propensity.gcp.writes import RowsRefused, TableAppends
from propensity.settings import Settings
from propensity.tables import every as tables
from tests.interleaving import Interleaved, arrive, interleaved, some_given_up
from tests.propensity.gcp.staging import SCORES, staged
from tests.proxy import GrpcProxy


@pytest.fixture
def warehouse(warehouse) -> Iterator[Warehouse]:
    """A dataset with a staging table that is empty before each test."""
    yield warehouse
    warehouse.execute("DELETE FROM ma_predictions_runs WHERE TRUE")


def of_run(users: int) -> pa.Table:
    """Rows of a run of so many users."""
    return staged(**{f"u{number}": 0.5 for number in range(users)})


def counted(warehouse: Warehouse) -> tuple[int, int]:
    """How many rows there are, and of how many users."""
    [row] = warehouse.rows(
        "SELECT COUNT(*) AS n, COUNT(DISTINCT user_id) AS users "
        "FROM ma_predictions_runs"
    )
    return row["n"], row["users"]


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


class TestRows:
    def test_are_all_there(self, warehouse):
        """In any order of columns; many requests are one append."""
        rows = of_run(30_000)
        rows = rows.select(rows.column_names[::-1])
        warehouse.write(SCORES, rows)

        assert counted(warehouse) == (30_000, 30_000)

    def test_may_be_none(self, warehouse):
        """Nothing to append is no error."""
        warehouse.write(SCORES, of_run(0))

        assert counted(warehouse) == (0, 0)

    def test_go_in_requests_of_a_bounded_size(self):
        """BigQuery takes no more than 10 MB."""
        rows = of_run(200_000)
        parts = writes.slices(rows)

        assert len(parts) > 2
        assert sum(map(len, parts)) == 200_000
        assert max(part.serialize().size for part in parts) < 3 * 1024**2

    def test_of_other_columns_are_refused(self, warehouse):
        """Tables are contracts: what does not fit is not sent."""
        with pytest.raises(SchemaError, match="ma_predictions_runs"):
            warehouse.write(SCORES, of_run(1).drop_columns("run_id"))

    def test_need_a_table(self, warehouse):
        """The error says what is missing."""
        with pytest.raises(MissingTable):
            warehouse.write(replace(SCORES, name="no_such_table"), of_run(1))


class TestFailures:
    @pytest.mark.parametrize(
        "method",
        ["CreateWriteStream", "FinalizeWriteStream", "BatchCommitWriteStreams"],
    )
    @pytest.mark.parametrize("was_done", [False, True])
    def test_that_pass_are_not_seen(
        self, settings, warehouse, write_through, method, was_done
    ):
        """A call that fails once, done or not, is sent again and adds no row twice."""

        def rule(name, number):
            is_meant = name == method and number == 1
            return (grpc.StatusCode.UNAVAILABLE, was_done) if is_meant else None

        with Faulty(settings, rule) as proxy:
            write_through(proxy, of_run(100))

        assert proxy.calls[method] == 2
        assert counted(warehouse) == (100, 100)

    def test_of_the_connection_add_no_row_twice(
        self, settings, warehouse, write_through, monkeypatch
    ):
        """What was sent to a stream that broke is never committed."""
        monkeypatch.setattr(writes, "REQUEST_BYTES", 4_000)

        def rule(name, number):
            is_meant = name == "AppendRows" and number < 3
            return (grpc.StatusCode.UNAVAILABLE, True) if is_meant else None

        with Faulty(settings, rule) as proxy:
            write_through(proxy, of_run(1_000))

        assert proxy.calls["AppendRows"] == 3
        assert counted(warehouse) == (1_000, 1_000)

    def test_that_stay_are_told(self, settings, warehouse, write_through):
        """After some tries; nothing was committed."""
        with (
            Faulty(
                settings, failing("AppendRows", grpc.StatusCode.UNAVAILABLE)
            ) as proxy,
            pytest.raises(Unavailable, match="did not take rows"),
        ):
            write_through(proxy, of_run(10))

        assert counted(warehouse) == (0, 0)

    @pytest.mark.parametrize("method", ["CreateWriteStream", "AppendRows"])
    @pytest.mark.usefixtures("warehouse")
    def test_of_rights_name_the_permission(self, settings, write_through, method):
        """The first run of an account without it says what to grant."""
        with (
            Faulty(
                settings, failing(method, grpc.StatusCode.PERMISSION_DENIED)
            ) as proxy,
            pytest.raises(AccessDenied) as caught,
        ):
            write_through(proxy, of_run(10))

        assert "bigquery.tables.updateData" in caught.value.message
        assert "ma_predictions_runs" in caught.value.message
        assert "deploy/setup.sh" in caught.value.message


# -- appends of the stream; against the emulator the functions' tests have them -------

TABLE = tables.SUPPRESSED_USERS
SCHEMA = TABLE.arrow_schema()
LIMITS: Any = SimpleNamespace(deadline_s=5, project="p", dataset="d")


def row_of(name: str) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([{"use_case": name}], schema=SCHEMA)


class Service:
    """BigQuery's client: it answers in order, and breaks off now and then."""

    def __init__(self, loop: Interleaved) -> None:
        self.taken: list[str] = []
        self._loop = loop

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
                answer.error.code = grpc.StatusCode.UNAVAILABLE.value[0]
            elif self.happens(0.1):
                answer.row_errors = [{"index": 0, "message": name}]
            else:
                self.taken.append(name)
            yield answer


class TestAppends:
    @pytest.mark.timeout(120)
    @given(seed=st.integers(0, 2**32))
    def test_are_each_answered_for_their_own_rows_and_in_time(self, seed):
        """Who is told that rows are durable, or refused, is told of their own."""

        async def scenario(loop: Interleaved) -> TableAppends:
            service: Any = Service(loop)
            appends = TableAppends(service, LIMITS, TABLE)

            async def append(name: str) -> None:
                await arrive(loop)
                arrived = loop.now
                outcome: Any = None
                try:
                    await appends.append(row_of(name))
                except (RowsRefused, Unavailable) as error:
                    outcome = error
                assert loop.now <= arrived + LIMITS.deadline_s
                if outcome is None:
                    assert service.taken.count(name) == 1
                elif isinstance(outcome, RowsRefused):
                    assert (outcome.rows, name in service.taken) == ({0: name}, False)

            await some_given_up(loop, [append(f"row.{number}") for number in range(40)])
            return appends  # with its connection, which is open

        interleaved(scenario, seed)

    def test_go_by_a_new_stream_where_bigquery_has_closed_an_idle_one(self):
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
            appends = TableAppends(service, LIMITS, TABLE)
            await appends.append(row_of("a"))
            await appends.append(row_of("b"))

        asyncio.run(scenario())
        assert streams == [1, 1]
