"""
A generated shop's GA4 export.

Events carry UTC timestamps; ``event_date`` is the local date in New York, whose evening
is past midnight in UTC. The export has the traps of real ones: parameters of changing
types, ``(not set)``, ``<Other>`` and ``(data deleted)``, empty items, purchases without
``ecommerce``, rows exported twice, visits that arrive up to three days late, refunds.
None of that depends on what the truth depends on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa

from local.exports.ga4_schema import ARROW_SCHEMA
from local.generators.drawing import Floats, Ints
from local.generators.shop import (
    CHANNELS,
    COUNTRIES,
    DAY,
    DAY_US,
    DEVICES,
    EPOCH,
    SECOND_US,
    Process,
    texts,
)

TIME_ZONE = ZoneInfo("America/New_York")
LATEST_ARRIVAL_DAYS = 3
# By where in a visit an event stands: pages and items mix, the rest follows in order.
EVENTS = {
    "session_start": 0, "first_visit": 1, "page_view": 2, "view_item": 2,
    "add_to_cart": 3, "begin_checkout": 4, "purchase": 5, "user_engagement": 6,
    "refund": 0,
}  # fmt: skip
(
    SESSION_START, FIRST_VISIT, PAGE_VIEW, VIEW_ITEM, ADD_TO_CART, BEGIN_CHECKOUT,
    PURCHASE, USER_ENGAGEMENT, REFUND,
) = range(len(EVENTS))  # fmt: skip
STAGE = np.array([*EVENTS.values()])
# Expected number a visit, by mood.
PAGES = np.array([0.0, 1.0, 1.5, 2.8])
ITEMS = np.array([0.0, 0.3, 0.8, 2.4])
CART = np.array([0.0, 0.02, 0.07, 0.50])
CHECKOUT = np.array([0.0, 0.1, 0.15, 0.35])
REFUNDED, LATE, DUPLICATED, WITHOUT_ECOMMERCE = 0.09, 0.02, 0.005, 0.02
PRODUCTS = 120
PRICES = np.round(4.0 + 1.37 * ((np.arange(PRODUCTS) * 37) % 61), 2)
CATEGORIES = ("Apparel", "Drinkware", "Bags", "Stationery", "(not set)")
PAGE_PATHS = (
    *("", "checkout", "thanks"),
    *(f"c/{category}" for category in CATEGORIES),
    *(f"p/{product}" for product in range(PRODUCTS)),
)
VALUE_FIELDS = ("int_value", "double_value", "float_value", "string_value")


@dataclass(frozen=True)
class _Events:
    """One row for each event: whose, in which visit, which kind, microseconds."""

    user: Ints
    visit: Ints
    kind: Ints
    time_us: Ints


class Shop(Process):
    """A shop's events and the process behind them, which has the arguments."""

    def __init__(self, **parameters: Any) -> None:
        super().__init__(**parameters)
        random, n_visits = self._random, len(self._visits.user)
        events = self._events()
        late = np.where(
            random.random(n_visits) < LATE,
            random.integers(1, LATEST_ARRIVAL_DAYS + 1, n_visits),
            0,
        )
        days = _local_days(events.time_us)
        table = self._written(events, days)
        twice = np.flatnonzero(random.random(len(days)) < DUPLICATED)
        rows = np.r_[np.arange(len(days)), twice]
        first, last = ((self.dates[at] - EPOCH).days for at in (0, -1))
        rows = rows[(days[rows] >= first) & (days[rows] <= last)]
        rows = rows[np.lexsort((rows, events.time_us[rows], days[rows]))]
        # Every exported row by day and time, with its day and arrival.
        self._table, self._days = table.take(pa.array(rows)), days[rows]
        self._arrivals = days[rows] + late[events.visit[rows]]

    def shard(self, day: date, *, seen_on: date | None = None) -> pa.Table:
        """Return one day's rows, those only that had arrived by ``seen_on``."""
        number = (day - EPOCH).days
        start, stop = np.searchsorted(self._days, [number, number + 1])
        rows = self._table.slice(start, stop - start)
        if seen_on is None:
            return rows
        arrivals = self._arrivals[start:stop]
        return rows.filter(pa.array(arrivals <= (seen_on - EPOCH).days))

    def late_days(self) -> list[date]:
        """List the days whose shard is rewritten because rows of it arrive late."""
        is_late = self._arrivals > self._days
        return [EPOCH + int(d) * DAY for d in np.unique(self._days[is_late])]

    def _events(self) -> _Events:
        """Fill every visit with events, by its mood; return them by user and time."""
        random, visits = self._random, self._visits
        n, mood = len(visits.user), visits.mood
        items = random.poisson(ITEMS[mood])
        carts = random.random(n) < CART[mood]
        checkouts = carts & (random.random(n) < CHECKOUT[mood])
        counts = np.stack(
            [
                np.ones(n, np.int64),
                visits.is_first,
                1 + random.poisson(PAGES[mood]),
                np.maximum(items, carts | visits.buys),
                np.maximum(carts * (1 + random.poisson(0.4, n)), visits.buys),
                checkouts | visits.buys,
                visits.buys,
                random.random(n) < 0.8,
            ]
        )
        kinds, every = np.arange(len(counts)), np.arange(n)
        kind = np.repeat(np.repeat(kinds, n), counts.ravel())
        visit = np.repeat(np.tile(every, len(counts)), counts.ravel())
        order = np.lexsort((random.random(len(kind)), STAGE[kind], visit))
        visit, kind = visit[order], kind[order]
        # A visit's first events share its first instant, as GA4 sends them.
        first = np.searchsorted(visit, every)[visit]
        place = np.arange(len(visit)) - first
        gap_us = (random.gamma(1.2, 35.0, len(visit)) * SECOND_US).astype(np.int64) + 1
        gap_us[(place == 0) | ((place == 1) & (kind == FIRST_VISIT))] = 0
        total = np.cumsum(np.minimum(gap_us, 240 * SECOND_US))
        # 90 minutes are left before midnight: no visit is cut by the end of its day.
        within = np.minimum(total - total[first], 5_390 * SECOND_US)
        time_us = visits.start_us[visit] + within

        bought = np.flatnonzero(kind == PURCHASE)
        back = bought[random.random(len(bought)) < REFUNDED]
        wait_us = (random.uniform(2, 15, len(back)) * DAY_US).astype(np.int64)
        visit = np.r_[visit, visit[back]]
        kind = np.r_[kind, np.full(len(back), REFUND)]
        time_us = np.r_[time_us, time_us[back] + wait_us]
        user = visits.user[visit]
        order = np.lexsort((time_us, user))
        return _Events(user[order], visit[order], kind[order], time_us[order])

    def _written(self, events: _Events, days: Ints) -> pa.Table:
        """Write events in the export's columns; those that nobody reads are null."""
        random, n, n_visits = self._random, len(days), len(self._visits.user)
        kind, user, visit = events.kind, events.user, events.visit
        # What each visit would pay for: so many lines of products, from an offset.
        lines = 1 + random.poisson(1.1, n_visits)
        offset = np.r_[0, np.cumsum(lines)[:-1]]
        products = random.integers(0, PRODUCTS, int(lines.sum()))
        each = 1 + random.poisson(0.3, len(products))
        worth = np.add.reduceat(PRICES[products] * each, offset).round(2)
        is_sale = np.isin(kind, (PURCHASE, REFUND))
        value = np.where(is_sale, worth[visit], 0.0)
        product = random.integers(0, PRODUCTS, n)
        is_named = self._is_member[user] & (random.random(n_visits) < 0.85)[visit]
        unique, place = np.unique(days, return_inverse=True)
        names = [f"{EPOCH + day * DAY:%Y%m%d}" for day in unique.tolist()]
        transactions = texts("T{}", 500_000 + np.arange(n_visits))
        params = self._params(events, product, value, transactions)
        source, medium, *_ = zip(*CHANNELS, strict=True)
        category, system, browser, *_ = zip(*DEVICES, strict=True)
        offset_us = random.integers(0, 900_000, n)
        no_ecommerce = random.random(n) < WITHOUT_ECOMMERCE
        looks = np.isin(kind, (VIEW_ITEM, ADD_TO_CART))
        sold, back = (
            pa.array(value, mask=(kind != of) | no_ecommerce)
            for of in (PURCHASE, REFUND)
        )
        transaction = _choose(
            pa.concat_arrays([transactions, pa.array(["(not set)"])]),
            np.where(is_sale, visit, n_visits),
            (is_sale & ~no_ecommerce) | looks,
        )
        # The basket at the checkout, one product on the way there.
        shows = looks & (random.random(n) >= 0.08)
        paying = np.isin(kind, (BEGIN_CHECKOUT, PURCHASE, REFUND))
        count = np.where(paying, lines[visit], shows.astype(np.int64))
        event = np.repeat(np.arange(n), count)
        line = np.arange(len(event)) - (np.cumsum(count) - count)[event]
        slot = np.where(paying[event], offset[visit[event]] + line, 0)
        which = np.where(paying[event], products[slot], product[event])
        quantity = np.where(paying[event], each[slot], 1)
        # Of fifty visits one denied all, and one says nothing.
        denied, told = visit % 50 == 7, visit % 50 != 8
        number = np.arange(PRODUCTS)
        columns = {
            "event_date": _choose(names, place),
            "event_timestamp": pa.array(events.time_us),
            "event_name": _choose([*EVENTS], kind),
            "event_params": params,
            "event_value_in_usd": pa.array(value, mask=value == 0),
            "event_bundle_sequence_id": pa.array(visit * 64 + kind),
            "event_server_timestamp_offset": pa.array(offset_us),
            "user_id": _choose(
                texts("member-{}", 100_000 + 37 * np.arange(self.users)), user, is_named
            ),
            "user_pseudo_id": _choose(self._pseudo_ids, user),
            "privacy_info": {
                "analytics_storage": _choose(["Yes", "No"], denied, told),
                "ads_storage": _choose(["Yes", "No"], denied | (visit % 3 == 0), told),
            },
            "user_first_touch_timestamp": pa.array(self._first_touch_us[user]),
            "device": {
                "category": _choose(category, self.device[user]),
                "operating_system": _choose(system, self.device[user]),
                "web_info": {"browser": _choose(browser, self.device[user])},
            },
            "geo": {"country": _choose(COUNTRIES, self.country[user])},
            "traffic_source": {
                "source": _choose(source, self.channel[user]),
                "medium": _choose(medium, self.channel[user]),
            },
            "platform": pa.repeat("WEB", n),
            "ecommerce": {
                "purchase_revenue_in_usd": sold,
                "purchase_revenue": sold,
                "refund_value_in_usd": back,
                "refund_value": back,
                "transaction_id": transaction,
            },
            "items": _lists(
                "items",
                count,
                {
                    "item_id": _choose(texts("SKU{:05d}", 10_000 + 17 * number), which),
                    "item_name": _choose(texts("Product {}", 1 + number), which),
                    "item_category": _choose(CATEGORIES, which % len(CATEGORIES)),
                    "price": pa.array(PRICES[which]),
                    "quantity": pa.array(quantity),
                },
            ),
        }
        rows = _record(columns, ARROW_SCHEMA, n)
        return pa.Table.from_struct_array(rows).cast(ARROW_SCHEMA)

    def _params(
        self, events: _Events, product: Ints, value: Floats, transactions: pa.Array
    ) -> pa.ListArray:
        """Write the event parameters, with the types that real exports mix."""
        random, visits = self._random, self._visits
        kind, visit, n = events.kind, events.visit, len(events.kind)
        parts: list[pa.Table] = []

        def add(key: str, rows: Ints, values: Any, field: str) -> None:
            names = pa.repeat(key, len(rows))
            parts.append(pa.table({"row": rows, "key": names, field: values}))

        def add_number(key: str, rows: Ints, values: Floats) -> None:
            style = random.choice(4, len(rows), p=[0.70, 0.18, 0.06, 0.06])
            style[(style == 0) & (values != np.floor(values))] = 1
            for code, field in enumerate(VALUE_FIELDS):
                chosen = values[style == code]
                written = {
                    "int_value": chosen.astype(np.int64),
                    "string_value": pa.array([f"{x:.10g}" for x in chosen], "string"),
                }
                add(key, rows[style == code], written.get(field, chosen), field)

        # A refund is sent by the shop's server, outside any session.
        online = np.flatnonzero(kind != REFUND)
        seconds = visits.start_us // SECOND_US
        number = np.arange(len(seconds)) - np.searchsorted(visits.user, visits.user) + 1
        add("ga_session_id", online, seconds[visit[online]], "int_value")
        add("ga_session_number", online, number[visit[online]], "int_value")
        opening = np.flatnonzero(kind <= FIRST_VISIT)
        later = np.flatnonzero((kind > FIRST_VISIT) & (kind != REFUND))
        add("session_engaged", opening, np.ones(len(opening), np.int64), "int_value")
        engaged = random.choice(2, len(later), p=[0.15, 0.85])
        add("session_engaged", later, _choose(["0", "1"], engaged), "string_value")
        page = np.select(
            [
                np.isin(kind, (VIEW_ITEM, ADD_TO_CART)),
                kind == BEGIN_CHECKOUT,
                kind == PURCHASE,
                kind == PAGE_VIEW,
            ],
            [len(PAGE_PATHS) - PRODUCTS + product, 1, 2, 3 + product % len(CATEGORIES)],
            0,
        )
        pages = [f"https://shop.example/{path}" for path in PAGE_PATHS]
        add("page_location", online, _choose(pages, page[online]), "string_value")
        titled = online[random.random(len(online)) < 0.95]
        titles = random.random(len(titled)) < 0.02
        title = _choose(["Shop", "(not set)"], titles)
        add("page_title", titled, title, "string_value")
        looked = (kind == VIEW_ITEM) & (random.random(n) < 0.5)
        spent = np.flatnonzero((kind == USER_ENGAGEMENT) | looked)
        # Longer looks come with keener moods.
        scale = 6_000.0 * (1 + visits.mood[visit[spent]])
        msec = np.floor(random.gamma(1.5, scale)) + 1
        add_number("engagement_time_msec", spent, msec)
        sales = np.flatnonzero(value > 0)
        add_number("value", sales, value[sales])
        add("currency", sales, pa.repeat("USD", len(sales)), "string_value")
        names = _choose(transactions, visit[sales])
        add("transaction_id", sales, names, "string_value")

        every = pa.concat_tables(parts, promote_options="default")
        every = every.sort_by("row").combine_chunks()
        columns = {name: every[name].combine_chunks() for name in every.column_names}
        counts = np.bincount(columns.pop("row"), minlength=n)
        key = columns.pop("key")
        return _lists("event_params", counts, {"key": key, "value": columns})


