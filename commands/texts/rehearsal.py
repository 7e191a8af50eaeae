"""What people read about a rehearsal: what holds, what does not, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from click import style

from propensity.cli.tables import aligned

COLUMNS = {"answer": "answer", "question": "question", "seen": "seen"}
COLORS = {"yes": "green", "no": "red", "not tried": "yellow"}


def rehearsed(answer: Mapping[str, Any]) -> str:
    """Return a table of the answers, what was not asked, and what stays."""
    rows = []
    for finding in answer["findings"]:
        word = style(finding["answer"], fg=COLORS[finding["answer"]])
        rows.append(finding | {"answer": word})
    lines = [aligned(COLUMNS, rows), f"It took {answer['minutes']} minutes."]
    if answer["not_asked"]:
        lines += ["", f"Not asked: {', '.join(answer['not_asked'])}"]
    if answer["left"]:
        lines += ["", "These stay. Rehearse again, which removes them first:"]
        lines += answer["left"]
    return "\n".join(lines)
