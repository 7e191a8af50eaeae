"""
BigQuery on this machine, ended by SIGKILL eighty times in the middle of calls.

Clients append, commit streams, load files and run scripts all the time. What fails is
sent again with the id that it had, as Google's clients do. Nothing that was answered is
lost, no half of anything is seen, and nothing that has an id is done twice.
"""

from __future__ import annotations

import io
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests
from google.api_core import exceptions as api
from google.cloud import bigquery
from google.cloud.bigquery_storage_v1 import BigQueryWriteClient, types

from local.processes import HOST
from propensity.gcp.writes import metadata, request_of
from tests.support.bigquery import DATASET, PROJECT, Server

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

KILLS = 80
ROWS = 50
BOUNDARY = "a-boundary"
FIELDS = [bigquery.SchemaField("id", "STRING"), bigquery.SchemaField("n", "INTEGER")]
SCHEMA = pa.schema([("id", pa.string()), ("n", pa.int64())])
LOST = (requests.ConnectionError, api.ServiceUnavailable, api.Cancelled, api.Unknown)
Codes = types.StorageError.StorageErrorCode
# A script that commits once, and one whose statements commit one by one.
WHOLE = """
BEGIN TRANSACTION;
DELETE FROM newest WHERE TRUE;
INSERT INTO newest (id, n) SELECT '{id}', n FROM UNNEST(GENERATE_ARRAY(1, 50)) AS n;
INSERT INTO whole (id, n) SELECT id, n FROM newest;
COMMIT TRANSACTION;
"""
PARTS = """
INSERT INTO parts (id, n) SELECT '{id}', 1;
INSERT INTO parts (id, n) SELECT '{id}', 2;
"""


# A client waits a second before it looks for a server again, and later for minutes.
AT_ONCE = [
    ("grpc.initial_reconnect_backoff_ms", 20),
    ("grpc.min_reconnect_backoff_ms", 20),
    ("grpc.max_reconnect_backoff_ms", 20),
]


def writer_of(server: Server) -> Any:
    """Return a client that is answered soon after a server has begun."""
    channel = grpc.insecure_channel(f"{HOST}:{server.grpc_port}", options=AT_ONCE)
    transport = BigQueryWriteClient.get_transport_class("grpc")
    return BigQueryWriteClient(transport=transport(channel=channel))


def rows_of(name: str) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"id": [name] * ROWS, "n": range(ROWS)}, SCHEMA)


