"""How benchmarks measure: ways that take turns, figures and targets."""

from __future__ import annotations

import gc
import pickle
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, TypeVar

from local import venvs
from local.stack.state import ROOT

Measured = TypeVar("Measured")


def in_turns(
    rounds: int, ways: Mapping[str, Callable[[], Measured]]
) -> dict[str, list[Measured]]:
    """
    Return what each way measured in each round, by name.

    They take turns, so that what else the machine does slows all of them.
    """
    measured: dict[str, list[Measured]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            gc.collect()
            measured[name].append(way())
    return measured


def by_peer(name: str, script: str, *asked: Any) -> Any:
    """
    Run a script in the environment of ``requirements-NAME.txt``; return its answer.

    It reads what is asked from standard input, and writes an answer, both as pickles.
    """
    requirements = ROOT / "benchmarks" / f"requirements-{name}.txt"
    python = venvs.python_of(requirements)
    pipe = subprocess.PIPE
    command = [f"{python}", "-c", script]
    done = subprocess.run(command, input=pickle.dumps(asked), stdout=pipe, check=True)
    return pickle.loads(done.stdout)


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
        targets = []
        for sign, bound in bounds.items():
            if bound is not None:
                targets.append(f"{sign} {bound:.4g}")
        if self.is_missed:
            targets.append("**missed**")
        cells = [self.what]
        for name, seconds in self.rounds.items():
            cells.append(f"{name} {_figure(median(seconds))} {self.unit}")
        if len(self.rounds) > 1:
            cells.append(f"{self.value:.2f}")
        else:
            cells += ["", ""]
        cells.append(" ".join(targets))
        return f"| {' | '.join(cells)} |"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
