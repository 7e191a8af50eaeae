"""
What Propensity is worth on public data, beside published figures and plain models.

    python -m benchmarks.published [NAME …] --data FOLDER [--keep FILE]

A name is ``coil``, ``hst``, ``bank`` or ``email``; without one, each set whose files
are in the folder is measured. The files are fetched by you: of each that is missing it
says where it is to be had and under which licence, and a file with another SHA-256 is
refused. Rows are printed, and kept in a JSON file for ``docs/measured.md``.

All models of a set see the same rows and are asked about the same others. Intervals of
95% are of these other rows, by ``propensity.measures``: another training would add to
them. Informs only.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import platform
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
from msgspec import Struct, structs
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, IsolationForest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from benchmarks.measuring.report import Line
from propensity import try_experiment, try_table
from propensity.measures import intervals, metric_intervals, metrics
from propensity.measures.statistic import Share, difference_of_means
from propensity.models.encoding import Flags, Floats
from propensity.models.half_space_trees import HalfSpaceTrees

ROOT = Path(__file__).parents[1]
SEED = 42
# Of CoIL's 4,000 customers, as many as its contestants had to choose.
CHOSEN = 800
# As often, its customers get other ids.
DRAWS = 10
# Rows whose label is asked of a set without a split of its own.
TEST_SHARE = 0.2
# Of the customers, the best whom one contacts.
BEST_SHARE = 0.3
# The past that each detector of odd rows knows before it is asked.
PAST = 20_000

# A figure with the ends of its interval, which too few rows have not.
Figure = tuple[float, float | None, float | None]


class Row(Struct, frozen=True, kw_only=True):
    """
    A figure of ours, beside a published one and plain models' of the same rows.

    Attributes:
        what: What is measured.
        split: Which rows are asked about; the others are known.
        published: The figure and its source; "" if none is of this split.
        seconds: Of ours, to train and to predict.
        data, date, commit, machine: The name of the set, and where the run was.
    """

    what: str
    split: str
    published: str = ""
    ours: Figure
    plain: Mapping[str, Figure]
    seconds: float
    data: str = ""
    date: str = ""
    commit: str = ""
    machine: str = ""


class Source(Struct, frozen=True):
    """A set: its title, where it is, its licence, and the SHA-256 of its files."""

    title: str
    where: str
    licence: str
    files: Mapping[str, str]


# A file that was fetched and not written here is only believed by its checksum.
SOURCES = msgspec.toml.decode(
    Path(__file__).with_suffix(".toml").read_bytes(), type=dict[str, Source]
)


# -- sets ------------------------------------------------------------------------------


def coil(folder: Path) -> Iterator[Row]:
    """Choose 800 of 4,000 customers, as 43 contestants of CoIL 2000 did."""
    names = [f"V{number}" for number in range(1, 87)]
    known = pd.read_csv(folder / "ticdata2000.txt", sep="\t", names=names)
    asked = pd.read_csv(folder / "ticeval2000.txt", sep="\t", names=names[:-1])
    has_policy = np.loadtxt(folder / "tictgts2000.txt") == 1
    policies = int(has_policy.sum())

    def found(probability: Floats) -> Figure:
        first = np.argsort(-probability, kind="stable")[:CHOSEN]
        count = int(has_policy[first].sum())
        low, high = intervals.rate_interval(count, policies)
        return count, low * policies, high * policies

    row = compared(
        known,
        asked.assign(V86=has_policy.astype(int)),
        label="V86",
        figure=found,
        what=f"of {policies} policies, found among {CHOSEN}",
        split="the contest's",
    )
    yield structs.replace(row, published="121, the best entry")
    # Which rows choose the model is drawn by the customers' ids, which the set has not.
    counts = []
    for draw in range(DRAWS):
        look = try_table(
            known.assign(id=[f"{draw} {row}" for row in known.index]),
            label="V86",
            user="id",
        )
        listed = look.scores(asked.assign(id=asked.index))
        counts.append(int(has_policy[listed["id"].astype(int)][:CHOSEN].sum()))
    yield structs.replace(
        row,
        what=f"by {DRAWS} sets of made-up ids: median, least, most",
        ours=(float(np.median(counts)), min(counts), max(counts)),
        plain={},
    )


def bank(folder: Path) -> Iterator[Row]:
    """Rank clients of a bank's telephone campaigns, whose rows are in order of date."""
    with zipfile.ZipFile(folder / "bank-additional.zip") as archive:
        text = archive.read("bank-additional/bank-additional-full.csv")
    calls = pd.read_csv(io.BytesIO(text), sep=";")
    months = pd.to_datetime(calls["month"], format="%b").dt.month
    # The first call was in May 2008; a month before the last row's is of a new year.
    years = 2008 + (months.diff() < 0).cumsum()
    calls["month"] = years.astype(str) + "-" + months.map("{:02}".format)
    calls["y"] = (calls["y"] == "yes").astype(int)
    is_drawn = np.random.default_rng(SEED).random(len(calls)) < TEST_SHARE
    is_late = np.arange(len(calls)) >= round((1 - TEST_SHARE) * len(calls))
    splits = {
        "a random fifth": (is_drawn, None),
        "the last fifth": (is_late, "month"),
    }
    without = calls.drop(columns="duration")
    for known_before, rows in {"with": calls, "without": without}.items():
        for split, (is_asked, time_column) in splits.items():
            yield compared(
                rows[~is_asked],
                rows[is_asked],
                label="y",
                time_column=time_column,
                figure=area_of(rows["y"][is_asked].to_numpy() == 1),
                what=f"ROC AUC {known_before} duration",
                split=split,
            )


