"""
Three labelled tables beside the shops of ``benchmarks.quality``, each forward in time.

A model is trained on the older dates, as 00-ModelTraining does, and scores the newer
ones; so does a plain model of the same rows and features.

- Sessions of a real shop, and real card transactions with the frauds of a whole day.
  Both files keep no order in time that a model could be judged by, so their rows are
  dealt out to dates at random.
- Generated players, at moments of their first day, in the order of registration.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from msgspec.structs import replace
from sklearn.ensemble import HistGradientBoostingClassifier

from local import sandbox, ship_model
from local.generators.games import Games
from propensity import usecases
from propensity.first_look.table import candidates
from propensity.learning import fit
from propensity.learning import rows as learning_rows
from propensity.learning.rows import Parts, Slice
from propensity.models.encoding import Floats
from propensity.settings import Settings
from propensity.usecases import CATEGORY, NUMBER, Stream, UseCase
from propensity.usecases.declaration import FOREST

# Rows that were scored, and their scores by the product and by the plain model.
Scored = tuple[str, Slice, Floats, Floats]

SETTINGS = Settings.from_environment({"GOOGLE_CLOUD_PROJECT": "benchmark"})
SHOPPERS = "online_shoppers_intention.csv.zst"
# Columns of shoppers whose numbers are names.
CODES = ("OperatingSystems", "Browser", "Region", "TrafficType")
CARDS = "creditcard_day1.parquet"
FIRST = date(2026, 1, 5)
# Dates of a table, and how many of the newest are scored.
DATES, NEWEST = 12, 4
PLAYERS = Games(users=6_000, maximum_events=40)


def scored(name: str, parts: Parts, later: Slice, use_case: UseCase) -> Scored:
    """Train on the parts, and score later rows."""
    model = fit.train(parts, use_case, preprocessor=None, settings=SETTINGS)
    known = parts.every
    trees = plain(SETTINGS.seed).fit(_frame(known.rows, use_case), known.label)
    ours = model.live.scores(later.rows, use_case)
    theirs = trees.predict_proba(_frame(later.rows, use_case))[:, 1]
    return name, later, ours, np.asarray(theirs)


def plain(seed: int) -> HistGradientBoostingClassifier:
    """Return the plain model, unfitted: few and small trees, with their defaults."""
    return HistGradientBoostingClassifier(
        max_iter=80, max_leaf_nodes=15, learning_rate=0.05, random_state=seed
    )


def _frame(rows: pa.Table, use_case: UseCase) -> pd.DataFrame:
    frame = rows.select([*use_case.features]).to_pandas()
    names = [name for name, kind in use_case.features.items() if kind == CATEGORY]
    return frame.astype(dict.fromkeys(names, "category"))


def shoppers(file: Path) -> Scored:
    """Train on sessions of a shop: who buys before the session ends."""
    codes = ", ".join(f"{name}::TEXT AS {name}" for name in CODES)
    query = f"SELECT * REPLACE ({codes}) RENAME (Revenue AS label) FROM '{file}'"
    table = duckdb.sql(query).to_arrow_table()
    texts = ("Month", "VisitorType", *CODES)
    *names, _ = table.column_names
    # The use case of a shop, with other features and candidates.
    use_case = replace(
        usecases.load("ga4_purchase"),
        features={name: CATEGORY if name in texts else NUMBER for name in names},
        candidates=candidates(),
        baseline=usecases.Baseline(feature="PageValues", ascending=False),
        stream=Stream(),
    )
    return _of_dates("online shoppers", _dealt(table), use_case)


def cards(file: Path) -> Scored:
    """Train on transactions of a day, with all of its frauds."""
    use_case = usecases.load("card_fraud")
    rows = _dealt(pq.read_table(file).rename_columns({"Class": "label"}))
    end = FIRST + timedelta(days=7 * (DATES - NEWEST))
    known = rows.filter(pc.less(rows["as_of"], end))
    later = rows.filter(pc.greater_equal(rows["as_of"], end))
    parts = learning_rows.of_events(known, settings=SETTINGS)
    # Only these candidates learn from labels.
    learning = [one for one in use_case.candidates if one.algorithm != FOREST]
    use_case = replace(use_case, candidates=learning)
    return scored("cards with labels", parts, Slice(rows=later), use_case)


def players() -> Scored:
    """Train on generated players, at moments of their first day."""
    use_case = usecases.load("first_day_churn")
    end = PLAYERS.end.date()
    as_ofs = [end - timedelta(days=7 * number) for number in range(DATES)]
    with sandbox.opened() as opened:
        ship_model.store(opened.warehouse, PLAYERS)
        today = end + timedelta(days=30)
        window = use_case.window(opened.warehouse.settings, as_ofs, today=today)
        parameters = {**window, "maximum_rows": 10**9}
        statement = use_case.statement("training_rows")
        rows = opened.warehouse.table(statement, parameters)
    elapsed = rows[use_case.stream.elapsed]
    rows = rows.append_column("moment", elapsed)
    return _of_dates("churn at moments", rows, use_case)


def _of_dates(name: str, rows: pa.Table, use_case: UseCase) -> Scored:
    """Train on the older dates and score the newest."""
    as_ofs = sorted(pc.unique(rows["as_of"]).to_pylist())
    known = learning_rows.slice_of(rows, as_ofs[:-NEWEST])
    later = learning_rows.slice_of(rows, as_ofs[-NEWEST:])
    frame = use_case.timeframe(SETTINGS)
    parts = learning_rows.of_users(known.rows, use_case, frame, settings=SETTINGS)
    return scored(name, parts, later, use_case)


def _dealt(table: pa.Table) -> pa.Table:
    """Return rows with what a training needs beside the features, by date."""
    order = np.random.default_rng(1).permutation(len(table))
    rows = table.take(pa.array(order))
    number = np.arange(len(rows))
    as_of = np.datetime64(FIRST) + number * DATES // len(rows) * 7
    at = as_of.astype("datetime64[us]") + number.astype("timedelta64[s]")
    columns = {
        "as_of": pa.array(as_of),
        "user_id": pa.array([f"row {place}" for place in order]),
        "event_time": pa.array(at, pa.timestamp("us", tz="UTC")),
        "weight": pa.array(np.ones(len(rows))),
        "moment": pa.array(np.zeros(len(rows))),
        "state": pa.array(["known"] * len(rows)),
        "is_conflicting": pa.array(np.zeros(len(rows), bool)),
    }
    for name, column in columns.items():
        rows = rows.append_column(name, column)
    label = rows["label"].cast(pa.int64())
    return rows.set_column(rows.column_names.index("label"), "label", label)


def tables(folder: Path | None) -> Iterator[Scored]:
    """Yield the tables: those of real data where their folder is known."""
    yield players()
    if folder:
        yield shoppers(folder / SHOPPERS)
        yield cards(folder / CARDS)
