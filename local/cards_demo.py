"""
The fraud part of the demo: card transactions, their delayed truth, new versions.

    python -m local.cards_demo                 generated transactions alone
    python -m local.cards_demo --cards FILE    real ones, in the public columns

A simulated clock runs over some past days: what a producer has sent by then is
published, transactions and truths as they come. Three times a training begins, and
what comes next flows meanwhile, so that each version takes over under traffic: the
first from nothing, the others from one another. What is printed is read from BigQuery,
but for the optimum, which only the generator knows.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import numpy as np
import requests
from google.cloud.pubsub_v1 import PublisherClient
from numpy.typing import NDArray

from local.asking import TIMEOUT_S, aligned, call
from local.processes import LocalError
from local.progress import Progress, bar, say, step
from local.stack import Options, Stack, State
from local.synthesize_cards import (
    FEATURES,
    USE_CASE,
    Cards,
    CardsError,
    Transactions,
    read_cards,
)
from local.synthesize_games import Delivery
from propensity.edges.warehouse import Warehouse
from propensity.learning import metrics
from propensity.settings import Settings
from propensity.statements import statement
from propensity.topics import EVENTS

TRANSACTIONS = 8_000
# The real rate is a sixth of a percent: measured, it would take far more transactions.
FRAUD_RATE = 0.03
# Of a real file the demo takes so many.
MAXIMUM_TRANSACTIONS = 12_000
DAYS = 8
DAY = timedelta(days=1)
# Days from the last transaction to now: by then truths are in, or never come.
SINCE_LAST = 8
PARTS = ("first", "second", "third", "fourth")
# Of the transactions that somebody may look at.
ALERTS = (0.01, 0.05)

# Under traffic: messages a second, and the share of a part that may be sent while
# training lasts.
PACE = 60
PACED_SHARE = 0.5
PAUSE_S = 0.05
IN_FLIGHT = 1_000
# How `score` answers while no version serves.
NOTHING_SERVES = "409"
POLL_S = 0.5
SETTLE_S = 300.0

Say = Callable[[str], None]
Floats = NDArray[np.float64]


# What is sent, and when --------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """
    Transactions and truths as a producer sends them, in parts.

    ``parts`` are in the order of sending: what is sent before each stop of the clock,
    and the rest. ``stops`` are those moments.
    """

    transactions: Transactions
    parts: Sequence[Sequence[Delivery]]
    stops: Sequence[datetime]

    @property
    def deliveries(self) -> Iterator[Delivery]:
        """Everything that is sent."""
        return itertools.chain.from_iterable(self.parts)


def planned(transactions: Transactions, *, now: datetime) -> Plan:
    """
    Lay deliveries out in parts of as many transactions each.

    Args:
        transactions: In order of time.
        now: Truths that are found out later are not sent.
    """
    stops = [
        moment_of(transactions, len(transactions) * part // len(PARTS))
        for part in range(1, len(PARTS))
    ]
    truths = transactions.truths().deliveries()
    sent = [*transactions.deliveries(), *(one for one in truths if one.sent_time < now)]
    sent.sort(key=lambda one: one.sent_time)
    bounds = [0, *(sum(one.sent_time < stop for one in sent) for stop in stops)]
    parts = [
        sent[first:last]
        for first, last in zip(bounds, [*bounds[1:], len(sent)], strict=True)
    ]
    return Plan(transactions, parts, stops)


def moment_of(transactions: Transactions, row: int) -> datetime:
    """Return when a transaction happened."""
    since = timedelta(milliseconds=int(transactions.time_ms[row]))
    return datetime(1970, 1, 1, tzinfo=UTC) + since


def is_truth(delivery: Delivery) -> bool:
    """Say whether a message tells what came of a transaction, if it tells anything."""
    return delivery.event is not None and "is_fraud" in delivery.event


@dataclass(frozen=True)
class Counts:
    """Of messages that were sent: transactions and truths accepted, and broken ones."""

    transactions: int = 0
    distinct: int = 0
    truths: int = 0
    broken: int = 0

    @classmethod
    def of(cls, deliveries: Sequence[Delivery]) -> Counts:
        """Count messages."""
        events = [one for one in deliveries if one.event is not None]
        truths = sum(map(is_truth, events))
        ids = {
            one.event["transaction_id"]
            for one in events
            if one.event is not None and not is_truth(one)
        }
        return cls(
            transactions=len(events) - truths,
            distinct=len(ids),
            truths=truths,
            broken=len(deliveries) - len(events),
        )


def stamped(data: bytes, now: datetime) -> bytes:
    """
    Return a payload with ``ingest_ts`` of now, written as it was.

    Events are played days after they happened; a producer takes them just now.
    """
    try:
        payload = json.loads(data)
        written = payload["ingest_ts"]
    except (ValueError, KeyError, TypeError):
        return data
    since_ms = round(now.timestamp() * 1_000)
    payload["ingest_ts"] = {
        int: since_ms,
        float: since_ms / 1_000,
        str: str(since_ms) if str(written).isdigit() else now.isoformat(),
    }.get(type(written), written)
    return json.dumps(payload).encode()


class Producer:
    """Publishes messages to the topic of events, by the ordinary client."""

    def __init__(self, stack: Stack) -> None:
        # Where the client looks for an emulator.
        os.environ["PUBSUB_EMULATOR_HOST"] = stack.address("pubsub")
        self._publisher = PublisherClient()
        self._topic = self._publisher.topic_path(stack.options.project, EVENTS)
        self._waiting: list[Future[str]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._publisher.stop()
        self._publisher.transport.close()

    def send(self, deliveries: Sequence[Delivery]) -> None:
        """Publish messages in their order."""
        for one in deliveries:
            data = stamped(one.data, datetime.now(UTC))
            self._waiting.append(
                self._publisher.publish(self._topic, data, **one.attributes)
            )
            if len(self._waiting) >= IN_FLIGHT:
                self.flush()

    def flush(self) -> None:
        """Wait until Pub/Sub has all that was sent."""
        for future in self._waiting:
            future.result(timeout=TIMEOUT_S)
        self._waiting.clear()


# Online requests beside the stream ----------------------------------------------------


@dataclass
class Online:
    """
    Asks the function ``score`` for one transaction after the other until it is stopped.

    ``statuses`` counts its answers, ``too_early`` those before anything served,
    ``versions`` has the versions that answered, in their order, ``took_ms`` how long
    each answer took.
    """

    url: str
    payloads: Sequence[Mapping[str, Any]]
    statuses: Counter[str] = field(default_factory=Counter)
    versions: list[int] = field(default_factory=list)
    took_ms: list[float] = field(default_factory=list)
    too_early: int = 0

    def __post_init__(self) -> None:
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def _ask(self) -> None:
        with requests.Session() as session:
            for payload in itertools.cycle(self.payloads):
                if self._stopping.wait(PAUSE_S):
                    return
                began = time.perf_counter()
                try:
                    answer = session.post(self.url, json=payload, timeout=30)
                except requests.RequestException as error:
                    self.statuses[type(error).__name__] += 1
                    continue
                self.statuses[str(answer.status_code)] += 1
                if str(answer.status_code) == NOTHING_SERVES and not self.versions:
                    self.too_early += 1
                if answer.status_code == requests.codes.ok:
                    self.took_ms.append(1e3 * (time.perf_counter() - began))
                    version = answer.json()["model_version"]
                    if self.versions[-1:] != [version]:
                        self.versions.append(version)

    def stop(self) -> None:
        """Stop asking, and wait until the last answer is there."""
        self._stopping.set()
        self._thread.join()

    @property
    def told(self) -> str:
        """Say what was asked and answered."""
        statuses = Counter(self.statuses)
        answered = statuses.pop("200", 0)
        early = self.too_early
        statuses.subtract({NOTHING_SERVES: early})
        failed = {status: count for status, count in statuses.items() if count}
        versions = ", then ".join(map(str, self.versions)) or "none"
        median = f"{np.median(self.took_ms):.0f} ms" if self.took_ms else "-"
        before = f", {early} before anything served" if early else ""
        why = f" {failed}" if failed else ""
        return (
            f"{answered + early + sum(failed.values()):,} requests to `score`{before}; "
            f"{sum(failed.values())} failed{why}; {answered:,} answered by version "
            f"{versions}, {median} at the median"
        )


# The demo ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Window:
    """When a training began, even traffic beside it ended, and all was scored."""

    began: datetime
    paced_until: datetime
    ended: datetime


@dataclass
class Played:
    """
    What came of it.

    By training: ``trainings`` has the answers, ``windows`` when it began, when the
    even traffic beside it ended, and when all after it had been scored, ``online`` who
    asked meanwhile.
    """

    plan: Plan
    since: datetime
    trainings: list[dict[str, Any]] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)
    online: list[Online] = field(default_factory=list)


def play(
    stack: Stack, warehouse: Warehouse, *, say: Say, cards: str | None = None
) -> None:
    """
    Play transactions and truths, train three times, and show what came of it.

    Args:
        stack: Running.
        warehouse: Of the stack.
        say: Told every line.
        cards: Real transactions; None for generated ones.

    Raises:
        LocalError: Something did not come through.
        CardsError: The file is not of card transactions.
    """
    began = time.monotonic()
    now = datetime.now(UTC)
    earlier = versions_before(stack)
    transactions = chosen(cards, now=now, seed=Cards.seed + earlier)
    plan = planned(transactions, now=now)
    say("\n" + told_start(plan, is_real=cards is not None))
    if earlier:
        say(told_earlier(earlier, is_real=cards is not None))
    played = Played(plan, since=now)
    demo = _Demo(stack, warehouse, played, say)
    with Producer(stack) as producer:
        demo.producer = producer
        demo.publish(plan.parts[0])
        demo.settle()
        for part in plan.parts[1:]:
            demo.train_under(part)
    evaluated = call(stack, "model_evaluation", {"use_case": USE_CASE})
    seconds = time.monotonic() - began
    show(warehouse, played, evaluated, seconds=seconds, say=say)


def versions_before(stack: Stack) -> int:
    """Return how many versions earlier runs in this state have left."""
    folder = stack.bucket_folder / "models" / USE_CASE
    return sum(1 for version in folder.glob("[0-9]*") if version.is_dir())


def told_earlier(versions: int, *, is_real: bool) -> str:
    """Say what an earlier run means for this one."""
    if is_real:
        return (
            f"Earlier runs in this state have left {versions} versions, which may have "
            "learned these very transactions: `make clean` forgets them"
        )
    return (
        f"Earlier runs in this state have left {versions} versions: they go on, and "
        "these are other transactions than theirs"
    )


def chosen(cards: str | None, *, now: datetime, seed: int) -> Transactions:
    """
    Return the transactions to play, over past days, under ids of this run.

    Args:
        cards: A file of real ones; None for generated ones.
        now: Ids begin with it.
        seed: Of those that are generated.
    """
    midnight = datetime(now.year, now.month, now.day, tzinfo=UTC)
    end = midnight - SINCE_LAST * DAY
    if cards is None:
        drawn = Cards(
            seed=seed,
            transactions=TRANSACTIONS,
            fraud_rate=FRAUD_RATE,
            days=DAYS,
            end=end,
        ).drawn
    else:
        drawn = read_cards(Path(cards).expanduser()).first(MAXIMUM_TRANSACTIONS)
        drawn = drawn.stretched(end - DAYS * DAY, end)
    return drawn.named(f"{now:%Y%m%d%H%M%S}-")


def told_start(plan: Plan, *, is_real: bool) -> str:
    """Say what will be played."""
    transactions = plan.transactions
    rows, frauds = len(transactions), int(transactions.is_fraud.sum())
    first, last = (moment_of(transactions, row).date() for row in (0, rows - 1))
    what = f"{rows:,} transactions, {frauds} of them fraud"
    if is_real:
        what = "; ".join(transactions.notes) + f".\nPlayed are {what}, stretched"
    return (
        f"Card fraud: {what} over {first} to {last}.\n"
        "Truths come hours or days later, some twice, some wrong first, some never"
    )


class _Demo:
    """The steps of the demo, and what they share."""

    producer: Producer

    def __init__(
        self, stack: Stack, warehouse: Warehouse, played: Played, say: Say
    ) -> None:
        self._stack = stack
        self._warehouse = warehouse
        self._played = played
        self._say = say
        self._sent: list[Delivery] = []

    def publish(self, deliveries: Sequence[Delivery]) -> None:
        """Publish at full speed."""
        self.producer.send(deliveries)
        self.producer.flush()
        self._sent += deliveries

    def settle(self) -> None:
        """
        Wait until all that was sent is stored, scored or a dead letter.

        Raises:
            LocalError: It takes too long.
        """
        wanted = Counts.of(self._sent)
        window = window_of(self._played)
        deadline = time.monotonic() + SETTLE_S
        total = wanted.transactions + wanted.truths + wanted.broken
        with bar("handled", total=total, unit=" messages") as counted:
            while True:
                [row] = self._warehouse.rows(statement("card_counts"), window)
                stored, truths = row["stored_rows"], row["truths"]
                handled = min(stored + truths + row["dead_letters"], total)
                counted.update(handled - counted.n)
                if (
                    stored >= wanted.transactions
                    and truths >= wanted.truths
                    and row["dead_letters"] >= wanted.broken
                    and row["scored"] >= wanted.distinct
                ):
                    return
                if time.monotonic() > deadline:
                    raise LocalError(
                        f"after {SETTLE_S:.0f} s {stored:,} of {wanted.transactions:,} "
                        f"transactions are stored and {row['scored']:,} of "
                        f"{wanted.distinct:,} scored, {truths:,} of {wanted.truths:,} "
                        f"truths, and {row['dead_letters']:,} of {wanted.broken:,} "
                        "broken messages are dead letters"
                    )
                time.sleep(POLL_S)

    def _trained(self) -> dict[str, Any]:
        # As of today: what was scored today is read, of events before it.
        return call(
            self._stack, "model_training", {"use_case": USE_CASE, "force": True}
        )

    def _tell(self, trained: dict[str, Any]) -> None:
        self._played.trainings.append(trained)
        parts = [Counts.of(part) for part in self._played.plan.parts]
        done = len(self._played.trainings)
        sent = sum(one.distinct for one in parts[:done])
        told = sum(one.truths for one in parts[:done])
        stop = self._played.plan.stops[done - 1]
        self._say(told_training(trained, stop=stop, sent=sent, truths=told))

    def train_under(self, part: Sequence[Delivery]) -> None:
        """Train while the next part is sent, with online requests beside it."""
        began = datetime.now(UTC)
        online = self._online()
        with contextlib.ExitStack() as leaving:
            if online is not None:
                self._played.online.append(online)
                online.start()
                leaving.callback(online.stop)
            executor = leaving.enter_context(ThreadPoolExecutor(1))
            training = executor.submit(self._trained)
            with step("sending while a model is trained"):
                paced = self._paced(part, training)
            self._tell(training.result())
            paced_until = datetime.now(UTC)
            self.publish(part[paced:])
            self.settle()
        self._played.windows.append(Window(began, paced_until, datetime.now(UTC)))

    def _paced(self, part: Sequence[Delivery], training: Future[Any]) -> int:
        """
        Send evenly until what was trained serves; return how many were sent.

        While training lasts no more than a share is sent, so that the new version gets
        the rest.
        """
        sent, due, before = 0, 0.0, time.monotonic()
        while sent < len(part):
            is_trained = training.done()
            if is_trained and self._serves(training.result()):
                break
            limit = len(part) * (1.0 if is_trained else PACED_SHARE)
            now = time.monotonic()
            due = min(due + PACE * (now - before), limit)
            before = now
            self.producer.send(part[sent : int(due)])
            self._sent += part[sent : int(due)]
            sent = int(due)
            time.sleep(PAUSE_S)
        return sent

    def _serves(self, trained: Mapping[str, Any]) -> bool:
        """Say whether a version has scored a transaction, or never will."""
        if not trained["promoted"]:
            return True
        [row] = self._warehouse.rows(statement("card_counts"), window_of(self._played))
        newest: int | None = row["newest_version"]
        return newest is not None and newest >= trained["model_version"]

    def _online(self) -> Online | None:
        """Return who asks the function ``score``, None where that does not run."""
        if not any(one.target == "score" for one in self._stack.functions):
            return None
        events = itertools.islice(self._played.plan.transactions.events(), 200)
        # As the original sends them: numbers as text.
        payloads = [{name: repr(event[name]) for name in FEATURES} for event in events]
        return Online(self._stack.url("score"), payloads)


def window_of(played: Played) -> dict[str, Any]:
    """Return the parameters of statements about what was sent."""
    prefix, _, _ = played.plan.transactions.ids[0].rpartition("-")
    return {
        "use_case": USE_CASE,
        "since": played.since,
        "since_day": played.since.date(),
        "prefix": f"{prefix}-",
    }


# The result --------------------------------------------------------------------------


def show(
    warehouse: Warehouse,
    played: Played,
    evaluated: Mapping[str, Any],
    *,
    seconds: float,
    say: Say,
) -> None:
    """Print what was sent, what each version is worth, and how versions changed."""
    window = window_of(played)
    [counts] = warehouse.rows(statement("card_counts"), window)
    scores = warehouse.table(
        statement("first_scores"),
        {
            **{name: window[name] for name in ("use_case", "since_day", "prefix")},
            "as_of": datetime.now(UTC).date(),
            "since": moment_of(played.plan.transactions, 0).date(),
        },
    ).to_pylist()
    reasons = warehouse.rows(
        statement("dead_letter_reasons"),
        {name: window[name] for name in ("since", "since_day")},
    )
    why = ", ".join(f"{row['messages']} {row['reason']}" for row in reasons)
    say("\n" + told_messages(played.plan, dict(counts.items()), scores, why, seconds))
    figures = by_version(
        scores,
        played.plan.transactions,
        review_cost=warehouse.settings.alert_review_cost,
    )
    say("\n" + version_table(figures, played.trainings))
    say(told_optimum(played.plan.transactions))
    first, last = (moment_of(played.plan.transactions, row).date() for row in (0, -1))
    days = [row for row in evaluated["weeks"] if str(first) <= row["week"] <= str(last)]
    say("\n" + day_table(days))
    for number, trained in enumerate(played.trainings):
        say("\n" + told_switch(trained, scores, played.windows[number]))
        if played.online:
            say(f"  {played.online[number].told}")


def told_messages(
    plan: Plan,
    counts: Mapping[str, int],
    scores: Sequence[Mapping[str, Any]],
    reasons: str,
    seconds: float,
) -> str:
    """Return lines on what was sent and what came of it."""
    sent = Counts.of([*plan.deliveries])
    known = sum(row["label"] is not None for row in scores)
    conflicting = sum(row["is_conflicting"] for row in scores)
    return (
        f"{sent.transactions:>9,} transactions sent, {counts['stored_rows']:,} stored, "
        f"{counts['stored_rows'] - counts['events']:,} of them duplicates\n"
        f"{counts['events']:>9,} distinct ones, {len(scores):,} through the scorer\n"
        f"{counts['dead_letters']:>9,} dead letters: {reasons}\n"
        f"{sent.truths:>9,} truths sent, {counts['truths']:,} stored: of {known:,} "
        f"transactions the truth is known, of {conflicting:,} it was told both ways,\n"
        f"          of {len(scores) - known:,} nobody has told\n"
        f"{seconds:>9,.0f} s for all of it, trainings included"
    )


def by_version(
    scores: Sequence[Mapping[str, Any]],
    transactions: Transactions,
    *,
    review_cost: float,
) -> list[dict[str, Any]]:
    """
    Return figures of every version that scored first, on transactions of known truth.

    Args:
        scores: Rows of ``first_scores.sql``.
        transactions: All of them, by which the optimum of the same rows is known.
        review_cost: Of one alert.

    Returns:
        By version, -1 for none: ``scored``, ``known``, ``frauds``, ``roc_auc``,
        ``pr_auc``, ``optimum``, ``alerts``. Areas are None where all known rows are of
        one class, or where nothing gave scores.
    """
    place = {transaction: row for row, transaction in enumerate(transactions.ids)}
    found = []
    for version in sorted({row["model_version"] for row in scores}):
        mine = [row for row in scores if row["model_version"] == version]
        known = [row for row in mine if row["label"] is not None]
        chosen_rows = np.array([place[row["event_id"]] for row in known], dtype=int)
        is_mine = np.zeros(len(transactions), bool)
        is_mine[chosen_rows] = True
        entry: dict[str, Any] = {
            "version": version,
            "scored": len(mine),
            "known": len(known),
            "frauds": sum(row["label"] == 1 for row in known),
            "roc_auc": None,
            "pr_auc": None,
            "optimum": transactions.optimum_roc_auc(is_mine),
            "alerts": [],
        }
        if known and all(row["score"] is not None for row in known):
            score = np.array([row["score"] for row in known], dtype=float)
            label = np.array([row["label"] for row in known])
            observed = metrics.outcomes(score, label)
            entry["roc_auc"] = metrics.roc_auc(observed)
            entry["pr_auc"] = metrics.pr_auc(observed)
            entry["alerts"] = metrics.alerts(
                score,
                label,
                transactions.amounts[chosen_rows],
                review_cost=review_cost,
                rates=ALERTS,
            )
        found.append(entry)
    return found


def version_table(
    figures: Sequence[Mapping[str, Any]], trainings: Sequence[Mapping[str, Any]]
) -> str:
    """Return figures by version as a table; one that there is none of is a dash."""
    algorithm = {one["model_version"]: one["algorithm"] for one in trainings}
    rates = [f"caught by {rate:.0%}" for rate in ALERTS]
    cells = [
        [
            *("version", "algorithm", "scored", "truth known", "frauds"),
            *("ROC AUC", "optimum", "PR AUC", *rates, "saved"),
        ]
    ]
    for row in figures:
        alerts = row["alerts"] or [{}] * len(ALERTS)
        best = alerts[-1]
        saved = (
            None
            if best.get("cost") is None
            else 1 - best["cost"] / max(best["cost_without"], 1e-9)
        )
        cells.append(
            [
                str(row["version"]),
                algorithm.get(row["version"], "-" if row["version"] < 0 else "earlier"),
                *(f"{row[name]:,}" for name in ("scored", "known", "frauds")),
                *(shown(row[name]) for name in ("roc_auc", "optimum", "pr_auc")),
                *(shown(one.get("recall"), "{:.0%}") for one in alerts),
                shown(saved, "{:.0%}"),
            ]
        )
    return aligned(cells)


def shown(figure: float | None, form: str = "{:.3f}") -> str:
    """Return a figure, or a dash where there is none."""
    return "-" if figure is None else form.format(figure)


def told_optimum(transactions: Transactions) -> str:
    """Return a line on how well anything can rank these transactions."""
    optimum = transactions.optimum_roc_auc()
    if optimum is None:
        return (
            "(of real transactions nobody knows the optimum; a slice of one class has "
            "no ROC AUC)"
        )
    return (
        "(the optimum is the ROC AUC of the true probabilities, which the generator "
        f"knows: {optimum:.3f} over all transactions)"
    )


def told_training(
    answer: Mapping[str, Any], *, stop: datetime, sent: int, truths: int
) -> str:
    """Return lines on a training."""
    area = answer["holdout"]["roc_auc"]
    measured = "no ROC AUC: one class" if area is None else f"ROC AUC {area:.3f}"
    fate = "champion" if answer["promoted"] else "kept aside"
    return (
        f"{stop:%Y-%m-%d %H:%M}  {sent:,} transactions and {truths:,} truths are in\n"
        f"                  train     version {answer['model_version']} "
        f"({answer['algorithm']}), {measured} on the holdout; {fate}: "
        f"{answer['verdict']}"
    )


def day_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return what 03 says of every day and version, as a table."""
    names = {
        "day": "week",
        "version": "model_version",
        "truth known": "users",
        "frauds": "conversions",
        "ROC AUC": "roc_auc",
        "PR AUC": "pr_auc",
        "unknown": "unknown_outcomes",
        "told both ways": "conflicting_outcomes",
        "outcome": "outcome",
        "status": "status",
    }
    cells = [list(names)]
    for row in rows:
        if not row.get("is_shadow"):
            values = (row.get(name) for name in names.values())
            cells.append([_cell(value) for value in values])
    return "As 03-ModelEvaluation has it, each score as it was given:\n" + aligned(
        cells
    )


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    return "-" if value is None else str(value)


