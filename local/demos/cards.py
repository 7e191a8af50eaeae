"""
The fraud part of the demo: card transactions, their delayed truth, new versions.

A simulated clock runs over some past days: what a producer has sent by then is
published, transactions and truths as they come. A training begins after each part, and
the next one is sent meanwhile, so that each version takes over under traffic.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from local.demos.calls import call, table
from local.demos.producer import Producer
from local.errors import LocalError
from local.generators.cards.cards import Cards
from local.generators.cards.files import read_cards
from local.generators.cards.transactions import USE_CASE, Transactions
from local.generators.delivery import Delivery
from local.generators.drawing import moment
from local.stack.stack import Stack
from propensity.gcp.warehouse import Warehouse
from propensity.statements import statement
from propensity.timeframe import midnight

SQL = resources.files(__package__)
DAY = timedelta(days=1)

TRANSACTIONS = 8_000
# The real rate is a sixth of a percent: measured, it would take far more transactions.
FRAUD_RATE = 0.03
# Of a real file the demo takes so many.
MAXIMUM_TRANSACTIONS = 12_000
DAYS = 8
# Days from the last transaction to now: by then truths are in, or never come.
SINCE_LAST = 8
# The last one comes while the last model is trained.
PARTS = 4
# Messages a second while a model is trained.
PACE = 60
POLL_S = 1.0
SETTLE_S = 300.0


@dataclass
class Played:
    """What was sent since when, and the answers of the trainings."""

    transactions: Transactions
    since: datetime
    sent: list[Delivery] = field(default_factory=list)
    trainings: list[dict[str, Any]] = field(default_factory=list)

    @property
    def window(self) -> dict[str, Any]:
        """The parameters of statements about what was sent."""
        prefix, _, _ = self.transactions.ids[0].rpartition("-")
        return {
            "use_case": USE_CASE,
            "since": self.since,
            "since_day": self.since.date(),
            "prefix": f"{prefix}-",
        }


def play(
    stack: Stack, warehouse: Warehouse, *, cards: str | None = None, verbose: bool
) -> Iterator[str]:
    """
    Play transactions and truths, train under traffic, and yield what came of it.

    Args:
        stack: Running.
        warehouse: Of the stack.
        cards: Real transactions; None for generated ones.
        verbose: Whether to print what 03-ModelEvaluation has of each day, too.

    Raises:
        LocalError: Something did not come through.
        CardsError: The file is not of card transactions.
    """
    now = datetime.now(UTC)
    # Versions of earlier runs in this state have learned from other transactions.
    versions = stack.bucket_folder / "models" / USE_CASE
    transactions = chosen(cards, now=now, seed=Cards.seed + len([*versions.glob("*")]))
    played = Played(transactions, since=now)
    yield ("\n" + start_text(transactions, is_real=cards is not None))
    first, *parts = planned(transactions, now=now)
    with Producer(stack) as producer:
        _send(producer, played, first)
        settle(warehouse, played)
        for part in parts:
            with ThreadPoolExecutor(1) as executor:
                # As of today: of events before it, also those that were scored today.
                body = {"use_case": USE_CASE, "force": True}
                training = executor.submit(call, stack, "model_training", body)
                n_sent = 0
                while not training.done() and n_sent < len(part):
                    _send(producer, played, part[n_sent : n_sent + PACE])
                    n_sent += PACE
                    time.sleep(1)
                trained = training.result()
            played.trainings.append(trained)
            yield (training_text(trained))
            _send(producer, played, part[n_sent:])
            settle(warehouse, played)
    evaluated = call(stack, "model_evaluation", {"use_case": USE_CASE})
    yield from _figures(warehouse, played, evaluated, verbose=verbose)


def chosen(cards: str | None, *, now: datetime, seed: int) -> Transactions:
    """
    Return the transactions to play, over past days, under ids of this run.

    Args:
        cards: A file of real ones; None for generated ones.
        now: Ids begin with it.
        seed: Of those that are generated.
    """
    end = midnight(now.date()) - SINCE_LAST * DAY
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


def planned(transactions: Transactions, *, now: datetime) -> list[list[Delivery]]:
    """
    Return what a producer sends, in order, in parts of as many transactions each.

    Args:
        transactions: In order of time.
        now: Truths that are found out later are not sent.
    """
    truths = transactions.truths().deliveries()
    sent = [
        *transactions.deliveries(),
        *(truth for truth in truths if truth.sent_time < now),
    ]
    sent.sort(key=lambda delivery: delivery.sent_time)
    times = [delivery.sent_time for delivery in sent]
    rows = [len(transactions) * part // PARTS for part in range(1, PARTS)]
    stops = [moment(int(transactions.time_ms[row])) for row in rows]
    bounds = [0, *(sum(time < stop for time in times) for stop in stops), len(sent)]
    return [sent[a:b] for a, b in zip(bounds, bounds[1:], strict=False)]


def start_text(transactions: Transactions, *, is_real: bool) -> str:
    """Return lines on what is played."""
    rows, frauds = len(transactions), int(transactions.is_fraud.sum())
    first, last = (moment(int(transactions.time_ms[n])).date() for n in (0, -1))
    notes = "; ".join(transactions.notes) + ", stretched.\n" if is_real else ""
    return (
        f"{notes}Card fraud: {rows:,} transactions, {frauds} of them fraud, over "
        f"{first} to {last}.\nTruths come hours or days later, some twice, some wrong "
        "first, some never"
    )


def training_text(answer: Mapping[str, Any]) -> str:
    """Return a line on a training."""
    area = answer["holdout"]["roc_auc"]
    measured = "no ROC AUC: one class" if area is None else f"ROC AUC {area:.3f}"
    fate = "champion" if answer["promoted"] else "kept aside"
    # The figures behind it are on the version's page.
    reason = answer["verdict"].partition(":")[0]
    return (
        f"{answer['as_of']}  train     version {answer['model_version']} "
        f"({answer['algorithm']}), {measured} on the holdout; {fate}: "
        f"{reason}"
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


def _send(producer: Producer, played: Played, deliveries: Sequence[Delivery]) -> None:
    for delivery in deliveries:
        data = stamped(delivery.data, datetime.now(UTC))
        producer.send(data, delivery.attributes)
    producer.flush()
    played.sent += deliveries


def is_truth(delivery: Delivery) -> bool:
    """Whether a message is the truth of a transaction; False for a broken one."""
    return delivery.event is not None and "is_fraud" in delivery.event


def counts_of(deliveries: Sequence[Delivery]) -> dict[str, int]:
    """Count messages by the columns of ``card_counts.sql``, as they will be stored."""
    events = [one.event for one in deliveries if one.event is not None]
    truths = sum(map(is_truth, deliveries))
    ids = {event["transaction_id"] for event in events if "is_fraud" not in event}
    return {
        "stored_rows": len(events) - truths,
        "truths": truths,
        "dead_letters": len(deliveries) - len(events),
        "scored": len(ids),
    }


def settle(warehouse: Warehouse, played: Played) -> None:
    """
    Wait until all that was sent is stored, scored or a dead letter.

    Raises:
        LocalError: It takes too long.
    """
    expected = counts_of(played.sent)
    deadline = time.monotonic() + SETTLE_S
    while True:
        [row] = warehouse.rows(statement("card_counts", own=SQL), played.window)
        missing = {
            name: count - row[name]
            for name, count in expected.items()
            if row[name] < count
        }
        if not missing:
            return
        if time.monotonic() > deadline:
            raise LocalError(f"after {SETTLE_S:.0f} s there still lack {missing}")
        time.sleep(POLL_S)


def _figures(
    warehouse: Warehouse,
    played: Played,
    evaluated: Mapping[str, Any],
    *,
    verbose: bool,
) -> Iterator[str]:
    window = played.window
    [counts] = warehouse.rows(statement("card_counts", own=SQL), window)
    first = moment(int(played.transactions.time_ms[0])).date()
    scores = warehouse.table(
        statement("first_scores", own=SQL),
        {
            **{name: window[name] for name in ("use_case", "since_day", "prefix")},
            "as_of": datetime.now(UTC).date(),
            "since": first,
        },
    ).to_pylist()
    yield (
        f"{counts['stored_rows']:,} transactions stored, "
        f"{counts['stored_rows'] - counts['events']:,} of them duplicates; "
        f"{counts['truths']:,} truths; {counts['dead_letters']:,} dead letters; "
        f"{len(scores):,} scored\n"
    )
    figures = by_version(
        scores,
        played.transactions,
        trainings=played.trainings,
        review_cost=warehouse.settings.alert_review_cost,
    )
    yield (table(COLUMNS, figures))
    if played.transactions.true_probabilities is not None:
        yield ("(best possible: by the true probabilities, which the generator knows)")
    if verbose:
        days = [row for row in evaluated["weeks"] if row["week"] >= str(first)]
        yield ("\nBy day, as 03-ModelEvaluation has it:")
        yield (table(DAY_COLUMNS, days))
        waits = [row["latency_ms"] for row in scores if row["latency_ms"] is not None]
        if waits:
            yield (f"{np.median(waits):.0f} ms from ingestion to score at the median")


COLUMNS = (
    ("version", "version", "{}"),
    ("algorithm", "algorithm", "{}"),
    ("scored", "scored", "{:,}"),
    ("truth known", "known", "{:,}"),
    ("frauds", "frauds", "{:,}"),
    ("ROC AUC", "roc_auc", "{:.3f}"),
    ("best possible", "optimum", "{:.3f}"),
    ("PR AUC", "pr_auc", "{:.3f}"),
    ("alerts", "alerts", "{:,}"),
    ("frauds caught", "caught", "{:,}"),
    ("saved", "saved", "{:,.0f}"),
)
DAY_COLUMNS = (
    ("day", "week", "{}"),
    ("version", "model_version", "{}"),
    ("truth known", "users", "{:,}"),
    ("frauds", "conversions", "{:,}"),
    ("ROC AUC", "roc_auc", "{:.3f}"),
    ("PR AUC", "pr_auc", "{:.3f}"),
    ("unknown", "unknown_outcomes", "{:,}"),
    ("conflicting", "conflicting_outcomes", "{:,}"),
    ("outcome", "outcome", "{}"),
    ("status", "status", "{}"),
)


def by_version(
    scores: Sequence[Mapping[str, Any]],
    transactions: Transactions,
    *,
    trainings: Sequence[Mapping[str, Any]],
    review_cost: float,
) -> list[dict[str, Any]]:
    """
    Return figures of every version that scored first, on transactions of known truth.

    Args:
        scores: Rows of ``first_scores.sql``.
        transactions: All of them, by which the optimum of the same rows is known.
        trainings: Their answers: algorithms, and thresholds from which alerts are
            cheapest.
        review_cost: Of one alert.

    Returns:
        Rows of ``COLUMNS``. Version -1 is for none. Areas are missing where all known
        rows are of one class; alerts and what they save where there is no threshold.
    """
    place = {transaction: row for row, transaction in enumerate(transactions.ids)}
    trained = {training["model_version"]: training for training in trainings}
    rows = []
    for version, count in sorted(
        Counter(row["model_version"] for row in scores).items()
    ):
        known = [
            row
            for row in scores
            if row["model_version"] == version and row["label"] is not None
        ]
        label = np.array([row["label"] for row in known], dtype=int)
        chosen_rows = np.array([place[row["event_id"]] for row in known], dtype=int)
        is_mine = np.zeros(len(transactions), bool)
        is_mine[chosen_rows] = True
        entry: dict[str, Any] = {
            "version": version,
            "algorithm": trained.get(version, {}).get("algorithm"),
            "scored": count,
            "known": len(known),
            "frauds": int(label.sum()),
            "optimum": transactions.optimum_roc_auc(is_mine),
        }
        rows.append(entry)
        if any(row["score"] is None for row in known) or len(set(label.tolist())) < 2:  # noqa: PLR2004
            continue
        score = np.array([row["score"] for row in known], dtype=float)
        entry["roc_auc"] = roc_auc_score(label, score)
        entry["pr_auc"] = average_precision_score(label, score)
        threshold = trained.get(version, {}).get("cost", {}).get("alert_threshold")
        if threshold is not None:
            is_alert = score >= threshold
            is_caught = is_alert & (label == 1)
            entry["alerts"], entry["caught"] = int(is_alert.sum()), int(is_caught.sum())
            amount = float(transactions.amounts[chosen_rows][is_caught].sum())
            entry["saved"] = amount - review_cost * entry["alerts"]
    return rows
