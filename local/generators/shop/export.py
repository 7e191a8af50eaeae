"""
A shop's GA4 export from a process that is known, so that the truth can be told.

``process.py`` has the process; here is what it looks like as an export.

The export
----------
Events carry UTC timestamps; ``event_date`` is the local date in New York, whose evening
is past midnight in UTC. The export has the traps of real ones: parameters that are a
string here and an integer there, numbers as int, double, float or text, ``(not set)``,
``<Other>``, ``(data deleted)``, empty items, purchases without ``ecommerce``, rows
exported twice (byte-equal), whole visits that arrive up to three days late, and
intraday shards that repeat the last days without the fields GA4 fills in later.
Lateness, duplicates and defects are independent of everything that the truth depends
on. Refunds follow some purchases after days. The simulation starts ``BURN_IN_DAYS``
earlier than the export, so that the first exported day is like any other.

Everything follows from the seed: same seed, same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import cached_property

import numpy as np
import pyarrow as pa

from local.exports.ga4_schema import ARROW_SCHEMA
from local.generators.drawing import Floats, Ints
from local.generators.shop import world
from local.generators.shop.columns import (
    COLLECTED_RECORDS,
    DEVICE_RECORDS,
    GEO_RECORDS,
    PAGE_RECORDS,
    PRICES,
    PRODUCT_IDS,
    PRODUCT_NAMES,
    SOURCE_RECORDS,
    Basket,
    Params,
    consents,
    dates,
    lifetime_value,
    local_days,
    repeated,
    struct_of,
    texts,
    texts_of_days,
)
from local.generators.shop.process import Process


@dataclass(frozen=True)
class _Events:
    """One row per event: whose, in which visit, which kind, when (microseconds)."""

    user: Ints
    visit: Ints
    kind: Ints
    time_us: Ints


class Shop(Process):
    """A shop's events and the process behind it, which has the arguments."""

    def loyalty(self) -> pa.Table:
        """
        Return what a loyalty programme of the shop's stores has of its members.

        Most users are one. Their points are those of the last week, for what they buy
        in the stores, which no event shows and which goes with their moods.

        Returns:
            ``customer_id`` string, ``changed_at`` timestamp in UTC, ``points`` int64
            and ``tier`` string: a row for each change.
        """
        # Of its own, so that the export is the same with and without it.
        random = np.random.Generator(np.random.PCG64(self.users))
        weeks = np.arange(0, self._simulated_days, world.POINTS_DAYS)
        is_member = (random.random(self.users) < 0.8) & (
            self._arrival <= weeks[:, None]
        )
        rate = world.POINTS[self._moods[weeks]] * self._conversion * is_member
        points = random.poisson(rate)
        in_all = np.cumsum(points, axis=0)
        is_there = np.diff(points, axis=0, prepend=0) != 0
        week, user = np.nonzero(is_there)
        day = (self._start - world.EPOCH).days + 1 + weeks[week]
        tier = np.array(["bronze", "silver", "gold"])
        return pa.table(
            {
                "customer_id": self._pseudo_ids.take(pa.array(user)),
                "changed_at": pa.array(day * world.DAY_US, pa.timestamp("us", "UTC")),
                "points": pa.array(points[is_there]),
                "tier": pa.array(tier[np.digitize(in_all[is_there], world.TIERS)]),
            }
        )

    def _visit_events(self) -> _Events:
        """Fill every visit with events, by its mood, and add the refunds."""
        random, visits = self._random, self._visits
        n, mood = len(visits.user), visits.mood
        items = random.poisson(world.ITEMS[mood])
        carts = random.random(n) < world.CART[mood]
        checkouts = carts & (random.random(n) < world.CHECKOUT[mood])
        counts = {
            world.SESSION_START: np.ones(n, np.int64),
            world.FIRST_VISIT: visits.is_first.astype(np.int64),
            world.PAGE_VIEW: 1 + random.poisson(world.PAGES[mood]),
            world.VIEW_ITEM: np.maximum(items, carts | visits.buys),
            world.ADD_TO_CART: np.maximum(
                carts * (1 + random.poisson(0.4, n)), visits.buys
            ),
            world.BEGIN_CHECKOUT: (checkouts | visits.buys).astype(np.int64),
            world.PURCHASE: visits.buys.astype(np.int64),
            world.USER_ENGAGEMENT: (random.random(n) < 0.8).astype(np.int64),
        }
        every = np.arange(n)
        visit = np.concatenate([np.repeat(every, count) for count in counts.values()])
        kind = np.concatenate([np.full(c.sum(), k) for k, c in counts.items()])
        order = np.lexsort((random.random(len(kind)), world.STAGE[kind], visit))
        visit, kind = visit[order], kind[order]
        # A visit's first three events share its first instant, as GA4 sends them.
        place = np.arange(len(visit)) - np.searchsorted(visit, every)[visit]
        gap_us = (random.gamma(1.2, 35.0, len(visit)) * world.SECOND_US).astype(
            np.int64
        ) + 1
        gap_us[place == 0] = 0
        gap_us[(place == 1) & (kind == world.FIRST_VISIT)] = 0
        gap_us = np.minimum(gap_us, 240 * world.SECOND_US)
        total = np.cumsum(gap_us)
        within = total - total[np.searchsorted(visit, every)][visit]
        # 90 minutes are left before midnight: no visit is cut by the end of its day.
        time_us = visits.start_us[visit] + np.minimum(within, 5_390 * world.SECOND_US)
        return _Events(visits.user[visit], visit, kind, time_us)

    @cached_property
    def _events(self) -> _Events:
        """All events, refunds too, in order of user and time."""
        random, sold = self._random, self._visit_events()
        bought = np.flatnonzero(sold.kind == world.PURCHASE)
        back = bought[random.random(len(bought)) < world.REFUNDED]
        wait_us = (random.uniform(2, 15, len(back)) * world.DAY_US).astype(np.int64)
        user = np.r_[sold.user, sold.user[back]]
        visit = np.r_[sold.visit, sold.visit[back]]
        kind = np.r_[sold.kind, np.full(len(back), world.REFUND)]
        time_us = np.r_[sold.time_us, sold.time_us[back] + wait_us]
        order = np.lexsort((time_us, user))
        return _Events(user[order], visit[order], kind[order], time_us[order])

    def shards(self, *, seen_on: date | None = None) -> Iterator[tuple[str, pa.Table]]:
        """
        Yield the export's tables: the daily ones, then the intraday ones.

        Args:
            seen_on: The export as it stood at the end of this date: later days and
                what had not arrived are missing. None: complete.
        """
        last = min(seen_on or self.last_date, self.last_date)
        for day in dates(self.first_date, last):
            if (table := self.shard(day, seen_on=seen_on)).num_rows:
                yield f"events_{day:%Y%m%d}", table
        for day in dates(self.last_date - (world.INTRADAY_DAYS - 1) * world.DAY, last):
            if (table := self._intraday(day)).num_rows:
                yield f"events_intraday_{day:%Y%m%d}", table

    def shard(self, day: date, *, seen_on: date | None = None) -> pa.Table:
        """Return one day's rows, those only that had arrived by ``seen_on``."""
        table, days, arrivals = self._export
        number = (day - world.EPOCH).days
        start, stop = np.searchsorted(days, [number, number + 1])
        rows = table.slice(start, stop - start)
        if seen_on is None:
            return rows
        return rows.filter(
            pa.array(arrivals[start:stop] <= (seen_on - world.EPOCH).days)
        )

    def late_days(self) -> list[date]:
        """List the days whose shard is rewritten because rows of it arrive late."""
        _, days, arrivals = self._export
        return [
            world.EPOCH + int(d) * world.DAY for d in np.unique(days[arrivals > days])
        ]

    def _intraday(self, day: date) -> pa.Table:
        """Return the day as it streams in: no late rows, no fields filled in later."""
        rows = self.shard(day, seen_on=day)
        for name in ("user_ltv", "traffic_source", "is_active_user"):
            index = rows.schema.get_field_index(name)
            kind = rows.schema.field(index)
            rows = rows.set_column(index, kind, pa.nulls(rows.num_rows, kind.type))
        return rows

    @cached_property
    def _export(self) -> tuple[pa.Table, Ints, Ints]:
        """Return every exported row by day and time, with its day and arrival."""
        random, events, visits = self._random, self._events, self._visits
        late = np.where(
            random.random(len(visits.user)) < world.LATE,
            random.integers(1, world.LATEST_ARRIVAL_DAYS + 1, len(visits.user)),
            0,
        )
        days = local_days(events.time_us)
        table = self._table(events, days)
        twice = np.flatnonzero(random.random(len(days)) < world.DUPLICATED)
        rows = np.r_[np.arange(len(days)), twice]
        first, last = (
            (d - world.EPOCH).days for d in (self.first_date, self.last_date)
        )
        rows = rows[(days[rows] >= first) & (days[rows] <= last)]
        rows = rows[np.lexsort((rows, events.time_us[rows], days[rows]))]
        arrivals = days[rows] + late[events.visit[rows]]
        return table.take(pa.array(rows)), days[rows], arrivals

    def _table(self, events: _Events, days: Ints) -> pa.Table:
        """Write events out in the export's columns."""
        random, n = self._random, len(events.user)
        kind, user, visit = events.kind, events.user, events.visit
        starts = self._visits.start_us[visit]
        first_of_user = np.r_[True, user[1:] != user[:-1]]
        previous = np.r_[0, events.time_us[:-1]]
        basket = Basket.fill(random, len(self._visits.user))
        value = np.where(
            np.isin(kind, (world.PURCHASE, world.REFUND)), basket.value[visit], 0.0
        )
        product = random.integers(0, world.PRODUCTS, n)
        logged_in = (random.random(len(self._visits.user)) < 0.85)[visit]
        is_named = self._is_member[user] & logged_in
        columns: dict[str, pa.Array] = {
            "event_date": texts_of_days(days),
            "event_timestamp": pa.array(events.time_us),
            "event_name": pa.array(world.EVENTS).take(pa.array(kind)),
            "event_params": self._params(events, product, value),
            "event_previous_timestamp": pa.array(previous, mask=first_of_user),
            "event_value_in_usd": pa.array(value, mask=value == 0),
            "event_bundle_sequence_id": pa.array(visit * 64 + kind),
            "event_server_timestamp_offset": pa.array(random.integers(0, 900_000, n)),
            "user_id": texts("member-{}", 100_000 + 37 * np.arange(self.users)).take(
                pa.array(user, mask=~is_named)
            ),
            "user_pseudo_id": self._pseudo_ids.take(pa.array(user)),
            "privacy_info": consents(visit),
            "user_first_touch_timestamp": pa.array(self._first_touch_us[user]),
            "user_ltv": pa.StructArray.from_arrays(
                [lifetime_value(user, kind, value), pa.repeat("USD", n)],
                ["revenue", "currency"],
            ),
            "device": pa.array(DEVICE_RECORDS).take(pa.array(self.device[user])),
            "geo": pa.array(GEO_RECORDS).take(pa.array(self.country[user])),
            "traffic_source": pa.array(SOURCE_RECORDS).take(
                pa.array(self.channel[user])
            ),
            "stream_id": pa.repeat("1000000001", n),
            "platform": pa.repeat("WEB", n),
            "event_dimensions": repeated({"hostname": world.HOSTNAME}, n),
            "ecommerce": self._ecommerce(events, basket, value),
            "items": self._items(events, basket, product),
            "collected_traffic_source": pa.array(COLLECTED_RECORDS).take(
                pa.array(self.channel[user], mask=events.time_us != starts)
            ),
            "is_active_user": pa.repeat(True, n),
        }
        rows = struct_of(columns, ARROW_SCHEMA, n)
        return pa.Table.from_struct_array(rows).cast(ARROW_SCHEMA)

    def _params(self, events: _Events, product: Ints, value: Floats) -> pa.ListArray:
        """Write the event parameters, with the types that real exports mix."""
        random, visits = self._random, self._visits
        kind, visit = events.kind, events.visit
        n = len(kind)
        params = Params(n, random)
        # A refund is sent by the shop's server, outside any session.
        online = np.flatnonzero(kind != world.REFUND)
        seconds = visits.start_us // world.SECOND_US
        number = np.arange(len(seconds)) - np.searchsorted(visits.user, visits.user) + 1
        params.whole("ga_session_id", online, seconds[visit[online]])
        params.whole("ga_session_number", online, number[visit[online]])
        opening = np.flatnonzero(kind <= world.FIRST_VISIT)
        later = np.flatnonzero((kind > world.FIRST_VISIT) & (kind != world.REFUND))
        params.whole("session_engaged", opening, np.ones(len(opening), np.int64))
        engaged = random.choice(2, len(later), p=[0.15, 0.85])
        params.text("session_engaged", later, pa.array(["0", "1"]), engaged)
        page = np.select(
            [
                np.isin(kind, (world.VIEW_ITEM, world.ADD_TO_CART)),
                kind == world.BEGIN_CHECKOUT,
                kind == world.PURCHASE,
                kind == world.PAGE_VIEW,
            ],
            [
                len(PAGE_RECORDS) - world.PRODUCTS + product,
                1,
                2,
                3 + product % len(world.CATEGORIES),
            ],
            0,
        )
        params.text("page_location", online, PAGE_RECORDS, page[online])
        titled = online[random.random(len(online)) < 0.95]
        titles = np.where(random.random(len(titled)) < 0.02, 1, 0)
        params.text("page_title", titled, pa.array(["Shop", "(not set)"]), titles)
        spent = np.flatnonzero(
            (kind == world.USER_ENGAGEMENT)
            | ((kind == world.VIEW_ITEM) & (random.random(n) < 0.5))
        )
        # Longer looks come with keener moods.
        scale = 6_000.0 * (1 + visits.mood[visit[spent]])
        msec = random.gamma(1.5, scale).astype(np.int64) + 1
        params.number("engagement_time_msec", spent, msec.astype(np.float64))
        sales = np.flatnonzero(value > 0)
        params.number("value", sales, value[sales])
        params.text("currency", sales, pa.array(["USD"]), np.zeros(len(sales), int))
        params.text("transaction_id", sales, self._transactions, visit[sales])
        return params.build()

    @cached_property
    def _transactions(self) -> pa.Array:
        return texts("T{}", 500_000 + np.arange(len(self._visits.user)))

    def _ecommerce(
        self, events: _Events, basket: Basket, value: Floats
    ) -> pa.StructArray:
        """Write ecommerce for shop events; two in a hundred purchases lack it."""
        kind, visit = events.kind, events.visit
        missing = self._random.random(len(kind)) < 0.02
        sale = np.isin(kind, (world.PURCHASE, world.REFUND))
        present = (sale & ~missing) | np.isin(
            kind, (world.VIEW_ITEM, world.ADD_TO_CART)
        )
        purchase, refund = kind == world.PURCHASE, kind == world.REFUND
        named = pa.concat_arrays([self._transactions, pa.array(["(not set)"])])
        columns = {
            "total_item_quantity": pa.array(basket.quantity[visit], mask=~sale),
            "purchase_revenue_in_usd": pa.array(value, mask=~purchase),
            "purchase_revenue": pa.array(value, mask=~purchase),
            "refund_value_in_usd": pa.array(value, mask=~refund),
            "refund_value": pa.array(value, mask=~refund),
            "tax_value": pa.array(np.round(value * 0.08, 2), mask=~purchase),
            "unique_items": pa.array(basket.count[visit], mask=~sale),
            "transaction_id": named.take(
                pa.array(np.where(sale, visit, len(named) - 1))
            ),
        }
        fields = ARROW_SCHEMA.field("ecommerce").type
        return struct_of(columns, fields, len(kind), mask=pa.array(~present))

    def _items(self, events: _Events, basket: Basket, product: Ints) -> pa.ListArray:
        """Write items: the basket at the checkout, one product on the way there."""
        kind, visit = events.kind, events.visit
        looked = np.isin(kind, (world.VIEW_ITEM, world.ADD_TO_CART))
        looked &= self._random.random(len(kind)) >= 0.08
        paying = np.isin(kind, (world.BEGIN_CHECKOUT, world.PURCHASE, world.REFUND))
        count = np.where(paying, basket.count[visit], looked.astype(np.int64))
        offsets = np.r_[0, np.cumsum(count)]
        event = np.repeat(np.arange(len(kind)), count)
        line = np.arange(len(event)) - offsets[event]
        from_basket = paying[event]
        slot = np.where(from_basket, basket.offset[visit[event]] + line, 0)
        which = np.where(from_basket, basket.product[slot], product[event])
        quantity = np.where(from_basket, basket.each[slot], 1)
        price = PRICES[which]
        total = np.round(price * quantity, 2)
        is_sold, is_back = kind[event] == world.PURCHASE, kind[event] == world.REFUND
        unset = pa.repeat("(not set)", len(event))
        columns = {
            "item_id": PRODUCT_IDS.take(pa.array(which)),
            "item_name": PRODUCT_NAMES.take(pa.array(which)),
            "item_brand": unset,
            "item_variant": unset,
            "item_category": pa.array(world.CATEGORIES).take(
                pa.array(which % len(world.CATEGORIES))
            ),
            "price_in_usd": pa.array(price),
            "price": pa.array(price),
            "quantity": pa.array(quantity),
            "item_revenue": pa.array(total, mask=~is_sold),
            "item_refund": pa.array(total, mask=~is_back),
            "coupon": unset,
        }
        fields = ARROW_SCHEMA.field("items").type.value_type
        items = struct_of(columns, fields, len(event))
        return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), items)