class Clients:
    """Calls that go on until they are answered, and what they were answered."""

    def __init__(self, server: Server) -> None:
        self.writer = writer_of(server)
        self.api = f"http://{HOST}:{server.port}"
        self.answered: dict[str, list[str]] = {}
        self.refused: set[str] = set()
        self.under_way = 0
        self.count = 0
        self.is_over = threading.Event()

    def play(self, kind: str, call: Callable[[str], bool]) -> None:
        """Make one call after another; those that are done are noted."""
        done = self.answered.setdefault(kind, [])
        number = 0
        while not self.is_over.is_set():
            number += 1
            name = f"{kind}-{number}"
            self.under_way += 1
            if call(name):
                done.append(name)
                self.count += 1
            self.under_way -= 1

    def until_answered(self, call: Callable[[], Any]) -> Any:
        while True:
            try:
                return call()
            except LOST:
                time.sleep(0.01)

    def append(self, name: str) -> bool:
        self.until_answered(lambda: self._append("appended/streams/_default", name))
        return True

    def _append(self, stream: str, name: str) -> None:
        path = f"projects/{PROJECT}/datasets/d/tables/{stream}"
        request = request_of(rows_of(name), path, SCHEMA)
        sent = self.writer.append_rows(
            iter([request]), metadata=metadata(path), retry=None
        )
        answers = list(sent)
        if not answers:
            raise requests.ConnectionError("the stream ended without an answer")
        assert not answers[0].error.code, answers

    def commit(self, name: str) -> bool:
        """Commit a stream of three requests; one that is lost is given up."""
        parent = f"projects/{PROJECT}/datasets/d/tables/committed"
        kind = types.WriteStream(type_=types.WriteStream.Type.PENDING)
        try:
            created = self.writer.create_write_stream(
                parent=parent, write_stream=kind, retry=None
            )
            stream = created.name
            for _ in range(3):
                self._append(stream.partition("/tables/")[2], name)
            self.writer.finalize_write_stream(name=stream, retry=None)
        except (*LOST, api.NotFound):
            return False
        request = types.BatchCommitWriteStreamsRequest(
            parent=parent, write_streams=[stream]
        )
        answer = self.until_answered(
            lambda: self.writer.batch_commit_write_streams(request, retry=None)
        )
        codes = {error.code for error in answer.stream_errors}
        if codes == {Codes.STREAM_NOT_FOUND}:
            self.refused.add(name)
        return codes <= {Codes.STREAM_ALREADY_COMMITTED}

    def load(self, name: str) -> bool:
        file = io.BytesIO()
        pq.write_table(pa.Table.from_batches([rows_of(name)]), file)
        target = {"projectId": PROJECT, "datasetId": "d", "tableId": "loaded"}
        config = {"destinationTable": target, "sourceFormat": "PARQUET"}
        job = {"configuration": {"load": config}, "jobReference": {"jobId": name}}
        part = f"\r\n--{BOUNDARY}\r\ncontent-type: */*\r\n\r\n".encode()
        body = part + json.dumps(job).encode() + part + file.getvalue()
        body += f"\r\n--{BOUNDARY}--".encode()
        url = f"{self.api}/upload/bigquery/v2/projects/{PROJECT}/jobs"
        headers = {"content-type": f"multipart/related; boundary={BOUNDARY}"}
        query = {"uploadType": "multipart"}

        def send() -> Any:
            return requests.post(url, body, params=query, headers=headers, timeout=60)

        return self._ended(name, send)

    def run(self, script: str, name: str) -> bool:
        place = {"projectId": PROJECT, "datasetId": "d"}
        query = {"query": script.replace("{id}", name), "defaultDataset": place}
        query["useLegacySql"] = False
        job = {"configuration": {"query": query}, "jobReference": {"jobId": name}}
        url = f"{self.api}/bigquery/v2/projects/{PROJECT}/jobs"
        return self._ended(name, lambda: requests.post(url, json=job, timeout=60))

    def _ended(self, name: str, send: Callable[[], Any]) -> bool:
        """Send a job until it is there; return whether it ended well."""
        url = f"{self.api}/bigquery/v2/projects/{PROJECT}/jobs/{name}"

        def is_done() -> bool:
            answer = send()
            assert answer.status_code in (200, 409), answer.text
            while True:
                job = requests.get(url, timeout=60)
                if job.status_code == 404:
                    raise requests.ConnectionError("it was killed before it changed")
                state = job.json()["status"]
                if state["state"] == "DONE":
                    if "errorResult" in state:
                        assert "interrupted" in state["errorResult"]["message"]
                        self.refused.add(name)
                    return "errorResult" not in state

        return bool(self.until_answered(is_done))


def test_eighty_kills_lose_nothing_and_double_nothing(tmp_path):
    chance = random.Random(KILLS)
    tables = ("appended", "committed", "loaded", "newest", "whole", "parts")
    in_calls = 0
    with Server(tmp_path) as server:
        for table in tables:
            server.client.create_table(bigquery.Table(f"{DATASET}.{table}", FIELDS))
        clients = Clients(server)
        calls = {
            "append": clients.append,
            "commit": clients.commit,
            "load": clients.load,
            "whole": lambda name: clients.run(WHOLE, name),
            "parts": lambda name: clients.run(PARTS, name),
        }
        with ThreadPoolExecutor(len(calls)) as pool:
            played = [pool.submit(clients.play, *one) for one in calls.items()]
            for _ in range(KILLS):
                # Clients find the server again in their own time.
                enough = clients.count + len(calls)
                while clients.count < enough:
                    time.sleep(0.001)
                time.sleep(chance.uniform(0, 0.1))
                in_calls += clients.under_way > 0
                server.kill()
            clients.is_over.set()
        for one in played:
            one.result()
        found = {
            table: Counter(
                dict(server.rows(f"SELECT id, COUNT(*) FROM {table} GROUP BY id"))
            )
            for table in tables
        }

    assert in_calls > KILLS / 2
    answered = clients.answered
    print({kind: len(names) for kind, names in answered.items()}, in_calls)
    assert all(answered.values())
    assert set(answered["append"]) == found["appended"].keys()
    assert not any(count % ROWS for count in found["appended"].values())
    assert found["committed"] == dict.fromkeys(answered["commit"], 3 * ROWS)
    assert found["loaded"] == dict.fromkeys(answered["load"], ROWS)
    assert found["whole"] == dict.fromkeys(answered["whole"], ROWS)
    assert found["newest"] == {answered["whole"][-1]: ROWS}
    interrupted = {name for name in clients.refused if name.startswith("parts")}
    assert found["parts"] == {
        **dict.fromkeys(answered["parts"], 2),
        **dict.fromkeys(interrupted, 1),
    }
