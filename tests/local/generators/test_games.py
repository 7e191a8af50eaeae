"""
The generated gaming operator, specified: its facts, its truth, and what it sends.

One small stream serves most tests, the full one what is said of rates and learning.
What is statistical fixes the seed and says why the tolerance is what it is.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from local.generators.delivery import Delivery
from local.generators.games.__main__ import main
from local.generators.games.features import expected_features, rounded
from local.generators.games.games import PLAY_DAYS, Games
from local.generators.games.messages import (
    AMOUNT_FIELDS,
    FAULTS,
    PLAYS,
    REGISTRATION,
    Event,
    attributes_of,
    encode,
)
from local.generators.games.towns import COUNTRIES, postcodes

DAY = timedelta(days=1)
GOLDEN = "76df5fbd0a7aad0f47f93e09f1b25548444e2dda1f0c2247841b4a0c1d2ae302"
REGISTRATION_FIELDS = {
    *("event_id", "use_case", "user_id", "event_type", "event_time"),
    *("name", "date_of_birth", "street_address", "city", "country", "postcode"),
    *("affiliate_url", "campaign", "label"),
}


def small(**parameters: Any) -> Games:
    return Games(**{"users": 200, "maximum_events": 60} | parameters)


def digest(games: Games) -> str:
    """Of all that is sent, and so of all that is drawn."""
    found = hashlib.sha256()
    for delivery in games.deliveries():
        found.update(delivery.data)
        found.update(repr(delivery.attributes).encode())
        found.update(delivery.sent_time.isoformat().encode())
    return found.hexdigest()


def instant(event: Event) -> datetime:
    return datetime.fromisoformat(event["event_time"])


def by_user(events: Iterable[Event]) -> dict[str, list[Event]]:
    users: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        users[event["user_id"]].append(event)
    return dict(users)


def normalised(postcode: str) -> str:
    return postcode.replace(" ", "").upper()


def index_of() -> dict[str, float]:
    """The socioeconomic index of every postcode, without its space."""
    table = postcodes()
    codes = map(normalised, table["postcode"].to_pylist())
    return dict(zip(codes, table["socioeconomic_idx"].to_pylist(), strict=True))


@pytest.fixture(scope="module")
def games() -> Games:
    return small()


@pytest.fixture(scope="module")
def events(games) -> list[Event]:
    return list(games.events())


@pytest.fixture(scope="module")
def full() -> Games:
    return Games()


@pytest.fixture(scope="module")
def stream(full) -> list[Event]:
    """Every event of the full stream."""
    return list(full.events())


@pytest.fixture(scope="module")
def players(stream) -> dict[str, list[Event]]:
    """The full stream, user by user."""
    return by_user(stream)


@pytest.fixture(scope="module")
def registrations(players) -> list[Event]:
    return [events[0] for events in players.values()]


@pytest.fixture(scope="module")
def sent(games) -> list[Delivery]:
    return games.deliveries()


class TestFacts:
    def test_two_thousand_users_of_whom_fourteen_hundred_churn(self, full, players):
        """Exactly, in the labels and in the registrations."""
        labels = full.labels()

        assert Counter(labels.values()) == {1: 1400, 0: 600}
        assert labels == {user: found[0]["label"] for user, found in players.items()}

    @pytest.mark.parametrize(("users", "churn"), [(1, 1), (10, 7), (200, 140)])
    def test_the_rate_holds_for_any_number_of_users(self, users, churn):
        """Seven in ten, to the next whole user."""
        assert sum(small(users=users).labels().values()) == churn

    def test_has_a_thousand_events_a_user_at_most(self, players):
        """And some users do have as many."""
        assert max(len(events) for events in players.values()) == 1000

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
        wanted = dict(
            zip(PLAYS, [[0.1, 0.85, 0.05], [0.1, 0.89, 0.01]][label], strict=True)
        )
        found = Counter(
            event["event_type"]
            for events in players.values()
            if events[0]["label"] == label
            for event in events[1:]
        )
        total = found.total()

        assert total > 20_000
        for event_type, p in wanted.items():
            error = math.sqrt(p * (1 - p) / total)
            assert found[event_type] / total == pytest.approx(p, abs=4 * error)

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

        assert [set(found) for found in of_group] == [set(range(1, 8))] * 2
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

    def test_people_play_in_the_evening_and_register_at_weekends(
        self, stream, registrations
    ):
        """Hours and days have the shape that they have for people."""
        hours = Counter(instant(event).hour for event in stream)
        days = Counter(instant(event).weekday() for event in registrations)

        assert sum(hours[h] for h in (19, 20, 21)) > 4 * sum(
            hours[h] for h in (3, 4, 5)
        )
        assert days[5] > days[0]
        assert days[6] > days[1]

    def test_the_first_day_varies_from_user_to_user(self, players):
        """Some do nothing on it, some play a hundred times; many are in between."""
        counts = np.array(
            [
                sum(instant(e) < instant(events[0]) + DAY for e in events[1:])
                for events in players.values()
            ]
        )

        assert counts.min() == 0
        assert 10 < np.median(counts) < 30
        assert counts.max() > 100


class TestEvents:
    def test_come_in_order_of_time(self, events):
        """By event time, which is text that sorts as it does."""
        times = [event["event_time"] for event in events]

        assert times == sorted(times)
        assert {re.sub(r"\d", "0", time) for time in times} == {
            "0000-00-00T00:00:00.000Z"
        }

    def test_have_an_id_of_their_own(self, events):
        """A random UUID."""
        ids = {event["event_id"] for event in events}

        assert len(ids) == len(events)
        assert {uuid.UUID(event_id).version for event_id in ids} == {4}

    def test_are_as_many_as_announced(self, games, events):
        """Known before the first is made."""
        assert games.n_events == len(events)

    def test_are_of_the_use_case_and_its_users(self, games, events):
        """Use case and user id are in each."""
        assert {event["use_case"] for event in events} == {"first_day_churn"}
        assert {event["user_id"] for event in events} == set(games.user_ids)
        assert games.user_ids[122] == "player-000123"

    def test_have_the_fields_of_their_type(self, events):
        """All of them and no other."""
        common = {"event_id", "use_case", "user_id", "event_type", "event_time"}
        for event in events:
            money = AMOUNT_FIELDS.get(event["event_type"])
            assert set(event) == (common | {money} if money else REGISTRATION_FIELDS)

    def test_amounts_have_two_decimals_and_are_not_negative(self, stream):
        """Some bets are free; nobody pays more than a million."""
        amounts = [
            event[AMOUNT_FIELDS[event["event_type"]]]
            for event in stream
            if event["event_type"] != REGISTRATION
        ]

        assert {amount.as_tuple().exponent for amount in amounts} == {-2}
        assert min(amounts) == 0
        assert 100 < max(amounts) <= 1_000_000

    def test_round_trip_exactly_through_json(self, games, events):
        """Decimals and accents come back as they were, and UTF-8 is not escaped."""
        payloads = list(games.payloads())
        read = [json.loads(data, parse_float=Decimal) for data, _ in payloads]

        assert read == events
        assert any("ë".encode() in data for data, _ in payloads)
        assert all(
            attributes == attributes_of(e)
            for (_, attributes), e in zip(payloads, events, strict=True)
        )

    def test_money_is_written_to_the_cent(self, events):
        """As 5.00 and not as 5.0."""
        bets = [encode(event) for event in events if event["event_type"] == "new_bet"]

        assert all(re.search(rb',"bet_amount":\d+\.\d\d}$', data) for data in bets)
        assert any(data.endswith(b".00}") for data in bets)

    def test_are_new_every_time(self, games):
        """Who changes an event changes no other."""
        next(games.events()).clear()

        assert next(games.events())


def age(event: Event) -> int:
    """Whole years at the registration."""
    born, day = date.fromisoformat(event["date_of_birth"]), instant(event).date()
    had_birthday = (day.month, day.day) >= (born.month, born.day)
    return day.year - born.year - (not had_birthday)


class TestRegistrations:
    def test_users_are_grown_up(self, registrations):
        """18 to 79 on the day, and younger among those who churn."""
        ages: dict[int, list[int]] = {0: [], 1: []}
        for event in registrations:
            ages[event["label"]].append(age(event))

        assert min(ages[0] + ages[1]) == 18
        assert max(ages[0] + ages[1]) <= 79
        assert np.mean(ages[1]) < np.mean(ages[0])

    def test_they_are_on_a_leap_day_too(self):
        """Who registers on a 29th of February was born in a year that may lack it."""
        leap = small(days=2, end=datetime(2028, 3, 2, tzinfo=UTC))
        found = [e for e in leap.events() if e["event_type"] == REGISTRATION]

        assert {instant(event).date() for event in found} == {date(2028, 2, 29)}
        assert 18 <= min(map(age, found)) < max(map(age, found)) <= 79

    def test_campaigns_and_affiliates_may_be_missing(self, registrations):
        """Either, both or none; the bonus brings more of those who churn."""
        kinds = {
            (event["campaign"] is None, event["affiliate_url"] is None)
            for event in registrations
        }
        bonus = {
            label: np.mean(
                [
                    e["campaign"] == "welcome_bonus"
                    for e in registrations
                    if e["label"] == label
                ]
            )
            for label in (0, 1)
        }

        assert kinds == {(a, b) for a in (True, False) for b in (True, False)}
        assert bonus[1] > bonus[0]

    def test_all_countries_are_there(self, registrations):
        """England most, each with cities of its own."""
        countries = Counter(event["country"] for event in registrations)
        of_city = {(e["city"], e["country"]) for e in registrations}

        assert set(countries) == set(COUNTRIES)
        assert countries.most_common(1)[0][0] == "England"
        assert len(of_city) == len({city for city, _ in of_city})

    def test_postcodes_are_typed_as_people_do(self, registrations):
        """Small letters, no space, two spaces and spaces around them, one in five."""
        table = set(postcodes()["postcode"].to_pylist())
        home = [e["postcode"] for e in registrations if e["country"] != "Ireland"]
        index = index_of()
        known = [code for code in home if normalised(code) in index]
        odd = [code for code in known if code not in table]

        assert 0.95 < len(known) / len(home) < 0.99
        assert 0.15 < len(odd) / len(known) < 0.25
        for is_so in (
            str.islower,
            lambda c: " " not in c,
            lambda c: "  " in c,
            lambda c: c != c.strip(),
        ):
            assert any(is_so(code) for code in odd)

    def test_some_postcodes_are_unknown(self, registrations):
        """Of them some have an outward code that is known, and others none."""
        known = index_of()
        outwards = {code[:-3] for code in known}
        codes = [normalised(e["postcode"]) for e in registrations]
        unknown = [code for code in codes if code not in known]

        assert any(code[:-3] in outwards for code in unknown)
        assert any(code[:-3] not in outwards for code in unknown)
        abroad = [
            normalised(e["postcode"])
            for e in registrations
            if e["country"] == "Ireland"
        ]
        assert not {code[:-3] for code in abroad} & outwards


class TestPostcodes:
    def test_are_a_table_of_postcode_and_index(self):
        """No postcode twice, every index from 1 to 7."""
        table = postcodes()

        assert table.schema == pa.schema(
            [("postcode", pa.string()), ("socioeconomic_idx", pa.float64())]
        )
        assert len(set(table["postcode"].to_pylist())) == table.num_rows > 2000
        assert set(table["socioeconomic_idx"].to_pylist()) == set(range(1, 8))

    def test_look_like_the_united_kingdoms(self):
        """In its format, in areas that begin with letters that it does not use."""
        wanted = re.compile(r"[QVX][A-Z]?[0-9][0-9A-Z]? [0-9][ABD-HJLNP-UW-Z]{2}")

        assert all(
            wanted.fullmatch(code) for code in postcodes()["postcode"].to_pylist()
        )

    def test_an_outward_code_says_nearly_what_the_postcode_does(self):
        """Many units each, whose index is at most one off the district's."""
        of_outward = defaultdict(list)
        for code, index in index_of().items():
            of_outward[code[:-3]].append(index)

        assert {len(found) for found in of_outward.values()} == {30}
        assert all(max(found) - min(found) <= 2 for found in of_outward.values())
        assert len({np.median(found) for found in of_outward.values()}) == 7


