"""
The features and labels of GA4 purchases, specified on rows of the export.

Most users here are one trap each: all are loaded once, and their features computed
once. The emulator runs the statements as they are deployed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests import shop
from tests.shop import DAY, event, paid, purchase
from tests.usecases.ga4_purchase.conftest import (
    AS_OF,
    DAY_US,
    MIDNIGHT,
    USE_CASE,
    Export,
    ago,
)

CATEGORIES = [name for name, kind in USE_CASE.features.items() if kind == "category"]
FIRST_DAY = ago(60)
# The first microsecond after the last that there is.
AFTER_ALL = 253402300800 * 10**6

PLACEHOLDERS = ["", "(not set)", "(data deleted)", None]
# Ids that mean nothing, in any case, with blanks around.
NOBODY = [
    *PLACEHOLDERS,
    *("null", "undefined", "None", "(none)", "NaN", "0", "-", " NULL "),
]
# What tells two events apart, each also if nothing else does.
DIFFERENCES = (
    *("batch_event_index", "batch_ordering_id", "batch_page_id"),
    "event_bundle_sequence_id",
)
TYPES: dict[str, shop.Row] = {
    "int": {"int_value": 1500},
    "double": {"double_value": 1500.0},
    "float": {"float_value": 1500.0},
    "string": {"string_value": "1500"},
    "text of a double": {"string_value": "1500.0"},
}
NOT_NUMBERS: dict[str, shop.Row] = {
    "garbage": {"string_value": "soon"},
    "empty": {"string_value": ""},
    "nan": {"double_value": math.nan},
    "infinite": {"double_value": math.inf},
    "negative": {"int_value": -5},
    "absurd": {"int_value": 2**62},
    "nothing": {},
}
SHAPES = np.random.default_rng(11)


def at(days: float, name: str = "page_view", *, plus: int = 0, **fields: Any) -> Any:
    """Return an event so many days ago, of the user whose trap it is."""
    return event("", ago(days, plus=plus), name, **fields)


def sold(
    days: float, revenue: float | None = 10.0, order: Any = None, **fields: Any
) -> Any:
    """Return a purchase so many days ago."""
    return purchase("", ago(days), revenue, transaction=order, **fields)


def refund(days: float, order: Any = None, *items: str, **amounts: float) -> Any:
    """Return a refund so many days ago, of an order or of some of its items."""
    goods = [{"item_id": item} for item in items]
    ecommerce = {"transaction_id": order, **amounts}
    return at(days, "refund", ecommerce=ecommerce, items=goods)


def abroad(days: float, currency: str, order: str, **rate: float) -> Any:
    """Return a purchase of a hundred in a currency."""
    return paid("", ago(days), 100.0, currency, transaction=order, **rate)


def seen_at(place: str | None) -> shop.Row:
    return {
        "traffic_source": {"source": place, "medium": place},
        "device": {"category": place, "operating_system": place},
        "geo": {"country": place},
    }


def timed(**fields: int | None) -> Any:
    """Return an event with another time than its table says."""
    return at(3, **fields)


def windows() -> list[shop.Row]:
    """Return what lies at the first moment of a window, and just before it."""
    rows = []
    for n, when in enumerate((ago(28, plus=-1), ago(28), ago(7, plus=-1), ago(7)), 1):
        params = {"ga_session_id": n, "ga_session_number": n}
        rows += [
            event("", when, "view_item", params=params),
            purchase("", when, 10.0**n, transaction=f"W{n}", params=params),
        ]
    last = {"ga_session_id": 5, "ga_session_number": 9}
    rows += [at(1, name, params=last) for name in ("add_to_cart", "begin_checkout")]
    return rows


def twice_but_for(difference: str) -> list[shop.Row]:
    """Return an event that came twice, and once more with something else in it."""
    one, bought = at(9, "add_to_cart", items=[{"item_id": "a"}]), sold(9, 5.0)
    return [one, one, one | {difference: 2}, bought, bought | {difference: 2}]


CART = [{"item_id": "a"}, {"item_id": "b"}]
ORDER = at(20, "purchase", items=CART,
           ecommerce={"transaction_id": "R1", "purchase_revenue": 60.0})  # fmt: skip
IMPOSSIBLE = (None, ago(3) * 1000, 2**63 - 1, -(2**63), AFTER_ALL)

# What happened to a user, and what the user's features are.
TRAPS: dict[str, tuple[list[Any], shop.Row]] = {
    # The window is half-open, to the microsecond.
    "at first": ([event("", FIRST_DAY)], {"recency_days": 60}),
    "at last": ([event("", MIDNIGHT - 1)], {"recency_days": 1 / DAY_US, "events": 1}),
    # Shards are named by local dates; windows are UTC, and lose nothing.
    **{
        f"zone {zone} {name}": ([event("", when, zone=zone)], {"recency_days": days})
        for zone in (-12, 14)
        for name, when, days in (
            ("first", FIRST_DAY, 60), ("last", MIDNIGHT - 1, 1 / DAY_US),
        )
    },
    # A parameter is a number in whichever field; what is none counts nothing.
    **{
        f"engaged {name}": (
            [at(5, params={"ga_session_id": 7, "engagement_time_msec": value})],
            {"events": 1, "engagement_s": 1.5 if name in TYPES else 0},
        )
        for name, value in (TYPES | NOT_NUMBERS).items()
    },
    **{
        f"value {name}": (
            [sold(5, None, params={"ga_session_id": 7, "value": value})],
            {"purchases": 1,
             "revenue": -5 if name == "negative" else 1500 if name in TYPES else 0},
        )
        for name, value in (TYPES | NOT_NUMBERS).items()
    },
    # A session id is the same one as int, double or text, engaged or "1"; an event
    # without any parameter is of none.
    "one session": (
        [at(4, plus=n, params={"ga_session_id": value, "session_engaged": engaged})
         for n, value in enumerate(TYPES.values())
         for engaged in [{"string_value": "1"} if n % 2 else {"int_value": 1}]],
        {"sessions": 1, "events": len(TYPES)},
    ),
    "bare": ([at(2, params={})], {"events": 1, "sessions": 0}),
    "session zero": (
        [at(9, params={"ga_session_id": 0}), at(8, params={"ga_session_id": 7})],
        {"events": 2, "sessions": 1},
    ),
    # Where a user was last counts. (not set), (data deleted), empty and null mean the
    # same: not known; <Other> is a value like any other. Who never bought has no gap.
    "moved": (
        [at(9, **seen_at("old")), at(8, **seen_at("new"))],
        {"purchase_days_two_lookbacks": 0, "mean_purchase_gap_days": None,
         "purchase_recency_in_gaps": None, "last_day_page_views": 1,
         **dict.fromkeys(CATEGORIES, "new")},
    ),
    "pooled": ([at(2, **seen_at("<Other>"))], dict.fromkeys(CATEGORIES, "<Other>")),
    **{
        f"placeholder {n}": ([at(2, **seen_at(value))], dict.fromkeys(CATEGORIES))
        for n, value in enumerate(PLACEHOLDERS)
    },
    # The first touch after the first event is a broken clock; 90 days is the most.
    "clock ahead": (
        [at(9, user_first_touch_timestamp=ago(-400))], {"days_since_first_seen": 9},
    ),
    "clock at zero": (
        [at(9, user_first_touch_timestamp=0)], {"days_since_first_seen": 90},
    ),
    "newcomer": ([at(9)], {"days_since_first_seen": 9}),
    "old friend": (
        [sold(9, user_first_touch_timestamp=ago(70), params={"ga_session_number": 7})],
        {"days_since_first_seen": 70, "purchases_per_day_known": 1 / 60,
         "sessions_per_day_ever": 7 / 70},
    ),
    # Nanoseconds, or nothing, in the place of microseconds: BigQuery has no moment for
    # them, and the other events are read. So it is with a first visit before all times.
    "kept": (
        [*(timed(event_timestamp=time) for time in IMPOSSIBLE),
         timed(user_first_touch_timestamp=-(2**63))],
        {"events": 1, "recency_days": 3, "days_since_first_seen": 90},
    ),
    # Days may have other columns than those before.
    "over the years": ([], {"purchases": 3, "revenue": 15, "active_days": 3}),
    # Rows equal in every field are one event.
    "exported twice": (
        [at(6, "view_item", params={"ga_session_id": 3}), sold(6, 12.5, "A")] * 2,
        {"events": 2, "view_items": 1, "purchases": 1, "revenue": 12.5, "items": 1},
    ),
    # Whatever tells two events apart makes them two.
    **{
        f"{name} differs": (
            twice_but_for(name),
            {"events": 4, "add_to_carts": 2, "purchases": 2, "revenue": 10},
        )
        for name in DIFFERENCES
    },
    # A refund counts by its size, whatever its sign.
    "refunded": (
        [refund(18, "P2", purchase_revenue=-20.0)], {"refunds": 1, "refund_value": 20},
    ),
    # Refunds may share an id.
    "refunds twice": (
        [refund(days, "R1", refund_value=5.0) for days in (9, 8)],
        {"refunds": 2, "refund_value": 10},
    ),
    # A refund that says no amount is of its whole order, if that is known and it names
    # no fewer items. Two lookbacks have the old order, and only one its amount.
    "refunds an order": (
        [ORDER, refund(15, "R1")], {"refunds": 1, "revenue": 60, "refund_value": 60},
    ),
    "refunds all items": (
        [ORDER, refund(15, "R1", "a", "b")], {"refunds": 1, "refund_value": 60},
    ),
    "refunds an item": (
        [ORDER, refund(15, "R1", "a")], {"refunds": 1, "refund_value": 0},
    ),
    "refunds another order": (
        [ORDER, refund(15, "R2")], {"refunds": 1, "refund_value": 0},
    ),
    "refunds no order": ([ORDER, refund(15)], {"refunds": 1, "refund_value": 0}),
    "refunds an old order": (
        [at(3), sold(64, 60.0, "R"), at(70, "refund"), refund(15, "R")],
        {"refunds": 1, "refund_value": 0, "purchase_days_two_lookbacks": 1},
    ),
    # Money is decimal: a tenth and two tenths are three.
    "cents": (
        [sold(9, 0.1, "C1"), sold(8, 0.2, "C2")],
        {"revenue": 0.3, "mean_order_value": 0.15},
    ),
    # An unknown amount is not nothing, and a refund makes no amount known.
    **{
        user: (
            [at(9, "purchase"), *refunds],
            {"purchases": 1, "mean_order_value": None, "revenue": 0,
             "largest_day_revenue": 0},
        )
        for user, refunds in (
            ("no ecommerce", []),
            ("no ecommerce, refunded", [refund(8, "R", refund_value=3.0)]),
        )
    },
    # A revenue that is no amount of money is left out; the purchase counts.
    "negative": ([sold(9, -5.0, "N")], {"purchases": 1, "revenue": -5}),
    "revenue nan": ([sold(9, math.nan, "N")], {"purchases": 1, "revenue": 0}),
    "huge": ([sold(9, 1e300, "N")], {"purchases": 1, "revenue": 0}),
    "nearly huge": (
        [sold(9, 2.0**69, "N1"), sold(8, 2.0**69, "N2")],
        {"purchases": 2, "revenue": 0},
    ),
    # Without a revenue the value counts; an item without a quantity is one.
    **{
        f"value alone {unit} {revenue}": (
            [at(9, "purchase", ecommerce={f"purchase_revenue{unit}": revenue},
                items=[{"item_id": "a"}, {"item_id": "b", "quantity": 2}], **value)],
            {"revenue": 7, "items": 3},
        )
        for unit, value in (
            ("", {"params": {"value": 7.0}}), ("_in_usd", {"event_value_in_usd": 7.0}),
        )
        for revenue in (None, 0.0)
    },
    # A euro, a pound and a dollar are no three of anything: they add up in dollars.
    "travels": (
        [abroad(9, "EUR", "E"), abroad(8, "GBP", "G"), abroad(7, "USD", "U")],
        {"purchases": 3, "revenue": 125 + 150 + 100},
    ),
    "refunds abroad": (
        [refund(9, refund_value=10.0, refund_value_in_usd=12.5)],
        {"refund_value": 12.5},
    ),
    # A reload on another day is worth other dollars: the first count.
    "rate moved": (
        [abroad(9, "EUR", "M"), abroad(8, "EUR", "M", rate=1.5)],
        {"purchases": 1, "revenue": 125},
    ),
    # An amount without dollars is taken as it is.
    "no rate": ([abroad(9, "XXX", "X")], {"revenue": 100}),
    # A purchase without items is a purchase; of absurd quantities none is added.
    "no items": ([sold(9, 4.0, items=[])], {"purchases": 1, "items": 0}),
    "many items": (
        [sold(9, 4.0, items=[
            ("a", 2**62), ("b", 2**62), ("c", 2), ("c", -1), ("b", 10**7),
        ])],
        {"items": 2, "distinct_items": 3},
    ),
    # Items are told apart by their ids; one whose id means nothing is one of its own.
    **{
        f"items {n} without ids": (
            [at(9, "purchase", items=[{"item_id": unknown, "item_name": name}
                                      for name in ("Cup", "Plate", "Bowl")])],
            {"items": 3, "distinct_items": 3},
        )
        for n, unknown in enumerate(NOBODY)
    },
    "items with and without ids": (
        [at(9, "purchase",
            items=[{"item_id": one} for one in ("a", "a", None, "(not set)")])],
        {"items": 4, "distinct_items": 3},
    ),
    # One transaction id is one purchase, the first, with its day; the order page comes
    # days later, and once more within the horizon.
    "opens it again": (
        [at(9), *(sold(days, 100.0, "T1") for days in (6.5, 4, -2))],
        {"purchases": 1, "revenue": 100, "purchase_recency_days": 6.5},
    ),
    # It may be among the parameters alone, as a text or as a number.
    **{
        f"parameter {order}": (
            [sold(9, params={"transaction_id": order}),
             sold(8.9, order="(not set)", params={"transaction_id": order})],
            {"purchases": 1},
        )
        for order in ("T1", 1001)
    },
    # Windows of 7 and 28 days begin at midnight; rates are of the days that are known,
    # a week at least and the lookback at most.
    "windows": (windows(), {
        "events": 10, "events_7d": 4, "events_trend": 4 * 60 / (10 * 7),
        "sessions": 5, "sessions_7d": 2, "sessions_ever": 9,
        "sessions_per_day_ever": 9 / 60,
        "active_days": 5, "active_days_7d": 2, "mean_gap_days": (27 + 1 / DAY_US) / 4,
        "view_items": 4, "add_to_carts": 1, "begin_checkouts": 1, "funnel_events_7d": 3,
        "purchases": 4, "purchases_7d": 1, "purchases_28d": 3, "purchase_days": 4,
        "purchases_per_day_known": 4 / (28 + 1 / DAY_US),
        "purchase_recency_days": 7, "items": 4,
        "revenue": 11_110, "revenue_7d": 10_000, "largest_day_revenue": 10_000,
        "purchase_days_two_lookbacks": 4, "mean_purchase_gap_days": (29 - 7) / 3,
        "purchase_recency_in_gaps": 7 / ((29 - 7) / 3),
        "last_day_page_views": 0, "last_day_view_items": 0, "last_day_add_to_carts": 1,
        "last_day_begin_checkouts": 1,
    }),
    "bought before": (
        [at(1), purchase("", MIDNIGHT - 1)],
        {"purchases_per_day_known": 1 / 7, "mean_gap_days": None},
    ),
    # How often somebody buys is read of two lookbacks, in days: two orders of a day, or
    # two pages of an order, are one. What was bought, and for how much, of one.
    "bought once": ([at(3), sold(100, 7.0, "T100")], {
        "purchases": 0, "purchase_days": 0, "revenue": 0, "mean_order_value": None,
        "purchase_recency_days": None, "purchase_days_two_lookbacks": 1,
        "mean_purchase_gap_days": None, "purchase_recency_in_gaps": None,
    }),
    "bought in both": (
        [at(3), *(sold(day, 7.0, f"T{day}") for day in (110, 75.5, 75.2, 40.5, 10))],
        {"purchases": 2, "purchase_days": 2, "revenue": 14, "items": 2,
         "purchase_recency_days": 10, "purchase_days_two_lookbacks": 4,
         "mean_purchase_gap_days": 100 / 3,
         "purchase_recency_in_gaps": 10 / (100 / 3)},
    ),
    "bought on one day": (
        [at(3), sold(9.5, 7.0, "T9.5"), sold(9.2, 7.0, "T9.2")],
        {"purchases": 2, "purchase_days_two_lookbacks": 1,
         "mean_purchase_gap_days": None, "purchase_recency_in_gaps": None},
    ),
    # Neither the moment before two lookbacks nor the as-of date counts.
    "bought at the bounds": (
        [at(3), sold(120, 7.0, "T120"), sold(1.5, 7.0, "T1.5"),
         purchase("", ago(120, plus=-1)), purchase("", MIDNIGHT)],
        {"purchases": 1, "purchase_days_two_lookbacks": 2,
         "mean_purchase_gap_days": 118, "purchase_recency_in_gaps": 2 / 118},
    ),
    # An id among the parameters alone is not read of days before the lookback.
    "bought without an id": (
        [at(3), *(sold(day, 7.0) for day in (64, 64, 62, 8)),
         sold(90, params={"transaction_id": "T"})],
        {"purchases": 1, "purchase_days_two_lookbacks": 4,
         "mean_purchase_gap_days": 82 / 3},
    ),
    "opened for months": (
        [at(3), *(sold(day, 7.0, "T1") for day in (100, 64, 10))],
        {"purchases": 0, "purchase_days_two_lookbacks": 1},
    ),
    # In the shapes of Google's samples empty parameters and records change no figure.
    "wild": (
        [shop.seen_in_the_wild(row, SHAPES) for row in (
            *(at(12, plus=n, params={"ga_session_id": 5}) for n in range(8)),
            purchase("", ago(12, plus=9), 30.0, items=[]),
        )],
        {"events": 9, "sessions": 2, "purchases": 1, "revenue": 30, "items": 0},
    ),
}  # fmt: skip

# An order page is opened again on a day of the horizon, so long after the purchase.
REOPENED, GAPS = AS_OF + 2 * DAY, (3, 30, 59, 61, 84, 100, 114, 120, 150)


def others() -> list[shop.Row]:
    """Return events of whoever has no features, or is looked at for a label."""
    rows = [
        event("before first", FIRST_DAY - 1),
        event("at as_of", MIDNIGHT),
        event("far", ago(3), event_timestamp=AFTER_ALL - 1),
        *(event("lost", ago(3), event_timestamp=time) for time in IMPOSSIBLE),
        event("buys at as_of", ago(1)),
        purchase("buys at as_of", MIDNIGHT),
        purchase("buys first time in horizon", ago(-3)),
        event("subscribes", ago(1)),
        event("subscribes", ago(-1), "subscribe"),
        # In tables of later days, as of a clock that was wrong, or of a batch.
        event("in a later table", ago(10))
        | {"event_date": f"{AS_OF - 5 * DAY:%Y%m%d}"},
        event("in a later table", ago(9)),
        purchase("in a later table", ago(5))
        | {"event_date": f"{AS_OF + 3 * DAY:%Y%m%d}"},
        *(event("visitor", ago(3), user_id=user) for user in NOBODY),
        *(event(user, ago(3)) for user in NOBODY),
        *(shop.unconsented(ago(4, plus=n), SHAPES) for n in range(40)),
    ]
    for zone in (-12, 14):
        rows += [
            event(f"zone {zone} before", FIRST_DAY - 1, zone=zone),
            event(f"zone {zone} at", MIDNIGHT, zone=zone),
            # The ends of the horizon, for users of the cohort.
            event(f"zone {zone} buys last", ago(3), zone=zone),
            purchase(f"zone {zone} buys last", ago(-7, plus=-1), zone=zone),
            event(f"zone {zone} buys late", ago(3), zone=zone),
            purchase(f"zone {zone} buys late", ago(-7), zone=zone),
        ]
    logins = {
        "login.1": [
            event("phone.1", ago(5), params={"ga_session_id": 1}),
            event("laptop.1", ago(4), params={"ga_session_id": 1}),
            event(None, ago(3), params={"ga_session_id": 2}),
            purchase("laptop.1", ago(-2)),
        ],
        "login.2": [
            purchase("laptop.2", ago(3), transaction="T2"),
            event("phone.2", ago(4)),
            purchase("phone.2", ago(-1), transaction="T2"),
        ],
    }
    rows += [row | {"user_id": user} for user in logins for row in logins[user]]
    for gap in GAPS:
        for day in (REOPENED - gap * DAY, REOPENED):
            rows.append(purchase(f"after {gap}", day, transaction=f"T{gap}"))
        rows.append(event(f"after {gap}", AS_OF - 5 * DAY))
    return rows


def of_three_schemas() -> dict[str, pa.Table]:
    """Return days of one user: the first lacks columns, and the last has one more."""
    older = [
        *("collected_traffic_source", "is_active_user", "batch_page_id"),
        *("batch_event_index", "batch_ordering_id", "privacy_info", "app_info"),
    ]
    tables = shop.shards(
        purchase("over the years", ago(day), 5.0, transaction=f"T{day}")
        for day in (50, 49, 48)
    )
    first, _, last = tables
    tables[first] = tables[first].drop_columns(older)
    newer = ("session_traffic_source_last_click", pa.array(["x"]))
    tables[last] = tables[last].append_column(*newer)
    return tables


@pytest.fixture(scope="module")
def export(module_workplace) -> Iterator[Export]:
    """Everybody's events, and tables that the view must leave out."""
    trapped = [
        row | {"user_pseudo_id": user} for user in TRAPS for row in TRAPS[user][0]
    ]
    tables = shop.shards([*trapped, *others()])
    only_there = shop.shards([event("not daily", ago(3)), event("at last", ago(3))])
    [(daily, rows)] = only_there.items()
    day = daily.removeprefix("events_")
    kinds = ("fresh", "intraday", "fresh_intraday")
    for name in (*(f"{kind}_{day}" for kind in kinds), f"{day}_backup", day[:6]):
        tables[f"events_{name}"] = rows
    export = Export(module_workplace)
    yield export.load(tables | of_three_schemas())
    export.close()


