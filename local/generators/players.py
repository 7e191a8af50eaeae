"""What players write when they register, and their postcodes: all made up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache

import numpy as np
import pyarrow as pa

from local.generators.drawing import (
    Flags,
    Floats,
    Ints,
    floor,
    moment,
    random_of,
    shuffled,
)
from local.generators.messages import Event

COUNTRIES = ("England", "Scotland", "Wales", "Northern Ireland", "Ireland")
# The last country has postcodes of another kind, which no table has.
ABROAD = len(COUNTRIES) - 1
ABROAD_CITIES = ("Carrigmoyle", "Dúnbeg")
# Postcodes in the format of the United Kingdom, in areas that it does not have.
AREAS = (
    # area, city, country
    *(("QA", "Ambermouth", 0), ("QD", "Dunmere", 0), ("QL", "Lanthorpe", 0)),
    *(("XB", "Brackenford", 0), ("XT", "Thornwick", 0), ("V", "Vellinsham", 0)),
    *(("XG", "Glenarrick", 1), ("XK", "Kirkmorran", 1), ("QW", "Porthwen", 2)),
    *(("XN", "Nantmôr", 2), ("XY", "Ballycarrow", 3), ("VA", "Ardnashee", 3)),
)
DISTRICTS = ("1", "2", "3", "4A", "7", "11", "15", "28")
LETTERS = "ABDEFGHJLNPQRSTUWXYZ"
INDEX_LEVELS = 7
# Of each district: units in the table, and units that it lacks.
UNITS, SPARE_UNITS = 30, 10
# Campaign and affiliate.
CHANNELS: tuple[tuple[str | None, str | None], ...] = (
    (None, None),
    (None, "https://odds-compare.example/go?to=7"),
    ("welcome_bonus", "https://bonus-hunter.example/offers?ref=41"),
    ("free_spins", "https://spin-deals.example/free?ref=8"),
    ("derby_day", "https://racing-tips.example/derby"),
    ("spring_league", "https://football-forum.example/r/552"),
    ("refer_a_friend", None),
)
FIRST_NAMES = ("Aisha", "Chloë", "Gethin", "Jürgen", "Łukasz", "Niamh", "Wei", "Zoë")
LAST_NAMES = ("Begum", "Davies", "Lindström", "Ní Bhriain", "O'Neill", "Patel")
STREETS = ("Station Road", "Mill Lane", "Bryn Awel", "King's Parade")


@dataclass(frozen=True)
class Players:
    """
    One row for each player, by time of registration; indices into tuples above.

    ``unit`` is where the player lives. Who mistypes it, writes another unit of the
    district, or another district altogether where not ``is_district_known``.
    """

    registered_ms: Ints
    churns: Ints
    country: Ints
    channel: Ints
    age: Ints
    unit: Ints
    is_unit_known: Flags
    is_district_known: Flags
    stake: Floats


@dataclass(frozen=True)
class _Gazetteer:
    """All units: code, district and index from 1 to 7; spare codes by district."""

    codes: list[str]
    district: Ints
    level: Ints
    spares: list[list[str]]

    def units(self, country: int, level: int) -> Ints:
        """Return the units of one index in a country."""
        countries = np.array([of for _, _, of in AREAS])
        at = countries[self.district // len(DISTRICTS)] == country
        return np.flatnonzero(at & (self.level == level))


@cache
def gazetteer() -> _Gazetteer:
    """Draw an index for each district, and units around it; the same for every seed."""
    random = random_of(7, "postcodes")
    districts = [area + district for area, _, _ in AREAS for district in DISTRICTS]
    country = np.repeat([of for _, _, of in AREAS], len(DISTRICTS))
    base = np.zeros(len(districts), np.int64)
    for nation in range(ABROAD):
        theirs = np.flatnonzero(country == nation)
        levels = 1 + np.arange(len(theirs)) % INDEX_LEVELS
        base[theirs] = levels[shuffled(random, len(theirs))]
    letters = [a + b for a in LETTERS for b in LETTERS]
    codes, spares = [], []
    for name in districts:
        drawn = shuffled(random, 10 * len(letters))[: UNITS + SPARE_UNITS].tolist()
        every = [f"{name} {number % 10}{letters[number // 10]}" for number in drawn]
        codes += sorted(every[:UNITS])
        spares.append(every[UNITS:])
    district = np.repeat(np.arange(len(districts)), UNITS)
    step = np.searchsorted([0.2, 0.8], random.random(len(codes))) - 1
    # Each district has a unit of its own index, and each country all of them.
    step[::UNITS] = 0
    level = np.clip(base[district] + step, 1, INDEX_LEVELS)
    return _Gazetteer(codes, district, level, spares)


def postcodes() -> pa.Table:
    """
    Return the table of postcodes, the same for every seed.

    Returns:
        ``postcode`` string, as in "QA1 2BD", and ``socioeconomic_idx`` float64, a whole
        number from 1 to 7 that varies little within a district.
    """
    places = gazetteer()
    level = places.level.astype(np.float64)
    return pa.table({"postcode": places.codes, "socioeconomic_idx": level})


def registered(players: Players, seed: int) -> list[Event]:
    """Return the fields of each registration."""
    random = random_of(seed, "registrations' fields")
    n = len(players.churns)
    first, last, street = (
        _choice(random, names, n) for names in (FIRST_NAMES, LAST_NAMES, STREETS)
    )
    house = (1 + floor(random.random(n) * 180)).tolist()
    days = floor(random.random(n) * 364).tolist()
    spelling = random.random(n).tolist()
    draws = random.random((n, 2)).tolist()
    rows = []
    for i in range(n):
        campaign, affiliate_url = CHANNELS[players.channel[i]]
        day = moment(int(players.registered_ms[i])).date()
        birthday = _years_before(day, int(players.age[i]))
        code, city = _address(players, i, *draws[i])
        rows.append(
            {
                "name": f"{first[i]} {last[i]}",
                "date_of_birth": str(birthday - timedelta(days=days[i])),
                "street_address": f"{house[i]} {street[i]}",
                "city": city,
                "country": COUNTRIES[players.country[i]],
                "postcode": _typed(code, spelling[i]),
                "affiliate_url": affiliate_url,
                "campaign": campaign,
                "label": int(players.churns[i]),
            }
        )
    return rows


def _address(players: Players, i: int, first: float, second: float) -> tuple[str, str]:
    """Return the postcode and the city of a player."""
    places, unit = gazetteer(), players.unit[i]
    district = int(places.district[unit])
    city = AREAS[district // len(DISTRICTS)][1]
    if players.country[i] == ABROAD:
        city = ABROAD_CITIES[int(first * len(ABROAD_CITIES))]
        return f"Q{int(first * 90):02d} {int(second * 36**4):06d}", city
    if not players.is_district_known[i]:
        letter = LETTERS[int(first * len(LETTERS))]
        return f"ZZ{int(second * 90) + 1} {int(first * 10)}{letter}{letter}", city
    if not players.is_unit_known[i]:
        return places.spares[district][int(first * SPARE_UNITS)], city
    return places.codes[unit], city


def _typed(postcode: str, how: float) -> str:
    """Return a postcode as people type it: eight in ten as it should be."""
    spellings = (postcode, postcode.lower(), postcode.replace(" ", ""))
    return spellings[int(np.searchsorted([0.8, 0.9], how))]


def _choice(random: np.random.Generator, values: Sequence[str], n: int) -> list[str]:
    return [values[i] for i in floor(random.random(n) * len(values)).tolist()]


def _years_before(day: date, years: int) -> date:
    if (day.month, day.day) == (2, 29):
        day = day.replace(day=28)
    return day.replace(year=day.year - years)