class TestSeed:
    def test_the_same_seed_gives_the_same_bytes(self):
        """Everything that is sent follows from the arguments."""
        assert digest(small()) == digest(small())

    def test_the_bytes_are_those_of_every_platform(self):
        """A change of this digest changes everybody's figures: say so in the log."""
        assert digest(small(users=60)) == GOLDEN

    @pytest.mark.parametrize(
        "other", [{"seed": 1}, {"end": datetime(2026, 6, 29, tzinfo=UTC)}]
    )
    def test_another_argument_gives_another_stream(self, other):
        """Another seed is another operator; another end is another time."""
        assert digest(small(**other)) != digest(small())

    def test_the_order_of_questions_changes_nothing(self):
        """The truth may be asked for first."""
        asked = small()
        asked.true_probabilities()
        asked.deliveries(seed=3)

        assert digest(asked) == digest(small())

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
    @pytest.mark.parametrize("maximum", [60, 1000])
    def test_the_truth_agrees_with_what_happens(self, maximum):
        """
        In every tenth of the probabilities, their mean is the share that churns.

        20,000 users: of each tenth three standard errors are allowed.
        """
        games = Games(users=20_000, maximum_events=maximum, seed=7)
        p = np.array(list(games.true_probabilities().values()))
        churned = np.array(list(games.labels().values()))

        for rows in np.array_split(np.argsort(p), 10):
            error = math.sqrt((p[rows] * (1 - p[rows])).sum()) / len(rows)
            assert churned[rows].mean() == pytest.approx(p[rows].mean(), abs=3 * error)

    @pytest.mark.parametrize("parameters", [{}, {"maximum_events": 60}])
    def test_the_truth_ranks_well_and_not_perfectly(self, parameters):
        """Who churns cannot be told for certain on the first day."""
        games = Games(users=10_000, **parameters)

        assert 0.85 < games.optimum_roc_auc() < 0.92

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
        told = cross_val_predict(model, table, labels, cv=folds, method="predict_proba")

        assert 0.80 < roc_auc_score(labels, told[:, 1]) < full.optimum_roc_auc() + 0.01

    def test_no_feature_gives_the_label_away(self, first_day):
        """Alone, none ranks better than 0.80: there is something to be learnt."""
        table, labels = first_day
        alone = [roc_auc_score(labels, column) for column in table.T]

        assert max(max(auc, 1 - auc) for auc in alone) < 0.80


