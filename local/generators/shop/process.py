"""
The process behind the shop, and its truth.

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
2. who visits buys with probability ``1 - exp(-conversion * BUY[m] * demand(d))``, at
   most once a day, where ``demand`` is 1 unless the shop has a season, in which more is
   bought around ``PEAK`` of every year, or a drift: then all visits convert better or
   worse, whatever the users' traits and moods;
3. moves to tomorrow's mood by a matrix that depends on what happened: no visit
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
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from local.generators.drawing import Flags, Floats, Ints
from local.generators.shop import world
from local.generators.shop.columns import texts


@dataclass(frozen=True)
class Visits:
    """One row per visit, in order of user and time."""

    user: Ints
    start_us: Ints
    mood: Ints
    is_first: Flags
    buys: Flags


class Process:
    """
    Users, their moods and their visits, day by day, and what they will come to.

    Args:
        users: Users who arrive from the burn-in's start to the end.
        days: Days of the export, ending with ``last_date``.
        seed: Everything follows from it.
        last_date: Last ``event_date``.
        season: Logarithm of the demand at the season's peak; 0 is no season.
        drift: What a year adds to the logarithm of the demand; 0 on the first day.
    """

    def __init__(
        self,
        *,
        users: int = world.DEFAULT_USERS,
        days: int = world.DEFAULT_DAYS,
        seed: int = world.DEFAULT_SEED,
        last_date: date = world.DEFAULT_LAST_DATE,
        season: float = 0.0,
        drift: float = 0.0,
    ) -> None:
        if users < 1 or days < world.INTRADAY_DAYS:
            raise ValueError(
                f"wanted at least 1 user and {world.INTRADAY_DAYS} days, got {users}, "
                f"{days}"
            )
        self.users = users
        self.last_date = last_date
        self.season, self.drift = season, drift
        self.first_date = last_date - (days - 1) * world.DAY
        self._start = self.first_date - world.BURN_IN_DAYS * world.DAY
        # The last local day ends during the next UTC day.
        self._simulated_days = (last_date - self._start).days + 2
        self._random = np.random.Generator(np.random.PCG64(seed))
        self._draw_users()
        self._simulate()

    def _draw_users(self) -> None:
        random, n = self._random, self.users
        self.channel = random.choice(
            len(world.CHANNELS), n, p=_shares(world.CHANNELS, 3)
        )
        self.device = random.choice(len(world.DEVICES), n, p=_shares(world.DEVICES, 4))
        weights = 1.0 / np.arange(1, len(world.COUNTRIES) + 1) ** 1.6
        self.country = random.choice(len(world.COUNTRIES), n, p=weights / weights.sum())
        effect = (
            np.array([row[4] for row in world.CHANNELS])[self.channel]
            + np.array([row[5] for row in world.DEVICES])[self.device]
            + np.where(self.country == 0, 0.15, -0.1)
        )
        self._activity = np.exp(random.normal(*world.ACTIVITY, n))
        self._conversion = np.exp(random.normal(*world.CONVERSION, n) + effect)
        self._patience = np.exp(random.normal(*world.PATIENCE, n))
        # Arrivals grow in a straight line: the inverse of that distribution. Some users
        # are there from the start, as in a shop that is older than its export.
        growth, uniform = world.ARRIVAL_GROWTH, random.random(n)
        share = (np.sqrt(1 + growth * (2 + growth) * uniform) - 1) / growth
        self._arrival = np.where(
            random.random(n) < world.EARLY_USERS,
            np.floor(uniform * world.BURN_IN_DAYS / 2),
            np.floor(share * self._simulated_days),
        ).astype(np.int64)
        self._is_member = random.random(n) < world.LOGGED_IN
        self._client = 1_000_000_000 + 7919 * random.permutation(n)

    def _rhythm(self, day: int) -> float:
        calendar = self._start + day * world.DAY
        season = 1 + world.SEASON * np.cos(
            2 * np.pi * (calendar.timetuple().tm_yday - 340) / 365
        )
        trend = 1 + world.TREND_A_YEAR * (day - world.BURN_IN_DAYS) / 365
        return float(world.WEEKDAY[calendar.weekday()] * season * trend)

    def _visit_probability(self, day: int) -> Floats:
        """Return users × moods, for users past their day of arrival."""
        rate = np.outer(self._activity, world.VISIT) * self._rhythm(day)
        probability: Floats = -np.expm1(-rate)
        return probability

    def _demand(self, day: int) -> float:
        calendar = self._start + day * world.DAY
        peaks = (date(calendar.year + n, *world.PEAK) for n in (-1, 0, 1))
        apart = min(abs((calendar - peak).days) for peak in peaks)
        season = self.season * np.exp(-0.5 * (apart / world.PEAK_DAYS) ** 2)
        return float(np.exp(season + self.drift * (day - world.BURN_IN_DAYS) / 365))

    def _buy_probability(self, day: int) -> Floats:
        """Return users × moods: of a purchase on a visit of the day."""
        rate = np.outer(self._conversion, world.BUY) * self._demand(day)
        probability: Floats = -np.expm1(-rate)
        return probability

    @cached_property
    def _away(self) -> Floats:
        """Return users × mood × tomorrow's mood after a day without a visit."""
        fade = -np.expm1(-world.FADE / self._patience[:, None])
        away = np.zeros((self.users, 4, 4))
        away[:, world.GONE, world.GONE] = 1
        for mood in (world.IDLE, world.BROWSING, world.KEEN):
            away[:, mood, mood] = 1 - fade[:, mood]
            away[:, mood, mood - 1] = fade[:, mood]
        return away

    def _simulate(self) -> None:
        """Play every day; keep the moods, which are the truth, and the visits."""
        random, n = self._random, self.users
        everyone = np.arange(n)
        mood = np.full(n, world.IDLE)
        self._moods = np.empty((self._simulated_days, n), np.int8)
        seen: list[tuple[Ints, int, Ints, Flags]] = []
        for day in range(self._simulated_days):
            arrives = self._arrival == day
            mood[arrives] = random.choice(4, int(arrives.sum()), p=world.ARRIVAL_MOOD)
            self._moods[day] = mood
            present = self._arrival <= day
            chance = self._visit_probability(day)[everyone, mood]
            visits = arrives | (present & (random.random(n) < chance))
            sells = self._buy_probability(day)[everyone, mood]
            buys = visits & (random.random(n) < sells)
            who = np.flatnonzero(visits)
            seen.append((who, day, mood[who], buys[who]))
            tomorrow = self._away[everyone, mood]
            tomorrow[visits] = world.LOOKED[mood[visits]]
            tomorrow[buys] = world.BOUGHT[mood[buys]]
            drawn = (random.random((n, 1)) > tomorrow.cumsum(axis=1)).sum(axis=1)
            mood = np.where(present, np.minimum(drawn, world.KEEN), mood)
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
            for day in reversed(range(start, start + world.HORIZON_DAYS)):
                visit = self._visit_probability(day)
                looks = visit * (1 - self._buy_probability(day))
                none = looks * (none @ world.LOOKED.T) + (1 - visit) * np.einsum(
                    "umt,ut->um", self._away, none
                )
            known = np.flatnonzero(self._arrival < start)
            days.append(np.full(len(known), (as_of - world.EPOCH).days, np.int32))
            users.append(self._pseudo_ids.take(pa.array(known)))
            probabilities.append(1 - none[known, self._moods[start, known]])
        return pa.table(
            {
                "as_of": pa.chunked_array(days, pa.int32()).cast(pa.date32()),
                "user_id": pa.chunked_array(users, pa.string()),
                "probability": pa.chunked_array(probabilities, pa.float64()),
            }
        )

    @cached_property
    def _visits(self) -> Visits:
        """Place every visit in its UTC day; some days have a second one."""
        random = self._random
        user = np.concatenate([who for who, *_ in self._seen])
        day = np.concatenate([np.full(len(who), d) for who, d, *_ in self._seen])
        mood = np.concatenate([moods for *_, moods, _ in self._seen])
        buys = np.concatenate([bought for *_, bought in self._seen])
        again = np.flatnonzero(random.random(len(user)) < world.SECOND_VISIT)
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
        start = (self._start - world.EPOCH).days * world.DAY_US + day * world.DAY_US
        start_us = start + (second * world.SECOND_US).astype(np.int64)
        order = np.lexsort((start_us, user))
        user, start_us = user[order], start_us[order]
        is_first = np.r_[True, user[1:] != user[:-1]]
        return Visits(user, start_us, mood[order], is_first, buys[order])

    @cached_property
    def _first_touch_us(self) -> Ints:
        visits = self._visits
        touch = np.zeros(self.users, np.int64)
        touch[visits.user[visits.is_first]] = visits.start_us[visits.is_first]
        return touch

    @cached_property
    def _pseudo_ids(self) -> pa.Array:
        """Name users as GA4 does: a random number and the second of the first touch."""
        touch = self._first_touch_us // world.SECOND_US
        return texts("{}.{}", self._client, touch)


def _shares(table: tuple[tuple[Any, ...], ...], column: int) -> Floats:
    share = np.array([row[column] for row in table], float)
    normal: Floats = share / share.sum()
    return normal
