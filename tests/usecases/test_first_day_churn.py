"""
Churn after the first day, specified: what counts, what is known when, and no leak.

Players who are one trap each are loaded once. A generated stream goes through the
consumers themselves, and what they gave the model is compared with what training reads.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import roc_auc_score

from local.generators.delivery import Delivery
from local.generators.games.features import expected_features
from local.generators.games.games import Games
from local.generators.games.messages import AMOUNT_FIELDS, attributes_of, encode
from local.generators.games.towns import postcodes
from local.stack.stack import Stack
from offline import load_model, load_postcodes, postcode_files
from propensity import tables, usecases
from propensity.clock import SYSTEM
from propensity.events import reading as stream
from propensity.events.messages import Message
from propensity.events.postcodes import PostcodeIndex
from propensity.registry import serving
from propensity.registry.versions import Registry
from propensity.runs import setup
from propensity.runs.watermark import EPOCH
from propensity.settings import Settings
from propensity.statements import statement
from propensity.stream.consumers import Edges
from propensity.stream.ingest import StreamFeatures
from propensity.stream.score import ScoreStream
from propensity.waiting.threads import DaemonThreads
from tests.conftest import Workplace, new_workplace
from tests.emptied import empty_tables
from tests.events import CATALOGUE, RULES
from tests.functions.conftest import application, entered
from tests.functions.streaming import Site

USE_CASE = usecases.load("first_day_churn")
# Tables with what has come of a stream.
STREAMED = (tables.STREAM_EVENTS, tables.INFERENCE_LOG, tables.DEAD_LETTERS)
MEASURES = ("purchase", "bet", "win")
TWELVE = [
    f"{measure}_{figure}"
    for measure in MEASURES
    for figure in ("count", "sum", "mean", "var")
]
AS_OF = date(2026, 3, 2)
MIDNIGHT = datetime(2026, 3, 2, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
WEEK = 7 * DAY
# Long after everything: all rows have come, all labels are known.
LATER = AS_OF + 60 * DAY

Row = dict[str, Any]

HOME = postcodes()["postcode"][0].as_py()
# Of the same district, which has 30 units of 4,000.
UNKNOWN_UNIT = f"{HOME.split()[0]} 0ZZ"


# Events -------------------------------------------------------------------------------


def event(
    user: str, at: datetime, kind: str = "new_bet", amount: object = None, **fields: Any
) -> Row:
    """Return an event; one of money is of 1 unless told, an id of its own is made."""
    made: Row = {
        "event_id": uuid.uuid4().hex,
        "use_case": USE_CASE.name,
        "user_id": user,
        "event_type": kind,
        "event_time": at.isoformat(),
    }
    if kind in AMOUNT_FIELDS:
        made[AMOUNT_FIELDS[kind]] = Decimal(str(1 if amount is None else amount))
    return made | fields


def registration(user: str, at: datetime, **fields: Any) -> Row:
    """Return a registration."""
    return event(user, at, "new_registration") | {
        "name": "Niamh Quayle",
        "date_of_birth": "1990-05-01",
        "street_address": "1 Mill Lane",
        "city": "Dunmere",
        "country": "England",
        "postcode": HOME,
        "affiliate_url": None,
        "campaign": "derby_day",
        "label": 0,
        **fields,
    }


def index_of_postcodes() -> PostcodeIndex:
    """Return the generator's postcodes as they are loaded."""
    typed = postcode_files.typed(
        postcodes().to_batches(), "postcode", "socioeconomic_idx"
    )
    return PostcodeIndex.of(load_postcodes.table_of(typed, loaded_on=AS_OF)[0])


POSTCODES = index_of_postcodes()


def accepted(events: Iterable[Row], *, received_at: datetime) -> pa.RecordBatch:
    """Return the rows of stream_events that events become."""
    messages = [
        Message(encode(one), uuid.uuid4().hex, attributes_of(one)) for one in events
    ]
    found = stream.accept(
        messages, CATALOGUE, POSTCODES, received_at=received_at, rules=RULES
    )
    assert not found.refused, found.reasons
    return found.rows


