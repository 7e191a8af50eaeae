"""
Servers by functions-framework: functions as they are deployed, and empty handlers.
"""

from __future__ import annotations

import contextlib
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from local.processes import HOST, Process, free_ports, spawn, stop

READY_S = 60.0

EMPTY_ASYNCHRONOUS = """
import functions_framework.aio


@functions_framework.aio.http
async def empty(request):
    return "OK"
"""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A folder with a ``main.py``, and how the framework serves it."""

    folder: Path
    target: str = "empty"
    is_asynchronous: bool = True


def empty(folder: Path, main: str, *, is_asynchronous: bool = True) -> Source:
    """Write the source of a handler that does nothing into a new folder."""
    folder.mkdir()
    (folder / "main.py").write_text(main)
    return Source(folder=folder, is_asynchronous=is_asynchronous)


def started(
    name: str, source: Source, python: Path, environment: Mapping[str, str], port: int
) -> Process:
    """Start a server; it need not answer yet."""
    return spawn(
        name,
        [
            *(str(python), "-m", "functions_framework"),
            *("--source", "main.py", "--target", source.target),
            *("--host", HOST, "--port", str(port)),
            *(["--asgi"] if source.is_asynchronous else []),
        ],
        environment=environment,
        folder=source.folder,
        port=port,
        log=source.folder.with_suffix(".log"),
    )


@contextlib.contextmanager
def servers(
    sources: Mapping[str, Source], python: Path, environment: Mapping[str, str]
) -> Iterator[dict[str, Process]]:
    """Serve sources by name until all answer; stops them afterwards."""
    processes: dict[str, Process] = {}
    ports = free_ports(len(sources))
    try:
        for (name, source), port in zip(sources.items(), ports, strict=True):
            processes[name] = started(name, source, python, environment, port)
        for port in ports:
            wait_until_ready(port)
        yield processes
    finally:
        stop(processes.values())


def wait_until_ready(port: int) -> None:
    """Wait until a server answers; the framework answers this path by itself."""
    deadline = time.monotonic() + READY_S
    while True:
        try:
            urllib.request.urlopen(f"http://{HOST}:{port}/robots.txt", timeout=5)
        except urllib.error.HTTPError:
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.002)
