"""Rows of a GA4 export, with everything in them that is read wrong easily."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from propensity import usecases
from propensity.ga4.view import DAILY, events_view, kinds_of
from propensity.gcp.warehouse import Warehouse
from propensity.settings import Settings
from propensity.usecases.declaration import VIEW
from tests import shop
from tests.shop import DAY, event, microseconds, purchase

AS_OF = date(2026, 3, 2)
FIRST_DAY = AS_OF - 60 * DAY
MIDNIGHT = microseconds(AS_OF)
DAY_US = 86_400_000_000
USE_CASE = usecases.load("ga4_purchase")


def ago(days: float, *, plus: int = 0) -> int:
    """Return a moment so many days before the as-of date, and some microseconds."""
    return MIDNIGHT - round(days * DAY_US) + plus


class Export:
    """One workplace's export, and the use case's statements over it."""

    def __init__(self, place: Any, **extra: str) -> None:
        self.place = place
        self.settings = Settings.from_environment({**place.environment, **extra})
        self.warehouse = Warehouse.open(self.settings)

    def prepare(self) -> Export:
        """Make the view, which is all that the statements read."""
        kinds = kinds_of(self.warehouse.tables_of(self.settings.export))
        text = events_view(
            self.settings.export, require="false", kinds=kinds or [DAILY]
        )
        self.warehouse.replace_view(VIEW, text)
        return self

    def features(self, *as_ofs: date) -> dict[Any, dict[str, Any]]:
        """Return rows by user; by as-of date and user where there are several."""
        rows = self.warehouse.table(
            USE_CASE.statement("features"),
            USE_CASE.window(self.settings, as_ofs or [AS_OF]),
        ).to_pylist()
        several = len(as_ofs) > 1
        features = {
            (row["as_of"], row["user_id"]) if several else row["user_id"]: row
            for row in rows
        }
        assert len(features) == len(rows)
        return features

    def labels(self, *as_ofs: date) -> dict[tuple[date, str], int]:
        """Return labels of the cohort by as-of date and user."""
        rows = self.training_rows(*as_ofs)
        return {(row["as_of"], row["user_id"]): row["label"] for row in rows}

    def outcomes(self, name: str, *as_ofs: date) -> list[dict[str, Any]]:
        """Return the rows of a statement about who converted."""
        window = USE_CASE.window(self.settings, as_ofs or [AS_OF])
        rows = self.warehouse.table(USE_CASE.statement(name), window)
        return list(rows.to_pylist())

    def training_rows(self, *as_ofs: date) -> list[dict[str, Any]]:
        """Return the cohort's features with their labels."""
        rows: list[dict[str, Any]] = self.warehouse.table(
            USE_CASE.statement("training_rows"),
            {
                **USE_CASE.window(self.settings, as_ofs or [AS_OF]),
                "maximum_rows": 100_000,
            },
        ).to_pylist()
        assert {row["weight"] for row in rows} <= {1.0}
        return rows


def of_three_schemas() -> dict[str, pa.Table]:
    """Return days of one user: the first lacks columns, and the last has one more."""
    older = [
        *("collected_traffic_source", "is_active_user", "batch_page_id"),
        *("batch_event_index", "batch_ordering_id", "privacy_info", "app_info"),
    ]
    tables = shop.shards(
        purchase("over the years", ago(day), 5.0, transaction=f"T{day}")
        for day in (57, 56, 55)
    )
    first, _, last = tables
    tables[first] = tables[first].drop_columns(older)
    newer = ("session_traffic_source_last_click", pa.array(["x"]))
    tables[last] = tables[last].append_column(*newer)
    return tables


def typed(kind: str, value: object) -> dict[str, Any]:
    return {f"{kind}_value": value}


TYPES = {
    "int": typed("int", 1500),
    "double": typed("double", 1500.0),
    "float": typed("float", 1500.0),
    "string": typed("string", "1500"),
    "text of a double": typed("string", "1500.0"),
}
NOT_NUMBERS = {
    "garbage": typed("string", "soon"),
    "empty": typed("string", ""),
    "nan": typed("double", math.nan),
    "infinite": typed("double", math.inf),
    "negative": typed("int", -5),
    "absurd": typed("int", 2**62),
    "nothing": {},
}
PLACEHOLDERS = ["", "(not set)", "(data deleted)", None]
# Ids that mean nothing, in any case, with blanks around.
NOBODY = [
    *PLACEHOLDERS,
    *("null", "undefined", "None", "(none)", "NaN", "0", "-", " NULL "),
]
# What tells two events apart, each also if nothing else does.
DIFFERENCES: list[dict[str, Any]] = [
    {"batch_event_index": 2},
    {"batch_ordering_id": 2},
    {"batch_page_id": 2},
    {"event_bundle_sequence_id": 2},
]


