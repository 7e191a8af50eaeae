"""A command and its answer: lines for a person, or JSON for a program; exit codes."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Any

import click

from propensity.cli.progress import erase, showing, step
from propensity.cli.tables import aligned, day_text
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


MEANINGS = {
    Exit.DONE: "It is done, or nothing is wrong.",
    Exit.FAILED: "It failed, or found something wrong.",
    Exit.UNKNOWN: "The command line is wrong.",
    Exit.LEFT_OVER: "`forget` only: something is left, with `--use-case` of this use "
    "case. Run it again.",
    Exit.NOT_EXAMINED: "`doctor` only: it found nothing wrong, but could not examine "
    "everything.",
    Exit.HANG_UP: "The terminal was closed (SIGHUP).",
    Exit.INTERRUPTED: "Ctrl-C (SIGINT).",
    Exit.TERMINATED: "It was ended by SIGTERM.",
}


class Spoken(dict[str, Any]):
    """An answer with the text that a person reads instead of it."""

    def __init__(self, answer: Mapping[str, Any], text: str = "") -> None:
        super().__init__(answer)
        self.text = text


def spoken(answer: Mapping[str, Any], write: Callable[..., str], **more: Any) -> Spoken:
    """Return an answer with the text that is written of it, once it is cleaned."""
    return Spoken(answer, write(cleaned(answer), **more))


@dataclass(frozen=True)
class File:
    """
    An answer that is a file for a person, who names it by a redirection.

    Attributes:
        parts: Of its bytes, which are printed one by one.
        answer: Returns the same for a program, with ``--json``.
    """

    parts: Iterable[bytes]
    answer: Callable[[], Mapping[str, Any]]


class Command(click.Command):
    """
    A command that prints its function's answer for a person, or with --json as JSON.

    The function returns the answer, or a pair of answer and exit code. With ``--json``
    what it prints itself is on standard error.
    """

    def __init__(
        self, *arguments: Any, failure: Exit = Exit.FAILED, **options: Any
    ) -> None:
        """Make a command that ends with the exit code ``failure`` if it fails."""
        super().__init__(*arguments, **options)
        self.failure = failure
        text = "Print the answer as JSON."
        flag = click.Option(["--json", "as_json"], is_flag=True, help=text)
        self.params.append(flag)

    def invoke(self, ctx: click.Context) -> Exit:
        """Run the function, print its answer or the failure, and return the code."""
        as_json = ctx.params.pop("as_json")
        name = ctx.command_path
        try:
            stdout = sys.stderr if as_json else sys.stdout
            with (
                contextlib.redirect_stdout(stdout),
                showing(sys.stderr),
                step("working"),
            ):
                result = super().invoke(ctx)
            is_pair = isinstance(result, tuple)
            answer, code = result if is_pair else (result, Exit.DONE)
            if answer is not None:
                show(answer, as_json=as_json)
        except (BrokenPipeError, click.ClickException, click.exceptions.Exit):
            # click handles them; a broken pipe means that the reader has read enough.
            raise
        except KeyboardInterrupt:
            return fail(name, "interrupted", code=Exit.INTERRUPTED, as_json=as_json)
        except Exception as error:
            cause = explained(error)
            if cause is None:
                if not as_json:
                    raise
                traceback.print_exc()
                kind = type(error).__name__
                cause = f"Propensity has an error: {kind}: {error}", ""
            problem, hint = cause
            return fail(name, problem, hint, code=self.failure, as_json=as_json)
        return Exit(code)


class Group(click.Group):
    command_class = Command


def command(*examples: str, **options: Any) -> Callable[..., Command]:
    """Declare a command whose help ends with examples."""
    return click.command(cls=Command, epilog=example(*examples), **options)


def example(*lines: str) -> str:
    """Return the end of a help: how the command is typed."""
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)


def explained(error: Exception) -> tuple[str, str] | None:
    """Return what is wrong and what to do; None for a fault of ours."""
    from propensity.cli.errors import CommandError
    from propensity.errors import PropensityError, RequestError

    if isinstance(error, OSError):
        return _explained_by_system(error)
    if isinstance(error, CommandError):
        return error.problem, error.hint
    if not isinstance(error, PropensityError):
        return _explained_by_google(error)
    # A wrong request is explained by its message alone.
    if error.hint or isinstance(error, RequestError):
        return error.problem, error.hint
    return error.problem, f"docs/operate.md#{error.code} has more about this error"


def _explained_by_google(error: Exception) -> tuple[str, str] | None:
    # Nothing else need wait for Google's libraries.
    from propensity.gcp import clients

    if not clients.is_without_login(error):
        return None
    denied = clients.without_login(error)
    return denied.problem, denied.hint


def _explained_by_system(error: OSError) -> tuple[str, str]:
    problem = str(error) if error.strerror is None else error.strerror
    if error.filename:
        problem = f"{error.filename}: {problem}"
    return problem, "Check the path, who may read and write it, and the disk"


def fail(name: str, problem: str, hint: str = "", *, code: Exit, as_json: bool) -> Exit:
    """Print what is wrong with a command and what to do; return the exit code."""
    command_name = click.style(f"{printable(name)}:", fg="red")
    _echo(f"{command_name} {printable(problem)}", err=True)
    if hint:
        _echo(f"{click.style('hint:', fg='cyan')} {printable(hint)}", err=True)
    if as_json:
        error = {"message": problem, "hint": hint}
        show({"status": int(code), "error": error}, as_json=True)
    return code


def show(answer: Mapping[str, Any] | File, *, as_json: bool) -> None:
    """Print an answer on standard output."""
    if as_json:
        if isinstance(answer, File):
            answer = answer.answer()
        text = json.dumps(answer, default=str)
        # NaN and infinity are no JSON: null.
        valid = json.loads(text, parse_constant=lambda _: None)
        click.echo(json.dumps(valid, indent=2))
    elif isinstance(answer, File):
        for part in answer.parts:
            if sys.stdout.isatty():
                text = part.decode("utf-8-sig").replace("\r\n", "\n")
                _echo(printable(text.removesuffix("\n")))
            else:
                # Whatever encoding the locale has.
                sys.stdout.buffer.write(part)
    elif not isinstance(answer, Spoken):
        _echo(printable("\n".join(_lines(answer))))
    elif answer.text:
        _echo(_without_returns(answer.text))


def tell(text: str) -> None:
    """Print a part of the answer for a person; on standard error with --json."""
    _echo(printable(text))


def say(message: str) -> None:
    """Print a message on standard error."""
    _echo(printable(message), err=True)


def _echo(text: str, *, err: bool = False) -> None:
    """Print a text, with its colours on a terminal whose user wants them."""
    erase()
    click.echo(text, err=err, color=False if os.environ.get("NO_COLOR") else None)


def printable(text: str) -> str:
    """Return a text without control characters, which a terminal would obey."""
    return _without_returns(cleaned(text))


def _without_returns(text: str) -> str:
    return text.replace("\r", "\N{REPLACEMENT CHARACTER}")


def _lines(answer: Mapping[str, Any]) -> list[str]:
    """Return a line for each entry that says something; tables and sentences last."""
    plain: list[tuple[str, str]] = []
    below: list[str] = []
    for key, value in answer.items():
        if value is False:
            continue
        label = key.replace("_", " ")
        first = value[0] if isinstance(value, list) and value else None
        if isinstance(first, Mapping):
            titles = {column: column.replace("_", " ") for column in first}
            rows = [{column: _cell(row[column]) for column in titles} for row in value]
            below += ["", f"{label}:", aligned(titles, rows)]
        elif isinstance(first, str) and " " in first:
            below += ["", f"{label}:"]
            below += value
        elif value not in ([], "", None):
            plain.append((label, _text(value)))
    width = max((len(label) for label, _ in plain), default=0)
    lines = [f"{label:<{width}}  {text}" for label, text in plain]
    return lines + below


def _cell(value: Any) -> str:
    """Return a value of a table; none is an empty cell."""
    return "" if value in (None, "") else _text(value)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.6g}"
    if isinstance(value, datetime):
        return f"{day_text(value)} {value:%H:%M}"
    if isinstance(value, Mapping):
        entries = []
        for key, entry in value.items():
            # Names of files have other characters than words; they stay as they are.
            words = key.replace("_", " ") if key.isidentifier() else key
            entries.append(f"{words} {_text(entry)}")
        value = entries
    if isinstance(value, list | tuple):
        value = ", ".join(map(_text, value))
    return "-" if value in (None, "") else str(value)
