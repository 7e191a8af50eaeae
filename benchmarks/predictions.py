"""
01-Predictions by the number of users: seconds and memory a user, and ten millions.

    python -m benchmarks.predictions [--rows 10000 100000 1000000] [--repeats 3]

The function's own body, from the load of the champion to the end of the publication,
with the real client of BigQuery and of its read streams, each run in a process of its
own. In the place of Google Cloud answers an HTTP transport in the same process, and a
read stream that hands out serialized Arrow batches of users as BigQuery does, and a
write stream that reads what it gets, and a bucket that takes the features. The model is
the slowest of ``ga4_purchase``'s candidates: the mean of all, of 37 features. What
BigQuery computes itself (features, percentiles, the publication) takes no time here:
``docs/scale.md`` has its bytes.

Seconds are from the first request to the answer, without the start of the process;
those of a processor are what grows or not, whatever else the machine does. Memory is
how far the process rises above what it has before the run.

Exit code 1 if processor seconds or memory a user grow by more than 10% from one step
to the next, or if ten million users, from the last step on, would not be done within
the time and memory that the function is deployed with.
"""

from __future__ import annotations

import argparse
import gc
import json
import runpy
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

import joblib
import numpy as np
import pyarrow as pa
import requests
from google.auth.credentials import AnonymousCredentials
from google.auth.transport.requests import AuthorizedSession
from google.cloud import bigquery, storage
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

from benchmarks.scoring import _status_mb
from benchmarks.training import made
from deploy import functions
from propensity import usecases
from propensity.edges import writes
from propensity.edges.artifacts import Artifacts
from propensity.edges.warehouse import Warehouse
from propensity.learning import candidates, data
from propensity.learning.preprocessor import default_preprocessor, fitted
from propensity.models.encoding import to_frame
from propensity.models.scoring import MeanOfModels
from propensity.runs.run import Run
from propensity.settings import Settings
from propensity.statements import statement
from propensity.timeframe import temporal_split
from propensity.usecases import CATEGORY

ROOT = Path(__file__).parent.parent
USE_CASE = "ga4_purchase"
STEPS = (10_000, 100_000, 1_000_000)
TARGET_USERS = 10_000_000
MOST_GROWTH = 1.1
# A run waits for BigQuery, too: the statements of docs/scale.md, within their timeout.
SHARE_OF_TIME = 0.5
TRAINING_ROWS = 20_000
# Rows of a message of the read stream: BigQuery sends about a MiB.
BATCH_ROWS = 4_000
DISTINCT_BATCHES = 16
NOW = datetime(2026, 3, 2, 15, tzinfo=UTC)
MIB = 1024**2


# -- in the place of Google Cloud ------------------------------------------------------


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
        if "/jobs/" in path:
            name = path.rpartition("/")[2]
            return _response(request, self._job(name, {"query": {}}))
        if path.endswith("/suppressed_users/data"):
            return _response(request, {"totalRows": "0", "rows": []})
        raise LookupError(f"nothing answers {request.method} {path}")

    def close(self) -> None:
        """Nothing is open."""

    def _started(self, request: Any) -> requests.Response:
        given = json.loads(request.body)
        name = given["jobReference"]["jobId"]
        self._queries[name] = given["configuration"]["query"]["query"]
        return _response(request, self._job(name, given["configuration"]))

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
            return [["1"]], [{"name": "evaluations", "type": "INTEGER"}]
        if sql == statement("model_metadata"):
            recorded = {
                "model_version": "0",
                "as_of": "2026-02-01",
                "features": json.dumps(dict(use_case.features)),
                "statement_parameters": json.dumps(
                    use_case.chosen(Settings(project="benchmark"))
                ),
            }
            types = {"model_version": "INTEGER", "as_of": "DATE"}
            return [list(recorded.values())], [
                {"name": name, "type": types.get(name, "STRING")} for name in recorded
            ]
        if sql == statement("season_weeks"):
            week = {
                "week": ("2026-02-23", "DATE"),
                "model_version": ("0", "INTEGER"),
                "log_odds": ("0.2", "FLOAT"),
                "standard_error": ("0.02", "FLOAT"),
                "conversions": ("3000", "INTEGER"),
                "users": ("50000", "INTEGER"),
                "is_final": ("false", "BOOLEAN"),
                "late": (None, "FLOAT"),
            }
            return [[value for value, _ in week.values()]], [
                {"name": name, "type": kind} for name, (_, kind) in week.items()
            ]
        if sql in (statement("staged_quantiles"), statement("published_quantiles")):
            values = [{"v": str(value)} for value in np.linspace(0, 1, 101)]
            return [[values, str(self.users), "2026-02-23", None]], [
                {"name": "quantiles", "type": "FLOAT", "mode": "REPEATED"},
                {"name": "users", "type": "INTEGER"},
                {"name": "as_of", "type": "DATE"},
                {"name": "log_odds_shift", "type": "FLOAT"},
            ]
        if sql in (
            statement("level_differences"),
            statement("drift_before"),
            statement("clear_replaced_drift"),
            statement("publish_predictions"),
            statement("clear_staged_predictions"),
        ):
            return [], []
        raise LookupError(f"nothing answers: {sql.splitlines()[0]}")


