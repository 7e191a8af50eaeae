"""What keeps a state from starting, and waiting until its processes answer."""

from __future__ import annotations

import itertools
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from local.errors import LocalError
from local.processes import HOST, Process, is_free, last_lines, stop
from local.progress import shown
from local.stack.state import (
    DEFAULT_PORT_BASE,
    EMULATOR_PORTS,
    GOOGLE,
    READY_VARIABLE,
    Function,
    Options,
    Record,
    State,
    states,
)
from propensity.settings import is_setting

POLL_S = 0.05


def ignored(
    environment: Mapping[str, str],
    given: Mapping[str, str],
    *,
    passed_on: Collection[str],
) -> list[str]:
    """
    Return the settings of the user's environment that no function here gets.

    Args:
        environment: The user's.
        given: The functions'.
        passed_on: Settings that functions get from the user.
    """
    return sorted(
        name
        for name, value in environment.items()
        if is_setting(name)
        and name not in passed_on
        and value not in ("", given.get(name))
    )


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
        raise LocalError(
            f"state {state.name!r} is in use by process {record.owner.pid}. "
            f"Wait for it, or stop it (kill {record.owner.pid}), or play beside "
            "it, in another state and on other ports:\n"
            f"    make demo STATE={_other_name(state)} "
            f"PROPENSITY_PORT_BASE={min(record.ports.values()) + 1000}"
        )
    if record.owner is None and record.running:
        raise LocalError(f"state {state.name!r} is up; `make down` stops it")
    # Its program was killed, so that it could not stop them itself. What has ended may
    # have left workers behind, which keep its port.
    stop(record.processes)
    state.record_file.unlink(missing_ok=True)


def _other_name(state: State) -> str:
    """Return the name of a state that there is not yet."""
    known = {existing.name for existing in states(state.home)}
    name = state.name[:60]
    return next(
        other for n in itertools.count(2) if (other := f"{name}-{n}") not in known
    )


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
    names += ["dashboard"] if functions and "dashboard" in ports else []
    for name in names:
        port = ports[name]
        if is_free(port):
            continue
        holder = next(
            (
                f"state {state.name!r}, {_holding(record)}"
                for state in states(home)
                if (record := state.record())
                and record.running
                and port in record.ports.values()
            ),
            "another program",
        )
        raise LocalError(
            f"port {port}, needed for {name}, is taken by {holder}.\n"
            f"Set PROPENSITY_PORT_{name.upper()} for another port, or "
            "PROPENSITY_PORT_BASE to move all of them "
            f"(such as PROPENSITY_PORT_BASE={DEFAULT_PORT_BASE + 1000}). "
            "Nothing was started."
        )


def _holding(record: Record) -> str:
    """Say who stops what has a port."""
    if record.owner and record.owner.is_running:
        return f"in use by process {record.owner.pid}"
    return "which `make down` stops"


def emulator_commands(
    options: Options, ports: Mapping[str, int], folder: Path
) -> dict[str, list[str]]:
    """
    Return the command that runs each emulator, by service.

    Args:
        options: Of the state.
        ports: Service to port.
        folder: Of the state; each emulator has its own in it.

    Raises:
        LocalError: Google's Pub/Sub emulator was chosen, and is not installed.
    """
    pubsub = [
        *(sys.executable, "-m", "local.emulators.pubsub"),
        *("--port", str(ports["pubsub"])),
    ]
    if options.pubsub == GOOGLE:
        from local.emulators.pubsub.server import google_command

        command = google_command(ports["pubsub"], folder / "pubsub")
        if command is None:
            raise LocalError(
                "Google's Pub/Sub emulator is not on this machine: it needs Java, "
                "and `gcloud components install pubsub-emulator`"
            )
        pubsub = command
    return {
        "bigquery": [
            *(sys.executable, "-m", "local.emulators.bigquery"),
            *("--port", str(ports["bigquery"])),
            *("--grpc-port", str(ports["bigquery_storage"])),
            *("--project", options.project),
            *("--data-dir", str(folder / "bigquery")),
            *("--storage", f"http://{HOST}:{ports['storage']}"),
        ],
        "storage": [
            *(sys.executable, "-m", "local.emulators.storage"),
            *("--port", str(ports["storage"])),
            *("--data-dir", str(folder / "storage")),
        ],
        "pubsub": pubsub,
    }


def wait_for(
    record: Record,
    ready: Mapping[str, Callable[[], bool]],
    *,
    began: float,
    ready_s: int,
    say: Callable[[str], None],
) -> None:
    """
    Wait until services answer.

    Args:
        record: What was started.
        ready: Whether a service answers, by its name.
        began: When their start began, on the monotonic clock.
        ready_s: For how long a process may not answer.
        say: Told which services are up.

    Raises:
        LocalError: A process ended, or has not answered for so long.
    """
    waiting = dict(ready)
    while True:
        up = [name for name, is_ready in waiting.items() if is_ready()]
        for name in up:
            del waiting[name]
        if up:
            seconds = time.monotonic() - began
            say(f"  {', '.join(up)} up after {seconds:.1f} s")
        if not waiting:
            return
        for process in record.ended:
            raise LocalError(
                f"{process.name} ended while it was starting. {end_of(process)}"
            )
        if time.monotonic() - began > ready_s:
            [process, *_] = [one for one in record.processes if one.name in waiting]
            raise LocalError(
                f"{process.name} does not answer on port {process.port} after "
                f"{ready_s} s. {end_of(process)}\n"
                "Mend what its log names, if anything, and start again; where this "
                f"machine is only slow, set {READY_VARIABLE} to more seconds "
                f"(such as {READY_VARIABLE}={ready_s * 4})."
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
    """Say how the log of a process ends."""
    return f"Its log {shown(process.log)} ends with\n{last_lines(Path(process.log))}"