class Stream(Site):
    """A site's stored events, and the use case's statements over them."""

    def store(self, *batches: pa.RecordBatch) -> None:
        self.append(pa.Table.from_batches(batches))

    def add(self, *events: Row, received_at: datetime = MIDNIGHT + 90 * DAY) -> None:
        """Store events as they come, by default all of them long afterwards."""
        self.store(accepted(events, received_at=received_at))

    def first_days(self, *as_ofs: date) -> dict[str, Row]:
        """Return features by user; there must be one row a user over all dates."""
        window = USE_CASE.window(self.settings, as_ofs or [AS_OF])
        return self._by_user(USE_CASE.statement("features"), window)

    def training(self, *as_ofs: date, today: date = LATER) -> dict[str, Row]:
        """Return training rows by user."""
        window = USE_CASE.window(self.settings, as_ofs or [AS_OF], today=today)
        return self._by_user(
            USE_CASE.statement("training_rows"), {**window, "maximum_rows": 100_000}
        )

    def served(self, users: Iterable[str], *, since: date) -> dict[str, Row]:
        """Return what serving reads of users whose events are of a day or later."""
        rows = self.warehouse.lookup(
            USE_CASE.statement("stream_rows"),
            USE_CASE.serving(self.settings, {*users}, first_event_day=since),
        )[0]
        found = {row["user_id"]: dict(row.items()) for row in rows}
        assert len(found) == len(rows)
        return found

    def post(self, target: str, as_of: date, **body: object) -> Row:
        """Call a function in this process, which must succeed; return its answer."""
        asked = {"use_case": USE_CASE.name, "as_of": str(as_of), **body}
        with entered(self.environment), application(target).test_client() as caller:
            answer = caller.post("/", json=asked)
        assert answer.status_code == 200, answer.text
        return dict(answer.json)


@pytest.fixture(scope="module")
def opened(emulators: Stack, bigquery_emulator: Any) -> Iterator[Callable[..., Stream]]:
    """
    Open a stream: a new one, or that of a workplace with other settings.

    It has the tables that the use case's statements read; ``prepare`` makes the rest.
    """
    with contextlib.ExitStack() as stack:

        def make(place: Workplace | None = None, **extra: str) -> Stream:
            is_new = place is None
            place = place or new_workplace(emulators, bigquery_emulator)
            made = Stream(place, emulators.address("pubsub"), extra)
            stack.callback(made.close)
            if is_new:
                made.warehouse.create(tables.STREAM_EVENTS)
                made.warehouse.create(tables.STREAM_USERS)
            return made

        yield make


@pytest.fixture(scope="module")
def spare(opened) -> Stream:
    """A stream that tests have one after the other."""
    made = opened()
    made.warehouse.create(tables.STREAM_FEATURES_DAILY)
    return made


@pytest.fixture
def empty(spare) -> Stream:
    """The same, without a row."""
    stored = (tables.STREAM_EVENTS, tables.STREAM_USERS, tables.STREAM_FEATURES_DAILY)
    empty_tables(spare.warehouse, stored)
    return spare


def model_input(row: Mapping[str, Any]) -> Row:
    """Return what the model reads of a row, in its order."""
    return {name: row[name] for name in USE_CASE.features}


def as_numbers(exact: Mapping[str, Any]) -> Row:
    """Return exact features as the numbers nearest to them."""
    return {
        name: None if exact[name] is None else float(exact[name]) for name in TWELVE
    }


def ago(**span: float) -> datetime:
    """Return a moment before the as-of date."""
    return MIDNIGHT - timedelta(**span)


# Traps --------------------------------------------------------------------------------

REGISTERED = ago(days=3)
EVERYTHING = ("new_purchases", "new_bet", "new_win")


