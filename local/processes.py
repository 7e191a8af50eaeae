"""
Processes that this project starts, and only those, stopped by what they are.

A process is known by its id and its start time together: an id alone is given to
another process once the first has ended.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

HOST = "127.0.0.1"
# Below the range from which systems take ports for outgoing connections.
FREE_PORTS = range(20_000, 32_000)
STOP_S = 10.0
# A busy machine needs minutes for what usually takes seconds.
PATIENCE_S = 1800
_ROOT = Path(__file__).resolve().parent.parent


def shown(path: str | Path) -> str:
    """Return a path as the user would type it from the project's folder."""
    with contextlib.suppress(ValueError):
        return str(Path(path).relative_to(_ROOT))
    return str(path)


@dataclass(frozen=True)
class Process:
    """A process that leads a group of its own."""

    name: str
    pid: int
    started: str
    port: int
    log: str

    @property
    def is_running(self) -> bool:
        """Whether this very process, not a later one with its id, still runs."""
        return start_time(self.pid) == self.started

    def members(self) -> list[psutil.Process]:
        """Return it and what it has started, while it runs itself."""
        members: list[psutil.Process] = []
        with contextlib.suppress(psutil.NoSuchProcess):
            if self.is_running:
                leader = psutil.Process(self.pid)
                members = [leader]
                members += leader.children(recursive=True)
        return members


def start_time(pid: int) -> str | None:
    """
    Return when a process started, in seconds since the system did; None if it ended.

    Not the time of day, which may be corrected meanwhile. A zombie has ended: in a
    container without an init process no one ever reads its exit status.
    """
    try:
        process = psutil.Process(pid)
        if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            return None
        return f"{process.create_time() - psutil.boot_time():.2f}"
    except psutil.NoSuchProcess:
        return None


def spawn(
    name: str,
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    folder: Path,
    port: int,
    log: Path,
) -> Process:
    """
    Start a process in a group and session of its own.

    Nothing of the environment is inherited; the output goes to the log.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        child = subprocess.Popen(
            command,
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    # Its exit status is read when it ends, so that it leaves no zombie.
    threading.Thread(target=child.wait, name=f"reap {child.pid}", daemon=True).start()
    started = start_time(child.pid)
    if started is None:
        started = "ended"
    return Process(name, child.pid, started, port, str(log))


def served(target: str, port: int, is_asynchronous: bool) -> list[str]:
    """Return functions-framework's options that serve what is in the working folder."""
    options = ["--source", "main.py", "--target", target]
    options += ["--host", HOST, "--port", str(port)]
    if is_asynchronous:
        options.append("--asgi")
    return options


def stop(processes: Iterable[Process]) -> list[Process]:
    """
    Stop processes with everything they started: SIGTERM, then SIGKILL.

    Returns:
        The processes that were still running when this began; their ports are free.
    """
    running = [process for process in processes if process.is_running]
    # Find the members while the leaders run; afterwards their owner is not known.
    members = [member for process in running for member in process.members()]
    for process in running:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
    _wait(lambda: not any(process.is_running for process in running))
    for member in members:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    _wait(lambda: all(is_free(process.port) for process in running))
    return running


def _wait(is_so: Callable[[], bool]) -> None:
    """Wait until something is so, but not for longer than a process may need."""
    deadline = time.monotonic() + STOP_S
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.02)


def end_of(process: Process) -> str:
    log = Path(process.log)
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    kept = [f"    {line}" for line in lines if line.strip()][-15:]
    if not kept:
        kept.append("    (it wrote nothing)")
    text = "\n".join(kept)
    return f"Its log {shown(process.log)} ends with\n{text}"


def answers(url: str) -> bool:
    """Whether a server of this machine gives any answer but a server error."""
    import requests  # after the first line of a demo

    with requests.Session() as session:
        # A proxy of the user's could not reach this machine's own ports.
        session.trust_env = False
        try:
            return session.get(url, timeout=5).status_code < 500
        except requests.RequestException:
            return False


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of 127.0.0.1 now."""
    with socket.socket() as probe:
        # Servers set this, so that a connection that has just closed blocks no port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def is_listening(port: int) -> bool:
    """Whether a server takes connections on this port of 127.0.0.1."""
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def free_ports(count: int) -> list[int]:
    """
    Return ports in a row that nothing listens on, for servers that are started next.

    None is given twice until this process ends: it holds each by a socket that does not
    listen, which a server may have beside it.
    """
    while True:
        # Tests set the seed of the shared generator, so this one is its own.
        first = random.Random().choice(FREE_PORTS)
        ports = range(first, first + count)
        with contextlib.ExitStack() as undo, contextlib.suppress(OSError):
            for port in ports:
                holder = undo.enter_context(socket.socket())
                holder.bind((HOST, port))
                holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            atexit.register(undo.pop_all().close)
            return list(ports)


def stop_with(parent: int) -> None:
    """Stop this process soon after its parent has gone, however that ended."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()


@contextlib.contextmanager
def _handled(handler: Callable[[int, Any], None], *numbers: int) -> Iterator[None]:
    """Have a handler called in the block, which only the main thread can."""
    is_main = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, handler) for number in numbers if is_main}
    try:
        yield
    finally:
        for number, usual in before.items():
            signal.signal(number, usual)


def ending_on_signals() -> contextlib.AbstractContextManager[None]:
    """Let SIGTERM and SIGHUP end the block as Ctrl-C does: by an exception."""
    return _handled(lambda got, _: sys.exit(128 + got), signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def deferred_signals() -> Iterator[None]:
    """Hold back Ctrl-C, SIGTERM and SIGHUP until the block has ended."""
    caught: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    with _handled(lambda got, _: caught.append(got), *numbers):
        yield
    if caught:
        signal.raise_signal(caught[0])


def options_of_child(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Read the command line of an emulator, which may end with its parent."""
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--parent", type=int, help="stop when this process has gone")
    options = parser.parse_args()
    if options.parent is not None:
        stop_with(options.parent)
    return options
