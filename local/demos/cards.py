"""
The fraud part of the demo: card transactions, their delayed truth, new versions.

What a producer would have sent over some past days is published in order, transactions
and truths. A training begins after each part, and the next part is sent meanwhile, so
that each version takes over under traffic.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score, roc_auc_score

from local.demos.calls import call, rows, send, settled, table, training_text
from local.generators.cards import DEFAULT_SEED, USE_CASE, Transactions, read_cards
from local.generators.cards import cards as drawn
from local.generators.streams import Delivery, moment
from local.place import Place
from propensity.gcp.warehouse import Warehouse
from propensity.streaming.cards.alerts import Stakes
from propensity.timeframe import DAY, midnight

TRANSACTIONS = 6_000
# The real rate is a sixth of a percent: measured, it would take far more transactions.
FRAUD_RATE = 0.03
DAYS = 8
# Days from the last transaction to now: by then truths are in, or never come.
SINCE_LAST = 8
# The last one comes while the last model is trained.
PARTS = 4
# Messages a second while a model is trained.
PACE = 60
COLUMNS = (
    ("version", "version", "{}"),
    ("algorithm", "algorithm", "{}"),
    ("scored", "scored", "{:,}"),
    ("truth known", "known", "{:,}"),
    ("frauds", "frauds", "{:,}"),
    ("ROC AUC", "roc_auc", "{:.3f}"),
    ("PR AUC", "pr_auc", "{:.3f}"),
    ("alerts", "alerts", "{:,}"),
    ("frauds caught", "caught", "{:,}"),
    ("saved", "saved", "{:,.0f}"),
)


def play(
    place: Place,
    warehouse: Warehouse,
    *,
    cards: Path | None = None,
    seed: int = DEFAULT_SEED,
) -> Iterator[str]:
    """
    Play transactions and truths, train under traffic, and yield the results.

    ``cards`` is a file of real transactions; without it they are generated, others by
    another seed.
    """
    now = datetime.now(UTC)
    end = midnight(now.date()) - SINCE_LAST * DAY
    if cards:
        history = read_cards(cards, start=end - DAYS * DAY, end=end)
    else:
        history = drawn(
            seed=seed,
            transactions=TRANSACTIONS,
            fraud_rate=FRAUD_RATE,
            days=DAYS,
            end=end,
        )
    transactions = replace(history, prefix=f"{now:%Y%m%d%H%M%S}-")
    first_day, last_day = (moment(int(history.time_ms[n])).date() for n in (0, -1))
    of_file = f" of {cards}, stretched" if cards else ""
    yield (
        f"\nCard fraud: {len(transactions):,} transactions{of_file} over {first_day} "
        f"to {last_day}, {transactions.is_fraud.sum()} of them fraud.\n"
        "Outcomes arrive hours or days later: some twice, some wrong first, some never"
    )
    trainings = []
    sent, *parts = planned(transactions, now=now)
    send(warehouse, sent)
    counts = settled(warehouse, USE_CASE, counts_of(sent), since=now)
    with ThreadPoolExecutor(1) as executor:
        for part in parts:
            # The training is as of today, and reads the events before today.
            body = {"use_case": USE_CASE, "force": True}
            training = executor.submit(call, place, "model_training", body)
            rest = part
            while rest and not training.done():
                send(warehouse, rest[:PACE])
                rest = rest[PACE:]
                time.sleep(1)
            trainings.append(training.result())
            yield training_text(trainings[-1])
            send(warehouse, rest)
            sent += part
            counts = settled(warehouse, USE_CASE, counts_of(sent), since=now)
    call(place, "model_evaluation", {"use_case": USE_CASE})
    scores = rows(
        warehouse,
        "first_scores",
        use_case=USE_CASE,
        prefix=transactions.prefix,
        since_day=now.date(),
        since=first_day,
        as_of=datetime.now(UTC).date(),
    )
    stored = counts["stored_rows"]
    yield (
        f"{stored:,} transactions stored, {stored - counts['events']:,} of them "
        f"duplicates; {counts['truths']:,} truths; {len(scores):,} scored\n"
    )
    review_cost = warehouse.settings.alert_review_cost
    yield table(COLUMNS, by_version(scores, transactions, trainings, review_cost))


def planned(transactions: Transactions, *, now: datetime) -> list[list[Delivery]]:
    """Return what a producer has sent by now, in parts of as many transactions each."""
    deliveries = transactions.deliveries()
    sent = [delivery for delivery in deliveries if delivery.sent_time < now]
    times = [delivery.sent_time for delivery in sent]
    rows = [len(transactions) * part // PARTS for part in range(1, PARTS)]
    stops = [moment(int(transactions.time_ms[row])) for row in rows]
    bounds = [0]
    for stop in stops:
        bounds.append(sum(time < stop for time in times))
    bounds.append(len(sent))
    return [sent[first:end] for first, end in pairwise(bounds)]


def counts_of(deliveries: Sequence[Delivery]) -> dict[str, int]:
    """Count messages by the columns of ``counts.sql``, as they will be stored."""
    events = [delivery.event for delivery in deliveries if delivery.event is not None]
    transactions = [event for event in events if "is_fraud" not in event]
    return {
        "stored_rows": len(transactions),
        "truths": len(events) - len(transactions),
        "scored": len({event["transaction_id"] for event in transactions}),
    }


def by_version(
    scores: Sequence[Mapping[str, Any]],
    transactions: Transactions,
    trainings: Sequence[Mapping[str, Any]],
    review_cost: float,
) -> list[dict[str, Any]]:
    """
    Return metrics of every version that scored, on transactions of known truth.

    Returns:
        Rows of ``COLUMNS``. Version -1 is for none. Areas are missing where all known
        rows are of one class; alerts and what they save where there is no threshold.
    """
    amounts = pd.DataFrame({"amount": transactions.amounts}, transactions.ids)
    columns = ["event_id", "model_version", "score", "label"]
    frame = pd.DataFrame(scores, columns=columns).set_index("event_id")
    frame = frame.join(amounts)
    trained = {training["model_version"]: training for training in trainings}
    rows = []
    for version, theirs in frame.groupby("model_version"):
        labelled = theirs.dropna(subset="label").astype({"label": int})
        training = trained.get(version, {})
        row: dict[str, Any] = {
            "version": version,
            "algorithm": training.get("algorithm"),
            "scored": len(theirs),
            "known": len(labelled),
            "frauds": labelled["label"].sum(),
        }
        rows.append(row)
        if labelled["label"].nunique() < 2 or labelled["score"].isna().any():
            continue
        row["roc_auc"] = roc_auc_score(labelled["label"], labelled["score"])
        row["pr_auc"] = average_precision_score(labelled["label"], labelled["score"])
        cost = training.get("cost")
        if cost:
            stakes = Stakes(
                is_fraud=labelled["label"].to_numpy() == 1,
                amount=labelled["amount"].to_numpy(),
                weight=np.ones(len(labelled)),
                review_cost=review_cost,
            )
            alerts = stakes.alerts(
                labelled["score"].to_numpy(), cost["alert_threshold"]
            )
            row["alerts"] = alerts.sum()
            row["caught"] = (alerts & stakes.is_fraud).sum()
            row["saved"] = stakes.gain[alerts].sum()
    return rows