def traps() -> list[tuple[Row, datetime]]:
    """Return everybody's events with when they came; the user says what they test."""
    soon, late = timedelta(seconds=1), 5 * DAY
    rows: list[tuple[Row, datetime]] = []

    def add(*events: Row, after: timedelta = soon) -> None:
        for one in events:
            at = datetime.fromisoformat(one["event_time"])
            rows.append((one, at + after))

    def player(user: str, at: datetime = REGISTERED, **fields: Any) -> str:
        add(registration(user, at, **fields))
        return user

    add(event(player("plain"), REGISTERED + HOUR, amount="2.50"))
    player("silent")
    add(*(event("never registered", REGISTERED, kind) for kind in EVERYTHING))
    for user, offset in (
        ("before", -MICROSECOND),
        ("at registration", timedelta()),
        ("at the last moment", DAY - MICROSECOND),
        ("a day later", DAY),
    ):
        add(event(player(user), REGISTERED + offset))
    add(event(player("late"), REGISTERED + HOUR, amount="7.25"), after=late)

    player("sent twice")
    again = event("sent twice", REGISTERED + HOUR, amount=3)
    add(again)
    add(again, after=2 * DAY)
    same = event(player("one id"), REGISTERED + HOUR, amount=3, event_id="one")
    add(same, same | {"user_id": player("the same id")})
    # Over midnight: an id names one event of one day.
    player("one id, two days", REGISTERED + 12 * HOUR)
    for offset in (13 * HOUR, 25 * HOUR):
        add(event("one id, two days", REGISTERED + offset, event_id="one"))

    add(event(player("registers twice", campaign="first", label=1), REGISTERED + HOUR))
    player("registers twice", REGISTERED + 5 * HOUR, campaign="second", label=0)
    add(event("registers twice", REGISTERED + DAY + HOUR, amount=99))
    second = registration("second comes first", REGISTERED + HOUR, campaign="second")
    add(second, registration("second comes first", REGISTERED, campaign="first"))
    add(event("second comes first", REGISTERED))
    player("comes back", REGISTERED - WEEK)
    player("comes back")

    player("ends at as_of", MIDNIGHT - DAY)
    player("ends after as_of", MIDNIGHT - DAY + MICROSECOND)
    player("ended the week before", MIDNIGHT - 8 * DAY)
    player("first of the week", MIDNIGHT - 8 * DAY + MICROSECOND)
    # A clock that is ten minutes fast: received the day before it happened.
    fast = registration("fast clock", MIDNIGHT - 8 * DAY + 5 * MINUTE)
    add(fast, event("fast clock", MIDNIGHT - 8 * DAY + 6 * MINUTE), after=-10 * MINUTE)

    player("nowhere", postcode="ZZ99 9ZZ")
    player("unknown unit", postcode=UNKNOWN_UNIT)
    player("small letters", postcode=f" {HOME.lower().replace(' ', '')}")
    player("label not known", label=None)
    unsaid = registration("label not said", REGISTERED)
    del unsaid["label"]
    add(unsaid)
    player("label comes later", label=None, event_id="r")
    known = registration("label comes later", REGISTERED, label=1, event_id="r")
    add(known, after=late)
    return rows


@cache
def large_amounts() -> tuple[Row, ...]:
    """Return players whose amounts reach the bounds that an event may have."""
    random = np.random.default_rng(5)
    rows = [registration("three of a billion", REGISTERED)]
    for cents in (99_999_999_999, 99_999_999_998, 99_999_999_997):
        amount = Decimal(cents).scaleb(-2)
        rows.append(event("three of a billion", REGISTERED, "new_win", amount))
    for number in range(12):
        user, most = f"large {number}", 100 * 10 ** (number % 10)
        rows.append(registration(user, REGISTERED))
        for kind in EVERYTHING:
            for cents in random.integers(0, most + 1, 3 + 9 * number).tolist():
                at = REGISTERED + timedelta(seconds=int(random.integers(80_000)))
                rows.append(event(user, at, kind, Decimal(cents).scaleb(-2)))
    return tuple(rows)


@pytest.fixture(scope="module")
def trapped(opened) -> Stream:
    """Everybody's events, each as it came."""
    place = opened()
    place.store(
        *(accepted([one], received_at=received) for one, received in traps()),
        accepted(large_amounts(), received_at=MIDNIGHT),
    )
    return place


@pytest.fixture(scope="module")
def features(trapped) -> dict[str, Row]:
    """Everybody's features at the as-of date."""
    return trapped.first_days()


class TestCohort:
    def test_is_everyone_whose_first_day_ended_in_the_lookback(self, features):
        """(as_of - 7 days, as_of], to the microsecond; a day later it is over."""
        assert {"ends at as_of", "first of the week", "plain", "silent"} <= set(
            features
        )
        assert not {"ends after as_of", "ended the week before"} & set(features)

    def test_is_those_who_registered(self, features):
        """Who plays without a registration has no first day."""
        assert "never registered" not in features

    def test_has_everyone_once_over_all_snapshots(self, trapped):
        """Weekly as-of dates share nobody, and leave nobody out."""
        weeks = [AS_OF + week * WEEK for week in range(-3, 3)]
        events = [*(one for one, _ in traps()), *large_amounts()]
        everyone = {one["user_id"] for one in events} - {"never registered"}
        alone = [trapped.first_days(week) for week in weeks]

        assert set(trapped.first_days(*weeks)) == everyone
        assert sum(map(len, alone)) == len(everyone)

    def test_has_the_same_rows_alone_as_with_others(self, trapped, features):
        """A snapshot's rows do not depend on which others are read with it."""
        weeks = [AS_OF - 14 * DAY, AS_OF - WEEK, AS_OF, AS_OF + WEEK]
        together = trapped.first_days(*weeks)

        assert {user: together[user] for user in features} == features

    def test_has_every_feature_in_its_type(self, features):
        """Each feature of usecase.toml is a column: a number or a text."""
        for row in features.values():
            assert set(row) == {"as_of", "user_id", *USE_CASE.features}
            for name, kind in USE_CASE.features.items():
                wanted = float if kind == "number" else str
                assert row[name] is None or type(row[name]) is wanted, name


