"""This machine: the demo, and emulators and functions that stay up."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from commands.answers import Exit, Printed, command
from commands.flags import local_state, option, use_case

if TYPE_CHECKING:
    from local.stack.state import State

WEEKS = click.IntRange(1, 999)


@command(
    option("--data PATH", "GA4 export, a file or folder: JSON (.gz, .zst), Parquet."),
    option("--cards PATH", "Parquet or CSV with Time, V1 to V28, Amount, Class."),
    option(
        "--user-column COLUMN",
        "Who a user is: user_pseudo_id or user_id.",
        type=click.Choice(["user_pseudo_id", "user_id"]),
        default="user_pseudo_id",
    ),
    option("--label-event EVENT", "Event to predict.", default="purchase"),
    use_case("ga4_purchase"),
    option("--weeks N", "Weeks to play, the last of the data.", type=WEEKS, default=5),
    option("--verbose", "Print the full tables."),
    local_state("demo, or the name of the data"),
)
def demo(**choice: Any) -> Any:
    """
    Train, predict and evaluate on generated data or on yours.

    Without --data and --cards the data are generated. Trains, evaluates, predicts and
    looks users up, by the functions that a deploy uploads, on emulators. The answer of
    --json is the state to go on with; the tables are then on standard error.
    """
    from local.play import Choice, run

    # Else grpc says among the tables that an emulator has ended.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    if choice["data"] and choice["cards"]:
        raise click.UsageError("give either --data or --cards, not both")
    for name in ("data", "cards"):
        choice[name] = Path(choice[name]).expanduser() if choice[name] else None
    return Printed(run(Choice(**choice)))


@command(local_state())
def up(*, state: str | None) -> Any:
    """
    Start Propensity on this machine and keep it running.

    Prints every address, the environment for clients, and commands to try.
    PROPENSITY_PORT_BASE moves the ports.
    """
    from local.stack import commands
    from local.stack.state import State

    return _ended(commands.up(State(state) if state else State()))


@command(local_state("all of them"))
def down(*, state: str | None) -> Any:
    """
    Stop what `up` started.

    In every state unless one is named. Only processes that were started here are
    stopped. Fails where a program, such as a demo, uses a state: it stops what it
    started itself.
    """
    from local.stack import commands

    answer = commands.down(_chosen(state))
    return answer, Exit.FAILED if answer["in_use"] else Exit.DONE


@command(local_state("all of them"))
def status(*, state: str | None) -> Any:
    """
    Show what is running, with addresses and logs.

    Of every state unless one is named. Fails where something that was started has ended
    by itself.
    """
    from local.stack import commands

    return _ended(commands.status(_chosen(state)))


def _ended(answer: dict[str, Any]) -> tuple[dict[str, Any], Exit]:
    return answer, Exit.FAILED if answer["ended"] else Exit.DONE


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
    if len(up) != 1:
        names = ", ".join(one.name for one in up)
        raise RequestError(
            f"several local states are running: {names}. Choose one with --state"
            if up
            else f"{name or 'Propensity'} is not running on this machine. Start it "
            "with `make up`"
        )
    for variable in [one for one in os.environ if one.startswith("PROPENSITY_")]:
        del os.environ[variable]
    os.environ.update(Stack(up[0], base=up[0].record().base).environment)
    return up[0]


def _chosen(state: str | None) -> list[State]:
    """Return the state that is named, or all."""
    from local.stack.state import State, states

    return [State(state)] if state else states()