def place_of(value: str | None) -> dict[str, Any]:
    return {
        "traffic_source": {"source": value, "medium": value},
        "device": {"category": value, "operating_system": value},
        "geo": {"country": value},
    }


def traps() -> list[shop.Row]:
    """Return everybody's events; the user says what they are about."""
    rows = [
        event("at first", microseconds(FIRST_DAY)),
        event("before first", microseconds(FIRST_DAY) - 1),
        event("at last", MIDNIGHT - 1),
        event("at as_of", MIDNIGHT),
    ]
    for zone in (-12, 14):
        rows += [
            event(f"zone {zone} first", microseconds(FIRST_DAY), zone=zone),
            event(f"zone {zone} before", microseconds(FIRST_DAY) - 1, zone=zone),
            event(f"zone {zone} last", MIDNIGHT - 1, zone=zone),
            event(f"zone {zone} at", MIDNIGHT, zone=zone),
            # The ends of the horizon, for users of the cohort.
            event(f"zone {zone} buys last", ago(3), zone=zone),
            purchase(f"zone {zone} buys last", ago(-7, plus=-1), zone=zone),
            event(f"zone {zone} buys late", ago(3), zone=zone),
            purchase(f"zone {zone} buys late", ago(-7), zone=zone),
        ]
    for name, value in {**TYPES, **NOT_NUMBERS}.items():
        params = {"ga_session_id": 7, "engagement_time_msec": value}
        rows.append(event(f"engaged {name}", ago(5), params=params))
        revenue = {"ga_session_id": 7, "value": value}
        rows.append(purchase(f"value {name}", ago(5), None, params=revenue))
    for minute, value in enumerate(TYPES.values()):
        engaged = typed("string", "1") if minute % 2 else typed("int", 1)
        params = {"ga_session_id": value, "session_engaged": engaged}
        rows.append(event("one session", ago(4, plus=minute), params=params))
    for place, value in enumerate(PLACEHOLDERS):
        rows.append(event(f"placeholder {place}", ago(2), **place_of(value)))
    rows.append(event("pooled", ago(2), **place_of("<Other>")))
    rows.append(event("moved", ago(9), **place_of("old")))
    rows.append(event("moved", ago(8), **place_of("new")))
    rows.append(event("bare", ago(2), params={}))

    twice = [
        event("exported twice", ago(6), "view_item", params={"ga_session_id": 3}),
        purchase("exported twice", ago(6, plus=1), 12.5, transaction="A"),
    ]
    rows += twice + [dict(row) for row in twice]
    rows += [
        event("refunded", ago(18), "refund",
              ecommerce={"purchase_revenue": -20.0, "transaction_id": "P2"}),
        purchase("negative", ago(9), -5.0, transaction="N"),
        purchase("revenue nan", ago(9), math.nan, transaction="N"),
        purchase("huge", ago(9), 1e300, transaction="N"),
        purchase("nearly huge", ago(9), 2.0**69, transaction="N1"),
        purchase("nearly huge", ago(8), 2.0**69, transaction="N2"),
        purchase("cents", ago(9), 0.1, transaction="C1"),
        purchase("cents", ago(8), 0.2, transaction="C2"),
        event("no ecommerce", ago(9), "purchase"),
        event("no ecommerce, refunded", ago(9), "purchase"),
        event("no ecommerce, refunded", ago(8), "refund",
              ecommerce={"refund_value": 3.0, "transaction_id": "R"}),
        purchase("no items", ago(9), 4.0, items=[]),
        purchase("many items", ago(9), 4.0,
                 items=[("a", 2**62), ("b", 2**62), ("c", 2), ("c", -1), ("b", 10**7)]),
        event("clock ahead", ago(9), user_first_touch_timestamp=ago(-400)),
        event("clock at zero", ago(9), user_first_touch_timestamp=0),
        purchase("old friend", ago(9), user_first_touch_timestamp=ago(70),
                 params={"ga_session_number": 7}),
        event("newcomer", ago(9)),
    ]  # fmt: skip
    rows += [
        row | {"user_id": "login.1"}
        for row in (
            event("phone.1", ago(5), params={"ga_session_id": 1}),
            event("laptop.1", ago(4), params={"ga_session_id": 1}),
            event(None, ago(3), params={"ga_session_id": 2}),
            purchase("laptop.1", ago(-2)),
        )
    ]
    rows += [event("visitor", ago(3), user_id=user) for user in NOBODY]
    rows += [event(user, ago(3)) for user in NOBODY]
    rows += windows()
    rows += wild()
    rows += repeated()
    rows += remembered()
    wrong = (None, ago(3) * 1000, 2**63 - 1, -(2**63), 253402300800 * 10**6)
    for user in ("lost", "kept"):
        rows += [event(user, ago(3), event_timestamp=time) for time in wrong]
    rows += [
        event("kept", ago(3), user_first_touch_timestamp=-(2**63)),
        # The last microsecond that there is.
        event("far", ago(3), event_timestamp=253402300800 * 10**6 - 1),
    ]
    # In tables of later days, as of a clock that was wrong, or of a batch.
    rows += [
        event("in a later table", ago(10))
        | {"event_date": f"{AS_OF - 5 * DAY:%Y%m%d}"},
        event("in a later table", ago(9)),
        purchase("in a later table", ago(5))
        | {"event_date": f"{AS_OF + 3 * DAY:%Y%m%d}"},
    ]
    rows += [
        event("buys at as_of", ago(1)),
        purchase("buys at as_of", MIDNIGHT),
        event("bought before", ago(1)),
        purchase("bought before", ago(0, plus=-1)),
        purchase("buys first time in horizon", ago(-3)),
        event("subscribes", ago(1)),
        event("subscribes", ago(-1), "subscribe"),
    ]
    return rows