def told_switch(
    trained: Mapping[str, Any], scores: Sequence[Mapping[str, Any]], window: Window
) -> str:
    """Return lines on which versions scored while a new one was trained, and after."""
    rows = sorted(
        (row for row in scores if window.began <= row["scored_at"] <= window.ended),
        key=lambda row: row["scored_at"],
    )
    counts = Counter(row["model_version"] for row in rows)
    versions = ", then ".join(f"{count:,} by {one}" for one, count in counts.items())
    waits = [
        row["latency_ms"]
        for row in rows
        if row["scored_at"] <= window.paced_until and row["latency_ms"] is not None
    ]
    median = f"{np.median(waits):.0f} ms" if waits else "-"
    return (
        f"Version {trained['model_version']} was trained under traffic. Transactions "
        f"scored by version: {versions or 'none'}\n"
        f"  from ingestion to score {median} at the median while they came evenly"
    )


# The command line --------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the fraud part alone; return the exit status."""
    parser = argparse.ArgumentParser("python -m local.cards_demo")
    parser.add_argument("--cards", help="Parquet or CSV; generated without")
    parser.add_argument("--state", default="cards", help="name of the local state")
    given = parser.parse_args(arguments)
    try:
        with (
            Progress(),
            Stack(State(given.state), options=Options(), say=say) as stack,
        ):
            warehouse = Warehouse.open(Settings.from_environment(stack.environment))
            with contextlib.closing(warehouse):
                play(stack, warehouse, say=say, cards=given.cards)
    except (LocalError, CardsError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