@pytest.fixture(scope="module")
def rows(export) -> Mapping[str, shop.Row]:
    """Everybody's training rows, by user."""
    return {row["user_id"]: row for row in export.training_rows()}


@pytest.fixture(scope="module")
def features(rows) -> Mapping[str, shop.Row]:
    """Everybody's features, by user: what a training row has beside the outcome."""
    outcome = {"label", "label_amount", "weight"}
    return {
        user: {name: row[name] for name in row.keys() - outcome}
        for user, row in rows.items()
    }


@pytest.fixture(scope="module")
def labels(rows) -> Mapping[str, int]:
    """The cohort's labels, by user."""
    return {user: row["label"] for user, row in rows.items()}


@pytest.fixture(scope="module")
def later(export) -> Mapping[str, shop.Row]:
    """Everybody's features a week later."""
    return export.features(AS_OF + 7 * DAY)


@pytest.mark.parametrize("user", TRAPS)
def test_features_come_to_what_a_user_did(features, user):
    """Whatever is sent twice, split, refunded, absurd, missing or in another
    currency."""
    expected = TRAPS[user][1]

    assert {name: features[user][name] for name in expected} == expected


def test_the_cohort_is_every_user_with_an_event_in_the_lookback(features):
    """Neither streamed nor fresh tables of the day, nor anybody's copies, are read.
    Events without consent, or with an id that means nothing, are of no user, not of
    one; so are those of a moment that cannot be."""
    absent = {"before first", "at as_of", "not daily", "lost", "far", *NOBODY}
    absent |= {f"zone {zone} {name}" for zone in (-12, 14) for name in ("before", "at")}

    assert not absent & {*features}