def _response(request: Any, body: Any) -> requests.Response:
    answer = requests.Response()
    answer.status_code = 200
    answer.request = request
    answer.headers["Content-Type"] = "application/json"
    answer._content = json.dumps(body).encode()  # noqa: SLF001 - none other is set
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
    """The Storage Write API: takes rows in, and counts them."""

    def __init__(self) -> None:
        self.rows = 0
        self._pending = 0

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
        for one in sent:
            given = one.arrow_rows
            if schema is None:
                written = given.writer_schema.serialized_schema
                schema = pa.ipc.read_schema(pa.py_buffer(written))
            data = pa.py_buffer(given.rows.serialized_record_batch)
            # Beside the scores a run writes what it watches for drift.
            if "probability" in schema.names:
                self._pending += len(pa.ipc.read_record_batch(data, schema))
            yield AppendRowsResponse()

    def finalize_write_stream(self, **_: Any) -> FinalizeWriteStreamResponse:
        """End the stream."""
        return FinalizeWriteStreamResponse(row_count=self._pending)

    def batch_commit_write_streams(self, *_: Any, **__: Any) -> Any:
        """Put its rows into the table."""
        self.rows += self._pending
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
            return _response(request, {"items": []} if path.endswith("/o") else {})
        if request.method == "POST" and path.startswith("/upload/"):
            _, resource, content, *_ = request.body.split(b"\r\n\r\n", 2)
            name = json.loads(resource.partition(b"\r\n--")[0])["name"]
            if name.endswith(".json"):
                self.manifest = json.loads(content.rpartition(b"\r\n--")[0])
            self.size_bytes += len(content)
            return _response(request, {"name": name, "generation": "1"})
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


# -- one run ---------------------------------------------------------------------------


def train(file: Path) -> None:
    """Fit the candidates on rows of their own, and store their mean."""
    use_case, settings = usecases.load(USE_CASE), Settings(project="benchmark")
    rows = made(use_case, TRAINING_ROWS)
    as_ofs = tuple(sorted(set(rows["as_of"].to_pylist())))
    split = temporal_split(as_ofs, use_case.timeframe(settings))
    part = data.slice_of(rows, split.train)
    features: Any = dict(use_case.features)
    preprocessor = fitted(default_preprocessor(use_case), part, features)
    frame = to_frame(part.rows.combine_chunks().to_batches()[0], features)
    encoded = preprocessor.transform(frame)
    members = [
        candidates.estimator(one, {}, seed=settings.seed).fit(encoded, part.label)
        for one in use_case.candidates
        if one.algorithm != MeanOfModels.__name__
    ]
    joblib.dump((preprocessor, MeanOfModels(members)), file)


@cache
def body() -> Any:
    """Return the function of 01 as it is, without the framework around it."""
    found = runpy.run_path(str(ROOT / "01-Predictions" / "main.py"))["predictions"]
    while hasattr(found, "__wrapped__"):
        found = found.__wrapped__
    return found


