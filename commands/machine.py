"""This machine: the demo, and emulators and functions that stay up."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from commands.options import local_state
from propensity.cli.answers import Exit, Spoken, command, spoken
from propensity.cli.options import FILE, Count, use_case

if TYPE_CHECKING:
    from local.stack.state import State


@command("propensity demo", "propensity demo --data export/ --weeks 8")
@click.option(
    "--data", type=FILE, help="GA4 export, a file or folder: JSON (.gz, .zst), Parquet."
)
@click.option(
    "--events",
    type=FILE,
    help="Events of your own, for a use case with [events]: CSV, Parquet.",
)
@click.option(
    "--cards",
    type=FILE,
    help="Card transactions: Parquet or CSV with Time, V1 to V28, Amount, Class.",
)
@click.option(
    "--user-column",
    type=click.Choice(["user_pseudo_id", "user_id", "person"]),
    default="user_pseudo_id",
    help="What a user is: a browser, your own id, or a person with several browsers.",
)
@click.option(
    "--label-event", metavar="EVENT", default="purchase", help="Event to predict."
)
@use_case("ga4_purchase")
@click.option(
    "--weeks",
    type=Count(1, 999),
    default=5,
    help="Weeks to play, the last of the data.",
)
@local_state("demo, or the name of the data")
def demo(**choice: Any) -> Any:
    """
    Train, predict and evaluate on generated data or on yours.

    Runs the functions that a deploy uploads, on emulators. Without --data, --events and
    --cards the data are generated. With --json the answer is the local state, and the
    tables are on standard error.
    """
    from local.demos import Choice
    from local.play import run
    from local.stack.state import Options

    # Without this, grpc prints between the tables that an emulator has ended.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    inputs = ("data", "events", "cards")
    if sum(bool(choice[name]) for name in inputs) > 1:
        raise click.UsageError("give only one of --data, --events and --cards")
    for name in inputs:
        if choice[name] is not None:
            choice[name] = choice[name].expanduser()
    named = ("user_column", "label_event", "use_case")
    options = Options(**{name: choice.pop(name) for name in named})
    return Spoken(run(Choice(options=options, **choice)))


@command("propensity up")
@local_state()
@click.option(
    "--env",
    "is_environment",
    is_flag=True,
    help="Print only the settings for your shell: `export` lines.",
)
@click.option("--new", "is_new", is_flag=True, help="Create the state, empty.")
def up(*, state: str | None, is_new: bool, is_environment: bool) -> Any:
    """
    Start Propensity on this machine and keep it running.

    Starts again what has ended by itself. Prints every address, and what to do first.
    PROPENSITY_PORT_BASE moves the ports.
    """
    from commands.texts import machine as texts
    from local.stack import commands
    from local.stack.stack import Stack
    from local.stack.state import State, named

    chosen = State(state) if is_new and state else named(state)
    answer = commands.up(chosen)
    text = texts.up(answer)
    if is_environment:
        text = commands.exports(Stack(chosen, base=chosen.record().base))
    return _status_of(Spoken(answer, text))


@command("propensity down")
def down() -> Any:
    """
    Stop what `up` started.

    Stops every local state but that of a running demo, which stops by itself.
    """
    from commands.texts import machine as texts
    from local.stack import commands
    from local.stack.state import states

    answer = commands.down(states())
    code = Exit.FAILED if answer["in_use"] else Exit.DONE
    return spoken(answer, texts.down), code


@command("propensity status")
def status() -> Any:
    """
    Show running local states, with addresses and logs.

    Fails if a process has ended by itself.
    """
    from commands.texts import machine as texts
    from local.stack import commands
    from local.stack.state import states

    return _status_of(spoken(commands.status(states()), texts.status))


def _status_of(answer: Spoken) -> tuple[Spoken, Exit]:
    return answer, Exit.FAILED if answer["ended"] else Exit.DONE


def enter_state() -> State:
    """
    Take on the environment of the local state that is up, and return the state; raise
    RequestError unless exactly one is up.
    """
    from local.stack.stack import Stack
    from local.stack.state import states
    from propensity.errors import RequestError
    from propensity.settings import is_setting

    up = [state for state in states() if state.record().is_running]
    if not up:
        problem = "Propensity is not running on this machine"
        raise RequestError(problem, hint="Start it with `make up`")
    if len(up) > 1:
        names = ", ".join(state.name for state in up)
        raise RequestError(
            f"several states are running: {names}",
            hint=f'Choose one by eval "$(propensity up --env --state {up[0].name})", '
            "and leave --local out",
        )
    # The user's own settings may be of a deployment: this is about the local state.
    for variable in list(os.environ):
        if is_setting(variable):
            del os.environ[variable]
    stack = Stack(up[0], base=up[0].record().base)
    os.environ.update(stack.environment)
    if stack.audiences_folder.is_dir():
        stack.share_use_cases()
        os.environ.setdefault("PROPENSITY_USE_CASES", str(stack.audiences_folder))
    return up[0]


def state_of_environment() -> State | None:
    """Return the running state whose emulators the environment names; None if none."""
    address = os.environ.get("BIGQUERY_EMULATOR_HOST")
    if not address:
        return None

    from local.stack.stack import Stack
    from local.stack.state import states

    for state in states():
        record = state.record()
        if (
            record.is_running
            and Stack(state, base=record.base).url("bigquery") == address
        ):
            return state
    return None
