"""
The stream's part of the demo: play a gaming operator's events, and show the result.

The generator publishes as a producer does, with duplicates, late and broken messages;
Pub/Sub pushes them to the function. What is printed is read from BigQuery.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from importlib import resources
from typing import Any

from sklearn.metrics import roc_auc_score

from local.demos.calls import TIMEOUT_S, Producer, call, table
from local.errors import LocalError
from local.generators.games import USE_CASE, Games
from local.generators.messages import Delivery
from local.generators.players import postcodes
from local.stack.stack import Stack
from offline import load_postcodes
from propensity.gcp.warehouse import Warehouse
from propensity.statements import statement

SQL = resources.files(__package__)
USERS, MAXIMUM_EVENTS = 300, 40
POLL_S = 2.0
# Scoring is over once this long no score has come; the first one loads the model.
QUIET_S, FIRST_SCORE_S = 4.0, 60.0
COLUMNS = (
    ("of one player", "measure", "{}"),
    ("count", "count", "{}"),
    ("sum", "sum", "{}"),
    ("mean", "mean", "{:f}"),
    ("variance", "var", "{:f}"),
)


def play(stack: Stack, warehouse: Warehouse, *, verbose: bool) -> Iterator[str]:
    """
    Publish a generated stream, wait until it is stored, and yield what came of it.

    Raises:
        LocalError: It did not come through.
    """
    games = Games(users=USERS, maximum_events=MAXIMUM_EVENTS)
    load_postcodes.load(warehouse, postcodes(), loaded_on=datetime.now(UTC).date())
    deliveries = games.deliveries()
    yield (
        f"\nStreaming {len(deliveries):,} messages of {USERS} players, 10% of them "
        "duplicates, 5% late by days, 1% broken …"
    )
    began, since = time.monotonic(), datetime.now(UTC)
    window = {"since": since, "since_day": since.date()}
    with Producer(stack) as producer:
        for delivery in deliveries:
            producer.send(delivery.data, delivery.attributes)
        producer.flush()
    counts = settled(warehouse, deliveries, window)
    yield (
        f"{counts['stored_rows']:,} stored, "
        f"{counts['stored_rows'] - counts['events']:,} of them duplicates; "
        f"{counts['dead_letters']:,} dead letters; {counts['scores']:,} scores; "
        f"{time.monotonic() - began:.0f} s from the first message to the last score"
    )
    if verbose:
        for row in warehouse.rows(statement("dead_letter_reasons", own=SQL), window):
            yield f"{row['messages']:>6,} dead letters: {row['reason']}"
    compacted = call(stack, "compact_features", {})
    yield (
        f"compacted {len(compacted['days'])} days; "
        f"{compacted['exported_days']['stream_events']} days exported to Parquet"
    )
    streamed = features(warehouse, "streamed_features")
    clean = features(
        warehouse,
        "stream_features_as_of",
        # Events may be dated some minutes ahead of the clock.
        as_of=datetime.now(UTC) + timedelta(days=1),
        earliest=date(1970, 1, 1),
    )
    users = streamed.keys() | clean.keys()
    differing = sum(streamed.get(user) != clean.get(user) for user in users)
    yield (
        f"features of {len(users):,} users against a clean computation over all "
        f"events: {differing} differ\n"
    )
    yield player_table(streamed)
    yield scores_text(warehouse, games.labels(), since=since.date())


def settled(
    warehouse: Warehouse, sent: Sequence[Delivery], window: Mapping[str, Any]
) -> Mapping[str, int]:
    """
    Wait until everything has come through; return the counts.

    Raises:
        LocalError: It takes too long.
    """
    accepted = sum(delivery.event is not None for delivery in sent)
    broken = len(sent) - accepted
    deadline = time.monotonic() + TIMEOUT_S
    scores, quiet_since = -1, time.monotonic()
    while True:
        [row] = warehouse.rows(statement("stream_counts", own=SQL), window)
        now = time.monotonic()
        if row["scores"] != scores:
            scores, quiet_since = row["scores"], now
        is_stored = row["stored_rows"] >= accepted and row["dead_letters"] >= broken
        enough_s = QUIET_S if scores > 0 else FIRST_SCORE_S
        if is_stored and now - quiet_since >= enough_s:
            return dict(row.items())
        if now > deadline:
            raise LocalError(
                f"after {TIMEOUT_S:.0f} s {row['stored_rows']:,} of {accepted:,} "
                f"messages are stored and {row['dead_letters']:,} of {broken:,} are "
                "dead letters"
            )
        time.sleep(POLL_S)


def features(warehouse: Warehouse, name: str, **parameters: Any) -> dict[str, Any]:
    """Return the row of each user that a statement gives."""
    text = statement(name, own=SQL)
    rows = warehouse.rows(text, {"use_case": USE_CASE, **parameters})
    return {row["user_id"]: dict(row.items()) for row in rows}


def player_table(streamed: Mapping[str, Any]) -> str:
    """Return the measures of a player who has won, from the view of features."""
    player = max(
        streamed.values(), key=lambda row: (row["win_count"] >= 2, row["user_id"])
    )
    figures = ("count", "sum", "mean", "var")
    rows = [
        {"measure": m, **{n: player[f"{m}_{n}"] for n in figures}}
        for m in ("purchase", "bet", "win")
    ]
    return table(COLUMNS, rows)


def scores_text(warehouse: Warehouse, labels: Mapping[str, int], *, since: date) -> str:
    """Return a line on the churn scores of the first day against the outcomes."""
    text = statement("newest_scores", own=SQL)
    rows = warehouse.rows(text, {"use_case": USE_CASE, "since_day": since})
    scored = {row["user_id"]: row for row in rows if row["user_id"] in labels}
    truth = [labels[user] for user in scored]
    if len(set(truth)) < 2:
        return "No model has scored the stream: both outcomes are needed to compare."
    area = roc_auc_score(truth, [row["probability"] for row in scored.values()])
    version = max(row["model_version"] for row in scored.values())
    return (
        f"Churn, predicted on the first day by version {version}: {len(scored):,} "
        f"players scored, ROC AUC {area:.3f} against the outcomes"
    )
