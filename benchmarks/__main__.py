"""
Run benchmarks, and write one table of all.

    python -m benchmarks [NAME …] [--out FILE] [--append]

A name is that of a module here, whose ``lines`` are measured in a fresh process;
without one, those run that need neither a fetched file nor an idle machine. The exit
code is 1 if a target is missed or a benchmark does not end.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parents[1]
# In the order in which they run; quick ones first.
NAMES = ("lookup", "quality", "million")
# They run by name alone: ratios of speed that move by 10%, and sets that are fetched.
BY_NAME = ("half_space_trees", "ingest", "published", "scoring", "stream", "training")
HEAD = "| what | ours | peer | ratio | target |\n|:--|:--|:--|:--|:--|\n"


def main() -> int:
    """Run benchmarks and write their table; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(every()))
    parser.add_argument("--out", type=Path, default=ROOT / ".local" / "bench.md")
    parser.add_argument("--append", action="store_true", help="keep what FILE has")
    options = parser.parse_args()
    names = options.names if options.names else NAMES
    unknown = set(names) - set(every())
    if unknown:
        choices = ", ".join(every())
        parser.error(f"no benchmark {', '.join(sorted(unknown))}: {choices}")
    if not options.append:
        machine = f"{platform.platform()}, Python {platform.python_version()}"
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(f"# Benchmarks\n\n{machine}\n\n{HEAD}")
    if len(names) == 1:
        return run(names[0], options.out)
    return run_each(names, options.out)


def every() -> Sequence[str]:
    return NAMES + BY_NAME


def run(name: str, out: Path) -> int:
    """Run a benchmark here; return 1 if a target is missed."""
    lines = list(import_module(f"benchmarks.{name}").lines())
    rows = "\n".join(map(str, lines))
    print(f"\n{HEAD}{rows}", flush=True)
    with out.open("a") as table:
        table.write(f"{rows}\n".replace("| ", f"| {name}: ", 1))
    return int(any(line.is_missed for line in lines))


def run_each(names: Sequence[str], out: Path) -> int:
    """Run benchmarks one after another; return 1 if a target is missed."""
    missed = []
    for name in names:
        print(f"== {name}", flush=True)
        options = [name, "--out", str(out), "--append"]
        command = [sys.executable, "-m", "benchmarks"] + options
        if subprocess.run(command, cwd=ROOT, check=False).returncode:
            missed.append(name)
    print(f"\n{out} has the table")
    if missed:
        print(f"missed targets: {' '.join(missed)}", file=sys.stderr)
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
