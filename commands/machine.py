"""This machine: the demo, and emulators and functions that stay up."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from commands import flags
from commands.answers import Exit, apart, show

if TYPE_CHECKING:
    from local.stack.state import State


_which_data = click.option(
    "--data", metavar="DATA", help="Data set that the state was made from."
)


@click.command
@click.option(
    "--data",
    metavar="PATH",
    help="File or folder of GA4 export rows (JSON, plain, .gz or .zst; Parquet).",
)
@click.option(
    "--cards",
    metavar="FILE",
    help="Card transactions: Parquet or CSV with Time, V1 to V28, Amount, Class.",
)
@click.option(
    "--user-column",
    type=click.Choice(["user_pseudo_id", "user_id"]),
    default="user_pseudo_id",
    show_default=True,
    help="Column that says who a user is.",
)
@click.option(
    "--label-event", default="purchase", show_default=True, help="Event to predict."
)
@flags.use_case("ga4_purchase")
@click.option(
    "--weeks",
    type=click.IntRange(1, 999),
    metavar="N",
    default=5,
    show_default=True,
    help="How many of the last weeks of the data to play.",
)
@click.option("--verbose", is_flag=True, help="Print the full tables.")
@flags.state("demo, or the name of the data")
@flags.as_json
def demo(*, as_json: bool, **choice: Any) -> None:
    """
    Play weeks of predictions, a stream of events and card fraud.

    Without --data and --cards the data are generated. Trains, evaluates, predicts and
    looks users up, by the functions that a deploy uploads, on emulators. The answer of
    --json is the state to go on with; the tables are then on standard error.
    """
    from local.play import Choice, run

    if choice["data"] and choice["cards"]:
        raise click.UsageError("give one of --data and --cards")
    with apart(as_json=as_json):
        played = run(Choice(**choice))
    show(played, as_json=as_json)


@click.command
@flags.state()
@_which_data
@click.option(
    "--port-base",
    type=click.IntRange(1, 65_535),
    metavar="PORT",
    help="First port (default: PROPENSITY_PORT_BASE, or 8080).",
)
@flags.as_json
def up(
    *, state: str | None, data: str | None, port_base: int | None, as_json: bool
) -> int:
    """
    Start emulators and functions, and leave them running.

    Prints every address, the environment for clients, and commands to try.
    """
    from local.errors import LocalError
    from local.stack import commands
    from local.stack.stack import Stack
    from local.stack.state import State, ports_from

    named_state = _named(state, data) or State()
    try:
        numbers = ports_from(os.environ, base=port_base)
    except LocalError as error:
        if port_base is None:
            raise  # It is the environment's.
        raise click.UsageError(str(error)) from None
    started = Stack(named_state, ports=numbers, say=commands.progress)
    with apart(as_json=as_json):
        status = commands.up(started)
    if as_json:
        described = _described(named_state)
        show({**described, "environment": started.environment}, as_json=True)
    return status


@click.command
@flags.state("all of them")
@_which_data
@flags.as_json
def down(*, state: str | None, data: str | None, as_json: bool) -> int:
    """
    Stop what `up` started.

    In every state unless one is named. Only processes that were started here are
    stopped. Fails where a program, such as a demo, uses a state: it stops what it
    started itself.
    """
    from local.stack import commands

    states = _chosen(state, data)
    before = [_described(named) for named in states if named.record()]
    with apart(as_json=as_json):
        status = commands.down(states)
    if as_json:
        left = {named.name for named in states if named.record()}
        show(
            {
                "stopped": [
                    description
                    for description in before
                    if description["state"] not in left
                ]
            },
            as_json=True,
        )
    return status


@click.command
@flags.state("all of them")
@_which_data
@flags.as_json
def status(*, state: str | None, data: str | None, as_json: bool) -> int:
    """
    Say what is up, and where.

    Of every state unless one is named. Fails where something that was started has ended
    by itself.
    """
    from local.stack import commands

    states = _chosen(state, data)
    with apart(as_json=as_json):
        code = commands.status(states)
    if as_json:
        show(
            {"states": [_described(named) for named in states if named.record()]},
            as_json=True,
        )
    return Exit(code)


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
    from local.stack.state import State, states
    from propensity.errors import RequestError

    known = [State(name)] if name else states()
    running = [
        candidate
        for candidate in known
        if (record := candidate.record()) and record.running
    ]
    if name and not running:
        raise RequestError(
            f"local state {name} is not up: `make up STATE={name}` starts it"
        )
    if len(running) != 1:
        names = ", ".join(candidate.name for candidate in running)
        raise RequestError(
            f"several local states are up: name one of {names} by --state"
            if running
            else "no local state is up: `make up` starts one"
        )
    return running[0]


def _named(state: str | None, data: str | None) -> State | None:
    """Return the state that is named, by itself or by its data."""
    from local.stack.state import State

    if state and data:
        raise click.UsageError("give one of --state and --data")
    if state:
        return State(state)
    return State.of_data(data) if data else None


def _chosen(state: str | None, data: str | None) -> list[State]:
    """Return the state that is named, or all."""
    from local.stack.state import states

    named = _named(state, data)
    return [named] if named else states()


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
