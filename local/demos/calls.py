"""What the parts of the demo share: asking functions, and figures in columns."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import requests

from local.errors import LocalError
from local.progress import step
from local.stack.stack import Stack

TIMEOUT_S = 900


class Refused(LocalError):
    """A function refused a call: ``error`` is its answer's code, ``why`` its text."""

    def __init__(self, message: str, *, error: str, why: str) -> None:
        super().__init__(message)
        self.error = error
        self.why = why


def call(stack: Stack, function: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    """
    Call a function as the scheduler does.

    Raises:
        Refused: It did not answer 200.
    """
    with step(f"{function} as of {asked.get('as_of', 'today')}"):
        answer = requests.post(stack.url(function), json=asked, timeout=TIMEOUT_S)
    try:
        body: dict[str, Any] = answer.json()
    except ValueError:
        body = {"message": answer.text[:500]}
    if answer.status_code != requests.codes.ok:
        why = str(body.get("message"))
        raise Refused(
            f"{function} answered {answer.status_code} to {json.dumps(dict(asked))}: "
            f"{why}\nIts log: {stack.state.logs}/{function}.log",
            error=str(body.get("error")),
            why=why,
        )
    return body


def aligned(cells: Sequence[Sequence[str]]) -> str:
    """Return rows of cells in columns, right-aligned, the first row underlined."""
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    lines = [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in cells
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])
