"""An answer: text for a person, or the same as JSON for a program."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from collections.abc import Mapping
from typing import Any

import click


def show(answer: object, *, as_json: bool, **further: Any) -> None:
    """
    Print an answer on standard output.

    Args:
        answer: Text or a mapping; or a dataclass, which says by ``str()`` what a person
            reads. One with ``fields()`` says itself what a program reads.
        as_json: Whether a program reads it.
        further: What the JSON has besides.
    """
    if as_json:
        click.echo(json.dumps(_fields(answer) | further, indent=2, default=str))
    else:
        click.echo(str(answer))


def apart(*, as_json: bool) -> contextlib.AbstractContextManager[object]:
    """Return what sends text for a person to standard error, where a program reads."""
    if not as_json:
        return contextlib.nullcontext()
    return contextlib.redirect_stdout(sys.stderr)


def _fields(answer: Any) -> dict[str, Any]:
    if hasattr(answer, "fields"):
        return dict(answer.fields())
    if dataclasses.is_dataclass(answer) and not isinstance(answer, type):
        return dataclasses.asdict(answer)
    return dict(answer) if isinstance(answer, Mapping) else {"summary": str(answer)}
