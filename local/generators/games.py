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

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

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
from local.generators.players import registered, units

USE_CASE = "first_day_churn"
DEFAULT_END = datetime(2026, 6, 30, tzinfo=UTC)
PLAYS = ("new_purchases", "new_bet", "new_win")
# The field of an event that has its money.
AMOUNT_FIELDS = dict(zip(PLAYS, ("amount", "bet_amount", "win_amount"), strict=True))
BET = 1
# What has two rows has one for those who stay and one for those who churn.
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
# Means and standard deviations of logarithms: plays on the first day, and later ones;
# a player's stake.
FIRST_DAY = np.array([[3.2, 1.0], [2.6, 1.0]])
LATER = np.array([[5.0, 1.2], [1.8, 0.9]])
STAKE, STAKE_SPREAD = np.array([1.1, 0.7]), 0.8
# Share of those who churn that comes back on the second day.
SECOND_DAY = 0.35
PLAY_DAYS = 14
# This share of the maximum is for the first day, so that there is room for later.
FIRST_DAY_SHARE = 0.6
SESSIONS = np.array([0.5, 0.3, 0.2])
SESSION_MS = 3 * HOUR_MS
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


# All are of plays.
FAULTS: Faults = {
    "malformed_json": cut_short,
    "wrong_encoding": lambda event: encode(event).replace(b"player", b"Zo\xc3"),
    "too_large": given(padding="x" * 256 * 1024),
    "unknown_use_case": given(use_case="no_such_case"),
    "unknown_event_type": given(event_type="new_deposit"),
    "missing_field": without("user_id"),
    "wrong_type": given(user_id=123),
    "bad_amount": lambda play: play | {_amount_field(play): Decimal("-0.01")},
    "not_finite": lambda play: play | {_amount_field(play): Decimal("NaN")},
    "bad_time": given(event_time="2999-12-31T23:59:59.000Z"),
    "bad_value": given(user_id=""),
}