class TestFirstDay:
    def test_is_half_open(self, features):
        """An event counts from the registration on, and not a day after it."""
        counts = {
            user: features[user]["bet_count"]
            for user in (
                "before",
                "at registration",
                "at the last moment",
                "a day later",
            )
        }

        assert list(counts.values()) == [0, 1, 1, 0]

    def test_counts_what_came_late(self, features):
        """An event that was five days on its way is of its own time."""
        assert features["late"]["bet_sum"] == 7.25

    def test_counts_an_event_once(self, features):
        """An id names one event of a user's day, however often it came."""
        assert features["sent twice"]["bet_sum"] == 3
        assert features["one id"]["bet_sum"] == features["the same id"]["bet_sum"] == 3
        assert features["one id, two days"]["bet_count"] == 2

    def test_is_that_of_the_first_registration(self, features):
        """Whoever registers twice has one first day, whichever came first."""
        twice, disordered = features["registers twice"], features["second comes first"]

        assert (twice["campaign"], twice["bet_sum"]) == ("first", 1)
        assert (disordered["campaign"], disordered["bet_count"]) == ("first", 1)

    def test_comes_once(self, trapped, features):
        """Who registers anew a week later had the first day then."""
        assert "comes back" in trapped.first_days(AS_OF - WEEK)
        assert "comes back" not in features

    def test_is_read_whole_where_a_clock_was_fast(self, features):
        """What was received the day before it happened, at the edge, still counts."""
        assert features["fast clock"]["bet_count"] == 1

    def test_may_be_without_play(self, features):
        """Nothing played is zero and no mean; nothing is left out."""
        row = features["silent"]

        for measure in MEASURES:
            assert (row[f"{measure}_count"], row[f"{measure}_sum"]) == (0, 0)
            assert row[f"{measure}_mean"] is None
            assert row[f"{measure}_var"] is None
        assert features["plain"]["bet_mean"] == 2.5
        assert features["plain"]["bet_var"] is None

    def test_begins_with_what_the_registration_says(self, features):
        """Age, place and channel; an unknown postcode has no index."""
        row = features["silent"]

        assert (row["age"], row["country"], row["campaign"]) == (
            35,
            "England",
            "derby_day",
        )
        assert row["affiliate_url"] is None
        assert row["registration_hour"] == 0
        index = {user: features[user]["socioeconomic_idx"] for user in features}
        assert index["silent"] == index["small letters"] == POSTCODES.find(HOME)
        assert index["unknown unit"] == POSTCODES.find(UNKNOWN_UNIT)
        assert None not in {index["silent"], index["unknown unit"]}
        assert index["nowhere"] is None


# What is exact ------------------------------------------------------------------------


class TestFigures:
    def test_are_the_numbers_nearest_to_the_exact_ones(self, features):
        """Sums, means and variances of amounts up to 1e9, as rationals give them."""
        exact = expected_features(large_amounts(), cut_off=DAY)

        assert features["three of a billion"]["win_var"] == 0.0001
        for user, row in exact.items():
            assert {name: features[user][name] for name in TWELVE} == as_numbers(row)


GAMES = Games(seed=3, users=150, maximum_events=60, days=28, end=MIDNIGHT)
WEEKS = [AS_OF - week * WEEK for week in range(5)]


@pytest.fixture(scope="module")
def generated(opened) -> Stream:
    """A small generated stream, all of it stored."""
    place = opened()
    place.add(*GAMES.events(), received_at=MIDNIGHT)
    return place


class TestHours:
    @pytest.mark.parametrize(
        "hours", [24, *(pytest.param(one, marks=pytest.mark.long) for one in (6, 48))]
    )
    def test_are_the_same_in_training_and_serving(self, opened, generated, hours):
        """Both read the same events of everybody, and sum them to the same bits."""
        place = opened(generated.workplace, PROPENSITY_FIRST_DAY_HOURS=str(hours))
        exact = expected_features(GAMES.events(), cut_off=timedelta(hours=hours))
        weeks = [*WEEKS, AS_OF + WEEK]
        trained = place.training(*weeks)
        served = place.served(GAMES.user_ids, since=GAMES.first_date)

        assert set(trained) == set(served) == set(GAMES.user_ids)
        for user, row in trained.items():
            assert {name: row[name] for name in TWELVE} == as_numbers(exact[user])
            assert model_input(row) == model_input(served[user])

    def test_are_read_whole_at_the_edges(self, opened, empty):
        """
        Who is the first of a week is there with all events, in training as in serving,
        even if a clock was a day fast: no partition is left out that holds one.
        """
        place, last = empty, MIDNIGHT - WEEK
        began = {hours: last - hours * HOUR + MICROSECOND for hours in (1, 24, 25, 71)}
        events = [
            one
            for hours, moment in began.items()
            for one in (
                registration(f"edge {hours}", moment),
                event(f"edge {hours}", moment),
                event(f"edge {hours}", last),
            )
        ]
        rows = accepted(events, received_at=MIDNIGHT).to_pylist()
        for row in rows:
            row["received_at"] = row["event_time"] - DAY
            row["received_on"] = row["received_at"].date()
        place.store(pa.RecordBatch.from_pylist(rows, stream.EVENT_SCHEMA))
        for hours in began:
            user = f"edge {hours}"
            set_so = opened(place.workplace, PROPENSITY_FIRST_DAY_HOURS=str(hours))
            served = set_so.served([user], since=last.date())[user]

            assert served["bet_count"] == 2
            assert served["scored_until"] == last + MICROSECOND
            assert model_input(set_so.first_days()[user]) == model_input(served)


