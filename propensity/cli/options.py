"""
Options that many commands share, and how the values of options are read.

A ValueError of a function that reads one ends the command.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

import click

Function = TypeVar("Function", bound=Callable[..., Any])
Decorator = Callable[[Function], Function]

FILE = click.Path(path_type=Path)


class UnknownName(click.UsageError):
    """There is nothing of a name; the hint says what to write instead."""

    def __init__(self, problem: str, hint: str, ctx: click.Context | None) -> None:
        super().__init__(problem, ctx)
        self.hint = hint


def known_use_case(name: str) -> str:
    """
    Return the name of a use case; raise UnknownName for another.

    It is checked before the libraries of a command are imported, which takes seconds.
    """
    from propensity import folders
    from propensity.suggestions import instead

    names = folders.names()
    if name not in names:
        hint = instead(name, names, kind="Use cases")
        problem = f"there is no use case {name!r}"
        raise UnknownName(problem, hint, click.get_current_context())
    return name


def check_target(value: str) -> None:
    """Raise UnknownName for no file, table of BigQuery, export or use case."""
    from propensity import folders
    from propensity.ids import EXPORT
    from propensity.suggestions import instead
    from propensity.usecases.declaration import SOURCE_TABLE

    names = folders.names()
    table = SOURCE_TABLE.fullmatch(value)
    is_table = table is not None and table[1] is not None
    is_there = is_table or EXPORT.fullmatch(value) or Path(value).is_file()
    if value not in names and not is_there:
        problem = (
            f"{value!r} is not a file, an export project.dataset, a "
            "project.dataset.table or a use case"
        )
        hint = f"Check the path. {instead(value, names, kind='Use cases')}"
        raise UnknownName(problem, hint, click.get_current_context())


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


def read_day(text: str) -> date:
    """Read a day from which weeks can be counted, back and forth."""
    from propensity.timeframe import day_of

    value = day_of(text)
    if not 1970 <= value.year <= 2999:
        raise ValueError(f"{text!r} is not a day of 1970 to 2999")
    return value


def use_case(
    default: str | None = None, *, shown: str = "PROPENSITY_USE_CASE"
) -> Decorator[Any]:
    """Return the option ``--use-case``; ``shown`` describes what None stands for."""
    return click.option(
        "--use-case",
        type=known_use_case,
        metavar="NAME",
        default=default,
        show_default=shown if default is None else True,
        help="Name of the use case.",
    )


DRY_RUN: Decorator[Any] = click.option(
    "--dry-run",
    "is_dry",
    is_flag=True,
    help="Check, and show what would change, without changing it.",
)
