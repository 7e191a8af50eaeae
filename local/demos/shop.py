"""
The demo: load an export, play the scheduler over its last weeks, and show the result.

Train monthly, evaluate and predict weekly, look users up: by HTTP, as the scheduler and
a client would. The generated export grows as a real one does: each run sees what had
arrived by its day. The streams, of players and of cards, are played beside.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from datetime import date, timedelta
from typing import Any, TypeVar

import requests

from local.demos import Choice, audience, cards, stream
from local.demos.calls import call, rows, table, training_text
from local.demos.source import HISTORY_DAYS, chosen_weeks, needed_days, opened
from local.errors import LocalError
from local.exports import ga4_export
from local.generators.cards import DEFAULT_SEED
from local.generators.cards import USE_CASE as CARDS
from local.generators.shop import LATEST_ARRIVAL_DAYS, Shop
from local.place import Place
from local.processes import PATIENCE_S, shown
from local.stack.stack import Stack
from propensity import usecases
from propensity.cli.progress import say, step, watched
from propensity.errors import NoChampion
from propensity.ga4.currency import line_to_write, undeclared_currency
from propensity.gcp.warehouse import Warehouse
from propensity.ids import PRESENCE
from propensity.pages.words import period
from propensity.runs import setup
from propensity.settings import Settings
from propensity.timeframe import DAY
from propensity.usecases import UseCase

Result = TypeVar("Result")

COLUMNS = (
    ("version", "model_version", "{}"),
    ("users", "users", "{:,}"),
    ("expected", "mean_probability", "{:.3f}"),
    ("actual", "base_rate", "{:.3f}"),
    ("ROC AUC", "roc_auc", "{:.3f}"),
    ("of active", "active_roc_auc", "{:.3f}"),
    ("lift", "lift_at_budget", "{:.2f}"),
    ("status", "status", "{}"),
)
REVENUE = (
    ("expected revenue", "value_promised", "{:,.0f}"),
    ("actual", "value_observed", "{:,.0f}"),
    ("error", "value_error", "{:+.1%}"),
    ("Gini", "value_gini", "{:.3f}"),
)


def run(stack: Stack, options: Choice) -> None:
    """Play what was chosen and show the results, on a stack whose emulators answer."""
    settings = Settings.from_environment(stack.environment)

    def streams() -> list[str]:
        ready.result()
        loaded.wait()
        with contextlib.closing(Warehouse.open(settings)) as streams_warehouse:
            if options.cards:
                return list(cards.play(stack, streams_warehouse, cards=options.cards))
            shown = list(stream.play(stack, streams_warehouse, broken=False))
            # Scores of the stream come while cards are played.
            # Versions of earlier runs in this state learned from other transactions.
            earlier = (stack.bucket_folder / "models" / CARDS).glob("*")
            seed = DEFAULT_SEED + len(list(earlier))
            fraud = list(cards.play(stack, streams_warehouse, seed=seed))
            shown.append(stream.scores_text(streams_warehouse))
            return shown + fraud

    # Functions load their libraries while the export is loaded, and streams are played
    # while a model is trained.
    ready = beside(stack.ready)
    loaded = threading.Event()
    played = None if options.data or options.events else beside(streams)
    if options.cards:
        loaded.set()
    else:
        with contextlib.closing(Warehouse.open(settings)) as warehouse:
            play(stack, warehouse, options, ready, loaded)
    ready.result()
    if played is not None:
        with step("playing the streams"):
            lines = played.result()
        for line in lines:
            say(line)


def beside(work: Callable[[], Result]) -> Future[Result]:
    """Begin work in a thread that ends with the program, also an early end."""
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def play(
    stack: Stack,
    warehouse: Warehouse,
    options: Choice,
    ready: Future[None],
    loaded: threading.Event,
) -> None:
    """Load the export, play the scheduler over its last weeks, and show the results."""
    use_case = usecases.load(warehouse.settings.use_case)
    use_case = use_case.with_label_event(warehouse.settings)
    settings = use_case.settings(warehouse.settings)
    warehouse = warehouse.for_run(settings)
    source = opened(warehouse, options, use_case)
    weeks = chosen_weeks(source, use_case, settings, count=options.weeks)
    horizon = timedelta(days=use_case.horizon_days)
    shop = source if isinstance(source, Shop) else None
    if shop:
        history = max(HISTORY_DAYS, needed_days(use_case.timeframe(settings)))
        audience.load_customers(warehouse.client, shop)
        load(warehouse, shop, history, until=weeks[0])
    loaded.set()
    with step("starting the functions"):
        ready.result()
    if not options.events:
        setup.prepare_export(warehouse, settings)

    end = weeks[-1] + horizon
    say(f"\nPlaying the scheduler from {weeks[0]} to {end}")
    trained: dict[str, Any] = {}
    is_promoted = False
    # A demo that was played before has sent its audience, and it stays sent.
    sent_until = audience.last_date(warehouse, use_case.name)
    is_sent = sent_until is not None
    trained_month = None
    # Earlier dates than the weeks, and the end, where days of the export were missing.
    published: list[date] = []
    for day in watched(list(weeks) + [end], "weeks"):
        if shop and day > weeks[0]:
            contacted = audience.contacted(warehouse, use_case.name)
            load(warehouse, shop, horizon.days, until=day, contacted=contacted)
        body = {"use_case": use_case.name, "as_of": day.isoformat()}
        if day <= weeks[-1] and (day.year, day.month) != trained_month:
            trained_month = (day.year, day.month)
            trained = train(stack, body)
            if trained["promoted"]:
                is_promoted = True
        if published:
            evaluate(stack, body)
        # A lookup finds the scores of the day on which the data end.
        as_of = predicted(stack, body)
        if as_of:
            published.append(as_of)
        # Outcomes of all but the last are evaluated: there is an effect to show.
        is_due = sent_until is None or day > sent_until
        if as_of and is_due and day not in weeks[: -audience.WEEKS]:
            audience.act(stack, warehouse, use_case, day, begins=not is_sent)
            is_sent = True
    if not is_promoted:
        report = shown(stack.bucket_folder / trained["objects"]["report.html"])
        raise LocalError(
            f"no model went live, so there are no predictions: {trained['verdict']}",
            hint=f"Look at {report}",
        )

    reacts = shop is not None
    brought = audience.brought_text(stack, use_case.name, end, reacts=reacts)
    if brought:
        say(brought)
    show(warehouse, use_case, weeks)
    users = rows(
        warehouse, "published_users", use_case=use_case.name, weeks=published[-1:]
    )
    say("\nLooking up the likeliest user, the least likely, and an unknown one:")
    for user in users[0]["user_id"], users[-1]["user_id"], "nobody":
        look_up(stack, user)
    if shop:
        for line in audience.monday(stack, use_case.name, end):
            say(line)
        audience.end(stack, use_case.name)


def show(warehouse: Warehouse, use_case: UseCase, weeks: Sequence[date]) -> None:
    """Print the metrics of weeks."""
    first = (period(use_case.horizon_days), "week", "{}")
    unit = f", in {use_case.currency}" if use_case.currency else ""
    span = {"since": weeks[0], "until": weeks[-1]}
    evaluated = rows(warehouse, "evaluations", use_case=use_case.name, **span)
    for row in evaluated:
        row.update(row["metrics"])
        for kind in row["categories"]:
            # Whoever was away is easily told from those who were active.
            if kind["category"] == PRESENCE and kind["value"] == "active":
                row["active_roc_auc"] = kind["roc_auc"]
    say("\n" + table([first] + list(COLUMNS), evaluated))
    if any(row["value_promised"] is not None for row in evaluated):
        say(f"\nWhat users were expected to pay, and what they paid{unit}:")
        say(table([first] + list(REVENUE), evaluated))
    if use_case.reads_digest:
        currency = undeclared_currency(warehouse, use_case.currency, since=weeks[0])
        if currency:
            say(
                f"These amounts are in {currency}: "
                f"{line_to_write(currency, use_case.name)}."
            )


def load(
    warehouse: Warehouse,
    shop: Shop,
    count: int,
    *,
    until: date,
    contacted: Mapping[str, date] | None = None,
) -> None:
    """Load the days before a date, and those before them that GA4 may rewrite."""
    days = (until - n * DAY for n in range(count + LATEST_ARRIVAL_DAYS + 1, 0, -1))
    tables = {}
    for day in days:
        if day >= shop.dates[0]:
            rows_of_day = shop.shard(day, seen_on=until - DAY, contacted=contacted)
            tables[f"events_{day:%Y%m%d}"] = rows_of_day
    ga4_export.load_tables(warehouse.client, warehouse.settings.ga4_dataset, tables)


def train(place: Place, body: Mapping[str, Any]) -> dict[str, Any]:
    """Call 00-ModelTraining, print what it did, and return the answer."""
    answer = call(place, "model_training", body)
    say(training_text(answer))
    return answer


def evaluate(place: Place, body: Mapping[str, Any]) -> None:
    """Call 03-ModelEvaluation, and print what it did."""
    answer = call(place, "model_evaluation", body)
    parts = []
    for row in answer["weeks"]:
        what = row["outcome"]
        if what == "evaluated":
            what = f"ROC AUC {row['roc_auc']:.3f}"
        parts.append(f"week {row['week']} {row['status']} {what}")
    weeks = "; ".join(parts) if parts else "nothing"
    say(f"{answer['as_of']}  evaluate  {weeks}")


def predicted(place: Place, body: Mapping[str, Any]) -> date | None:
    """Call 01-Predictions, print what it did, and return the date of its features."""
    answer = call(place, "predictions", body, accepted=NoChampion.code)
    if "error" in answer:
        say(f"{body['as_of']}  predict   nothing: {answer['message']}")
        return None
    shift = answer["log_odds_shift"]
    shifted = "" if shift is None else f", log-odds shifted by {shift:+.2f}"
    users = answer["users"]
    version = answer["model_version"]
    say(
        f"{answer['as_of']}  predict   {users:,} users by version {version}, mean "
        f"probability {answer['mean_probability']:.4f}{shifted}"
    )
    # Without an export there is no day of it to wait for.
    return date.fromisoformat(answer.get("data_until", answer["as_of"]))


def look_up(place: Place, user: str) -> requests.Response:
    """Look a user up as a client would, print the answer, and return it."""
    url = place.url("get_proba")
    headers = place.token("get_proba")
    began = time.perf_counter()
    answer = requests.get(url, {"user_id": user}, headers=headers, timeout=PATIENCE_S)
    took = (time.perf_counter() - began) * 1000
    say(f"  curl '{answer.url}'")
    say(f"  {answer.status_code} in {took:.0f} ms  {answer.text.strip()}")
    return answer
