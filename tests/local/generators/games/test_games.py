"""
The generated gaming operator, specified: its facts and its truth.

What is statistical fixes the seed and says why the tolerance is what it is.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from datetime import date, datetime

import numpy as np
import pytest

from local.generators.games.games import Games
from local.generators.games.messages import PLAYS, REGISTRATION
from local.generators.games.world import PLAY_DAYS
from tests.exact import expected_features
from tests.local.generators.games.players import (
    DAY,
    age,
    index_of,
    instant,
    normalised,
    small,
)

GOLDEN = "76df5fbd0a7aad0f47f93e09f1b25548444e2dda1f0c2247841b4a0c1d2ae302"


def digest(games: Games) -> str:
    """Of all that is sent, and so of all that is drawn."""
    sha256 = hashlib.sha256()
    for delivery in games.deliveries():
        sha256.update(delivery.data)
        sha256.update(repr(delivery.attributes).encode())
        sha256.update(delivery.sent_time.isoformat().encode())
    return sha256.hexdigest()


class TestFacts:
    def test_two_thousand_users_of_whom_fourteen_hundred_churn(self, full, players):
        """Exactly, in the labels and in the registrations."""
        labels = full.labels()

        assert Counter(labels.values()) == {1: 1400, 0: 600}
        assert labels == {user: events[0]["label"] for user, events in players.items()}

    def test_a_registration_comes_first_and_once(self, players):
        """Whatever else a user does comes after it."""
        for events in players.values():
            types = [event["event_type"] for event in events]
            assert types[0] == REGISTRATION
            assert REGISTRATION not in types[1:]
            assert all(instant(event) > instant(events[0]) for event in events[1:])

    @pytest.mark.parametrize("label", [0, 1])
    def test_purchases_bets_and_wins_come_in_the_groups_mix(self, players, label):
        """0.10, 0.89, 0.01 for those who churn; 0.10, 0.85, 0.05 for the others."""
        expected = dict(
            zip(PLAYS, [[0.1, 0.85, 0.05], [0.1, 0.89, 0.01]][label], strict=True)
        )
        counts = Counter(
            event["event_type"]
            for events in players.values()
            if events[0]["label"] == label
            for event in events[1:]
        )
        total = counts.total()

        assert total > 20_000
        for event_type, p in expected.items():
            error = math.sqrt(p * (1 - p) / total)
            assert counts[event_type] / total == pytest.approx(p, abs=4 * error)

    def test_the_index_differs_between_the_groups_and_overlaps(self, registrations):
        """From 1 to 7 in both, higher for those who stay."""
        known = index_of()
        of_group = [
            [
                known[normalised(event["postcode"])]
                for event in registrations
                if event["label"] == label and normalised(event["postcode"]) in known
            ]
            for label in (0, 1)
        ]

        assert [set(indices) for indices in of_group] == [set(range(1, 8))] * 2
        assert np.mean(of_group[0]) - np.mean(of_group[1]) > 1

    def test_who_churns_is_gone_after_two_days(self, players):
        """No event of theirs is 48 hours after the registration or later."""
        churned = [events for events in players.values() if events[0]["label"]]

        assert all(instant(e[-1]) - instant(e[0]) < 2 * DAY for e in churned)
        assert any(instant(e[-1]) - instant(e[0]) > DAY for e in churned)

    def test_who_stays_comes_back_for_up_to_two_weeks(self, full, players):
        """All whose two weeks are over have events after 48 hours, some to the end."""
        stayed = [
            instant(events[-1]) - instant(events[0])
            for events in players.values()
            if not events[0]["label"]
            and instant(events[0]) < full.end - PLAY_DAYS * DAY
        ]

        assert len(stayed) > 400
        assert min(stayed) >= 2 * DAY
        assert 13 * DAY < max(stayed) < PLAY_DAYS * DAY

    def test_registrations_run_over_the_whole_period(self, full, registrations):
        """From the first date to a day before the end, on every day."""
        times = [instant(event) for event in registrations]
        days = {time.date() for time in times}

        assert full.first_date == date(2026, 4, 7)
        assert days == {full.first_date + n * DAY for n in range(full.days - 1)}
        assert max(times) < full.end - DAY


class TestSeed:
    def test_the_same_seed_gives_the_same_bytes(self):
        """Everything that is sent follows from the arguments: the truth may be asked
        for first."""
        games = small()
        games.true_probabilities()
        games.deliveries(seed=3)

        assert digest(games) == digest(small())

    @pytest.mark.parametrize(
        "wrong",
        [
            {"seed": -1},
            {"users": 0},
            {"churn_rate": 1.1},
            {"churn_rate": -0.1},
            {"days": 1},
            {"maximum_events": 2},
            {"end": datetime(2026, 6, 30)},  # noqa: DTZ001
        ],
    )
    def test_what_leaves_nothing_to_generate_is_refused(self, wrong):
        """And the message says what is wanted."""
        with pytest.raises(ValueError, match="wanted "):
            small(**wrong)


class TestTruth:
    def test_the_truth_agrees_with_what_happens(self):
        """
        In every tenth of the probabilities, their mean is the share that churns.

        20,000 users: of each tenth three standard errors are allowed.
        """
        games = Games(users=20_000, maximum_events=60, seed=7)
        p = np.array(list(games.true_probabilities().values()))
        churned = np.array(list(games.labels().values()))

        for rows in np.array_split(np.argsort(p), 10):
            error = math.sqrt((p[rows] * (1 - p[rows])).sum()) / len(rows)
            assert churned[rows].mean() == pytest.approx(p[rows].mean(), abs=3 * error)

    def test_the_truth_ranks_well_and_not_perfectly(self):
        """Who churns cannot be told for certain on the first day."""
        assert 0.85 < Games(users=10_000).optimum_roc_auc() < 0.92


@pytest.fixture(scope="module")
def first_day(stream) -> tuple[np.ndarray, np.ndarray]:
    """A row per user of what is known after 24 hours, on scales for a line; labels."""
    known, features = index_of(), expected_features(stream, cut_off=DAY)
    opening = [event for event in stream if event["event_type"] == REGISTRATION]
    campaigns = sorted({str(event["campaign"]) for event in opening})
    rows = [
        [
            *(math.log1p(x or 0) for x in features[event["user_id"]].values()),
            known.get(normalised(event["postcode"]), 4.0),
            age(event),
            event["country"] == "England",
            *(str(event["campaign"]) == campaign for campaign in campaigns),
        ]
        for event in opening
    ]
    return np.array(rows, float), np.array([event["label"] for event in opening])
