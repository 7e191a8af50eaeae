"""
Options that many commands share, and how the values of options are read.

click names a function's value in the help by the function: ``day`` reads ``DAY``. Its
ValueError ends the command.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date, datetime
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

Function = TypeVar("Function", bound=Callable[..., Any])
Decorator = Callable[[Function], Function]

FILE = click.Path(path_type=Path)


class UnknownName(click.UsageError):
    """There is nothing of a name; the hint says what to write instead."""

    def __init__(self, problem: str, hint: str, ctx: click.Context | None) -> None:
        super().__init__(problem, ctx)
        self.hint = hint


class UseCaseName(click.ParamType[str]):
    """
    The name of a use case, of which a shell completes the rest.

    It is checked before the libraries of a command are imported, which takes seconds.
    """

    name = "name"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Return the name."""
        from propensity import folders
        from propensity.suggestions import instead

        names = folders.names()
        if value not in names:
            problem = f"there is no use case {value!r}"
            raise UnknownName(problem, instead(value, names, kind="Use cases"), ctx)
        return str(value)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return the names that begin so."""
        from propensity import folders

        return completions(folders.names(), incomplete)


class Folder(UseCaseName):
    """The name of a use case, whose folder may be wrong; ``check_folder`` checks it."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Return the name."""
        return str(value)


class Target(Folder):
    """A file, a table, an export or a use case; ``check_target`` checks it."""

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return use cases and files that begin so."""
        files = [CompletionItem(incomplete, type="file")]
        return super().shell_complete(ctx, param, incomplete) + files


def check_folder(value: str) -> None:
    """Raise UnknownName where no use case has a folder of this name."""
    from propensity import folders
    from propensity.ids import NAME

    if not (NAME.fullmatch(value) and folders.place(value).is_dir()):
        UseCaseName().convert(value, None, click.get_current_context())


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
        if Path(value).is_dir():
            hint = "It is a folder: name one of its files"
        elif "://" in value:
            hint = "Download the file, and name it"
        raise UnknownName(problem, hint, click.get_current_context())


def completions(names: Iterable[str], incomplete: str) -> list[CompletionItem]:
    """Return what a shell may complete to one of the names."""
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


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


def use_case(
    default: str | None = None, *, shown: str = "PROPENSITY_USE_CASE"
) -> Decorator[Any]:
    """Return the option ``--use-case``; ``shown`` describes what None stands for."""
    return click.option(
        "--use-case",
        type=UseCaseName(),
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
