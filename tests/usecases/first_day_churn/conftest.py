"""Players: their events, sites that have stored them, and what was said of them."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from local.generators.games import AMOUNT_FIELDS, Games, postcodes
from local.generators.streams import attributes_of, encode
from local.stack.stack import Stack
from offline import load_model, load_postcodes
from propensity import usecases
from propensity.events import rows as stream
from propensity.events.messages import Message
from propensity.events.rows import PostcodeIndex
from propensity.registry.serving import users_on_the_stream
from propensity.tables import every as tables
from tests.conftest import new_workplace
from tests.deployment import OF_A_STREAM, Deployment
from tests.emptied import empty_tables
from tests.events import CATALOGUE, LATENESS
from tests.functions.streaming import prepare_stream

USE_CASE = usecases.load("first_day_churn")
ELAPSED = USE_CASE.stream.elapsed
TWELVE = [
    f"{measure}_{figure}"
    for measure in ("purchase", "bet", "win")
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


def event(
    user: str, at: datetime, kind: str = "new_bet", amount: object = None, **fields: Any
) -> Row:
    """Return an event; one of money is of 1 unless told, an id of its own is made."""
    row: Row = {
        "event_id": uuid.uuid4().hex,
        "use_case": USE_CASE.name,
        "user_id": user,
        "event_type": kind,
        "event_time": at.isoformat(),
    }
    if kind in AMOUNT_FIELDS:
        row[AMOUNT_FIELDS[kind]] = Decimal(str(1 if amount is None else amount))
    return row | fields


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


POSTCODES = PostcodeIndex(load_postcodes.table_of(postcodes(), loaded_on=AS_OF)[0])


def accepted(events: Iterable[Row], *, received_at: datetime) -> pa.RecordBatch:
    """Return the rows of stream_events that events become."""
    messages = [
        Message(encode(row), uuid.uuid4().hex, attributes_of(row)) for row in events
    ]
    result = stream.accept(messages, CATALOGUE, POSTCODES, received_at=received_at)
    assert not result.refused, result.refused
    return stream.rows_of(
        tables.STREAM_EVENTS, result.events, received_at=received_at, lateness=LATENESS
    )


class Stream(Deployment):
    """A site's stored events, and the use case's statements over them."""

    def store(self, *batches: pa.RecordBatch) -> None:
        super().store(pa.Table.from_batches(batches))

    def add(self, *events: Row, received_at: datetime = MIDNIGHT + 90 * DAY) -> None:
        """Store events as they come, by default all of them long afterwards."""
        self.store(accepted(events, received_at=received_at))

    def first_days(self, *as_ofs: date) -> dict[str, Row]:
        """Return features by user; there must be one row a user over all dates."""
        window = USE_CASE.window(self.settings, as_ofs or [AS_OF])
        return self._by_user(USE_CASE.statement("features"), window)

    def moments(self, *as_ofs: date, today: date = LATER) -> list[Row]:
        """Return training rows: of the whole first day, and of moments of it."""
        window = USE_CASE.window(self.settings, as_ofs or [AS_OF], today=today)
        sql, sampled = USE_CASE.statement("training_rows"), {"maximum_rows": 100_000}
        return [dict(row) for row in self.rows(sql, **window, **sampled)]

    def training(self, *as_ofs: date, today: date = LATER) -> dict[str, Row]:
        """Return training rows of whole days by user."""
        rows = self.moments(*as_ofs, today=today)
        end = USE_CASE.chosen(self.settings)["first_day_hours"]
        return {row["user_id"]: row for row in rows if row[ELAPSED] == end}

    def served(self, users: Iterable[str], *, since: date) -> dict[str, Row]:
        """Return what serving reads of users whose events are of a day or later."""
        known = users_on_the_stream(
            self.warehouse, USE_CASE, {*users}, first_event_day=since
        )
        return {
            user: {**one.values, "scored_until": one.until}
            for user, one in known.items()
        }


def model_input(row: Mapping[str, Any], *, without: str = "") -> Row:
    """Return what the model reads of a row, in its order."""
    return {name: row[name] for name in USE_CASE.features if name != without}


def as_numbers(exact: Mapping[str, Any]) -> Row:
    """Return exact features as the numbers nearest to them."""
    return {
        name: None if exact[name] is None else float(exact[name]) for name in TWELVE
    }


def ago(**span: float) -> datetime:
    """Return a moment before the as-of date."""
    return MIDNIGHT - timedelta(**span)


REGISTERED = ago(days=3)
EVERYTHING = ("new_purchases", "new_bet", "new_win")


def traps() -> list[tuple[Row, datetime]]:
    """Return everybody's events with when they came; the user says what they test."""
    soon, late = timedelta(seconds=1), 5 * DAY
    rows: list[tuple[Row, datetime]] = []

    def add(*events: Row, after: timedelta = soon) -> None:
        for row in events:
            at = datetime.fromisoformat(row["event_time"])
            rows.append((row, at + after))

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


GAMES = Games(seed=3, users=150, maximum_events=60, days=28, end=MIDNIGHT)
WEEKS = [AS_OF - week * WEEK for week in range(5)]


def served_by_the_shipped_model(place: Stream) -> Stream:
    """Return a place where postcodes are loaded, and the shipped model serves."""
    prepare_stream(place)
    load_postcodes.load(place.warehouse, postcodes(), loaded_on=AS_OF)
    load_model.load(place.warehouse, place.artifacts, place.settings)
    return place


@pytest.fixture(scope="module")
def opened(emulators: Stack) -> Iterator[Callable[[], Stream]]:
    """Open a stream with the tables that the use case's statements read; ``prepare``
    makes the rest."""
    with contextlib.ExitStack() as stack:

        def make() -> Stream:
            stream = Stream(new_workplace(emulators), **OF_A_STREAM)
            stream.extra = {"PROPENSITY_TOPIC_PREFIX": stream.name, **stream.extra}
            stack.callback(stream.close)
            stream.warehouse.create(tables.STREAM_EVENTS)
            stream.warehouse.create(tables.STREAM_FEATURES_DAILY)
            return stream

        yield make


@pytest.fixture(scope="module")
def spare(opened) -> Stream:
    """A stream that tests have one after the other."""
    stream = opened()
    stream.warehouse.create(tables.STREAM_COMPACTIONS)
    return stream


@pytest.fixture
def empty(spare) -> Stream:
    """The same, without a row."""
    stored = (tables.STREAM_EVENTS, tables.STREAM_FEATURES_DAILY)
    empty_tables(spare.warehouse, stored)
    return spare


@pytest.fixture(scope="module")
def trapped(opened) -> Stream:
    """Everybody's events, each as it came."""
    place = opened()
    place.store(
        *(accepted([row], received_at=received) for row, received in traps()),
        accepted(large_amounts(), received_at=MIDNIGHT),
    )
    return place


@pytest.fixture(scope="module")
def features(trapped) -> dict[str, Row]:
    """Everybody's features at the as-of date."""
    return trapped.first_days()


@pytest.fixture(scope="module")
def generated(opened) -> Stream:
    """A small generated stream, all of it stored."""
    place = opened()
    place.add(*GAMES.events(), received_at=MIDNIGHT)
    return place
