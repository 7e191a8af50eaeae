"""
A shop's visitors, day by day.

Every user has traits that no event shows: how often they visit (``activity``), how
readily they buy (``conversion``), how slowly interest fades (``patience``), and the day
of the first visit. On each UTC day a user is in one of four moods: GONE, IDLE, BROWSING
or KEEN. On day d a user in mood m

1. visits with probability ``1 - exp(-activity * VISIT[m] * rhythm(d))``, by weekday,
   season and trend; on the day of arrival for certain;
2. buys on a visit with probability ``1 - exp(-conversion * BUY[m] * demand(d))``, where
   the demand has a season and a drift;
3. moves to tomorrow's mood by a matrix: no visit (interest fades), ``LOOKED`` or
   ``BOUGHT``.

What a visit looks like depends on the mood alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from local.generators.drawing import Flags, Floats, Ints

DAY = timedelta(days=1)
DAY_US, SECOND_US = 86_400_000_000, 1_000_000
EPOCH = date(1970, 1, 1)
# The simulation begins so many days before the export: its first day is like any.
BURN_IN_DAYS = 90
DEFAULT_USERS, DEFAULT_SEED, LAST_DATE = 6_000, 20_240_229, date(2025, 6, 30)

GONE, IDLE, BROWSING, KEEN = range(4)
# A day's expected visits, and purchases a visit, of the average user in each mood.
VISIT = np.array([0.0, 0.055, 0.10, 0.15])
BUY = np.array([0.0, 0.03, 0.10, 0.80])
ARRIVAL_MOOD = np.array([0.0, 0.40, 0.50, 0.10])
# From today's mood (row) to tomorrow's (column).
LOOKED = np.array(
    [[1, 0, 0, 0], [0, 0.80, 0.15, 0.05], [0, 0.30, 0.50, 0.20], [0, 0.05, 0.10, 0.85]]
)
BOUGHT = np.array(
    [[1, 0, 0, 0], [0, 0.30, 0.40, 0.30], [0, 0.30, 0.40, 0.30], [0, 0.15, 0.20, 0.65]]
)
# Rate a day away of stepping down one mood, for a user of patience 1.
FADE = np.array([0.0, 0.010, 0.08, 0.03])
# The last day brings this much more new users than the first; some were there before.
ARRIVAL_GROWTH, EARLY_USERS = 0.6, 0.15
# Mean and standard deviation of the logarithm of each trait.
ACTIVITY, CONVERSION, PATIENCE = (-0.1, 0.4), (0.05, 0.5), (0.0, 0.5)
WEEKDAY = np.array([1.05, 1.0, 0.97, 0.98, 1.0, 0.92, 1.08])
TREND_A_YEAR, SEASON = 0.12, 0.10
# Of the demand's season: the logarithm at its peak, month and day of that, and standard
# deviation in days. What a year adds to the logarithm.
AT_PEAK, PEAK, PEAK_DAYS, DRIFT = 1.2, (6, 21), 25, -0.3
LOGGED_IN, SECOND_VISIT = 0.35, 0.12
# Of a loyalty programme: days between changes, and points by mood in that time.
POINTS_DAYS, POINTS = 7, np.array([0.0, 0.2, 1.0, 5.0])

CHANNELS = (
    # source, medium, share, effect on the log of conversion
    ("google", "organic", 0.34, 0.0),
    ("(direct)", "(none)", 0.24, 0.15),
    ("google", "cpc", 0.14, 0.2),
    ("newsletter", "email", 0.08, 0.5),
    ("instagram", "social", 0.08, -0.5),
    ("shop-compare.example", "referral", 0.05, 0.1),
    ("<Other>", "<Other>", 0.04, 0.0),
    ("(data deleted)", "(data deleted)", 0.03, 0.0),
)
DEVICES = (
    # category, operating system, browser, share, effect on the log of conversion
    ("mobile", "Android", "Chrome", 0.29, -0.3),
    ("mobile", "iOS", "Safari", 0.26, -0.2),
    ("desktop", "Windows", "Chrome", 0.24, 0.3),
    ("desktop", "Macintosh", "Safari", 0.12, 0.35),
    ("tablet", "iOS", "Safari", 0.05, 0.0),
    ("mobile", "<Other>", "<Other>", 0.04, -0.3),
)
COUNTRIES = (
    *("United States", "Canada", "United Kingdom", "Germany", "India", "France"),
    *("Mexico", "Japan", "Australia", "Brazil", "Spain", "Italy", "Netherlands"),
    *("(not set)", "Sweden", "Poland", "South Korea", "Singapore", "Portugal"),
    *("Ireland", "Norway", "Chile", "New Zealand", "Greece", "Kenya", "Iceland"),
    *("Uruguay", "Nepal", "Estonia", "Malta", "Fiji", "Bhutan"),
)


@dataclass(frozen=True)
class Visits:
    """One row for each visit, in order of user and time."""

    user: Ints
    start_us: Ints
    mood: Ints
    is_first: Flags
    buys: Flags


class Process:
    """
    Users, their moods and visits, and what they buy.

    Args:
        users: Users who arrive from the start of the simulation to the end.
        days: Days of the export, ``dates``, ending with ``last_full_day``.
        seed: Everything follows from it.
    """

    last_full_day = LAST_DATE

    def __init__(
        self,
        *,
        users: int = DEFAULT_USERS,
        days: int = 365,
        seed: int = DEFAULT_SEED,
    ) -> None:
        self.users = users
        self.dates = [LAST_DATE - n * DAY for n in reversed(range(days))]
        self._start = self.dates[0] - BURN_IN_DAYS * DAY
        # The last local day ends during the next UTC day.
        self._simulated_days = (LAST_DATE - self._start).days + 2
        self._random = np.random.Generator(np.random.PCG64(seed))
        self._draw_users()
        self._visits = self._placed(*self._simulated())
        self._first_touch_us = np.zeros(users, np.int64)
        opening = self._visits.is_first
        self._first_touch_us[self._visits.user[opening]] = self._visits.start_us[
            opening
        ]
        # As GA4 names them: a random number and the second of the first touch.
        touch = self._first_touch_us // SECOND_US
        self._pseudo_ids = texts("{}.{}", self._client, touch)

    def _draw_users(self) -> None:
        random, n = self._random, self.users
        self.channel = random.choice(len(CHANNELS), n, p=_shares(CHANNELS))
        self.device = random.choice(len(DEVICES), n, p=_shares(DEVICES))
        weights = 1.0 / np.arange(1, len(COUNTRIES) + 1) ** 1.6
        self.country = random.choice(len(COUNTRIES), n, p=weights / weights.sum())
        effect = (
            np.array([row[-1] for row in CHANNELS])[self.channel]
            + np.array([row[-1] for row in DEVICES])[self.device]
            + np.where(self.country == 0, 0.15, -0.1)
        )
        self._activity = np.exp(random.normal(*ACTIVITY, n))
        self._conversion = np.exp(random.normal(*CONVERSION, n) + effect)
        self._patience = np.exp(random.normal(*PATIENCE, n))
        # Arrivals grow in a straight line: the inverse of that distribution.
        growth, uniform = ARRIVAL_GROWTH, random.random(n)
        share = (np.sqrt(1 + growth * (2 + growth) * uniform) - 1) / growth
        self._arrival = np.where(
            random.random(n) < EARLY_USERS,
            np.floor(uniform * BURN_IN_DAYS / 2),
            np.floor(share * self._simulated_days),
        ).astype(np.int64)
        self._is_member = random.random(n) < LOGGED_IN
        self._client = 1_000_000_000 + 7919 * random.permutation(n)

    def _rhythm(self, day: int) -> tuple[float, float]:
        """Return by how much more is visited, and bought on a visit, on a day."""
        calendar = self._start + day * DAY
        turn = 2 * np.pi * (calendar.timetuple().tm_yday - 340) / 365
        trend = 1 + TREND_A_YEAR * (day - BURN_IN_DAYS) / 365
        visits = WEEKDAY[calendar.weekday()] * (1 + SEASON * np.cos(turn)) * trend
        peaks = (date(calendar.year + n, *PEAK) for n in (-1, 0, 1))
        apart = min(abs((calendar - peak).days) for peak in peaks)
        season = AT_PEAK * np.exp(-0.5 * (apart / PEAK_DAYS) ** 2)
        return visits, np.exp(season + DRIFT * (day - BURN_IN_DAYS) / 365)

    def _simulated(self) -> tuple[Ints, Ints, Ints, Flags]:
        """Play every day; return each visit's user, day, mood, and if it buys."""
        random, n = self._random, self.users
        everyone, mood = np.arange(n), np.full(n, IDLE)
        seen = []
        self._moods: dict[int, Ints] = {}
        for day in range(self._simulated_days):
            arrives = self._arrival == day
            mood[arrives] = random.choice(4, int(arrives.sum()), p=ARRIVAL_MOOD)
            if day % POINTS_DAYS == 0:
                self._moods[day] = mood.copy()
            present = self._arrival <= day
            rhythm, demand = self._rhythm(day)
            chance = -np.expm1(-self._activity * VISIT[mood] * rhythm)
            visits = arrives | (present & (random.random(n) < chance))
            sells = -np.expm1(-self._conversion * BUY[mood] * demand)
            buys = visits & (random.random(n) < sells)
            who = np.flatnonzero(visits)
            seen.append((who, np.full(len(who), day), mood[who], buys[who]))
            # Without a visit interest fades, by one mood; who is gone stays gone.
            fade = -np.expm1(-FADE[mood] / self._patience)
            tomorrow = np.zeros((n, 4))
            tomorrow[everyone, mood - 1] = fade
            tomorrow[everyone, mood] = 1 - fade
            tomorrow[visits] = LOOKED[mood[visits]]
            tomorrow[buys] = BOUGHT[mood[buys]]
            drawn = (random.random((n, 1)) > tomorrow.cumsum(axis=1)).sum(axis=1)
            mood = np.where(present, np.minimum(drawn, KEEN), mood)
        users, days, moods, sales = map(np.concatenate, zip(*seen, strict=True))
        return users, days, moods, sales

    def _placed(self, user: Ints, day: Ints, mood: Ints, buys: Flags) -> Visits:
        """Place every visit in its UTC day; some days have a second one."""
        random = self._random
        again = np.flatnonzero(random.random(len(user)) < SECOND_VISIT)
        is_second = np.repeat([False, True], [len(user), len(again)])
        user, day, mood = (np.r_[part, part[again]] for part in (user, day, mood))
        buys = np.r_[buys, np.zeros(len(again), bool)]
        # An evening in New York is cut in two by UTC: a second visit falls into the
        # other part of the UTC day.
        evening = random.normal(1.0, 2.5, len(user)) % 24
        daytime = random.normal(17.0, 2.5, len(user)) % 24
        hour = np.where(is_second ^ (random.random(len(user)) < 0.5), evening, daytime)
        second = np.minimum(hour * 3600, 86_400 - 5_400)
        start = (self._start - EPOCH).days * DAY_US + day * DAY_US
        start_us = start + (second * SECOND_US).astype(np.int64)
        order = np.lexsort((start_us, user))
        user, start_us = user[order], start_us[order]
        is_first = np.r_[True, user[1:] != user[:-1]]
        return Visits(user, start_us, mood[order], is_first, buys[order])

    def loyalty(self) -> pa.Table:
        """
        Return what a loyalty programme of the shop's stores knows of its members.

        Points are those of the last week, for what members buy in the stores: no event
        shows it, and it goes with their moods.

        Returns:
            ``customer_id`` string, ``changed_at`` timestamp in UTC, ``points`` int64: a
            row for each change.
        """
        # Of its own: the export is the same with and without it.
        random = np.random.Generator(np.random.PCG64(self.users))
        weeks = np.array([*self._moods])
        is_member = random.random(self.users) < 0.8
        is_there = is_member & (self._arrival <= weeks[:, None])
        moods = np.array([*self._moods.values()])
        points = random.poisson(POINTS[moods] * self._conversion * is_there)
        week, user = np.nonzero(np.diff(points, axis=0, prepend=0))
        day = (self._start - EPOCH).days + 1 + weeks[week]
        return pa.table(
            {
                "customer_id": self._pseudo_ids.take(pa.array(user)),
                "changed_at": pa.array(day * DAY_US, pa.timestamp("us", "UTC")),
                "points": points[week, user],
            }
        )


def texts(pattern: str, *columns: Ints) -> pa.Array:
    """Return a text for each row of the columns."""
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return pa.array([pattern.format(*row) for row in rows], pa.string())


def _shares(rows: tuple[tuple[Any, ...], ...]) -> Floats:
    share = np.array([row[-2] for row in rows], float)
    normal: Floats = share / share.sum()
    return normal
