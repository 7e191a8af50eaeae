"""
What 00-ModelTraining adds to the fits of its candidates, and the memory it takes.

    python -m benchmarks.training [--memory ROWS …]

Both in one run, in turn, on the same rows: the whole of a training from rows in memory
to the files of the version (encode, fit, choose, calibrate, measure with intervals,
importance, description, report, pickles), against the bare ``fit`` of each candidate
that is fitted, on arrays that are encoded already, at the faster of one thread and all:
on every block that judges it, and the two last fits of the chosen ones, on the rows
that are measured without the holdout and on all.
A training fits few rows side by side, the bare fits follow each other: so processor
seconds stand beside, those of the bare fits on one thread.

Memory is the most that a process held, its rows and libraries included, from rows that
it has read to the files. ``--memory 0`` leaves it out.

Exit code 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from benchmarks.report import Line, finish
from propensity import usecases
from propensity.learning import data, fit, gate, modelcard
from propensity.learning.candidates import estimator, is_mean
from propensity.learning.fit import Trained
from propensity.learning.preprocessor import default_preprocessor, fitted, transformed
from propensity.runs.train import checked_estimator
from propensity.settings import Settings
from propensity.usecases import CATEGORY, Candidate, UseCase
from propensity.waiting.threads import THREADS

# On the clock, and of processors.
Seconds = tuple[float, float]

MOST_OF_FITS = 1.2
SNAPSHOTS = 26
MEMORY_ROWS = 5_000_000
# Memory does not depend on the weeks, and a block of weeks less is fitted sooner.
FEW_SNAPSHOTS = 8
# Of 00-ModelTraining, by its deploy.sh.
MOST_BYTES = 8 * 2**30


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training")
    parser.add_argument("--rows", type=int, default=30_000, help="30000; 0: none")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--memory", type=int, nargs="*", default=[MEMORY_ROWS])
    parser.add_argument("--candidates", nargs="*", help="of --memory; default: all")
    parser.add_argument("--peak-of", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    use_case = usecases.load("ga4_purchase")
    if options.candidates:
        chosen = [
            candidate
            for candidate in use_case.candidates
            if candidate.name in options.candidates
        ]
        use_case = replace(use_case, candidates=tuple(chosen))
    warnings.simplefilter("ignore", ConvergenceWarning)
    if options.peak_of is not None:
        print(json.dumps(peak(use_case, options.peak_of)))
        return 0
    lines: list[Line] = []
    if options.rows:
        lines += speed(use_case, options.rows, repeats=options.repeats)
    for rows in filter(None, options.memory):
        lines += memory(use_case, rows)
    return finish(lines)


def speed(use_case: UseCase, count: int, *, repeats: int) -> Iterator[Line]:
    """Yield the lines of a training beside its bare fits."""
    settings = Settings(project="benchmark")
    rows = labelled_rows(use_case, count)
    whole, bare = [], []
    for _ in range(repeats):
        measured, trained = whole_training(use_case, rows, settings)
        whole.append(measured)
        bare.append(bare_fits(use_case, rows, trained, settings))
    what = f"{count:,} rows × {len(use_case.features)} features, {trained.fits} fits"
    for place, name in enumerate(("seconds", "processor seconds")):
        yield Line(
            what=f"a training of {what}, {name}",
            unit="s",
            ours=[training[place] for training in whole],
            peer="its fits alone",
            theirs=[training[place] for training in bare],
            most=None if place else MOST_OF_FITS,
        )


def memory(use_case: UseCase, count: int) -> Iterator[Line]:
    """Yield the lines of the memory of a training, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.arrow"
        # In another process, so that what it takes to make the rows is not counted.
        maker = multiprocessing.get_context("spawn").Process(
            target=write, args=(use_case.name, count, file)
        )
        maker.start()
        maker.join()
        command = [sys.executable, "-m", "benchmarks.training", "--peak-of", str(file)]
        command += [
            "--candidates",
            *(candidate.name for candidate in use_case.candidates),
        ]
        process = subprocess.run(command, capture_output=True, text=True, check=True)
    measured = json.loads(process.stdout)
    yield Line(
        what=f"memory of a training of {count:,} rows",
        unit="GiB",
        ours=[measured["bytes"] / 2**30],
        most=MOST_BYTES / 2**30 if count <= MEMORY_ROWS else None,
    )
    yield Line(
        what=f"a training of {count:,} rows, {measured['fits']} fits",
        unit="s",
        ours=[measured["seconds"]],
    )


def write(name: str, count: int, file: Path) -> None:
    """Write made rows to a file."""
    rows = labelled_rows(usecases.load(name), count, snapshots=FEW_SNAPSHOTS)
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, rows.schema) as out:
        out.write_table(rows)