def windows() -> list[shop.Row]:
    """Return what lies at the first moment of a window, and just before it."""
    rows = []
    for n, at in enumerate((ago(28, plus=-1), ago(28), ago(7, plus=-1), ago(7)), 1):
        params = {"ga_session_id": n, "ga_session_number": n}
        rows += [
            event("windows", at, "view_item", params=params),
            purchase("windows", at, 10.0**n, transaction=f"W{n}", params=params),
        ]
    last = {"ga_session_id": 5, "ga_session_number": 9}
    for name in ("add_to_cart", "begin_checkout"):
        rows.append(event("windows", ago(1), name, params=last))
    return rows


def repeated() -> list[shop.Row]:
    """Return purchases and events that the export has more than once."""
    rows = [event("opens it again", ago(9))]
    # The order page, days later, and once more within the horizon.
    for days in (6.5, 4, -2):
        rows.append(purchase("opens it again", ago(days), 100.0, transaction="T1"))
    rows += [
        row | {"user_id": "login.2"}
        for row in (
            purchase("laptop.2", ago(3), transaction="T2"),
            event("phone.2", ago(4)),
            purchase("phone.2", ago(-1), transaction="T2"),
        )
    ]
    # Refunds may share an id.
    for days in (9, 8):
        ecommerce = {"refund_value": 5.0, "transaction_id": "R1"}
        rows.append(event("refunds twice", ago(days), "refund", ecommerce=ecommerce))
    for user, order, items in (
        ("refunds an order", "R1", []),
        ("refunds all items", "R1", [{"item_id": "a"}, {"item_id": "b"}]),
        ("refunds an item", "R1", [{"item_id": "a"}]),
        ("refunds another order", "R2", []),
        ("refunds no order", None, []),
    ):
        both = [{"item_id": "a"}, {"item_id": "b"}]
        rows += [
            event(
                user,
                ago(20),
                "purchase",
                ecommerce={"transaction_id": "R1", "purchase_revenue": 60.0},
                items=both,
            ),
            event(
                user,
                ago(15),
                "refund",
                ecommerce={"transaction_id": order},
                items=items,
            ),
        ]
    for n, unknown in enumerate(NOBODY):
        goods = [
            {"item_id": unknown, "item_name": name} for name in ("Cup", "Plate", "Bowl")
        ]
        rows.append(event(f"items {n} without ids", ago(9), "purchase", items=goods))
    some = [{"item_id": one} for one in ("a", "a", None, "(not set)")]
    rows += [
        event("items with and without ids", ago(9), "purchase", items=some),
        event("session zero", ago(9), params={"ga_session_id": 0}),
        event("session zero", ago(8), params={"ga_session_id": 7}),
    ]
    for id_ in ("T1", 1001):
        for n, nothing in enumerate((None, "(not set)")):
            user, params = f"parameter {id_}", {"transaction_id": id_}
            bought = ago(9, plus=n)
            rows.append(purchase(user, bought, transaction=nothing, params=params))
    for unit, value in (
        ("", {"params": {"value": 7.0}}),
        ("_in_usd", {"event_value_in_usd": 7.0}),
    ):
        for revenue in (None, 0.0):
            more = {
                "ecommerce": {f"purchase_revenue{unit}": revenue},
                "items": [{"item_id": "a"}, {"item_id": "b", "quantity": 2}],
            }
            user = f"value alone {unit} {revenue}"
            rows.append(event(user, ago(9), "purchase", **more, **value))
    for n, difference in enumerate(DIFFERENCES):
        one = event(f"differs {n}", ago(9), "add_to_cart", items=[{"item_id": "a"}])
        bought = purchase(f"differs {n}", ago(9), 5.0)
        rows += [one, dict(one), one | difference, bought, bought | difference]
    return rows


