"""
Half-Space Trees against river's: rows a second, and equality to the last bit. Gates.

    python -m benchmarks.half_space_trees

Both score each row and then learn it, on the same rows of 28 features and with the same
trees, after a window of warm-up. River gets one mapping a row, as it takes no other
form; we get arrays, in chunks. It runs in a virtual environment of its own, before us.
It compares processor time.
"""

from __future__ import annotations

import gc
import pickle
import subprocess
import sys
import time
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import Line, finish
from local import venvs
from local.stack.state import LOCAL, ROOT
from propensity import usecases
from propensity.models.half_space_trees import HalfSpaceTrees

REQUIREMENTS = ROOT / "benchmarks" / "requirements-river.txt"
FEATURES = tuple(sorted(f"V{number}" for number in range(1, 29)))
# The trees of card fraud.
OPTIONS = dict(usecases.load("card_fraud").candidates[0].parameters)
SEED, WINDOW, ROWS, CHUNK, ROUNDS = 42, OPTIONS["window_size"], 5_000, 1_000, 9
LEAST = 20.0
RIVER = """
import gc, pickle, sys, time
from river import anomaly

warm_up, options, rows, rounds = pickle.load(sys.stdin.buffer)
took = []
for _ in range(rounds):
    model = anomaly.HalfSpaceTrees(**options)
    scores = []
    def run(part):
        for row in part:
            scores.append(model.score_one(row))
            model.learn_one(row)
    run(rows[:warm_up])
    scores.clear()
    gc.collect()
    start = time.process_time()
    run(rows[warm_up:])
    took.append(time.process_time() - start)
pickle.dump((took, [float(score) for score in scores]), sys.stdout.buffer)
"""


def generated(n: int) -> NDArray[np.float64]:
    """Return rows around the middle of [0, 1], some of them beyond it, or alone."""
    random = np.random.default_rng(3)
    rows = np.clip(0.5 + 0.12 * random.standard_normal((n, len(FEATURES))), -0.2, 1.2)
    is_odd = random.random(n) < 0.002
    rows[is_odd] = random.random((int(is_odd.sum()), len(FEATURES)))
    return rows


def warm(rows: NDArray[np.float64]) -> HalfSpaceTrees:
    """Return trees of ours that have learned the warm-up."""
    return HalfSpaceTrees(**OPTIONS, random_state=SEED).fit(rows[:WINDOW])


def by_us(rows: NDArray[np.float64]) -> tuple[float, list[float]]:
    """Return our seconds and our scores, after the warm-up."""
    trees, scores = warm(rows), []
    edges = [*range(WINDOW, len(rows), CHUNK), len(rows)]
    gc.collect()
    start = time.process_time()
    for begin, end in pairwise(edges):
        scores.append(trees.score_and_learn(rows[begin:end]))
    seconds = time.process_time() - start
    return seconds, np.concatenate(scores).tolist()


def main() -> int:
    """Measure, print Markdown, and return 1 where a target is missed."""
    python = venvs.python_of(REQUIREMENTS, folder=LOCAL / "venvs")
    rows = generated(ROWS + WINDOW)
    # River's trees halve [0, 1], so it gets rows that are scaled by our limits.
    low, high = warm(rows).limits_.T
    scaled = ((rows - low) / (high - low)).tolist()
    mappings = [dict(zip(FEATURES, row, strict=True)) for row in scaled]
    asked = pickle.dumps((WINDOW, {**OPTIONS, "seed": SEED}, mappings, ROUNDS))
    command = [f"{python}", "-c", RIVER]
    done = subprocess.run(command, input=asked, stdout=subprocess.PIPE, check=True)
    theirs, expected = pickle.loads(done.stdout)
    rates: dict[str, list[float]] = {
        "ours": [],
        "river": [ROWS / seconds for seconds in theirs],
    }
    problems = []
    for _ in range(ROUNDS):
        seconds, scores = by_us(rows)
        rates["ours"].append(ROWS / seconds)
        if scores != expected:
            problems = ["scores differ from river's"]
    what = f"{OPTIONS['n_trees']} trees, {CHUNK:,} rows a call"
    line = Line(what, "rows a processor second", rates, least=LEAST)
    return finish([line], problems=problems)


if __name__ == "__main__":
    sys.exit(main())
