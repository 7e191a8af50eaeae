"""
The demo: load an export, play the scheduler over its last weeks, and show the result.

Train monthly, evaluate and predict weekly, look users up: through the functions, by
HTTP, as the scheduler and a client would. The best users of the last weeks are sent to
a receiver, and what that did is evaluated. The generated shop's export grows as a real
one does: each run sees what had arrived by its day, late rows follow. Then come the
streams, of a gaming operator and of card transactions.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import requests
from numpy.typing import NDArray

from local.demos import audience, cards, comparison, stream
from local.demos.calls import TIMEOUT_S, Refused, aligned, call
from local.demos.source import DAY, Source, chosen_weeks, opened
from local.errors import LocalError
from local.exports import ga4_export
from local.generators.shop.export import Shop
from local.play import Choice
from local.progress import say, shown, step
from local.stack.stack import Stack
from propensity import usecases
from propensity.edges.warehouse import Warehouse
from propensity.errors import NoChampion
from propensity.registry.index import pointer_name
from propensity.settings import Settings
from propensity.usecases import UseCase


def run(stack: Stack, options: Choice) -> None:
    """
    Play and show what was chosen, on a stack that is up.

    Raises:
        LocalError: A function or the data did not do.
    """
    warehouse = Warehouse.open(Settings.from_environment(stack.environment))
    with contextlib.closing(warehouse):
        if not options.cards:
            show(stack, play(stack, warehouse, options))
        if not options.cards and not options.data:
            stream.play(stack, warehouse)
        if not options.data:
            cards.play(stack, warehouse, cards=options.cards)


@dataclass(frozen=True)
class Played:
    """
    What came of it: weeks played, as-of dates of their publications (earlier ones where
    days of the export were missing), the trainings' answers with how many publications
    were ``before``, and the source; ``report`` is the object with the page of the
    newest evaluated week.
    """

    source: Source
    weeks: list[date]
    published: list[date]
    trainings: list[dict[str, Any]]
    report: str | None
    warehouse: Warehouse
    settings: Settings
    use_case: UseCase


def play(stack: Stack, warehouse: Warehouse, options: Choice) -> Played:
    """Load the export and play the scheduler over its last weeks."""
    settings = warehouse.settings
    use_case = usecases.load(settings.use_case).worded(settings)
    source = opened(warehouse, settings, options)
    weeks = chosen_weeks(source, use_case, settings, count=options.weeks)
    if source.shop is not None:
        # What had arrived on the eve of the first run; the rest follows week by week.
        eve = weeks[0] - DAY
        with step("generating"):
            tables = [
                (name, rows)
                for name, rows in source.shop.shards(seen_on=eve)
                if name <= f"events_{eve:%Y%m%d}"
            ]
        ga4_export.load_tables(warehouse.client, settings.ga4_dataset, tables)
    with step("creating tables and views"):
        stack.prepare()

    end = weeks[-1] + timedelta(days=use_case.horizon_days)
    say(f"\nPlaying the scheduler from {weeks[0]} to {end}")
    trainings: list[dict[str, Any]] = []
    trained_month = None
    published: list[date] = []
    reported: list[str] = []
    # Their outcomes are evaluated before the end, so that there is a lift to show.
    acted = weeks[-audience.WEEKS :]
    for day in [*weeks, end]:
        if source.shop is not None and day > weeks[0]:
            with step(f"loading what had arrived by {day}"):
                arrive(warehouse, settings, source.shop, day, use_case)
        body = {"use_case": use_case.name, "as_of": day.isoformat()}
        is_last = day > weeks[-1]
        if not is_last and (day.year, day.month) != trained_month:
            trained_month = (day.year, day.month)
            trained = call(stack, "model_training", body)
            trainings.append({**trained, "before": len(published)})
            say(training_text(trained))
        evaluated = call(stack, "model_evaluation", body)
        reported = [*reported, *evaluated.get("reports", ())][-1:]
        say(evaluation_text(evaluated))
        if lift := audience.lift_text(evaluated):
            say(lift)
        # Scores of the day on which the data end are those that a lookup finds.
        as_of = predicted(stack, body)
        if as_of and not is_last:
            published.append(as_of)
        if as_of and day in acted:
            audience.act(
                stack.environment,
                stack.state.folder,
                use_case.name,
                day,
                is_first=day == acted[0],
            )
    if not any(trained["promoted"] for trained in trainings):
        newest = trainings[-1]
        report = shown(stack.bucket_folder / newest["objects"]["report.html"])
        raise LocalError(
            f"no model was promoted, so that nothing was published: "
            f"{newest['verdict']}. What it was trained on is in {report}"
        )
    page = reported[-1] if reported else None
    return Played(
        source, weeks, published, trainings, page, warehouse, settings, use_case
    )


def arrive(
    warehouse: Warehouse, settings: Settings, shop: Shop, day: date, use_case: UseCase
) -> None:
    """Load what the export has new on a day: new shards, and old ones grown late."""
    previous = day - timedelta(days=use_case.horizon_days)
    late = [late for late in shop.late_days() if previous - 4 * DAY <= late < previous]
    new = [previous + n * DAY for n in range((day - previous).days)]
    eve = day - DAY
    tables = [
        (f"events_{date:%Y%m%d}", shop.shard(date, seen_on=eve))
        for date in [*late, *new]
        if shop.first_date <= date <= shop.last_date
    ]
    ga4_export.load_tables(
        warehouse.client, settings.ga4_dataset, tables, progress=False
    )


def training_text(answer: Mapping[str, Any]) -> str:
    """Return a line on a training."""
    holdout = answer["holdout"]
    fate = "champion" if answer["promoted"] else "kept aside"
    return (
        f"{answer['as_of']}  train     version {answer['model_version']} "
        f"({answer['algorithm']}, {answer['calibration']} calibration), "
        f"ROC AUC {holdout['roc_auc']:.3f} on the holdout; {fate}: {answer['verdict']}"
    )


def evaluation_text(answer: Mapping[str, Any]) -> str:
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
    return f"{answer['as_of']}  evaluate  {'; '.join(parts) or 'nothing'}{gaps(answer)}"


def gaps(answer: Mapping[str, Any]) -> str:
    """
    Say which days of the export a run did without; empty where there are none.

    Of earlier days those of evaluated weeks: a shop that is closed on Saturdays has no
    table of them, and nothing is wrong.
    """
    since = min((row["week"] for row in answer.get("weeks", ())), default="9")
    missing = [day for day in answer.get("missing_days", ()) if day >= since]
    days = [*missing, *answer.get("late_days", ())]
    if not days:
        return ""
    first = ", ".join(days[:3]) + (" …" if len(days) > 3 else "")
    return f"; the export lacks {len(days)} of its days: {first}"


def predicted(stack: Stack, body: Mapping[str, Any]) -> date | None:
    """Call 01-Predictions, say what it did, and return as of which it has published."""
    try:
        answer = call(stack, "predictions", body)
    except Refused as refused:
        if refused.error != NoChampion.code:
            raise
        say(f"{body['as_of']}  predict   nothing: {refused.why}")
        return None
    say(prediction_text(answer))
    return date.fromisoformat(answer["data_until"])


def prediction_text(answer: Mapping[str, Any]) -> str:
    """Return a line on a prediction run."""
    missing = answer["evaluation_missing"]
    warning = "; the week's evaluation is missing" if missing else ""
    shift = answer["log_odds_shift"]
    shifted = "" if shift is None else f", log-odds shifted by {shift:+.2f}"
    return (
        f"{answer['as_of']}  predict   {answer['users']:,} users by version "
        f"{answer['model_version']}, mean probability "
        f"{answer['mean_probability']:.4f}{shifted}{warning}{gaps(answer)}"
    )


def show(stack: Stack, played: Played) -> None:
    """Print the weeks, what they are worth together, lookups, and where all is."""
    rows = comparison.evaluations(played.warehouse, played.use_case, played.weeks)
    say("\n" + week_table(rows))
    say("\nWith the best threshold of the weeks before, and the best of a budget:")
    say(selection_table(rows))
    with step("comparing all weeks with simpler scores"):
        pooled = comparison.pooled(
            played.warehouse,
            played.settings,
            played.use_case,
            played.published,
            versions={
                trained["model_version"]: played.published[trained["before"]]
                for trained in played.trainings
                if trained["before"] < len(played.published)
            },
            bucket=stack.bucket_folder,
        )
    say("\n" + pooled_table(pooled, outcome=played.use_case.outcome))
    if played.source.shop is not None:
        truth = played.source.shop.true_probabilities(played.weeks)
        say("\n" + truth_text(comparison.distance(pooled.rows, truth)))
    say()
    for line in lookups(stack, pooled.rows):
        say(line)
    newest = played.trainings[-1]
    say("\nArtifacts, as files of the local bucket:")
    for name in sorted(newest["objects"].values()):
        say(f"  {shown(stack.bucket_folder / name)}")
    if played.report is not None:
        say("\nWhat the newest week's probabilities were worth, as a page:")
        say(f"  {shown(stack.bucket_folder / played.report)}")


_COLUMNS = (
    ("week", "week", "{}"),
    ("version", "model_version", "{}"),
    ("users", "users", "{:,}"),
    ("base rate", "base_rate", "{:.3f}"),
    ("mean prob.", "mean_probability", "{:.3f}"),
    ("shift", "log_odds_shift", "{:+.2f}"),
    ("ROC AUC", "roc_auc", "{:.3f}"),
    ("calib. error", "calibration_error", "{:.3f}"),
    ("status", "status", "{}"),
)

_SELECTION_COLUMNS = (
    ("week", "week", "{}"),
    ("threshold", "best_threshold", "{:.3f}"),
    ("users", "users_at_best", "{:,}"),
    ("precision", "precision_at_best", "{:.3f}"),
    ("recall", "recall_at_best", "{:.3f}"),
    ("F1", "f1_at_best", "{:.3f}"),
    ("budget", "budget", "{}"),
    ("users", "users_at_budget", "{:,.0f}"),
    ("precision", "precision_at_budget", "{:.3f}"),
    ("recall", "recall_at_budget", "{:.3f}"),
    ("lift", "lift_at_budget", "{:.2f}"),
)

_POOLED_COLUMNS = (
    ("all weeks together", "name", "{}"),
    ("ROC AUC", "roc_auc", "{:.4f}"),
    ("PR AUC", "pr_auc", "{:.4f}"),
    ("calib. error", "calibration_error", "{:.4f}"),
    ("mean prob.", "mean_probability", "{:.4f}"),
)


def week_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the weeks as a table; a figure that there is none of is a dash."""
    return _table(_COLUMNS, rows)


