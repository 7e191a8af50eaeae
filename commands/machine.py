"""This machine: the demo, and emulators and functions that stay up."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from commands.answers import Printed, answering
from commands.flags import Read, Whole, flag, option, state, use_case

if TYPE_CHECKING:
    from local.stack.state import State


@click.command
@option(
    "--data",
    "File or folder of GA4 export rows (JSON, plain, .gz or .zst; Parquet).",
    type=Read("PATH", str),
)
@option(
    "--cards",
    "Card transactions: Parquet or CSV with Time, V1 to V28, Amount, Class.",
    type=Read("FILE", str),
)
@option(
    *("--user-column", "Column that says who a user is."),
    type=click.Choice(["user_pseudo_id", "user_id"]),
    default="user_pseudo_id",
)
@option("--label-event", "Event to predict.", default="purchase")
@use_case("ga4_purchase")
@option(
    *("--weeks", "How many of the last weeks of the data to play."),
    type=Whole(1, 999),
    default=5,
)
@flag("--verbose", "Print the full tables.")
@state("demo, or the name of the data")
@answering
def demo(**choice: Any) -> Any:
    """
    Play weeks of predictions, a stream of events and card fraud.

    Without --data and --cards the data are generated. Trains, evaluates, predicts and
    looks users up, by the functions that a deploy uploads, on emulators. The answer of
    --json is the state to go on with; the tables are then on standard error.
    """
    from local.play import Choice, run

    if choice["data"] and choice["cards"]:
        raise click.UsageError("give one of --data and --cards")
    return run(Choice(**choice))


@click.command
@state()
@answering
def up(*, state: str | None) -> Any:
    """
    Start emulators and functions, and leave them running.

    Prints every address, the environment for clients, and commands to try.
    PROPENSITY_PORT_BASE moves the ports.
    """
    from local.stack import commands
    from local.stack.stack import Stack
    from local.stack.state import State, ports_from

    named = State(state) if state else State()
    started = Stack(named, ports=ports_from(os.environ), say=commands.progress)
    status = commands.up(started)
    answer = {**_described(named), "environment": started.environment}
    return Printed(answer), status


@click.command
@state("all of them")
@answering
def down(*, state: str | None) -> Any:
    """
    Stop what `up` started.

    In every state unless one is named. Only processes that were started here are
    stopped. Fails where a program, such as a demo, uses a state: it stops what it
    started itself.
    """
    from local.stack import commands

    chosen = _chosen(state)
    before = {named.name: _described(named) for named in chosen if named.record()}
    status = commands.down(chosen)
    left = {named.name for named in chosen if named.record()}
    stopped = [described for name, described in before.items() if name not in left]
    return Printed({"stopped": stopped}), status


@click.command
@state("all of them")
@answering
def status(*, state: str | None) -> Any:
    """
    Say what is up, and where.

    Of every state unless one is named. Fails where something that was started has ended
    by itself.
    """
    from local.stack import commands

    chosen = _chosen(state)
    code = commands.status(chosen)
    described = [_described(named) for named in chosen if named.record()]
    return Printed({"states": described}), code


def environment_of(name: str | None) -> Mapping[str, str]:
    """
    Return the variables of a local state that is up.

    Raises:
        RequestError: None is, or the one named is not, or several are.
    """
    from local.stack.stack import Stack

    running = state_up(name)
    record = running.record()
    assert record is not None
    stack = Stack(running, options=record.options, ports=record.ports)
    return stack.environment


def state_up(name: str | None) -> State:
    """
    Return the local state that is up.

    Args:
        name: Name of the state; None for the state that is up.

    Raises:
        RequestError: None is, or the one named is not, or several are.
    """
    from propensity.errors import RequestError

    running = [
        known for known in _chosen(name) if (of := known.record()) and of.running
    ]
    if name and not running:
        raise RequestError(
            f"local state {name} is not up: `make up STATE={name}` starts it"
        )
    if len(running) != 1:
        names = ", ".join(one.name for one in running)
        raise RequestError(
            f"several local states are up: name one of {names} by --state"
            if running
            else "no local state is up: `make up` starts one"
        )
    return running[0]


def _chosen(state: str | None) -> list[State]:
    """Return the state that is named, or all."""
    from local.stack.state import State, states

    return [State(state)] if state else states()


def _described(state: State) -> dict[str, Any]:
    """Return the services of a state, for a program."""
    from local.processes import HOST

    record = state.record()
    return {
        "state": state.name,
        "folder": str(state.folder),
        "services": [
            {
                "service": process.name,
                "url": f"http://{HOST}:{process.port}",
                "pid": process.pid,
                "is_running": process.is_running,
                "log": process.log,
            }
            for process in (record.processes if record else ())
        ],
    }