class TestLongAgo:
    def test_a_registration_is_known_however_old(self, empty):
        """Who registers anew after two months is no new player: it is compacted."""
        place = empty
        place.add(registration("old", ago(days=63)), received_at=ago(days=63))
        place.warehouse.execute(
            statement("compact_days"),
            {
                "since": EPOCH,
                "since_day": EPOCH.date(),
                "until": MIDNIGHT,
                "until_day": MIDNIGHT.date(),
                "months": [ago(days=63).date().replace(day=1)],
                "now": MIDNIGHT,
            },
        )
        for user in ("old", "new"):
            for one in (registration(user, REGISTERED), event(user, REGISTERED)):
                place.add(one, received_at=REGISTERED)

        assert set(place.first_days()) == {"new"}
        assert set(place.served(["old", "new"], since=REGISTERED.date())) == {"new"}
        assert set(place.first_days(AS_OF - 56 * DAY)) == {"old"}


# What is known when -------------------------------------------------------------------


def before(events: Iterable[Row], moment: datetime) -> list[Row]:
    """Return the events that had happened by a moment."""
    return [one for one in events if datetime.fromisoformat(one["event_time"]) < moment]


class TestTime:
    def test_leaves_out_what_had_not_happened(self, empty, generated):
        """
        No event at or after an as-of date changes a feature at that date: neither the
        generated rest of the stream, nor whatever else may come at that very moment.
        """
        as_of, moment = AS_OF - WEEK, MIDNIGHT - WEEK
        place = empty
        place.add(*before(GAMES.events(), moment), received_at=moment)
        then = place.first_days(as_of)
        place.add(
            *(
                one
                for user in then
                for one in (
                    registration(user, moment, campaign="later", label=1),
                    *(event(user, moment, kind, 1e9) for kind in EVERYTHING),
                )
            )
        )

        assert len(then) > 20
        assert place.first_days(as_of) == then
        assert generated.first_days(as_of) == then


class TestLabel:
    @pytest.mark.parametrize(
        "days", [7, *(pytest.param(one, marks=pytest.mark.long) for one in (1, 30))]
    )
    def test_is_known_some_days_after_the_registration(self, opened, trapped, days):
        """Not on the day before, whatever the stream has said by then."""
        place = opened(trapped.workplace, PROPENSITY_LABEL_KNOWN_DAYS=str(days))
        known_on = REGISTERED.date() + days * DAY

        assert "plain" not in place.training(today=known_on - DAY)
        assert place.training(today=known_on)["plain"]["label"] == 0

    def test_is_of_those_only_of_whom_it_is_known(self, trapped, features):
        """Null or absent, a label leaves its user out of training, not of scoring."""
        unknown = {"label not known", "label not said"}

        assert set(trapped.training()) == set(features) - unknown
        assert unknown < set(features)

    def test_may_come_later(self, trapped):
        """A registration sent again with the label is the same registration."""
        assert trapped.training()["label comes later"]["label"] == 1

    def test_is_that_of_the_first_registration(self, trapped):
        """As the first day is."""
        assert trapped.training()["registers twice"]["label"] == 1

    def test_of_churn_is_what_labels_sql_returns(self, trapped):
        """One row for each who is known to have left."""
        window = USE_CASE.window(trapped.settings, [AS_OF], today=LATER)
        rows = trapped.warehouse.rows(USE_CASE.statement("labels"), window)

        assert sorted(row["user_id"] for row in rows) == sorted(
            user for user, row in trapped.training().items() if row["label"]
        )
        assert {row["as_of"] for row in rows} == {AS_OF}

    def test_is_final_when_it_is_known(self):
        """Figures of a week stay provisional until its last label is known."""

        def final(**chosen: int) -> date:
            timeframe = USE_CASE.timeframe(Settings(project="p", **chosen))
            days = timeframe.horizon_days + timeframe.settle_days
            assert timeframe.is_matured(AS_OF, today=AS_OF + days * DAY)
            return AS_OF + days * DAY

        assert final() == AS_OF + 10 * DAY
        assert final(label_known_days=1) == AS_OF + 10 * DAY
        assert final(label_known_days=30) == AS_OF + 30 * DAY