def peak(use_case: UseCase, file: Path) -> dict[str, float]:
    """Return the most bytes of this process, and the seconds, of a training of rows."""
    with pa.OSFile(str(file)) as source, pa.ipc.open_file(source) as reader:
        rows = data.in_order(reader.read_all())
    measured, trained = whole_training(use_case, rows, Settings(project="benchmark"))
    return {
        "bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "seconds": measured[0],
        "fits": trained.fits,
    }


def labelled_rows(
    use_case: UseCase, count: int, *, snapshots: int = SNAPSHOTS
) -> pa.Table:
    """Return rows of users whose label depends on their features, a tenth of them 1."""
    random = np.random.default_rng(7)
    columns: dict[str, Any] = {}
    score = np.zeros(count)
    for place, (name, kind) in enumerate(use_case.features.items()):
        if kind == CATEGORY:
            codes = random.zipf(1.6, count) % 40
            columns[name] = pa.array([f"{name} {code}" for code in codes])
            score += 0.1 * (codes == 1)
            continue
        values = random.lognormal(1.0, 1.2, count)
        columns[name] = pa.array(values, mask=random.random(count) < 0.05)
        score += np.log1p(values) * random.normal() / (3 + place)
    chance = 1 / (1 + np.exp(-(score - np.quantile(score, 0.9))))
    newest = date(2026, 3, 2)
    days = [newest - timedelta(days=7 * n) for n in range(snapshots)]
    return pa.table(
        {
            "as_of": pa.array([days[n % snapshots] for n in range(count)]),
            "user_id": pa.array([f"u{n // snapshots}" for n in range(count)]),
            **columns,
            "label": pa.array((random.random(count) < chance).astype(np.int64)),
            "weight": pa.array(np.ones(count)),
        }
    )


def whole_training(
    use_case: UseCase, rows: pa.Table, settings: Settings
) -> tuple[Seconds, Trained]:
    """Return the time from rows to the files of a version, and the model."""
    began = time.perf_counter(), time.process_time()
    timeframe = use_case.timeframe(settings)
    trained = fit.train(
        data.of_users(rows, use_case, timeframe, settings=settings),
        use_case,
        preprocessor=None,
        settings=settings,
        pools=THREADS.pool,
    )
    verdict = gate.compare(trained, trained.probability, version=0, seed=settings.seed)
    estimator = checked_estimator(trained, use_case)
    card = modelcard.card(
        use_case,
        trained,
        verdict,
        version=1,
        rows=rows,
        as_of=date(2026, 3, 12),
        data_until=None,
        settle_days=settings.settle_days,
        chosen=use_case.chosen(settings),
        trained_at=datetime(2026, 3, 12, tzinfo=UTC),
        estimator=estimator,
        bytes_billed=0,
    )
    modelcard.files(card, trained, rows, estimator=estimator)
    ended = time.perf_counter(), time.process_time()
    return (ended[0] - began[0], ended[1] - began[1]), trained


def bare_fits(
    use_case: UseCase, rows: pa.Table, trained: Trained, settings: Settings
) -> Seconds:
    """Return the time of the fits alone that a training took."""
    parts = data.of_users(
        rows, use_case, use_case.timeframe(settings), settings=settings
    )
    assert parts.every is not None
    features: Any = dict(use_case.features)
    encoder = fitted(default_preprocessor(use_case), parts.fitting, features)
    choice = trained.choice
    assert choice is not None
    fits: list[tuple[Candidate, data.Slice]] = []
    alone = [candidate for candidate in use_case.candidates if not is_mean(candidate)]
    for block in parts.blocks:
        part = data.slice_of(rows, block.fitting)
        fits += [(candidate, part) for candidate in alone]
    fits += [
        (member, part)
        for member in choice.recipe.members
        for part in (parts.fitting, parts.every)
    ]
    assert len(fits) == trained.fits
    seconds = processor = 0.0
    for candidate, part in fits:
        encoded = transformed(encoder, part.rows, features)
        seconds_taken = []
        for threads in (1, None):
            model = estimator(candidate, {}, seed=settings.seed)
            if isinstance(model, RandomForestClassifier):
                model.set_params(n_jobs=threads or -1)
            with threadpool_limits(threads):
                began = time.perf_counter(), time.process_time()
                model.fit(encoded, part.label, **part.sample_weight)
                seconds_taken.append(time.perf_counter() - began[0])
                processor += (time.process_time() - began[1]) * (threads == 1)
        seconds += min(seconds_taken)
    return seconds, processor


if __name__ == "__main__":
    sys.exit(main())
