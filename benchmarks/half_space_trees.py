"""
Half-Space Trees against river's: rows a second. Gates.

    python -m benchmarks.half_space_trees

Both score each row and then learn it, on the same rows of 28 features and with the same
trees, after a window of warm-up. River gets one mapping a row, as it takes no other
form, in a virtual environment of its own; we get arrays, in chunks. Processor time is
compared. Tests hold the scores to river's, to the last bit.
"""

from __future__ import annotations

import sys
import time
from functools import partial
from itertools import pairwise

import numpy as np

from benchmarks.report import Line, by_peer, finish, in_turns
from propensity import usecases
from propensity.models.encoding import Floats
from propensity.models.half_space_trees import HalfSpaceTrees

FEATURES = tuple(sorted(f"V{number}" for number in range(1, 29)))
# The trees of card fraud.
OPTIONS = dict(usecases.load("card_fraud").candidates[0].parameters)
SEED = 42
WINDOW = OPTIONS["window_size"]
ROWS = 5_000
CHUNK = 1_000
ROUNDS = 9
LEAST = 20.0
RIVER = """
import pickle, sys, time
from river import anomaly

warm_up, options, rows = pickle.load(sys.stdin.buffer)
model = anomaly.HalfSpaceTrees(**options)
def run(part):
    for row in part:
        model.score_one(row)
        model.learn_one(row)
run(rows[:warm_up])
start = time.process_time()
run(rows[warm_up:])
rate = (len(rows) - warm_up) / (time.process_time() - start)
pickle.dump(rate, sys.stdout.buffer)
"""


def generated(n: int) -> Floats:
    """Return rows around the middle of [0, 1], some of them beyond it, or alone."""
    random = np.random.default_rng(3)
    rows = np.clip(0.5 + 0.12 * random.standard_normal((n, len(FEATURES))), -0.2, 1.2)
    is_odd = random.random(n) < 0.002
    rows[is_odd] = random.random((int(is_odd.sum()), len(FEATURES)))
    return rows


def main() -> int:
    """Measure, print Markdown, and return 1 where a target is missed."""
    rows = generated(ROWS + WINDOW)

    def warm() -> HalfSpaceTrees:
        return HalfSpaceTrees(**OPTIONS, random_state=SEED).fit(rows[:WINDOW])

    # River's trees halve [0, 1], so it gets rows that are scaled by our limits.
    low, high = warm().limits_.T
    scaled = ((rows - low) / (high - low)).tolist()
    mappings = [dict(zip(FEATURES, row, strict=True)) for row in scaled]

    def ours() -> float:
        trees = warm()
        edges = list(range(WINDOW, len(rows), CHUNK)) + [len(rows)]
        start = time.process_time()
        for begin, end in pairwise(edges):
            trees.score_and_learn(rows[begin:end])
        return ROWS / (time.process_time() - start)

    options = {**OPTIONS, "seed": SEED}
    rivers = partial(by_peer, "river", RIVER, WINDOW, options, mappings)
    rates: dict[str, list[float]] = in_turns(ROUNDS, {"ours": ours, "river": rivers})
    what = f"{OPTIONS['n_trees']} trees, {CHUNK:,} rows a call"
    line = Line(what, "rows a processor second", rates, least=LEAST)
    return finish([line])


if __name__ == "__main__":
    sys.exit(main())
