"""
Functions that answer over HTTP, and pushes to them.

``serving`` serves one in this process, where a test can let its clients fail. An
``Instance`` is a process of its own, started as Google's Python buildpack starts it:
from its staged source, in the environment of its lock, by ``functions-framework``
without an argument. It can be killed and started again.

Source: GoogleCloudPlatform/buildpacks, cmd/python/functions_framework/lib/lib.go.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import functions_framework.aio
import pytest
import requests
import uvicorn

from deploy import stage
from local import venvs
from local.processes import HOST, Process, free_ports, spawn, stop
from local.stack.state import FUNCTIONS, ROOT
from propensity.gcp.writes import Appends
from propensity.schema import Table
from tests.functions.streaming import eventually
from tests.support.compiled import link_compiled
from tests.support.deployment import DEADLINE_S, entered
from tests.support.described import check_described
from tests.support.events import written
from tests.support.shared import once

_FUNCTIONS = {function.target: function for function in FUNCTIONS}


def python_of(target: str) -> Path:
    """Return the Python with what a function's lock has, and with nothing else."""
    return venvs.function_python(_FUNCTIONS[target])


def staged(target: str) -> Path:
    """Return the staged source of a function, which a test run has once."""
    function = _FUNCTIONS[target]

    def stage_it(folder: Path) -> None:
        place = stage.stage(
            ROOT / function.folder,
            folder / "staged",
            requirements=function.requirements,
            locked=True,
        )
        link_compiled(ROOT / "propensity", place / "propensity")

    return once(target, stage_it) / "staged"


class Endpoint:
    """A function that is called over HTTP."""

    target: str
    url: str

    def ask(self, body: Any) -> requests.Response:
        """Post a body, of bytes or what becomes JSON; return the answer."""
        data = body if isinstance(body, bytes) else json.dumps(body, default=str)
        headers = {"content-type": "application/json"}
        answer = requests.post(self.url, data, headers=headers, timeout=DEADLINE_S)
        return check_described(self.target, answer)

    def get(self, **parameters: Any) -> requests.Response:
        """Ask by query parameters; return the answer."""
        answer = requests.get(self.url, parameters, timeout=DEADLINE_S)
        return check_described(self.target, answer, method="GET")

    def post(
        self,
        event: bytes | Mapping[str, Any],
        *,
        message_id: str | None = None,
        attributes: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """Push one message, and return the answer."""
        return self.ask(push(event, message_id or uuid.uuid4().hex, attributes))


@dataclass
class Served(Endpoint):
    """A function in this process."""

    target: str
    url: str


@dataclass
class Instance(Endpoint):
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

    def start(self) -> Instance:
        """Start the process, and wait until it answers."""
        runtime = self.home / "run"
        runtime.mkdir(parents=True, exist_ok=True)
        self.starts += 1
        self.process = spawn(
            self.target,
            [str(python_of(self.target).with_name("functions-framework"))],
            environment={
                "PATH": os.environ["PATH"],
                "PYTHONUNBUFFERED": "1",
                "XDG_RUNTIME_DIR": str(runtime),
                # The buildpack and the platform set these.
                "FUNCTION_TARGET": self.target,
                "FUNCTION_SIGNATURE_TYPE": "http",
                "K_SERVICE": self.target,
                "LOG_EXECUTION_ID": "true",
                "CLOUD_RUN_TIMEOUT_SECONDS": _FUNCTIONS[self.target].flags["timeout"],
                "HOST": HOST,
                "PORT": str(self.port),
                "THREADS": "1",
                **self.environment,
            },
            folder=staged(self.target),
            port=self.port,
            log=self.home / f"log-{self.starts}",
        )
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


@contextlib.contextmanager
def failing(table: Table, error: Exception) -> Iterator[None]:
    """Let appends to a table fail, in functions of this process."""
    append = Appends.append

    async def appending(self: Appends, to: Table, rows: Any) -> dict[int, str]:
        if to is table and rows.num_rows:
            raise error
        return await append(self, to, rows)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Appends, "append", appending)
        yield


@contextlib.contextmanager
def serving(target: str, environment: Mapping[str, str]) -> Iterator[Served]:
    """Serve an asynchronous function in this process with exactly these settings."""
    folder = ROOT / _FUNCTIONS[target].folder
    own = folder / f"{target}.py"
    source = own if own.exists() else folder / "main.py"
    with entered(environment), socket.socket() as listener:
        listener.bind((HOST, 0))
        app = functions_framework.aio.create_asgi_app(target, str(source))
        server = uvicorn.Server(
            uvicorn.Config(app, log_level="error", lifespan="off", ws="none")
        )
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.005)
            yield Served(target, f"http://{HOST}:{listener.getsockname()[1]}/")
        finally:
            server.should_exit = True
            thread.join(30)


def push(
    data: bytes | Mapping[str, Any],
    message_id: str = "m1",
    attributes: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return what Pub/Sub posts to push a message, of bytes or an event."""
    published = "2026-07-01T12:00:01.234Z"
    data = data if isinstance(data, bytes) else written(data)
    return {
        "message": {
            "data": base64.b64encode(data).decode(),
            "attributes": dict(attributes or {}),
            "messageId": message_id,
            "message_id": message_id,
            "publishTime": published,
            "publish_time": published,
        },
        "subscription": "projects/p/subscriptions/events-stream-features",
    }
