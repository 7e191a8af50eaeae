"""
What 01-Predictions computes, by the number of users: seconds and memory. Gates.

    python -m benchmarks.predictions

Arrow batches of users with the features of ``ga4_purchase``, as BigQuery's read stream
hands them out, are scored by a mean of its candidates, shifted by the season, and
encoded as the rows that are appended. Nothing waits for BigQuery here. Each number of
users runs in a process of its own: neither seconds nor memory of a user may grow, and
ten million must be done within half of the function's time and memory.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import joblib
import pyarrow as pa

from benchmarks.report import Line, finish
from benchmarks.training import labelled_rows
from deploy import functions
from local.stack.state import ROOT
from propensity import usecases
from propensity.learning import candidates, season
from propensity.learning.preprocessor import default_preprocessor
from propensity.models.encoding import to_frame
from propensity.models.scoring import Scorer
from propensity.usecases import UseCase

STEPS = (100_000, 1_000_000)
TARGET_USERS = 10_000_000
MOST_GROWTH = 1.1
SHARE = 0.5
BATCH_ROWS, DISTINCT_ROWS, ROUNDS = 4_000, 64_000, 3


def train(use_case: UseCase, file: Path) -> None:
    """Fit the candidates on rows of their own, and store their mean."""
    rows = labelled_rows(use_case, 20_000)
    features: Any = dict(use_case.features)
    frame = to_frame(rows.combine_chunks().to_batches()[0], features)
    preprocessor = default_preprocessor(use_case)
    encoded, label = preprocessor.fit_transform(frame), rows["label"].to_numpy()
    members = [
        candidates.estimator(candidate, seed=1).fit(encoded, label)
        for candidate in use_case.candidates
        if not candidates.is_mean(candidate)
    ]
    joblib.dump((preprocessor, candidates.combined(members)), file)


def measured(use_case: UseCase, file: Path, users: int) -> dict[str, float]:
    """Score so many users, and return processor seconds and how far memory rises."""
    features: Any = dict(use_case.features)
    scorer = Scorer(*joblib.load(file), features=features)
    given = labelled_rows(use_case, DISTINCT_ROWS).combine_chunks()
    batches = given.to_batches(max_chunksize=BATCH_ROWS)
    before, began = _peak_mb(), time.process_time()
    rows = 0
    stream = islice(cycle(batches), -(-users // BATCH_ROWS))
    for batch, scores in scorer.score(stream):
        probability = season.apply(scores, 0.1)
        staged = pa.RecordBatch.from_pydict(
            {"user_id": batch["user_id"], "probability": probability}
        )
        rows += bool(staged.serialize().size) * staged.num_rows
    seconds = time.process_time() - began
    assert rows >= users
    return {"cpu_s": seconds / rows * users, "rise_mb": _peak_mb() - before}


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> int:
    """Measure, print Markdown, and return 1 where a target is missed."""
    warnings.simplefilter("ignore")
    use_case = usecases.load("ga4_purchase")
    if len(sys.argv) > 1:
        model, count = sys.argv[1:]
        print(json.dumps(measured(use_case, Path(model), int(count))))
        return 0
    taken: dict[int, list[dict[str, float]]] = {users: [] for users in STEPS}
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "model.joblib")
        train(use_case, Path(file))
        command = [sys.executable, "-m", "benchmarks.predictions", file]
        for users, rounds in [*taken.items()] * ROUNDS:
            text = subprocess.check_output([*command, str(users)], cwd=ROOT)
            rounds.append(json.loads(text))
    few, many = (
        [1e6 * each["cpu_s"] / users for each in rounds]
        for users, rounds in taken.items()
    )
    [own] = [own for own in functions.load() if own.target == "predictions"]
    pace = Line(
        what=f"processor time a user of {STEPS[-1]:,}",
        unit="µs",
        ours=many,
        peer=f"of {STEPS[0]:,}",
        theirs=few,
        most=MOST_GROWTH,
    )
    time_of_all = Line(
        what=f"{TARGET_USERS:,} users at that pace",
        unit="s",
        ours=[each * TARGET_USERS / 1e6 for each in many],
        most=int(own.flags["timeout"]) * SHARE,
    )
    memory = Line(
        what=f"memory above that of the start, {STEPS[-1]:,} users",
        unit="MB",
        ours=[each["rise_mb"] for each in taken[STEPS[-1]]],
        most=float(own.flags["memory"].removesuffix("Gi")) * 1024 * SHARE,
    )
    return finish([pace, time_of_all, memory])


if __name__ == "__main__":
    sys.exit(main())
