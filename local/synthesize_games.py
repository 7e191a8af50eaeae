"""
A gaming operator's stream of events from a process that is known.

The process
-----------
Players register over ``days`` days, more in the evening and at weekends; a fixed share
of them churns. What is known of a player at registration differs between those who
churn and those who stay, but overlaps: age, country, campaign, and the socioeconomic
index of the postcode, from 1 to 7. Then they play:

1. in the first 24 hours, a log-normal number of times, in a session right after the
   registration and in some later in the day, at the hours when people play;
2. who churns plays on the second day at most, who stays comes back for up to two weeks,
   with ``maximum_events`` events at most, the registration among them;
3. every play is a purchase, a bet or a win, with probability 0.10, 0.89 and 0.01 for
   those who churn and 0.10, 0.85 and 0.05 for those who stay;
4. amounts are log-normal around a stake of the player's own, a little higher for those
   who stay; some bets are free.

The last registration is a day before ``end``, so that everyone's first 24 hours are
complete; later play ends there.

The truth
---------
Every density above is known, so the probability that a player churns, given all that
the first 24 hours and the registration say, follows from Bayes' rule in closed form
(``Games.true_probabilities``): hours and sessions do not differ between the groups. It
ranks as well as anything can; ``Games.optimum_roc_auc`` says how well that is.

What is sent
------------
``Games.deliveries`` is the stream as a producer sends it: a little out of order, some
of it twice, some of it days late, and some messages that can never be accepted, each
marked with what it is. ``expected_features`` says, in exact arithmetic and without any
code of the stream, what the features of events must be.

Names, streets, towns and postcodes are invented. Everything follows from the seed: the
same arguments give the same bytes. Only raw uniform numbers are drawn, whose sequence
numpy keeps from release to release, and whatever is computed from them is rounded, so
that the last bit of a logarithm makes no difference.
"""

from __future__ import annotations

import argparse
import base64
import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv

from local.drawing import (
    DAY_MS,
    HOUR_MS,
    SECOND_MS,
    Flags,
    Floats,
    Ints,
    exponential,
    floor,
    latency_ms,
    milliseconds,
    moment,
    normal,
    pick,
    random_of,
    shuffled,
    uuids,
)
from local.progress import bar

Event = dict[str, Any]

USE_CASE = "first_day_churn"
REGISTRATION = "new_registration"
PURCHASE, BET, WIN = range(3)
PLAYS = ("new_purchases", "new_bet", "new_win")
# Which field of an event holds its money, and which feature it counts towards.
AMOUNT_FIELDS = {
    "new_purchases": "amount",
    "new_bet": "bet_amount",
    "new_win": "win_amount",
}
MEASURES = {"new_purchases": "purchase", "new_bet": "bet", "new_win": "win"}

DEFAULT_END = datetime(2026, 6, 30, tzinfo=UTC)

# Whatever has two rows below has one for those who stay and one for those who churn.
STAYS, CHURNS = 0, 1
MIX = np.array([[0.10, 0.85, 0.05], [0.10, 0.89, 0.01]])
INDEX_LEVELS = 7
INDEX = np.array(
    [
        [0.04, 0.07, 0.12, 0.17, 0.21, 0.21, 0.18],
        [0.17, 0.20, 0.20, 0.17, 0.13, 0.08, 0.05],
    ]
)
AGES = ((18, 24), (25, 34), (35, 44), (45, 54), (55, 79))
AGE = np.array([[0.12, 0.27, 0.27, 0.20, 0.14], [0.19, 0.31, 0.25, 0.15, 0.10]])
COUNTRIES = ("England", "Scotland", "Wales", "Northern Ireland", "Ireland")
COUNTRY = np.array([[0.72, 0.10, 0.06, 0.05, 0.07], [0.68, 0.11, 0.08, 0.05, 0.08]])
# The last country has postcodes of another kind, of which no table knows.
ABROAD = len(COUNTRIES) - 1
ABROAD_CITIES = ("Carrigmoyle", "Dúnbeg")
CHANNELS: tuple[tuple[str | None, str | None], ...] = (
    # campaign, affiliate_url
    (None, None),
    (None, "https://odds-compare.example/go?to=7"),
    ("welcome_bonus", "https://bonus-hunter.example/offers?ref=41"),
    ("free_spins", "https://spin-deals.example/free?ref=8"),
    ("derby_day", "https://racing-tips.example/derby"),
    ("spring_league", "https://football-forum.example/r/552"),
    ("refer_a_friend", None),
)
CHANNEL = np.array(
    [
        [0.20, 0.14, 0.15, 0.12, 0.15, 0.12, 0.12],
        [0.14, 0.13, 0.23, 0.18, 0.11, 0.13, 0.08],
    ]
)

# Plays in the first 24 hours: the logarithm's mean and standard deviation.
FIRST_DAY = ((3.2, 1.0), (2.6, 1.0))
# Plays after them. A share of those who churn comes back on the second day.
LATER = ((5.0, 1.2), (1.8, 0.9))
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