def hst(folder: Path) -> Iterator[Row]:
    """Score odd rows of the streams of the Half-Space Trees paper."""
    for file in SOURCES["hst"].files:
        with np.load(folder / file, allow_pickle=False) as arrays:
            rows = arrays["X"].astype(float)
            is_odd = arrays["y"] == 1
        name = file.partition("_")[2].removesuffix(".npz")
        shuffled = np.random.default_rng(SEED).permutation(len(rows))
        orders = {"in order": np.arange(len(rows)), "shuffled": shuffled}
        for order, places in orders.items():
            past, after = np.split(rows[places], [PAST])
            area = area_of(is_odd[places][PAST:])
            forest = IsolationForest(random_state=SEED).fit(past)
            plain = {"isolation forest": area(-forest.score_samples(after))}
            for window in (250, PAST):
                trees = HalfSpaceTrees(25, 15, window, random_state=SEED)
                began = time.perf_counter()
                scores = trees.fit(past).score_and_learn(after)
                is_papers = name == "http" and window == 250
                yield Row(
                    what=f"{name}, windows of {window:,}",
                    split=order,
                    published="0.996" if is_papers else "",
                    ours=area(scores),
                    plain=plain,
                    seconds=time.perf_counter() - began,
                )


def email(folder: Path) -> Iterator[Row]:
    """Choose whom to write to, of customers of an e-mail test drawn at random."""
    [file] = SOURCES["email"].files
    customers = pd.read_csv(folder / file)
    features = list(customers.columns[:8])
    is_known = np.random.default_rng(SEED).random(len(customers)) < 0.5
    for arm in ("Womens E-Mail", "Mens E-Mail"):
        is_compared = customers["segment"].isin([arm, "No E-Mail"])
        known = customers[is_compared & is_known]
        asked = customers[is_compared & ~is_known]
        began = time.perf_counter()
        look = try_experiment(
            known[features + ["segment", "visit"]],
            label="visit",
            treatment="segment",
            control="No E-Mail",
        )
        listed = look.scores(asked[features])
        best = listed[listed.columns[0]].to_numpy() - 1
        ours = added_by_best(asked.iloc[best], arm)
        seconds = time.perf_counter() - began
        responses = plain_models()["logistic regression"]
        responses.fit(known[features], known["visit"])
        chance = responses.predict_proba(asked[features])[:, 1]
        by_chance = asked.iloc[np.argsort(-chance, kind="stable")]
        drawn = asked.sample(frac=1, random_state=SEED)
        yield Row(
            what=f"visits added per 100, {arm}",
            split="a random half",
            ours=ours,
            plain={
                "logistic regression": added_by_best(by_chance, arm),
                "at random": added_by_best(drawn, arm),
            },
            seconds=seconds,
        )


def added_by_best(ranked: pd.DataFrame, arm: str) -> Figure:
    """Return visits that contacting the best adds, for each 100 customers of all."""
    best = ranked.head(round(BEST_SHARE * len(ranked)))
    is_contacted = best["segment"] == arm
    groups = []
    for rows in (best[is_contacted], best[~is_contacted]):
        groups.append(Share.of(rows["visit"].to_numpy(float)))
    added = difference_of_means(*groups, errors=intervals.NORMAL)
    added = added.times(100 * BEST_SHARE)
    return added.estimate, added.low, added.high


# -- models ----------------------------------------------------------------------------