class TestDeliveries:
    def test_every_event_is_sent_once_and_some_again(self, events, sent):
        """One in ten again; without the repetitions it is the events, no more."""
        firsts = [d.event for d in sent if d.event and not d.is_duplicate]
        again = [d for d in sent if d.is_duplicate]

        assert sorted(firsts, key=str) == sorted(events, key=str)
        assert len(again) == round(0.10 * len(events))

    def test_a_repetition_is_the_same_message_later(self, sent):
        """Byte for byte, attributes too; some of them days later, some several."""
        first: dict[str, Delivery] = {}
        waits, times = [], Counter()
        for delivery in sent:
            if delivery.event is None:
                continue
            event_id = delivery.event["event_id"]
            assert delivery.is_duplicate == (event_id in first)
            if delivery.is_duplicate:
                assert delivery.data == first[event_id].data
                assert delivery.attributes == first[event_id].attributes
                waits.append(delivery.sent_time - first[event_id].sent_time)
                times[event_id] += 1
            first.setdefault(event_id, delivery)

        assert np.median(waits) < timedelta(minutes=5)
        assert max(waits) > 2 * DAY
        assert max(times.values()) > 1

    def test_one_in_twenty_is_late_by_days(self, events, sent):
        """One to five days after it happened; the others by minutes at most."""
        late = {True: [], False: []}
        for delivery in sent:
            if delivery.event and not delivery.is_duplicate:
                wait = delivery.sent_time - instant(delivery.event)
                late[delivery.is_late].append(wait)

        assert len(late[True]) == round(0.05 * len(events))
        assert DAY <= min(late[True]) < max(late[True]) <= 5 * DAY + timedelta(hours=1)
        assert (
            timedelta(0) < min(late[False]) < max(late[False]) < timedelta(minutes=11)
        )

    def test_come_in_order_of_sending_a_little_out_of_order(self, sent):
        """What is on time is not quite in the order in which it happened."""
        times = [d.sent_time for d in sent]
        prompt = [
            instant(d.event)
            for d in sent
            if d.event and not (d.is_late or d.is_duplicate)
        ]
        swapped = sum(a > b for a, b in zip(prompt, prompt[1:], strict=False))

        assert times == sorted(times)
        assert 0 < swapped < 0.1 * len(prompt)

    def test_ids_are_in_fields_or_attributes_or_both(self, sent):
        """Most in both; from the two, id and use case are those of the event."""
        styles: Counter[tuple[bool, bool]] = Counter()
        for delivery in sent:
            if delivery.event is None:
                continue
            fields = json.loads(delivery.data, parse_float=Decimal)
            styles["event_id" in fields, "event_id" in delivery.attributes] += 1
            named = dict(delivery.attributes) | fields
            assert named == delivery.event

        assert set(styles) == {(True, True), (True, False), (False, True)}
        assert styles[True, True] > 0.9 * styles.total()

    def test_one_in_a_hundred_is_broken(self, events, sent):
        """Under an id of its own, with every fault among them."""
        broken = [d for d in sent if d.event is None]
        ids = {d.attributes["event_id"] for d in broken}

        assert len(broken) == round(0.01 * len(events)) == len(ids)
        assert not ids & {event["event_id"] for event in events}
        assert {d.fault for d in broken} == set(FAULTS)
        assert all(d.reason == FAULTS[d.fault].reason for d in broken)

    def test_huge_messages_are_few(self, full):
        """However many are broken."""
        broken = [d for d in small().deliveries(broken=0.5) if d.reason]

        assert Counter(d.reason for d in broken)["too_large"] == 3

    @pytest.mark.parametrize("share", ["duplicates", "late", "broken"])
    def test_any_share_may_be_nothing(self, games, events, share):
        """Then there is nothing of it."""
        sent = games.deliveries(**{share: 0.0})
        found = {
            "duplicates": any(d.is_duplicate for d in sent),
            "late": any(d.is_late for d in sent),
            "broken": any(d.reason for d in sent),
        }

        assert found == {name: name != share for name in found}

    def test_another_seed_is_another_delivery_of_the_same(self, games, events):
        """The events stay; what happens to them on the way differs."""
        other = games.deliveries(seed=1)
        firsts = [d.event for d in other if d.event and not d.is_duplicate]

        assert [d.data for d in other] != [d.data for d in games.deliveries()]
        assert sorted(firsts, key=str) == sorted(events, key=str)

    @pytest.mark.parametrize(
        "wrong", [{"duplicates": -0.1}, {"late": 1.1}, {"broken": -1}]
    )
    def test_impossible_shares_are_refused(self, games, wrong):
        """Below nothing, or later than all."""
        with pytest.raises(ValueError, match="wanted shares"):
            games.deliveries(**wrong)

    def test_one_silent_user_can_be_delivered_too(self):
        """Where nobody plays, registrations alone are spoilt."""
        silent = next(
            found
            for seed in range(2000)
            if (found := Games(users=1, churn_rate=1, seed=seed)).n_events == 1
        )
        broken = [d for d in silent.deliveries(broken=30) if d.reason]

        assert len(broken) == 30
        assert {FAULTS[d.fault].of_registration for d in broken} == {True}


