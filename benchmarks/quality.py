"""
What published probabilities are worth, forward in time. Gates.

Plays months of a shop with the functions, on emulators: a training each month on what
was final then, and each week an evaluation and a publication. All weeks together are
compared, on the same users and labels, and once more on the active users alone, with
two other ways:

- a plain model, fitted on the same rows: trees that scikit-learn boosts on twelve
  columns of recency, frequency and money;
- BG/NBD, fitted each week on the dates of all purchases before it. It is of the package
  lifetimes, in a virtual environment of its own.

It plays a generated shop and, with PROPENSITY_DATA, the real shop of that folder's
online_retail_ga4.ndjson.zst: of UCI's Online Retail, each invoice from December 2010 to
August 2011 is a purchase of the user_id, or a refund if its number begins with C.

A target is missed if ROC AUC, PR AUC or log loss of what was published is worse than
the plain model's or BG/NBD's of a shop, by more than the noise of the comparison: a 95%
interval, resampled by user.

Source:
    Fader, Hardie and Lee, "Counting Your Customers the Easy Way", Marketing Science 24,
    2005: BG/NBD.
"""

from __future__ import annotations

import contextlib
import os
import resource
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import reduce
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import structs
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

from benchmarks.measuring.report import Line, by_peer
from local.demos.calls import FOLDER, call
from local.demos.source import weeks_allowed
from local.exports import digest, ga4_export
from local.generators.shop import Shop
from local.stack import temporary
from local.stack.state import FUNCTIONS
from propensity import usecases
from propensity.cli.progress import showing, step
from propensity.errors import NoChampion
from propensity.ga4.view import events_view
from propensity.gcp.warehouse import Warehouse
from propensity.ids import PRESENCE
from propensity.learning.rows import Slice, slice_of
from propensity.models.encoding import Flags, Floats, floats_of, to_frame
from propensity.settings import Settings
from propensity.statements import statement
from propensity.tables.export_names import VIEW
from propensity.timeframe import DAY
from propensity.usecases import CATEGORY, UseCase

WEEKS = 13
RESAMPLES = 200
# Draws of all outcomes from the probabilities.
WORLDS = 20
TARGETS = ("model_training", "model_evaluation", "predictions")
RUNS = [function for function in FUNCTIONS if function.target in TARGETS]
PUBLISHED = "published"
PLAIN = "plain boosted trees"
PEER = "BG/NBD"
# The least probability of a score, so that its log loss is finite.
LEAST = 1e-4
KEYS = ["as_of", "user_id"]
# Figures, and whether more is better.
COMPARED: Mapping[str, tuple[Callable[..., float], bool]] = {
    "ROC AUC": (roc_auc_score, True),
    "PR AUC": (average_precision_score, True),
    "log loss": (log_loss, False),
}
REAL = "online_retail_ga4.ndjson.zst"
# A query has so many as-of dates: the emulator's memory grows with them.
AS_OFS = 24
# Columns of the plain model: recency, frequency and money.
RFM = (
    "recency_days", "purchase_recency_days", "days_since_first_seen", "mean_gap_days",
    "purchases", "purchases_7d", "purchases_28d", "purchase_days", "revenue",
    "revenue_7d", "largest_day_revenue", "mean_order_value",
)  # fmt: skip

# Probabilities of users by week: they are alive, and buy if so.
LIFETIMES = """
import pandas, pickle, sys, warnings
warnings.simplefilter("ignore")
answer, sys.stdout = sys.stdout.buffer, sys.stderr
from lifetimes import BetaGeoFitter

def fitted(*columns):
    # The package advises a larger penalty where it finds no optimum.
    for penalty in (0.0, 0.001, 0.01, 0.1):
        model = BetaGeoFitter(penalizer_coef=penalty)
        try:
            model.fit(*columns)
            return model
        except Exception:
            pass
    raise SystemExit("no fit converges")

columns, weeks, horizon = pickle.load(sys.stdin.buffer)
frame = pandas.DataFrame(columns)
said = []
for week in weeks:
    known = frame[frame["day"] < week]
    users = known.groupby("user")["day"]
    first, times = users.min(), users.nunique() - 1
    recency, age = (users.max() - first) / 7, (week - first) / 7
    model = fitted(times, recency, age)
    alive = model.conditional_probability_alive(times, recency, age)
    rate = model.params_["alpha"] + age
    idle = (rate / (rate + horizon / 7)) ** (model.params_["r"] + times)
    said.append(pandas.Series(alive * (1 - idle), first.index).to_dict())
pickle.dump(said, answer)
"""