class TestSample:
    def test_leaves_out_the_same_users_again(self, generated):
        """Beyond the bound users of both labels are, and who stays stands for them."""
        window = USE_CASE.window(generated.settings, WEEKS, today=LATER)

        def rows(most: int) -> dict[str, Row]:
            found = generated.warehouse.table(
                USE_CASE.statement("training_rows"), {**window, "maximum_rows": most}
            )
            return {row["user_id"]: row for row in found.to_pylist()}

        most = len(GAMES.user_ids) // 2
        whole, some = rows(100_000), rows(most)

        def weighed(found: dict[str, Row], label: int) -> float:
            return sum(row["weight"] for row in found.values() if row["label"] == label)

        assert {row["weight"] for row in whole.values()} == {1.0}
        assert some == rows(most)
        assert all({**row, "weight": 1.0} == whole[user] for user, row in some.items())
        assert 0.9 * most <= len(some) <= most
        for label in (0, 1):
            assert weighed(some, label) == pytest.approx(weighed(whole, label))


# No leak ------------------------------------------------------------------------------


def flipped(events: Iterable[Row]) -> Iterator[Row]:
    """Yield events whose labels say the opposite."""
    for one in events:
        yield one | {"label": 1 - one["label"]} if "label" in one else one


class TestLeak:
    def test_no_statement_but_one_reads_a_label(self):
        """Only known_labels.sql does; others may join what it returns, as k.label."""
        folder = resources.files(usecases) / USE_CASE.name
        statements = [
            *(one for one in folder.iterdir() if one.name.endswith(".sql")),
            *(resources.files("propensity") / "sql").iterdir(),
        ]
        reading = set()
        for one in statements:
            sql = re.sub("--.*", "", one.read_text("utf-8"))
            if re.search(r"(?<!\bk\.)\blabel\b", sql):
                reading.add(one.name)
            if re.search(r"\bk\.label\b", sql):
                assert re.search(
                    r"include: known_labels\.sql\n *\)( AS k|,.*\bknown AS k\n)",
                    one.read_text("utf-8"),
                    re.DOTALL,
                ), one.name

        # The shared training_rows.sql, which makes labels of events, is not used here.
        # A sample reads the labels of rows that have one. A replay reads whole events,
        # to send them again. The others read truths, which are of another table and
        # other use cases.
        others = {
            "training_rows.sql",
            "sampled_rows.sql",
            "replay_events.sql",
            "newest_truths.sql",
            "known_truths.sql",
            "event_training_rows.sql",
            "event_evaluation_rows.sql",
            "first_scores.sql",
            # Outcomes of audiences, which are read after the day they are about.
            "audience_outcomes.sql",
            "audience_sums.sql",
        }
        assert reading - others == {"known_labels.sql"}
        assert (folder / "training_rows.sql").is_file()

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

    def test_no_other_column_of_an_event_depends_on_it(self):
        """Stored, and published on, an event says the same but for the label itself."""
        events = [one for one in GAMES.events() if "label" in one]

        def taken(found: Iterable[Row]) -> tuple[list[Row], list[Row]]:
            messages = [Message(encode(one), one["event_id"]) for one in found]
            made = stream.accept(
                messages, CATALOGUE, POSTCODES, received_at=MIDNIGHT, rules=RULES
            )
            return made.rows.to_pylist(), [json.loads(one) for one in made.enriched]

        for ours, theirs in zip(taken(events), taken(flipped(events)), strict=True):
            assert len(ours) == len(events)
            for mine, other in zip(ours, theirs, strict=True):
                assert mine.pop("label") == 1 - other.pop("label")
                assert mine == other


# On the stream ------------------------------------------------------------------------


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
        edges = Edges.open(place.settings, SYSTEM, threads=DaemonThreads())
        features, scores = StreamFeatures(edges), ScoreStream(edges)
        done = 0
        while done < len(deliveries):
            chosen = deliveries[done : done + int(random.integers(1, 80))]
            messages = [
                Message(one.data, str(done + place), one.attributes)
                for place, one in enumerate(chosen)
            ]
            done += len(chosen)
            refused = await features.consume(messages)
            count = len(chosen) - len(refused)
            pulled = await asyncio.to_thread(place.pull, subscription, count)
            # Pub/Sub promises no order; with one the last bit of a score is the same.
            pulled.sort(key=lambda one: (one.attributes["event_id"], one.message_id))
            groups.append(Group(chosen, datetime.now(UTC)))
            await scores.consume(
                [
                    Message(one.data, one.message_id, dict(one.attributes))
                    for one in pulled
                ]
            )

    with entered(place.environment):
        asyncio.run(consume())
    place.unsubscribe(subscription)
    return groups


