"""
The fraud part of the demo: card transactions, their delayed truth, new versions.

What a producer would have sent over some past days is published in order, transactions
and truths. A training begins after each part, and the next part is sent meanwhile, so
that each version takes over under traffic.
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

from local.demos.calls import Producer, call, table, training_text
from local.errors import LocalError
from local.generators.card_files import read_cards
from local.generators.cards import Cards
from local.generators.drawing import moment
from local.generators.messages import Delivery
from local.generators.transactions import USE_CASE, Transactions
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
POLL_S, SETTLE_S = 2.0, 300.0
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
        return {
            "use_case": USE_CASE,
            "since": self.since,
            "since_day": self.since.date(),
            "prefix": self.transactions.ids[0].rpartition("-")[0] + "-",
        }

    def send(self, producer: Producer, deliveries: Sequence[Delivery]) -> None:
        """Publish messages that a producer takes just now, days after they happened."""
        for delivery in deliveries:
            data = stamped(delivery.data, datetime.now(UTC))
            producer.send(data, delivery.attributes)
        producer.flush()
        self.sent += deliveries


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
    first_day, last_day = (
        moment(int(transactions.time_ms[row])).date() for row in (0, -1)
    )
    if cards:
        yield "\n" + "; ".join(transactions.notes) + ", stretched."
    yield (
        f"\nCard fraud: {len(transactions):,} transactions over {first_day} to "
        f"{last_day}, {transactions.is_fraud.sum()} of them fraud.\n"
        "Truths come hours or days later, some twice, some wrong first, some never"
    )
    first, *parts = planned(transactions, now=now)
    with Producer(stack) as producer:
        played.send(producer, first)
        settle(warehouse, played)
        for part in parts:
            with ThreadPoolExecutor(1) as executor:
                # As of today: of events before it, also those that were scored today.
                body = {"use_case": USE_CASE, "force": True}
                training = executor.submit(call, stack, "model_training", body)
                n_sent = 0
                while not training.done() and n_sent < len(part):
                    played.send(producer, part[n_sent : n_sent + PACE])
                    n_sent += PACE
                    time.sleep(1)
                trained = training.result()
            played.trainings.append(trained)
            yield training_text(trained)
            played.send(producer, part[n_sent:])
            settle(warehouse, played)
    evaluated = call(stack, "model_evaluation", {"use_case": USE_CASE})
    counts = counted(warehouse, played)
    window = {name: played.window[name] for name in ("use_case", "since_day", "prefix")}
    scores = warehouse.table(
        statement("first_scores", own=SQL),
        {**window, "as_of": datetime.now(UTC).date(), "since": first_day},
    ).to_pylist()
    yield (
        f"{counts['stored_rows']:,} transactions stored, "
        f"{counts['stored_rows'] - counts['events']:,} of them duplicates; "
        f"{counts['truths']:,} truths; {counts['dead_letters']:,} dead letters; "
        f"{len(scores):,} scored\n"
    )
    review_cost = warehouse.settings.alert_review_cost
    trainings = played.trainings
    yield table(COLUMNS, by_version(scores, transactions, trainings, review_cost))
    if not cards:
        yield "(best possible: by the true probabilities, which the generator knows)"
    if verbose:
        days = [row for row in evaluated["weeks"] if row["week"] >= str(first_day)]
        yield "\nBy day, as 03-ModelEvaluation has it:"
        yield table(DAY_COLUMNS, days)
        waits = [row["latency_ms"] for row in scores if row["latency_ms"] is not None]
        yield f"{np.median(waits or [0]):.0f} ms from ingestion to score at the median"


def chosen(cards: str | None, *, now: datetime, seed: int) -> Transactions:
    """
    Return the transactions to play, over past days, under ids of this run.

    Args:
        cards: A file of real ones; None for generated ones.
        now: Ids begin with it.
        seed: Of those that are generated.
    """
    end = midnight(now.date()) - SINCE_LAST * DAY
    if cards:
        drawn = read_cards(Path(cards).expanduser()).first(MAXIMUM_TRANSACTIONS)
        drawn = drawn.stretched(end - DAYS * DAY, end)
    else:
        drawn = Cards(
            seed=seed,
            transactions=TRANSACTIONS,
            fraud_rate=FRAUD_RATE,
            days=DAYS,
            end=end,
        ).drawn
    return drawn.named(f"{now:%Y%m%d%H%M%S}-")


def planned(transactions: Transactions, *, now: datetime) -> list[list[Delivery]]:
    """
    Return what a producer sends, in order, in parts of as many transactions each.

    Args:
        transactions: In order of time.
        now: Truths that are found out later are not sent.
    """
    truths = transactions.truths().deliveries()
    sent = transactions.deliveries()
    sent += [truth for truth in truths if truth.sent_time < now]
    sent.sort(key=lambda delivery: delivery.sent_time)
    times = [delivery.sent_time for delivery in sent]
    rows = [len(transactions) * part // PARTS for part in range(1, PARTS)]
    stops = [moment(int(transactions.time_ms[row])) for row in rows]
    bounds = [0, *(sum(time < stop for time in times) for stop in stops), len(sent)]
    return [sent[a:b] for a, b in zip(bounds, bounds[1:], strict=False)]


def stamped(data: bytes, now: datetime) -> bytes:
    """Return a payload with ``ingest_ts`` of now, where it has one."""
    try:
        payload = json.loads(data)
    except ValueError:
        return data
    if isinstance(payload, dict) and "ingest_ts" in payload:
        payload["ingest_ts"] = now.isoformat()
        return json.dumps(payload).encode()
    return data


def counts_of(deliveries: Sequence[Delivery]) -> dict[str, int]:
    """Count messages by the columns of ``card_counts.sql``, as they will be stored."""
    events = [one.event for one in deliveries if one.event is not None]
    transactions = [event for event in events if "is_fraud" not in event]
    return {
        "stored_rows": len(transactions),
        "truths": len(events) - len(transactions),
        "dead_letters": len(deliveries) - len(events),
        "scored": len({event["transaction_id"] for event in transactions}),
    }


def counted(warehouse: Warehouse, played: Played) -> dict[str, int]:
    """Return what has come of what was sent."""
    [row] = warehouse.rows(statement("card_counts", own=SQL), played.window)
    return dict(row.items())


def settle(warehouse: Warehouse, played: Played) -> None:
    """
    Wait until all that was sent is stored, scored or a dead letter.

    Raises:
        LocalError: It takes too long.
    """
    expected = counts_of(played.sent)
    deadline = time.monotonic() + SETTLE_S
    while True:
        counts = counted(warehouse, played)
        missing = {name: n - counts[name] for name, n in expected.items()}
        if max(missing.values()) <= 0:
            return
        if time.monotonic() > deadline:
            raise LocalError(f"after {SETTLE_S:.0f} s these are missing: {missing}")
        time.sleep(POLL_S)


def by_version(
    scores: Sequence[Mapping[str, Any]],
    transactions: Transactions,
    trainings: Sequence[Mapping[str, Any]],
    review_cost: float,
) -> list[dict[str, Any]]:
    """
    Return metrics of every version that scored, on transactions of known truth.

    Args:
        scores: Rows of ``first_scores.sql``.
        transactions: All of them; the best possible of the same rows is known by them.
        trainings: Their answers: algorithms, and thresholds of the cheapest alerts.
        review_cost: Of one alert.

    Returns:
        Rows of ``COLUMNS``. Version -1 is for none. Areas are missing where all known
        rows are of one class; alerts and what they save where there is no threshold.
    """
    place = {transaction: row for row, transaction in enumerate(transactions.ids)}
    trained = {training["model_version"]: training for training in trainings}
    counts = Counter(row["model_version"] for row in scores)
    rows = []
    for version, count in sorted(counts.items()):
        training = trained.get(version, {})
        known = [
            row
            for row in scores
            if row["model_version"] == version and row["label"] is not None
        ]
        label = np.array([row["label"] for row in known], dtype=int)
        score = np.array([row["score"] for row in known], dtype=float)
        where = np.array([place[row["event_id"]] for row in known], dtype=int)
        is_theirs = np.zeros(len(transactions), bool)
        is_theirs[where] = True
        entry: dict[str, Any] = {
            "version": version,
            "algorithm": training.get("algorithm"),
            "scored": count,
            "known": len(known),
            "frauds": int(label.sum()),
            "optimum": transactions.optimum_roc_auc(is_theirs),
        }
        rows.append(entry)
        if np.isnan(score).any() or not 0 < label.sum() < len(label):
            continue
        entry["roc_auc"] = roc_auc_score(label, score)
        entry["pr_auc"] = average_precision_score(label, score)
        threshold = training.get("cost", {}).get("alert_threshold")
        if threshold is not None:
            is_alert = score >= threshold
            is_caught = is_alert & (label == 1)
            entry["alerts"], entry["caught"] = int(is_alert.sum()), int(is_caught.sum())
            amount = float(transactions.amounts[where][is_caught].sum())
            entry["saved"] = amount - review_cost * entry["alerts"]
    return rows
