"""
The generated gaming operator, specified: its facts and its truth.

What is statistical fixes the seed and says why the tolerance is what it is.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from local.generators.games.games import Games
from local.generators.games.messages import PLAYS, REGISTRATION
from local.generators.games.world import PLAY_DAYS
from tests.exact import expected_features
from tests.local.generators.games.players import (
    DAY,
    age,
    by_user,
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

    @pytest.mark.parametrize(("users", "churn"), [(1, 1), (10, 7), (200, 140)])
    def test_the_rate_holds_for_any_number_of_users(self, users, churn):
        """Seven in ten, to the next whole user."""
        assert sum(small(users=users).labels().values()) == churn

    @pytest.mark.parametrize("maximum", [3, 20, 60])
    def test_the_maximum_is_kept(self, maximum):
        """Whatever it is, and with the registration counted."""
        users = by_user(small(maximum_events=maximum).events())

        assert max(len(events) for events in users.values()) == maximum

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
    def test_the_bytes_are_those_of_every_platform(self):
        """A change of this digest changes everybody's figures: say so in the log."""
        assert digest(small(users=60)) == GOLDEN

    def test_the_same_seed_gives_the_same_bytes(self):
        """Everything that is sent follows from the arguments: the truth may be asked
        for first."""
        games = small()
        games.true_probabilities()
        games.deliveries(seed=3)

        assert digest(games) == digest(small())

    def test_the_end_may_be_any_moment(self):
        """Everything is before it, in the time zone of whoever says it."""
        end = datetime(2026, 11, 20, 12, 34, 56, tzinfo=timezone(timedelta(hours=2)))
        games = small(end=end)
        times = [instant(event) for event in games.events()]

        assert end - games.days * DAY <= min(times)
        assert end - timedelta(hours=12) < max(times) < end
        assert digest(games) == digest(small(end=end.astimezone(UTC)))

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

    def test_is_told_of_every_user(self, games):
        """A probability by user id, as the labels are."""
        truth = games.true_probabilities()

        assert list(truth) == list(games.labels())
        assert all(0 < p < 1 for p in truth.values())

    @pytest.mark.parametrize("rate", [0, 1])
    def test_is_certain_where_all_are_alike(self, rate):
        """Then nothing is to be ranked either."""
        games = small(churn_rate=rate)

        assert set(games.true_probabilities().values()) == {float(rate)}
        with pytest.raises(ValueError, match="users who churn and users who stay"):
            games.optimum_roc_auc()


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


class TestLearning:
    def test_a_model_of_the_first_day_comes_near_the_optimum(self, full, first_day):
        """
        Logistic regression, five folds: ROC AUC over 0.8, and below the optimum.

        From what the first 24 hours and the registration say. The optimum may be passed
        by chance only: a standard error of 0.01 is allowed.
        """
        table, labels = first_day
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        folds = StratifiedKFold(5, shuffle=True, random_state=0)
        predicted = cross_val_predict(
            model, table, labels, cv=folds, method="predict_proba"
        )

        assert (
            0.80
            < roc_auc_score(labels, predicted[:, 1])
            < full.optimum_roc_auc() + 0.01
        )

    def test_no_feature_gives_the_label_away(self, first_day):
        """Alone, none ranks better than 0.80: there is something to be learnt."""
        table, labels = first_day
        alone = [roc_auc_score(labels, column) for column in table.T]

        assert max(max(auc, 1 - auc) for auc in alone) < 0.80
