"""
A shop's GA4 export from a process that is known, so that the truth can be told.

The process, a day at a time (days of UTC; no session spans a UTC midnight)
---------------------------------------------------------------------------
Every user has four traits that never change and that no event shows directly:
``activity`` and ``conversion`` (log-normal multipliers, shifted by channel, device and
country), ``patience`` (how slowly interest fades) and ``arrival``, the day of the first
visit. On every day a user is in one of four moods:

    GONE        never comes back
    IDLE        hardly comes
    BROWSING    comes now and then
    KEEN        comes often, compares, fills carts, buys

On day d a user in mood m

1. visits with probability ``1 - exp(-activity * VISIT[m] * rhythm(d))``, where
   ``rhythm`` is the product of day of the week, a mild season and a slow trend; on the
   day of arrival the visit is certain;
2. who visits buys with probability ``1 - exp(-conversion * BUY[m])``, at most once a
   day;
3. moves to tomorrow's mood by a matrix that depends on what happened: ``STAYED_AWAY``
   (interest fades, faster the less patient the user is), ``LOOKED`` (it grows) or
   ``BOUGHT`` (satisfied for now, but rarely gone).

What a visit looks like depends on the mood alone: the keener, the more pages, items,
carts and checkouts, whether or not it ends in a purchase. So the last weeks of events
say much about the mood, and the mood, with the traits, is all there is to know.

The truth
---------
(mood, traits, date) is a Markov chain: given the mood at the start of ``as_of``, no
event before it says more. The probability of at least one purchase in the seven days
from ``as_of`` on is therefore computed exactly, by backward recursion over the days of
the horizon (``Shop.true_probabilities``); nothing is simulated. A model cannot
reach it, since moods and traits show only through events.

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

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from local.exports.ga4_schema import ARROW_SCHEMA
from local.generators.drawing import Flags, Floats, Ints
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
    joined,
    lifetime_value,
    local_days,
    repeated,
    texts,
    texts_of_days,
)
from local.generators.shop.world import (
    ACTIVITY,
    ADD_TO_CART,
    ARRIVAL_GROWTH,
    ARRIVAL_MOOD,
    BEGIN_CHECKOUT,
    BOUGHT,
    BROWSING,
    BURN_IN_DAYS,
    BUY,
    CART,
    CATEGORIES,
    CHANNELS,
    CHECKOUT,
    CONVERSION,
    COUNTRIES,
    DAY,
    DAY_US,
    DEFAULT_DAYS,
    DEFAULT_LAST_DATE,
    DEFAULT_SEED,
    DEFAULT_USERS,
    DEVICES,
    DUPLICATED,
    EARLY_USERS,
    EPOCH,
    EVENTS,
    FADE,
    FIRST_VISIT,
    GONE,
    HORIZON_DAYS,
    HOSTNAME,
    IDLE,
    INTRADAY_DAYS,
    ITEMS,
    KEEN,
    LATE,
    LATEST_ARRIVAL_DAYS,
    LOGGED_IN,
    LOOKED,
    PAGE_VIEW,
    PAGES,
    PATIENCE,
    PRODUCTS,
    PURCHASE,
    REFUND,
    REFUNDED,
    SEASON,
    SECOND_US,
    SECOND_VISIT,
    SESSION_START,
    STAGE,
    TREND_A_YEAR,
    USER_ENGAGEMENT,
    VIEW_ITEM,
    VISIT,
    WEEKDAY,
)


@dataclass(frozen=True)
class _Visits:
    """One row per visit, in order of user and time."""

    user: Ints
    start_us: Ints
    mood: Ints
    is_first: Flags
    buys: Flags


@dataclass(frozen=True)
class _Events:
    """One row per event: whose, in which visit, which kind, when (microseconds)."""

    user: Ints
    visit: Ints
    kind: Ints
    time_us: Ints


class Shop:
    """
    A shop's year of events and the process behind it.

    Args:
        users: Users who arrive from the burn-in's start to the end.
        days: Daily shards, ending with ``last_date``.
        seed: Everything follows from it.
        last_date: Last ``event_date``.
    """

    def __init__(
        self,
        *,
        users: int = DEFAULT_USERS,
        days: int = DEFAULT_DAYS,
        seed: int = DEFAULT_SEED,
        last_date: date = DEFAULT_LAST_DATE,
    ) -> None:
        if users < 1 or days < INTRADAY_DAYS:
            raise ValueError(
                f"wanted at least 1 user and {INTRADAY_DAYS} days, got {users}, {days}"
            )
        self.users = users
        self.last_date = last_date
        self.first_date = last_date - (days - 1) * DAY
        self._start = self.first_date - BURN_IN_DAYS * DAY
        # The last local day ends during the next UTC day.
        self._simulated_days = (last_date - self._start).days + 2
        self._random = np.random.Generator(np.random.PCG64(seed))
        self._draw_users()
        self._simulate()

    # The process ------------------------------------------------------------------

    def _draw_users(self) -> None:
        random, n = self._random, self.users
        self.channel = random.choice(len(CHANNELS), n, p=_shares(CHANNELS, 3))
        self.device = random.choice(len(DEVICES), n, p=_shares(DEVICES, 4))
        weights = 1.0 / np.arange(1, len(COUNTRIES) + 1) ** 1.6
        self.country = random.choice(len(COUNTRIES), n, p=weights / weights.sum())
        effect = (
            np.array([row[4] for row in CHANNELS])[self.channel]
            + np.array([row[5] for row in DEVICES])[self.device]
            + np.where(self.country == 0, 0.15, -0.1)
        )
        self._activity = np.exp(random.normal(*ACTIVITY, n))
        self._conversion = np.exp(random.normal(*CONVERSION, n) + effect)
        self._patience = np.exp(random.normal(*PATIENCE, n))
        # Arrivals grow in a straight line: the inverse of that distribution. Some users
        # are there from the start, as in a shop that is older than its export.
        growth, uniform = ARRIVAL_GROWTH, random.random(n)
        share = (np.sqrt(1 + growth * (2 + growth) * uniform) - 1) / growth
        self._arrival = np.where(
            random.random(n) < EARLY_USERS,
            np.floor(uniform * BURN_IN_DAYS / 2),
            np.floor(share * self._simulated_days),
        ).astype(np.int64)
        self._is_member = random.random(n) < LOGGED_IN
        self._client = 1_000_000_000 + 7919 * random.permutation(n)

    def _rhythm(self, day: int) -> float:
        calendar = self._start + day * DAY
        season = 1 + SEASON * np.cos(
            2 * np.pi * (calendar.timetuple().tm_yday - 340) / 365
        )
        trend = 1 + TREND_A_YEAR * (day - BURN_IN_DAYS) / 365
        return float(WEEKDAY[calendar.weekday()] * season * trend)

    def _visit_probability(self, day: int) -> Floats:
        """Return users × moods, for users past their day of arrival."""
        rate = np.outer(self._activity, VISIT) * self._rhythm(day)
        probability: Floats = -np.expm1(-rate)
        return probability

    @cached_property
    def _buy_probability(self) -> Floats:
        probability: Floats = -np.expm1(-np.outer(self._conversion, BUY))
        return probability

    @cached_property
    def _away(self) -> Floats:
        """Return users × mood × tomorrow's mood after a day without a visit."""
        fade = -np.expm1(-FADE / self._patience[:, None])
        away = np.zeros((self.users, 4, 4))
        away[:, GONE, GONE] = 1
        for mood in (IDLE, BROWSING, KEEN):
            away[:, mood, mood] = 1 - fade[:, mood]
            away[:, mood, mood - 1] = fade[:, mood]
        return away

    def _simulate(self) -> None:
        """Play every day; keep the moods, which are the truth, and the visits."""
        random, n = self._random, self.users
        everyone = np.arange(n)
        mood = np.full(n, IDLE)
        self._moods = np.empty((self._simulated_days, n), np.int8)
        seen: list[tuple[Ints, int, Ints, Flags]] = []
        for day in range(self._simulated_days):
            arrives = self._arrival == day
            mood[arrives] = random.choice(4, int(arrives.sum()), p=ARRIVAL_MOOD)
            self._moods[day] = mood
            present = self._arrival <= day
            chance = self._visit_probability(day)[everyone, mood]
            visits = arrives | (present & (random.random(n) < chance))
            buys = visits & (random.random(n) < self._buy_probability[everyone, mood])
            who = np.flatnonzero(visits)
            seen.append((who, day, mood[who], buys[who]))
            tomorrow = self._away[everyone, mood]
            tomorrow[visits] = LOOKED[mood[visits]]
            tomorrow[buys] = BOUGHT[mood[buys]]
            drawn = (random.random((n, 1)) > tomorrow.cumsum(axis=1)).sum(axis=1)
            mood = np.where(present, np.minimum(drawn, KEEN), mood)
        self._seen = seen

    def true_probabilities(self, as_ofs: Iterable[date]) -> pa.Table:
        """
        Compute P(a purchase in the 7 days from as_of on | all that the process knows).

        Exact, by backward recursion: ``none[m]``, the probability of no purchase from a
        day to the horizon's end in mood m, is that of not buying on the day times the
        expected ``none`` of tomorrow's mood.

        Args:
            as_ofs: Dates from the first one of the export to its last.

        Returns:
            ``as_of`` date32, ``user_id`` string (the user_pseudo_id), ``probability``
            float64: one row per as_of and user who had arrived before it.

        Raises:
            ValueError: An as_of is outside the export.
        """
        days, users, probabilities = [], [], []
        for as_of in as_ofs:
            if not self.first_date <= as_of <= self.last_date:
                raise ValueError(
                    f"as_of must be from {self.first_date} to {self.last_date}, "
                    f"got {as_of}"
                )
            start = (as_of - self._start).days
            none = np.ones((self.users, 4))
            for day in reversed(range(start, start + HORIZON_DAYS)):
                visit = self._visit_probability(day)
                looks = visit * (1 - self._buy_probability)
                none = looks * (none @ LOOKED.T) + (1 - visit) * np.einsum(
                    "umt,ut->um", self._away, none
                )
            known = np.flatnonzero(self._arrival < start)
            days.append(np.full(len(known), (as_of - EPOCH).days, np.int32))
            users.append(self._pseudo_ids.take(pa.array(known)))
            probabilities.append(1 - none[known, self._moods[start, known]])
        return pa.table(
            {
                "as_of": pa.array(joined(days, np.int32)).cast(pa.date32()),
                "user_id": pa.chunked_array(users, pa.string()),
                "probability": joined(probabilities, np.float64),
            }
        )

    # The export -------------------------------------------------------------------

    @cached_property
    def _visits(self) -> _Visits:
        """Place every visit in its UTC day; some days have a second one."""
        random = self._random
        user = np.concatenate([who for who, *_ in self._seen])
        day = np.concatenate([np.full(len(who), d) for who, d, *_ in self._seen])
        mood = np.concatenate([moods for *_, moods, _ in self._seen])
        buys = np.concatenate([bought for *_, bought in self._seen])
        again = np.flatnonzero(random.random(len(user)) < SECOND_VISIT)
        is_second = np.repeat([False, True], [len(user), len(again)])
        user, day, mood = (
            np.concatenate([all_, all_[again]]) for all_ in (user, day, mood)
        )
        buys = np.concatenate([buys, np.zeros(len(again), bool)])
        # Shoppers' hours in New York are an evening that UTC cuts in two: a second
        # visit falls into the other part of the UTC day.
        evening = random.normal(1.0, 2.5, len(user)) % 24
        daytime = random.normal(17.0, 2.5, len(user)) % 24
        hour = np.where(is_second ^ (random.random(len(user)) < 0.5), evening, daytime)
        second = np.minimum(hour * 3600, 86_400 - 5_400)
        start = (self._start - EPOCH).days * DAY_US + day * DAY_US
        start_us = start + (second * SECOND_US).astype(np.int64)
        order = np.lexsort((start_us, user))
        user, start_us = user[order], start_us[order]
        is_first = np.r_[True, user[1:] != user[:-1]]
        return _Visits(user, start_us, mood[order], is_first, buys[order])

    @cached_property
    def _first_touch_us(self) -> Ints:
        visits = self._visits
        touch = np.zeros(self.users, np.int64)
        touch[visits.user[visits.is_first]] = visits.start_us[visits.is_first]
        return touch

    @cached_property
    def _pseudo_ids(self) -> pa.Array:
        """Name users as GA4 does: a random number and the second of the first touch."""
        touch = self._first_touch_us // SECOND_US
        return texts("{}.{}", self._client, touch)

    def _visit_events(self) -> _Events:
        """Fill every visit with events, by its mood, and add the refunds."""
        random, visits = self._random, self._visits
        n, mood = len(visits.user), visits.mood
        items = random.poisson(ITEMS[mood])
        carts = random.random(n) < CART[mood]
        checkouts = carts & (random.random(n) < CHECKOUT[mood])
        counts = {
            SESSION_START: np.ones(n, np.int64),
            FIRST_VISIT: visits.is_first.astype(np.int64),
            PAGE_VIEW: 1 + random.poisson(PAGES[mood]),
            VIEW_ITEM: np.maximum(items, carts | visits.buys),
            ADD_TO_CART: np.maximum(carts * (1 + random.poisson(0.4, n)), visits.buys),
            BEGIN_CHECKOUT: (checkouts | visits.buys).astype(np.int64),
            PURCHASE: visits.buys.astype(np.int64),
            USER_ENGAGEMENT: (random.random(n) < 0.8).astype(np.int64),
        }
        every = np.arange(n)
        visit = np.concatenate([np.repeat(every, count) for count in counts.values()])
        kind = np.concatenate([np.full(c.sum(), k) for k, c in counts.items()])
        order = np.lexsort((random.random(len(kind)), STAGE[kind], visit))
        visit, kind = visit[order], kind[order]
        # A visit's first three events share its first instant, as GA4 sends them.
        place = np.arange(len(visit)) - np.searchsorted(visit, every)[visit]
        gap_us = (random.gamma(1.2, 35.0, len(visit)) * SECOND_US).astype(np.int64) + 1
        gap_us[place == 0] = 0
        gap_us[(place == 1) & (kind == FIRST_VISIT)] = 0
        gap_us = np.minimum(gap_us, 240 * SECOND_US)
        total = np.cumsum(gap_us)
        within = total - total[np.searchsorted(visit, every)][visit]
        # 90 minutes are left before midnight: no visit is cut by the end of its day.
        time_us = visits.start_us[visit] + np.minimum(within, 5_390 * SECOND_US)
        return _Events(visits.user[visit], visit, kind, time_us)

    @cached_property
    def _events(self) -> _Events:
        """All events, refunds too, in order of user and time."""
        random, sold = self._random, self._visit_events()
        bought = np.flatnonzero(sold.kind == PURCHASE)
        back = bought[random.random(len(bought)) < REFUNDED]
        wait_us = (random.uniform(2, 15, len(back)) * DAY_US).astype(np.int64)
        joined = _Events(
            np.r_[sold.user, sold.user[back]],
            np.r_[sold.visit, sold.visit[back]],
            np.r_[sold.kind, np.full(len(back), REFUND)],
            np.r_[sold.time_us, sold.time_us[back] + wait_us],
        )
        order = np.lexsort((np.arange(len(joined.user)), joined.time_us, joined.user))
        return _Events(
            joined.user[order],
            joined.visit[order],
            joined.kind[order],
            joined.time_us[order],
        )

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
        for day in dates(self.last_date - (INTRADAY_DAYS - 1) * DAY, last):
            if (table := self._intraday(day)).num_rows:
                yield f"events_intraday_{day:%Y%m%d}", table

    def shard(self, day: date, *, seen_on: date | None = None) -> pa.Table:
        """Return one day's rows, those only that had arrived by ``seen_on``."""
        table, days, arrivals = self._export
        number = (day - EPOCH).days
        start, stop = np.searchsorted(days, [number, number + 1])
        rows = table.slice(start, stop - start)
        if seen_on is None:
            return rows
        return rows.filter(pa.array(arrivals[start:stop] <= (seen_on - EPOCH).days))

    def late_days(self) -> list[date]:
        """List the days whose shard is rewritten because rows of it arrive late."""
        _, days, arrivals = self._export
        return [EPOCH + int(d) * DAY for d in np.unique(days[arrivals > days])]

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
            random.random(len(visits.user)) < LATE,
            random.integers(1, LATEST_ARRIVAL_DAYS + 1, len(visits.user)),
            0,
        )
        days = local_days(events.time_us)
        table = self._table(events, days)
        twice = np.flatnonzero(random.random(len(days)) < DUPLICATED)
        rows = np.r_[np.arange(len(days)), twice]
        first, last = ((d - EPOCH).days for d in (self.first_date, self.last_date))
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
        value = np.where(np.isin(kind, (PURCHASE, REFUND)), basket.value[visit], 0.0)
        product = random.integers(0, PRODUCTS, n)
        logged_in = (random.random(len(self._visits.user)) < 0.85)[visit]
        is_named = self._is_member[user] & logged_in
        columns: dict[str, pa.Array] = {
            "event_date": texts_of_days(days),
            "event_timestamp": pa.array(events.time_us),
            "event_name": pa.array(EVENTS).take(pa.array(kind)),
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
            "event_dimensions": repeated({"hostname": HOSTNAME}, n),
            "ecommerce": self._ecommerce(events, basket, value),
            "items": self._items(events, basket, product),
            "collected_traffic_source": pa.array(COLLECTED_RECORDS).take(
                pa.array(self.channel[user], mask=events.time_us != starts)
            ),
            "is_active_user": pa.repeat(True, n),
        }
        return pa.table(
            [
                columns[column.name].cast(column.type)
                if column.name in columns
                else pa.nulls(n, column.type)
                for column in ARROW_SCHEMA
            ],
            schema=ARROW_SCHEMA,
        )

    def _params(self, events: _Events, product: Ints, value: Floats) -> pa.ListArray:
        """Write the event parameters, with the types that real exports mix."""
        random, visits = self._random, self._visits
        kind, visit = events.kind, events.visit
        n = len(kind)
        params = Params(n, random)
        # A refund is sent by the shop's server, outside any session.
        online = np.flatnonzero(kind != REFUND)
        seconds = visits.start_us // SECOND_US
        number = np.arange(len(seconds)) - np.searchsorted(visits.user, visits.user) + 1
        params.whole("ga_session_id", online, seconds[visit[online]])
        params.whole("ga_session_number", online, number[visit[online]])
        opening = np.flatnonzero(kind <= FIRST_VISIT)
        later = np.flatnonzero((kind > FIRST_VISIT) & (kind != REFUND))
        params.whole("session_engaged", opening, np.ones(len(opening), np.int64))
        engaged = random.choice(2, len(later), p=[0.15, 0.85])
        params.text("session_engaged", later, pa.array(["0", "1"]), engaged)
        page = np.select(
            [
                np.isin(kind, (VIEW_ITEM, ADD_TO_CART)),
                kind == BEGIN_CHECKOUT,
                kind == PURCHASE,
                kind == PAGE_VIEW,
            ],
            [
                len(PAGE_RECORDS) - PRODUCTS + product,
                1,
                2,
                3 + product % len(CATEGORIES),
            ],
            0,
        )
        params.text("page_location", online, PAGE_RECORDS, page[online])
        titled = online[random.random(len(online)) < 0.95]
        titles = np.where(random.random(len(titled)) < 0.02, 1, 0)
        params.text("page_title", titled, pa.array(["Shop", "(not set)"]), titles)
        spent = np.flatnonzero(
            (kind == USER_ENGAGEMENT) | ((kind == VIEW_ITEM) & (random.random(n) < 0.5))
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
        sale = np.isin(kind, (PURCHASE, REFUND))
        present = (sale & ~missing) | np.isin(kind, (VIEW_ITEM, ADD_TO_CART))
        purchase, refund = kind == PURCHASE, kind == REFUND
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
        kinds = list(ARROW_SCHEMA.field("ecommerce").type)
        return pa.StructArray.from_arrays(
            [
                columns[inner.name]
                if inner.name in columns
                else pa.nulls(len(kind), inner.type)
                for inner in kinds
            ],
            fields=kinds,
            mask=pa.array(~present),
        )

    def _items(self, events: _Events, basket: Basket, product: Ints) -> pa.ListArray:
        """Write items: the basket at the checkout, one product on the way there."""
        kind, visit = events.kind, events.visit
        looked = np.isin(kind, (VIEW_ITEM, ADD_TO_CART))
        looked &= self._random.random(len(kind)) >= 0.08
        paying = np.isin(kind, (BEGIN_CHECKOUT, PURCHASE, REFUND))
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
        is_sold, is_back = kind[event] == PURCHASE, kind[event] == REFUND
        unset = pa.repeat("(not set)", len(event))
        columns = {
            "item_id": PRODUCT_IDS.take(pa.array(which)),
            "item_name": PRODUCT_NAMES.take(pa.array(which)),
            "item_brand": unset,
            "item_variant": unset,
            "item_category": pa.array(CATEGORIES).take(
                pa.array(which % len(CATEGORIES))
            ),
            "price_in_usd": pa.array(price),
            "price": pa.array(price),
            "quantity": pa.array(quantity),
            "item_revenue": pa.array(total, mask=~is_sold),
            "item_refund": pa.array(total, mask=~is_back),
            "coupon": unset,
        }
        kinds = list(ARROW_SCHEMA.field("items").type.value_type)
        items = pa.StructArray.from_arrays(
            [
                columns[inner.name]
                if inner.name in columns
                else pa.nulls(len(event), inner.type)
                for inner in kinds
            ],
            fields=kinds,
        )
        return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), items)


def _shares(table: tuple[tuple[Any, ...], ...], column: int) -> Floats:
    share = np.array([row[column] for row in table], float)
    normal: Floats = share / share.sum()
    return normal
