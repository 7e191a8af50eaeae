"""
What 00-ModelTraining adds to the fits of its candidates, in seconds. Gates.

A training, from rows in memory to the files of the version, with fits side by side;
against the time within ``fit`` in a second one of the same rows, one after another.
"""

from __future__ import annotations

import time
import warnings
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
from sklearn.exceptions import ConvergenceWarning

from benchmarks.measuring.report import Line, in_turns
from propensity import usecases
from propensity.learning import candidates, gate
from propensity.learning.card import Origin, user_card
from propensity.learning.split import split_users
from propensity.learning.trained import Rival
from propensity.learning.users import UserTraining
from propensity.runs.model_files import files
from propensity.settings import Settings
from propensity.usecases import CATEGORY
from propensity.usecases.use_case import limits_of

USE_CASE = usecases.load("ga4_purchase")
ROWS = 30_000
SNAPSHOTS = 26
ROUNDS = 3


def labelled_rows(count: int) -> pa.Table:
    """Return rows of users with gaps and categories, a tenth of them of label 1."""
    random = np.random.default_rng(7)
    days = [date(2026, 3, 2) - timedelta(days=7 * n) for n in range(SNAPSHOTS)]
    columns: dict[str, Any] = {
        "as_of": [days[n % SNAPSHOTS] for n in range(count)],
        "user_id": [f"u{n // SNAPSHOTS}" for n in range(count)],
    }
    score = random.normal(0, 3, count)
    for name, kind in USE_CASE.features.items():
        values = random.lognormal(1.0, 1.2, count)
        score += np.log1p(values) * random.normal()
        columns[name] = pa.array(values, mask=random.random(count) < 0.05)
        if kind == CATEGORY:
            columns[name] = [f"{name} {code}" for code in values.astype(int) % 40]
    columns["label"] = (score > np.quantile(score, 0.9)).astype(np.int64)
    columns["weight"] = np.ones(count)
    return pa.table(columns)


def trained(rows: pa.Table, jobs: int | None) -> float:
    """Train from rows to the files of a version; return the seconds."""
    settings = Settings(project="benchmark")
    began = time.perf_counter()
    timeframe = USE_CASE.timeframe(settings)
    task = USE_CASE.task(settings)
    limits = limits_of(settings)
    parts = split_users(rows, task, timeframe, limits=limits)
    training = UserTraining(parts=parts, task=task, limits=limits, jobs=jobs)
    model = training.run()
    verdict = gate.compare(model, Rival(version=0, score=model.holdout.probability))
    at = datetime(2026, 3, 12, tzinfo=UTC)
    origin = Origin(rows=rows, version=1, as_of=at.date(), trained_at=at)
    files(user_card(task, model, verdict, origin), model, rows)
    return time.perf_counter() - began


def fits(rows: pa.Table) -> float:
    """Train, and return the seconds within every fit of a candidate."""
    seconds: list[float] = []
    plain = candidates.fit

    def timed(*given: Any, **named: Any) -> Any:
        began = time.perf_counter()
        model = plain(*given, **named)
        seconds.append(time.perf_counter() - began)
        return model

    with patch.object(candidates, "fit", timed):
        trained(rows, 1)
    return sum(seconds)


def lines() -> list[Line]:
    warnings.simplefilter("ignore", ConvergenceWarning)
    rows = labelled_rows(ROWS)
    ways = {"ours": partial(trained, rows, None), "its fits alone": partial(fits, rows)}
    took = in_turns(ROUNDS, ways)
    return [Line(f"a training of {ROWS:,} rows", "s", took, most=1.3)]
