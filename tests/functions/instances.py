"""
Instances of functions as the platform runs them, and pushes to them.

An ``Instance`` is one process of a function, served from its staged source as it is
deployed, which can be killed and started again.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent import futures
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from deploy import stage
from local import venvs
from local.processes import HOST, Process, free_ports, spawn, stop
from local.stack.state import FUNCTIONS, LOCAL, ROOT
from tests.described import check_described
from tests.events import written
from tests.functions.outages import WriteProxy
from tests.functions.streaming import DEADLINE_S, Site, eventually
from tests.shared import once

_FUNCTIONS = {function.target: function for function in FUNCTIONS}


def python_of(target: str) -> Path:
    """Return the Python with what functions require."""
    assert target in _FUNCTIONS
    return venvs.functions_python(ROOT, folder=LOCAL / "venvs")


@dataclass
class Instance:
    """One process of a function; a context in which it runs."""

    target: str
    environment: Mapping[str, str]
    home: Path
    port: int = field(default_factory=lambda: free_ports(1)[0])
    process: Process | None = None
    starts: int = 0

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}/"

    @property
    def _staged(self) -> Path:
        """The staged source, which all instances of a test run share."""
        function = _FUNCTIONS[self.target]

        def stage_it(folder: Path) -> None:
            stage.stage(
                ROOT / function.folder,
                folder / "staged",
                requirements=function.requirements,
                root=ROOT,
            )

        return once(self.target, stage_it) / "staged"

    def start(self, *, wait: bool = True) -> Instance:
        """Start the process, and wait until it answers."""
        runtime = self.home / "run"
        runtime.mkdir(parents=True, exist_ok=True)
        self.starts += 1
        is_asynchronous = _FUNCTIONS[self.target].is_asynchronous
        self.process = spawn(
            self.target,
            [
                str(python_of(self.target)),
                "-m",
                "functions_framework",
                "--source=main.py",
                f"--target={self.target}",
                f"--host={HOST}",
                f"--port={self.port}",
                *(["--asgi"] if is_asynchronous else []),
            ],
            environment={
                "PATH": os.environ["PATH"],
                "PYTHONUNBUFFERED": "1",
                "XDG_RUNTIME_DIR": str(runtime),
                **self.environment,
            },
            folder=self._staged,
            port=self.port,
            log=self.home / f"log-{self.starts}",
        )
        if wait:
            self.wait()
        return self

    def wait(self) -> None:
        """Wait until the function answers."""
        eventually(self._answers, f"{self.target} answers")

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.is_running, self.log()
        with contextlib.suppress(requests.RequestException):
            return requests.get(f"{self.url}robots.txt", timeout=5).status_code < 500
        return False

    def kill(self) -> None:
        """End the process and its workers at once, as a machine that is lost."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        eventually(lambda: not self.process.is_running, "the process has ended")

    def stop(self) -> None:
        """End the process as the platform does."""
        if self.process is not None:
            stop([self.process])

    def __enter__(self) -> Instance:
        return self if self.process else self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def log(self) -> str:
        """Return what the last process has written."""
        return (self.home / f"log-{self.starts}").read_text(errors="replace")

    def lines(self) -> list[dict[str, Any]]:
        """Return the JSON lines of it."""
        lines = [line for line in self.log().splitlines() if line.startswith("{")]
        return [json.loads(line) for line in lines]

    # Pushes

    def post(
        self,
        data: bytes | Mapping[str, Any],
        *,
        message_id: str | None = None,
        attributes: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """Push one message, and return the answer."""
        data = data if isinstance(data, bytes) else written(data)
        pushed = push(data, message_id or uuid.uuid4().hex, attributes or {})
        answer = requests.post(self.url, json=pushed, timeout=DEADLINE_S)
        return check_described(self.target, answer)

    def post_all(
        self, events: Sequence[bytes | Mapping[str, Any]], *, threads: int = 16
    ) -> list[requests.Response]:
        """Push messages at the same time; answers are in their order."""
        with futures.ThreadPoolExecutor(threads) as pool:
            return list(pool.map(self.post, events))


@contextlib.contextmanager
def together(instances: Sequence[Instance]) -> Iterator[None]:
    """Start instances at the same time, and stop them."""
    with contextlib.ExitStack() as undo:
        for instance in instances:
            undo.callback(instance.stop)
            instance.start(wait=False)
        for instance in instances:
            instance.wait()
        yield


@contextlib.contextmanager
def behind_writes(
    function: str, site: Site, emulators: Any, home: Path
) -> Iterator[tuple[Instance, WriteProxy]]:
    """Serve a function of a site, with a proxy before the Storage Write API."""
    with WriteProxy(emulators.address("bigquery_storage")) as writes:
        environment = {
            **site.environment,
            "BIGQUERY_STORAGE_EMULATOR_HOST": writes.address,
        }
        with Instance(function, environment, home) as started:
            yield started, writes


def push(data: bytes, message_id: str, attributes: Mapping[str, str]) -> dict[str, Any]:
    """Return what Pub/Sub posts to push a message."""
    published = "2026-07-01T12:00:01.234Z"
    return {
        "message": {
            "data": base64.b64encode(data).decode(),
            "attributes": dict(attributes),
            "messageId": message_id,
            "message_id": message_id,
            "publishTime": published,
            "publish_time": published,
        },
        "subscription": "projects/p/subscriptions/events-stream-features",
    }
