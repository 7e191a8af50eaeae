"""What happened to users of a shop, and what their features are: each is one trap."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tests.support import shop
from tests.support.shop import event, paid, purchase
from tests.usecases.ga4_purchase.conftest import DAY_US, MIDNIGHT, USE_CASE, ago

CATEGORIES = [name for name, kind in USE_CASE.features.items() if kind == "category"]
FIRST_DAY = ago(60)
# The first microsecond after the last that there is.
AFTER_ALL = 253402300800 * 10**6

PLACEHOLDERS = ["", "(not set)", "(data deleted)", None]
# Ids that mean nothing, in any case, with blanks around.
NOBODY = PLACEHOLDERS + ["null", "undefined", "NaN", "0", " NULL "]
# Each of these tells two events apart, also if nothing else does.
DIFFERENCES = ("batch_event_index", "event_bundle_sequence_id")
TYPES: dict[str, shop.Row] = {
    "int": {"int_value": 1500},
    "double": {"double_value": 1500.0},
    "float": {"float_value": 1500.0},
    "string": {"string_value": "1500"},
    "text of a double": {"string_value": "1500.0"},
}
NOT_NUMBERS: dict[str, shop.Row] = {
    "garbage": {"string_value": "soon"},
    "nan": {"double_value": math.nan},
    "negative": {"int_value": -5},
    "nothing": {},
}


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
    one = at(9, "add_to_cart", items=[{"item_id": "a"}])
    bought = sold(9, 5.0)
    return [one, one, one | {difference: 2}, bought, bought | {difference: 2}]


CART = [{"item_id": "a"}, {"item_id": "b"}]
ORDER = at(20, "purchase", items=CART,
           ecommerce={"transaction_id": "R1", "purchase_revenue": 60.0})  # fmt: skip
IMPOSSIBLE = (None, ago(3) * 1000, 2**63 - 1, -(2**63), AFTER_ALL)

# Each trap: what happened to a user, and what the user's features are.
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
    # Of an event its own column counts: some exports fill in the other's as well.
    "a purchase with what was refunded of it": (
        [sold(18, 80.0, "P3", ecommerce={
            "transaction_id": "P3", "purchase_revenue": 80.0, "refund_value": 20.0,
        })],
        {"revenue": 80},
    ),
    "a refund with the revenue of its order": (
        [refund(18, "P4", purchase_revenue=80.0, refund_value=20.0)],
        {"refunds": 1, "refund_value": 20},
    ),
    # A refund that says no amount is of its whole order, if that is known and it names
    # no fewer items. Two lookbacks have the old order, and only one its amount.
    "refunds an order": (
        [ORDER, refund(15, "R1")], {"refunds": 1, "revenue": 60, "refund_value": 60},
    ),
    "refunds an item": (
        [ORDER, refund(15, "R1", "a")], {"refunds": 1, "refund_value": 0},
    ),
    "refunds an old order": (
        [at(3), sold(64, 60.0, "R"), at(70, "refund"), refund(15, "R")],
        {"refunds": 1, "refund_value": 60, "purchase_days_two_lookbacks": 1},
    ),
    # Money is decimal: a tenth and two tenths are three.
    "cents": (
        [sold(9, 0.1, "C1"), sold(8, 0.2, "C2")],
        {"revenue": 0.3, "mean_order_value": 0.15},
    ),
    # An unknown amount is not nothing, and a refund makes no amount known.
    "no ecommerce": (
        [at(9, "purchase"), refund(8, "R", refund_value=3.0)],
        {"purchases": 1, "mean_order_value": None, "revenue": 0,
         "largest_day_revenue": 0},
    ),
    # A revenue that is no amount of money is left out; the purchase counts.
    "negative": ([sold(9, -5.0, "N")], {"purchases": 1, "revenue": -5}),
    # Without a revenue the value counts; an item without a quantity is one.
    "value alone": (
        [at(9, "purchase", ecommerce={"purchase_revenue": 0.0},
            items=[{"item_id": "a"}, {"item_id": "b", "quantity": 2}],
            params={"value": 7.0})],
        {"revenue": 7, "items": 3},
    ),
    # Of absurd quantities none is added.
    "many items": (
        [sold(9, 4.0, items=[
            ("a", 2**62), ("b", 2**62), ("c", 2), ("c", -1), ("b", 10**7),
        ])],
        {"items": 2, "distinct_items": 3},
    ),
    # Items are told apart by their ids; one whose id means nothing is one of its own.
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
    "a parameter": (
        [sold(9, params={"transaction_id": 1001}),
         sold(8.9, order="(not set)", params={"transaction_id": 1001})],
        {"purchases": 1},
    ),
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
    "bought in both": (
        [at(3), *(sold(day, 7.0, f"T{day}") for day in (110, 75.5, 75.2, 40.5, 10))],
        {"purchases": 2, "purchase_days": 2, "revenue": 14, "items": 2,
         "purchase_recency_days": 10, "purchase_days_two_lookbacks": 4,
         "mean_purchase_gap_days": 100 / 3,
         "purchase_recency_in_gaps": 10 / (100 / 3)},
    ),
    # Neither the moment before two lookbacks nor the as-of date counts.
    "bought at the bounds": (
        [at(3), sold(120, 7.0, "T120"), sold(1.5, 7.0, "T1.5"),
         purchase("", ago(120, plus=-1)), purchase("", MIDNIGHT)],
        {"purchases": 1, "purchase_days_two_lookbacks": 2,
         "mean_purchase_gap_days": 118, "purchase_recency_in_gaps": 2 / 118},
    ),
    "opened for months": (
        [at(3), *(sold(day, 7.0, "T1") for day in (100, 64, 10))],
        {"purchases": 0, "purchase_days_two_lookbacks": 1},
    ),
    # The history has what two lookbacks don't: two years of days with a purchase.
    "bought a year ago": (
        [at(3), *(sold(day, 7.0, f"T{day}") for day in (400.5, 400.2, 300, 200))],
        {"presence": "active", "recency_days": 3,
         "purchase_days_two_lookbacks": 0, "history_purchase_rate": 3 / (401 + 30),
         "history_days_since_first": 90, "history_mean_gap_days": 201 / 2,
         "history_recency_in_gaps": 200 / (201 / 2),
         "history_revenue_per_day": 28 / 3},
    ),
    "bought at the bounds of the history": (
        [at(3), sold(730, 5.0, "T730"), purchase("", ago(730, plus=-1), 7.0),
         purchase("", MIDNIGHT, 9.0)],
        {"history_purchase_rate": 1 / (730 + 30), "history_revenue_per_day": 5,
         "history_mean_gap_days": None, "history_recency_in_gaps": None},
    ),
    "fades": (
        [sold(60, 7.0, "T60")],
        {f"purchase_days_fading_{days}d": pytest.approx(math.exp(-60 / days))
         for days in (20, 60, 180)},
    ),
    "never bought": (
        [at(9)],
        {"history_purchase_rate": 0, "history_days_since_first": None,
         "history_revenue_per_day": None, "purchase_days_fading_60d": 0},
    ),
    # Somebody away did nothing in the lookback, which is known.
    "away": (
        [event("", ago(200), params={"ga_session_number": 9}),
         *(sold(day, 7.0, f"T{day}") for day in (100.5, 90.5))],
        {"presence": "away", "recency_days": 91, "days_since_first_seen": 90,
         "active_days": 0, "sessions": 0, "sessions_ever": None, "events": 0,
         "events_trend": None, "engagement_s": 0, "page_views": 0, "purchases": 0,
         "purchases_per_day_known": 0, "purchase_recency_days": None, "revenue": 0,
         "purchase_days_two_lookbacks": 2, "mean_purchase_gap_days": 10,
         "history_purchase_rate": 2 / (101 + 30), "history_recency_in_gaps": 91 / 10,
         "last_day_page_views": 0, "source": None, "country": None},
    ),
    "away for two years": ([sold(730, 7.0, "T730")], {"recency_days": 730}),
}  # fmt: skip

# The same of an export whose events have dollars.
IN_DOLLARS: dict[str, tuple[list[Any], shop.Row]] = {
    # A euro, a pound and a dollar are no three of anything: they add up in dollars.
    "travels": (
        [abroad(9, "EUR", "E"), abroad(8, "GBP", "G"), abroad(7, "USD", "U")],
        {"purchases": 3, "revenue": 125 + 150 + 100},
    ),
    # A reload on another day is worth other dollars: the first count.
    "rate moved": (
        [abroad(9, "EUR", "M"), abroad(8, "EUR", "M", rate=1.5)],
        {"purchases": 1, "revenue": 125},
    ),
    "value alone": (
        [at(9, "purchase", event_value_in_usd=7.0)],
        {"revenue": 7},
    ),
    # Beside dollars, an amount without is not known.
    "no rate": (
        [abroad(9, "XXX", "X"), abroad(8, "USD", "U")],
        {"purchases": 2, "revenue": 100},
    ),
    # Nor is a refund, which Google does not convert.
    "refunds yen": (
        [
            sold(
                9,
                12_000.0,
                "Y",
                ecommerce={
                    "transaction_id": "Y",
                    "purchase_revenue": 12_000.0,
                    "purchase_revenue_in_usd": 80.0,
                },
            ),
            refund(8, "Y", refund_value=12_000.0),
        ],
        {"revenue": 80, "refunds": 1, "refund_value": 0},
    ),
}
