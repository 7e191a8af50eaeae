"""
Write the pages that are made from the code.

    python -m docs             every page
    python -m docs tables      these alone

A page whose module fails keeps its text.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
# The first lines of a module of a page say which file it writes.
TARGET = re.compile(r"python -m docs\.\w+ > docs/(\S+)")


def targets() -> dict[str, Path]:
    """Return the file that each module writes, by the module's name."""
    written = {}
    for module in sorted(FOLDER.glob("*.py")):
        target = TARGET.search(module.read_text("utf-8"))
        if target and module != Path(__file__).resolve():
            written[module.stem] = FOLDER / target[1]
    return written


def main(names: Sequence[str]) -> int:
    """Write the pages of these modules, or all; return the exit status."""
    known = targets()
    if {*names} & {"-h", "--help"}:
        print(f"usage: python -m docs [{'|'.join(known)}] …")
        return 0
    unknown = sorted({*names} - {*known})
    if unknown:
        print(
            f"docs: no page {', '.join(unknown)}; there are {', '.join(known)}",
            file=sys.stderr,
        )
        return 2
    for name in names or known:
        text = importlib.import_module(f"docs.{name}").page()
        known[name].write_text(text, "utf-8")
        print(f"wrote docs/{known[name].name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
