"""
What the demo prints, in the page that quotes it.

    python -m docs.outputs                 play the demo, and write its numbers
    python -m docs.outputs --check FILE    compare the page with what a demo printed,
                                           and pictures with the pages that it wrote

A line of the page quotes a line of the demo if both are the same but for their numbers.
``docs.pictures`` shows what was played.

Exit code 1 if the page quotes a line that the demo does not print, or another number,
or if a picture shows other words than its page has.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STATE = "pages"
PAGE = ROOT / "docs" / "quickstart.md"
BLOCK = re.compile(r"^```(text|json)\n(.*?)^```", re.MULTILINE | re.DOTALL)
# Numbers of two machines may differ by a share of themselves, or by so much.
SHARE = 0.01
LEAST = 0.002
# Texts and dates of a line stay as they are; times and other numbers may differ.
PARTS = re.compile(
    r'(?P<fixed>"[^"]*"|\d{4}-\d\d-\d\d)|(?P<time>\d+ ms)|[+-]?\d[\d,]*(?:\.\d+)?'
)
# Drawn anew by each run: who is in the control group.
CHANCE = re.compile(r" (audience|brought) ")
RULES = re.compile(r"^-+$")


def shape(line: str) -> str:
    """Return a line without its numbers: lines of the same shape are compared."""

    def part(match: re.Match[str]) -> str:
        return match["fixed"] if match["fixed"] else "#"

    return PARTS.sub(part, " ".join(line.split()))


def numbers(line: str) -> list[str]:
    """Return the numbers of a line that are no times."""
    return [
        match[0]
        for match in PARTS.finditer(line)
        if not any(match.groupdict().values())
    ]


def renewed(line: str, printed: list[str]) -> str | None:
    """
    Return a line of a page as the demo printed it; None if there is none like it.

    The demo's line leaves the list: a page quotes each once.
    """
    for index, candidate in enumerate(printed):
        # The answer to a lookup is a part of its line.
        part = candidate[candidate.find("{") :] if line.startswith("{") else candidate
        if shape(part) == shape(line):
            del printed[index]
            return part.rstrip()
    return None


def is_close(text: str, other: str) -> bool:
    """Tell whether two numbers are the same but for rounding on another machine."""
    first, second = (float(value.replace(",", "")) for value in (text, other))
    return abs(first - second) <= max(LEAST, SHARE * abs(second))


def written(text: str, printed: list[str]) -> tuple[str, list[str]]:
    """Return a page with the numbers of a demo, and what is still wrong with it."""
    wrong: list[str] = []

    def block(match: re.Match[str]) -> str:
        left = list(printed)
        lines = []
        for line in match[2].splitlines():
            new = renewed(line, left) if line.strip() else line
            lines.append(line if new is None else new)
            if new is None and not RULES.match(line):
                wrong.append(f"the demo prints no line like: {line.strip()}")
        return "\n".join([f"```{match[1]}"] + lines + ["```"])

    return BLOCK.sub(block, text), wrong


def problems(text: str, printed: list[str]) -> Iterator[str]:
    """Yield what a page quotes otherwise than a demo printed it."""
    new, wrong = written(text, printed)
    yield from wrong
    for line, other in zip(text.splitlines(), new.splitlines(), strict=True):
        both = zip(numbers(line), numbers(other), strict=True)
        if not (CHANCE.search(line) or all(is_close(*pair) for pair in both)):
            yield f"{line.strip()}\n  the demo printed: {other.strip()}"


def state_of(printed: list[str]) -> Path:
    """Return the folder of the state in which a demo says that its dashboard is."""
    [file, *_] = re.findall(r"(\S+)/dashboard/index\.html", "\n".join(printed))
    return ROOT / file


def played() -> str:
    """Play the demo in a state of its own, and return what it prints."""
    shutil.rmtree(ROOT / ".local" / "states" / STATE, ignore_errors=True)
    command = ["make", "demo", f"STATE={STATE}"]
    pipe = subprocess.PIPE
    run = subprocess.run(command, check=False, cwd=ROOT, stdout=pipe, text=True)
    print(run.stdout)
    if run.returncode:
        sys.exit("the demo failed: the page is not written")
    return run.stdout


def main() -> int:
    """Write the page, or compare it; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m docs.outputs")
    parser.add_argument("--check", type=Path, metavar="FILE")
    options = parser.parse_args()
    # It shows what this module has played, and imports it.
    from docs import pictures

    text = PAGE.read_text("utf-8")
    if options.check:
        printed = options.check.read_text("utf-8").splitlines()
        wrong = list(problems(text, printed))
        wrong += pictures.outdated_pictures(state_of(printed))
        print(*wrong, sep="\n")
        return int(bool(wrong))
    new, _ = written(text, played().splitlines())
    PAGE.write_text(new, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
