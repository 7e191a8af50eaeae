"""What players write when they register, and their postcodes: all made up."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import cache

import numpy as np
import pyarrow as pa

from local.generators.drawing import (
    Flags,
    Floats,
    Ints,
    moment,
    random_of,
    shuffled,
)
from local.generators.messages import Event

COUNTRIES = ("England", "Scotland", "Wales", "Northern Ireland", "Ireland")
# The last country has postcodes of another kind, which no table has.
ABROAD = len(COUNTRIES) - 1
CITY_ABROAD = "Dúnbeg"
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
# Units of each district in the table. It has none of a letter Z.
UNITS = 30
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
NAMES = ("Aisha Begum", "Gethin Davies", "Jürgen Lindström", "Zoë Ní Bhriain")


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
    """All units: code, district and index from 1 to 7."""

    codes: list[str]
    district: Ints
    level: Ints

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
    codes = []
    for name in districts:
        drawn = shuffled(random, 10 * len(letters))[:UNITS].tolist()
        codes += sorted(
            f"{name} {number % 10}{letters[number // 10]}" for number in drawn
        )
    district = np.repeat(np.arange(len(districts)), UNITS)
    step = np.searchsorted([0.2, 0.8], random.random(len(codes))) - 1
    # Each district has a unit of its own index, and each country all of them.
    step[::UNITS] = 0
    level = np.clip(base[district] + step, 1, INDEX_LEVELS)
    return _Gazetteer(codes, district, level)


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


def registered(players: Players) -> list[Event]:
    """Return the fields of each registration."""
    rows = []
    for i in range(len(players.churns)):
        campaign, affiliate_url = CHANNELS[players.channel[i]]
        day = moment(int(players.registered_ms[i])).date()
        birthday = day.replace(day=min(day.day, 28), year=day.year - players.age[i])
        code, city = _address(players, i)
        # Two in ten type it otherwise.
        spelling = {8: code.lower(), 9: code.replace(" ", "")}.get(i % 10, code)
        rows.append(
            {
                "name": NAMES[i % len(NAMES)],
                "date_of_birth": str(birthday - timedelta(days=i % 364)),
                "street_address": f"{1 + i % 180} King's Parade",
                "city": city,
                "country": COUNTRIES[players.country[i]],
                "postcode": spelling,
                "affiliate_url": affiliate_url,
                "campaign": campaign,
                "label": int(players.churns[i]),
            }
        )
    return rows


def _address(players: Players, i: int) -> tuple[str, str]:
    """Return the postcode and the city of a player."""
    places, unit = gazetteer(), players.unit[i]
    city = AREAS[int(places.district[unit]) // len(DISTRICTS)][1]
    if players.country[i] == ABROAD:
        return f"Q{i % 90:02d} {i:06d}", CITY_ABROAD
    if not players.is_district_known[i]:
        return f"ZZ{1 + i % 90} 1AA", city
    known = places.codes[unit]
    return known if players.is_unit_known[i] else f"{known[:-3]}1ZZ", city
