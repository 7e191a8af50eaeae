"""An emulator of BigQuery that runs, and a dataset of one test in it."""

from __future__ import annotations

import datetime
import io
import signal
import subprocess
import sys
from pathlib import Path

import grpc
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from google.cloud.bigquery_storage_v1 import BigQueryReadClient
from google.cloud.bigquery_storage_v1.services.big_query_read.transports import (
    BigQueryReadGrpcTransport,
)

from local.emulators.bigquery.server import HOST
from local.processes import free_ports
from local.stack.starting import answers
from tests.local.projects import wait_until

MOMENT = datetime.datetime(2026, 3, 1, 10, 0, 0, 123456, tzinfo=datetime.UTC)
DAY = datetime.date(2026, 3, 1)
NEXT_DAY = DAY + datetime.timedelta(days=1)

Scalar = bigquery.ScalarQueryParameter


class Warehouse:
    """One test's dataset and the few verbs that its tests need."""

    def __init__(self, workplace):
        self.client = workplace.bigquery.client()
        self.read_client = workplace.bigquery.read_client
        self.dataset = workplace.dataset
        self.default = bigquery.DatasetReference(self.client.project, self.dataset)

    def job(self, sql, parameters=(), **options):
        config = bigquery.QueryJobConfig(
            default_dataset=self.default, query_parameters=list(parameters), **options
        )
        return self.client.query(sql, job_config=config, job_retry=None)

    def rows(self, sql, parameters=(), **options):
        result = self.job(sql, parameters, **options).result(job_retry=None)
        return [tuple(row.values()) for row in result]

    def load(self, table, name, **options):
        file = io.BytesIO()
        pq.write_table(table, file)
        file.seek(0)
        config = bigquery.LoadJobConfig(source_format="PARQUET", **options)
        job = self.client.load_table_from_file(
            file, self.full_name(name), job_config=config
        )
        return job.result().output_rows

    def full_name(self, table):
        return f"{self.client.project}.{self.dataset}.{table}"


@pytest.fixture
def warehouse(workplace):
    return Warehouse(workplace)


@pytest.fixture(scope="module")
def shared(module_workplace):
    """A dataset for all tests of a module: each makes what it writes to."""
    return Warehouse(module_workplace)


def scores(**probabilities):
    return pa.table(
        {"user_id": list(probabilities), "probability": list(probabilities.values())}
    )


def command(folder: Path, port: int, grpc_port: int) -> list[str]:
    return [
        *(sys.executable, "-m", "local.emulators.bigquery"),
        *("--port", str(port), "--grpc-port", str(grpc_port)),
        *("--project", "propensity-local", "--data-dir", str(folder)),
    ]


class Emulator:
    """An emulator of its own for a test that stops it; gone after the block."""

    def __init__(self, folder: Path, *options: str):
        self.folder, self.options = folder, options

    def __enter__(self):
        port, grpc_port = free_ports(2)
        self.url = f"http://127.0.0.1:{port}"
        self.storage_address = f"{HOST}:{grpc_port}"
        self.process = subprocess.Popen(
            [*command(self.folder, port, grpc_port), *self.options]
        )
        wait_until(lambda: answers(f"{self.url}/docs"))
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def stop(self, number: signal.Signals):
        self.process.send_signal(number)
        self.process.wait(timeout=20)

    def client(self, project: str = "propensity-local") -> bigquery.Client:
        return bigquery.Client(
            project=project,
            credentials=AnonymousCredentials(),
            client_options={"api_endpoint": self.url},
        )

    def read_client(self) -> BigQueryReadClient:
        """Return a client of the Storage API."""
        channel = grpc.insecure_channel(self.storage_address)
        return BigQueryReadClient(transport=BigQueryReadGrpcTransport(channel=channel))
