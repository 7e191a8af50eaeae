"""
Run the benchmarks, and write one table of all.

    python -m benchmarks [NAME …] [--out FILE]

One after another, each in a fresh process. The exit code is 1 if a target is missed or
a benchmark does not end.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import report

ROOT = Path(__file__).parents[1]
# In the order in which they run; quick ones first.
NAMES = (
    *("half_space_trees", "scoring", "predictions", "training", "lookup", "stream"),
    *("ingest", "online", "quality"),
)


def main() -> int:
    """Run benchmarks and write their table; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--out", type=Path, default=ROOT / ".local" / "bench.md")
    options = parser.parse_args()
    if unknown := set(options.names) - set(NAMES):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}: {', '.join(NAMES)}")
    rows, notes, missed = [], [], []
    notes.append(f"{platform.platform()}, Python {platform.python_version()}")
    for name in options.names or NAMES:
        print(f"== python -m benchmarks.{name}", flush=True)
        began = time.perf_counter()
        lines, status = run(name)
        rows += [[name, *line.cells()] for line in lines]
        notes.append(f"{name}: {time.perf_counter() - began:,.0f} s, status {status}")
        if status:
            missed.append(name)
        # After each, so that one that is interrupted leaves what was measured.
        table = report.markdown(("benchmark", *report.HEAD), rows)
        text = "\n".join(["# Benchmarks", "", *table, "", *(f"- {n}" for n in notes)])
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text + "\n")
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
        return report.read(file), process.returncode


if __name__ == "__main__":
    sys.exit(main())