@dataclass(frozen=True, kw_only=True)
class Rivals:
    """Rows of a name, and their scores by several rivals, ours first."""

    name: str
    rows: Slice
    scores: Mapping[str, Floats]


def exported(
    warehouse: Warehouse, file: Path | None
) -> tuple[str, Sequence[date], date]:
    """Load a real shop, or generate one; return its name, days and last whole day."""
    settings = warehouse.settings
    client = warehouse.client
    if file:
        name = file.name.partition(".")[0]
        summary = ga4_export.load_export(client, settings.ga4_dataset, file)
        days = list(summary.dates)
        last = summary.last_full_day
    else:
        name = "generated shop"
        shop = Shop()
        last = shop.last_full_day
        days = shop.dates
        tables = {f"events_{day:%Y%m%d}": shop.shard(day) for day in days}
        ga4_export.load_tables(client, settings.ga4_dataset, tables)
    warehouse.replace_view(VIEW, events_view(settings.export, require="false"))
    digest.fill(warehouse, ["purchase", "refund"])
    return name, days, last


def read(
    warehouse: Warehouse,
    use_case: UseCase,
    as_ofs: Sequence[date],
    statement: str = "training_rows",
    *,
    today: date | None = None,
) -> pa.Table:
    """Return the rows of a statement of many dates."""
    parts = []
    with step("") as bar:
        for start in range(0, len(as_ofs), AS_OFS):
            bar.label = f"{statement}, {start} of {len(as_ofs)} dates are done"
            some = as_ofs[start : start + AS_OFS]
            window = use_case.window(warehouse.settings, some, today=today)
            parameters = {**window, "maximum_rows": 10**9}
            parts.append(warehouse.table(use_case.statement(statement), parameters))
    return pa.concat_tables(parts)


def bought(
    warehouse: Warehouse, use_case: UseCase, days: Sequence[date]
) -> dict[str, list[object]]:
    """Return who bought on which day, as the labels count: a row per user and day."""
    daily = structs.replace(use_case, horizon_days=1)
    all_days = [min(days) + n * DAY for n in range((max(days) - min(days)).days + 1)]
    rows = read(warehouse, daily, all_days, "converter_amounts")
    numbers = [day.toordinal() for day in rows["as_of"].to_pylist()]
    return {"user": rows["user_id"].to_pylist(), "day": list(numbers)}


def plain(
    train_rows: Slice, asked: Slice, features: Mapping[str, str], *, seed: int
) -> Floats:
    """Return what few and small trees, with their defaults, say of the rows asked."""
    names = [name for name, kind in features.items() if kind == CATEGORY]
    frames = [
        to_frame(part.rows, features).astype(dict.fromkeys(names, "category"))
        for part in (train_rows, asked)
    ]
    model = HistGradientBoostingClassifier(
        max_iter=80, max_leaf_nodes=15, learning_rate=0.05, random_state=seed
    )
    model.fit(frames[0], train_rows.label)
    return np.asarray(model.predict_proba(frames[1])[:, 1])


def played(file: Path | None) -> Rivals:
    """Play the last weeks of a shop."""
    use_case = usecases.load("ga4_purchase")
    with temporary.emulators(*RUNS) as stack:
        settings = Settings.from_environment(stack.environment)
        frame = use_case.timeframe(settings)
        with contextlib.closing(Warehouse.open(settings)) as warehouse:
            name, days, last = exported(warehouse, file)
            month = None
            trained_on = tuple[date, ...]()
            # The live version could learn from these dates, by that of a publication.
            dates_by_week: dict[date, tuple[date, ...]] = {}
            for week in weeks_allowed(days, last, use_case)[-WEEKS:]:
                body = {"use_case": use_case.name, "as_of": week.isoformat()}
                # The first week of each month trains.
                if month != (week.year, week.month):
                    month = week.year, week.month
                    call(stack, "model_training", body)
                    limit = settings.training_snapshots
                    trained_on = frame.snapshots(
                        today=week, days=set(days), at_most=limit
                    )
                if dates_by_week:
                    call(stack, "model_evaluation", body)
                answer = call(stack, "predictions", body, accepted=NoChampion.code)
                if "error" not in answer:
                    dates_by_week[date.fromisoformat(answer["data_until"])] = trained_on
            as_ofs = sorted(set(dates_by_week).union(*dates_by_week.values()))
            keys = [("as_of", "ascending"), ("user_id", "ascending")]
            rows = read(warehouse, use_case, as_ofs).sort_by(keys)
            purchases = bought(warehouse, use_case, days)
            asked = {"use_case": use_case.name, "weeks": list(dates_by_week)}
            published = warehouse.table(
                statement("published_users", folder=FOLDER), asked
            )
    parts = {week: slice_of(rows, [week]) for week in dates_by_week}
    features = {name: use_case.features[name] for name in RFM}
    rivals = []
    with step("fitting the plain model"):
        for week, dates in dates_by_week.items():
            older = slice_of(rows, dates)
            rivals.append(plain(older, parts[week], features, seed=settings.seed))
    weeks = [week.toordinal() for week in dates_by_week]
    # Plain values: the environment of lifetimes may have another pandas.
    said = by_peer("lifetimes", LIFETIMES, purchases, weeks, use_case.horizon_days)
    others = []
    for part, by_user in zip(parts.values(), said, strict=True):
        users = part.rows["user_id"].to_pylist()
        # Of visitors without a purchase BG/NBD says nothing.
        others.append(np.array([by_user.get(user, LEAST) for user in users]))
    whole = reduce(Slice.followed_by, parts.values())
    is_published, probability = matched(whole, published)
    scores = {
        PUBLISHED: probability,
        PLAIN: np.concatenate(rivals)[is_published],
        PEER: np.concatenate(others)[is_published],
    }
    whole = whole.where(is_published)
    return Rivals(name=name, rows=whole, scores=scores)


