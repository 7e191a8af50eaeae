"""Arrow batches appended to the BigQuery emulator's tables by the real client."""

from __future__ import annotations

import datetime
import queue
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import grpc
import pyarrow as pa
import pytest
from google.api_core.exceptions import InvalidArgument, NotFound
from google.cloud.bigquery_storage_v1 import types

from tests.local.emulators.bigquery.appended import (
    ID_AND_N,
    column,
    ids,
    requests,
    table,
    write_client,
)
from tests.local.emulators.bigquery.conftest import Emulator

# Fixtures.
__all__ = ["table"]

INVALID = grpc.StatusCode.INVALID_ARGUMENT.value[0]
MOMENT = datetime.datetime(2026, 3, 1, 10, 30, 0, 123456, tzinfo=datetime.UTC)
SMALLEST = Decimal("-99999999999999999999999999999.999999999")
EVERY_TYPE = pa.schema(
    [
        ("id", pa.string()),
        ("n", pa.int64()),
        ("f", pa.float64()),
        ("b", pa.bool_()),
        ("day", pa.date32()),
        ("at", pa.timestamp("us", "UTC")),
        ("amount", pa.decimal128(38, 9)),
        ("raw", pa.binary()),
        ("tags", pa.list_(pa.string())),
        ("place", pa.struct([("city", pa.string()), ("floor", pa.int64())])),
    ]
)


