"""Players: their events, sites that have stored them, and what was said of them."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from local.generators.games import AMOUNT_FIELDS, Games, postcodes
from local.generators.streams import attributes_of, encode
from offline import load_postcodes
from propensity import usecases
from propensity.streaming.events import rows as stream
from propensity.streaming.events.messages import Message
from propensity.streaming.events.postcodes import PostcodeIndex
from propensity.streaming.features.user_features import users_on_the_stream
from propensity.tables.stream import (
    STREAM_COMPACTIONS,
    STREAM_EVENTS,
    STREAM_FEATURES_DAILY,
)
from tests.functions.streaming import by_user
from tests.support.deployment import OF_A_STREAM, Deployment
from tests.support.events import CATALOGUE, LATENESS

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
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
WEEK = 7 * DAY
# Long after everything: all rows have come, all labels are known.
LATER = AS_OF + 60 * DAY

Row = dict[str, Any]

HOME = postcodes()["postcode"][0].as_py()


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
    return stream.stored_rows(
        STREAM_EVENTS, result.events, received_at=received_at, lateness=LATENESS
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
        return by_user(self, USE_CASE.statement("features"), window)

    def moments(self, *as_ofs: date, today: date = LATER) -> list[Row]:
        """Return training rows: of the whole first day, and of moments of it."""
        window = USE_CASE.window(self.settings, as_ofs or [AS_OF], today=today)
        sql = USE_CASE.statement("training_rows")
        sampled = {"maximum_rows": 100_000}
        return [dict(row) for row in self.rows(sql, **window, **sampled)]

    def training(self, *as_ofs: date, today: date = LATER) -> dict[str, Row]:
        """Return training rows of whole days by user."""
        rows = self.moments(*as_ofs, today=today)
        end = USE_CASE.statement_parameters(self.settings)["first_day_hours"]
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
GAMES = Games(seed=3, users=150, maximum_events=60, days=28, end=MIDNIGHT)
WEEKS = [AS_OF - week * WEEK for week in range(5)]


def opened() -> Stream:
    """Return a stream with the tables that the use case's statements read; ``prepare``
    makes the rest."""
    stream = Stream(**OF_A_STREAM)
    stream.extra = {"PROPENSITY_TOPIC_PREFIX": stream.name, **stream.extra}
    for table in (STREAM_EVENTS, STREAM_FEATURES_DAILY, STREAM_COMPACTIONS):
        stream.warehouse.create(table)
    return stream


@pytest.fixture
def empty() -> Stream:
    """A stream without a row."""
    return opened()


@pytest.fixture(scope="module")
def generated() -> Stream:
    """A small generated stream, all of it stored."""
    deployment = opened()
    deployment.add(*GAMES.events(), received_at=MIDNIGHT)
    return deployment