def active(rivals: Rivals) -> Rivals:
    """Return a shop's active users alone: whoever was away is easily told from them."""
    is_active = pc.equal(rivals.rows.rows[PRESENCE], "active").to_numpy()
    scores = {name: score[is_active] for name, score in rivals.scores.items()}
    name = f"{rivals.name}, active users"
    rows = rivals.rows.where(is_active)
    return replace(rivals, name=name, rows=rows, scores=scores)


def matched(rows: Slice, other: pa.Table) -> tuple[Flags, Floats]:
    """Return which rows another table has as well, and its probabilities of these."""
    places = rows.rows.select(KEYS).append_column("place", [np.arange(len(rows))])
    both = places.join(other, KEYS, join_type="inner").sort_by("place")
    is_there = np.isin(np.arange(len(rows)), both["place"].to_numpy())
    return is_there, floats_of(both["probability"])


# -- comparisons ----------------------------------------------------------------------


def compared(rivals: Rivals) -> Iterator[Line]:
    """
    Yield each figure beside the rivals', and the interval of the difference.

    Beside it stands its ceiling: what it would be if outcomes were drawn from the very
    probabilities. If it is no higher, these features tell no more. A user counts a
    Poisson(1) number of times in a resample, with all of its weeks.
    """
    name = rivals.name
    rows = rivals.rows
    scores = rivals.scores
    random = np.random.default_rng(1)
    ours, *others = scores
    users = rows.rows["user_id"].combine_chunks()
    user = pc.dictionary_encode(users).indices.to_numpy()
    drawn = [random.poisson(1.0, user.max() + 1)[user] for _ in range(RESAMPLES)]
    chance = np.random.default_rng(2)
    worlds = [chance.random(len(rows)) < scores[ours] for _ in range(WORLDS)]
    for figure, (measure, is_more_better) in COMPARED.items():
        score = measure(rows.label, scores[ours])
        ceiling = [measure(world, scores[ours]) for world in worlds]
        yield Line(
            f"{name}: {figure} beside its ceiling",
            "",
            {ours: [score], "ceiling": ceiling},
        )
        resampled = [
            measure(rows.label, scores[ours], sample_weight=weight) for weight in drawn
        ]
        for theirs in others:
            rival = measure(rows.label, scores[theirs])
            both = {ours: [score], theirs: [rival]}
            yield Line(f"{name}: {figure}", "", both)
            against = [
                measure(rows.label, scores[theirs], sample_weight=weight)
                for weight in drawn
            ]
            differences = np.subtract(resampled, against)
            low, high = np.quantile(differences, [0.025, 0.975])
            yield Line(
                f"{name}: {figure} minus {theirs}'s, 95% {low:+.4f} to {high:+.4f}",
                "",
                {ours: [float(high if is_more_better else low)]},
                least=0.0 if is_more_better else None,
                most=None if is_more_better else 0.0,
            )


def lines() -> Iterator[Line]:
    warnings.simplefilter("ignore")
    shops: list[Path | None] = [None]
    if "PROPENSITY_DATA" in os.environ:
        shops.append(Path(os.environ["PROPENSITY_DATA"]) / REAL)
    with showing():
        for shop in shops:
            everybody = played(shop)
            for rivals in (everybody, active(everybody)):
                yield from compared(rivals)
            # Of all shops until now.
            largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
            memory = {"ours": [largest * 1024 / 1e9]}
            yield Line(f"{everybody.name}: local mode's largest process", "GB", memory)
