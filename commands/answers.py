"""A command and its answer: lines for a person, or JSON for a program; exit codes."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from typing import Any

import click

from propensity.pages.words import cleaned


class Exit(IntEnum):
    """How a command ended."""

    DONE = 0
    FAILED = 1
    UNKNOWN = 2
    LEFT_OVER = 3
    NOT_EXAMINED = 4
    HANG_UP = 129
    INTERRUPTED = 130
    TERMINATED = 143


_STOPPED = "What a command of local mode had started is stopped."
MEANINGS = {
    Exit.DONE: "It is done, or nothing is wrong.",
    Exit.FAILED: "It failed, or what was looked at is wrong. "
    "The reason is on standard error, the findings are the answer.",
    Exit.UNKNOWN: "The command line is wrong; nothing was begun.",
    Exit.LEFT_OVER: "Of `forget`: something is left. Run it again.",
    Exit.NOT_EXAMINED: "Of `doctor`: nothing wrong was found, and something could not "
    "be examined.",
    Exit.HANG_UP: f"The terminal was closed (SIGHUP). {_STOPPED}",
    Exit.INTERRUPTED: f"Ctrl-C (SIGINT). {_STOPPED}",
    Exit.TERMINATED: f"It was ended by SIGTERM. {_STOPPED}",
}


class Printed(dict[str, Any]):
    """An answer that a person has read already."""


def command(
    *parameters: click.Parameter, name: str | None = None
) -> Callable[[Callable[..., Any]], click.Command]:
    """
    Make a command of a function: its docstring is the help.

    The function returns the answer, or a pair of answer and exit code. With ``--json``
    what it prints itself is on standard error.
    """
    json_flag = click.Option(
        ["--json", "as_json"], is_flag=True, help="Print the answer as JSON."
    )

    def made(function: Callable[..., Any]) -> click.Command:
        def run(*, as_json: bool, **given: Any) -> None:
            stdout = sys.stderr if as_json else sys.stdout
            context = click.get_current_context()
            try:
                with contextlib.redirect_stdout(stdout):
                    result = function(**given)
                is_pair = isinstance(result, tuple)
                answer, code = result if is_pair else (result, Exit.DONE)
                if answer is not None:
                    show(answer, as_json=as_json)
            except KeyboardInterrupt:
                say(f"{context.command_path}: interrupted")
                context.exit(Exit.INTERRUPTED)
            except (BrokenPipeError, click.ClickException, click.exceptions.Exit):
                # click knows them: of the first, the reader has read enough.
                raise
            except Exception as error:
                if not (text := reason(error)):
                    raise
                say(f"{context.command_path}: {text}")
                context.exit(Exit.FAILED)
            context.exit(int(code))

        return click.Command(
            name or function.__name__.replace("_", "-"),
            params=[*parameters, json_flag],
            callback=run,
            help=function.__doc__,
        )

    return made


def reason(error: Exception) -> str:
    """Return the message of an error for a person; nothing for a fault of ours."""
    from google.auth.exceptions import GoogleAuthError

    from deploy.stage import StageError
    from local.errors import LocalError
    from propensity.errors import PropensityError

    if isinstance(error, OSError):
        # The target of a copy is named first: its disk may be full.
        name = error.filename2 or error.filename
        problem = error.strerror or str(error)
        return f"{name}: {problem}" if name else problem
    if isinstance(error, GoogleAuthError):
        return f"no access to Google Cloud: {error}"
    if not isinstance(error, PropensityError | LocalError | StageError):
        return ""
    if getattr(error, "field", None) == "GOOGLE_CLOUD_PROJECT":
        # Functions raise it, too, and nobody starts those by make.
        return (
            f"{error}. For a deployment, `.venv/bin/python -m deploy environment` "
            "prints the settings; for this machine, `make up` prints them"
        )
    return str(error)


def show(answer: Mapping[str, Any], *, as_json: bool) -> None:
    """Print an answer on standard output."""
    if as_json:
        text = json.dumps(answer, default=str)
        # NaN and infinity are no JSON: null.
        valid = json.loads(text, parse_constant=lambda _: None)
        click.echo(json.dumps(valid, indent=2))
    elif not isinstance(answer, Printed):
        click.echo(printable("\n".join(_lines(answer)) or "Nothing."))


def say(message: str) -> None:
    """Print a message on standard error."""
    click.echo(printable(message), err=True)


def printable(text: str) -> str:
    """Return a text without what a terminal obeys: ids and receivers' words may."""
    return str(cleaned(text)).replace("\r", "\N{REPLACEMENT CHARACTER}")


def _lines(answer: Mapping[str, Any]) -> list[str]:
    """Return a line for each entry that has something; tables and sentences last."""
    plain: dict[str, Any] = {}
    below: list[str] = []
    for name, value in answer.items():
        label = name.replace("_", " ")
        first = value[0] if isinstance(value, list) and value else None
        if isinstance(first, Mapping):
            below += ["", f"{label}:", *_table(value)]
        elif isinstance(first, str) and " " in first:
            below += ["", f"{label}:", *value]
        elif value not in ([], "", None):
            plain[label] = value
    width = max(map(len, plain), default=0)
    return [*(f"{name:<{width}}  {_text(of)}" for name, of in plain.items()), *below]


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    heads = [column.replace("_", " ") for column in rows[0]]
    lines = ([_text(value).split("\n") for value in row.values()] for row in rows)
    cells = [heads, *([" ".join(cell) for cell in line] for line in lines)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"
    if isinstance(value, Mapping):
        # A name of a file stays what it is.
        value = [
            f"{name.replace('_', ' ') if name.isidentifier() else name} {_text(of)}"
            for name, of in value.items()
        ]
    if isinstance(value, list | tuple):
        value = ", ".join(map(_text, value))
    return "-" if value in (None, "") else str(value)
