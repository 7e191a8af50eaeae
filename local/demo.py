"""
The demo: load an export, play the scheduler over its last weeks, and show the result.

    python -m local.demo                    a generated shop, nothing downloaded
    python -m local.demo --data PATH        your own export rows: NDJSON or Parquet
    python -m local.demo --data online-retail    a public data set, downloaded
    python -m local.demo --cards FILE            card transactions alone, your own

Train monthly, evaluate and predict weekly, look users up: through the functions, by
HTTP, as the scheduler and a client would. The generated shop's export grows as a real
one does: each run sees what had arrived by its day, late rows follow. Then come the
streams, of a gaming operator and of card transactions.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import requests
from numpy.typing import NDArray

from local import cards_demo, comparison, ga4_export, online_retail, stream_demo
from local.asking import TIMEOUT_S, aligned, call
from local.processes import LocalError
from local.stack import LOCAL, ROOT, Options, Stack, State
from local.synthesize import Shop
from local.synthesize_cards import CardsError
from propensity import usecases
from propensity.settings import Settings
from propensity.usecases import UseCase
from propensity.warehouse import Warehouse

WEEKS = 8
ONLINE_RETAIL = "online-retail"
DAY = timedelta(days=1)

# What a user can mend: a sentence says it, and no trace.
EXPECTED = (
    LocalError,
    CardsError,
    ga4_export.ExportError,
    online_retail.DownloadError,
)


@dataclass(frozen=True)
class Source:
    """An export to play: what to load before a day's runs, and its first and last."""

    first_date: date
    last_full_day: date
    shop: Shop | None = None