def _choose(values: Any, codes: Any, known: Any = None) -> pa.Array:
    """Return the values of codes, null where it is not known."""
    mask = None if known is None else ~known
    return pa.array(values).take(pa.array(codes.astype(np.int64), mask=mask))


def _lists(name: str, counts: Ints, columns: Mapping[str, Any]) -> pa.ListArray:
    """Return lists of so many records each, as a column of the export."""
    offsets = np.r_[0, np.cumsum(counts)].astype(np.int32)
    fields = ARROW_SCHEMA.field(name).type.value_type
    entries = _record(columns, fields, int(offsets[-1]))
    return pa.ListArray.from_arrays(pa.array(offsets), entries)


def _record(columns: Mapping[str, Any], fields: Any, n: int) -> pa.StructArray:
    """Return records of fields from columns; a field without one is null."""
    arrays = []
    for field in fields:
        column = columns.get(field.name)
        if column is None:
            arrays.append(pa.nulls(n, field.type))
        elif isinstance(column, dict):
            arrays.append(_record(column, field.type, n))
        else:
            arrays.append(column.cast(field.type))
    return pa.StructArray.from_arrays(arrays, fields=[*fields])


def _local_days(time_us: Ints) -> Ints:
    """Return the shop's local date of each instant, in days since 1970."""
    hours, place = np.unique(time_us // (3600 * SECOND_US), return_inverse=True)
    zoned = (datetime.fromtimestamp(h * 3600, UTC).astimezone(TIME_ZONE) for h in hours)
    offsets = (one.utcoffset() for one in zoned)
    seconds = np.array([one.total_seconds() for one in offsets if one is not None])
    local: Ints = (time_us + seconds[place].astype(int) * SECOND_US) // DAY_US
    return local