class TestFaults:
    def test_what_is_malformed_is_not_json(self, sent):
        """But it is UTF-8."""
        for data in spoilt(sent, "malformed_json"):
            with pytest.raises(ValueError, match="Expecting|Unterminated|Illegal"):
                json.loads(data.decode())

    def test_what_is_wrongly_encoded_is_not_utf8(self, sent):
        """But it is JSON, were it read in an encoding that takes every byte."""
        for data in spoilt(sent, "wrong_encoding"):
            with pytest.raises(UnicodeDecodeError):
                data.decode()
            assert json.loads(data.decode("latin-1"))["name"].startswith("Zo")

    def test_what_is_too_large_is_otherwise_right(self, sent):
        """Over 256 KiB, with an address to blame."""
        for data in spoilt(sent, "too_large"):
            assert len(data) > 256 * 1024
            assert set(json.loads(data)) == REGISTRATION_FIELDS

    def test_what_is_not_finite_is_what_python_would_write(self, sent):
        """NaN and Infinity, which JSON does not have."""
        found = {
            value
            for data in spoilt(sent, "not_finite")
            for value in json.loads(data).values()
            if isinstance(value, float)
        }

        assert {str(value) for value in found} == {"nan", "inf"}

    def test_amounts_are_bad_in_three_ways(self, sent):
        """Negative, over a thousand millions, with more than two decimals."""
        found = {
            value
            for data in spoilt(sent, "bad_amount")
            for value in json.loads(data, parse_float=Decimal).values()
            if isinstance(value, Decimal)
        }

        assert found == {Decimal("-0.01"), Decimal("1000000000.01"), Decimal("12.345")}

    def test_times_are_bad_in_three_ways(self, sent):
        """Far in the future, no time at all, and a day that never was."""
        times = {json.loads(data)["event_time"] for data in spoilt(sent, "bad_time")}

        assert {time[:10] for time in times} == {
            "2999-12-31",
            "yesterday",
            "2026-02-30",
        }

    def test_fields_are_missing_one_at_a_time(self, sent):
        """An amount, a user, a time or a postcode; never type, id or use case."""
        for data in spoilt(sent, "missing_field"):
            fields = json.loads(data)
            money = AMOUNT_FIELDS.get(fields["event_type"])
            wanted = {"user_id", "event_time", money or "postcode"}
            assert len(wanted - set(fields)) == 1
            assert {"event_id", "use_case"} <= set(fields)

    @pytest.mark.parametrize(
        ("reason", "field"),
        [("unknown_use_case", "use_case"), ("unknown_event_type", "event_type")],
    )
    def test_what_is_unknown_is_so_in_fields_and_attributes(self, sent, reason, field):
        """The attributes agree with the fields."""
        for delivery in sent:
            if delivery.reason == reason:
                fields = json.loads(delivery.data)
                assert fields[field] == delivery.attributes[field]
                assert fields[field] not in {"first_day_churn", REGISTRATION, *PLAYS}


