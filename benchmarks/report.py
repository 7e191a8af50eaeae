"""
The lines of benchmarks, and the tables that they make.

A benchmark prints its lines and ends with their status by ``finish``; ``python -m
benchmarks`` runs each in a fresh process and makes one table of the lines of all.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from statistics import median, quantiles
from typing import Any

# The file that a benchmark adds its lines to, if any.
FILE_VARIABLE = "BENCHMARK_LINES"

LIBRARIES = (
    "numpy", "pandas", "pyarrow", "scikit-learn",
    "functions-framework", "google-cloud-bigquery",
)  # fmt: skip


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
            peer's, or of our median, with ``bounds_ours`` or without a peer. None of
            both informs only.
        bounds_ours: Whether the target is of our median, although there is a peer.
    """

    what: str
    unit: str = ""
    ours: Sequence[float]
    peer: str = ""
    theirs: Sequence[float] = ()
    least: float | None = None
    most: float | None = None
    bounds_ours: bool = False

    @property
    def ratio(self) -> float | None:
        """Our median over the peer's; None without one, or where its is 0."""
        if not self.theirs or not (other := median(self.theirs)):
            return None
        return median(self.ours) / other

    @property
    def is_met(self) -> bool | None:
        """Whether the target is met; None without a target."""
        if self.least is None and self.most is None:
            return None
        of_ours = self.bounds_ours or not self.theirs
        value = median(self.ours) if of_ours else self.ratio
        if value is None:
            return False
        return (self.least is None or value >= self.least) and (
            self.most is None or value <= self.most
        )

    @property
    def target(self) -> str:
        """The target in words."""
        bounds = {"≥": self.least, "≤": self.most}
        words = [
            f"{sign} {_figure(bound)}"
            for sign, bound in bounds.items()
            if bound is not None
        ]
        if words and (self.bounds_ours or not self.theirs):
            words[-1] += f" {self.unit}".rstrip()
        return " and ".join(words) or "informs"

    def cells(self) -> list[str]:
        """Return the cells of a row of ``HEAD``."""
        ratio = self.ratio
        return [
            self.what,
            *_spread(self.ours, self.unit),
            self.peer,
            *_spread(self.theirs, self.unit),
            "" if ratio is None else f"{ratio:.2f}",
            self.target,
            {True: "met", False: "**missed**", None: ""}[self.is_met],
        ]


HEAD = ("what", "ours", "quartiles", "peer", "its", "quartiles", "ratio", "target", "")


def finish(lines: Iterable[Line], *, problems: Sequence[str] = ()) -> int:
    """
    Print lines as a table, leave them to ``python -m benchmarks``, return the status.

    Args:
        lines: What was measured.
        problems: What went wrong meanwhile, and makes any figure worthless.

    Returns:
        1 if a target is missed, else 0.
    """
    every = [*lines, *(Line(what=problem, ours=[1], most=0) for problem in problems)]
    print("\n" + "\n".join(markdown(HEAD, (line.cells() for line in every))))
    if path := os.environ.get(FILE_VARIABLE):
        with Path(path).open("a") as file:
            file.writelines(json.dumps(asdict(line)) + "\n" for line in every)
    missed = [line for line in every if line.is_met is False]
    for line in missed:
        print(f"missed: {line.what}, {line.target}", file=sys.stderr)
    return int(bool(missed))


def read(path: Path) -> list[Line]:
    """Return the lines that benchmarks have added to a file."""
    if not path.exists():
        return []
    return [Line(**json.loads(text)) for text in path.read_text().splitlines()]


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield a Markdown table; texts are on the left, figures on the right."""
    yield "| " + " | ".join(head) + " |"
    texts = {"benchmark", "what", "peer", "target", ""}
    yield "|" + "|".join(":--" if name in texts else "--:" for name in head) + "|"
    for row in rows:
        yield "| " + " | ".join(row) + " |"


def machine() -> Mapping[str, str]:
    """Return what the figures depend on: the machine, its load, and versions."""
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": f"{len(os.sched_getaffinity(0))} × {_processor()}",
        "memory": f"{size:.1f} GiB",
        "load at the start": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "system": platform.platform(),
        "Python": platform.python_version(),
        **{name: metadata.version(name) for name in LIBRARIES},
    }


def page(
    facts: Mapping[str, str],
    lines_of: Mapping[str, Sequence[Line]],
    *,
    notes: Sequence[str],
) -> str:
    """
    Return the table of all benchmarks as Markdown.

    Args:
        facts: From ``machine``, of the start.
        lines_of: Lines by benchmark.
        notes: What else is to be said, a line each.
    """
    rows = [[name, *line.cells()] for name, lines in lines_of.items() for line in lines]
    return "\n".join(
        [
            "# Benchmarks",
            "",
            *(f"- {name}: {value}" for name, value in facts.items()),
            "",
            "Medians and quartiles of rounds, in turns with the peer in one run; the "
            "ratio is ours over the peer's.",
            "",
            *markdown(("benchmark", *HEAD), rows),
            *(("", *(f"- {note}" for note in notes)) if notes else ()),
            "",
        ]
    )


def _processor() -> str:
    try:
        entries = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        entries = []
    names = [
        entry.split(":", 1)[1].strip() for entry in entries if "model name" in entry
    ]
    return names[0] if names else platform.machine()


def _spread(values: Sequence[float], unit: str) -> tuple[str, str]:
    """Return the median with its unit, and the quartiles of the rounds."""
    if not values:
        return "", ""
    middle = f"{_figure(median(values))} {unit}".rstrip()
    if len(values) < 2:
        return middle, ""
    low, _, high = quantiles(values, n=4, method="inclusive")
    return middle, f"{_figure(low)} to {_figure(high)}"


def _figure(value: Any) -> str:
    """Return a number with three digits that count."""
    size = abs(value)
    if size >= 100 or value == int(value):
        return f"{value:,.0f}"
    if size < 0.01:
        return f"{value:.2g}"
    return f"{value:.2f}" if size < 10 else f"{value:.1f}"
