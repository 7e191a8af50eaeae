"""The BigQuery of local mode as a process of its own, which can be killed."""

from __future__ import annotations

import os
import signal
import sys
import time
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from google.cloud.bigquery_storage_v1 import BigQueryWriteClient

from local.processes import HOST, Process, free_ports, is_listening, spawn, stop
from local.stack.state import ROOT
from propensity.gcp.clients import open_client

PROJECT = "my-project"
DATASET = f"{PROJECT}.d"


class Server:
    """
    A server on a folder of its own; a context in which it runs.

    Args:
        limit: Shell words before the command, such as those of a limit.
    """

    def __init__(self, folder: Path, *, limit: str = "") -> None:
        self.folder = folder
        self.limit = limit
        self.port, self.grpc_port = free_ports(2)
        self.process: Process | None = None
        self.starts = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None:
            stop([self.process])

    def start(self) -> None:
        self.starts += 1
        words = f"{self.limit} exec {sys.executable} -m local.emulators.bigquery"
        words += f" --port {self.port} --grpc-port {self.grpc_port}"
        words += f" --project {PROJECT} --data-dir {self.folder / 'data'}"
        self.process = spawn(
            "bigquery",
            ["bash", "-c", words],
            environment={"PATH": os.environ["PATH"]},
            folder=ROOT,
            port=self.port,
            log=self.folder / f"{self.starts}.log",
        )
        while not (is_listening(self.port) and is_listening(self.grpc_port)):
            assert self.process.is_running, self.log
            time.sleep(0.01)

    @property
    def log(self) -> str:
        return (self.folder / f"{self.starts}.log").read_text()

    def kill(self) -> None:
        """End it as a machine's out-of-memory killer would, and start it again."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGKILL)
        while self.process.is_running:
            time.sleep(0.001)
        self.start()

    @cached_property
    def client(self) -> bigquery.Client:
        client = bigquery.Client(
            project=PROJECT,
            credentials=AnonymousCredentials(),
            client_options={"api_endpoint": f"http://{HOST}:{self.port}"},
        )
        client.create_dataset("d", exists_ok=True)
        return client

    @cached_property
    def writer(self) -> Any:
        return open_client(BigQueryWriteClient, f"{HOST}:{self.grpc_port}")

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        config = bigquery.QueryJobConfig(default_dataset=DATASET)
        rows = self.client.query(sql, job_config=config).result()
        return [tuple(row.values()) for row in rows]
