"""
In the place of Google Cloud, in the same process: what 01-Predictions talks to.

An HTTP transport answers as BigQuery and Cloud Storage do, a read stream hands out
serialized Arrow batches of users, a write stream reads what it gets.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import cycle, islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import joblib
import numpy as np
import pyarrow as pa
import requests
from google.cloud.bigquery_storage_v1 import reader
from google.cloud.bigquery_storage_v1.types import (
    AppendRowsRequest,
    AppendRowsResponse,
    ArrowRecordBatch,
    ArrowSchema,
    BatchCommitWriteStreamsResponse,
    FinalizeWriteStreamResponse,
    ReadRowsResponse,
    ReadSession,
    ReadStream,
    WriteStream,
)
from requests.adapters import BaseAdapter

from propensity import usecases
from propensity.edges.artifacts import Artifacts
from propensity.settings import Settings
from propensity.statements import statement
from propensity.usecases import CATEGORY

USE_CASE = "ga4_purchase"
# The export, whose days are all there.
EXPORT, EXPORT_DAYS = "analytics_1", 90
# Rows of a message of the read stream: BigQuery sends about a MiB.
BATCH_ROWS = 4_000
DISTINCT_BATCHES = 16
NOW = datetime(2026, 3, 2, 15, tzinfo=UTC)
# Statements that change something, or find nothing.
UNANSWERED = (
    *("level_differences", "drift_before", "clear_replaced_drift"),
    *("publish_predictions", "record_publication", "clear_staged_predictions"),
)


def _export(path: str) -> dict[str, Any]:
    """Return the export, the list of its daily tables, or one of them."""
    place = {"projectId": "benchmark", "datasetId": EXPORT}
    if not path:
        return {"datasetReference": place, "location": "US"}
    days = (NOW.date() - timedelta(days=n) for n in range(EXPORT_DAYS))
    names = [f"events_{day:%Y%m%d}" for day in days]
    if path == "/tables":
        return {"tables": [{"tableReference": {**place, "tableId": n}} for n in names]}
    return {
        "tableReference": {**place, "tableId": path.removeprefix("/tables/")},
        "numRows": "1000",
    }


class Cloud(BaseAdapter):
    """BigQuery's REST API as 01 uses it: queries, and the list of suppressed users."""

    def __init__(self, users: int) -> None:
        super().__init__()
        self.users = users
        self._queries: dict[str, str] = {}

    def send(self, request: Any, *_: Any, **__: Any) -> requests.Response:
        """Answer a request."""
        path = urlsplit(request.url).path
        if request.method == "POST" and path.endswith("/jobs"):
            return self._started(request)
        if "/queries/" in path:
            return self._answered(path.rpartition("/")[2])
        if f"/datasets/{EXPORT}" in path:
            return _response(request, _export(path.rpartition(f"/{EXPORT}")[2]))
        if "/jobs/" in path:
            name = path.rpartition("/")[2]
            return _response(request, self._job(name, {"query": {}}))
        if path.endswith("/suppressed_users/data"):
            return _response(request, {"totalRows": "0", "rows": []})
        if request.method == "DELETE":
            return _response(request, {}, status=404)
        raise LookupError(f"nothing answers {request.method} {path}")

    def close(self) -> None:
        """Nothing is open."""

    def _started(self, request: Any) -> requests.Response:
        body = json.loads(request.body)
        name = body["jobReference"]["jobId"]
        self._queries[name] = body["configuration"]["query"]["query"]
        return _response(request, self._job(name, body["configuration"]))

    def _job(self, name: str, configuration: dict[str, Any]) -> dict[str, Any]:
        place = {"projectId": "benchmark", "datasetId": "d", "tableId": "answer"}
        configuration.setdefault("query", {})["destinationTable"] = place
        return {
            "jobReference": {"projectId": "benchmark", "jobId": name, "location": "US"},
            "configuration": configuration,
            "status": {"state": "DONE"},
            "statistics": {
                "query": {"totalBytesBilled": "0", "statementType": "SELECT"}
            },
        }

    def _answered(self, name: str) -> requests.Response:
        rows, fields = self.answer(self._queries[name])
        more = {"pageToken": "more"} if rows is None else {}
        return _response(
            None,
            {
                **more,
                "jobComplete": True,
                "jobReference": {"projectId": "benchmark", "jobId": name},
                "schema": {"fields": fields},
                "totalRows": str(self.users if rows is None else len(rows)),
                "rows": [{"f": [{"v": value} for value in row]} for row in rows or ()],
            },
        )

    def answer(self, sql: str) -> tuple[list[list[Any]] | None, list[dict[str, str]]]:
        """Return the rows of a statement, None for as many as there are users."""
        use_case = usecases.load(USE_CASE)
        if sql == use_case.statement("features"):
            kinds = {"as_of": "DATE", "user_id": "STRING"} | {
                name: "STRING" if kind == CATEGORY else "FLOAT"
                for name, kind in use_case.features.items()
            }
            return None, [{"name": name, "type": kind} for name, kind in kinds.items()]
        if sql == statement("evaluation_exists"):
            return _row(evaluations=("1", "INTEGER"))
        if sql == statement("model_metadata"):
            chosen = use_case.chosen(Settings(project="benchmark"))
            return _row(
                model_version=("0", "INTEGER"),
                as_of=("2026-02-01", "DATE"),
                features=(json.dumps(dict(use_case.features)), "STRING"),
                statement_parameters=(json.dumps(chosen), "STRING"),
            )
        if sql == statement("season_weeks"):
            return _row(
                week=("2026-02-23", "DATE"),
                model_version=("0", "INTEGER"),
                log_odds=("0.2", "FLOAT"),
                standard_error=("0.02", "FLOAT"),
                conversions=("3000", "INTEGER"),
                users=("50000", "INTEGER"),
                is_final=("false", "BOOLEAN"),
                late=(None, "FLOAT"),
            )
        if sql in (statement("staged_quantiles"), statement("published_quantiles")):
            values = [{"v": str(value)} for value in np.linspace(0, 1, 101)]
            rows, fields = _row(
                quantiles=(values, "FLOAT"),
                users=(str(self.users), "INTEGER"),
                repeated=("0", "INTEGER"),
                as_of=("2026-02-23", "DATE"),
                log_odds_shift=(None, "FLOAT"),
            )
            fields[0]["mode"] = "REPEATED"
            return rows, fields
        if sql in map(statement, UNANSWERED):
            return [], []
        raise LookupError(f"nothing answers: {sql.splitlines()[0]}")