# Postcodes in the format of the United Kingdom, in areas that it does not have.
AREAS: tuple[tuple[str, str, int], ...] = (
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
INWARD_LETTERS = "ABDEFGHJLNPQRSTUWXYZ"
UNITS = 30
SPARE_UNITS = 10
POSTCODE_SEED = 7
# Of players at home: a unit that the table lacks, and an outward code that it lacks.
UNKNOWN_UNIT = 0.015
UNKNOWN_OUTWARD = 0.015
# Share of messages that have id and use case as fields only, as attributes only.
IN_FIELDS_ONLY = 0.02
IN_ATTRIBUTES_ONLY = 0.02
# More than a message may have, and how many messages do.
HUGE_BYTES = 256 * 1024
HUGE_TURNS = 3

FIRST_NAMES = (
    *("Aisha", "Alun", "Beata", "Callum", "Chloë", "Daniel", "Eilidh", "Femi"),
    *("Gethin", "Hannah", "Ibrahim", "Jürgen", "Katie", "Łukasz", "Màiri", "Niamh"),
    *("Oliver", "Priya", "Ross", "Siân", "Tomás", "Una", "Wei", "Zoë"),
)
LAST_NAMES = (
    *("Abbott", "Begum", "Byrne", "Campbell", "Davies", "Evans", "Ferreira", "Green"),
    *("Hughes", "Jones", "Kaur", "Kowalski", "Lindström", "McArdle", "Ní Bhriain"),
    *("O'Neill", "Okafor", "Patel", "Quayle", "Reid", "Singh", "Taylor", "Ümit"),
    *("Walker", "Young"),
)
STREETS = (
    *("Station Road", "Mill Lane", "Church Street", "Castle View", "The Green"),
    *("Harbour Terrace", "Bryn Awel", "Lower Quay", "Orchard Close", "King's Parade"),
)

_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


# Postcodes ------------------------------------------------------------------------


@dataclass(frozen=True)
class _Gazetteer:
    """
    All postcodes: one row per unit, the districts that they lie in, and spare units.

    ``unit_*`` has a row per unit; ``outwards``, ``outward_area`` and ``spares`` one per
    district. A spare is a unit of the district that the table lacks.
    """

    unit_codes: list[str]
    unit_outward: Ints
    unit_level: Ints
    outwards: list[str]
    outward_area: Ints
    spares: list[list[str]]

    @property
    def unit_country(self) -> Ints:
        return np.array([area[2] for area in AREAS])[
            self.outward_area[self.unit_outward]
        ]

    def in_place(self, country: int, level: int) -> Ints:
        """Return the units of one index in a country."""
        return np.flatnonzero(
            (self.unit_country == country) & (self.unit_level == level)
        )

    @cached_property
    def outward_share(self) -> Floats:
        """Return countries × levels × districts: where the units of a level are."""
        share = np.zeros((ABROAD, INDEX_LEVELS, len(self.outwards)))
        for country in range(ABROAD):
            for level in range(INDEX_LEVELS):
                units = self.in_place(country, level + 1)
                np.add.at(share[country, level], self.unit_outward[units], 1)
                share[country, level] /= len(units)
        return share


@cache
def _gazetteer() -> _Gazetteer:
    """Draw every district with a level of its own, and units around it."""
    random = random_of(POSTCODE_SEED, "postcodes")
    outwards = [area + district for area, _, _ in AREAS for district in DISTRICTS]
    outward_area = np.repeat(np.arange(len(AREAS)), len(DISTRICTS))
    country = np.array([area[2] for area in AREAS])[outward_area]
    base = np.zeros(len(outwards), np.int64)
    for nation in range(ABROAD):
        # Every nation has districts, and so units, of every level.
        mine = np.flatnonzero(country == nation)
        levels = 1 + np.arange(len(mine)) % INDEX_LEVELS
        base[mine] = levels[shuffled(random, len(mine))]
    letters = [a + b for a in INWARD_LETTERS for b in INWARD_LETTERS]
    codes, spares = [], []
    for outward in outwards:
        chosen = shuffled(random, 10 * len(letters))[: UNITS + SPARE_UNITS].tolist()
        every = [f"{outward} {number % 10}{letters[number // 10]}" for number in chosen]
        codes += sorted(every[:UNITS])
        spares.append(every[UNITS:])
    unit_outward = np.repeat(np.arange(len(outwards)), UNITS)
    step = np.searchsorted([0.2, 0.8], random.random(len(codes))) - 1
    step[::UNITS] = 0
    level = np.clip(base[unit_outward] + step, 1, INDEX_LEVELS)
    return _Gazetteer(codes, unit_outward, level, outwards, outward_area, spares)


def postcodes() -> pa.Table:
    """
    Return the table of postcodes: ``postcode`` string, ``socioeconomic_idx`` float64.

    Written as in "QA1 2BD", sorted by district, with an index from 1 to 7 that varies
    little within an outward code. The same for every seed, as a country's are.
    """
    found = _gazetteer()
    return pa.table(
        {
            "postcode": pa.array(found.unit_codes),
            "socioeconomic_idx": pa.array(found.unit_level.astype(np.float64)),
        }
    )


# The process ----------------------------------------------------------------------


@dataclass(frozen=True)
class _Players:
    """
    One row per player, by time of registration; indices into the constants above.

    ``unit`` is the unit of the player's index, ``is_unit_known`` whether it is what
    they wrote, ``is_outward_known`` whether at least the outward code is.
    """

    registered_ms: Ints
    churns: Ints
    country: Ints
    channel: Ints
    age: Ints
    unit: Ints
    is_unit_known: Flags
    is_outward_known: Flags
    stake: Floats


@dataclass(frozen=True)
class _Play:
    """One row per play: whose, on which day since registration, when, what, cents."""

    player: Ints
    day: Ints
    time_ms: Ints
    kind: Ints
    cents: Ints


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
        end: Aware; no event is at this time or later, and no registration in the 24
            hours before.

    Raises:
        ValueError: An argument leaves nothing to generate.
    """

    seed: int = 42
    users: int = 2_000
    churn_rate: float = 0.7
    days: int = 84
    maximum_events: int = 1_000
    end: datetime = DEFAULT_END

    def __post_init__(self) -> None:
        wanted = {
            "a seed of 0 or more": self.seed >= 0,
            "at least 1 user": self.users >= 1,
            "a churn rate from 0 to 1": 0 <= self.churn_rate <= 1,
            "at least 2 days": self.days >= 2,
            "at least 3 events a player": self.maximum_events >= 3,
            "an end with a time zone": self.end.tzinfo is not None,
        }
        if missed := [want for want, is_met in wanted.items() if not is_met]:
            raise ValueError(f"wanted {', '.join(missed)}; got {self}")

    @property
    def first_date(self) -> date:
        """UTC day of the first possible registration."""
        return (self.end - timedelta(days=self.days)).astimezone(UTC).date()

    @property
    def user_ids(self) -> list[str]:
        """Every player's id, by time of registration."""
        return [f"player-{number:06d}" for number in range(1, self.users + 1)]

    @cached_property
    def _players(self) -> _Players:
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
                units = _gazetteer().in_place(nation, of_level)
                mine = (country == nation) & (level == of_level)
                unit[mine] = units[floor(where[mine] * len(units))]
        known = random.random(n)
        at_home = country != ABROAD
        return _Players(
            registered_ms=self._registrations(),
            churns=churns,
            country=country,
            channel=pick(random, CHANNEL[churns]),
            age=age,
            unit=unit,
            is_unit_known=at_home & (known >= UNKNOWN_UNIT + UNKNOWN_OUTWARD),
            is_outward_known=at_home & (known >= UNKNOWN_OUTWARD),
            stake=np.array(STAKE)[churns] + STAKE_SPREAD * normal(random, n),
        )

    @property
    def _end_ms(self) -> int:
        return (self.end - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(
            milliseconds=1
        )

    def _registrations(self) -> Ints:
        """Draw the moments of registration, in order, by hour and day of the week."""
        random = random_of(self.seed, "registrations")
        hours = np.arange((self.days - 1) * 24)
        start_ms = self._end_ms - self.days * DAY_MS
        clock = start_ms // HOUR_MS + hours
        # 1970 began on a Thursday.
        weight = HOURS[clock % 24] * WEEKDAYS[(clock // 24 + 3) % 7]
        chosen = np.searchsorted(
            np.cumsum(weight) / weight.sum(), random.random(self.users), side="right"
        )
        within = floor(random.random(self.users) * HOUR_MS)
        return np.sort(start_ms + np.minimum(chosen, len(hours) - 1) * HOUR_MS + within)

    @cached_property
    def _first_day_maximum(self) -> int:
        return max(1, int(FIRST_DAY_SHARE * (self.maximum_events - 1)))

    @cached_property
    def _play(self) -> _Play:
        """Everything that is played, in order of player."""
        random, players = random_of(self.seed, "play"), self._players
        registered, n = players.registered_ms, self.users
        first = np.minimum(
            _log_normal_count(random, FIRST_DAY, players.churns),
            self._first_day_maximum,
        )
        later = np.minimum(
            _log_normal_count(random, LATER, players.churns),
            self.maximum_events - 1 - first,
        )
        stays = players.churns == STAYS
        again = stays | (random.random(n) < SECOND_DAY)
        # Who stays is there after two days; that is what staying means.
        later = np.where(again, np.maximum(later, stays), 0)
        last_day = np.where(stays, 2 + floor(random.random(n) * (PLAY_DAYS - 2)), 1)

        player = np.repeat(np.arange(n), first + later)
        place = (
            np.arange(len(player)) - (np.cumsum(first + later) - first - later)[player]
        )
        is_later = place >= first[player]
        final = last_day[player]
        day = 1 + floor(random.random(len(player)) ** 1.2 * final)
        day = np.where(place == first[player], final, np.minimum(day, final))
        day = np.where(is_later, day, 0)

        starts = self._session_starts(random)
        session = pick(random, np.broadcast_to(SESSIONS, (len(player), 3)))
        start = starts[player, day, session]
        room = np.minimum(SESSION_MS, DAY_MS - start)
        time = start + floor(random.random(len(player)) ** 1.5 * room)
        time += registered[player] + day * DAY_MS
        kind = pick(random, MIX[players.churns[player]])
        stake = players.stake[player] + SHIFT[kind]
        amount = np.exp(stake + SPREAD[kind] * normal(random, len(player)))
        cents = np.clip(np.rint(100 * amount), 1, MAXIMUM_CENTS).astype(np.int64)
        free = (kind == BET) & (random.random(len(player)) < FREE_BETS)
        cents[free] = 0
        seen = time < self._end_ms
        return _Play(player[seen], day[seen], time[seen], kind[seen], cents[seen])

    def _session_starts(self, random: np.random.Generator) -> Ints:
        """
        Return players × days × sessions: milliseconds from the start of the day.

        A player's day begins at the hour of registration, and with it the first session
        of the first one; the others are when people play.
        """
        shape = (self.users, PLAY_DAYS, len(SESSIONS))
        hour = np.searchsorted(
            np.cumsum(HOURS) / HOURS.sum(), random.random(shape), side="right"
        )
        clock = np.minimum(hour, 23) * HOUR_MS + floor(random.random(shape) * HOUR_MS)
        starts = (clock - self._players.registered_ms[:, None, None]) % DAY_MS
        seconds = 5 + floor(random.random(self.users) * 240)
        starts[:, 0, 0] = seconds * SECOND_MS
        return starts

    # The truth --------------------------------------------------------------------

    def labels(self) -> dict[str, int]:
        """Return 1 for every user who churns and 0 for the others."""
        return dict(zip(self.user_ids, self._players.churns.tolist(), strict=True))

    def true_probabilities(self) -> dict[str, float]:
        """
        Compute P(churn | the registration and the first 24 hours) of every user.

        Bayes' rule on the process's own densities: of country, channel, age band, the
        postcode (the index of a unit; the outward code alone where the unit is not in
        the table; the city where that is not either), the number of plays, their mix,
        and their amounts given a stake that is normal around its group's mean. What
        rounding to the cent does to amounts is left out.
        """
        players, play = self._players, self._play
        first = play.day == 0
        player, kind = play.player[first], play.kind[first]
        cents = play.cents[first]
        count = np.bincount(player, minlength=self.users)
        band = np.searchsorted([oldest for _, oldest in AGES], players.age)
        log_odds = (
            _log_odds(COUNTRY)[players.country]
            + _log_odds(CHANNEL)[players.channel]
            + _log_odds(AGE)[band]
            + self._postcode_log_odds()
            + _log_odds(_count_density(self._first_day_maximum))[count]
            + np.bincount(player, _log_odds(MIX)[kind], self.users)
        )
        paid = cents > 0
        player, kind, weight = player[paid], kind[paid], SPREAD[kind[paid]] ** -2
        level = np.log(cents[paid] / 100) - SHIFT[kind]
        precision = np.bincount(player, weight, self.users)
        has_paid = precision > 0
        precision[~has_paid] = 1
        mean = np.bincount(player, weight * level, self.users) / precision
        variance = STAKE_SPREAD**2 + 1 / precision
        distance = (mean - STAKE[STAYS]) ** 2 - (mean - STAKE[CHURNS]) ** 2
        log_odds += np.where(has_paid, distance / (2 * variance), 0)
        rate = players.churns.mean()
        # A group without users is impossible, and some players leave no doubt.
        with np.errstate(divide="ignore", over="ignore"):
            log_odds += np.log(rate) - np.log1p(-rate)
            probability = 1 / (1 + np.exp(-log_odds))
        return dict(zip(self.user_ids, probability.tolist(), strict=True))

    def _postcode_log_odds(self) -> Floats:
        players, places = self._players, _gazetteer()
        by_level = _log_odds(INDEX)[places.unit_level[players.unit] - 1]
        # groups × countries × districts: the levels' chances, spread over districts.
        density = np.einsum("gl,cld->gcd", INDEX, places.outward_share)
        outward = places.unit_outward[players.unit]
        by_area = density.reshape(*density.shape[:2], len(AREAS), -1).sum(axis=3)
        home = np.minimum(players.country, ABROAD - 1)
        stays, churns = np.where(
            players.is_outward_known,
            density[:, home, outward],
            by_area[:, home, places.outward_area[outward]],
        )
        by_place = np.zeros(self.users)
        at_home = players.country != ABROAD
        by_place[at_home] = np.log(churns[at_home] / stays[at_home])
        found: Floats = np.where(players.is_unit_known, by_level, by_place)
        return found

    def optimum_roc_auc(self) -> float:
        """
        Return the ROC AUC of the true probabilities on the labels.

        No model of the first 24 hours ranks better but by chance.

        Raises:
            ValueError: All users are of one group.
        """
        from sklearn.metrics import roc_auc_score

        labels = self._players.churns
        if not 0 < labels.sum() < len(labels):
            raise ValueError("a ROC AUC needs users who churn and users who stay")
        return float(roc_auc_score(labels, list(self.true_probabilities().values())))

    # The events -------------------------------------------------------------------

    @property
    def n_events(self) -> int:
        """Events in all, registrations among them."""
        return self.users + len(self._play.player)

    def events(self) -> Iterator[Event]:
        """
        Yield every event as its JSON object, in order of time.

        Times are text in UTC to the millisecond, amounts Decimal with two decimals, the
        rest text, None, or for the label int. Each event is a new dict.
        """
        play, players, n = self._play, self._players, self.users
        time = np.concatenate([players.registered_ms, play.time_ms])
        # Stable: who registers in the millisecond of another's play comes first.
        order = np.argsort(time, kind="stable")
        player = np.concatenate([np.arange(n), play.player])[order].tolist()
        kind = np.concatenate([np.full(n, len(PLAYS)), play.kind])[order].tolist()
        cents = np.concatenate([np.zeros(n, np.int64), play.cents])[order].tolist()
        moments = np.datetime_as_string(time[order].astype("datetime64[ms]")).tolist()
        ids = uuids(random_of(self.seed, "event ids"), len(order))
        registrations, user_ids = self._registered(), self.user_ids
        types = (*PLAYS, REGISTRATION)
        for i, event_id in enumerate(ids):
            event_type = types[kind[i]]
            event: Event = {
                "event_id": event_id,
                "use_case": USE_CASE,
                "user_id": user_ids[player[i]],
                "event_type": event_type,
                "event_time": moments[i] + "Z",
            }
            if event_type == REGISTRATION:
                event |= registrations[player[i]]
            else:
                event[AMOUNT_FIELDS[event_type]] = Decimal(cents[i]).scaleb(-2)
            yield event

    def payloads(self) -> Iterator[tuple[bytes, dict[str, str]]]:
        """Yield every event as a message's data and attributes, in order of time."""
        for event in self.events():
            yield encode(event), attributes_of(event)

    def _registered(self) -> list[Event]:
        """Return the fields of every registration."""
        random, players = random_of(self.seed, "registrations' fields"), self._players
        n = self.users
        first = _choice(random, FIRST_NAMES, n)
        last = _choice(random, LAST_NAMES, n)
        street = _choice(random, STREETS, n)
        house = (1 + floor(random.random(n) * 180)).tolist()
        days = floor(random.random(n) * 364).tolist()
        codes, cities = self._addresses(random)
        rows = []
        for i in range(n):
            campaign, affiliate_url = CHANNELS[players.channel[i]]
            registered = moment(int(players.registered_ms[i])).date()
            birthday = _years_before(registered, int(players.age[i]))
            rows.append(
                {
                    "name": f"{first[i]} {last[i]}",
                    "date_of_birth": str(birthday - timedelta(days=days[i])),
                    "street_address": f"{house[i]} {street[i]}",
                    "city": cities[i],
                    "country": COUNTRIES[players.country[i]],
                    "postcode": codes[i],
                    "affiliate_url": affiliate_url,
                    "campaign": campaign,
                    "label": int(players.churns[i]),
                }
            )
        return rows

    def _addresses(self, random: np.random.Generator) -> tuple[list[str], list[str]]:
        """Return postcodes as they were typed, and cities."""
        players, places = self._players, _gazetteer()
        spelling = random.random(self.users).tolist()
        draws = random.random((self.users, 2)).tolist()
        codes, cities = [], []
        for i, unit in enumerate(players.unit.tolist()):
            outward = int(places.unit_outward[unit])
            one, other = draws[i]
            city = AREAS[places.outward_area[outward]][1]
            if players.country[i] == ABROAD:
                code = f"Q{int(one * 90):02d} {_code(int(other * 36**4), 4)}"
                city = ABROAD_CITIES[int(one * len(ABROAD_CITIES))]
            elif not players.is_outward_known[i]:
                letter = INWARD_LETTERS[int(one * len(INWARD_LETTERS))]
                code = f"ZZ{int(other * 90) + 1} {int(one * 10)}{letter}{letter}"
            elif not players.is_unit_known[i]:
                code = places.spares[outward][int(one * SPARE_UNITS)]
            else:
                code = places.unit_codes[unit]
            codes.append(_misspelt(code, spelling[i]))
            cities.append(city)
        return codes, cities

    # What is sent -----------------------------------------------------------------

    def deliveries(
        self,
        *,
        duplicates: float = 0.10,
        late: float = 0.05,
        broken: float = 0.01,
        seed: int = 0,
    ) -> list[Delivery]:
        """
        Return what a producer sends, in the order of sending.

        Every event is sent once, some after up to ten minutes without a connection.
        Beside them are exact repetitions, most within minutes and some after days, and
        messages that can never be accepted; those are made from events, under ids of
        their own, so that no event is lost with them.

        Args:
            duplicates: Repetitions, as a share of the events.
            late: Share of the events that are sent one to five days late.
            broken: Messages that cannot be accepted, as a share of the events. All
                ``FAULTS`` take turns, the huge ones for three turns.
            seed: With ``self.seed``, of everything that is drawn here.

        Raises:
            ValueError: A share is negative, or more than all events are to be late.
        """
        if min(duplicates, late, broken) < 0 or late > 1:
            raise ValueError(
                "wanted shares of 0 or more, and at most 1 late; got "
                f"duplicates={duplicates}, late={late}, broken={broken}"
            )
        random = random_of(self.seed, f"deliveries {seed}")
        events = list(self.events())
        n = len(events)
        sent_ms = np.array([milliseconds(_instant(e["event_time"])) for e in events])
        sent_ms += latency_ms(random, n)
        is_late = np.zeros(n, bool)
        is_late[shuffled(random, n)[: round(n * late)]] = True
        sent_ms += np.where(is_late, floor((1 + 4 * random.random(n)) * DAY_MS), 0)
        messages = [
            _message(event, style)
            for event, style in zip(events, random.random(n).tolist(), strict=True)
        ]
        made = [
            Delivery(
                data=data,
                attributes=attributes,
                sent_time=moment(sent),
                event=event,
                is_late=was_late,
            )
            for (data, attributes), event, sent, was_late in zip(
                messages, events, sent_ms.tolist(), is_late.tolist(), strict=True
            )
        ]

        extra = round(n * duplicates)
        again = floor(random.random(extra) * n)
        wait_ms = 200 + exponential(random, extra, 90 * SECOND_MS)
        days_ms = floor(random.random(extra) * 3 * DAY_MS)
        wait_ms += np.where(random.random(extra) < 0.1, days_ms, 0)
        for which, wait in zip(again.tolist(), wait_ms.tolist(), strict=True):
            first = made[which]
            made.append(
                Delivery(
                    data=first.data,
                    attributes=first.attributes,
                    sent_time=first.sent_time + timedelta(milliseconds=wait),
                    event=first.event,
                    is_late=first.is_late,
                    is_duplicate=True,
                )
            )
        made += self._broken(random, events, round(n * broken))
        return sorted(made, key=lambda delivery: delivery.sent_time)

    def _broken(
        self, random: np.random.Generator, events: list[Event], count: int
    ) -> list[Delivery]:
        """Spoil copies of events, every fault in its turn."""
        pools: dict[bool, list[Event]] = {False: [], True: []}
        for event in events:
            pools[event["event_type"] == REGISTRATION].append(event)
        names = [name for name, fault in FAULTS.items() if pools[fault.of_registration]]
        lean = [name for name in names if FAULTS[name].reason != "too_large"]
        turns = (names * HUGE_TURNS)[:count]
        turns += [lean[i % len(lean)] for i in range(count - len(turns))]
        ids = uuids(random, count)
        wait_ms = latency_ms(random, count).tolist()
        made = []
        for name, event_id, wait, where in zip(
            turns, ids, wait_ms, random.random(count).tolist(), strict=True
        ):
            fault = FAULTS[name]
            pool = pools[fault.of_registration]
            event = pool[int(where * len(pool))] | {"event_id": event_id}
            sent_ms = milliseconds(_instant(event["event_time"])) + wait
            made.append(
                Delivery(
                    data=fault.spoil(event),
                    attributes=attributes_of({**event, **fault.attributes}),
                    sent_time=moment(sent_ms),
                    event=None,
                    reason=fault.reason,
                    fault=name,
                )
            )
        return made


# Messages -------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """
    One message as it is sent, and what it is.

    ``event`` is what has to be stored, with its id and use case wherever they were
    sent, and None for what can never be; then ``reason`` is the dead letter's reason
    and ``fault`` names one of ``FAULTS``.
    """

    data: bytes
    attributes: Mapping[str, str]
    sent_time: datetime
    event: Event | None
    is_duplicate: bool = False
    is_late: bool = False
    reason: str | None = None
    fault: str | None = None


def encode(event: Mapping[str, Any]) -> bytes:
    """Return an event as compact JSON in UTF-8, a Decimal as the number it reads as."""
    fields = ",".join(
        f'"{name}":{value:f}'
        if isinstance(value, Decimal)
        else f'"{name}":{_json(value)}'
        for name, value in event.items()
    )
    return f"{{{fields}}}".encode()


def attributes_of(event: Mapping[str, Any]) -> dict[str, str]:
    """Return the attributes that a message with this event has."""
    return {name: event[name] for name in ("event_id", "use_case", "event_type")}


def _message(event: Event, style: float) -> tuple[bytes, dict[str, str]]:
    """Write id and use case as fields and attributes, or as one of them only."""
    if style < IN_FIELDS_ONLY:
        return encode(event), {}
    if style < IN_FIELDS_ONLY + IN_ATTRIBUTES_ONLY:
        bare = {k: v for k, v in event.items() if k not in {"event_id", "use_case"}}
        return encode(bare), attributes_of(event)
    return encode(event), attributes_of(event)


Spoil = Callable[[Event], bytes]


@dataclass(frozen=True)
class Fault:
    """
    One way to spoil an event, and the reason that its dead letter must have.

    ``of_registration``: whether registrations are spoilt, else purchases, bets and
    wins. ``attributes`` replaces what the message's attributes say.
    """

    reason: str
    spoil: Spoil
    of_registration: bool = False
    attributes: Mapping[str, str] = field(default_factory=dict)


def _with(**fields: Any) -> Spoil:
    return lambda event: encode(event | fields)


def _without(name: str) -> Spoil:
    return lambda event: encode({k: v for k, v in event.items() if k != name})


def _with_amount(amount: Any) -> Spoil:
    return lambda event: encode(event | {AMOUNT_FIELDS[event["event_type"]]: amount})


def _without_amount(event: Event) -> bytes:
    return _without(AMOUNT_FIELDS[event["event_type"]])(event)


def _with_name(name: bytes) -> Spoil:
    """Write a name that is not UTF-8, in JSON that is otherwise whole."""
    return lambda event: encode(event | {"name": "NAME"}).replace(b"NAME", name)


FAULTS: Mapping[str, Fault] = {
    "cut short": Fault("malformed_json", lambda event: encode(event)[:-12]),
    "trailing comma": Fault("malformed_json", lambda event: encode(event)[:-1] + b",}"),
    "Python's quotes": Fault(
        "malformed_json", lambda event: encode(event).replace(b'"', b"'")
    ),
    "empty": Fault("malformed_json", lambda _: b""),
    "truncated UTF-8": Fault(
        "wrong_encoding", _with_name(b"Zo\xc3"), of_registration=True
    ),
    "Latin-1": Fault(
        "wrong_encoding", _with_name("Zoë".encode("latin-1")), of_registration=True
    ),
    "huge": Fault(
        "too_large", _with(street_address="x" * HUGE_BYTES), of_registration=True
    ),
    "unknown use case": Fault(
        "unknown_use_case",
        _with(use_case="no_such_case"),
        attributes={"use_case": "no_such_case"},
    ),
    "unknown type": Fault(
        "unknown_event_type",
        _with(event_type="new_deposit"),
        attributes={"event_type": "new_deposit"},
    ),
    "no amount": Fault("missing_field", _without_amount),
    "no user": Fault("missing_field", _without("user_id")),
    "no time": Fault("missing_field", _without("event_time")),
    "no postcode": Fault("missing_field", _without("postcode"), of_registration=True),
    "amount as text": Fault("wrong_type", _with_amount("12.30")),
    "amount as flag": Fault("wrong_type", _with_amount(True)),
    "user as number": Fault("wrong_type", _with(user_id=123)),
    "city as list": Fault("wrong_type", _with(city=["Dunmere"]), of_registration=True),
    "negative": Fault("bad_amount", _with_amount(Decimal("-0.01"))),
    "too much": Fault("bad_amount", _with_amount(Decimal("1000000000.01"))),
    "three decimals": Fault("bad_amount", _with_amount(Decimal("12.345"))),
    "not a number": Fault("not_finite", _with_amount(Decimal("NaN"))),
    "infinite": Fault("not_finite", _with_amount(Decimal("Infinity"))),
    "far future": Fault("bad_time", _with(event_time="2999-12-31T23:59:59.000Z")),
    "time in words": Fault("bad_time", _with(event_time="yesterday")),
    "no such day": Fault("bad_time", _with(event_time="2026-02-30T12:00:00.000Z")),
    "nobody": Fault("bad_value", _with(user_id="")),
    "label 7": Fault("bad_value", _with(label=7), of_registration=True),
    "born too early": Fault(
        "bad_value", _with(date_of_birth="1790-01-01"), of_registration=True
    ),
}


# The features that must come out ----------------------------------------------------


def expected_features(
    events: Iterable[Mapping[str, Any]], *, cut_off: timedelta | None = None
) -> dict[str, dict[str, Any]]:
    """
    Compute the stream's twelve features of every user, in rational numbers.

    By the textbook, and with nothing of the stream's code: amounts are read as the
    decimals that they are written as, the mean is their sum over their count, the
    variance the sum of squared distances from the mean over the count less one. Only
    then, once, is a result rounded: half away from zero, to nine decimals.

    Args:
        events: In any order, as ``Games.events`` yields them or as JSON decodes them.
            Those with the same use case, user, UTC day and event id count once. An
            amount is a Decimal, int, str or float; a float is the decimal it prints as.
        cut_off: None: all events. Else those before a user's first registration plus
            this; a user without a registration has no row then.

    Returns:
        For each user id ``purchase_count`` (int), ``purchase_sum`` (Decimal, exact),
        ``purchase_mean`` (None without events) and ``purchase_var`` (None below two),
        and the same of ``bet`` and ``win``.

    Raises:
        ValueError: An amount is not finite.
    """
    counted: dict[tuple[Any, ...], tuple[Mapping[str, Any], datetime]] = {}
    registered: dict[str, datetime] = {}
    for event in events:
        user, time = event["user_id"], _instant(event["event_time"])
        key = (event.get("use_case"), user, time.date(), event["event_id"])
        counted.setdefault(key, (event, time))
        if event["event_type"] == REGISTRATION:
            registered[user] = min(time, registered.get(user, time))
    amounts: dict[str, dict[str, list[Fraction]]] = defaultdict(
        lambda: {measure: [] for measure in MEASURES.values()}
    )
    for event, time in counted.values():
        user, event_type = event["user_id"], event["event_type"]
        if cut_off is not None and (
            user not in registered or time >= registered[user] + cut_off
        ):
            continue
        mine = amounts[user]
        if event_type in MEASURES:
            amount = Fraction(str(event[AMOUNT_FIELDS[event_type]]))
            mine[MEASURES[event_type]].append(amount)
    return {
        user: {
            name: value
            for measure, found in mine.items()
            for name, value in _statistics(measure, found).items()
        }
        for user, mine in amounts.items()
    }


def _statistics(measure: str, amounts: Sequence[Fraction]) -> dict[str, Any]:
    """Return count, sum, mean and sample variance, each under its feature's name."""
    count = len(amounts)
    total = sum(amounts, Fraction(0))
    mean = total / count if count else None
    variance = None
    if mean is not None and count > 1:
        squares = sum(((x - mean) ** 2 for x in amounts), Fraction(0))
        variance = rounded(squares / (count - 1))
    return {
        f"{measure}_count": count,
        f"{measure}_sum": rounded(total, decimals=2),
        f"{measure}_mean": None if mean is None else rounded(mean),
        f"{measure}_var": variance,
    }


def rounded(exact: Fraction, *, decimals: int = 9) -> Decimal:
    """Round half away from zero, whatever the context's precision is."""
    units = math.floor(abs(exact) * 10**decimals + Fraction(1, 2))
    digits = tuple(int(digit) for digit in str(units))
    return Decimal((int(exact < 0), digits, -decimals))


def _instant(time: str | datetime) -> datetime:
    """Return a time in UTC; one without an offset is in UTC."""
    moment = datetime.fromisoformat(time) if isinstance(time, str) else time
    return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)


# Drawing --------------------------------------------------------------------------


def _choice(random: np.random.Generator, values: Sequence[str], n: int) -> list[str]:
    return [values[i] for i in floor(random.random(n) * len(values)).tolist()]


def _log_normal_count(
    random: np.random.Generator,
    parameters: tuple[tuple[float, float], tuple[float, float]],
    group: Ints,
) -> Ints:
    """Draw whole numbers from 0, the floor of log-normal ones, by group."""
    mean, spread = np.array(parameters)[group].T
    return floor(np.exp(mean + spread * normal(random, len(group))))


def _count_density(maximum: int) -> Floats:
    """Return groups × 0 to maximum: how likely as many plays are on the first day."""
    rows = []
    for mean, spread in FIRST_DAY:
        above = [1.0]
        for count in range(1, maximum + 1):
            above.append(
                math.erfc((math.log(count) - mean) / spread / math.sqrt(2)) / 2
            )
        rows.append(np.array(above) - np.array([*above[1:], 0.0]))
    return np.array(rows)


def _log_odds(density: Floats) -> Floats:
    """Return the log of how much likelier each column is for those who churn."""
    odds: Floats = np.log(density[CHURNS] / density[STAYS])
    return odds


def _years_before(day: date, years: int) -> date:
    """Return the latest birthday that makes someone as old on this day."""
    if (day.month, day.day) == (2, 29):
        day = day.replace(day=28)
    return day.replace(year=day.year - years)


def _code(number: int, length: int) -> str:
    alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return "".join(alphabet[number // 36**i % 36] for i in range(length))


def _misspelt(postcode: str, how: float) -> str:
    """Write a postcode as people do: eight in ten as it should be."""
    spellings = (
        (0.80, postcode),
        (0.88, postcode.lower()),
        (0.94, postcode.replace(" ", "")),
        (0.97, postcode.replace(" ", "").lower()),
        (0.985, postcode.replace(" ", "  ")),
        (1.0, f" {postcode} "),
    )
    return next(spelling for share, spelling in spellings if how < share)


# The command line -------------------------------------------------------------------


def _lines(games: Games, *, faults: bool) -> Iterator[bytes]:
    """
    Yield events, one a line, or with faults the messages as Pub/Sub's JSON writes them.

    A broken message may not be a line of text, and attributes belong to a message.
    """
    if not faults:
        for data, _ in games.payloads():
            yield data
        return
    for delivery in games.deliveries():
        message = {
            "data": base64.b64encode(delivery.data).decode(),
            "attributes": delivery.attributes,
        }
        yield _json(message).encode()


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and write."""
    parser = argparse.ArgumentParser(
        "python -m local.synthesize_games",
        description="Events of a gaming operator, one JSON object a line.",
    )
    parser.add_argument("out", type=Path, metavar="OUT.ndjson", help="file to write")
    parser.add_argument("--users", type=int, default=Games.users)
    parser.add_argument("--maximum-events", type=int, default=Games.maximum_events)
    parser.add_argument("--days", type=int, default=Games.days)
    parser.add_argument("--seed", type=int, default=Games.seed)
    parser.add_argument(
        "--end",
        type=_instant,
        default=Games.end,
        help="moment before which everything happens, UTC if it names no zone",
    )
    parser.add_argument(
        "--faults",
        action="store_true",
        help="messages as sent: duplicates, late and broken ones, data in base64",
    )
    parser.add_argument("--postcodes", type=Path, metavar="FILE.csv")
    given = parser.parse_args(arguments)
    try:
        games = Games(
            seed=given.seed,
            users=given.users,
            maximum_events=given.maximum_events,
            days=given.days,
            end=given.end,
        )
    except ValueError as error:
        parser.error(str(error))
    if given.postcodes:
        csv.write_csv(postcodes(), given.postcodes)
    with given.out.open("wb") as file:
        lines = _lines(games, faults=given.faults)
        total = None if given.faults else games.n_events
        with bar("writing", unit=" lines", total=total) as counted:
            for line in lines:
                file.write(line + b"\n")
                counted.update()


if __name__ == "__main__":
    main()
