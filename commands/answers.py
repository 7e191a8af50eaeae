"""An answer: text for a person, or the same as JSON for a program."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from collections.abc import Mapping
from typing import Any

import click

from propensity.pages.words import cleaned


def show(answer: object, *, as_json: bool, **further: Any) -> None:
    """
    Print an answer on standard output.

    Args:
        answer: Text or a mapping; or a dataclass, which says by ``str()`` what a person
            reads. One with ``fields()`` says itself what a program reads.
    """
    if as_json:
        text = json.dumps(_fields(answer) | further, default=str)
        # NaN and infinity are no JSON: null.
        valid = json.loads(text, parse_constant=lambda _: None)
        click.echo(json.dumps(valid, indent=2))
    else:
        text = str(answer)
        # A program that reads it may want the very text, such as a statement.
        click.echo(printable(text) if sys.stdout.isatty() else text)


def tell(message: str) -> None:
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


def _fields(answer: Any) -> dict[str, Any]:
    if hasattr(answer, "fields"):
        return dict(answer.fields())
    if dataclasses.is_dataclass(answer) and not isinstance(answer, type):
        return dataclasses.asdict(answer)
    return dict(answer) if isinstance(answer, Mapping) else {"summary": str(answer)}