def _row(
    **columns: tuple[Any, str],
) -> tuple[list[list[Any]], list[dict[str, str]]]:
    """Return one row, and its columns: by name the value and the type."""
    return [[value for value, _ in columns.values()]], [
        {"name": name, "type": kind} for name, (_, kind) in columns.items()
    ]


def _response(request: Any, body: Any, *, status: int = 200) -> requests.Response:
    answer = requests.Response()
    answer.status_code = status
    answer.request = request
    answer.headers["Content-Type"] = "application/json"
    answer.raw = io.BytesIO(json.dumps(body).encode())
    return answer


class Reader:
    """The Storage Read API: one stream, of as many users as there are."""

    def __init__(self, users: int) -> None:
        self.users = users
        batches = [_batch(seed) for seed in range(DISTINCT_BATCHES)]
        self._schema = batches[0].schema.serialize().to_pybytes()
        self._messages = [_compressed(batch) for batch in batches]

    def create_read_session(self, **_: Any) -> ReadSession:
        """Begin a session of one stream."""
        return ReadSession(
            name="session",
            arrow_schema=ArrowSchema(serialized_schema=self._schema),
            streams=[ReadStream(name="stream")],
        )

    def read_rows(self, name: str, **_: Any) -> Any:
        """Read a stream, by the client's own class."""
        gapic = SimpleNamespace(read_rows=self._responses)
        opened: Any = reader.ReadRowsStream
        stream = opened(gapic, name, 0, {})
        stream._reconnect()  # noqa: SLF001 - as BigQueryReadClient.read_rows
        return stream

    def _responses(self, **_: Any) -> Iterator[ReadRowsResponse]:
        whole, rest = divmod(self.users, BATCH_ROWS)
        for message in islice(cycle(self._messages), whole):
            yield self._message(message, BATCH_ROWS)
        if rest:
            yield self._message(_compressed(_batch(0).slice(0, rest)), rest)

    def _message(self, data: bytes, rows: int) -> ReadRowsResponse:
        return ReadRowsResponse(
            arrow_schema=ArrowSchema(serialized_schema=self._schema),
            arrow_record_batch=ArrowRecordBatch(serialized_record_batch=data),
            row_count=rows,
        )


