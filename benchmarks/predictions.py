"""
01-Predictions by the number of users: seconds and memory a user, and ten millions.

    python -m benchmarks.predictions [--rows 10000 100000 1000000] [--repeats 3]

The function's own body, from the load of the champion to the end of the publication,
with the real client of BigQuery and of its read streams, each run in a process of its
own. In the place of Google Cloud answers an HTTP transport in the same process, and a
read stream that hands out serialized Arrow batches of users as BigQuery does, and a
write stream that reads what it gets, and a bucket that takes the features. The model is
the slowest of ``ga4_purchase``'s candidates: the mean of all, of 37 features. What
BigQuery computes itself (features, percentiles, the publication) takes no time here.

Seconds are from the first request to the answer, without the start of the process;
those of a processor are what grows or not, whatever else the machine does. Memory is
how far the process rises above what it has before the run.

Exit code 1 if processor seconds or memory a user grow by more than 10% from one step
to the next, or if ten million users, from the last step on, would not be done within
the time and memory that the function is deployed with.
"""

from __future__ import annotations

import argparse
import gc
import json
import runpy
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import joblib
from google.auth.credentials import AnonymousCredentials
from google.auth.transport.requests import AuthorizedSession
from google.cloud import bigquery, storage

from benchmarks import memory
from benchmarks.cloud import (
    EXPORT,
    NOW,
    USE_CASE,
    Bucket,
    Cloud,
    Models,
    Reader,
    Writer,
)
from benchmarks.report import Line, finish
from benchmarks.training import labelled_rows
from deploy import functions
from propensity import usecases
from propensity.edges import writes
from propensity.edges.artifacts import Artifacts
from propensity.edges.warehouse import Warehouse
from propensity.learning import candidates, data
from propensity.learning.preprocessor import default_preprocessor, fitted
from propensity.models.encoding import to_frame
from propensity.models.scoring import MeanOfModels
from propensity.runs.run import Run
from propensity.settings import Settings
from propensity.timeframe import temporal_split

ROOT = Path(__file__).parent.parent
STEPS = (10_000, 100_000, 1_000_000)
TARGET_USERS = 10_000_000
MOST_GROWTH = 1.1
# A run waits for BigQuery, too: statements, within their timeout.
SHARE_OF_TIME = 0.5
TRAINING_ROWS = 20_000


# -- one run ---------------------------------------------------------------------------


def train(file: Path) -> None:
    """Fit the candidates on rows of their own, and store their mean."""
    use_case, settings = usecases.load(USE_CASE), Settings(project="benchmark")
    rows = labelled_rows(use_case, TRAINING_ROWS)
    as_ofs = tuple(sorted(set(rows["as_of"].to_pylist())))
    split = temporal_split(as_ofs, use_case.timeframe(settings))
    part = data.slice_of(rows, split.train)
    features: Any = dict(use_case.features)
    preprocessor = fitted(default_preprocessor(use_case), part, features)
    frame = to_frame(part.rows.combine_chunks().to_batches()[0], features)
    encoded = preprocessor.transform(frame)
    members = [
        candidates.estimator(candidate, {}, seed=settings.seed).fit(encoded, part.label)
        for candidate in use_case.candidates
        if candidate.algorithm != MeanOfModels.__name__
    ]
    joblib.dump((preprocessor, MeanOfModels(members)), file)


@cache
def body() -> Any:
    """Return the function of 01 as it is, without the framework around it."""
    run = runpy.run_path(str(ROOT / "01-Predictions" / "main.py"))["predictions"]
    while hasattr(run, "__wrapped__"):
        run = run.__wrapped__
    return run


