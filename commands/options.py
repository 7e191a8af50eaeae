"""Options that commands of a clone share, beside those of ``propensity.cli``."""

from __future__ import annotations

from typing import Any

import click

from propensity.cli.options import Decorator, Whole

VERSION = Whole(min=0)


def state(text: str) -> str:
    """Read the name of a local state."""
    from local.errors import LocalError
    from local.stack.state import State

    try:
        return State(text).name
    except LocalError as error:
        raise ValueError(str(error)) from error


def local_state(shown: str = "demo") -> Decorator[Any]:
    """Return the option ``--state``; ``shown`` describes its default."""
    text = "Name of the local state."
    return click.option("--state", type=state, show_default=shown, help=text)


FORCE: Decorator[Any] = click.option(
    "--force",
    is_flag=True,
    help="Allow a first version that was not shown to be better than chance.",
)