def inferences(place: Stream) -> list[Row]:
    """Return all that was scored, in order, with what the model was given."""
    found = place.rows("SELECT * FROM inference_log ORDER BY scored_at")
    return [row | {"features": json.loads(row["features"])} for row in found]


def served_by_the_shipped_model(place: Stream) -> Stream:
    """Return a place where postcodes are loaded, and the shipped model serves."""
    place.prepare()
    load_postcodes.load(place.warehouse, postcodes(), loaded_on=AS_OF)
    load_model.load(place.warehouse, place.artifacts, place.settings)
    return place


PLAYED = Games(seed=11, users=40, maximum_events=30, days=10, end=MIDNIGHT)


@dataclass(frozen=True)
class Relabelled:
    """Where a stream was played twice, and the scores as it was and with each label
    turned round: event, probability and features of each."""

    place: Stream
    scores: Sequence[Sequence[tuple[str, float, str]]]


@pytest.fixture(scope="module")
def relabelled(opened) -> Relabelled:
    """A small generated stream, played as it is and with other labels."""
    games = replace(PLAYED, users=20, maximum_events=10)
    deliveries = games.deliveries(broken=0)
    told = [
        replace(one, data=encode(next(flipped([one.event]))))
        for one in deliveries
        if one.event is not None
    ]
    scores = []
    place = served_by_the_shipped_model(opened())
    for stream_of in (deliveries, told):
        play(place, stream_of, seed=2)
        scores.append(
            sorted(
                (row["event_id"], row["probability"], json.dumps(row["features"]))
                for row in inferences(place)
            )
        )
        empty_tables(place.warehouse, STREAMED)
    return Relabelled(place, scores)


@pytest.fixture(scope="module")
def played(relabelled) -> tuple[Stream, list[Group]]:
    """A generated stream with duplicates, late and broken messages, played where
    nothing is left of the one before."""
    return relabelled.place, play(relabelled.place, PLAYED.deliveries(), seed=1)


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
        wanted: Counter[tuple[int, str]] = Counter()
        known: list[Row] = []
        exact: list[dict[str, Row]] = []
        for number, group in enumerate(groups):
            came = [one.event for one in group.deliveries if one.event is not None]
            known += came
            ends = {
                one["user_id"]: datetime.fromisoformat(one["event_time"]) + DAY
                for one in known
                if one["event_type"] == "new_registration"
            }
            exact.append(expected_features(known, cut_off=DAY))
            wanted.update(
                (number, one["event_id"])
                for one in came
                if one["user_id"] in ends
                and datetime.fromisoformat(one["event_time"]) < ends[one["user_id"]]
            )
        found: Counter[tuple[int, str]] = Counter()
        for row in scored:
            number = sum(group.since <= row["scored_at"] for group in groups) - 1
            found[number, row["event_id"]] += 1
            given = {name: row["features"][name] for name in TWELVE}
            assert given == as_numbers(exact[number][row["user_id"]])

        assert len(groups) > 10
        assert found == wanted
        assert len(found) < sum(len(group.deliveries) for group in groups)

    def test_are_those_of_the_model(self, played):
        """The probability logged is what the champion gives for the features logged."""
        place, _ = played
        scored = inferences(place)
        metadata = serving.recorded(place.warehouse, USE_CASE, 0)
        registry = Registry(place.artifacts, USE_CASE.name)
        scorer = serving.loaded(registry, USE_CASE, metadata).scorer
        given = [row["features"] for row in scored]
        probability = scorer.probabilities(batch_of(given))

        assert {row["model_version"] for row in scored} == {0}
        # What is added up in another batch may differ in the last bit.
        assert [row["probability"] for row in scored] == pytest.approx(
            probability.tolist(), abs=1e-12
        )

    def test_do_not_depend_on_labels(self, relabelled):
        """Leak: a stream that differs in labels only gets the same scores, and the
        model the same features, for every event."""
        as_it_was, turned_round = relabelled.scores

        assert len(as_it_was) > 100
        assert as_it_was == turned_round


