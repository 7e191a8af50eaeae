"""
Half-Space Trees against river's: rows that a processor second scores and learns. Gates.

Both have card fraud's trees and the same rows of 28 features, after a window that
warms them up. River gets a mapping a row, as it takes no other form; we get arrays.
"""

from __future__ import annotations

import time
from functools import partial

import numpy as np

from benchmarks.measuring.report import Line, by_peer, in_turns
from propensity import usecases
from propensity.models.encoding import Floats
from propensity.models.half_space_trees import HalfSpaceTrees

OPTIONS = dict(usecases.load("card_fraud").candidates[0].parameters)
WINDOW = OPTIONS["window_size"]
ROWS = 5_000
ROUNDS = 9
RIVER = """
import pickle, sys, time
from river import anomaly

warm_up, options, rows = pickle.load(sys.stdin.buffer)
model = anomaly.HalfSpaceTrees(**options)
for number, row in enumerate(rows):
    if number == warm_up:
        start = time.process_time()
    model.score_one(row)
    model.learn_one(row)
rate = (len(rows) - warm_up) / (time.process_time() - start)
pickle.dump(rate, sys.stdout.buffer)
"""


def ours(rows: Floats) -> float:
    trees = HalfSpaceTrees(**OPTIONS, random_state=42).fit(rows[:WINDOW])
    start = time.process_time()
    for begin in range(WINDOW, len(rows), 1_000):
        trees.score_and_learn(rows[begin : begin + 1_000])
    return ROWS / (time.process_time() - start)


def lines() -> list[Line]:
    random = np.random.default_rng(3)
    # River's trees halve [0, 1].
    rows = np.clip(0.5 + 0.12 * random.standard_normal((ROWS + WINDOW, 28)), 0, 1)
    mappings = [dict(enumerate(row)) for row in rows.tolist()]
    river = partial(by_peer, "river", RIVER, WINDOW, {**OPTIONS, "seed": 42}, mappings)
    rates: dict[str, list[float]] = in_turns(
        ROUNDS, {"ours": partial(ours, rows), "river": river}
    )
    what = f"{OPTIONS['n_trees']} trees, 1,000 rows a call"
    return [Line(what, "rows a processor second", rates, least=20)]