def _compressed(batch: pa.RecordBatch) -> bytes:
    """Return a batch as BigQuery sends it to its client: columns by LZ4."""
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.ipc.new_stream(sink, batch.schema, options=options) as stream:
        stream.write_batch(batch)
    messages = pa.ipc.MessageReader.open_stream(sink.getvalue())
    messages.read_next_message()  # the schema
    data: bytes = messages.read_next_message().serialize().to_pybytes()
    return data


def _batch(seed: int) -> pa.RecordBatch:
    """Return users with features, as ``features.sql`` has them."""
    use_case = usecases.load(USE_CASE)
    random = np.random.default_rng(seed)
    columns: dict[str, Any] = {
        "as_of": pa.array([NOW.date()] * BATCH_ROWS),
        "user_id": pa.array(
            [f"{first}.{NOW:%s}" for first in random.integers(10**9, 2**31, BATCH_ROWS)]
        ),
    }
    for name, kind in use_case.features.items():
        if kind == CATEGORY:
            codes = random.zipf(1.6, BATCH_ROWS) % 40
            columns[name] = pa.array([f"{name} {code}" for code in codes])
        else:
            values = random.lognormal(1.0, 1.2, BATCH_ROWS)
            columns[name] = pa.array(values, mask=random.random(BATCH_ROWS) < 0.05)
    return pa.RecordBatch.from_pydict(columns)


class Writer:
    """The Storage Write API: takes rows in, and counts scores; not what is watched."""

    def __init__(self) -> None:
        self.rows = 0
        self._pending = 0
        self._are_scores = False

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def create_write_stream(self, **_: Any) -> WriteStream:
        """Begin a pending stream."""
        self._pending = 0
        return WriteStream(name="stream")

    def append_rows(self, sent: Iterator[AppendRowsRequest], **_: Any) -> Any:
        """Take requests in; each is read as the service would read it."""
        return Answers(self._taken(sent))

    def _taken(self, sent: Iterator[AppendRowsRequest]) -> Iterator[Any]:
        schema = None
        for request in sent:
            arrow = request.arrow_rows
            if schema is None:
                written = arrow.writer_schema.serialized_schema
                schema = pa.ipc.read_schema(pa.py_buffer(written))
                self._are_scores = "probability" in schema.names
            data = pa.py_buffer(arrow.rows.serialized_record_batch)
            self._pending += len(pa.ipc.read_record_batch(data, schema))
            yield AppendRowsResponse()

    def finalize_write_stream(self, **_: Any) -> FinalizeWriteStreamResponse:
        """End the stream."""
        return FinalizeWriteStreamResponse(row_count=self._pending)

    def batch_commit_write_streams(self, *_: Any, **__: Any) -> Any:
        """Put its rows into the table."""
        self.rows += self._pending * self._are_scores
        return BatchCommitWriteStreamsResponse()


class Answers(Iterator[Any]):
    """Answers of a call, which can be cancelled."""

    def __init__(self, answers: Iterator[Any]) -> None:
        self._answers = answers

    def __next__(self) -> Any:
        return next(self._answers)

    def cancel(self) -> None:
        """There is no connection."""


class Bucket(BaseAdapter):
    """Cloud Storage's API as 01 uses it: objects come in, and none was there before."""

    def __init__(self) -> None:
        super().__init__()
        self.size_bytes = 0
        self.manifest: dict[str, Any] = {}

    def send(self, request: Any, *_: Any, **__: Any) -> requests.Response:
        """Answer a request."""
        path = urlsplit(request.url).path
        if request.method == "GET":
            is_list = path.endswith("/o")
            return _response(request, {"items": []}, status=200 if is_list else 404)
        if request.method == "POST" and path.startswith("/upload/"):
            _, resource, content, *_ = request.body.split(b"\r\n\r\n", 2)
            name = json.loads(resource.partition(b"\r\n--")[0])["name"]
            if name.endswith(".json"):
                self.manifest = json.loads(content.rpartition(b"\r\n--")[0])
            self.size_bytes += len(content)
            return _response(request, {"name": name, "generation": "1"})
        if request.method == "DELETE":
            return _response(request, {}, status=404)
        raise LookupError(f"nothing answers {request.method} {path}")

    def close(self) -> None:
        """Nothing is open."""


class Models:
    """The registry, with one version in it."""

    def __init__(self, file: Path, artifacts: Artifacts) -> None:
        self._file = file
        self.artifacts = artifacts

    def find_champion(self) -> Any:
        """Return what serves."""
        return SimpleNamespace(version=0)

    def load(self, _: Any) -> tuple[Any, Any]:
        """Return preprocessor and model."""
        preprocessor, model = joblib.load(self._file)
        return preprocessor, model
