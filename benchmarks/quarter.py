"""
Revenue of the next 28 and 91 days, forward in time, against two other ways. Gates.

    PROPENSITY_DATA=FOLDER python -m benchmarks.quarter [--lookback-days N]

Plays a real shop: at each of several starts, a week apart, the models of ``ga4_value``
learn from outcomes that were final then, and say what each user will spend. Others say
it of the same users: BG/NBD with Gamma-Gamma, which learns from all purchases before
the start, and "the same as in as many days before". A round is a start. A lookback of
180 days leaves no start in the shop's months, so it is shorter here.

BG/NBD is of the package lifetimes, in a virtual environment of its own.

Source:
    Fader, Hardie and Lee, "Counting Your Customers the Easy Way", Marketing Science 24,
    2005: BG/NBD. Fader and Hardie, "The Gamma-Gamma Model of Monetary Value", 2013.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import pickle
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from msgspec.structs import replace
from numpy.typing import NDArray
from scipy.stats import spearmanr

from benchmarks.report import Line, finish
from local import sandbox, venvs
from local.exports import ga4_export
from local.progress import showing, step
from local.stack.state import LOCAL, ROOT
from propensity import usecases
from propensity.fraud import alerts
from propensity.ga4.view import events_view
from propensity.gcp.warehouse import Warehouse
from propensity.learning import candidates, value
from propensity.learning.preprocessor import (
    default_preprocessor,
    fitted,
    transformed,
)
from propensity.learning.rows import Slice, slice_of
from propensity.measures.metrics import normalised_gini
from propensity.models.encoding import numbers_of
from propensity.timeframe import DAY, FEWEST_SNAPSHOTS
from propensity.usecases import UseCase
from propensity.usecases.declaration import MEAN, VIEW

Floats = NDArray[np.float64]

REQUIREMENTS = ROOT / "benchmarks" / "requirements-lifetimes.txt"
FILE = "online_retail_ga4.ndjson.zst"
HORIZONS, LOOKBACK = (28, 91), 60
OURS, PEER, BEFORE = "ga4_value", "BG/NBD", "the same as before"
# Dates a query: the emulator's memory grows with them.
AT_ONCE = 8
LIFETIMES = """
import pandas, pickle, sys, warnings
warnings.simplefilter("ignore")
answer, sys.stdout = sys.stdout.buffer, sys.stderr
from lifetimes import BetaGeoFitter, GammaGammaFitter
columns, asked = pickle.load(sys.stdin.buffer)
frame = pandas.DataFrame(columns)

def fitted(kind, *columns):
    # As the package advises where it finds no optimum.
    for penalty in (0.0, 0.001, 0.01, 0.1):
        model = kind(penalizer_coef=penalty)
        try:
            model.fit(*columns)
            return model
        except Exception:
            pass
    raise SystemExit("no fit converges")

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
    each = paid.conditional_expected_average_profit(times.where(again, 0), spent)
    expected.append((count * each).to_dict())
pickle.dump(expected, answer)
"""


@dataclass(frozen=True, kw_only=True)
class Played:
    """A horizon's labelled rows, and the dates of which rows are known by start."""

    use_case: UseCase
    rows: pa.Table
    known: Mapping[date, Sequence[date]]


def loaded(file: Path, lookback: int) -> tuple[pd.DataFrame, list[Played]]:
    """Return what users bought, by day, and the rows of each horizon."""
    with sandbox.opened() as opened:
        warehouse = opened.warehouse
        settings = warehouse.settings
        summary = ga4_export.load_export(warehouse.client, settings.ga4_dataset, file)
        view = events_view(settings.export, require="false")
        warehouse.replace_view(VIEW, view)
        use_case = replace(usecases.load("ga4_value"), lookback_days=lookback)
        first, last = min(summary.dates), summary.last_full_day
        every = [first + n * DAY for n in range((last - first).days + 1)]
        daily = replace(use_case, horizon_days=1)
        bought = read(warehouse, daily, "converter_amounts", every).to_pandas()
        played = []
        for days in HORIZONS:
            one = replace(use_case, horizon_days=days)
            frame = one.timeframe(settings)
            # All dates whose outcomes the data hold, settled or not.
            over = dataclasses.replace(frame, settle_days=0)
            dates = over.snapshots(
                today=last + DAY,
                days=summary.dates,
                at_most=settings.training_snapshots,
            )
            known = {}
            for start in dates:
                final = [day for day in dates if frame.is_matured(day, today=start)]
                if len(final) >= FEWEST_SNAPSHOTS:
                    known[start] = final
            rows = read(warehouse, one, "training_rows", dates)
            played.append(Played(use_case=one, rows=rows, known=known))
    bought["amount"] = alerts.amounts(bought["amount"].astype(float).to_numpy())
    bought["day"] = [number(day) for day in bought["as_of"]]
    return bought.rename(columns={"user_id": "user"}), played


