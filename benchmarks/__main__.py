"""
Run the benchmarks, and write one table of all.

    python -m benchmarks [NAME …] [--out FILE]

One after another, each in a fresh process; without a name those that need neither a
fetched file nor an idle machine. The exit code is 1 if a target is missed or
a benchmark does not end.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
from pathlib import Path

from benchmarks.measuring import report

ROOT = Path(__file__).parents[1]
# In the order in which they run; quick ones first.
NAMES = ("lookup", "verdicts", "experiments", "quality", "million")
# They run by name alone: ratios of speed that move by 10%, and sets that are fetched.
BY_NAME = ("half_space_trees", "ingest", "published", "scoring", "stream", "training")


def main() -> int:
    """Run benchmarks and write their table; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=", ".join(NAMES + BY_NAME)
    )
    parser.add_argument("--out", type=Path, default=ROOT / ".local" / "bench.md")
    options = parser.parse_args()
    unknown = set(options.names) - set(NAMES + BY_NAME)
    if unknown:
        known = ", ".join(NAMES + BY_NAME)
        parser.error(f"no benchmark {', '.join(sorted(unknown))}: {known}")
    machine = f"{platform.platform()}, Python {platform.python_version()}"
    table = [f"# Benchmarks\n\n{machine}\n\n{report.HEAD}"]
    missed = []
    for name in options.names if options.names else NAMES:
        print(f"== python -m benchmarks.{name}", flush=True)
        command = [sys.executable, "-m", f"benchmarks.{name}"]
        pipe = subprocess.PIPE
        run = subprocess.run(command, cwd=ROOT, stdout=pipe, text=True, check=False)
        print(run.stdout, flush=True)
        missed += [name] if run.returncode else []
        printed = run.stdout.rpartition(report.HEAD)[2].strip()
        table.append(printed.replace("| ", f"| {name}: ", 1))
        # After each, so that one that is interrupted leaves what was measured.
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text("\n".join(table) + "\n")
    print(f"\n{options.out} has the table")
    if missed:
        print(f"missed targets: {' '.join(missed)}", file=sys.stderr)
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
