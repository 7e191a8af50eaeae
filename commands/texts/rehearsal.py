"""What people read about a rehearsal: what holds, what does not, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from click import style

from commands.texts.tables import aligned

COLUMNS = {"answer": "answer", "question": "question", "seen": "seen"}
COLORS = {"yes": "green", "no": "red", "not tried": "yellow"}


def rehearsed(answer: Mapping[str, Any]) -> str:
    """Return a table of the answers, then what to do and what stays."""
    rows = []
    remedies = []
    for finding in answer["findings"]:
        word = style(finding["answer"], fg=COLORS[finding["answer"]])
        rows.append(finding | {"answer": word})
        if finding["remedy"]:
            remedies.append(f"{finding['question']}: {finding['remedy']}")
    lines = [aligned(COLUMNS, rows), f"It took {answer['minutes']} minutes."]
    if remedies:
        lines += ["", "What to do:"] + remedies
    if answer["not_asked"]:
        lines += ["", f"Not asked: {', '.join(answer['not_asked'])}"]
    if answer["left"]:
        lines += ["", "These stay. Rehearse again, which removes them first:"]
        lines += answer["left"]
    return "\n".join(lines)


def planned(answer: Mapping[str, Any]) -> str:
    """Return what would be done."""
    lines = ["The settings of the scratch deployment:"]
    lines += [f"  {name}={value}" for name, value in answer["settings"].items()]
    lines += ["", f"What is asked: {', '.join(answer['questions'])}", ""]
    lines += ["What is run:"] + answer["commands"]
    lines += [
        "",
        "It takes 75 to 100 minutes and less than a dollar. Nothing was done.",
    ]
    return "\n".join(lines)
