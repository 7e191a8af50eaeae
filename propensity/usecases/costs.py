"""
What the queries of a month cost: one model, for the doctor, the plan and the page.

BigQuery bills the columns that a statement reads, of the days that its filters leave.
Statements of the digest read whole rows, so their bytes are days times rows a day times
the width of a row. All of it is an estimate: texts have the lengths that are usual.

Source: cloud.google.com/bigquery/pricing, data size calculation.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from propensity.tables.export import CONVERSIONS, USER_DAYS
from propensity.timeframe import SCHEDULED, weekdays_of
from propensity.usecases.prices import TIB, price_of

if TYPE_CHECKING:
    from propensity.schema import Table
    from propensity.settings import Settings
    from propensity.usecases import UseCase

# TiB of a month that are free.
FREE_TIB = 1.0
WEEKS_A_MONTH = 52 / 12
DAYS_A_MONTH = 365 / 12

# Bytes of a value; of a text beside its characters.
_BYTES = {"INT64": 8, "DATE": 8, "TIMESTAMP": 8, "FLOAT64": 8, "NUMERIC": 16}
_BYTES["STRING"] = 2
# Characters of the texts that are longer than others, and elements of lists.
_USUAL_CHARACTERS = 8
_CHARACTERS = {
    "user_pseudo_id": 21,
    "user_id": 20,
    "transaction_id": 16,
    "event_digest": 24,
}
_ELEMENTS = {"session_ids": 1.3, "item_ids": 2.5}
# Events of a user on a day, and the share of users who order, as in many shops.
EVENTS_A_USER = 10
ORDERS_A_USER = 0.02
# What the digest reads of an event of the export: about 56% of its row.
EVENT_BYTES = 932
# Google Analytics changes the table of a day for so long; what is read before is read
# once more.
SETTLED_AFTER_DAYS = 4
# Of a user's published score, what a plan reads; of a member in the log of requests,
# which has a request and its answer.
SCORE_BYTES = 187
LOGGED_BYTES = 72
LOGGED_DAYS = 400
# A send reads the log for who is due, and so many days of it for what receivers say.
ASKED_DAYS = 60
# A daily audience counts new members in so many dates once a week.
PLANNED_DATES = 92
# Weeks that an evaluation measures: the one that has just ended, and the one that has
# become final.
EVALUATED_WEEKS = 2


def usd_of(tib: float, location: str) -> float:
    """Return the USD of a month's TiB, beyond those that are free."""
    return price_of(location) * max(0.0, tib - FREE_TIB)


@dataclass(frozen=True, kw_only=True)
class Shop:
    """What a day of an export has: users who visit, events, orders."""

    users: float
    events: float
    orders: float


def usual_shop(users: float) -> Shop:
    """Return a shop with so many users a day, who do and order as in many shops."""
    return Shop(users=users, events=users * EVENTS_A_USER, orders=users * ORDERS_A_USER)


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """TiB that a use case reads: a prediction, an evaluated week, a training; and its
    audiences of a week."""

    prediction: float
    evaluation: float
    training: float
    audiences: float = 0.0

    def a_month(self, prediction_days: str) -> float:
        """Return the TiB of a month, without new days of the export."""
        week = len(weekdays_of(prediction_days)) * self.prediction
        week += EVALUATED_WEEKS * self.evaluation + self.audiences
        return WEEKS_A_MONTH * week + self.training


def width(table: Table) -> float:
    """Return the bytes of a row of the digest."""
    total = 0.0
    for name, kind in table.types.items():
        element = kind.removeprefix("ARRAY<").removesuffix(">")
        size = float(_BYTES[element])
        if element == "STRING":
            size += _CHARACTERS.get(name, _USUAL_CHARACTERS)
        total += size * _ELEMENTS.get(name, 1.0)
    return total


def estimated(use_case: UseCase, settings: Settings, shop: Shop) -> Sizes:
    """Return what a use case on the digest reads of a shop."""
    users = shop.users * width(USER_DAYS) / TIB
    orders = shop.orders * width(CONVERSIONS) / TIB
    timeframe = use_case.timeframe(settings)
    trained = (settings.training_snapshots - 1) * timeframe.stride.days
    lookback = use_case.lookback_days
    # Repeated orders are told apart by those of two lookbacks.
    labels = use_case.horizon_days + 2 * lookback
    history = use_case.history_span
    return Sizes(
        prediction=lookback * users + history * orders,
        evaluation=labels * orders,
        training=(trained + lookback) * users
        + (trained + history + use_case.horizon_days) * orders,
    )


def read_twice(weekdays: Iterable[str]) -> float:
    """Return the share of days that are read before Analytics has settled them."""
    runs = {SCHEDULED.index(day) for day in weekdays}
    twice = 0
    for day in range(len(SCHEDULED)):
        age = next(n for n in range(1, 8) if (day + n) % len(SCHEDULED) in runs)
        twice += age < SETTLED_AFTER_DAYS
    return twice / len(SCHEDULED)


def new_days(shop: Shop, weekdays: Iterable[str]) -> float:
    """
    Return the TiB of a month's days of the export, which all its use cases share.

    Args:
        weekdays: On which any of these is predicted.
    """
    times = 1 + read_twice(weekdays)
    return times * DAYS_A_MONTH * shop.events * EVENT_BYTES / TIB


def daily_audiences(shop: Shop, *, audiences: int, members: float) -> float:
    """Return the TiB of a month of audiences sent each day, after a year of sends."""
    scores = shop.users * SCORE_BYTES / TIB
    logged = members * LOGGED_BYTES / TIB
    plans = WEEKS_A_MONTH * PLANNED_DATES * scores
    sends = DAYS_A_MONTH * (scores + (LOGGED_DAYS + ASKED_DAYS) * logged)
    # A run reads once who is on all lists.
    return audiences * (plans + sends) + DAYS_A_MONTH * LOGGED_DAYS * logged


def suppressed_looks(shop: Shop, *, visits_days: int, orders_days: int) -> float:
    """Return the TiB of a month's looks for suppressed users in the digest."""
    ids = sum(
        _BYTES["STRING"] + _CHARACTERS[name] for name in ("user_id", "user_pseudo_id")
    )
    rows = visits_days * shop.users + orders_days * shop.orders
    return WEEKS_A_MONTH * rows * ids / TIB
