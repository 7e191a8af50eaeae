"""
A shop whose every user's true propensity is known, and trainings on it.

``snapshots`` draws labelled rows: the propensity follows from three features.
``trained`` trains on them. Candidates are small: what is looked at is which rows decide
what, not how far a forest gets.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from msgspec.structs import replace

from propensity.learning.split import split_users
from propensity.learning.task import Baseline
from propensity.learning.trained import Trained
from propensity.learning.users import UserTraining
from propensity.settings import Settings
from propensity.timeframe import Timeframe
from propensity.usecases import Candidate, UseCase
from propensity.usecases.use_case import limits_of
from tests.support.constants import altered

WEEK = Timeframe(lookback_days=60, horizon_days=7, settle_days=3)
SETTINGS = altered(
    Settings(project="p"), minimum_training_rows=100, minimum_conversions=10
)
FIRST = date(2026, 1, 1)

LINEAR = Candidate("linear", "LogisticRegression", {"C": 1.0, "max_iter": 500})
BOOSTED = Candidate(
    "boosted",
    "HistGradientBoostingClassifier",
    {"max_iter": 15, "early_stopping": False, "min_samples_leaf": 40},
)
FOREST = Candidate(
    "forest", "RandomForestClassifier", {"n_estimators": 12, "min_samples_leaf": 20}
)
MEAN = Candidate("mean", "VotingClassifier", {"of": ["linear", "boosted", "forest"]})

SHOP = UseCase(
    name="shop",
    title="Purchase",
    outcome="buy",
    lookback_days=60,
    horizon_days=7,
    threshold=0.5,
    parameters={},
    features={
        "recency_days": "number",
        "spend": "number",
        "noise": "number",
        "refunds": "number",
        "country": "category",
    },
    baseline=Baseline(feature="recency_days", ascending=True),
    candidates=(LINEAR, BOOSTED, FOREST, MEAN),
)

Columns = dict[str, np.ndarray]


def propensity(columns: Columns) -> np.ndarray:
    """The true propensity of each row; about 0.2 on average."""
    spend = np.nan_to_num(columns["spend"], nan=10.0)
    odds = (
        0.2
        - 0.08 * columns["recency_days"]
        + 0.6 * np.arcsinh(spend - 10)
        + 0.7 * (columns["country"] == "DE")
    )
    return 1 / (1 + np.exp(-odds))


def drawn(weeks: int, users: int, *, seed: int) -> Columns:
    """Features of the same users in each week, and how the coin falls for each."""
    random = np.random.default_rng(seed)
    count = weeks * users
    spend = random.gamma(4, 2.5, count)
    spend[random.random(count) < 0.1] = np.nan
    return {
        "week": np.repeat(np.arange(weeks), users),
        "user": np.tile(np.arange(users), weeks),
        "recency_days": random.integers(0, 60, count).astype(float),
        "spend": spend,
        "noise": random.normal(size=count),
        "refunds": np.full(count, np.nan),
        "country": random.choice(["DE", "FR", "UK"], count),
        "coin": random.random(count),
    }


def table(columns: Columns, chance: np.ndarray, weight: Any = 1.0) -> pa.Table:
    """Rows as training reads them, each converting if its coin falls below chance."""
    dates = [FIRST + timedelta(weeks=int(week)) for week in columns["week"]]
    rows = {
        "as_of": pa.array(dates, pa.date32()),
        "user_id": pa.array([f"u{user}" for user in columns["user"]]),
        **{name: pa.array(columns[name], from_pandas=True) for name in SHOP.features},
        "label": pa.array((columns["coin"] < chance).astype(np.int64)),
        "weight": pa.array(np.broadcast_to(weight, chance.shape).astype(float)),
    }
    return pa.table(rows)


@cache
def snapshots(weeks: int = 8, users: int = 300) -> pa.Table:
    """Labelled rows of some weeks."""
    columns = drawn(weeks, users, seed=1)
    return table(columns, propensity(columns))


def train(rows: pa.Table, **changed: Any) -> Trained:
    """Train one candidate with the settings of this file, or with other of both."""
    preprocessor = changed.pop("preprocessor", None)
    jobs = changed.pop("jobs", 1)
    settings = altered(SETTINGS, **changed.pop("settings", {}))
    use_case = replace(SHOP, **{"candidates": (LINEAR,), **changed})
    task = use_case.task(settings)
    limits = limits_of(settings)
    return UserTraining(
        parts=split_users(rows, task, WEEK, limits=limits),
        task=task,
        limits=limits,
        preprocessor=preprocessor,
        jobs=jobs,
    ).run()


@cache
def trained() -> Trained:
    """The model of the plain snapshots; many tests look at it, none changes it."""
    return train(snapshots(users=500), candidates=SHOP.candidates)


def changed(
    rows: pa.Table, as_ofs: tuple[date, ...], name: str, new: Callable[[Any], Any]
) -> pa.Table:
    """The rows with a column of some as-of dates replaced by what ``new`` makes."""
    inside = pc.is_in(rows["as_of"], value_set=pa.array(as_ofs, pa.date32()))
    column = rows[name].combine_chunks()
    other = pa.array(new(column.to_numpy(zero_copy_only=False)), column.type)
    index = rows.column_names.index(name)
    return rows.set_column(index, name, pc.if_else(inside, other, column))
