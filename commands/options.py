"""
Options that many commands share, and how the values of options are read.

click names a function's value in the help by the function: ``day`` reads ``DAY``. Its
ValueError ends the command.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any, TypeVar

import click

Function = TypeVar("Function", bound=Callable[..., Any])
Decorator = Callable[[Function], Function]

FILE = click.Path(path_type=Path)


class Whole(click.IntRange):
    """A whole number between limits, which errors name."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        try:
            number = int(value)
        except ValueError:
            self.fail(f"{value!r} is not a whole number", param, ctx)
        if self.min is not None and number < self.min:
            self.fail(f"{number} is too low; use {self.min:g} or more", param, ctx)
        if self.max is not None and number > self.max:
            self.fail(f"{number} is too high; use {self.max:g} or less", param, ctx)
        return number


class Count(Whole):
    """A whole number, which the help calls N."""

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return "N"


VERSION = Whole(min=0)


def day(text: str) -> date:
    """Read a day from which weeks can be counted, back and forth."""
    from propensity.timeframe import day_of

    value = day_of(text)
    if not 1970 <= value.year <= 2999:
        raise ValueError(f"{text!r} is not a day of 1970 to 2999")
    return value


def moment(text: str) -> datetime:
    """Read a day or a time."""
    from propensity.timeframe import moment_of

    return moment_of(text)


def state(text: str) -> str:
    """Read the name of a local state."""
    from local.errors import LocalError
    from local.stack.state import State

    try:
        return State(text).name
    except LocalError as error:
        raise ValueError(error) from None


def name(text: str) -> str:
    """Read the name of an audience or of a control group."""
    from propensity.ids import NAME

    if NAME.fullmatch(text):
        return text
    raise ValueError(
        f"{text!r} is not a valid name: use lower-case letters, digits and underscores"
    )


def use_case(
    default: str | None = None, *, shown: str = "PROPENSITY_USE_CASE"
) -> Decorator[Any]:
    """Return the option ``--use-case``; ``shown`` describes what None stands for."""
    return click.option(
        "--use-case",
        metavar="NAME",
        default=default,
        show_default=shown if default is None else True,
        help="Name of the use case.",
    )


def local_state(shown: str = "demo") -> Decorator[Any]:
    """Return the option ``--state``; ``shown`` describes its default."""
    text = "Name of the local state."
    return click.option("--state", type=state, show_default=shown, help=text)


DRY_RUN: Decorator[Any] = click.option(
    "--dry-run",
    "is_dry",
    is_flag=True,
    help="Check, and show what would change, without changing it.",
)
FORCE: Decorator[Any] = click.option(
    "--force",
    is_flag=True,
    help="Allow a first version that was not shown to be better than chance.",
)
