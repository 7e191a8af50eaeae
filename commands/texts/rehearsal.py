"""What people read about a rehearsal: what is wrong, and where the page is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from click import style

from commands.texts.tables import aligned

Answer = Mapping[str, Any]
PROBES = {"about": "about", "probe": "probe", "page": "page"}
COLORS = {"yes": "green", "no": "red", "not tried": "yellow"}


def rehearsed(answer: Answer) -> str:
    """Return a line for each probe, what to do, the bill, and the files."""
    lines = []
    for finding in answer["findings"]:
        word = style(f"{finding['answer']:<9}", fg=COLORS[finding["answer"]])
        about = finding["about"]
        lines.append(f"{word}  {about}, {finding['probe']}: {finding['seen']}")
        if finding["remedy"]:
            lines.append(f"           What to do: {finding['remedy']}")
    counts = answer["counts"]
    bill = answer["bill"]["usd"]
    lines += [
        "",
        f"{counts['yes']} assumptions are right, {counts['no']} wrong, "
        f"{counts['not tried']} not tried. It cost about {bill:.2f} USD.",
        f"The page to send on: {answer['files'][0]}",
    ]
    return "\n".join(lines)


def planned(answer: Answer) -> str:
    """Return what would be done."""
    lines = []
    if answer["settings"] is not None:
        lines.append("The settings of the scratch deployment:")
        lines += [f"  {name}={value}" for name, value in answer["settings"].items()]
        lines.append("")
    lines += ["What is asked:", aligned(PROBES, answer["probes"]), ""]
    lines.append("What each function may do:")
    lines += [f"  {name} {text}" for name, text in answer["permissions"].items()]
    if answer["commands"]:
        lines += ["", "What the scripts do:"]
        lines += answer["commands"]
    lines += ["", f"It would cost about {answer['usd']:.2f} USD. Nothing was changed."]
    return "\n".join(lines)
