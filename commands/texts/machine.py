"""What people read about this machine: what runs, and what to do with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from click import style

from local.processes import shown
from propensity.cli.tables import aligned

Answer = Mapping[str, Any]
SERVICES = {"state": "state", "service": "service", "url": "address", "now": "now"}


def up(answer: Answer) -> str:
    """Return what runs, and the things to do with it."""
    width = max(map(len, answer["to_use"]))
    steps = "\n".join(
        f"  {name:<{width}}  {style(what, fg='cyan')}"
        for name, what in answer["to_use"].items()
    )
    state = answer["services"][0]["state"]
    parts = [f"State {state} is running.", status(answer), steps]
    parts.append("To train, evaluate and predict, see docs/quickstart.md.")
    parts.append("`make down` stops it.")
    return "\n\n".join(parts)


def down(answer: Answer) -> str:
    """Return what was stopped, and what a program is using."""
    lines = []
    if answer["stopped"]:
        names = [service["service"] for service in answer["stopped"]]
        lines.append(f"Stopped {', '.join(names)}.")
    lines += answer["in_use"]
    return "\n".join(lines) if lines else "Nothing was running."


def status(answer: Answer) -> str:
    """Return what runs, and what has ended by itself."""
    if not answer["services"]:
        return "Nothing is running. Start it with `make up`."
    rows = []
    for service in answer["services"]:
        state = style("running", fg="green")
        if not service["is_running"]:
            state = style("ended", fg="red")
        rows.append({**service, "now": state})
    folders = dict.fromkeys(Path(str(row["log"])).parent for row in rows)
    logs = [f"Their logs are in {shown(folder)}" for folder in folders]
    lines = [aligned(SERVICES, rows), ""] + logs + list(answer["ended"])
    return "\n".join(lines)
