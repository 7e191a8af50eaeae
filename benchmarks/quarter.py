"""
Revenue of the next 28 and 91 days, forward in time, against two other ways. Gates.

    PROPENSITY_DATA=FOLDER python -m benchmarks.quarter

Plays a real shop: at each of several starts ``ga4_value`` learns from outcomes that are
final by then, and says what each user will spend. Others say it of the same users:
BG/NBD with Gamma-Gamma, which learns from all purchases before the start, and "the same
as in as many days before". A round is a start. The shop has too few months for a
lookback of 180 days; for 91 days it has too few to choose a candidate on, so that all
candidates are averaged. The order by money informs.

BG/NBD is of the package lifetimes, in a virtual environment of its own.

Source:
    Fader, Hardie and Lee, "Counting Your Customers the Easy Way", Marketing Science 24,
    2005: BG/NBD. Fader and Hardie, "The Gamma-Gamma Model of Monetary Value", 2013.
"""

from __future__ import annotations

import dataclasses
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from msgspec.structs import replace
from scipy.stats import spearmanr

from benchmarks import quality
from benchmarks.report import Line, by_peer, finish
from local.stack import temporary
from propensity import usecases
from propensity.cli.progress import showing
from propensity.errors import NotEnoughData
from propensity.gcp.warehouse import Warehouse
from propensity.learning import candidates, value
from propensity.learning.candidates import default_preprocessor, fitted, transformed
from propensity.learning.model import Model
from propensity.learning.rows import Slice, slice_of
from propensity.learning.split import split_users
from propensity.learning.users import UserTraining
from propensity.measures import revenue
from propensity.models.encoding import Floats, floats_of
from propensity.settings import Settings
from propensity.timeframe import DAY
from propensity.usecases import UseCase
from propensity.usecases.declaration import MEAN

HORIZONS = (28, 91)
LOOKBACK_DAYS = 60
OURS = "ga4_value"
PEER = "BG/NBD"
BEFORE = "the same as before"
ERROR = "error of the total, absolute"
RANK = "Spearman's rank correlation"
GINI = "normalised Gini index"
TARGETS: Mapping[str, Any] = {ERROR: {"most": 1.0}, RANK: {"least": 1.0}, GINI: {}}
LIFETIMES = f"""{quality.FITTING}
columns, asked = pickle.load(sys.stdin.buffer)
frame = pandas.DataFrame(columns)
expected = []
for start, days in asked:
    known = frame[frame["day"] < start]
    users = known.groupby("user")
    first, times = users["day"].min(), users["day"].nunique() - 1
    recency, age = (users["day"].max() - first) / 7, (start - first) / 7
    later = known[known["day"] > known["user"].map(first)]
    spent = later.groupby("user")["amount"].mean().reindex(first.index).fillna(0.0)
    again = (times > 0) & (spent > 0)
    bought = fitted(BetaGeoFitter, times, recency, age)
    paid = fitted(GammaGammaFitter, times[again], spent[again])
    count = bought.conditional_expected_number_of_purchases_up_to_time(
        days / 7, times, recency, age
    )
    # Its series overflows for the most frequent buyers: they go on as before.
    count = count.where(count < float("inf"), times / age * days / 7)
    each = paid.conditional_expected_average_profit(times.where(again, 0), spent)
    expected.append((count * each).to_dict())
pickle.dump(expected, answer)
"""


def loaded(warehouse: Warehouse, file: Path) -> Iterator[tuple[UseCase, pa.Table]]:
    """Load a shop; yield what users bought each day, then the rows of each horizon."""
    _, opened, last = quality.exported(warehouse, file)
    shop = replace(usecases.load(OURS), lookback_days=LOOKBACK_DAYS)
    first = min(opened)
    all_days = [first + n * DAY for n in range((last - first).days + 1)]
    daily = replace(shop, horizon_days=1)
    yield daily, quality.read(warehouse, daily, all_days, "converter_amounts")
    for days in HORIZONS:
        use_case = replace(shop, horizon_days=days)
        # The data hold these dates' outcomes, settled or not. On days without a row the
        # shop was closed, as over Christmas: nothing is missing.
        timeframe = use_case.timeframe(warehouse.settings)
        frame = dataclasses.replace(timeframe, settle_days=0)
        dates = frame.snapshots(today=last + DAY, days=all_days, at_most=len(all_days))
        yield use_case, quality.read(warehouse, use_case, dates)


def number(day: date) -> int:
    return (day - date(2000, 1, 1)).days


