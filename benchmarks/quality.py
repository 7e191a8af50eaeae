"""
What published probabilities are worth, forward in time. Gates.

    python -m benchmarks.quality [--keep FOLDER] [--against FOLDER]

Plays months of a shop with the functions, on emulators: a training each month on what
was final then, and each week an evaluation and a publication. All weeks together are
compared, on the same users and labels, with a plain model, fitted on the same rows:
trees that scikit-learn boosts on twelve columns of recency, frequency and money.

It plays a generated shop and, with PROPENSITY_DATA, the real shop of that folder.
``benchmarks.quality_tables`` adds players at moments of their first day and, with that
folder, sessions and labelled card transactions; what the plain model is worth there
informs.

With that folder, the trees of card fraud are compared with two other scores that need
no labels, on the frauds of a day of real transactions: a round a seed. It informs.

To see what a change is worth, keep what the code before it publishes, and compare with
that: the same users, weeks and labels.

Exit code 1 if ROC AUC, PR AUC or log loss of what was published is worse than the plain
model's of a shop, or than what was kept, by more than the noise of the comparison: a
95% interval, resampled by user.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from functools import reduce
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

from benchmarks import quality_tables
from benchmarks.report import Line, finish
from local import sandbox
from local.demos.calls import FOLDER, call
from local.demos.source import weeks_allowed
from local.exports import ga4_export
from local.generators.shop import Shop
from local.progress import showing, step
from local.stack.state import FUNCTIONS
from propensity import usecases
from propensity.errors import NoChampion
from propensity.ga4.view import events_view
from propensity.gcp.warehouse import Warehouse
from propensity.learning import rows as learning_rows
from propensity.learning.rows import Slice
from propensity.models.encoding import Flags, Floats, numbers_of
from propensity.models.half_space_trees import HalfSpaceTrees
from propensity.settings import Settings
from propensity.statements import statement
from propensity.usecases import UseCase
from propensity.usecases.declaration import VIEW

Score = Callable[[pa.Table], Floats]

WEEKS, RESAMPLES = 13, 200
TARGETS = ("model_training", "model_evaluation", "predictions")
RUNS = [one for one in FUNCTIONS if one.target in TARGETS]
PUBLISHED, PLAIN, KEPT = "published", "plain boosted trees", "what was kept"
KEYS = ("as_of", "user_id", "moment")
# Figures, and whether more is better.
COMPARED: Mapping[str, tuple[Callable[..., float], bool]] = {
    "ROC AUC": (roc_auc_score, True),
    "PR AUC": (average_precision_score, True),
    "log loss": (log_loss, False),
}
REAL = "online_retail_ga4.ndjson.zst"
# Real transactions that are learned from, the first ones.
CARDS_FITTED = 3_000
# A query has so many as-of dates: the emulator's memory grows with them.
AS_OFS = 24
# Columns of the plain model: recency, frequency and money.
RFM = (
    "recency_days", "purchase_recency_days", "days_since_first_seen", "mean_gap_days",
    "purchases", "purchases_7d", "purchases_28d", "purchase_days", "revenue",
    "revenue_7d", "largest_day_revenue", "mean_order_value",
)  # fmt: skip


def exported(
    warehouse: Warehouse, file: Path | None
) -> tuple[str, Sequence[date], date]:
    """Load a real shop, or generate one; return its name, days and last whole day."""
    settings, client = warehouse.settings, warehouse.client
    if file:
        name = file.name.partition(".")[0]
        summary = ga4_export.load_export(client, settings.ga4_dataset, file)
        days, last = [*summary.dates], summary.last_full_day
    else:
        name, shop = "generated shop", Shop()
        last, days = shop.last_full_day, shop.dates
        tables = {f"events_{day:%Y%m%d}": shop.shard(day) for day in days}
        ga4_export.load_tables(client, settings.ga4_dataset, tables)
    warehouse.replace_view(VIEW, events_view(settings.export, require="false"))
    return name, days, last


def read(
    warehouse: Warehouse,
    use_case: UseCase,
    as_ofs: Sequence[date],
    statement: str = "training_rows",
) -> pa.Table:
    """Return the rows of a statement of many dates."""
    parts = []
    with step("") as bar:
        for start in range(0, len(as_ofs), AS_OFS):
            bar.label = f"{statement}, {start} of {len(as_ofs)} dates are done"
            window = use_case.window(warehouse.settings, as_ofs[start : start + AS_OFS])
            parameters = {**window, "maximum_rows": 10**9}
            parts.append(warehouse.table(use_case.statement(statement), parameters))
    return pa.concat_tables(parts)


def fitted(known: Slice, seed: int) -> Score:
    """Fit the plain model on all weeks that are known."""
    model = quality_tables.plain(seed)

    def columns(rows: pa.Table) -> Floats:
        return np.column_stack([numbers_of(rows[name]) for name in RFM])

    model.fit(columns(known.rows), known.label)
    return lambda rows: np.asarray(model.predict_proba(columns(rows))[:, 1])


def played(file: Path | None) -> tuple[str, Slice, dict[str, Floats]]:
    """Play the last weeks of a shop; return its name, rows, and scores by name."""
    use_case = usecases.load("ga4_purchase")
    with sandbox.emulators(*RUNS) as stack:
        settings = Settings.from_environment(stack.environment)
        frame = use_case.timeframe(settings)
        with contextlib.closing(Warehouse.open(settings)) as warehouse:
            name, days, last = exported(warehouse, file)
            month, trained_on = None, tuple[date, ...]()
            # The live version could learn from these dates, by that of a publication.
            known: dict[date, tuple[date, ...]] = {}
            for week in weeks_allowed(days, last, use_case)[-WEEKS:]:
                body = {"use_case": use_case.name, "as_of": week.isoformat()}
                # The first week of each month trains.
                if month != (week.year, week.month):
                    month = week.year, week.month
                    call(stack, "model_training", body)
                    most = settings.training_snapshots
                    trained_on = frame.snapshots(today=week, days={*days}, at_most=most)
                if known:
                    call(stack, "model_evaluation", body)
                answer = call(stack, "predictions", body, accepted=NoChampion.code)
                if "error" not in answer:
                    known[date.fromisoformat(answer["data_until"])] = trained_on
            as_ofs = sorted({*known}.union(*known.values()))
            keys = [("as_of", "ascending"), ("user_id", "ascending")]
            rows = read(warehouse, use_case, as_ofs).sort_by(keys)
            asked = {"use_case": use_case.name, "weeks": [*known]}
            published = warehouse.table(statement("published_users", own=FOLDER), asked)
    parts = {week: learning_rows.slice_of(rows, [week]) for week in known}
    plain = []
    with step("fitting the plain model"):
        for week, dates in known.items():
            score = fitted(learning_rows.slice_of(rows, dates), settings.seed)
            plain.append(score(parts[week].rows))
    whole = reduce(Slice.followed_by, parts.values())
    is_published, probability = matched(whole, published)
    scores = {PUBLISHED: probability, PLAIN: np.concatenate(plain)[is_published]}
    return name, whole.where(is_published), scores


def matched(rows: Slice, other: pa.Table) -> tuple[Flags, Floats]:
    """Return which rows another table has as well, and its probabilities of these."""
    keys = [name for name in KEYS if name in other.column_names]
    places = rows.rows.select(keys).append_column("place", [np.arange(len(rows))])
    both = places.join(other, keys, join_type="inner").sort_by("place")
    is_there = np.isin(np.arange(len(rows)), both["place"].to_numpy())
    return is_there, numbers_of(both["probability"])


def keep(file: Path, rows: Slice, probability: Floats) -> None:
    """Write what was published, and of whom."""
    file.parent.mkdir(parents=True, exist_ok=True)
    kept = rows.rows.select([name for name in KEYS if name in rows.rows.column_names])
    pq.write_table(kept.append_column("probability", [probability]), file)


def compared(
    name: str, rows: Slice, scores: Mapping[str, Floats], *, is_gate: bool = True
) -> Iterator[Line]:
    """
    Yield each figure beside the rival's, and the interval of the difference.

    A user counts a Poisson(1) number of times in a resample, with all of its weeks.
    ``scores`` are ours, then the rival's; with ``is_gate`` ours may not be worse.
    """
    random = np.random.default_rng(1)
    ours, theirs = scores
    users = rows.rows["user_id"].combine_chunks()
    user = pc.dictionary_encode(users).indices.to_numpy()
    drawn = [random.poisson(1.0, user.max() + 1)[user] for _ in range(RESAMPLES)]
    for figure, (of, is_more_better) in COMPARED.items():
        whole = {rival: [of(rows.label, score)] for rival, score in scores.items()}
        yield Line(f"{name}: {figure}", "", whole)
        differences = [
            of(rows.label, scores[ours], sample_weight=weight)
            - of(rows.label, scores[theirs], sample_weight=weight)
            for weight in drawn
        ]
        low, high = np.quantile(differences, [0.025, 0.975])
        yield Line(
            f"{name}: {figure} minus {theirs}'s, 95% {low:+.4f} to {high:+.4f}",
            "",
            {ours: [float(high if is_more_better else low)]},
            least=0.0 if is_gate and is_more_better else None,
            most=0.0 if is_gate and not is_more_better else None,
        )


def cards(folder: Path) -> Iterator[Line]:
    """Yield the ROC AUC of scores without labels, fitted on the first rows."""
    table = pq.read_table(folder / quality_tables.CARDS)
    candidate, *_ = usecases.load("card_fraud").candidates
    names = [name for name in table.column_names if name not in ("Time", "Class")]
    rows = np.column_stack([numbers_of(table[name]) for name in names])
    early, late = rows[:CARDS_FITTED], rows[CARDS_FITTED:]
    is_fraud = numbers_of(table["Class"])[CARDS_FITTED:]
    low, middle, high = np.quantile(early, [0.05, 0.5, 0.95], axis=0)
    distance = np.sum(np.abs(late - middle) / (high - low), axis=1)
    ours, forest = [], []
    for seed in range(8):
        trees = HalfSpaceTrees(**{**candidate.parameters, "random_state": seed})
        score = trees.fit(early).predict_proba(late)[:, 1]
        ours.append(float(roc_auc_score(is_fraud, score)))
        score = -IsolationForest(random_state=seed).fit(early).score_samples(late)
        forest.append(float(roc_auc_score(is_fraud, score)))
    what = f"cards without labels: ROC AUC, seeds {min(ours):.3f} to {max(ours):.3f}"
    distances = [float(roc_auc_score(is_fraud, distance))]
    yield Line(what, "", {"trees": ours, "robust distances": distances})
    yield Line(what, "", {"trees": ours, "isolation forest": forest})


def main() -> int:
    """Run the benchmark; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality")
    parser.add_argument("--keep", type=Path, metavar="FOLDER")
    parser.add_argument("--against", type=Path, metavar="FOLDER")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    data = os.environ.get("PROPENSITY_DATA")
    folder, lines = Path(data) if data else None, list[Line]()

    def measure(
        name: str, rows: Slice, scores: Mapping[str, Floats], *, is_gate: bool = True
    ) -> None:
        file = f"{name}.parquet"
        lines.extend(compared(name, rows, scores, is_gate=is_gate))
        if options.against:
            is_kept, kept = matched(rows, pq.read_table(options.against / file))
            both = {PUBLISHED: scores[PUBLISHED][is_kept], KEPT: kept}
            lines.extend(compared(name, rows.where(is_kept), both))
        if options.keep:
            keep(options.keep / file, rows, scores[PUBLISHED])

    with showing():
        for file in (None, *([folder / REAL] if folder else [])):
            measure(*played(file))
        for name, rows, ours, plain in quality_tables.tables(folder):
            scores = {PUBLISHED: ours, PLAIN: plain}
            measure(name, rows, scores, is_gate=False)
        if folder:
            lines += cards(folder)
    return finish(lines)


if __name__ == "__main__":
    sys.exit(main())
