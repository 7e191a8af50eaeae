"""
Half-Space Trees against river's: rows a second, and equality to the last bit. Gates.

    python -m benchmarks.half_space_trees [--rows 5000] [--rounds 9]

Both score each row and then learn it, on the same rows of 28 features and with the same
trees, after a window of warm-up. River gets one mapping a row, as it takes no other
form; we get arrays or mappings, in chunks. It runs in a virtual environment of its own,
as a process that waits while it is our turn. The two take turns, and what is compared
is the median of the processor time of each: one thread does the work on either side,
and others on the machine are not measured.

Exit code 1 if a ratio with a target misses it, or a single bit of a score differs.
"""

from __future__ import annotations

import argparse
import gc
import pickle
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import Line, finish
from local import venvs
from local.stack.state import LOCAL, ROOT
from propensity.models.half_space_trees import HalfSpaceTrees

REQUIREMENTS = ROOT / "benchmarks" / "requirements-river.txt"
FEATURES = tuple(f"V{number}" for number in range(1, 29))
TREES = (25, 10)
HEIGHT, WINDOW, SEED = 8, 250, 42

RIVER = """
import gc, pickle, sys, time
from river import anomaly, preprocessing

rows = pickle.load(sys.stdin.buffer)
while True:
    try:
        is_scaled, warm_up, options = pickle.load(sys.stdin.buffer)
    except EOFError:
        break
    model = anomaly.HalfSpaceTrees(**options)
    if is_scaled:
        model = preprocessing.MinMaxScaler() | model
    scores = []
    def run(part):
        for row in part:
            scores.append(model.score_one(row))
            model.learn_one(row)
    run(rows[:warm_up])
    gc.collect()
    start = time.process_time()
    run(rows[warm_up:])
    seconds = time.process_time() - start
    pickle.dump((seconds, [float(score) for score in scores]), sys.stdout.buffer)
    sys.stdout.buffer.flush()
"""


@dataclass(frozen=True)
class Case:
    """One way to hand over rows, and how many times river's speed it must have."""

    form: str
    chunk: int
    limits: str | None = None
    # By number of trees; None where it only informs.
    target: dict[int, float] | None = None


CASES = (
    Case("array", 1_000, target={25: 20, 10: 15}),
    Case("array", 1, target={25: 2.5, 10: 2.5}),
    Case("mappings", 1_000, target={25: 10, 10: 10}),
    Case("mappings", 1, target={25: 2.5, 10: 2.5}),
    Case("array", 10),
    Case("array", 64),
    Case("array", 250),
    Case("array", 5_000),
    Case("array", 1_000, limits="minmax"),
    Case("mappings", 1_000, limits="minmax"),
    Case("array", 1, limits="minmax"),
)


def generate(n: int) -> NDArray[np.float64]:
    """Return rows around the middle of [0, 1], some of them beyond it, or alone."""
    random = np.random.default_rng(3)
    rows = np.clip(0.5 + 0.12 * random.standard_normal((n, len(FEATURES))), -0.2, 1.2)
    is_odd = random.random(n) < 0.002
    rows[is_odd] = random.random((int(is_odd.sum()), len(FEATURES)))
    return rows


@contextmanager
def river(python: Path, rows: Sequence[dict[str, float]]) -> Iterator[Any]:
    """Start river's process and hand it the rows; stop it in the end."""
    with subprocess.Popen(
        [python, "-c", RIVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        pickle.dump(rows, process.stdin)
        try:
            yield process
        finally:
            process.stdin.close()


def by_river(
    process: Any, n_trees: int, *, is_scaled: bool
) -> tuple[float, list[float]]:
    """Return river's seconds after the warm-up, and its scores of all rows."""
    options = {
        "n_trees": n_trees,
        "height": HEIGHT,
        "window_size": WINDOW,
        "seed": SEED,
    }
    pickle.dump((is_scaled, WINDOW, options), process.stdin)
    process.stdin.flush()
    seconds, scores = pickle.load(process.stdout)
    return float(seconds), scores


def by_us(case: Case, n_trees: int, rows: Any) -> tuple[float, list[float]]:
    """Return our seconds after the warm-up, and our scores of all rows."""
    trees = HalfSpaceTrees(
        n_trees,
        HEIGHT,
        WINDOW,
        limits=case.limits,  # type: ignore[arg-type]
        warm_up_score=0.0,
        random_state=SEED,
    )
    scores = [trees.score_and_learn(rows[:WINDOW])]
    edges = [*range(WINDOW, len(rows), case.chunk), len(rows)]
    gc.collect()
    start = time.process_time()
    for begin, end in pairwise(edges):
        scores.append(trees.score_and_learn(rows[begin:end]))
    seconds = time.process_time() - start
    return seconds, np.concatenate(scores).tolist()


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print Markdown, and return 1 where a target is missed."""
    parser = argparse.ArgumentParser("python -m benchmarks.half_space_trees")
    parser.add_argument("--rows", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args(arguments)

    python = venvs.python_of(REQUIREMENTS, folder=LOCAL / "venvs", say=print)
    array = generate(options.rows + WINDOW)
    names = sorted(FEATURES)
    mappings = [dict(zip(names, row, strict=True)) for row in array.tolist()]
    forms = {"array": array, "mappings": mappings}
    lines, problems = [], []
    print(
        f"{options.rows:,} rows of {len(FEATURES)} features, height {HEIGHT}, window "
        f"{WINDOW}; {options.rounds} rounds"
    )
    with river(python, mappings) as process:
        for n_trees in TREES:
            theirs: dict[bool, list[float]] = {False: [], True: []}
            ours: list[list[float]] = [[] for _ in CASES]
            differ = [False] * len(CASES)
            for _ in range(options.rounds):
                expected = {}
                for is_scaled, seconds in theirs.items():
                    seconds_taken, expected[is_scaled] = by_river(
                        process, n_trees, is_scaled=is_scaled
                    )
                    seconds.append(seconds_taken)
                for place, case in enumerate(CASES):
                    seconds_taken, scores = by_us(case, n_trees, forms[case.form])
                    ours[place].append(seconds_taken)
                    differ[place] |= scores != expected[case.limits == "minmax"]
            for case, seconds, is_different in zip(CASES, ours, differ, strict=True):
                row = (n_trees, case.limits or "0 to 1", case.form, f"{case.chunk:,}")
                target = (case.target or {}).get(n_trees)
                what = ", ".join((f"{row[0]} trees", *row[1:3], f"{row[3]} a call"))
                lines.append(
                    Line(
                        what=what,
                        unit="rows a processor second",
                        ours=[options.rows / spent for spent in seconds],
                        peer="river",
                        theirs=[
                            options.rows / spent
                            for spent in theirs[case.limits == "minmax"]
                        ],
                        least=target,
                    )
                )
                if is_different:
                    problems.append(f"{what}: scores differ from river's")
    return finish(lines, problems=problems)


if __name__ == "__main__":
    sys.exit(main())