def measured(file: Path, users: int) -> dict[str, float]:
    """Run 01 for so many users, and return seconds and how far memory rises."""
    settings = Settings(
        project="benchmark",
        bucket="benchmark",
        location="US",
        # There is no export here whose days could be summed up.
        incremental_features=False,
    )
    cloud = Cloud(users)
    credentials = AnonymousCredentials()  # type: ignore[no-untyped-call]
    session = AuthorizedSession(credentials)  # type: ignore[no-untyped-call]
    session.mount("https://", cloud)
    client = bigquery.Client(
        project=settings.project,
        location=settings.location,
        credentials=credentials,
        _http=session,
    )
    warehouse = Warehouse(settings, client=client)
    warehouse.__dict__["_read_client"] = Reader(users)
    bucket = Bucket()
    session = AuthorizedSession(credentials)  # type: ignore[no-untyped-call]
    session.mount("https://", bucket)
    objects = storage.Client(
        project=settings.project, credentials=credentials, _http=session
    )
    artifacts = Artifacts(objects.bucket(settings.bucket), deadline_s=30)
    registry: Any = Models(file, artifacts)
    writer = Writer()
    run = Run(
        function="predictions",
        run_id="0" * 32,
        settings=settings,
        use_case=usecases.load(USE_CASE),
        as_of=NOW.date() - timedelta(days=1),
        force=True,
        began_at=NOW,
        warehouse=warehouse,
        registry=registry,
    )
    function = body()
    gc.collect()
    # Forgets the peak so far.
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before, began = _status_mb("VmRSS"), time.perf_counter()
    used = time.process_time()
    with patch.object(writes, "client_of", lambda _: writer):
        answer = function(run)
    seconds, used = time.perf_counter() - began, time.process_time() - used
    assert answer["users"] == users, answer
    assert writer.rows == users, f"{writer.rows} rows were staged"
    assert bucket.manifest["rows"] == users, bucket.manifest
    return {
        "feature_bytes": bucket.size_bytes,
        "seconds": seconds,
        "cpu_s": used,
        "rise_mb": _status_mb("VmHWM") - before,
        "peak_mb": _status_mb("VmHWM"),
    }


# -- the benchmark ---------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.predictions")
    parser.add_argument("--rows", type=int, nargs="+", default=list(STEPS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--of", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    if options.of is not None:
        print(json.dumps(measured(options.of, options.rows[0])))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.joblib"
        train(file)
        found: dict[int, list[dict[str, float]]] = {rows: [] for rows in options.rows}
        # In turn, so that whatever else the machine does meets all of them.
        for _ in range(options.repeats):
            for rows, several in found.items():
                several.append(_in_process(file, rows))
    return report(
        {
            rows: {name: median(one[name] for one in several) for name in several[0]}
            for rows, several in found.items()
        }
    )


def _in_process(file: Path, rows: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.predictions", "--of", str(file)]
    done = subprocess.run(
        [*command, "--rows", str(rows)],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return {name: float(value) for name, value in json.loads(done.stdout).items()}


def report(found: dict[int, dict[str, float]]) -> int:
    """Print the table, and what ten millions would take; return the exit status."""
    [one] = [one for one in functions.load() if one.target == "predictions"]
    memory_mb = float(one.memory.removesuffix("Gi")) * 1024
    missed = []
    print(
        "| users | seconds | of a processor | µs a user | of the step before "
        "| MB above the start | KB a user | of the step before |\n"
        "|--:|--:|--:|--:|--:|--:|--:|--:|"
    )
    before: dict[str, float] = {}
    for rows, figures in found.items():
        a_user = {name: figures[name] / rows for name in ("cpu_s", "rise_mb")}
        growth = {
            name: value / before[name] for name, value in a_user.items() if before
        }
        for name, times in growth.items():
            if times > MOST_GROWTH:
                missed.append(f"{name} a user grow {times:.2f} times up to {rows:,}")
        shown = {name: f"{times:.2f}" for name, times in growth.items()}
        print(
            f"| {rows:,} | {figures['seconds']:.2f} | {figures['cpu_s']:.2f} "
            f"| {a_user['cpu_s'] * 1e6:.1f} | {shown.get('cpu_s', '')} "
            f"| {figures['rise_mb']:.0f} | {a_user['rise_mb'] * 1024:.2f} "
            f"| {shown.get('rise_mb', '')} |"
        )
        before = a_user
    last = max(found)
    seconds = found[last]["seconds"] / last * TARGET_USERS
    allowed = one.timeout_s * SHARE_OF_TIME
    # What a step holds at once does not grow beyond it; at worst it would.
    print(
        f"\n{TARGET_USERS:,} users at the last step's pace: {seconds:,.0f} s of "
        f"{one.timeout_s:,}; the process had {found[last]['peak_mb']:,.0f} MB at "
        f"{last:,} users, of {memory_mb:,.0f} MB. Features kept: "
        f"{found[last]['feature_bytes'] / last:,.0f} bytes a user, drawn at random"
    )
    if seconds > allowed:
        missed.append(f"{seconds:,.0f} s for {TARGET_USERS:,} users, of {allowed:,.0f}")
    if found[last]["peak_mb"] > memory_mb / 2:
        missed.append(f"{found[last]['peak_mb']:,.0f} MB are over half of {memory_mb}")
    for line in missed:
        print(f"MISSED {line}", file=sys.stderr)
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
