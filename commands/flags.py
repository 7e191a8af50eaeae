"""
Options that many commands share, so that each means the same everywhere.

A value is read by click's own types, or by a function that raises ``BadParameter``.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
_FIRST_YEAR, _LAST_YEAR = 1970, 2999


def day(text: str) -> date:
    """Read a day."""
    from propensity.timeframe import day_of

    try:
        read = day_of(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a date as YYYY-MM-DD") from None
    # Weeks are counted from it, back and forth.
    if not _FIRST_YEAR <= read.year <= _LAST_YEAR:
        raise click.BadParameter(
            f"{text!r} is not a day of {_FIRST_YEAR} to {_LAST_YEAR}"
        )
    return read


def moment(text: str) -> datetime:
    """Read a day or a time."""
    from propensity.timeframe import moment_of

    try:
        return moment_of(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def state_name(text: str) -> str:
    """Read the name of a local state."""
    from local.errors import LocalError
    from local.stack.state import State

    try:
        return State(text).name
    except LocalError as error:
        raise click.BadParameter(str(error)) from None


class Whole(click.IntRange):
    """The type of a whole number."""

    name = "N"


FILE = click.Path(path_type=Path)
COUNT, WHOLE = Whole(min=1), Whole(min=0)


def option(*names: str, **more: Any) -> Callable[[F], F]:
    """Give a command an option: its names, and last its help."""
    *given, text = names
    is_shown = more.get("default") not in (None, "")
    return click.option(*given, help=text, show_default=is_shown, **more)


def flag(*names: str) -> Callable[[F], F]:
    """Give a command an option without a value: its names, and last its help."""
    return option(*names, is_flag=True)


def together(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Return several options as one decorator; the help lists them in this order."""

    def give(command: F) -> F:
        for one in reversed(options):
            command = one(command)
        return command

    return give


def dry_run(what: str) -> Callable[[F], F]:
    """Give a command ``--dry-run``, with its help."""
    return flag("--dry-run", "is_dry", what)


def use_case(default: str | None = None, shown: str = "") -> Callable[[F], F]:
    """Give a command ``--use-case``; ``shown`` is the default as the help names it."""
    shown = shown or default or "PROPENSITY_USE_CASE"
    text = f"Name of the use case (default: {shown})."
    return click.option("--use-case", help=text, default=default, metavar="NAME")


def state(shown: str = "demo") -> Callable[[F], F]:
    """Give a command ``--state``."""
    text = f"Name of the local state (default: {shown})."
    return option("--state", text, type=state_name, metavar="NAME")
