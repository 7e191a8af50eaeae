"""
A shop's visitors, day by day, and what they do, as a GA4 export.

Every user has traits that no event shows: how often they visit (``activity``), how
readily they buy (``conversion``), how slowly interest fades (``patience``), and the day
of the first visit. On each UTC day a user is in one of four moods: GONE, IDLE, BROWSING
or KEEN. On day d a user in mood m

1. visits with probability ``1 - exp(-activity * VISIT[m] * rhythm(d))``, by weekday,
   season and trend; on the day of arrival for certain;
2. buys on a visit with probability ``1 - exp(-conversion * BUY[m] * demand(d))``, where
   the demand has a season;
3. moves to tomorrow's mood by a matrix: no visit (interest fades), ``LOOKED`` or
   ``BOUGHT``.

What a visit looks like depends on the mood alone. Events carry UTC timestamps;
``event_date`` is the local date in New York, whose evening is past midnight in UTC. The
export has the traps of real ones, on which no truth depends: parameters of changing
types, ``(not set)``, ``<Other>`` and ``(data deleted)``, empty items, purchases without
``ecommerce``, rows exported twice, visits that arrive up to three days late, refunds.

Users who are contacted buy about 40% more often from then on: ``WON_OVER`` of their
visits without a purchase end in one. Without a contact, all is as it was drawn.

The shop's own customers, whom its logins name, have made-up addresses (``customers``).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from local.exports.ga4_schema import ARROW_SCHEMA
from propensity.models.encoding import Floats
from propensity.timeframe import DAY

DAY_US = 86_400_000_000
SECOND_US = 1_000_000
TIME_ZONE = "America/New_York"
# The simulation begins so many days before the export: its first day is like any.
BURN_IN_DAYS = 90
# A Sunday: weeks begin on a Monday.
LAST_DATE = date(2025, 6, 29)

# Expected visits a day, and purchases a visit, by mood from GONE to KEEN.
VISIT = np.array([0.0, 0.055, 0.10, 0.15])
BUY = np.array([0.0, 0.03, 0.10, 0.80])
ARRIVAL_MOOD = np.array([0.0, 0.40, 0.50, 0.10])
# Probabilities of tomorrow's mood (column) after today's (row).
LOOKED = np.array(
    [[1, 0, 0, 0], [0, 0.80, 0.15, 0.05], [0, 0.30, 0.50, 0.20], [0, 0.05, 0.10, 0.85]]
)
BOUGHT = np.array(
    [[1, 0, 0, 0], [0, 0.30, 0.40, 0.30], [0, 0.30, 0.40, 0.30], [0, 0.15, 0.20, 0.65]]
)
# Rate a day away of stepping down one mood, for a user of patience 1.
FADE = np.array([0.0, 0.010, 0.08, 0.03])
# Expected pages and items of a visit, and chances of cart and checkout, by mood.
PAGES = np.array([0.0, 1.0, 1.5, 2.8])
ITEMS = np.array([0.0, 0.3, 0.8, 2.4])
CART = np.array([0.0, 0.02, 0.07, 0.50])
CHECKOUT = np.array([0.0, 0.1, 0.15, 0.35])
# The last day brings this much more new users than the first; some were there before.
ARRIVAL_GROWTH = 0.6
EARLY_USERS = 0.15
# Mean and standard deviation of the logarithm of each trait.
ACTIVITY = (-0.1, 0.4)
CONVERSION = (0.05, 0.5)
PATIENCE = (0.0, 0.5)
WEEKDAY = np.array([1.05, 1.0, 0.97, 0.98, 1.0, 0.92, 1.08])
TREND_A_YEAR = 0.12
SEASON = 0.10
# Logarithm of the demand, and what the season adds to it at its peak; month and day of
# that, and standard deviation in days.
DEMAND = 0.5
AT_PEAK = 0.25
PEAK = (5, 25)
PEAK_DAYS = 50
LOGGED_IN = 0.35
SECOND_VISIT = 0.12
REFUNDED = 0.09
WITHOUT_ECOMMERCE = 0.02
DUPLICATED = 0.005
# Share of the visits without a purchase that a contact turns into one.
WON_OVER = 0.25
LATE = 0.02
LATEST_ARRIVAL_DAYS = 3

# Position of an event in its visit: pages and items mix, the rest follows in order.
STAGES = {
    "session_start": 0, "first_visit": 1, "page_view": 2, "view_item": 2,
    "add_to_cart": 3, "begin_checkout": 4, "purchase": 5, "user_engagement": 6,
}  # fmt: skip
# Parameters that a purchase shares with its visit, and with its basket.
SESSION = ("ga_session_id", "ga_session_number")
SALE = ("value", "currency")
VALUE_FIELDS = ["int_value", "double_value", "float_value", "string_value"]
PRICES = np.round(4.0 + 1.37 * ((np.arange(120) * 37) % 61), 2)
# Effects are on the logarithm of conversion.
CHANNELS = pd.DataFrame(
    [
        ("google", "organic", 0.34, 0.0),
        ("(direct)", "(none)", 0.24, 0.15),
        ("google", "cpc", 0.14, 0.2),
        ("newsletter", "email", 0.08, 0.5),
        ("instagram", "social", 0.08, -0.5),
        ("shop-compare.example", "referral", 0.05, 0.1),
        ("<Other>", "<Other>", 0.04, 0.0),
        ("(data deleted)", "(data deleted)", 0.03, 0.0),
    ],
    columns=["source", "medium", "share", "effect"],
)
DEVICES = pd.DataFrame(
    [
        ("mobile", "Android", "Chrome", 0.29, -0.3),
        ("mobile", "iOS", "Safari", 0.26, -0.2),
        ("desktop", "Windows", "Chrome", 0.24, 0.3),
        ("desktop", "Macintosh", "Safari", 0.12, 0.35),
        ("tablet", "iOS", "Safari", 0.05, 0.0),
        ("mobile", "<Other>", "<Other>", 0.04, -0.3),
    ],
    columns=["category", "operating_system", "browser", "share", "effect"],
)
# fmt: off
FIRST_NAMES = (
    "ada", "ben", "carla", "david", "elena", "felix", "grace", "hugo", "ines", "jonas",
    "karla", "leon", "mia", "noah", "olga", "paul", "quinn", "rosa", "sami", "tara",
)
LAST_NAMES = (
    "adler", "brown", "costa", "dubois", "evans", "fischer", "garcia", "haas", "ivanov",
    "jansen", "keller", "lopez", "moreau", "novak", "okafor", "peters", "rossi",
    "santos", "tanaka", "usman", "vogel", "weber", "xu", "young", "zimmer",
)
_NAMES = (
    "United States", "Canada", "United Kingdom", "Germany", "India", "France", "Mexico",
    "Japan", "Australia", "Brazil", "Spain", "Italy", "Netherlands", "(not set)",
    "Sweden", "Poland", "South Korea", "Singapore", "Portugal", "Ireland", "Norway",
    "Chile", "New Zealand", "Greece", "Kenya", "Iceland", "Uruguay", "Nepal", "Estonia",
    "Malta", "Fiji", "Bhutan",
)
# fmt: on
COUNTRIES = pd.DataFrame(
    {
        "country": _NAMES,
        "share": 1.0 / np.arange(1, len(_NAMES) + 1) ** 1.6,
        "effect": [0.15] + [-0.1] * (len(_NAMES) - 1),
    }
)


class Shop:
    """Users, their moods and visits, what they buy, and the export that shows it."""

    last_full_day = LAST_DATE

    def __init__(
        self, *, users: int = 6_000, days: int = 365, seed: int = 20_240_229
    ) -> None:
        self.dates = [LAST_DATE - n * DAY for n in reversed(range(days))]
        self._start = self.dates[0] - BURN_IN_DAYS * DAY
        # The last local day ends during the next UTC day.
        self._simulated_days = (LAST_DATE - self._start).days + 2
        self._random = random = np.random.Generator(np.random.PCG64(seed))
        self._users = self._drawn(users)
        visits = self._placed(self._simulated())
        events = self._events(visits)
        is_late = random.random(len(visits)) < LATE
        late = is_late * random.integers(1, LATEST_ARRIVAL_DAYS + 1, len(visits))
        arrival = events["day"] + pd.to_timedelta(late, unit="D")[events["visit"]]
        self._rows = self._written(events)
        # The place of every exported row, by its day, with its arrival.
        listed = events[["day", "time_us"]].assign(arrival=arrival).rename_axis("place")
        listed = pd.concat([listed, listed[random.random(len(listed)) < DUPLICATED]])
        self._listed = listed.sort_values(["time_us", "place"]).groupby("day")
        self._won = self._won_over(events, seed)

    def shard(
        self,
        day: date,
        *,
        seen_on: date = date.max,
        contacted: Mapping[str, date] | None = None,
    ) -> pa.Table:
        """
        Return one day's rows, those only that had arrived by ``seen_on``.

        Args:
            contacted: The day, in UTC, from which on a user reacts, by the user's id.
        """
        listed = self._listed.get_group(pd.Timestamp(day))
        has_arrived = listed["arrival"] <= pd.Timestamp(seen_on)
        places = listed.index[has_arrived]
        rows = self._rows.take(pa.array(places))
        won = self._won.loc[self._won.index.intersection(places)]
        reacting = {} if contacted is None else contacted
        since = won["user_pseudo_id"].map(reacting)
        since = since.fillna(won["member"].map(reacting))
        is_after = won["at"] >= pd.to_datetime(since)
        sales = self._sales(won[is_after])
        return pa.concat_tables([rows, sales]) if len(sales) else rows

    @property
    def customers(self) -> pa.Table:
        """The customers: id, as logins have it, address, and consent to mail."""
        members = self._users["member"][self._users["is_member"]]
        rows = []
        for number, member in enumerate(members):
            first = FIRST_NAMES[number % len(FIRST_NAMES)]
            last = LAST_NAMES[number // len(FIRST_NAMES) % len(LAST_NAMES)]
            again = number // (len(FIRST_NAMES) * len(LAST_NAMES))
            name = f"{first}.{last}{again if again else ''}"
            row = {
                "customer_id": member,
                "email": f"{name}@example.com",
                "agreed_to_mail": number % 5 > 0,
            }
            rows.append(row)
        return pa.Table.from_pylist(rows)

    def _won_over(self, events: pd.DataFrame, seed: int) -> pd.DataFrame:
        """
        Return the visits that a contact turns into a purchase, by their last event.

        With its user and time, and the event of a purchase whose basket they take. They
        are drawn apart, so that a shop without contacts stays as it is.
        """
        random = np.random.Generator(np.random.PCG64(seed + 1))
        last = events[events["buys"] == 0].drop_duplicates("visit", keep="last")
        last = last[random.random(len(last)) < WON_OVER]
        sold = events.index[events["name"] == "purchase"]
        at = pd.to_datetime(last["time_us"], unit="us")
        won = last[["user_pseudo_id", "member"]]
        return won.assign(at=at, basket=random.choice(sold, len(last)))

    def _sales(self, won: pd.DataFrame) -> pa.Table:
        """Return purchases at the end of visits, each with a number of its own."""
        rows = self._rows.take(pa.array(won.index)).to_pylist()
        baskets = self._rows.take(pa.array(won["basket"])).to_pylist()
        for index, row, basket in zip(won.index, rows, baskets, strict=True):
            number = f"C{500_000 + index}"
            params = [entry for entry in row["event_params"] if entry["key"] in SESSION]
            for entry in basket["event_params"]:
                if entry["key"] in SALE:
                    params.append(entry)
                elif entry["key"] == "transaction_id":
                    params.append({**entry, "value": _text(number)})
            for column in ("event_value_in_usd", "items"):
                row[column] = basket[column]
            row["event_name"] = "purchase"
            row["event_timestamp"] += SECOND_US
            row["event_params"] = params
            row["ecommerce"] = {**basket["ecommerce"], "transaction_id": number}
        return pa.Table.from_pylist(rows, schema=self._rows.schema)

    def _drawn(self, n: int) -> pd.DataFrame:
        """Draw users: what the export tells of them, and their traits."""
        random = self._random
        tables = CHANNELS, DEVICES, COUNTRIES
        drawn = {"replace": True, "weights": "share", "random_state": random}
        parts = [table.sample(n, ignore_index=True, **drawn) for table in tables]
        effect = parts[0]["effect"] + parts[1]["effect"] + parts[2]["effect"]
        activity = np.exp(random.normal(*ACTIVITY, n))
        conversion = np.exp(random.normal(*CONVERSION, n) + effect)
        patience = np.exp(random.normal(*PATIENCE, n))
        # Arrivals grow in a straight line: the inverse of that distribution.
        growth = ARRIVAL_GROWTH
        uniform = random.random(n)
        share = (np.sqrt(1 + growth * (2 + growth) * uniform) - 1) / growth
        arrival = np.where(
            random.random(n) < EARLY_USERS,
            np.floor(uniform * BURN_IN_DAYS / 2),
            np.floor(share * self._simulated_days),
        )
        shown = pd.concat(parts, axis=1).drop(columns=["share", "effect"])
        return shown.assign(
            activity=activity,
            conversion=conversion,
            patience=patience,
            arrival=arrival.astype(np.int64),
            is_member=random.random(n) < LOGGED_IN,
            member=[f"member-{100_000 + 37 * number}" for number in range(n)],
            client=1_000_000_000 + 7919 * random.permutation(n),
        )

    def _rhythm(self, day: int) -> tuple[float, float]:
        """Return by how much more is visited, and bought on a visit, on a day."""
        calendar = self._start + day * DAY
        turn = 2 * np.pi * (calendar.timetuple().tm_yday - 340) / 365
        trend = 1 + TREND_A_YEAR * (day - BURN_IN_DAYS) / 365
        visits = WEEKDAY[calendar.weekday()] * (1 + SEASON * np.cos(turn)) * trend
        peaks = (date(calendar.year + n, *PEAK) for n in (-1, 0, 1))
        distance = min(abs((calendar - peak).days) for peak in peaks)
        season = AT_PEAK * np.exp(-0.5 * (distance / PEAK_DAYS) ** 2)
        return visits, np.exp(DEMAND + season)

    def _simulated(self) -> pd.DataFrame:
        """Play every day; return each visit's user, day, mood, and if it buys."""
        random = self._random
        n = len(self._users)
        activity, conversion, patience, arrival = (
            self._users[name].to_numpy()
            for name in ("activity", "conversion", "patience", "arrival")
        )
        everyone = np.arange(n)
        mood = np.ones(n, np.int64)
        parts = []
        for day in range(self._simulated_days):
            arrives = arrival == day
            present = arrival <= day
            mood[arrives] = random.choice(4, int(arrives.sum()), p=ARRIVAL_MOOD)
            rhythm, demand = self._rhythm(day)
            chance = -np.expm1(-activity * VISIT[mood] * rhythm)
            visits = arrives | (present & (random.random(n) < chance))
            sells = -np.expm1(-conversion * BUY[mood] * demand)
            buys = visits & (random.random(n) < sells)
            parts.append(np.array([everyone, np.full(n, day), mood, buys])[:, visits])
            # Interest fades by one mood without a visit; a user who is gone stays gone.
            fade = -np.expm1(-FADE[mood] / patience)
            tomorrow = np.zeros((n, 4))
            tomorrow[everyone, mood - 1] = fade
            tomorrow[everyone, mood] = 1 - fade
            tomorrow[visits] = LOOKED[mood[visits]]
            tomorrow[buys] = BOUGHT[mood[buys]]
            drawn = (random.random((n, 1)) > tomorrow.cumsum(axis=1)).sum(axis=1)
            mood = np.where(present, np.minimum(drawn, 3), mood)
        columns = ["user", "day", "mood", "buys"]
        return pd.DataFrame(np.concatenate(parts, axis=1).T, columns=columns)

    def _placed(self, visits: pd.DataFrame) -> pd.DataFrame:
        """Place every visit in its UTC day; some have a second one."""
        random = self._random
        has_second = random.random(len(visits)) < SECOND_VISIT
        second = visits[has_second].assign(buys=0, is_second=True)
        visits = pd.concat([visits.assign(is_second=False), second])
        n = len(visits)
        # An evening in New York is cut in two by UTC: a second visit falls into the
        # other part of the UTC day.
        evening = random.normal(1.0, 2.5, n) % 24
        daytime = random.normal(17.0, 2.5, n) % 24
        is_evening = visits["is_second"] ^ (random.random(n) < 0.5)
        # 90 minutes are left before midnight: no visit is cut by the end of its day.
        seconds = np.minimum(np.where(is_evening, evening, daytime) * 3600, 81_000)
        start_us = pd.Timestamp(self._start).value // 1_000 + visits["day"] * DAY_US
        visits["start_us"] = start_us + (seconds * SECOND_US).astype(np.int64)
        visits = visits.sort_values(["user", "start_us"], ignore_index=True)
        of_user = visits.groupby("user")
        # GA4's ids are a random number and the second of the first touch.
        users = self._users
        first = of_user["start_us"].min()
        names = zip(users["client"], first // SECOND_US, strict=True)
        users["user_pseudo_id"] = [f"{client}.{second}" for client, second in names]
        users["user_first_touch_timestamp"] = first
        return visits.drop(columns="day").assign(
            number=of_user.cumcount() + 1,
            transaction=[f"T{500_000 + number}" for number in range(n)],
        )

    def _events(self, visits: pd.DataFrame) -> pd.DataFrame:
        """Fill every visit with events, by its mood; return them by user and time."""
        random = self._random
        n = len(visits)
        mood = visits["mood"].to_numpy()
        buys = visits["buys"].to_numpy()
        items = random.poisson(ITEMS[mood])
        carts = random.random(n) < CART[mood]
        checkouts = carts & (random.random(n) < CHECKOUT[mood])
        counts = np.stack(
            [
                np.ones(n, np.int64),
                visits["number"] == 1,
                1 + random.poisson(PAGES[mood]),
                np.maximum(items, carts | buys),
                np.maximum(carts * (1 + random.poisson(0.4, n)), buys),
                checkouts | buys,
                buys,
                random.random(n) < 0.8,
            ]
        )
        places = np.indices(counts.shape).reshape(2, -1)
        kind, visit = np.repeat(places, counts.ravel(), axis=1)
        stage = np.array(list(STAGES.values()))[kind]
        order = np.lexsort((random.random(len(kind)), stage, visit))
        visit = visit[order]
        kind = kind[order]
        gap_us = (random.gamma(1.2, 35.0, len(visit)) * SECOND_US).astype(np.int64) + 1
        gap_us = np.minimum(gap_us, 240 * SECOND_US)
        # A visit's first events share its first instant, as GA4 sends them.
        gap_us[stage[order] < 2] = 0
        offset_us = (
            pd.Series(gap_us).groupby(visit).cumsum().clip(upper=5_390 * SECOND_US)
        )
        events = visits.iloc[visit].assign(
            visit=visit, name=np.array(list(STAGES))[kind]
        )
        events["time_us"] = events["start_us"] + offset_us.to_numpy()
        # The shop's server books returns, outside any session.
        bought = events[events["name"] == "purchase"]
        back = bought[random.random(len(bought)) < REFUNDED].assign(name="refund")
        back["time_us"] += (random.uniform(2, 15, len(back)) * DAY_US).astype(np.int64)
        events = pd.concat([events, back])
        events = events.sort_values(["user", "time_us"], ignore_index=True)
        utc = pd.to_datetime(events["time_us"], unit="us", utc=True).dt
        events["day"] = utc.tz_convert(TIME_ZONE).dt.tz_localize(None).dt.normalize()
        return events.join(self._users, on="user")

    def _written(self, events: pd.DataFrame) -> pa.Table:
        """Write events in the export's columns; those never read are null."""
        random = self._random
        n = len(events)
        visit = events["visit"].to_numpy()
        kind = events["name"].to_numpy()
        n_visits = visit.max() + 1
        worth, baskets = self._baskets(n_visits)
        is_sale = (kind == "purchase") | (kind == "refund")
        events["value"] = np.where(is_sale, worth[visit], 0.0)
        product = random.integers(0, len(PRICES), n)
        is_named = events["is_member"] & (random.random(n_visits) < 0.85)[visit]
        params = self._params(events)
        offset_us = random.integers(0, 900_000, n)
        no_ecommerce = random.random(n) < WITHOUT_ECOMMERCE
        looks = (kind == "view_item") | (kind == "add_to_cart")
        transaction = events["transaction"].where(is_sale, "(not set)")
        sold, back = (
            events["value"].where((kind == name) & ~no_ecommerce)
            for name in ("purchase", "refund")
        )
        # The basket at the checkout, one product on the way there, or nothing.
        shows = looks & (random.random(n) >= 0.08)
        basket = np.select(
            [is_sale | (kind == "begin_checkout"), shows],
            [visit, n_visits + product],
            len(baskets) - 1,
        )
        day, days = pd.factorize(events["day"])
        # One of fifty visits denies consent, and one does not say.
        consent = pa.array(np.where(visit % 50 == 7, "No", "Yes"), mask=visit % 50 == 8)
        rows = _record(
            event_date=days.strftime("%Y%m%d")[day],
            event_timestamp=events["time_us"],
            event_name=kind,
            event_params=params,
            event_value_in_usd=events["value"].where(events["value"] > 0),
            event_server_timestamp_offset=offset_us,
            user_id=events["member"].where(is_named),
            **events[["user_pseudo_id", "user_first_touch_timestamp"]],
            privacy_info=_record(analytics_storage=consent, ads_storage=consent),
            device=_record(
                **events[["category", "operating_system"]],
                web_info=_record(browser=events["browser"]),
            ),
            geo=_record(country=events["country"]),
            traffic_source=_record(**events[["source", "medium"]]),
            ecommerce=_record(
                purchase_revenue_in_usd=sold,
                purchase_revenue=sold,
                refund_value_in_usd=back,
                refund_value=back,
                transaction_id=transaction.where((is_sale & ~no_ecommerce) | looks),
            ),
            items=baskets.take(pa.array(basket)),
        )
        return pa.Table.from_struct_array(rows.cast(pa.struct(ARROW_SCHEMA)))

    def _baskets(self, visits: int) -> tuple[Floats, pa.ListArray]:
        """
        Return the worth of each visit's basket, and lists of items: each visit's
        basket, each product alone, and nothing.
        """
        random = self._random
        lines = 1 + random.poisson(1.1, visits)
        ends = lines.cumsum()
        products = random.integers(0, len(PRICES), ends[-1])
        each = 1 + random.poisson(0.3, len(products))
        worth = np.add.reduceat(PRICES[products] * each, ends - lines).round(2)
        alone = np.arange(len(PRICES))
        items = _record(
            item_id=[f"SKU{10_000 + 17 * item:05d}" for item in np.r_[products, alone]],
            quantity=np.r_[each, np.ones_like(alone)],
        )
        offsets = np.r_[0, ends, ends[-1] + 1 + alone, len(items)]
        return worth, pa.ListArray.from_arrays(offsets, items)

    def _params(self, events: pd.DataFrame) -> pa.ListArray:
        """Write the event parameters, with the types that real exports mix."""
        random = self._random
        name = events["name"]
        parts: list[pa.Table] = []

        def add(key: str, rows: pd.DataFrame, field: str, values: Any) -> None:
            columns = {
                "row": rows.index,
                "key": pa.repeat(key, len(rows)),
                field: values,
            }
            parts.append(pa.table(columns))

        def add_number(key: str, rows: pd.DataFrame, values: pd.Series) -> None:
            style = random.choice(4, len(rows), p=[0.70, 0.18, 0.06, 0.06])
            style[(style == 0) & (values % 1 != 0)] = 1
            texts = pd.Series([f"{number:.10g}" for number in values])
            written = (values.astype(np.int64), values, values, texts)
            for code, field in enumerate(VALUE_FIELDS):
                add(key, rows[style == code], field, written[code][style == code])

        online = events[name != "refund"]
        is_opening = name.isin(list(STAGES)[:2])
        opening = events[is_opening]
        later = online[~is_opening[online.index]]
        add("ga_session_id", online, "int_value", online["start_us"] // SECOND_US)
        add("ga_session_number", online, "int_value", online["number"])
        add("session_engaged", opening, "int_value", np.ones(len(opening), np.int64))
        engaged = random.choice(["0", "1"], len(later), p=[0.15, 0.85])
        add("session_engaged", later, "string_value", engaged)
        titled = online[random.random(len(online)) < 0.95]
        title = np.where(random.random(len(titled)) < 0.02, "(not set)", "Shop")
        add("page_title", titled, "string_value", title)
        looked = (name == "view_item") & (random.random(len(events)) < 0.5)
        spent = events[(name == "user_engagement") | looked]
        # Longer looks come with keener moods.
        msec = np.floor(random.gamma(1.5, 6_000.0 * (1 + spent["mood"]))) + 1
        add_number("engagement_time_msec", spent, pd.Series(msec))
        sales = events[events["value"] > 0]
        add_number("value", sales, sales["value"])
        add("currency", sales, "string_value", pa.repeat("USD", len(sales)))
        add("transaction_id", sales, "string_value", sales["transaction"])

        table = pa.concat_tables(parts, promote_options="permissive").sort_by("row")
        [entries] = table.combine_chunks().to_batches()
        values = entries.select(VALUE_FIELDS).to_struct_array()
        offsets = np.searchsorted(entries["row"], np.arange(len(events) + 1))
        entries = _record(key=entries["key"], value=values)
        return pa.ListArray.from_arrays(offsets, entries)


def _text(value: str) -> dict[str, Any]:
    return {**dict.fromkeys(VALUE_FIELDS), "string_value": value}


def _record(**columns: Any) -> pa.StructArray:
    return pa.RecordBatch.from_pydict(columns).to_struct_array()
