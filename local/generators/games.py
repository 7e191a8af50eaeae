"""
A gaming operator's stream of events, from a process that is known; postcodes.

Players register over ``days`` days, more in the evening and at weekends; a fixed share
churns. Age, country, campaign and the index of the postcode, from 1 to 7, differ a
little between those who churn and those who stay. In the first 24 hours they play a
log-normal number of times. Who churns plays on the second day at most, who stays comes
back for up to two weeks. A play is a purchase, a bet or a win, by a mix that differs,
too; amounts are log-normal around the player's own stake. The last registration is a
day before ``end``, and later play ends there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache, cached_property
from itertools import chain
from operator import attrgetter, itemgetter
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from local.generators.streams import (
    DAY_MS,
    HOUR_MS,
    SECOND_MS,
    Delivery,
    Event,
    Ints,
    attributes_of,
    encode,
    floor,
    latency_ms,
    milliseconds,
    moment,
    moments,
    normal,
    pick,
    random_of,
    sent,
    shuffled,
    texts_of,
)

# When it was, in ms since 1970; the player's place; event type; further fields.
Happened = tuple[int, int, str, Event]
USE_CASE = "first_day_churn"
REGISTRATION = "new_registration"
DEFAULT_END = datetime(2026, 6, 30, tzinfo=UTC)
# The last two columns of a table are the shares of those who stay and who churn.
PLAYS = (
    # event type, field of its money, that around the stake: shift and spread of the log
    ("new_purchases", "amount", 1.9, 0.5, 0.10, 0.10),
    ("new_bet", "bet_amount", 0.0, 0.6, 0.85, 0.89),
    ("new_win", "win_amount", 1.1, 1.0, 0.05, 0.01),
)
BET = 1
AMOUNT_FIELDS = {event_type: field for event_type, field, *_ in PLAYS}
SHIFT, SPREAD = np.array([play[2:4] for play in PLAYS]).T
AGES = (
    # from, to
    (18, 24, 0.12, 0.19),
    (25, 34, 0.27, 0.31),
    (35, 44, 0.27, 0.25),
    (45, 54, 0.20, 0.15),
    (55, 79, 0.14, 0.10),
)
COUNTRIES = (
    ("England", 0.72, 0.68),
    ("Scotland", 0.10, 0.11),
    ("Wales", 0.06, 0.08),
    ("Northern Ireland", 0.05, 0.05),
    # It has postcodes of another kind, which no table has.
    ("Ireland", 0.07, 0.08),
)
CHANNELS = (
    # campaign, affiliate
    (None, None, 0.20, 0.14),
    (None, "https://odds-compare.example/go?to=7", 0.14, 0.13),
    ("welcome_bonus", "https://bonus-hunter.example/offers?ref=41", 0.15, 0.23),
    ("free_spins", "https://spin-deals.example/free?ref=8", 0.12, 0.18),
    ("derby_day", "https://racing-tips.example/derby", 0.15, 0.11),
    ("spring_league", "https://football-forum.example/r/552", 0.12, 0.13),
    ("refer_a_friend", None, 0.12, 0.08),
)
# Values by the index of the postcode, from 1 to 7.
INDICES = (
    (0.04, 0.17), (0.07, 0.20), (0.12, 0.20), (0.17, 0.17), (0.21, 0.13), (0.21, 0.08),
    (0.18, 0.05),
)  # fmt: skip
# Means and standard deviations of logarithms: plays on the first day, and later ones;
# a player's stake.
FIRST_DAY = np.array([[3.2, 1.0], [2.6, 1.0]])
LATER = np.array([[5.0, 1.2], [1.8, 0.9]])
STAKE = np.array([1.1, 0.7])
STAKE_SPREAD = 0.8
# Share of those who churn that comes back on the second day.
SECOND_DAY = 0.35
PLAY_DAYS = 14
# Share of messages that are broken, besides all others.
BROKEN = 0.01
# This share of the maximum is for the first day, so that there is room for later.
FIRST_DAY_SHARE = 0.6
SESSIONS = np.array([0.5, 0.3, 0.2])
SESSION_MS = 3 * HOUR_MS
FREE_BETS = 0.015
HOURS = np.array([
    3.0, 2.0, 1.2, 0.8, 0.5, 0.5, 0.8, 1.4, 2.0, 2.4, 2.8, 3.2,
    3.8, 3.6, 3.4, 3.6, 4.0, 4.8, 6.0, 7.2, 8.0, 8.0, 6.6, 4.6,
])  # fmt: skip
WEEKDAYS = np.array([0.85, 0.85, 0.95, 0.95, 1.15, 1.35, 1.2])
# Shares of players whose unit, or whose district, the table lacks.
UNKNOWN_UNIT = 0.015
UNKNOWN_DISTRICT = 0.015
# Postcodes in the format of the United Kingdom, in areas that it does not have.
AREAS = (
    # area, city, country
    ("QA", "Ambermouth", 0),
    ("QD", "Dunmere", 0),
    ("QL", "Lanthorpe", 0),
    ("XB", "Brackenford", 0),
    ("XT", "Thornwick", 0),
    ("V", "Vellinsham", 0),
    ("XG", "Glenarrick", 1),
    ("XK", "Kirkmorran", 1),
    ("QW", "Porthwen", 2),
    ("XN", "Nantmôr", 2),
    ("XY", "Ballycarrow", 3),
    ("VA", "Ardnashee", 3),
)
DISTRICTS = ("1", "2", "3", "4A", "7", "11", "15", "28")
# Units of each district in the table. It has none of a letter Z.
UNITS = 30
LETTERS = "ABDEFGHJLNPQRSTUWXYZ"
NAMES = ("Aisha Begum", "Gethin Davies", "Jürgen Lindström", "Zoë Ní Bhriain")


@cache
def units() -> pd.DataFrame:
    """
    Return all postcodes, the same for every seed: code, city, country, level.

    A district has a level, the index from 1 to 7, and its units vary around it.
    """
    random = random_of(7, "postcodes")
    districts = pd.DataFrame(
        [
            (area + district, city, country)
            for area, city, country in AREAS
            for district in DISTRICTS
        ],
        columns=["district", "city", "country"],
    )
    base = np.zeros(len(districts), np.int64)
    for theirs in districts.groupby("country").indices.values():
        base[theirs] = 1 + shuffled(random, len(theirs)) % 7
    letters = [a + b for a in LETTERS for b in LETTERS]
    codes: list[str] = []
    for name in districts["district"]:
        drawn = shuffled(random, 10 * len(letters))[:UNITS].tolist()
        codes += sorted(
            f"{name} {number % 10}{letters[number // 10]}" for number in drawn
        )
    step = np.searchsorted([0.2, 0.8], random.random(len(codes))) - 1
    # Each district has a unit of its own index, and each country all of them.
    step[::UNITS] = 0
    level = np.clip(np.repeat(base, UNITS) + step, 1, 7)
    repeated = districts.loc[districts.index.repeat(UNITS)].reset_index(drop=True)
    return repeated.assign(code=codes, level=level)


def postcodes() -> pa.Table:
    """
    Return the table of postcodes, the same for every seed.

    Returns:
        ``postcode`` string, as in "QA1 2BD", and ``socioeconomic_idx`` float64, a whole
        number from 1 to 7 that varies little within a district.
    """
    level = units()["level"].to_numpy(np.float64)
    return pa.table({"postcode": list(units()["code"]), "socioeconomic_idx": level})


# Each spoils a bet, a win or a purchase, by the reason that its dead letter must have.
FAULTS: Mapping[str, Callable[[Event], Event | bytes]] = {
    "malformed_json": lambda event: encode(event)[:-12],
    "wrong_encoding": lambda event: encode(event).replace(b"player", b"Zo\xc3"),
    "too_large": lambda event: event | {"padding": "x" * 256 * 1024},
    "unknown_use_case": lambda event: event | {"use_case": "no_such_case"},
    "unknown_event_type": lambda event: event | {"event_type": "new_deposit"},
    "missing_field": lambda event: {n: event[n] for n in event if n != "user_id"},
    "wrong_type": lambda event: event | {"user_id": 123},
    "bad_amount": lambda event: event | _costing("-0.01", event),
    "not_finite": lambda event: event | _costing("NaN", event),
    "bad_time": lambda event: event | {"event_time": "2999-12-31T23:59:59.000Z"},
    "bad_value": lambda event: event | {"user_id": ""},
}


def _costing(amount: str, play: Event) -> Event:
    return {AMOUNT_FIELDS[play["event_type"]]: Decimal(amount)}


def _drawn(
    random: np.random.Generator, table: Sequence[tuple[Any, ...]], churns: Ints
) -> Ints:
    """Draw a row of a table for each player or play, by its last two columns."""
    return pick(random, np.array([row[-2:] for row in table]).T[churns])


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
    def user_ids(self) -> list[str]:
        """Ids of the players, by time of registration."""
        return [f"player-{number:06d}" for number in range(1, self.users + 1)]

    @cached_property
    def _players(self) -> pd.DataFrame:
        """One row for each player, by time of registration."""
        random = random_of(self.seed, "players")
        n = self.users
        churns = np.zeros(n, np.int64)
        churns[shuffled(random, n)[: round(n * self.churn_rate)]] = 1
        youngest, oldest, *_ = np.array(AGES)[_drawn(random, AGES, churns)].T
        age = floor(youngest + np.floor(random.random(n) * (oldest - youngest + 1)))
        country = _drawn(random, COUNTRIES, churns)
        level = 1 + _drawn(random, INDICES, churns)
        unit = np.zeros(n, np.int64)
        where = random.random(n)
        known = random.random(n)
        homes = units().groupby(["country", "level"]).indices
        for (nation, index), places in homes.items():
            theirs = (country == nation) & (level == index)
            unit[theirs] = places[floor(where[theirs] * len(places))]
        start_ms = milliseconds(self.end) - self.days * DAY_MS
        hours = start_ms // HOUR_MS + np.arange((self.days - 1) * 24)
        # 1970 began on a Thursday.
        weight = HOURS[hours % 24] * WEEKDAYS[(hours // 24 + 3) % 7]
        clock = random_of(self.seed, "registrations")
        columns = {
            "registered_ms": moments(clock, n, start_ms=start_ms, weight=weight),
            "churns": churns,
            "country": country,
            "channel": _drawn(random, CHANNELS, churns),
            "age": age,
            **units().iloc[unit][["code", "city"]].reset_index(drop=True),
            "known": known,
            "stake": STAKE[churns] + STAKE_SPREAD * normal(random, n),
        }
        return pd.DataFrame(columns)

    def _registered(self) -> Iterator[Happened]:
        """Yield all registrations, with what each player writes."""
        for i, player in enumerate(self._players.to_dict("records")):
            campaign, affiliate_url, *_ = CHANNELS[player["channel"]]
            day = moment(player["registered_ms"]).date()
            birthday = day.replace(day=min(day.day, 28), year=day.year - player["age"])
            country, *_ = COUNTRIES[player["country"]]
            code = player["code"]
            city = player["city"]
            if country == "Ireland":
                code = f"Q{i % 90:02d} {i:06d}"
                city = "Dúnbeg"
            elif player["known"] < UNKNOWN_DISTRICT:
                code = f"ZZ{1 + i % 90} 1AA"
            elif player["known"] < UNKNOWN_DISTRICT + UNKNOWN_UNIT:
                code = f"{code[:-3]}1ZZ"
            # Two in ten type it otherwise.
            typed = {8: code.lower(), 9: code.replace(" ", "")}
            fields = {
                "name": NAMES[i % len(NAMES)],
                "date_of_birth": str(birthday - timedelta(days=i % 364)),
                "street_address": f"{1 + i % 180} King's Parade",
                "city": city,
                "country": country,
                "postcode": typed.get(i % 10, code),
                "affiliate_url": affiliate_url,
                "campaign": campaign,
                "label": player["churns"],
            }
            yield player["registered_ms"], i, REGISTRATION, fields

    def _played(self) -> Iterator[Happened]:
        """Yield everything that is played, with its money."""
        random = random_of(self.seed, "play")
        n = self.users
        churns = self._players["churns"].to_numpy()
        registered_ms = self._players["registered_ms"].to_numpy()
        stays = churns == 0
        first_day_limit = max(1, int(FIRST_DAY_SHARE * (self.maximum_events - 1)))
        first, later = (
            floor(np.exp(mean + spread * normal(random, n)))
            for mean, spread in (FIRST_DAY[churns].T, LATER[churns].T)
        )
        first = np.minimum(first, first_day_limit)
        later = np.minimum(later, self.maximum_events - 1 - first)
        returns = stays | (random.random(n) < SECOND_DAY)
        # A player is retained if active two days later.
        later = np.where(returns, np.maximum(later, stays), 0)
        last_day = np.where(stays, 2 + floor(random.random(n) * (PLAY_DAYS - 2)), 1)

        player = np.repeat(np.arange(n), first + later)
        index = np.arange(len(player))
        index -= (np.cumsum(first + later) - first - later)[player]
        final = last_day[player]
        day = 1 + floor(random.random(len(player)) ** 1.2 * final)
        day = np.where(index == first[player], final, np.minimum(day, final))
        day = np.where(index >= first[player], day, 0)

        # Sessions by player and day, in ms from the start of the day. A player's days
        # begin at the hour of registration, and the first with a session.
        shape = (n, PLAY_DAYS, len(SESSIONS))
        share = np.cumsum(HOURS) / HOURS.sum()
        hour = np.searchsorted(share, random.random(shape), side="right")
        clock = np.minimum(hour, 23) * HOUR_MS + floor(random.random(shape) * HOUR_MS)
        starts = (clock - registered_ms[:, None, None]) % DAY_MS
        starts[:, 0, 0] = (5 + floor(random.random(n) * 240)) * SECOND_MS
        session = pick(random, np.broadcast_to(SESSIONS, (len(player), 3)))
        start = starts[player, day, session]
        room = np.minimum(SESSION_MS, DAY_MS - start)
        time = start + floor(random.random(len(player)) ** 1.5 * room)
        time += registered_ms[player] + day * DAY_MS
        kind = _drawn(random, PLAYS, churns[player])
        stake = self._players["stake"].to_numpy()[player] + SHIFT[kind]
        amount = np.exp(stake + SPREAD[kind] * normal(random, len(player)))
        cents = np.maximum(np.rint(100 * amount), 1).astype(np.int64)
        is_free = random.random(len(player)) < FREE_BETS
        cents[is_free & (kind == BET)] = 0
        rows = np.column_stack([time, player, kind, cents])
        for at, who, which, amount in rows[time < milliseconds(self.end)].tolist():
            event_type, field, *_ = PLAYS[which]
            yield at, who, event_type, {field: Decimal(amount).scaleb(-2)}

    def labels(self) -> dict[str, int]:
        """Return 1 for each player who churns and 0 for the others."""
        return dict(zip(self.user_ids, self._players["churns"].tolist(), strict=True))

    def events(self) -> Iterator[Event]:
        """
        Yield every event as its JSON object, in order of time.

        Times are texts in UTC to the millisecond, amounts Decimal with two decimals.
        """
        rows = sorted(chain(self._registered(), self._played()), key=itemgetter(0))
        times = texts_of(np.array([row[0] for row in rows]))
        user_ids = self.user_ids
        for number, (_, player, event_type, fields) in enumerate(rows):
            yield {
                "event_id": f"{self.seed}-{number:07d}",
                "use_case": USE_CASE,
                "user_id": user_ids[player],
                "event_type": event_type,
                "event_time": times[number],
                **fields,
            }

    def deliveries(self, *, broken: bool = True) -> list[Delivery]:
        """Return what a producer sends, in the order of sending; some of it broken."""
        events = list(self.events())
        random = random_of(self.seed, "deliveries 0")
        deliveries = sent(
            events,
            random,
            time_field="event_time",
            late_days=(1, 5),
            repeated=0.10,
            repeated_days=3,
        )
        if broken:
            deliveries += _spoilt(events, random)
        return sorted(deliveries, key=attrgetter("sent_time"))


def _spoilt(events: Sequence[Event], random: np.random.Generator) -> list[Delivery]:
    plays = [event for event in events if event["event_type"] != REGISTRATION]
    count = round(len(events) * BROKEN)
    wait_ms = latency_ms(random, count).tolist()
    reasons = list(FAULTS)
    deliveries = []
    for number, place in enumerate(floor(random.random(count) * len(plays))):
        event = plays[place] | {"event_id": f"broken-{number}"}
        sent_time = datetime.fromisoformat(event["event_time"])
        sent_time += timedelta(milliseconds=wait_ms[number])
        reason = reasons[number % len(reasons)]
        data = FAULTS[reason](event)
        if isinstance(data, dict):
            event = data
            data = encode(data)
        deliveries.append(Delivery(data, attributes_of(event), sent_time, None, reason))
    return deliveries
