"""An answer: lines for a person, or the same as JSON for a program; exit codes."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Mapping, Sequence
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
    HANG_UP = 129
    INTERRUPTED = 130
    TERMINATED = 143


MEANINGS = {
    Exit.DONE: "It is done, or nothing is wrong.",
    Exit.FAILED: "It failed, or what was looked at is wrong. "
    "The reason is on standard error, the findings are the answer.",
    Exit.UNKNOWN: "The command line is wrong; nothing was begun. "
    "Of `doctor` also: nothing wrong was found, and something could not be examined.",
    Exit.LEFT_OVER: "Of `forget`: something is left. Run it again.",
    Exit.HANG_UP: "The terminal was closed (SIGHUP). "
    "What a command of local mode had started is stopped.",
    Exit.INTERRUPTED: "Ctrl-C (SIGINT). "
    "What a command of local mode had started is stopped.",
    Exit.TERMINATED: "It was ended by SIGTERM. "
    "What a command of local mode had started is stopped.",
}


def show(answer: Any, *, as_json: bool) -> None:
    """
    Print an answer on standard output.

    Args:
        answer: A mapping of what there is to know, or an object with ``fields()`` that
            returns one. ``str()`` of an object is what a person reads.
    """
    is_mapping = isinstance(answer, Mapping)
    if as_json:
        text = json.dumps(answer if is_mapping else answer.fields(), default=str)
        # NaN and infinity are no JSON: null.
        valid = json.loads(text, parse_constant=lambda _: None)
        click.echo(json.dumps(valid, indent=2))
    else:
        text = "\n".join(_lines(answer)) if is_mapping else str(answer)
        # A program that reads it may want the very text, such as a statement.
        click.echo(printable(text) if sys.stdout.isatty() else text)


def say(message: str) -> None:
    """Print a message on standard error."""
    click.echo(printable(message), err=True)


def printable(text: str) -> str:
    """
    Return a text without what a terminal obeys.

    Ids, categories and the words of receivers are others' texts: they must not clear
    the screen, write over a line or give the window a name.
    """
    return str(cleaned(text)).replace("\r", "\N{REPLACEMENT CHARACTER}")


def apart(*, as_json: bool) -> contextlib.AbstractContextManager[object]:
    """Return a context that prints to standard error if the answer is JSON."""
    if not as_json:
        return contextlib.nullcontext()
    return contextlib.redirect_stdout(sys.stderr)


def _lines(answer: Mapping[str, Any]) -> list[str]:
    """Return a line for each entry; lists of mappings are tables below the others."""
    plain: dict[str, Any] = {}
    tables: dict[str, Any] = {}
    for name, value in answer.items():
        is_table = (
            isinstance(value, Sequence) and value and isinstance(value[0], Mapping)
        )
        (tables if is_table else plain)[name.replace("_", " ")] = value
    width = max(map(len, plain), default=0)
    lines = [f"{name:<{width}}  {_text(value)}" for name, value in plain.items()]
    for name, rows in tables.items():
        heads = [column.replace("_", " ") for column in rows[0]]
        cells = [heads, *([_text(value) for value in row.values()] for row in rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines += ["", f"{name}:"]
        lines += [
            "  ".join(
                cell.ljust(width) for cell, width in zip(row, widths, strict=True)
            ).rstrip()
            for row in cells
        ]
    return lines


def _text(value: Any) -> str:
    match value:
        case None | "":
            text = "-"
        case bool():
            text = "yes" if value else "no"
        case int():
            text = f"{value:,}"
        case float():
            text = f"{value:,.6g}"
        case Mapping():
            parts = (
                f"{name.replace('_', ' ')} {_text(of)}" for name, of in value.items()
            )
            text = ", ".join(parts) or "-"
        case list() | tuple():
            text = ", ".join(map(_text, value)) or "-"
        case _:
            text = str(value)
    return text