def batch_of(rows: Sequence[Row]) -> pa.RecordBatch:
    """Return rows as a batch in the types of the features."""
    kinds = {"number": pa.float64(), "category": pa.string()}
    schema = pa.schema(
        [(name, kinds[kind]) for name, kind in USE_CASE.features.items()]
    )
    return pa.RecordBatch.from_pylist(list(rows), schema=schema)


# From training to evaluation ----------------------------------------------------------

# Of these fewer leave than of those whom the shipped model knows.
COLLECTED = Games(seed=5, users=1_600, maximum_events=40, churn_rate=0.5, end=MIDNIGHT)


@pytest.fixture(scope="module")
def collected(opened) -> Stream:
    """What was collected of sixteen hundred players while the shipped model served."""
    place = served_by_the_shipped_model(opened())
    # What training, predictions and evaluation write besides.
    setup.prepare(place.warehouse, place.artifacts, place.settings)
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
        metadata = serving.recorded(collected.warehouse, USE_CASE, 0)
        registry = Registry(collected.artifacts, USE_CASE.name)
        scorer = serving.loaded(registry, USE_CASE, metadata).scorer
        rows = collected.training(*(AS_OF - week * WEEK for week in range(1, 8)))
        probability = scorer.probabilities(
            batch_of([model_input(row) for row in rows.values()])
        )
        area = roc_auc_score([row["label"] for row in rows.values()], probability)

        assert metadata["as_of"] < COLLECTED.first_date
        assert len(rows) > 800
        assert area > 0.8

    def test_is_replaced_by_a_training(self, trained):
        """00 compares it on the newest week that the stream has collected, and the
        model that knows these players serves."""
        place, row = trained
        champion = Registry(place.artifacts, USE_CASE.name).champion()

        assert row["compared_version"] == 0
        assert row["verdict"].startswith("not worse")
        assert row["log_loss_difference_high"] < 0
        assert (champion.version, champion.previous) == (1, 0)


class TestTraining:
    def test_finds_what_there_is_to_find(self, trained):
        """
        On the newest week the ranking is far above that of the number of bets, and
        near the best that is possible, that of the true probabilities.
        """
        place, row = trained
        card = json.loads(place.artifacts.read(row["card_object"]).data)
        [baseline] = card["baselines"]
        users = place.training(*row["holdout_as_ofs"])
        truth = COLLECTED.true_probabilities()
        possible = roc_auc_score(
            [one["label"] for one in users.values()], [truth[user] for user in users]
        )

        assert row["users"] == len(users)
        # Of two hundred users: a ROC AUC has a standard deviation of some 0.03.
        assert row["roc_auc"] > baseline["roc_auc"] + 0.1
        assert row["roc_auc"] > possible - 0.05
        assert {one["name"] for one in card["candidates"]} == {
            one.name for one in USE_CASE.candidates
        }

    def test_reads_everybody_once(self, trained):
        """Its data set has one row a user, of weekly dates whose labels are known."""
        place, row = trained
        parts = ("train_as_ofs", "calibration_as_ofs", "holdout_as_ofs")
        as_ofs = [as_of for part in parts for as_of in row[part]]
        rows = row["train_rows"] + row["calibration_rows"] + row["users"]

        assert max(as_ofs) == AS_OF - 10 * DAY
        assert rows == len(place.training(*as_ofs))

    def test_describes_its_data(self, trained):
        """The report shows a histogram of every number, correlations and importance."""
        place, row = trained
        page = place.artifacts.read(row["report_object"]).data.decode()
        numbers = [name for name, kind in USE_CASE.features.items() if kind == "number"]
        titles = re.findall(r"<title>(.*?)</title>", page)
        headings = re.findall(r"<h[23][^>]*>(.*?)</h[23]>", page)

        for name in numbers:
            assert any(name in title for title in titles), name
        assert "Rank correlations of the numeric features" in titles
        assert {"What it looks at", "Correlations"} <= set(headings)
        assert {one["feature"] for one in json.loads(row["importance"])} == set(
            USE_CASE.features
        )


class TestPredictions:
    def test_are_of_the_week_s_new_players(self, trained):
        """01 scores everyone whose first day has ended since the week before."""
        place, _ = trained
        answer = place.post("predictions", AS_OF)
        found = place.rows("SELECT user_id, probability FROM ma_predictions_table")

        assert answer["model_version"] == 1
        assert answer["users"] == len(found) > 100
        assert {row["user_id"] for row in found} == set(place.first_days(AS_OF))

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

        assert answer["model_version"] == week["model_version"] == 0
        assert (week["week"], week["outcome"]) == (str(as_of), "evaluated")
        assert (week["users"], week["conversions"]) == (len(labels), sum(labels))
        assert week["unscored_converters"] == 1
        assert week["roc_auc"] > 0.75
