"""This machine: the demo, and emulators and functions that stay up."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from commands.answers import Printed, answering
from commands.flags import Whole, flag, option, state, use_case

if TYPE_CHECKING:
    from local.stack.state import State


@click.command
@option(
    "--data",
    "File or folder of GA4 export rows (JSON, plain, .gz or .zst; Parquet).",
    metavar="PATH",
)
@option(
    "--cards",
    "Card transactions: Parquet or CSV with Time, V1 to V28, Amount, Class.",
    metavar="FILE",
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

    # Else grpc says among the tables that an emulator has ended.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    if choice["data"] and choice["cards"]:
        raise click.UsageError("give one of --data and --cards")
    return Printed(run(Choice(**choice)))


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
    from local.stack.state import State

    named = State(state) if state else State()
    code = commands.up(named)
    environment = Stack(named, base=named.record().base).environment
    return Printed({**_described(named), "environment": environment}), code


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
    before = [(named, _described(named)) for named in chosen]
    code = commands.down(chosen)
    stopped = [
        described
        for named, described in before
        if described["services"] and not named.record().processes
    ]
    return Printed({"stopped": stopped}), code


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
    described = [_described(named) for named in chosen if named.record().processes]
    return Printed({"states": described}), code


def entered(name: str | None) -> State:
    """
    Take on the environment of the local state that is up, and return the state.

    Args:
        name: Of the state; None for the one that is up.

    Raises:
        RequestError: None is, or the one named is not, or several are.
    """
    from local.stack.stack import Stack
    from propensity.errors import RequestError

    up = [one for one in _chosen(name) if one.record().is_running]
    if name and not up:
        raise RequestError(
            f"local state {name} is not up: `make up STATE={name}` starts it"
        )
    if len(up) != 1:
        names = ", ".join(one.name for one in up)
        raise RequestError(
            f"several local states are up: name one of {names} by --state"
            if up
            else "no local state is up: `make up` starts one"
        )
    [state] = up
    for variable in [one for one in os.environ if one.startswith("PROPENSITY_")]:
        del os.environ[variable]
    os.environ.update(Stack(state, base=state.record().base).environment)
    return state


def _chosen(state: str | None) -> list[State]:
    """Return the state that is named, or all."""
    from local.stack.state import State, states

    return [State(state)] if state else states()


def _described(state: State) -> dict[str, Any]:
    """Return the services of a state, for a program."""
    from local.stack.commands import services

    return {
        "state": state.name,
        "folder": str(state.folder),
        "services": services(state.record()),
    }
