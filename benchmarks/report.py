"""The figures of benchmarks, their targets, and the table that they make."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Line:
    """
    A figure of ours, beside an alternative's in the same run.

    Attributes:
        what: What was measured, and of how much.
        unit: Of all figures, "" for a ratio or a count.
        rounds: A figure for each round, by who was measured: first ours, then the peer,
            if there is one.
        least, most: The target: bounds of the ratio of the medians, ours over the
            peer's, or of our median without a peer. None of both informs only.
    """

    what: str
    unit: str
    rounds: Mapping[str, Sequence[float]]
    least: float | None = None
    most: float | None = None

    @property
    def value(self) -> float:
        """What the target bounds."""
        ours, *theirs = map(median, self.rounds.values())
        return float(ours / (theirs[0] if theirs else 1))

    @property
    def is_missed(self) -> bool:
        """Whether there is a target, and it is not met."""
        is_low = self.least is not None and self.value < self.least
        return is_low or (self.most is not None and self.value > self.most)

    def __str__(self) -> str:
        bounds = {"≥": self.least, "≤": self.most}
        targets = [f"{sign} {of:.4g}" for sign, of in bounds.items() if of is not None]
        ours, *theirs = [
            f"{name} {_figure(median(of))} {self.unit}"
            for name, of in self.rounds.items()
        ]
        cells = [
            self.what,
            ours,
            *(theirs or [""]),
            f"{self.value:.2f}" if theirs else "",
            f"{' '.join(targets)} {'**missed**' * self.is_missed}",
        ]
        return f"| {' | '.join(cell.strip() for cell in cells)} |"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


HEAD = "| what | ours | peer | ratio | target |\n|:--|:--|:--|:--|:--|"


def finish(lines: Iterable[Line], *, problems: Sequence[str] = ()) -> int:
    """
    Print lines as a table; return the exit status.

    Args:
        lines: What was measured.
        problems: What went wrong meanwhile, and makes any figure worthless.

    Returns:
        1 if a target is missed or something went wrong, else 0.
    """
    every = [*lines]
    print("", HEAD, *every, sep="\n", flush=True)
    for problem in problems:
        print(f"failed: {problem}", file=sys.stderr)
    return int(bool(problems) or any(line.is_missed for line in every))