def measured(file: Path, users: int) -> dict[str, float]:
    """Run 01 for so many users, and return seconds and how far memory rises."""
    settings = Settings(
        project="benchmark",
        bucket="benchmark",
        location="US",
        ga4_dataset=EXPORT,
        # What an index takes is ``benchmarks.index``'s.
        lookup_source="bigquery",
    )
    cloud = Cloud(users)
    credentials = AnonymousCredentials()  # type: ignore[no-untyped-call]
    session = AuthorizedSession(credentials)  # type: ignore[no-untyped-call]
    session.mount("https://", cloud)
    client = bigquery.Client(
        project=settings.project,
        location=settings.location,
        credentials=credentials,
        _http=session,
    )
    warehouse = Warehouse(settings, client=client)
    warehouse.__dict__["_read_client"] = Reader(users)
    bucket = Bucket()
    session = AuthorizedSession(credentials)  # type: ignore[no-untyped-call]
    session.mount("https://", bucket)
    objects = storage.Client(
        project=settings.project, credentials=credentials, _http=session
    )
    artifacts = Artifacts(objects.bucket(settings.bucket), deadline_s=30)
    registry: Any = Models(file, artifacts)
    writer = Writer()
    run = Run(
        function="predictions",
        run_id="0" * 32,
        settings=settings,
        use_case=usecases.load(USE_CASE),
        as_of=NOW.date() - timedelta(days=1),
        force=True,
        began_at=NOW,
        warehouse=warehouse,
        registry=registry,
    )
    function = body()
    gc.collect()
    memory.forget_peak()
    before, began = memory.resident_mb(), time.perf_counter()
    used = time.process_time()
    with patch.object(writes, "client_of", lambda _: writer):
        answer = function(run)
    seconds, used = time.perf_counter() - began, time.process_time() - used
    assert answer["users"] == users, answer
    assert writer.rows == users, f"{writer.rows} rows were staged"
    assert bucket.manifest["rows"] == users, bucket.manifest
    return {
        "feature_bytes": bucket.size_bytes,
        "seconds": seconds,
        "cpu_s": used,
        "rise_mb": memory.peak_mb() - before,
        "peak_mb": memory.peak_mb(),
    }


# -- the benchmark ---------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.predictions")
    parser.add_argument("--rows", type=int, nargs="+", default=list(STEPS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--of", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    if options.of is not None:
        print(json.dumps(measured(options.of, options.rows[0])))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.joblib"
        train(file)
        by_rows: dict[int, list[dict[str, float]]] = {rows: [] for rows in options.rows}
        # In turn, so that whatever else the machine does meets all of them.
        for _ in range(options.repeats):
            for rows, several in by_rows.items():
                several.append(_in_process(file, rows))
    return finish(report(by_rows))


def _in_process(file: Path, rows: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.predictions", "--of", str(file)]
    process = subprocess.run(
        [*command, "--rows", str(rows)],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    if process.returncode:
        raise SystemExit(process.stderr)
    return {name: float(value) for name, value in json.loads(process.stdout).items()}


def report(by_rows: Mapping[int, Sequence[Mapping[str, float]]]) -> Iterator[Line]:
    """Yield what a user takes, beside a tenth of the users, and ten million users."""
    [own] = [own for own in functions.load() if own.target == "predictions"]
    memory_mb = float(own.memory.removesuffix("Gi")) * 1024
    before = 0
    for rows, rounds in by_rows.items():
        for name, what, unit, times in (
            ("cpu_s", "processor time a user", "µs", 1e6),
            ("rise_mb", "memory a user", "KB", 1024),
        ):
            now, before_it = (
                [figures[name] / count * times for figures in by_rows.get(count, ())]
                for count in (rows, before)
            )
            yield Line(
                what=f"{what} of {rows:,}",
                unit=unit,
                ours=now,
                peer=f"of {before:,}" if before else "",
                theirs=before_it,
                most=MOST_GROWTH if before else None,
            )
        yield Line(
            what=f"a run of {rows:,} users",
            unit="s",
            ours=[figures["seconds"] for figures in rounds],
        )
        before = rows
    last = by_rows[max(by_rows)]
    # What a step holds at once does not grow beyond it; at worst it would.
    yield Line(
        what=f"a run of {TARGET_USERS:,} users, at the pace of {max(by_rows):,}",
        unit="s",
        ours=[each["seconds"] / max(by_rows) * TARGET_USERS for each in last],
        most=own.timeout_s * SHARE_OF_TIME,
    )
    yield Line(
        what=f"memory of the process at {max(by_rows):,} users",
        unit="MB",
        ours=[each["peak_mb"] for each in last],
        most=memory_mb / 2,
    )
    yield Line(
        what="features kept, of a user, drawn at random",
        unit="bytes",
        ours=[each["feature_bytes"] / max(by_rows) for each in last],
    )


if __name__ == "__main__":
    sys.exit(main())