def spoilt(sent: list[Delivery], reason: str) -> list[bytes]:
    found = [d.data for d in sent if d.reason == reason]
    assert found
    return found


def event(event_type: str, **fields: Any) -> Event:
    return {
        "event_id": str(uuid.uuid4()),
        "use_case": "first_day_churn",
        "user_id": "a",
        "event_type": event_type,
        "event_time": "2026-06-01T10:00:00Z",
    } | fields


def bet(amount: Any, **fields: Any) -> Event:
    return event("new_bet", bet_amount=amount, **fields)


def registration(time: str) -> Event:
    return event(REGISTRATION, event_time=time)


def bets(*amounts: Any) -> tuple[int, Decimal, Decimal | None, Decimal | None]:
    """Count, sum, mean and variance of one user's bets."""
    features = expected_features([bet(amount) for amount in amounts])["a"]
    names = ("bet_count", "bet_sum", "bet_mean", "bet_var")
    count, total, mean, variance = (features[name] for name in names)
    return count, total, mean, variance


class TestExpectedFeatures:
    def test_are_twelve(self):
        """Count, sum, mean and variance of purchases, bets and wins."""
        (features,) = expected_features([bet("1.00")]).values()

        assert set(features) == {
            f"{measure}_{name}"
            for measure in ("purchase", "bet", "win")
            for name in ("count", "sum", "mean", "var")
        }

    def test_of_nothing_are_zero_and_unknown(self):
        """A user who only registered has counts and sums, and no mean or variance."""
        (features,) = expected_features([registration("2026-06-01T10:00:00Z")]).values()

        assert features == {
            f"{measure}_{name}": value
            for measure in ("purchase", "bet", "win")
            for name, value in (("count", 0), ("sum", 0), ("mean", None), ("var", None))
        }

    @pytest.mark.parametrize(
        ("amounts", "expected"),
        [
            (("5.00",), (1, "5", "5", None)),
            (("1.00", "2.00"), (2, "3", "1.5", "0.5")),
            (
                ("2.00", "4.00", "4.00", "4.00", "5.00", "5.00", "7.00", "9.00"),
                (8, "40", "5", "4.571428571"),
            ),
            # 1/3 and 2/3, rounded down and up.
            (("0.00", "0.00", "1.00"), (3, "1", "0.333333333", "0.333333333")),
            (("0.00", "1.00", "1.00"), (3, "2", "0.666666667", "0.333333333")),
            # 0.01 / 4 and 0.01² · (1/4 of 3/4) · 4/3 = 0.000025.
            (("0.01", "0", "0", "0"), (4, "0.01", "0.0025", "0.000025")),
            # Where floating sums of squares give 0.
            (
                ("1000000001", "1000000002", "1000000003"),
                (3, "3000000006", "1000000002", "1"),
            ),
            (
                ("999999999.97", "999999999.98", "999999999.99"),
                (3, "2999999999.94", "999999999.98", "0.0001"),
            ),
            (
                ("1000000000.00", "0.00"),
                (2, "1000000000", "500000000", "500000000000000000"),
            ),
            (
                ("1000000000.00", "0.01"),
                (2, "1000000000.01", "500000000.005", "499999999990000000.00005"),
            ),
        ],
    )
    def test_are_what_a_hand_computes(self, amounts, expected):
        """To the last digit, from no amount to the largest."""
        wanted = tuple(Decimal(x) if isinstance(x, str) else x for x in expected)

        assert bets(*amounts) == wanted

    def test_are_rounded_half_away_from_zero(self):
        """
        A mean that ends in 5 at the tenth decimal goes up.

        0.01 over 2⁸ is 0.0000390625, and over 2⁹ 0.00001953125.
        """
        of_256 = bets("0.01", *["0.00"] * 255)
        of_512 = bets("0.01", *["0.00"] * 511)

        assert of_256[2] == Decimal("0.000039063")
        assert of_512[2] == Decimal("0.000019531")

    def test_do_not_depend_on_the_context(self):
        """Whatever precision the caller computes with."""
        with localcontext(prec=3):
            found = bets("1000000000.00", "0.01")

        assert found == bets("1000000000.00", "0.01")

    def test_measures_are_apart(self):
        """A purchase counts as a purchase, a win as a win."""
        events = [
            bet("1.00"),
            event("new_purchases", amount="2.00"),
            event("new_win", win_amount="3.00"),
        ]
        features = expected_features(events)["a"]

        assert [features[f"{m}_sum"] for m in ("bet", "purchase", "win")] == [1, 2, 3]

    def test_users_are_apart(self):
        """A row each."""
        features = expected_features([bet("1.00"), bet("2.00", user_id="b")])

        assert {user: row["bet_sum"] for user, row in features.items()} == {
            "a": 1,
            "b": 2,
        }

    @pytest.mark.parametrize("kind", [Decimal, float, str])
    def test_amounts_may_be_of_any_kind(self, kind):
        """A float is the decimal that it prints as."""
        assert bets(kind("0.10"), kind("0.20"))[1] == Decimal("0.30")

    def test_an_event_counts_once(self):
        """Twice the same id is once; two equal bets are two."""
        one = bet("1.00")

        assert expected_features([one, dict(one), bet("1.00")])["a"]["bet_count"] == 2

    @pytest.mark.parametrize(
        "other",
        [
            {"event_time": "2026-06-02T10:00:00Z"},
            {"user_id": "b"},
            {"use_case": "another"},
        ],
    )
    def test_an_id_is_one_of_a_use_case_a_user_and_a_day(self, other):
        """Elsewhere the same id is another event."""
        one = bet("1.00")
        features = expected_features([one, one | other])

        assert sum(row["bet_count"] for row in features.values()) == 2

    def test_the_cut_off_is_the_first_moment_that_is_out(self):
        """24 hours after the registration is too late by a millisecond."""
        events = [
            registration("2026-06-01T10:00:00.000Z"),
            bet("1.00", event_time="2026-06-01T10:00:00.001Z"),
            bet("2.00", event_time="2026-06-02T09:59:59.999Z"),
            bet("4.00", event_time="2026-06-02T10:00:00.000Z"),
        ]
        sums = [
            expected_features(events, cut_off=cut_off)["a"]["bet_sum"]
            for cut_off in (timedelta(hours=1), DAY, DAY + timedelta(seconds=1), None)
        ]

        assert sums == [1, 3, 7, 7]

    def test_the_first_registration_counts(self):
        """In whatever order they are read, and in whatever zone they are written."""
        events = [
            registration("2026-06-03T10:00:00"),
            registration("2026-06-01T12:00:00+02:00"),
            bet("1.00", event_time="2026-06-02T09:59:59Z"),
            bet("2.00", event_time="2026-06-02T10:00:00Z"),
        ]
        for order in (events, events[::-1]):
            assert expected_features(order, cut_off=DAY)["a"]["bet_sum"] == 1

    def test_a_user_without_a_registration_has_no_row_at_a_cut_off(self):
        """There is nothing to count the hours from; without a cut-off it has one."""
        assert expected_features([bet("1.00")], cut_off=DAY) == {}
        assert set(expected_features([bet("1.00")])) == {"a"}

    def test_agree_with_numpy_on_the_stream(self, events):
        """Roughly, as floats are."""
        features = expected_features(events)
        for user, found in by_user(events).items():
            amounts = [float(e["bet_amount"]) for e in found if "bet_amount" in e]
            row = features[user]
            assert row["bet_count"] == len(amounts)
            assert float(row["bet_sum"]) == pytest.approx(sum(amounts))
            if len(amounts) > 1:
                assert float(row["bet_mean"]) == pytest.approx(np.mean(amounts))
                assert float(row["bet_var"]) == pytest.approx(
                    np.var(amounts, ddof=1), abs=1e-9
                )

    def test_do_not_change_with_what_is_sent(self, events, sent):
        """Duplicates, delays and another order make no difference."""
        arrived = [d.event for d in sent if d.event]

        assert expected_features(arrived) == expected_features(events)
        assert expected_features(arrived, cut_off=DAY) == expected_features(
            events, cut_off=DAY
        )