def _amount_field(play: Event) -> str:
    return AMOUNT_FIELDS[play["event_type"]]


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
    def _players(self) -> pd.DataFrame:
        """One row for each player, by time of registration; see ``players.py``."""
        random, n = random_of(self.seed, "players"), self.users
        churns = np.zeros(n, np.int64)
        churns[shuffled(random, n)[: round(n * self.churn_rate)]] = 1
        youngest, oldest = np.array(AGES).T[:, pick(random, AGE[churns])]
        age = youngest + floor(random.random(n) * (oldest - youngest + 1))
        country = pick(random, COUNTRY[churns])
        level = 1 + pick(random, INDEX[churns])
        unit, where, known = np.zeros(n, np.int64), random.random(n), random.random(n)
        homes = units().groupby(["country", "level"]).indices
        for (nation, index), places in homes.items():
            theirs = (country == nation) & (level == index)
            unit[theirs] = places[floor(where[theirs] * len(places))]
        columns = {
            "registered_ms": self._registrations(),
            "churns": churns,
            "country": country,
            "channel": pick(random, CHANNEL[churns]),
            "age": age,
            "unit": unit,
            "is_unit_known": known >= UNKNOWN_UNIT + UNKNOWN_DISTRICT,
            "is_district_known": known >= UNKNOWN_DISTRICT,
            "stake": STAKE[churns] + STAKE_SPREAD * normal(random, n),
        }
        return pd.DataFrame(columns)

    def _registrations(self) -> Ints:
        """Draw sorted moments of registration, by hour and day of the week."""
        start_ms = milliseconds(self.end) - self.days * DAY_MS
        clock = start_ms // HOUR_MS + np.arange((self.days - 1) * 24)
        # 1970 began on a Thursday.
        weight = HOURS[clock % 24] * WEEKDAYS[(clock // 24 + 3) % 7]
        random = random_of(self.seed, "registrations")
        return moments(random, self.users, start_ms=start_ms, weight=weight)

    def _played(self) -> pd.DataFrame:
        """Return player, time, kind and cents of everything that is played."""
        random, n = random_of(self.seed, "play"), self.users
        churns = self._players["churns"].to_numpy()
        registered_ms = self._players["registered_ms"].to_numpy()
        stays = churns == 0
        most = max(1, int(FIRST_DAY_SHARE * (self.maximum_events - 1)))
        first, later = (
            floor(np.exp(mean + spread * normal(random, n)))
            for mean, spread in (FIRST_DAY[churns].T, LATER[churns].T)
        )
        first = np.minimum(first, most)
        later = np.minimum(later, self.maximum_events - 1 - first)
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

        # Sessions by player and day, in ms from the start of the day. A player's days
        # begin at the hour of registration, and the first with a session.
        shape, share = (n, PLAY_DAYS, len(SESSIONS)), np.cumsum(HOURS) / HOURS.sum()
        hour = np.searchsorted(share, random.random(shape), side="right")
        clock = np.minimum(hour, 23) * HOUR_MS + floor(random.random(shape) * HOUR_MS)
        starts = (clock - registered_ms[:, None, None]) % DAY_MS
        starts[:, 0, 0] = (5 + floor(random.random(n) * 240)) * SECOND_MS
        session = pick(random, np.broadcast_to(SESSIONS, (len(player), 3)))
        start = starts[player, day, session]
        room = np.minimum(SESSION_MS, DAY_MS - start)
        time = start + floor(random.random(len(player)) ** 1.5 * room)
        time += registered_ms[player] + day * DAY_MS
        kind = pick(random, MIX[churns[player]])
        stake = self._players["stake"].to_numpy()[player] + SHIFT[kind]
        amount = np.exp(stake + SPREAD[kind] * normal(random, len(player)))
        cents = np.clip(np.rint(100 * amount), 1, MAXIMUM_CENTS).astype(np.int64)
        cents[(kind == BET) & (random.random(len(player)) < FREE_BETS)] = 0
        played = {"player": player, "time": time, "kind": kind, "cents": cents}
        return pd.DataFrame(played)[time < milliseconds(self.end)]

    def labels(self) -> dict[str, int]:
        """Return 1 for each player who churns and 0 for the others."""
        return dict(zip(self.user_ids, self._players["churns"].tolist(), strict=True))

    def events(self) -> Iterator[Event]:
        """
        Yield every event as its JSON object, in order of time.

        Times are texts in UTC to the millisecond, amounts Decimal with two decimals.
        """
        registrations = pd.DataFrame(
            {
                "player": np.arange(self.users),
                "time": self._players["registered_ms"],
                "kind": len(PLAYS),
                "cents": 0,
            }
        )
        rows = pd.concat([registrations, self._played()])
        rows = rows.sort_values("time", kind="stable")
        ids = uuids(random_of(self.seed, "event ids"), len(rows))
        written, user_ids = registered(self._players), self.user_ids
        types, times = (*PLAYS, REGISTRATION), texts_of(rows.pop("time").to_numpy())
        for event_id, time, row in zip(
            ids, times, rows.to_numpy().tolist(), strict=True
        ):
            player, kind, cents = row
            event: Event = {
                "event_id": event_id,
                "use_case": USE_CASE,
                "user_id": user_ids[player],
                "event_type": types[kind],
                "event_time": time,
            }
            if types[kind] == REGISTRATION:
                yield event | written[player]
            else:
                yield event | {_amount_field(event): Decimal(cents).scaleb(-2)}

    def payloads(self) -> Iterator[tuple[bytes, dict[str, str]]]:
        """Yield every event as a message's data and attributes, in order of time."""
        for event in self.events():
            yield encode(event), attributes_of(event)

    def deliveries(self) -> list[Delivery]:
        """Return what a producer sends, in the order of sending."""
        return sent(
            list(self.events()),
            random_of(self.seed, "deliveries 0"),
            FAULTS,
            id_field="event_id",
            time_field="event_time",
            late_days=(1, 5),
            duplicates=0.10,
            longest_ms=3 * DAY_MS,
            attributes_of=attributes_of,
        )
