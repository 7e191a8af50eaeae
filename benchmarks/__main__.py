"""
Run the benchmarks, and write one table of all.

    python -m benchmarks [NAME …] [--out FILE]

One after another, each in a fresh process. The table is written after each, so that
one that is interrupted leaves what was measured. The exit code is 1 if a target is
missed or a benchmark does not end.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import report

ROOT = Path(__file__).parents[1]
DEFAULT_OUT = ROOT / ".local" / "bench.md"

# In the order in which they run; quick ones first.
NAMES = (
    "half_space_trees", "scoring", "training", "lookup", "index",
    "predictions", "stream", "ingest", "online", "features", "season", "lift",
    "quality", "value", "drift",
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run benchmarks and write their table; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, metavar="FILE")
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - set(NAMES):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}: {', '.join(NAMES)}")
    facts = report.machine()
    lines: dict[str, list[report.Line]] = {}
    notes, missed = [], []
    for name in options.names or NAMES:
        print(f"== python -m benchmarks.{name}", flush=True)
        began = time.perf_counter()
        lines[name], status = run(name)
        notes.append(f"{name}: {time.perf_counter() - began:,.0f} s")
        if status:
            missed.append(name)
        if status not in (0, 1):
            notes.append(f"{name} did not end: status {status}")
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(report.page(facts, lines, notes=notes))
    print(f"\n{options.out} has the table")
    if missed:
        print(f"missed targets: {' '.join(missed)}", file=sys.stderr)
    return int(bool(missed))


def run(name: str) -> tuple[list[report.Line], int]:
    """Run a benchmark in a process of its own; return its lines and exit status."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "lines.ndjson"
        process = subprocess.run(
            [sys.executable, "-m", f"benchmarks.{name}"],
            cwd=ROOT,
            env={**os.environ, report.FILE_VARIABLE: str(file)},
            check=False,
        )
        status = process.returncode
        lines = report.read(file)
        if not lines and status in (0, 1):
            what = "the targets of the table that it prints; 1 where one is missed"
            lines = [report.Line(what=what, ours=[status], most=0)]
        return lines, status


if __name__ == "__main__":
    sys.exit(main())
