"""
The stream's part of the demo: play a gaming operator's events, and show the result.

The generator publishes as a producer does, with duplicates, late and broken messages;
Pub/Sub pushes them to the function. What is printed afterwards is read from BigQuery.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from importlib import resources
from typing import Any

import requests
from sklearn.metrics import roc_auc_score

from local.demos.calls import TIMEOUT_S
from local.demos.producer import Producer
from local.errors import LocalError
from local.generators.delivery import Delivery
from local.generators.games.games import Games
from local.generators.games.messages import USE_CASE
from local.generators.games.towns import postcodes
from local.progress import bar, say, step
from local.stack.stack import Stack
from offline import load_postcodes
from propensity.edges.warehouse import Warehouse
from propensity.statements import statement

SQL = resources.files(__package__)

USERS = 400
MAXIMUM_EVENTS = 40
POLL_S = 0.5
# Scoring is over once this long no score has come; the first one loads the model.
QUIET_S = 3.0
FIRST_SCORE_S = 60.0


@dataclass(frozen=True)
class Sent:
    """What was published, and when it began."""

    deliveries: Sequence[Delivery]
    since: datetime

    @property
    def accepted(self) -> int:
        """Messages that are to be stored, duplicates among them."""
        return sum(delivery.event is not None for delivery in self.deliveries)

    @property
    def broken(self) -> int:
        """Messages that are to become dead letters."""
        return len(self.deliveries) - self.accepted

    @property
    def window(self) -> Mapping[str, Any]:
        """The parameters of statements about what has come since."""
        return {"since": self.since, "since_day": self.since.date()}


def play(stack: Stack, warehouse: Warehouse) -> None:
    """
    Publish a generated stream, wait until it is stored, and show the results.

    Raises:
        LocalError: It did not come through.
    """
    with step("generating players"):
        games = Games(users=USERS, maximum_events=MAXIMUM_EVENTS)
        load_postcodes.load(warehouse, postcodes(), loaded_on=datetime.now(UTC).date())
        deliveries = games.deliveries()
    say(
        f"\nStreaming {len(deliveries):,} messages of {USERS} players, 10% of them "
        "duplicates, 5% late by days, 1% broken …"
    )
    began = time.monotonic()
    sent = Sent(deliveries, datetime.now(UTC))
    publish(stack, deliveries)
    counts = settled(warehouse, sent)
    seconds = time.monotonic() - began
    say(counts_text(warehouse, sent, counts, seconds))
    with step("compacting"):
        answer = requests.post(
            stack.url("compact_features"), json={}, timeout=TIMEOUT_S
        )
    if answer.status_code != requests.codes.ok:
        raise LocalError(
            f"compact_features answered {answer.status_code}: {answer.text}"
        )
    compacted = answer.json()
    say(
        f"compacted {len(compacted['days'])} days into {compacted['tiles']:,} tiles, "
        f"{compacted['exported_days']['stream_events']} days exported to Parquet"
    )
    with step("comparing features with a clean computation"):
        compared = comparison_text(warehouse)
    say(compared)
    say(user_text(warehouse, games))
    say(scores_text(warehouse, games, sent))


def publish(stack: Stack, deliveries: Sequence[Delivery]) -> None:
    """Publish messages in their order."""
    total = len(deliveries)
    with (
        Producer(stack) as producer,
        bar("published", total=total, unit=" messages") as counted,
    ):
        for delivery in deliveries:
            counted.update(producer.send(delivery.data, delivery.attributes))
        counted.update(producer.flush())


def settled(warehouse: Warehouse, sent: Sent) -> Mapping[str, int]:
    """
    Wait until everything has come through; return the counts.

    Raises:
        LocalError: It takes too long.
    """
    deadline = time.monotonic() + TIMEOUT_S
    scores, quiet_since = -1, time.monotonic()
    total = len(sent.deliveries)
    with bar("handled", total=total, unit=" messages") as counted:
        while True:
            [row] = warehouse.rows(statement("stream_counts", own=SQL), sent.window)
            counts = dict(row.items())
            handled = counts["stored_rows"] + counts["dead_letters"]
            counted.update(min(handled, total) - counted.n)
            now = time.monotonic()
            if counts["scores"] != scores:
                scores, quiet_since = counts["scores"], now
            is_stored = counts["stored_rows"] >= sent.accepted
            is_buried = counts["dead_letters"] >= sent.broken
            enough_s = QUIET_S if scores > 0 else FIRST_SCORE_S
            if is_stored and is_buried and now - quiet_since >= enough_s:
                return counts
            if now > deadline:
                raise LocalError(
                    f"after {TIMEOUT_S:.0f} s {counts['stored_rows']:,} of "
                    f"{sent.accepted:,} messages are stored and "
                    f"{counts['dead_letters']:,} of {sent.broken:,} are dead letters"
                )
            time.sleep(POLL_S)


def counts_text(
    warehouse: Warehouse, sent: Sent, counts: Mapping[str, int], seconds: float
) -> str:
    """Return lines on the messages, sent and stored."""
    rows = warehouse.rows(statement("dead_letter_reasons", own=SQL), sent.window)
    reasons = ", ".join(f"{row['messages']} {row['reason']}" for row in rows)
    events = sum(
        delivery.event is not None and not delivery.is_duplicate
        for delivery in sent.deliveries
    )
    return (
        f"{len(sent.deliveries):>9,} messages sent, {events:,} events among them\n"
        f"{counts['stored_rows']:>9,} stored, {counts['events']:,} events\n"
        f"{counts['stored_rows'] - counts['events']:>9,} duplicates dropped\n"
        f"{counts['dead_letters']:>9,} dead letters: {reasons}\n"
        f"{counts['scores']:>9,} scores\n"
        f"{seconds:>9,.0f} s from the first message to the last score"
    )


def comparison_text(warehouse: Warehouse) -> str:
    """Return a line on the view's features against one computation over all events."""
    clean = _by_user(
        warehouse,
        "stream_features_as_of",
        # Events may be dated some minutes ahead of the clock.
        as_of=datetime.now(UTC) + timedelta(days=1),
        earliest=date(1970, 1, 1),
    )
    streamed = _by_user(warehouse, "streamed_features")
    users = streamed.keys() | clean.keys()
    differing = sum(streamed.get(user) != clean.get(user) for user in users)
    return (
        f"features of {len(users):,} users against a clean computation over all "
        f"events: {differing} differ"
    )


