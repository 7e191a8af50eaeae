"""
The demo: check its options, start local mode, and play.

Imports take seconds, and the start takes more. So options are checked and a line is
printed before.
"""

from __future__ import annotations

import time
from typing import Any

from local.demos import Choice
from local.errors import LocalError
from local.processes import shown
from local.stack.stack import Stack
from local.stack.state import FUNCTIONS, State
from propensity.cli.progress import say, showing, step
from propensity.errors import SchemaError

# A function that nothing here calls would only take its start.
PLAYED = [function for function in FUNCTIONS if function.target != "score"]


def run(choice: Choice) -> dict[str, Any]:
    """
    Run the demo; return the local state to go on with, its page, and how long it took.
    """
    began = time.monotonic()
    data = next(filter(None, (choice.cards, choice.data, choice.events)), None)
    if data and not data.exists():
        raise LocalError(f"there is no file or folder {data}", hint="Check the path")
    state = State(choice.state) if choice.state else State.of_data(data, choice.options)
    which = "" if state == State() else f" STATE={state.name}"
    with showing():
        say(f"The demo plays in {shown(state.folder)}, on 127.0.0.1 alone.")
        check(choice)
        page = play(state, choice)
        seconds = time.monotonic() - began
        say(f"\nThat took {seconds:.0f} s. To go on:")
        say(f"  make up{which}     runs Propensity on what the demo produced")
        if page:
            say(f"Open {shown(page)}")
    return {
        "state": state.name,
        "folder": str(state.folder),
        "dashboard": page,
        "seconds": round(seconds, 1),
    }


def check(choice: Choice) -> None:
    """
    Refuse data that are not what they should be, before anything is started.

    The beginning of an export is read, and all of a file of card transactions.
    """
    try:
        if choice.data:
            from local.exports import ga4_export

            ga4_export.check(choice.data)
        elif choice.cards:
            from local.generators import cards

            cards.checked(choice.cards)
    except SchemaError as error:
        raise LocalError(error.problem, hint=error.hint) from error


def play(state: State, choice: Choice) -> str:
    """
    Start everything, and play; return the dashboard's first page, if there is one.
    """
    stack = Stack(state, options=choice.options, functions=PLAYED)
    try:
        with step("starting"):
            if not choice.cards:
                from local.demos import audience

                is_generated = not (choice.data or choice.events)
                audience.declare(
                    stack, choice.options.use_case, is_generated=is_generated
                )
            stack.start()
            from local.demos import shop
        shop.run(stack, choice)
        with step("writing the dashboard"):
            is_written = stack.write_dashboard()
        return str(state.dashboard / "index.html") if is_written else ""
    finally:
        with step("stopping"):
            stack.stop()
