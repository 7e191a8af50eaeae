"""
The lines of benchmarks, and the table that they make.

A benchmark prints its lines and ends with their status by ``finish``; ``python -m
benchmarks`` runs each in a fresh process and makes one table of the lines of all.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median, quantiles

# The file that a benchmark adds its lines to, if any.
FILE_VARIABLE = "BENCHMARK_LINES"
HEAD = ("what", "ours", "quartiles", "peer", "its", "ratio", "target", "")


@dataclass(frozen=True, kw_only=True)
class Line:
    """
    A figure of ours, beside that of an alternative in the same run.

    Attributes:
        what: What was measured, and of how much.
        unit: Of all figures, "" for a ratio or a count.
        ours: A figure for each round, in turns with the peer's.
        peer: The alternative; "" without one.
        theirs: Its figure for each round.
        least, most: The target: bounds of the ratio of the medians, ours over the
            peer's, or of our median without a peer. None of both informs only.
    """

    what: str
    unit: str = ""
    ours: Sequence[float]
    peer: str = ""
    theirs: Sequence[float] = ()
    least: float | None = None
    most: float | None = None

    @property
    def value(self) -> float:
        """What the target bounds."""
        return median(self.ours) / (median(self.theirs) if self.theirs else 1)

    @property
    def is_missed(self) -> bool:
        """Whether there is a target, and it is not met."""
        is_low = self.least is not None and self.value < self.least
        return is_low or (self.most is not None and self.value > self.most)

    @property
    def target(self) -> str:
        """The target in words."""
        bounds = {"≥": self.least, "≤": self.most}
        return " and ".join(
            f"{sign} {_figure(bound)}" for sign, bound in bounds.items() if bound
        )

    def cells(self) -> list[str]:
        """Return the cells of a row of ``HEAD``."""
        return [
            self.what,
            f"{_figure(median(self.ours))} {self.unit}".rstrip(),
            _quartiles(self.ours),
            self.peer,
            f"{_figure(median(self.theirs))} {self.unit}" if self.theirs else "",
            f"{self.value:.2f}" if self.theirs else "",
            self.target,
            "**missed**" if self.is_missed else "",
        ]


def finish(lines: Iterable[Line], *, problems: Sequence[str] = ()) -> int:
    """
    Print lines as a table, leave them to ``python -m benchmarks``, return the status.

    Args:
        lines: What was measured.
        problems: What went wrong meanwhile, and makes any figure worthless.

    Returns:
        1 if a target is missed, else 0.
    """
    every = [*lines, *(Line(what=problem, ours=[1], most=0.5) for problem in problems)]
    print("\n" + "\n".join(markdown(HEAD, (line.cells() for line in every))))
    if path := os.environ.get(FILE_VARIABLE):
        with Path(path).open("a") as file:
            file.writelines(json.dumps(asdict(line)) + "\n" for line in every)
    missed = [line for line in every if line.is_missed]
    for line in missed:
        print(f"missed: {line.what}, {line.target}", file=sys.stderr)
    return int(bool(missed))


def read(path: Path) -> list[Line]:
    """Return the lines that a benchmark has added to a file."""
    if not path.exists():
        return []
    return [Line(**json.loads(text)) for text in path.read_text().splitlines()]


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield a Markdown table."""
    yield "| " + " | ".join(head) + " |"
    yield "|" + "|".join(":--" for _ in head) + "|"
    for row in rows:
        yield "| " + " | ".join(row) + " |"


def _quartiles(values: Sequence[float]) -> str:
    if len(values) < 2:
        return ""
    low, _, high = quantiles(values, n=4, method="inclusive")
    return f"{_figure(low)} to {_figure(high)}"


def _figure(value: float) -> str:
    """Return a number with three digits that count."""
    size = abs(value)
    if size >= 100 or value == int(value):
        return f"{value:,.0f}"
    if size < 0.01:
        return f"{value:.2g}"
    return f"{value:.2f}" if size < 10 else f"{value:.1f}"