class TestLabels:
    def test_labels_are_of_the_cohort_converted_or_not(self, features, labels):
        """Defect: an inner join with the converters keeps only who came back. A
        purchase of nobody is nobody's label."""
        assert set(labels) == set(features)
        assert labels["newcomer"] == 0
        assert "buys first time in horizon" not in labels

    def test_labels_are_of_the_half_open_horizon(self, labels):
        """The first moment of the horizon counts, the first after it does not."""
        assert labels["buys at as_of"] == 1
        assert labels["bought before"] == 0
        # Bought by the laptop, and reported again by the phone.
        assert (labels["laptop.2"], labels["phone.2"]) == (0, 1)
        assert labels["opens it again"] == 0
        for zone in (-12, 14):
            assert labels[f"zone {zone} buys last"] == 1
            assert labels[f"zone {zone} buys late"] == 0

    def test_labels_may_be_of_another_event(self, export):
        """PROPENSITY_LABEL_EVENT names what a conversion is."""
        other = export.with_settings(PROPENSITY_LABEL_EVENT="subscribe")

        assert {row["user_id"] for row in other.outcomes("labels")} == {"subscribes"}

    def test_labels_and_features_alike_count_no_order_page_that_is_opened_again(
        self, labels, later
    ):
        """The first order counts in both, however many weeks lie between, up to the
        two lookbacks that are read; beyond, both count it again."""
        bought = {gap: labels[f"after {gap}"] for gap in GAPS}

        assert bought == {gap: int(gap >= 120) for gap in GAPS}
        assert bought == {gap: later[f"after {gap}"]["purchases_7d"] for gap in GAPS}


