"""
What 00-ModelTraining adds to the fits of its candidates. Gates.

    python -m benchmarks.training

A training, from rows in memory to the files of the version (encode, fit, choose,
measure with intervals, importance, report, pickles), with fits side by side as it is
deployed; against the time within ``fit`` of its candidates, one after another,
in a second training of the same rows.
"""

from __future__ import annotations

import sys
import time
import warnings
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
from sklearn.exceptions import ConvergenceWarning

from benchmarks.report import Line, finish, in_turns
from propensity import usecases
from propensity.learning import candidates, gate
from propensity.learning.card import Origin, user_card
from propensity.learning.files import files
from propensity.learning.split import split_users
from propensity.learning.trained import Rival
from propensity.learning.users import UserTraining
from propensity.settings import Settings
from propensity.usecases import CATEGORY, UseCase

MOST_OF_FITS = 1.3
ROWS = 30_000
SNAPSHOTS = 26
ROUNDS = 3


def labelled_rows(use_case: UseCase, count: int) -> pa.Table:
    """Return rows of users whose label depends on their features, a tenth of them 1."""
    random = np.random.default_rng(7)
    columns: dict[str, Any] = {}
    score = np.zeros(count)
    for index, (name, kind) in enumerate(use_case.features.items()):
        if kind == CATEGORY:
            codes = random.zipf(1.6, count) % 40
            columns[name] = pa.array([f"{name} {code}" for code in codes])
            score += 0.1 * (codes == 1)
            continue
        values = random.lognormal(1.0, 1.2, count)
        columns[name] = pa.array(values, mask=random.random(count) < 0.05)
        score += np.log1p(values) * random.normal() / (3 + index)
    chance = 1 / (1 + np.exp(-(score - np.quantile(score, 0.9))))
    days = [date(2026, 3, 2) - timedelta(days=7 * n) for n in range(SNAPSHOTS)]
    return pa.table(
        {
            "as_of": pa.array([days[n % SNAPSHOTS] for n in range(count)]),
            "user_id": pa.array([f"u{n // SNAPSHOTS}" for n in range(count)]),
            **columns,
            "label": pa.array((random.random(count) < chance).astype(np.int64)),
            "weight": pa.array(np.ones(count)),
        }
    )


def trained(use_case: UseCase, rows: pa.Table, jobs: int | None) -> float:
    """Train from rows to the files of a version; return the seconds."""
    settings = Settings(project="benchmark")
    began = time.perf_counter()
    timeframe = use_case.timeframe(settings)
    training = UserTraining(
        parts=split_users(rows, use_case, timeframe, settings=settings),
        use_case=use_case,
        settings=settings,
        jobs=jobs,
    )
    model = training.run()
    verdict = gate.compare(model, Rival(version=0, score=model.holdout.probability))
    origin = Origin(
        rows=rows,
        version=1,
        as_of=date(2026, 3, 12),
        trained_at=datetime(2026, 3, 12, tzinfo=UTC),
    )
    card = user_card(use_case, model, verdict, origin)
    files(card, model, rows)
    return time.perf_counter() - began


def fits(use_case: UseCase, rows: pa.Table) -> float:
    """Train, and return the seconds within every fit of a candidate."""
    seconds: list[float] = []
    plain = candidates.fit

    def timed(*given: Any, **named: Any) -> Any:
        began = time.perf_counter()
        model = plain(*given, **named)
        seconds.append(time.perf_counter() - began)
        return model

    with patch.object(candidates, "fit", timed):
        trained(use_case, rows, 1)
    return sum(seconds)


def main() -> int:
    """Measure, print Markdown, and return 1 where the target is missed."""
    warnings.simplefilter("ignore", ConvergenceWarning)
    use_case = usecases.load("ga4_purchase")
    rows = labelled_rows(use_case, ROWS)
    ways = {
        "ours": partial(trained, use_case, rows, None),
        "its fits alone": partial(fits, use_case, rows),
    }
    took = in_turns(ROUNDS, ways)
    what = f"a training of {ROWS:,} rows × {len(use_case.features)} features"
    return finish([Line(what, "s", took, most=MOST_OF_FITS)])


if __name__ == "__main__":
    sys.exit(main())