def paid(rows: pa.Table, column: str) -> Floats:
    """Return amounts, with nothing where none is known, (rows,)."""
    return revenue.amounts(floats_of(rows[column]))


def expected(
    older: Slice, asked: Slice, use_case: UseCase, settings: Settings
) -> Floats:
    """Train as 00-ModelTraining on known rows; return what users are to pay."""
    frame = use_case.timeframe(settings)
    seed = settings.seed
    try:
        parts = split_users(older.rows, use_case, frame, settings=settings)
        training = UserTraining(parts=parts, use_case=use_case, settings=settings)
        trained = training.run()
        valued = value.train_value(trained, use_case, seed=seed)
        assert valued is not None
        model = trained.live
        amounts = valued.model
    except NotEnoughData:
        encoder = fitted(default_preprocessor(use_case), older, use_case.features)
        encoded = transformed(encoder, older.rows, use_case.features)
        members = [
            candidate
            for candidate in use_case.candidates
            if candidate.algorithm != MEAN
        ]
        fits = [
            candidates.fit(candidate, encoded, older, seed=seed)
            for candidate in members
        ]
        model = Model(preprocessor=encoder, classifier=candidates.combined(fits))
        amounts = value.fit_amounts(
            value.TREES, older, encoder, use_case=use_case, seed=seed
        )
    return model.scores(asked.rows, use_case) * amounts.amounts_of(asked.rows)


def compared(
    bought: pd.DataFrame, use_case: UseCase, rows: pa.Table, settings: Settings
) -> Iterator[Line]:
    """Yield the figures of a horizon, a round a start."""
    days = use_case.horizon_days
    frame = use_case.timeframe(settings)
    dates = sorted(set(rows["as_of"].to_pylist()))
    matured = {}
    for start in dates:
        if final := [day for day in dates if frame.is_matured(day, today=start)]:
            matured[start] = final
    # The rows that 00-ModelTraining would train on, or all if it would use none.
    starts = [start for start in matured if frame.are_enough(matured[start])]
    if not starts:
        starts = list(matured)
    figures: dict[str, dict[str, list[float]]] = {
        what: {way: [] for way in (OURS, PEER, BEFORE)} for what in TARGETS
    }
    # Plain values: the environment of lifetimes may have another pandas.
    columns = bought.to_dict("list")
    moments = [(number(start), days) for start in starts]
    others = by_peer("lifetimes", LIFETIMES, columns, moments)
    for start, by_user in zip(starts, others, strict=True):
        asked = slice_of(rows, [start])
        users = asked.rows["user_id"].to_pylist()
        since = bought["day"].between(number(start) - days, number(start) - 1)
        spent = bought[since].groupby("user")["amount"].sum()
        known_rows = slice_of(rows, matured[start])
        said = {
            OURS: expected(known_rows, asked, use_case, settings),
            PEER: np.array([by_user.get(user, 0.0) for user in users]),
            BEFORE: spent.reindex(users).fillna(0.0).to_numpy(),
        }
        actual = paid(asked.rows, value.AMOUNT)
        for way, amounts in said.items():
            gini = revenue.normalised_gini(amounts, actual, np.ones(len(actual)))
            if gini is None:
                gini = 0.0
            figures[ERROR][way].append(abs(amounts.sum() / actual.sum() - 1))
            figures[RANK][way].append(float(spearmanr(amounts, actual).statistic))
            figures[GINI][way].append(gini)
    for what, by_way in figures.items():
        for rival in (PEER, BEFORE):
            both = {OURS: by_way[OURS], rival: by_way[rival]}
            about = f"{days} days, {len(starts)} starts: {what}"
            yield Line(about, "", both, **TARGETS[what])


def main() -> int:
    """Run the benchmark; return the exit status."""
    warnings.simplefilter("ignore")
    folder = os.environ.get("PROPENSITY_DATA")
    if not folder:
        print("PROPENSITY_DATA names no folder with a real shop: nothing to compare")
        return finish([])
    lines = list[Line]()
    with showing(), temporary.warehouse() as opened:
        [(_, sales), *horizons] = loaded(opened, Path(folder) / quality.REAL)
    bought = {
        "user": sales["user_id"].to_pylist(),
        "day": list(map(number, sales["as_of"].to_pylist())),
        "amount": paid(sales, "amount"),
    }
    for use_case, rows in horizons:
        lines += compared(pd.DataFrame(bought), use_case, rows, opened.settings)
    return finish(lines)


if __name__ == "__main__":
    sys.exit(main())