def selection_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return whom each week selects by a threshold and by a budget, as a table."""
    return _table(_SELECTION_COLUMNS, rows)


def _table(
    columns: Sequence[tuple[str, str, str]], rows: Sequence[Mapping[str, Any]]
) -> str:
    cells = [[name for name, _, _ in columns]]
    for row in rows:
        cells.append(
            [
                form.format(row[key]) if row.get(key) is not None else "-"
                for _, key, form in columns
            ]
        )
    return aligned(cells)


def pooled_table(pooled: comparison.Pooled, *, outcome: str) -> str:
    """Return all weeks together, beside what simpler scores reach on the same rows."""
    rows = [{"name": name, **figures} for name, figures in pooled.figures.items()]
    base = f"{pooled.base_rate:.4f} of {pooled.users:,} rows are of users who {outcome}"
    return _table(_POOLED_COLUMNS, rows) + f"\n{base}"


def truth_text(distance: Mapping[str, float]) -> str:
    """Return lines on the distance from the probabilities that the generator knows."""
    return (
        "The generator knows the true probabilities. "
        f"Over {distance['rows']:,.0f} users and weeks:\n"
        f"  mean {distance['mean_truth']:.4f} true, {distance['mean_probability']:.4f} "
        f"predicted; mean absolute distance {distance['mean_absolute_distance']:.4f}; "
        f"rank correlation {distance['rank_correlation']:.2f}\n"
        f"  largest gap of the deciles' means {distance['decile_gap']:.4f}; "
        f"ROC AUC of the truth itself {distance['truth_roc_auc']:.3f}"
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
    pointer = stack.bucket_folder / pointer_name(stack.options.use_case)
    newest = json.loads(pointer.read_text())
    yield (
        f"  answered from the index of {newest['users']:,} users, "
        f"{newest['size'] / 1024:,.0f} kB: {newest['name']}"
    )
