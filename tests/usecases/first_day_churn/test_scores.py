"""
Churn after the first day on the stream, specified: no leak, no skew, from the first
event to the evaluation.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from local.generators.games import Games
from local.generators.messages import Delivery
from propensity.clock import SYSTEM
from propensity.events.messages import Message
from propensity.registry.loading import Serving, loaded, recorded
from propensity.registry.versions import Registry
from propensity.runs import setup
from propensity.stream.consumer import Clients
from propensity.stream.ingest import StreamFeatures
from propensity.stream.score import ScoreStream
from tests.exact import expected_features
from tests.functions.conftest import entered
from tests.usecases.first_day_churn.players import (
    AS_OF,
    DAY,
    GAMES,
    MIDNIGHT,
    TWELVE,
    USE_CASE,
    WEEK,
    WEEKS,
    Row,
    Stream,
    as_numbers,
    batch_of,
    flipped,
    model_input,
    registration,
    served_by_the_shipped_model,
)


class TestLeak:
    @pytest.mark.parametrize("name", ["features", "stream_rows"])
    def test_no_statement_of_features_includes_it(self, name):
        """What is scored comes without the statement that reads labels."""
        assert not re.search(r"\blabel\b", re.sub("--.*", "", USE_CASE.statement(name)))

    def test_no_feature_depends_on_it(self, empty, generated):
        """With every label turned round all features are the same; labels are not."""
        place = empty
        place.add(*flipped(GAMES.events()), received_at=MIDNIGHT)
        ours, theirs = generated.training(*WEEKS), place.training(*WEEKS)

        assert place.first_days(*WEEKS) == generated.first_days(*WEEKS)
        for user, row in ours.items():
            assert {**row, "label": 1 - row["label"]} == theirs[user]


@dataclass(frozen=True)
class Group:
    """Messages that were handled together, and when their scoring began."""

    deliveries: Sequence[Delivery]
    since: datetime


def play(place: Stream, deliveries: Sequence[Delivery], *, seed: int) -> list[Group]:
    """
    Send deliveries through the consumers themselves, in groups of any size.

    What the first publishes is pulled by the ordinary client, and given to the second.
    """
    random = np.random.default_rng(seed)
    subscription = place.subscribe(place.topic("enriched"))
    groups: list[Group] = []

    async def consume() -> None:
        clients = Clients.open(place.settings, SYSTEM)
        features, scores = StreamFeatures(clients), ScoreStream(clients)
        sent = 0
        while sent < len(deliveries):
            chosen = deliveries[sent : sent + int(random.integers(1, 80))]
            messages = [
                Message(delivery.data, str(sent + place), delivery.attributes)
                for place, delivery in enumerate(chosen)
            ]
            sent += len(chosen)
            refused = await features.consume(messages)
            count = len(chosen) - len(refused)
            pulled = await asyncio.to_thread(place.pull, subscription, count)
            # Pub/Sub promises no order; with one the last bit of a score is the same.
            pulled.sort(
                key=lambda message: (message.attributes["event_id"], message.message_id)
            )
            groups.append(Group(chosen, datetime.now(UTC)))
            await scores.consume(
                [
                    Message(message.data, message.message_id, dict(message.attributes))
                    for message in pulled
                ]
            )

    with entered(place.environment):
        asyncio.run(consume())
    place.unsubscribe(subscription)
    return groups


def shipped(place: Stream) -> Serving:
    """Return the shipped model, loaded as functions load it."""
    metadata = recorded(place.warehouse, USE_CASE.name, 0)
    registry = Registry(place.artifacts, USE_CASE.name)
    return loaded(registry, USE_CASE, metadata, settings=place.settings)


def inferences(place: Stream) -> list[Row]:
    """Return all that was scored, in order, with what the model was given."""
    rows = place.rows("SELECT * FROM inference_log ORDER BY scored_at")
    return [row | {"features": json.loads(row["features"])} for row in rows]


PLAYED = Games(seed=11, users=40, maximum_events=30, days=10, end=MIDNIGHT)


@pytest.fixture(scope="module")
def played(opened) -> tuple[Stream, list[Group]]:
    """A generated stream with duplicates, late and broken messages, played."""
    place = served_by_the_shipped_model(opened())
    return place, play(place, PLAYED.deliveries(), seed=1)


class TestScores:
    def test_are_of_the_features_that_training_reads(self, played):
        """
        Skew: what the model was given last of anybody's first day is, bit for bit,
        what it is trained on.
        """
        place, _ = played
        last = {row["user_id"]: row["features"] for row in inferences(place)}
        trained = place.training(*(AS_OF + week * WEEK for week in range(-1, 2)))

        assert set(last) == set(PLAYED.user_ids)
        assert last == {user: model_input(row) for user, row in trained.items()}

    def test_are_of_what_was_known(self, played):
        """
        Each event of a first day is scored as often as it comes, with the exact
        features of all that had come by then; no other event is scored.
        """
        place, groups = played
        scored = inferences(place)
        expected: Counter[tuple[int, str]] = Counter()
        known: list[Row] = []
        exact: list[dict[str, Row]] = []
        for number, group in enumerate(groups):
            events = [delivery.event for delivery in group.deliveries]
            came = [row for row in events if row is not None]
            known += came
            ends = {
                row["user_id"]: datetime.fromisoformat(row["event_time"]) + DAY
                for row in known
                if row["event_type"] == "new_registration"
            }
            exact.append(expected_features(known, cut_off=DAY))
            expected.update(
                (number, row["event_id"])
                for row in came
                if row["user_id"] in ends
                and datetime.fromisoformat(row["event_time"]) < ends[row["user_id"]]
            )
        counts: Counter[tuple[int, str]] = Counter()
        for row in scored:
            number = sum(group.since <= row["scored_at"] for group in groups) - 1
            counts[number, row["event_id"]] += 1
            features = {name: row["features"][name] for name in TWELVE}
            assert features == as_numbers(exact[number][row["user_id"]])

        assert len(groups) > 10
        assert counts == expected
        assert len(counts) < sum(len(group.deliveries) for group in groups)


# Of these fewer leave than of those whom the shipped model knows.
COLLECTED = Games(seed=5, users=1_600, maximum_events=40, churn_rate=0.5, end=MIDNIGHT)
# The ROC AUC of the true probability, given the registration and the first day.
POSSIBLE = 0.85


@pytest.fixture(scope="module")
def collected(opened) -> Stream:
    """What was collected of sixteen hundred players while the shipped model served."""
    place = served_by_the_shipped_model(opened())
    # What training, predictions and evaluation write besides.
    setup.prepare(place.warehouse, place.settings)
    place.add(*COLLECTED.events(), received_at=MIDNIGHT)
    return place


@pytest.fixture(scope="module")
def trained(collected) -> tuple[Stream, Row]:
    """The place after a training on it, and what was recorded of that."""
    collected.post("model_training", AS_OF)
    [_, row] = collected.rows(
        "SELECT * FROM ma_model_training_metadata ORDER BY model_version"
    )
    return collected, row


class TestShippedModel:
    def test_ranks_players_it_has_never_seen(self, collected):
        """Loaded as functions load it, on players of another seed."""
        model = shipped(collected)
        rows = collected.training(*(AS_OF - week * WEEK for week in range(1, 8)))
        probability = model.scorer.probabilities(
            batch_of([model_input(row) for row in rows.values()])
        )
        area = roc_auc_score([row["label"] for row in rows.values()], probability)

        assert model.metadata["as_of"] < COLLECTED.first_date
        assert len(rows) > 800
        assert area > 0.8

    def test_is_replaced_by_a_training(self, trained):
        """00 compares it on the newest week that the stream has collected, and the
        model that knows these players serves."""
        place, row = trained
        champion = Registry(place.artifacts, USE_CASE.name).champion()

        assert row["compared_version"] == 0
        assert row["verdict"].startswith("not worse")
        assert (champion.version, champion.previous) == (1, 0)


class TestTraining:
    def test_finds_what_there_is_to_find(self, trained):
        """
        On the newest week the ranking is far above that of the number of bets, and
        near the best that is possible: POSSIBLE by the process that draws players.
        """
        place, row = trained
        card = json.loads(row["card"])
        baseline = card["baseline"]
        users = place.training(*map(date.fromisoformat, card["split"]["holdout"]))

        assert row["users"] == len(users)
        # Of two hundred users: a ROC AUC has a standard deviation of some 0.03.
        assert row["roc_auc"] > baseline["roc_auc"] + 0.1
        assert row["roc_auc"] > POSSIBLE - 0.05
        assert {candidate["name"] for candidate in card["candidates"]} == {
            candidate.name for candidate in USE_CASE.candidates
        }


class TestPredictions:
    def test_are_of_the_week_s_new_players(self, trained):
        """01 scores everyone whose first day has ended since the week before."""
        place, _ = trained
        answer = place.post("predictions", AS_OF)
        rows = place.rows(
            "SELECT user_id FROM ma_predictions_table WHERE as_of = @day", day=AS_OF
        )

        assert answer["model_version"] == 1
        assert answer["users"] == len(rows) > 100
        assert {row["user_id"] for row in rows} == set(place.first_days(AS_OF))

    def test_are_evaluated(self, trained):
        """03 compares them with the labels that are known when it runs; a week of the
        past was scored by the model of its time, which is the shipped one. A churner
        who came late, whom nobody had scored, is counted, and nobody else is."""
        place, _ = trained
        as_of = AS_OF - 2 * WEEK
        answer = place.post("predictions", as_of, force=True)
        labels = [row["label"] for row in place.training(as_of).values()]
        registered = MIDNIGHT - 3 * WEEK + DAY
        place.add(
            registration("late leaver", registered, label=1),
            registration("late stayer", registered, label=0),
        )
        [week] = place.post("model_evaluation", as_of + WEEK)["weeks"]
        place.warehouse.execute(
            "DELETE FROM stream_events WHERE STARTS_WITH(user_id, 'late ')"
        )

        assert answer["model_version"] == week["model_version"] == 0
        assert (week["week"], week["outcome"]) == (str(as_of), "evaluated")
        assert (week["users"], week["conversions"]) == (len(labels), sum(labels))
        assert week["unscored_converters"] == 1
        assert week["roc_auc"] > 0.75
