"""What the parts of the demo share: calls of functions, and tables."""

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


def call(stack: Stack, function: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """
    Call a function as the scheduler does.

    Raises:
        Refused: It did not answer 200.
    """
    with step(f"{function} as of {body.get('as_of', 'today')}"):
        answer = requests.post(stack.url(function), json=body, timeout=TIMEOUT_S)
    try:
        result: dict[str, Any] = answer.json()
    except ValueError:
        result = {"message": answer.text[:500]}
    if answer.status_code != requests.codes.ok:
        why = str(result.get("message"))
        raise Refused(
            f"{function} answered {answer.status_code} to {json.dumps(dict(body))}: "
            f"{why}\nIts log: {stack.state.logs}/{function}.log",
            error=str(result.get("error")),
            why=why,
        )
    return result


def table(
    columns: Sequence[tuple[str, str, str]], rows: Sequence[Mapping[str, Any]]
) -> str:
    """
    Return rows as a table, right-aligned; a figure that there is none of is a dash.

    Args:
        columns: Title, key in the rows and format of each.
        rows: One a line.
    """
    cells = [[title for title, _, _ in columns]]
    for row in rows:
        values = ((row.get(key), form) for _, key, form in columns)
        cells.append([form.format(v) if v is not None else "-" for v, form in values])
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    lines = [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in cells
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])