class TestRounded:
    @pytest.mark.parametrize(
        ("exact", "expected"),
        [
            ("0", "0"),
            ("1/2", "1"),
            ("-1/2", "-1"),
            ("3/2", "2"),
            ("5/2", "3"),
            ("-5/2", "-3"),
            ("49/100", "0"),
            ("-49/100", "0"),
        ],
    )
    def test_half_goes_away_from_zero(self, exact, expected):
        """To whole numbers here."""
        assert rounded(Fraction(exact), decimals=0) == Decimal(expected)

    def test_nine_decimals_are_kept_of_any_size(self):
        """More digits than a context has by default."""
        exact = Fraction(10**30) + Fraction(1, 3)

        assert str(rounded(exact)) == "1" + "0" * 30 + ".333333333"


class TestCommandLine:
    def test_writes_an_event_a_line(self, tmp_path):
        """The same bytes as from Python."""
        out = tmp_path / "events.ndjson"
        main(["--users", "20", "--maximum-events", "30", "--seed", "3", str(out)])
        games = Games(users=20, maximum_events=30, seed=3)

        assert out.read_bytes().splitlines() == [data for data, _ in games.payloads()]

    def test_writes_postcodes(self, tmp_path):
        """As CSV, which reads back as the table."""
        out, codes = tmp_path / "events.ndjson", tmp_path / "postcodes.csv"
        main(["--users", "1", "--postcodes", str(codes), str(out)])

        read = csv.read_csv(codes)
        assert read.cast(postcodes().schema) == postcodes()

    def test_writes_messages_with_their_faults(self, tmp_path):
        """Data in base64 and attributes, in the order of sending."""
        out = tmp_path / "messages.ndjson"
        main(["--users", "20", "--maximum-events", "30", "--faults", str(out)])
        messages = [json.loads(line) for line in out.read_bytes().splitlines()]
        sent = Games(users=20, maximum_events=30).deliveries()

        assert [(base64.b64decode(m["data"]), m["attributes"]) for m in messages] == [
            (d.data, d.attributes) for d in sent
        ]

    def test_takes_an_end_and_a_number_of_days(self, tmp_path):
        """A time without a zone is in UTC."""
        out = tmp_path / "events.ndjson"
        main(["--users", "20", "--days", "10", "--end", "2026-01-31T06:00", str(out)])
        times = [
            json.loads(line)["event_time"] for line in out.read_bytes().splitlines()
        ]

        assert "2026-01-21T06:00" <= min(times) < max(times) < "2026-01-31T06:00"

    def test_says_what_is_wrong(self, tmp_path, capsys):
        """On one line, without a traceback."""
        with pytest.raises(SystemExit):
            main(["--users", "0", str(tmp_path / "events.ndjson")])

        assert "at least 1 user" in capsys.readouterr().err
