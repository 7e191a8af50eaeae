"""
The stream's part of the demo: play a gaming operator's events, and show the result.

The generator publishes as a producer does, with duplicates and late messages; Pub/Sub
pushes them to the function. All printed numbers are read from BigQuery.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sklearn.metrics import roc_auc_score

from local.demos.calls import call, rows, send, settled, table
from local.generators.games import USE_CASE, Games, postcodes
from local.place import Place
from offline import load_postcodes
from propensity.gcp.warehouse import Warehouse

GAMES = Games(users=300, maximum_events=40)
COLUMNS = (
    ("of one player", "measure", "{}"),
    ("count", "count", "{}"),
    ("sum", "sum", "{}"),
    ("mean", "mean", "{:f}"),
    ("variance", "var", "{:f}"),
)


def play(place: Place, warehouse: Warehouse, *, broken: bool) -> Iterator[str]:
    """
    Publish a generated stream, wait until it is stored, and yield the results.

    With ``broken`` some messages are.
    """
    load_postcodes.load(warehouse, postcodes(), loaded_on=datetime.now(UTC).date())
    deliveries = GAMES.deliveries(broken=broken)
    yield (
        f"\nStreaming {len(deliveries):,} messages of {GAMES.users} players, 10% of "
        f"them duplicates, 5% late by days{', 1% broken' if broken else ''} …"
    )
    since = datetime.now(UTC)
    send(warehouse, deliveries)
    accepted = sum(delivery.event is not None for delivery in deliveries)
    expected = {"stored_rows": accepted, "dead_letters": len(deliveries) - accepted}
    counts = settled(warehouse, USE_CASE, expected, since=since)
    stored = counts["stored_rows"]
    dead = counts["dead_letters"]
    twice = stored - counts["events"]
    yield f"{stored:,} stored, {twice:,} of them duplicates; {dead:,} dead letters"
    compacted = call(place, "compact_features", {})
    days = len(compacted["days"])
    exported = compacted["exported_days"]["stream_events"]
    yield f"compacted {days} days; {exported} days exported to Parquet"
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
    # The features are of a player who has won.
    player = max(
        streamed.values(), key=lambda row: (row["win_count"] >= 2, row["user_id"])
    )
    measures = []
    for measure in ("purchase", "bet", "win"):
        figures = {key: player[f"{measure}_{key}"] for _, key, _ in COLUMNS[1:]}
        measures.append({"measure": measure, **figures})
    yield table(COLUMNS, measures)


def features(warehouse: Warehouse, name: str, **parameters: Any) -> dict[str, Any]:
    """Return the row of each user that a statement gives."""
    feature_rows = rows(warehouse, name, use_case=USE_CASE, **parameters)
    return {row["user_id"]: row for row in feature_rows}


def scores_text(warehouse: Warehouse) -> str:
    """Return a line on the churn scores of the first day against the outcomes."""
    labels = GAMES.labels()
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    scores = rows(warehouse, "newest_scores", use_case=USE_CASE, since_day=yesterday)
    scored = [row for row in scores if row["user_id"] in labels]
    truth = [labels[row["user_id"]] for row in scored]
    if len(set(truth)) < 2:
        return "No model has scored the stream: both outcomes are needed to compare."
    area = roc_auc_score(truth, [row["probability"] for row in scored])
    version = max(row["model_version"] for row in scored)
    return (
        f"Churn, predicted on the first day by version {version}: {len(scored):,} "
        f"players scored, ROC AUC {area:.3f} against the outcomes"
    )
