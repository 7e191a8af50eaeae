"""What ``up``, ``down`` and ``status`` do; each returns its answer."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote

from local.errors import LocalError
from local.processes import HOST, Process, end_of
from local.stack.stack import Stack, stop_all
from local.stack.state import FUNCTIONS, State
from propensity.cli.progress import say


def up(state: State) -> dict[str, Any]:
    """
    Start a state, unless all of it is up already; return its status, and how to use it.

    Where something of it has ended by itself, all of it starts again.
    """
    record = state.record()
    base = record.base if record.serves else None
    if record.serves and not record.ended:
        stack = Stack(state, base=base)
    else:
        if record.serves:
            ended = ", ".join(process.name for process in record.ended)
            say(f"{ended} had ended; stopping the rest, to start all of it again")
        down([state])
        with Stack(state, base=base, stays=True) as stack:
            if not (state.dashboard / "index.html").exists():
                stack.write_dashboard()
    return {**status([state]), "to_use": first_steps(stack)}


def down(states: Sequence[State]) -> dict[str, Any]:
    """
    Stop the processes of ``up``, and those that a killed program left behind; return
    what was ``stopped``, and which states are ``in_use`` by a program, which stops what
    it started itself.
    """
    stopped: list[dict[str, Any]] = []
    in_use = []
    for state in states:
        if state.record().processes:
            try:
                with state.held():
                    stopped += services(state, stop_all(state, state.record()))
            except LocalError as error:
                in_use.append(str(error))
    return {"stopped": stopped, "in_use": in_use}


def status(states: Sequence[State]) -> dict[str, Any]:
    """Return what was started and not stopped, and what of it has ended by itself."""
    running = list[dict[str, Any]]()
    ended = []
    for state in states:
        record = state.record()
        running += services(state, record.processes)
        for process in record.ended:
            ended.append(
                f"{process.name} of state {state.name!r} has ended. {end_of(process)}\n"
                "`make up` starts it again."
            )
    return {"services": running, "ended": ended}


def services(state: State, processes: Iterable[Process]) -> list[dict[str, Any]]:
    """Return where each service of a state is, and whether it still runs."""
    return [
        {
            "state": state.name,
            "service": process.name,
            "url": f"http://{HOST}:{process.port}",
            # A number would be printed with commas, so the pid is a text.
            "pid": str(process.pid),
            "is_running": process.is_running,
            "log": process.log,
        }
        for process in processes
    ]


def exports(stack: Stack) -> str:
    """Return what a shell needs, so that its commands are about a running state."""
    variables = dict(stack.environment)
    # Commands that you type while nothing is up fail after seconds, as with Google.
    del variables["PROPENSITY_DEADLINE_S"]
    if stack.audiences_folder.is_dir():
        stack.share_use_cases()
        variables["PROPENSITY_USE_CASES"] = shlex.quote(str(stack.audiences_folder))
    for function in FUNCTIONS:
        variables[f"URL_{function.target.upper()}"] = stack.url(function.target)
    # It is not about a deployment that the shell has named before.
    variables["PROPENSITY_DEPLOYMENT"] = ""
    return "\n".join(f"export {k}={v}" for k, v in variables.items())


def first_steps(stack: Stack) -> dict[str, str]:
    """Return the things to do with a running state: commands and an address."""
    user = example_user(stack)
    which = _option(stack)
    return {
        "look a user up": f"curl '{stack.url('get_proba')}/?user_id={user}'",
        "open the dashboard": stack.url("dashboard"),
        "use commands here": f'eval "$(.venv/bin/propensity up --env{which})"',
    }


def _option(stack: Stack) -> str:
    is_default = stack.state.name == State().name
    return "" if is_default else f" --state {stack.state.name}"


def example_user(stack: Stack) -> str:
    """Return a user that has a prediction; a placeholder without any."""
    from google.api_core.exceptions import NotFound

    from propensity.gcp.warehouse import Warehouse
    from propensity.settings import Settings

    warehouse = Warehouse.open(Settings.from_environment(stack.environment))
    table = f"{stack.options.dataset}.ma_predictions_table"
    with contextlib.closing(warehouse), contextlib.suppress(NotFound):
        for row in warehouse.client.list_rows(table, max_results=1):
            return quote(str(row["user_id"]), safe="")
    return "SOME_USER"