def test_a_user_may_be_the_login(export):
    """By user_id a user is one on all devices, also where no cookie was allowed; so is
    a purchase that two of them report."""
    rows = export.with_settings(PROPENSITY_USER_COLUMN="user_id").training_rows()
    by_user = {row["user_id"]: row for row in rows}

    assert set(by_user) == {"login.1", "login.2"}
    assert by_user["login.1"]["events"] == by_user["login.1"]["sessions"] == 3
    assert [by_user[f"login.{n}"]["label"] for n in (1, 2)] == [1, 0]


def test_batches_give_each_date_the_outcomes_that_it_has_alone(export):
    """So it is with who converted, and with what they paid: once, at first."""
    name, dates = "converter_amounts", [AS_OF - 7 * DAY, AS_OF]
    alone = [row for day in dates for row in export.outcomes(name, day)]
    paid = export.outcomes(name, *dates)
    labels = export.outcomes("labels", *dates)
    [again] = [row for row in alone if row["user_id"] == "opens it again"]

    assert (again["as_of"], again["amount"]) == (dates[0], 100)
    assert "in a later table" not in {row["user_id"] for row in alone}
    assert sorted(map(str, paid)) == sorted(map(str, alone))
    assert {(row["as_of"], row["user_id"]) for row in labels} == {
        (row["as_of"], row["user_id"]) for row in alone
    }


def test_batches_give_each_date_the_rows_that_it_has_alone(export, features, later):
    """Several as-of dates in one query are what each is in its own, also where an
    event lies in the table of a later day."""
    alone = {AS_OF: features, AS_OF + 7 * DAY: later}
    counts = [rows["in a later table"]["events"] for rows in alone.values()]

    assert counts == [2, 3]
    assert export.features(*alone) == {
        (as_of, user): row
        for as_of, rows in alone.items()
        for user, row in rows.items()
    }
