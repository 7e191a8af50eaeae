"""
Options that many commands share, so that each means the same everywhere.

A value is read by a plain function that raises ``ValueError`` in words; ``Read`` makes
an option's type of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import click

F = TypeVar("F", bound=Callable[..., Any])


class Read(click.ParamType[Any]):
    """The type of an option that a function reads."""

    def __init__(self, name: str, read: Callable[[str], Any]) -> None:
        self.name = name
        self._read = read

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Any:
        """Return the value; a default is one already."""
        if not isinstance(value, str):
            return value
        try:
            return self._read(value)
        except ValueError as error:
            return self.fail(str(error), param, ctx)


def whole(least: int, most: int | None = None, *, what: str = "") -> Read:
    """
    Return the type of a whole number.

    Args:
        least: The smallest.
        most: The largest, None for any.
        what: The number's own name in messages.
    """
    bounds = f"{least} or more" if most is None else f"{least} to {most:,}"

    def read(text: str) -> int:
        with contextlib.suppress(ValueError):
            number = int(text)
            if least <= number and (most is None or number <= most):
                return number
        if what:
            raise ValueError(
                f"{what} must be a whole number from {least} to {most}, not {text!r}"
            )
        raise ValueError(f"{text!r} is not a whole number of {bounds}")

    return Read("N", read)


def fraction(name: str, what: str) -> Read:
    """Return the type of a number from 0 to 1; ``what`` is its name in messages."""

    def read(text: str) -> float:
        with contextlib.suppress(ValueError):
            if 0 <= (value := float(text)) <= 1:
                return value
        raise ValueError(f"{text!r} is not a {what} from 0 to 1")

    return Read(name, read)


_FIRST_YEAR, _LAST_YEAR = 1970, 2999


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


def _zone(text: str) -> ZoneInfo:
    try:
        return ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        # Of OSError is what names a folder of zones, such as America.
        raise ValueError(f"there is no time zone {text}") from None


def _state(text: str) -> str:
    from local.errors import LocalError
    from local.stack.state import State

    try:
        return State(text).name
    except LocalError as error:
        raise ValueError(str(error)) from None


DAY = Read("DATE", _day)
MOMENT = Read("TIME", _moment)
ZONE = Read("ZONE", _zone)
STATE = Read("NAME", _state)
FILE = click.Path(path_type=Path)


def together(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Return several options as one decorator; the help lists them in this order."""

    def give(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return give


def as_json(command: F) -> F:
    """Give a command ``--json``."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print the answer as JSON."
    )(command)


def dry_run(what: str) -> Callable[[F], F]:
    """Give a command ``--dry-run``, with its help."""
    return click.option("--dry-run", "is_dry", is_flag=True, help=what)


def use_case(
    default: str | None = None, *, shown_default: str = ""
) -> Callable[[F], F]:
    """
    Give a command ``--use-case``.

    Args:
        default: Its name; None where the command finds it itself.
        shown_default: The default as the help names it.
    """
    shown_default = shown_default or default or "PROPENSITY_USE_CASE"
    return click.option(
        "--use-case",
        default=default,
        metavar="NAME",
        help=f"Name of the use case (default: {shown_default}).",
    )


def state(shown_default: str = "demo") -> Callable[[F], F]:
    """Give a command ``--state``."""
    return click.option(
        "--state",
        type=STATE,
        help=f"Name of the local state (default: {shown_default}).",
    )