def number(day: date) -> int:
    """Return a day as a number."""
    return (day - date(2000, 1, 1)).days


def read(
    warehouse: Warehouse, use_case: UseCase, name: str, dates: Sequence[date]
) -> pa.Table:
    """Return the rows of a statement of many dates."""
    parts = []
    with step("") as bar:
        for place in range(0, len(dates), AT_ONCE):
            bar.label = f"{name}, {place} of {len(dates)} dates are done"
            window = use_case.window(warehouse.settings, dates[place : place + AT_ONCE])
            parameters = {**window, "maximum_rows": 10**9}
            parts.append(warehouse.table(use_case.statement(name), parameters))
    return pa.concat_tables(parts)


def paid(part: Slice) -> Floats:
    """Return what each user paid within the horizon."""
    return alerts.amounts(numbers_of(part.rows[value.AMOUNT]))


def learned(known: Slice, use_case: UseCase) -> tuple[Any, Any, Any]:
    """Return an encoder, the classifier and the model of amounts of all known rows."""
    features = use_case.features
    encoder = fitted(default_preprocessor(use_case), known, features)
    encoded = transformed(encoder, known.rows, features)
    members = [one for one in use_case.candidates if one.algorithm != MEAN]
    models = [candidates.fit(one, encoded, known, seed=1) for one in members]
    amounts = value.fit_amounts(value.TREES, known, encoder, use_case=use_case, seed=1)
    return encoder, candidates.combined(models), amounts


def by_lifetimes(bought: pd.DataFrame, starts: Sequence[date], days: int) -> list[Any]:
    """Return what BG/NBD with Gamma-Gamma expects of each user, by start."""
    python = venvs.python_of(REQUIREMENTS, folder=LOCAL / "venvs")
    # Plain values: its environment may have another pandas.
    frame = {name: bought[name].to_list() for name in ("user", "day", "amount")}
    asked = pickle.dumps((frame, [(number(start), days) for start in starts]))
    done = subprocess.run(
        [f"{python}", "-c", LIFETIMES],
        input=asked,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    expected: list[Any] = pickle.loads(done.stdout)
    return expected


def compared(bought: pd.DataFrame, played: Played) -> Iterator[Line]:
    """Yield the figures of a horizon, a round a start."""
    use_case, starts = played.use_case, [*played.known]
    days = use_case.horizon_days
    others = by_lifetimes(bought, starts, days)
    ways = (OURS, PEER, BEFORE)
    figures: dict[str, dict[str, list[float]]] = {
        what: {way: [] for way in ways} for what in ("error", "rank", "gini")
    }
    for start, of_peer in zip(starts, others, strict=True):
        known = slice_of(played.rows, played.known[start])
        part = slice_of(played.rows, [start])
        encoder, classifier, model = learned(known, use_case)
        encoded = transformed(encoder, part.rows, use_case.features)
        users = part.rows["user_id"].to_pylist()
        since = bought["day"].between(number(start) - days, number(start) - 1)
        spent = bought[since].groupby("user")["amount"].sum()
        expected = {
            OURS: classifier.predict_proba(encoded)[:, 1] * model.amounts_of(part.rows),
            PEER: np.array([of_peer.get(user, 0.0) for user in users]),
            BEFORE: spent.reindex(users).fillna(0.0).to_numpy(),
        }
        actual = paid(part)
        for way, one in expected.items():
            figures["error"][way].append(abs(one.sum() / actual.sum() - 1))
            figures["rank"][way].append(float(spearmanr(one, actual).statistic))
            gini = normalised_gini(one, actual, np.ones(len(actual)))
            figures["gini"][way].append(gini or 0.0)
    head = f"{days} days, {len(starts)} starts"
    names = {
        "error": "error of the total, absolute",
        "rank": "Spearman's rank correlation",
        "gini": "normalised Gini index",
    }
    for what, by_way in figures.items():
        for rival in ways[1:]:
            rounds = {way: by_way[way] for way in (OURS, rival)}
            bound = {"most": 1.0} if what == "error" else {"least": 1.0}
            yield Line(f"{head}: {names[what]}, {rival}", "", rounds, **bound)


def main() -> int:
    """Run the benchmark; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quarter")
    parser.add_argument("--lookback-days", type=int, default=LOOKBACK, metavar="N")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    folder = os.environ.get("PROPENSITY_DATA")
    if not folder:
        return finish([], problems=["set PROPENSITY_DATA to a folder with a real shop"])
    lines: list[Line] = []
    with showing():
        bought, horizons = loaded(Path(folder) / FILE, options.lookback_days)
        for played in horizons:
            lines += compared(bought, played)
    return finish(lines)


if __name__ == "__main__":
    sys.exit(main())