def _by_user(warehouse: Warehouse, name: str, **parameters: Any) -> dict[str, Any]:
    rows = warehouse.rows(
        statement(name, own=SQL), {"use_case": USE_CASE, **parameters}
    )
    return {row["user_id"]: dict(row.items()) for row in rows}


def user_text(warehouse: Warehouse, games: Games) -> str:
    """Return lines on the features of the first user who has won."""
    rows = warehouse.rows(
        statement("streamed_features", own=SQL), {"use_case": USE_CASE}
    )
    known = set(games.user_ids)
    users = [dict(row.items()) for row in rows if row["user_id"] in known]
    chosen = max(users, key=lambda row: (row["win_count"] >= 2, row["user_id"]))
    lines = [f"\nFeatures of {chosen['user_id']}, from the view stream_features:"]
    for measure in ("purchase", "bet", "win"):
        figures = "  ".join(
            f"{name} {plain(chosen[f'{measure}_{name}'])}"
            for name in ("count", "sum", "mean", "var")
        )
        lines.append(f"  {measure:<8}  {figures}")
    about = ("age", "country", "campaign", "socioeconomic_idx")
    lines.append("  " + "  ".join(f"{name} {plain(chosen[name])}" for name in about))
    return "\n".join(lines)


def plain(value: object) -> str:
    """Return a value without the zeros that a NUMERIC ends with."""
    text = "-" if value is None else str(value)
    return text.rstrip("0").rstrip(".") if "." in text else text


def scores_text(warehouse: Warehouse, games: Games, sent: Sent) -> str:
    """Return a line on the churn scores of the first day against the outcomes."""
    rows = warehouse.rows(
        statement("newest_scores", own=SQL),
        {"use_case": USE_CASE, "since_day": sent.since.date()},
    )
    labels = games.labels()
    scored = [row for row in rows if row["user_id"] in labels]
    if len({labels[row["user_id"]] for row in scored}) < 2:  # noqa: PLR2004
        return "\nNo model has scored the stream: both outcomes are needed to compare."
    auc = roc_auc_score(
        [labels[row["user_id"]] for row in scored],
        [row["probability"] for row in scored],
    )
    version = max(row["model_version"] for row in scored)
    return (
        f"\nChurn, predicted on the first day by version {version}: {len(scored):,} "
        f"players scored, ROC AUC {auc:.3f} against the outcomes\n"
        f"(the generator's own probabilities reach {games.optimum_roc_auc():.3f})"
    )