def compared(
    known: pd.DataFrame,
    asked: pd.DataFrame,
    *,
    label: str,
    figure: Callable[[Floats], Figure],
    what: str,
    split: str,
    time_column: str | None = None,
) -> Row:
    """Return the figure of probabilities of other rows, ours and plain models'."""
    began = time.perf_counter()
    look = try_table(known, label=label, time=time_column)
    # As ``propensity try --rows`` lists them: by the row that each was of.
    listed = look.scores(asked.drop(columns=label))
    in_order = listed.sort_values(listed.columns[0])
    ours = figure(in_order["probability"].to_numpy(np.float64))
    seconds = time.perf_counter() - began
    features = known.columns.drop([label] + ([time_column] if time_column else []))
    plain = {}
    for name, model in plain_models().items():
        model.fit(known[features], known[label])
        plain[name] = figure(model.predict_proba(asked[features])[:, 1])
    return Row(what=what, split=split, ours=ours, plain=plain, seconds=seconds)


def plain_models() -> dict[str, Pipeline]:
    """Return scikit-learn's models with its defaults."""
    texts = make_column_selector(dtype_exclude="number")
    numbers = make_column_selector(dtype_include="number")
    one_hot = OneHotEncoder(handle_unknown="ignore")
    ordinal = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    scaled = make_column_transformer((StandardScaler(), numbers), (one_hot, texts))
    codes = make_column_transformer((ordinal, texts), remainder="passthrough")
    return {
        "logistic regression": make_pipeline(
            scaled, LogisticRegression(max_iter=1_000)
        ),
        "boosted trees": make_pipeline(
            codes, HistGradientBoostingClassifier(random_state=SEED)
        ),
    }


def area_of(label: Flags) -> Callable[[Floats], Figure]:
    """Return what turns scores of rows with these labels into their ROC AUC."""

    def area(scores: Floats) -> Figure:
        observed = metrics.outcomes(scores, label)
        slopes = metrics.roc_auc_slopes(observed)
        estimate = metrics.roc_auc(observed)
        assert estimate is not None
        fewest, variance = metric_intervals.of_rows(observed, slopes)
        return estimate, *metric_intervals.interval(estimate, fewest, variance)

    return area


# -- the command -----------------------------------------------------------------------

SETS = {"coil": coil, "bank": bank, "email": email, "hst": hst}


def missing(name: str, folder: Path) -> str:
    """Return which file of a set is not there, or is another one; "" if none."""
    source = SOURCES[name]
    for file, checksum in source.files.items():
        path = folder / file
        where = f"Get it from {source.where} (licence: {source.licence})"
        if not path.exists():
            return f"{name}: {folder} has no {file}. {where}"
        if hashlib.sha256(path.read_bytes()).hexdigest() != checksum:
            return f"{name}: {path} is not the file that was measured. {where}"
    return ""


def written(figure: Figure) -> str:
    """Write a figure with its interval."""
    shown: list[str] = []
    for value in figure:
        if value is None:
            return f"{shown[0]} (?)"
        decimals = 3 if abs(value) < 1 else 2
        shown.append(f"{value:.{0 if value >= 10 else decimals}f}")
    estimate, low, high = shown
    return f"{estimate} ({low}–{high})"


def kept(path: Path) -> list[Row]:
    """Return the rows of a file of measured rows."""
    return msgspec.json.decode(path.read_bytes(), type=list[Row])


def keep(rows: Sequence[Row], path: Path) -> None:
    """Put rows into a file, in the place of those of the same sets."""
    measured = {row.data for row in rows}
    before = kept(path) if path.exists() else []
    together = [row for row in before if row.data not in measured] + list(rows)
    together.sort(key=lambda row: list(SETS).index(row.data))
    path.write_bytes(msgspec.json.format(msgspec.json.encode(together)) + b"\n")


def lines() -> Sequence[Line]:
    """Measure every set for ``python -m benchmarks``, whose table has none of it."""
    if main([]):
        raise SystemExit(1)
    return []


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure sets, print each figure, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.published")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(SETS))
    folder = Path(os.environ.get("PROPENSITY_DATA", "."))
    parser.add_argument("--data", type=Path, default=folder, metavar="FOLDER")
    parser.add_argument("--keep", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    unknown = set(options.names) - set(SETS)
    if unknown:
        parser.error(f"no set {', '.join(sorted(unknown))}: {', '.join(SETS)}")
    git = ["git", "rev-parse", "--short", "HEAD"]
    run = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "commit": subprocess.check_output(git, cwd=ROOT, text=True).strip(),
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
    }
    rows = []
    problems = []
    for name in options.names if options.names else SETS:
        problem = missing(name, options.data)
        if problem:
            problems.append(problem)
            continue
        for row in SETS[name](options.data):
            figures = [f"Propensity {written(row.ours)}"]
            for model, figure in row.plain.items():
                figures.append(f"{model} {written(figure)}")
            print(f"{name}: {row.what}; {row.split}: {'; '.join(figures)}", flush=True)
            rows.append(structs.replace(row, data=name, **run))
    if options.keep:
        keep(rows, options.keep)
    print(*problems, sep="\n", end="", file=sys.stderr)
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