def say(text: str = "") -> None:
    """Print a line at once, also into a pipe."""
    print(text, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; return the exit status."""
    options = parse(arguments)
    began = time.monotonic()
    chosen = Options(user_column=options.user_column, label_event=options.label_event)
    try:
        state = state_of(options, chosen)
        with Stack(state, options=chosen, say=say) as stack:
            warehouse = Warehouse.open(Settings.from_environment(stack.environment))
            with contextlib.closing(warehouse):
                if not options.cards:
                    show(stack, play(stack, warehouse, options))
                if not options.cards and not options.data:
                    stream_demo.play(stack, warehouse, say=say)
                if not options.data:
                    cards_demo.play(stack, warehouse, say=say, cards=options.cards)
                    say(f"\n{stream_demo.archived(stack, warehouse)}")
    except EXPECTED as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: stopped", file=sys.stderr)
        return 130
    say(f"\nThat took {time.monotonic() - began:.0f} s. To go on:")
    which = "" if state.name == State().name else f" STATE={state.name}"
    say(f"  make up{which}     serves what the demo produced; it prints addresses")
    return 0


def state_of(options: argparse.Namespace, chosen: Options) -> State:
    """
    Return the state to play in: one for each data set, user column and label event.

    Raises:
        LocalError: There is no such file or folder.
    """
    if options.state:
        return State(options.state)
    data = options.cards or options.data
    if data and data != ONLINE_RETAIL and not Path(data).expanduser().exists():
        raise LocalError(f"there is no file or folder {data}")
    name = State.of_data(data).name
    for given, usual in (
        (chosen.user_column, Options.user_column),
        (chosen.label_event, Options.label_event),
    ):
        name += "" if given == usual else f"-{given}"
    return State(name[:64])


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--data", help="file or folder of GA4 export rows, or online-retail"
    )
    source.add_argument(
        "--cards",
        help="card transactions: Parquet or CSV with Time, V1 to V28, Amount, Class",
    )
    parser.add_argument(
        "--user-column",
        default="user_pseudo_id",
        choices=("user_pseudo_id", "user_id"),
        help="who a user is (default: user_pseudo_id)",
    )
    parser.add_argument(
        "--label-event", default="purchase", help="what to predict (default: purchase)"
    )
    parser.add_argument(
        "--weeks", type=int, default=WEEKS, help=f"weeks to play (default: {WEEKS})"
    )
    parser.add_argument("--state", help="name of the local state to play in")
    return parser.parse_args(arguments)


@dataclass(frozen=True)
class Played:
    """What came of it: weeks predicted, the trainings' answers, and the source."""

    source: Source
    weeks: list[date]
    trainings: list[dict[str, Any]]
    warehouse: Warehouse
    settings: Settings
    use_case: UseCase


def play(stack: Stack, warehouse: Warehouse, options: argparse.Namespace) -> Played:
    """Load the export and play the scheduler over its last weeks."""
    settings = warehouse.settings
    use_case = usecases.load(settings.use_case)
    source = opened(warehouse, settings, options)
    weeks = chosen_weeks(source, use_case, settings, count=options.weeks)
    if source.shop is not None:
        # What had arrived on the eve of the first run; the rest follows week by week.
        eve = weeks[0] - DAY
        tables = [
            (name, rows)
            for name, rows in source.shop.shards(seen_on=eve)
            if name <= f"events_{eve:%Y%m%d}"
        ]
        ga4_export.load_tables(warehouse.client, settings.ga4_dataset, tables)
    stack.prepare()

    end = weeks[-1] + use_case_week(use_case)
    say(f"\nPlaying the scheduler from {weeks[0]} to {end}")
    trainings: list[dict[str, Any]] = []
    trained_month = None
    for day in [*weeks, end]:
        if source.shop is not None and day > weeks[0]:
            arrive(warehouse, settings, source.shop, day, use_case)
        asked = {"use_case": use_case.name, "as_of": day.isoformat()}
        is_last = day > weeks[-1]
        if not is_last and (day.year, day.month) != trained_month:
            trained_month = (day.year, day.month)
            trained = call(stack, "model_training", asked)
            trainings.append(trained)
            say(told_training(trained))
        evaluated = call(stack, "model_evaluation", asked)
        say(told_evaluation(evaluated))
        # Scores of the day on which the data end are those that a lookup finds.
        predicted = call(stack, "predictions", asked)
        say(told_prediction(predicted))
    return Played(source, weeks, trainings, warehouse, settings, use_case)


def use_case_week(use_case: UseCase) -> timedelta:
    """Return the span between two runs: one horizon."""
    return timedelta(days=use_case.horizon_days)


def opened(
    warehouse: Warehouse, settings: Settings, options: argparse.Namespace
) -> Source:
    """Generate or load the export that was asked for."""
    if not options.data:
        shop = Shop()
        say(f"Generating a shop's export, {shop.first_date} to {shop.last_date} …")
        return Source(shop.first_date, shop.last_date, shop)
    path = (
        online_retail.fetch(LOCAL / "downloads")
        if options.data == ONLINE_RETAIL
        else Path(options.data).expanduser()
    )
    say(f"Loading {options.data} …")
    summary = ga4_export.load_export(warehouse.client, settings.ga4_dataset, path)
    say(
        f"{summary.rows:,} events of {summary.users:,} users on {summary.days} days, "
        f"{summary.first_date} to {summary.last_date}"
    )
    if summary.ignored:
        names = ", ".join(list(summary.ignored)[:8])
        say(f"Fields that the export's schema does not know were left out: {names}")
    if summary.is_cut_short:
        say(
            f"The last event is of {summary.last_time:%Y-%m-%d %H:%M} UTC, earlier in "
            "the day than on any of the two weeks before: that day is not whole, and "
            f"the last that counts is {summary.last_full_day}"
        )
    if settings.label_event and settings.label_event not in summary.events:
        raise LocalError(
            f"no event of the data is a {settings.label_event!r}; LABEL_EVENT can be "
            f"one of {', '.join(sorted(summary.events))}"
        )
    return Source(summary.first_date, summary.last_full_day)


def chosen_weeks(
    source: Source, use_case: UseCase, settings: Settings, *, count: int
) -> list[date]:
    """
    Return the as-of dates to predict on: the last whose outcomes the data hold.

    Raises:
        LocalError: The data are too short to train before the first of them.
    """
    allowed = ga4_export.weeks_allowed(
        source.first_date,
        source.last_full_day,
        lookback_days=use_case.lookback_days,
        horizon_days=use_case.horizon_days,
    )
    # Three snapshots to train, choose and hold out, and the days until they are final.
    until_final = use_case.horizon_days + settings.settle_days
    needed = 3 + -(-until_final // use_case.horizon_days)
    weeks = allowed[needed:][-count:]
    if not weeks:
        days = use_case.lookback_days + use_case.horizon_days * (needed + 1)
        raise LocalError(
            f"the data are from {source.first_date} to {source.last_full_day}: too "
            f"short to train on and to evaluate after. About {days} days are needed, "
            f"{use_case.lookback_days} of them before the first snapshot"
        )
    return weeks


def arrive(
    warehouse: Warehouse, settings: Settings, shop: Shop, day: date, use_case: UseCase
) -> None:
    """Load what the export has new on a day: new shards, and old ones grown late."""
    previous = day - use_case_week(use_case)
    late = [late for late in shop.late_days() if previous - 4 * DAY <= late < previous]
    new = [previous + n * DAY for n in range((day - previous).days)]
    eve = day - DAY
    tables = [
        (f"events_{one:%Y%m%d}", shop.shard(one, seen_on=eve))
        for one in [*late, *new]
        if shop.first_date <= one <= shop.last_date
    ]
    ga4_export.load_tables(
        warehouse.client, settings.ga4_dataset, tables, progress=False
    )


def told_training(answer: Mapping[str, Any]) -> str:
    """Return a line on a training."""
    found = answer["holdout"]
    fate = "champion" if answer["promoted"] else "kept aside"
    return (
        f"{answer['as_of']}  train     version {answer['model_version']} "
        f"({answer['algorithm']}, {answer['calibration']} calibration), "
        f"ROC AUC {found['roc_auc']:.3f} on the holdout; {fate}: {answer['verdict']}"
    )


def told_evaluation(answer: Mapping[str, Any]) -> str:
    """Return a line on an evaluation."""
    parts = [
        f"week {row['week']} {row['status']}"
        + (
            f" ROC AUC {row['roc_auc']:.3f}"
            if row["outcome"] == "evaluated"
            else f" {row['outcome']}"
        )
        for row in answer["weeks"]
    ]
    return f"{answer['as_of']}  evaluate  {'; '.join(parts)}"


def told_prediction(answer: Mapping[str, Any]) -> str:
    """Return a line on a prediction run."""
    missing = answer["evaluation_missing"]
    said = "; the week's evaluation is missing" if missing else ""
    return (
        f"{answer['as_of']}  predict   {answer['users']:,} users by version "
        f"{answer['model_version']}, mean probability "
        f"{answer['mean_probability']:.4f}{said}"
    )


# -- The result -----------------------------------------------------------------------


def show(stack: Stack, played: Played) -> None:
    """Print the weeks, what they are worth together, lookups, and where all is."""
    rows = comparison.evaluations(played.warehouse, played.use_case, played.weeks)
    say("\n" + week_table(rows))
    pooled = comparison.pooled(
        played.warehouse,
        played.settings,
        played.use_case,
        played.weeks,
        versions=[trained["model_version"] for trained in played.trainings],
        bucket=stack.bucket_folder,
    )
    say("\n" + pooled_table(pooled))
    if played.source.shop is not None:
        truth = played.source.shop.true_probabilities(played.weeks)
        say("\n" + told_truth(comparison.distance(pooled.rows, truth)))
    say()
    for line in lookups(stack, pooled.rows):
        say(line)
    newest = played.trainings[-1]
    say("\nArtifacts, as files of the local bucket:")
    for name in sorted(newest["objects"].values()):
        say(f"  {relative(stack.bucket_folder / name)}")


def relative(path: Path) -> str:
    """Return a path as seen from the repository."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


_COLUMNS = (
    ("week", "week", "{}"),
    ("version", "model_version", "{}"),
    ("users", "users", "{:,}"),
    ("base rate", "base_rate", "{:.3f}"),
    ("mean prob.", "mean_probability", "{:.3f}"),
    ("ROC AUC", "roc_auc", "{:.3f}"),
    ("precision", "precision", "{:.3f}"),
    ("recall", "recall", "{:.3f}"),
    ("F1", "f1", "{:.3f}"),
    ("calib. error", "calibration_error", "{:.3f}"),
    ("lift top 10%", "top_lift", "{:.2f}"),
    ("status", "status", "{}"),
)


def week_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the weeks as a table; a figure that there is none of is a dash."""
    cells = [[name for name, _, _ in _COLUMNS]]
    for row in rows:
        cells.append(
            [
                form.format(row[key]) if row.get(key) is not None else "-"
                for _, key, form in _COLUMNS
            ]
        )
    return aligned(cells)


def pooled_table(pooled: comparison.Pooled) -> str:
    """Return all weeks together, beside what simpler scores reach on the same rows."""
    cells = [["all weeks together", "ROC AUC", "PR AUC", "calib. error", "mean prob."]]
    for name, found in pooled.figures.items():
        cells.append(
            [
                name,
                *(
                    "-" if found.get(key) is None else f"{found[key]:.4f}"
                    for key in (
                        "roc_auc",
                        "pr_auc",
                        "calibration_error",
                        "mean_probability",
                    )
                ),
            ]
        )
    base = f"{pooled.base_rate:.4f} of {pooled.users:,} rows converted"
    return aligned(cells) + f"\n{base}"


def told_truth(found: Mapping[str, float]) -> str:
    """Return lines on the distance from the probabilities that the generator knows."""
    return (
        "The generator knows the true probabilities. "
        f"Over {found['rows']:,.0f} users and weeks:\n"
        f"  mean {found['mean_truth']:.4f} true, {found['mean_probability']:.4f} "
        f"predicted; mean absolute distance {found['mean_absolute_distance']:.4f}; "
        f"rank correlation {found['rank_correlation']:.2f}\n"
        f"  largest gap of the deciles' means {found['decile_gap']:.4f}; "
        f"ROC AUC of the truth itself {found['truth_roc_auc']:.3f}"
    )


def lookups(stack: Stack, rows: pa.Table) -> Iterator[str]:
    """Look up users as a client would: the highest, the lowest, and nobody."""
    order = np.argsort(rows["probability"].to_numpy())
    users: NDArray[Any] = rows["user_id"].to_numpy(zero_copy_only=False)
    url = stack.url("get_proba")
    yield "Looking users up:"
    for user in (users[order[-1]], users[order[0]], "nobody"):
        began = time.perf_counter()
        answer = requests.get(url, params={"user_id": user}, timeout=TIMEOUT_S)
        took = (time.perf_counter() - began) * 1000
        yield f"  curl '{answer.url}'"
        yield f"  {answer.status_code} in {took:.0f} ms  {answer.text.strip()}"


if __name__ == "__main__":
    sys.exit(main())