def remembered() -> list[shop.Row]:
    """Return purchases before the lookback, of users who have looked in since."""
    days: dict[str, list[float]] = {
        "bought once": [100],
        "bought in both": [110, 75.5, 75.2, 40.5, 10],
        "bought on one day": [9.5, 9.2],
        "bought at the bounds": [120, 1.5],
    }
    orders = {
        user: [(day, f"T{day}") for day in bought] for user, bought in days.items()
    }
    orders["bought without an id"] = [(64, None), (64, None), (62, None), (8, None)]
    orders["opened for months"] = [(100, "T1"), (64, "T1"), (10, "T1")]
    rows = [event(user, ago(3)) for user in orders]
    for user, bought in orders.items():
        rows += [purchase(user, ago(day), 7.0, transaction=id_) for day, id_ in bought]
    # Its id is among the parameters alone, which are not read of that day.
    rows += [
        purchase("bought at the bounds", ago(120, plus=-1)),
        purchase("bought at the bounds", MIDNIGHT),
        purchase("bought without an id", ago(90), params={"transaction_id": "T"}),
        # Two lookbacks have the order, and only one of them its amount.
        purchase("refunds an old order", ago(64), 60.0, transaction="R"),
        event("refunds an old order", ago(70), "refund"),
        event("refunds an old order", ago(15), "refund",
              ecommerce={"transaction_id": "R"}),
    ]  # fmt: skip
    return rows


def wild() -> list[shop.Row]:
    """Return events in the shapes of the public samples of the export."""
    generator = np.random.default_rng(11)
    pings = [shop.unconsented(ago(4, plus=n), generator) for n in range(40)]
    plain = [
        event("wild", ago(12, plus=n), params={"ga_session_id": 5}) for n in range(8)
    ]
    plain.append(purchase("wild", ago(12, plus=9), 30.0, items=[]))
    return [
        *pings,
        *(shop.seen_in_the_wild(row, generator) for row in plain),
        shop.paid("travels", ago(9), 100.0, "EUR", transaction="E"),
        shop.paid("travels", ago(8), 100.0, "GBP", transaction="G"),
        shop.paid("travels", ago(7), 100.0, "USD", transaction="U"),
        shop.paid("rate moved", ago(9), 100.0, "EUR", transaction="M"),
        shop.paid("rate moved", ago(8), 100.0, "EUR", transaction="M", rate=1.5),
        shop.paid("no rate", ago(9), 100.0, "XXX", transaction="X"),
        event("refunds abroad", ago(9), "refund",
              ecommerce={"refund_value": 10.0, "refund_value_in_usd": 12.5}),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def over() -> Iterator[Callable[..., Export]]:
    """Open the export of a workplace with some settings, and close it in the end."""
    with contextlib.ExitStack() as stack:

        def opened(place: Any, **extra: str) -> Export:
            export = Export(place, **extra)
            stack.callback(export.warehouse.close)
            return export

        yield opened


@pytest.fixture(scope="module")
def export(module_workplace, over) -> Export:
    """Everybody's events, and tables that the view must leave out."""
    tables = shop.shards(traps())
    only_there = shop.shards([event("not daily", ago(3)), event("at last", ago(3))])
    [(daily, rows)] = only_there.items()
    day = daily.removeprefix("events_")
    kinds = ("fresh", "intraday", "fresh_intraday")
    others = [f"{kind}_{day}" for kind in kinds]
    for name in (*others, f"{day}_backup", day[:6]):
        tables[f"events_{name}"] = rows
    shop.load_shards(module_workplace, tables | of_three_schemas())
    return over(module_workplace).prepare()


# What a training row has beside its features.
OUTCOME = {"label", "label_amount", "weight"}


@pytest.fixture(scope="module")
def rows(export) -> list[dict[str, Any]]:
    """Everybody's training rows."""
    return export.training_rows()


@pytest.fixture(scope="module")
def features(rows) -> Mapping[str, dict[str, Any]]:
    """Everybody's features, by user."""
    return {
        row["user_id"]: {name: row[name] for name in row.keys() - OUTCOME}
        for row in rows
    }
