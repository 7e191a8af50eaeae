"""The tables of ``docs/measured.md``, from the rows of ``docs/measured.json``."""

from __future__ import annotations

from pathlib import Path

from benchmarks.published import SOURCES, kept, written

FILE = Path(__file__).with_suffix(".json")


def measured() -> str:
    """Return each set's licence and table, and which runs measured them."""
    parts = []
    runs = set()
    for name, source in SOURCES.items():
        lines = [
            f"### {source.title}",
            "",
            f"`{name}`, from {source.where}; {source.licence}.",
            "",
            "| measured | Propensity | plain models | s |",
            "|---|---|---|--:|",
        ]
        for row in kept(FILE):
            if row.data != name:
                continue
            plain = "<br>".join(
                f"{model}: {written(figure)}" for model, figure in row.plain.items()
            )
            what = f"{row.what}, {row.split}"
            if row.published:
                what += f"<br>published: {row.published}"
            cells = [what, written(row.ours), plain, f"{row.seconds:.0f}"]
            lines.append(f"| {' | '.join(cells)} |")
            runs.add(f"Measured on {row.date} at {row.commit}, {row.machine}.")
        parts.append("\n".join(lines))
    return "\n\n".join(parts + sorted(runs)) + "\n"
