"""
A gaming operator's stream of events, from a process that is known.

Players register over ``days`` days, more in the evening and at weekends; a fixed share
churns. Age, country, campaign and the index of the postcode, from 1 to 7, differ a
little between those who churn and those who stay. In the first 24 hours they play a
log-normal number of times. Who churns plays on the second day at most, who stays comes
back for up to two weeks. A play is a purchase, a bet or a win, by a mix that differs,
too; amounts are log-normal around the player's own stake. The last registration is a
day before ``end``, and later play ends there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cached_property
from typing import Any

import numpy as np

from local.generators.drawing import (
    DAY_MS,
    HOUR_MS,
    SECOND_MS,
    Ints,
    floor,
    milliseconds,
    moments,
    normal,
    pick,
    random_of,
    shuffled,
    texts_of,
    uuids,
)
from local.generators.messages import (
    REGISTRATION,
    Delivery,
    Event,
    Faults,
    cut_short,
    encode,
    given,
    sent,
    without,
)
from local.generators.players import (
    ABROAD,
    INDEX_LEVELS,
    Players,
    gazetteer,
    registered,
)

USE_CASE = "first_day_churn"
DEFAULT_END = datetime(2026, 6, 30, tzinfo=UTC)
PLAYS = ("new_purchases", "new_bet", "new_win")
# The field of an event that has its money.
AMOUNT_FIELDS = dict(zip(PLAYS, ("amount", "bet_amount", "win_amount"), strict=True))
BET = 1
# What has two rows has one for those who stay and one for those who churn.
STAYS, CHURNS = 0, 1
MIX = np.array([[0.10, 0.85, 0.05], [0.10, 0.89, 0.01]])
AGES = ((18, 24), (25, 34), (35, 44), (45, 54), (55, 79))
AGE = np.array([[0.12, 0.27, 0.27, 0.20, 0.14], [0.19, 0.31, 0.25, 0.15, 0.10]])
COUNTRY = np.array([[0.72, 0.10, 0.06, 0.05, 0.07], [0.68, 0.11, 0.08, 0.05, 0.08]])
CHANNEL = np.array(
    [
        [0.20, 0.14, 0.15, 0.12, 0.15, 0.12, 0.12],
        [0.14, 0.13, 0.23, 0.18, 0.11, 0.13, 0.08],
    ]
)
INDEX = np.array(
    [
        [0.04, 0.07, 0.12, 0.17, 0.21, 0.21, 0.18],
        [0.17, 0.20, 0.20, 0.17, 0.13, 0.08, 0.05],
    ]
)
# Means and standard deviations of logarithms: plays on the first day, and later ones.
FIRST_DAY = ((3.2, 1.0), (2.6, 1.0))
LATER = ((5.0, 1.2), (1.8, 0.9))
# Share of those who churn that comes back on the second day.
SECOND_DAY = 0.35
PLAY_DAYS = 14
# This share of the maximum is for the first day, so that there is room for later.
FIRST_DAY_SHARE = 0.6
SESSIONS = np.array([0.5, 0.3, 0.2])
SESSION_MS = 3 * HOUR_MS
# The logarithm of a player's stake: means, and one standard deviation.
STAKE = (1.1, 0.7)
STAKE_SPREAD = 0.8
# Of purchase, bet and win around the stake: shift and standard deviation.
SHIFT = np.array([1.9, 0.0, 1.1])
SPREAD = np.array([0.5, 0.6, 1.0])
FREE_BETS = 0.015
MAXIMUM_CENTS = 100_000_000
HOURS = np.array(
    [
        *(3.0, 2.0, 1.2, 0.8, 0.5, 0.5, 0.8, 1.4, 2.0, 2.4, 2.8, 3.2),
        *(3.8, 3.6, 3.4, 3.6, 4.0, 4.8, 6.0, 7.2, 8.0, 8.0, 6.6, 4.6),
    ]
)
WEEKDAYS = np.array([0.85, 0.85, 0.95, 0.95, 1.15, 1.35, 1.2])
# Of players at home: units that the table lacks, and districts that it lacks.
UNKNOWN_UNIT, UNKNOWN_DISTRICT = 0.015, 0.015


def attributes_of(event: Mapping[str, Any]) -> dict[str, str]:
    """Return the attributes of a message with this event."""
    return {name: event[name] for name in ("event_id", "use_case", "event_type")}


def _of_money(amount: str) -> Callable[[Event], Event]:
    """Return what gives a play another amount."""
    value = Decimal(amount)
    return lambda event: event | {AMOUNT_FIELDS[event["event_type"]]: value}


# All are of plays.
FAULTS: Faults = {
    "malformed_json": cut_short,
    "wrong_encoding": lambda event: encode(event).replace(b"player", b"Zo\xc3"),
    "too_large": given(padding="x" * 256 * 1024),
    "unknown_use_case": given(use_case="no_such_case"),
    "unknown_event_type": given(event_type="new_deposit"),
    "missing_field": without("user_id"),
    "wrong_type": given(user_id=123),
    "bad_amount": _of_money("-0.01"),
    "not_finite": _of_money("NaN"),
    "bad_time": given(event_time="2999-12-31T23:59:59.000Z"),
    "bad_value": given(user_id=""),
}


@dataclass(frozen=True, kw_only=True)
class Games:
    """
    A gaming operator's players and what they did.

    Args:
        seed: Everything follows from it.
        users: Players who register.
        churn_rate: Share of them that churns; their number is exact.
        days: From the first possible registration to ``end``.
        maximum_events: Of one player, with the registration.
        end: Aware; no event is at this time or later.
    """

    seed: int = 42
    users: int = 2_000
    churn_rate: float = 0.7
    days: int = 84
    maximum_events: int = 1_000
    end: datetime = DEFAULT_END

    @property
    def first_date(self) -> date:
        """UTC day of the first possible registration."""
        return (self.end - timedelta(days=self.days)).astimezone(UTC).date()

    @property
    def user_ids(self) -> list[str]:
        """Ids of the players, by time of registration."""
        return [f"player-{number:06d}" for number in range(1, self.users + 1)]

    @cached_property
    def _players(self) -> Players:
        random, n = random_of(self.seed, "players"), self.users
        churns = np.zeros(n, np.int64)
        churns[shuffled(random, n)[: round(n * self.churn_rate)]] = CHURNS
        youngest, oldest = np.array(AGES).T[:, pick(random, AGE[churns])]
        age = youngest + floor(random.random(n) * (oldest - youngest + 1))
        country = pick(random, COUNTRY[churns])
        level = 1 + pick(random, INDEX[churns])
        unit = np.zeros(n, np.int64)
        where = random.random(n)
        for nation in range(ABROAD):
            for of_level in range(1, INDEX_LEVELS + 1):
                units = gazetteer().units(nation, of_level)
                is_theirs = (country == nation) & (level == of_level)
                unit[is_theirs] = units[floor(where[is_theirs] * len(units))]
        known, at_home = random.random(n), country != ABROAD
        return Players(
            registered_ms=self._registrations(),
            churns=churns,
            country=country,
            channel=pick(random, CHANNEL[churns]),
            age=age,
            unit=unit,
            is_unit_known=at_home & (known >= UNKNOWN_UNIT + UNKNOWN_DISTRICT),
            is_district_known=at_home & (known >= UNKNOWN_DISTRICT),
            stake=np.array(STAKE)[churns] + STAKE_SPREAD * normal(random, n),
        )

    def _registrations(self) -> Ints:
        """Draw sorted moments of registration, by hour and day of the week."""
        start_ms = milliseconds(self.end) - self.days * DAY_MS
        clock = start_ms // HOUR_MS + np.arange((self.days - 1) * 24)
        # 1970 began on a Thursday.
        weight = HOURS[clock % 24] * WEEKDAYS[(clock // 24 + 3) % 7]
        random = random_of(self.seed, "registrations")
        return moments(random, self.users, start_ms=start_ms, weight=weight)

    def _played(self) -> tuple[Ints, Ints, Ints, Ints]:
        """Return player, time, kind and cents of everything that is played."""
        random, players, n = random_of(self.seed, "play"), self._players, self.users

        def count(parameters: tuple[tuple[float, float], ...]) -> Ints:
            mean, spread = np.array(parameters)[players.churns].T
            return floor(np.exp(mean + spread * normal(random, n)))

        most = max(1, int(FIRST_DAY_SHARE * (self.maximum_events - 1)))
        first = np.minimum(count(FIRST_DAY), most)
        later = np.minimum(count(LATER), self.maximum_events - 1 - first)
        stays = players.churns == STAYS
        again = stays | (random.random(n) < SECOND_DAY)
        # Who stays is there after two days; that is what staying means.
        later = np.where(again, np.maximum(later, stays), 0)
        last_day = np.where(stays, 2 + floor(random.random(n) * (PLAY_DAYS - 2)), 1)

        player = np.repeat(np.arange(n), first + later)
        place = np.arange(len(player))
        place -= (np.cumsum(first + later) - first - later)[player]
        final = last_day[player]
        day = 1 + floor(random.random(len(player)) ** 1.2 * final)
        day = np.where(place == first[player], final, np.minimum(day, final))
        day = np.where(place >= first[player], day, 0)

        starts = self._session_starts(random)
        session = pick(random, np.broadcast_to(SESSIONS, (len(player), 3)))
        start = starts[player, day, session]
        room = np.minimum(SESSION_MS, DAY_MS - start)
        time = start + floor(random.random(len(player)) ** 1.5 * room)
        time += players.registered_ms[player] + day * DAY_MS
        kind = pick(random, MIX[players.churns[player]])
        stake = players.stake[player] + SHIFT[kind]
        amount = np.exp(stake + SPREAD[kind] * normal(random, len(player)))
        cents = np.clip(np.rint(100 * amount), 1, MAXIMUM_CENTS).astype(np.int64)
        cents[(kind == BET) & (random.random(len(player)) < FREE_BETS)] = 0
        kept = time < milliseconds(self.end)
        return player[kept], time[kept], kind[kept], cents[kept]

    def _session_starts(self, random: np.random.Generator) -> Ints:
        """
        Return players × days × sessions: milliseconds from the start of the day.

        A player's days begin at the hour of registration, and the first with a session.
        """
        shape = (self.users, PLAY_DAYS, len(SESSIONS))
        share = np.cumsum(HOURS) / HOURS.sum()
        hour = np.searchsorted(share, random.random(shape), side="right")
        clock = np.minimum(hour, 23) * HOUR_MS + floor(random.random(shape) * HOUR_MS)
        starts = (clock - self._players.registered_ms[:, None, None]) % DAY_MS
        seconds = 5 + floor(random.random(self.users) * 240)
        starts[:, 0, 0] = seconds * SECOND_MS
        return starts

    def labels(self) -> dict[str, int]:
        """Return 1 for each player who churns and 0 for the others."""
        return dict(zip(self.user_ids, self._players.churns.tolist(), strict=True))

    def events(self) -> Iterator[Event]:
        """
        Yield every event as its JSON object, in order of time.

        Times are texts in UTC to the millisecond, amounts Decimal with two decimals.
        """
        players, n = self._players, self.users
        registrations = np.arange(n), players.registered_ms, np.full(n, len(PLAYS))
        columns = (*registrations, np.zeros(n, np.int64)), self._played()
        player, time, kind, cents = map(np.concatenate, zip(*columns, strict=True))
        order = np.argsort(time, kind="stable")
        player, kind, cents = (part[order].tolist() for part in (player, kind, cents))
        times = texts_of(time[order])
        ids = uuids(random_of(self.seed, "event ids"), len(order))
        written, user_ids = registered(players), self.user_ids
        types = (*PLAYS, REGISTRATION)
        for i, event_id in enumerate(ids):
            event_type = types[kind[i]]
            event: Event = {
                "event_id": event_id,
                "use_case": USE_CASE,
                "user_id": user_ids[player[i]],
                "event_type": event_type,
                "event_time": times[i],
            }
            if event_type == REGISTRATION:
                event |= written[player[i]]
            else:
                event[AMOUNT_FIELDS[event_type]] = Decimal(cents[i]).scaleb(-2)
            yield event

    def payloads(self) -> Iterator[tuple[bytes, dict[str, str]]]:
        """Yield every event as a message's data and attributes, in order of time."""
        for event in self.events():
            yield encode(event), attributes_of(event)

    def deliveries(self) -> list[Delivery]:
        """Return what a producer sends, in the order of sending."""
        return sent(
            list(self.events()),
            seed=self.seed,
            purpose="deliveries 0",
            id_field="event_id",
            time_field="event_time",
            faults=FAULTS,
            late_days=(1, 5),
            duplicates=0.10,
            longest_ms=3 * DAY_MS,
            attributes_of=attributes_of,
        )
