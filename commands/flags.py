"""
Options that many commands share, so that each means the same everywhere.

A value is read by a plain function that raises ``ValueError`` in words; ``Read`` makes
an option's type of it. Numbers, choices and files are click's own types.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
_FIRST_YEAR, _LAST_YEAR = 1970, 2999


class Read(click.ParamType[Any]):
    """The type of an option that a function reads."""

    def __init__(self, name: str, read: Callable[[str], Any]) -> None:
        self.name = name
        self._read = read

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Any:
        """Return the value; a default is one already."""
        try:
            return self._read(value) if isinstance(value, str) else value
        except ValueError as error:
            return self.fail(str(error), param, ctx)


def _day(text: str) -> date:
    from propensity.timeframe import day_of

    try:
        day = day_of(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a date as YYYY-MM-DD") from None
    # Weeks are counted from it, back and forth.
    if not _FIRST_YEAR <= day.year <= _LAST_YEAR:
        raise ValueError(f"{text!r} is not a day of {_FIRST_YEAR} to {_LAST_YEAR}")
    return day


def _moment(text: str) -> datetime:
    from propensity.timeframe import moment_of

    return moment_of(text)


def _state(text: str) -> str:
    from local.errors import LocalError
    from local.stack.state import State

    try:
        return State(text).name
    except LocalError as error:
        raise ValueError(str(error)) from None


class Whole(click.IntRange):
    """The type of a whole number."""

    name = "N"


DAY = Read("DATE", _day)
MOMENT = Read("TIME", _moment)
NAME, STATE = Read("NAME", str), Read("NAME", _state)
FILE, FOLDER = click.Path(path_type=Path), Read("FOLDER", str)
COUNT, WHOLE = Whole(min=1), Whole(min=0)


def option(*names: str, **more: Any) -> Callable[[F], F]:
    """Give a command an option: its names, and last its help."""
    *given, text = names
    is_shown = more.get("default") not in (None, "")
    return click.option(*given, help=text, show_default=is_shown, **more)


def flag(*names: str) -> Callable[[F], F]:
    """Give a command an option without a value: its names, and last its help."""
    return option(*names, is_flag=True)


as_of = option(
    "--as-of", "Look as if that day (UTC) had just ended (default: now).", type=DAY
)


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


def use_case(default: str | None = None, *, shown: str = "") -> Callable[[F], F]:
    """
    Give a command ``--use-case``.

    Args:
        default: Its name; None where the command finds it itself.
        shown: The default as the help names it.
    """
    text = (
        f"Name of the use case (default: {shown or default or 'PROPENSITY_USE_CASE'})."
    )
    return click.option("--use-case", help=text, default=default, type=NAME)


def state(shown: str = "demo") -> Callable[[F], F]:
    """Give a command ``--state``."""
    return option("--state", f"Name of the local state (default: {shown}).", type=STATE)
