"""The commands that run emulators and functions, and waiting until they answer."""

from __future__ import annotations

import itertools
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from local.errors import LocalError
from local.processes import HOST, Process, is_free, last_lines, stop
from local.progress import shown
from local.stack.state import (
    DEFAULT_PORT_BASE,
    EMULATOR_PORTS,
    Function,
    Options,
    Record,
    State,
    states,
)

POLL_S = 0.05
# A process that does not answer by then will not.
READY_S = 300


def emulator_commands(
    options: Options, ports: Mapping[str, int], folder: Path
) -> dict[str, list[str]]:
    """
    Return the command that runs each emulator, by service.

    Args:
        options: Of the state.
        ports: Service to port.
        folder: Of the state; each emulator has its own in it.
    """

    def command(service: str, *words: str) -> list[str]:
        module = f"local.emulators.{service}"
        return [sys.executable, "-m", module, "--port", str(ports[service]), *words]

    return {
        "bigquery": command(
            "bigquery",
            *("--grpc-port", str(ports["bigquery_storage"])),
            *("--project", options.project),
            *("--data-dir", str(folder / "bigquery")),
            *("--storage", f"http://{HOST}:{ports['storage']}"),
        ),
        "storage": command("storage", "--data-dir", str(folder / "storage")),
        "pubsub": command("pubsub"),
    }


def function_command(function: Function, python: Path, port: int) -> list[str]:
    """Return the command that serves a function from its staged folder."""
    return [
        *(str(python), "-m", "functions_framework"),
        *("--source", "main.py", "--target", function.target),
        *("--host", HOST, "--port", str(port)),
        *(["--asgi"] if function.is_asynchronous else []),
    ]


def refuse_running(state: State) -> None:
    """
    Refuse to start a state that runs; stop what a killed program has left of it.

    Raises:
        LocalError: Somebody uses it.
    """
    record = state.record()
    if record is None:
        return
    if record.owner and record.owner.is_running:
        known = {existing.name for existing in states(state.home)}
        names = (f"{state.name[:60]}-{n}" for n in itertools.count(2))
        other = next(name for name in names if name not in known)
        raise LocalError(
            f"state {state.name!r} is in use by process {record.owner.pid}. "
            f"Wait for it, or stop it (kill {record.owner.pid}), or play beside "
            "it, in another state and on other ports:\n"
            f"    make demo STATE={other} "
            f"PROPENSITY_PORT_BASE={min(record.ports.values()) + 1000}"
        )
    if record.is_up:
        raise LocalError(f"state {state.name!r} is up; `make down` stops it")
    stop(record.processes)
    state.record_file.unlink(missing_ok=True)


def refuse_taken_ports(
    ports: Mapping[str, int], functions: Sequence[Function], *, home: Path
) -> None:
    """
    Refuse to start where a port is taken.

    Args:
        ports: Service to port.
        functions: Those to start, beside the emulators.
        home: Folder of all states, one of which may have the port.

    Raises:
        LocalError: Says whose port it is, and how to move.
    """
    names = [*EMULATOR_PORTS, *(function.target for function in functions)]
    names += ["dashboard"] if functions else []
    for name in names:
        port = ports[name]
        if is_free(port):
            continue
        holder = "another program"
        for state in states(home):
            record = state.record()
            if record and record.running and port in record.ports.values():
                owner = record.owner
                is_used = owner and owner.is_running
                how = f"in use by process {owner.pid}" if owner and is_used else "up"
                holder = f"state {state.name!r}, which is {how}"
        raise LocalError(
            f"port {port}, needed for {name}, is taken by {holder}.\n"
            f"Set PROPENSITY_PORT_{name.upper()} for another port, or "
            "PROPENSITY_PORT_BASE to move all of them "
            f"(such as PROPENSITY_PORT_BASE={DEFAULT_PORT_BASE + 1000}). "
            "Nothing was started."
        )


def wait_for(
    record: Record,
    ready: Mapping[str, Callable[[], bool]],
    *,
    began: float,
    say: Callable[[str], None],
) -> None:
    """
    Wait until services answer.

    Args:
        record: What was started.
        ready: Whether a service answers, by its name.
        began: When their start began, on the monotonic clock.
        say: Told which services are up.

    Raises:
        LocalError: A process ended, or does not answer.
    """
    waiting = dict(ready)
    while waiting:
        up = [name for name, is_ready in waiting.items() if is_ready()]
        for name in up:
            del waiting[name]
        seconds = time.monotonic() - began
        if up:
            say(f"  {', '.join(up)} up after {seconds:.1f} s")
        for process in record.ended:
            raise LocalError(
                f"{process.name} ended while it was starting. {end_of(process)}"
            )
        if waiting and seconds > READY_S:
            [process, *_] = [one for one in record.processes if one.name in waiting]
            raise LocalError(
                f"{process.name} does not answer on port {process.port} after "
                f"{seconds:.0f} s. {end_of(process)}"
            )
        time.sleep(POLL_S)


def answers(url: str) -> bool:
    """Whether a server gives any answer but a server error."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5):
            return True
    except urllib.error.HTTPError as error:
        with error:
            return error.code < 500
    except (OSError, ValueError):
        return False


def end_of(process: Process) -> str:
    """Return how the log of a process ends."""
    return f"Its log {shown(process.log)} ends with\n{last_lines(Path(process.log))}"