class TestRows:
    ROW = {
        "id": "a",
        "n": -(2**63),
        "f": float("inf"),
        "b": False,
        "day": MOMENT.date(),
        "at": MOMENT,
        "amount": SMALLEST,
        "raw": bytes(range(256)),
        "tags": ["x", "é\n"],
        "place": {"city": "Bath", "floor": 2},
    }

    def test_are_read_back_as_they_were(self, table):
        """A value of every type comes back by query and by the Storage Read API."""
        rows = [self.ROW, {"id": "b"}]
        [response] = table.append(
            pa.RecordBatch.from_pylist(rows, EVERY_TYPE),
        )
        empty = dict.fromkeys(EVERY_TYPE.names) | {"id": "b", "tags": []}

        by_query = [dict(row) for row in table.job("SELECT * FROM t").result()]
        by_storage = (
            table.job("SELECT * FROM t")
            .result()
            .to_arrow(bqstorage_client=table.read_client())
        )

        assert not response.error.message
        assert by_query == [self.ROW, empty]
        assert by_storage.to_pylist() == [self.ROW, empty]
        assert by_storage.schema.field("amount").type == pa.decimal128(38, 9)
        assert by_storage.schema.field("at").type == pa.timestamp("us", "UTC")

    def test_are_matched_by_the_names_of_columns(self, table):
        """In any order and case; a column that is left out is null, a list empty."""
        table.append(pa.RecordBatch.from_pydict({"N": [7], "ID": ["a"]}))

        assert table.rows("SELECT id, n, f, tags, ARRAY_LENGTH(tags) FROM t") == [
            ("a", 7, None, [], 0)
        ]

    def test_take_what_converts_without_loss_of_meaning(self, table):
        """Narrower integers, shorter decimals, other text and time units are taken."""
        columns = {
            "id": pa.array(["a"], pa.large_string()),
            "n": pa.array([1], pa.int8()),
            "at": pa.array([MOMENT], pa.timestamp("ms", "UTC")),
            "amount": pa.array([Decimal("1.25")], pa.decimal128(5, 2)),
            "raw": pa.array([b"x"], pa.large_binary()),
            "tags": pa.array([["x"]], pa.large_list(pa.string())),
            "f": pa.nulls(1),
        }
        table.append(pa.RecordBatch.from_arrays([*columns.values()], [*columns]))

        assert table.rows("SELECT id, n, at, amount, raw, tags, f FROM t") == [
            (
                *("a", 1, MOMENT.replace(microsecond=123000), Decimal("1.25"), b"x"),
                *(["x"], None),
            )
        ]

    def test_are_in_every_query_that_begins_after_the_answer(self, table):
        """The client may read at once what it was told is stored."""
        seen = []

        def batches():
            yield ids("first")
            yield ids("second")

        for _ in write_client(table.address).append_rows(
            requests(table.name, batches())
        ):
            seen.append(table.count() >= len(seen) + 1)

        assert seen == [True, True]

    def test_keep_the_order_of_their_stream(self, table):
        """Answers of pipelined requests come in order, each for its own batch."""
        batches = [ids(str(n), n=[n]) for n in range(40)]
        batches[7] = pa.RecordBatch.from_pydict({"id": [None], "n": [7]}, ID_AND_N)

        responses = table.append(*batches)

        refused = [n for n, response in enumerate(responses) if response.row_errors]
        assert refused == [7]
        assert table.rows("SELECT n FROM t ORDER BY n") == [
            (n,) for n in range(40) if n != 7
        ]

    def test_come_in_large_batches(self, table):
        """A hundred thousand rows are one request."""
        size = 100_000
        table.append(ids(*map(str, range(size)), n=list(range(size))))

        assert table.rows("SELECT COUNT(DISTINCT id), SUM(n) FROM t") == [
            (size, size * (size - 1) // 2)
        ]

    @pytest.mark.long
    def test_survive_a_kill_after_their_answer(self, tmp_path):
        """What was acknowledged is there after SIGKILL and a new start."""
        with Emulator(tmp_path) as emulator:
            warehouse = emulator.client()
            warehouse.create_dataset("d")
            warehouse.query("CREATE TABLE d.t (id STRING)").result()
            stream = "projects/propensity-local/datasets/d/tables/t/streams/_default"
            writer = write_client(emulator.storage_address)
            sent = requests(stream, (ids(f"{n}") for n in range(20)))
            for _ in writer.append_rows(sent):
                pass
            emulator.stop(signal.SIGKILL)

        with Emulator(tmp_path) as emulator:
            rows = emulator.client().query("SELECT id FROM d.t")
            assert {row.id for row in rows.result()} == {f"{n}" for n in range(20)}


class TestRefusals:
    @pytest.mark.parametrize(
        ("columns", "message"),
        [
            ({"n": column(pa.string(), "abc")}, "integer (bad value): abc"),
            (
                {"at": column(pa.string(), "yesterday")},
                "timestamp (bad value): yesterday",
            ),
            ({"at": column(pa.int64(), 5)}, "timestamp (bad value): 5"),
            ({"n": column(pa.list_(pa.int64()), [1])}, "integer (bad value): [1]"),
            ({"raw": column(pa.string(), "abc")}, "bytes (bad value): abc"),
            ({"f": column(pa.binary(), b"1")}, "float (bad value): 1"),
            ({"tags": column(pa.list_(pa.string()), ["x", None])}, "null element"),
            (
                {
                    "place": column(
                        pa.struct([("street", pa.string())]), {"street": "x"}
                    )
                },
                "no such field: place.street.",
            ),
            (
                {"amount": column(pa.decimal128(38, 0), Decimal(10) ** 30)},
                "numeric (bad value): 1" + 30 * "0",
            ),
        ],
    )
    def test_say_which_row_and_why(self, table, columns, message):
        """A row that the table cannot take comes back with its index and a reason."""
        columns = {"id": column(pa.string(), "a"), **columns}
        batch = pa.RecordBatch.from_arrays([*columns.values()], [*columns])

        [response] = table.append(batch)

        assert response.error.code == INVALID
        [error] = response.row_errors
        assert error.index == 0
        assert message in error.message
        assert table.count() == 0

    def test_of_a_column_that_the_table_lacks_look_at_no_row(self, table):
        """The schema is refused as a whole, and names what is too much."""
        batch = pa.RecordBatch.from_pydict({"id": ["a"], "nope": [1]})

        [response] = table.append(batch)

        assert response.error.code == INVALID
        assert "extra fields: 'nope'" in response.error.message
        assert not response.row_errors
        assert table.count() == 0

    @pytest.mark.parametrize("columns", [["n"], ["id", "n"]])
    def test_name_a_required_value_that_is_missing(self, table, columns):
        """A null, or no column at all, where the table demands a value is refused."""
        rows = [{"id": None, "n": 1}]
        batch = pa.RecordBatch.from_pylist(rows, ID_AND_N).select(columns)

        [response] = table.append(batch)

        assert [error.message for error in response.row_errors] == [
            "Missing required field: id."
        ]
        assert table.count() == 0

    def test_are_of_the_whole_request(self, table):
        """One bad row of a hundred refuses them all; only it is named."""
        batch = ids(*map(str, range(100)), n=[*["1"] * 60, "x", *["1"] * 39])

        [response] = table.append(batch)

        assert [error.index for error in response.row_errors] == [60]
        assert table.count() == 0

    def test_name_a_table_that_is_not_there(self, table):
        """NOT_FOUND, before the first append and after the table was dropped."""
        with pytest.raises(NotFound, match="nope"):
            table.append(ids("a"), stream=table.path("nope"))
        table.append(ids("a"))
        table.rows("DROP TABLE t")
        with pytest.raises(NotFound):
            table.append(ids("a"))

    def test_of_a_batch_that_cannot_be_read(self, table):
        """Bytes that are no batch, or that come without a schema, are INVALID."""

        def garbage(schema):
            data = types.AppendRowsRequest.ArrowData(
                rows=types.ArrowRecordBatch(serialized_record_batch=b"garbage")
            )
            data.writer_schema.serialized_schema = schema
            yield types.AppendRowsRequest(write_stream=table.name, arrow_rows=data)

        for schema in (b"", ID_AND_N.serialize().to_pybytes()):
            with pytest.raises(InvalidArgument):
                list(write_client(table.address).append_rows(garbage(schema)))


class TestTables:
    def test_may_change_between_requests(self, table):
        """A column that was added is taken; a table made anew is what it is now."""
        table.append(ids("a"))
        table.rows("ALTER TABLE t ADD COLUMN later STRING")
        table.append(ids("b", later=["x"]))
        assert table.rows("SELECT id, later FROM t ORDER BY id") == [
            ("a", None),
            ("b", "x"),
        ]

        table.rows("CREATE OR REPLACE TABLE t (id INT64)")
        [response] = table.append(ids("c"))
        assert "integer (bad value): c" in response.row_errors[0].message

    @pytest.mark.parametrize("is_default", [True, False])
    def test_tell_their_columns_to_whoever_asks_for_them(self, table, is_default):
        """Clients that append JSON ask the default stream: it is not created."""
        api = write_client(table.address)
        parent, _, _ = table.name.partition("/streams")
        created = api.create_write_stream(
            parent=parent, write_stream=types.WriteStream(type_="COMMITTED")
        )
        name = table.name if is_default else created.name

        def stream_of(view):
            request = types.GetWriteStreamRequest(name=name, view=view)
            return api.get_write_stream(request)

        assert stream_of("FULL").table_schema == created.table_schema
        assert len(created.table_schema.fields) == 10
        assert not stream_of("BASIC").table_schema.fields

    def test_have_streams_with_offsets_too(self, table):
        """A committed stream that was made takes a batch at its offset once."""
        writer = write_client(table.address)
        parent = table.name.removesuffix("/streams/_default")
        stream = writer.create_write_stream(
            parent=parent,
            write_stream=types.WriteStream(type_=types.WriteStream.Type.COMMITTED),
        )
        messages = [*requests(stream.name, [ids("a"), ids("b"), ids("b")])]
        for request, offset in zip(messages, (0, 1, 1), strict=True):
            request.offset = offset

        codes = [response.error.code for response in writer.append_rows(iter(messages))]

        assert codes == [0, 0, grpc.StatusCode.ALREADY_EXISTS.value[0]]
        assert table.rows("SELECT id FROM t ORDER BY id") == [("a",), ("b",)]

    def test_commit_pending_streams_together(self, table):
        """Batches for a pending stream are seen once it is committed."""
        writer = write_client(table.address)
        parent = table.name.removesuffix("/streams/_default")
        stream = writer.create_write_stream(
            parent=parent,
            write_stream=types.WriteStream(type_=types.WriteStream.Type.PENDING),
        )
        list(
            writer.append_rows(
                requests(stream.name, [ids("a", n=[1]), ids("b", n=[2])])
            )
        )
        before = table.count()
        writer.finalize_write_stream(name=stream.name)
        writer.batch_commit_write_streams(
            types.BatchCommitWriteStreamsRequest(
                parent=parent, write_streams=[stream.name]
            )
        )

        assert before == 0
        assert table.rows("SELECT id, n FROM t ORDER BY id") == [("a", 1), ("b", 2)]


class TestConnections:
    STREAMS, REQUESTS = 40, 10

    def test_may_be_many_and_stay_open(self, table):
        """Forty open streams hold up neither each other nor a read by storage."""
        opened = []
        for number in range(self.STREAMS):
            writer = write_client(table.address)
            opened.append(HeldOpen(writer, table.name, ids(f"{number}")))

        result = table.job("SELECT id FROM t").result()
        rows = result.to_arrow(bqstorage_client=table.read_client())
        for held in opened:
            held.append(ids("again"))
            held.close()

        assert rows.num_rows == self.STREAMS
        assert table.count() == 2 * self.STREAMS

    def test_store_every_row_once(self, table):
        """Forty streams and writing jobs at the same time lose and double nothing."""

        def stream(number):
            batches = [ids(f"{number}-{n}", n=[n]) for n in range(self.REQUESTS)]
            return [bool(response.error.message) for response in table.append(*batches)]

        def merge(number):
            table.rows(
                "MERGE t USING (SELECT 'job' AS id, 1 AS n) AS s ON t.id = s.id "
                "WHEN MATCHED THEN UPDATE SET n = t.n + 1 "
                "WHEN NOT MATCHED THEN INSERT (id, n) VALUES (s.id, s.n)"
            )

        with ThreadPoolExecutor(self.STREAMS + 2) as pool:
            jobs = [pool.submit(merge, number) for number in range(6)]
            failed = list(pool.map(stream, range(self.STREAMS)))
            for job in jobs:
                job.result()

        assert failed == [[False] * self.REQUESTS] * self.STREAMS
        rows = Counter(row_id for (row_id,) in table.rows("SELECT id FROM t"))
        assert rows == Counter(
            {
                "job": 1,
                **{
                    f"{number}-{n}": 1
                    for number in range(self.STREAMS)
                    for n in range(self.REQUESTS)
                },
            }
        )
        assert table.rows("SELECT n FROM t WHERE id = 'job'") == [(6,)]


class HeldOpen:
    """A stream that stays open between its requests."""

    def __init__(self, writer, stream, first):
        self._waiting = queue.SimpleQueue()
        self._waiting.put(first)
        sent = requests(stream, iter(self._waiting.get, None))
        self._responses = writer.append_rows(sent)  # has waited for the first answer
        assert not next(self._responses).error.message

    def append(self, batch):
        self._waiting.put(batch)
        assert not next(self._responses).error.message

    def close(self):
        self._waiting.put(None)
        assert list(self._responses) == []
