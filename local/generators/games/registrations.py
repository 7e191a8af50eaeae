"""What players write when they register: names, addresses, postcodes as typed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from local.generators.delivery import Event
from local.generators.drawing import Flags, Floats, Ints, floor, moment, random_of
from local.generators.games.towns import (
    ABROAD,
    ABROAD_CITIES,
    AREAS,
    COUNTRIES,
    INDEX,
    INWARD_LETTERS,
    SPARE_UNITS,
    base36,
    gazetteer,
    misspelt,
)
from local.generators.games.world import churn_log_odds

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


@dataclass(frozen=True)
class Players:
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


def registered(players: Players, seed: int) -> list[Event]:
    """Return the fields of every registration."""
    random = random_of(seed, "registrations' fields")
    n = len(players.churns)
    first = _choice(random, FIRST_NAMES, n)
    last = _choice(random, LAST_NAMES, n)
    street = _choice(random, STREETS, n)
    house = (1 + floor(random.random(n) * 180)).tolist()
    days = floor(random.random(n) * 364).tolist()
    codes, cities = _addresses(random, players)
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


def _addresses(
    random: np.random.Generator, players: Players
) -> tuple[list[str], list[str]]:
    """Return postcodes as they were typed, and cities."""
    places, n = gazetteer(), len(players.churns)
    spelling = random.random(n).tolist()
    draws = random.random((n, 2)).tolist()
    codes, cities = [], []
    for i, unit in enumerate(players.unit.tolist()):
        outward = int(places.unit_outward[unit])
        first, second = draws[i]
        city = AREAS[places.outward_area[outward]][1]
        if players.country[i] == ABROAD:
            code = f"Q{int(first * 90):02d} {base36(int(second * 36**4))}"
            city = ABROAD_CITIES[int(first * len(ABROAD_CITIES))]
        elif not players.is_outward_known[i]:
            letter = INWARD_LETTERS[int(first * len(INWARD_LETTERS))]
            code = f"ZZ{int(second * 90) + 1} {int(first * 10)}{letter}{letter}"
        elif not players.is_unit_known[i]:
            code = places.spares[outward][int(first * SPARE_UNITS)]
        else:
            code = places.unit_codes[unit]
        codes.append(misspelt(code, spelling[i]))
        cities.append(city)
    return codes, cities


def _choice(random: np.random.Generator, values: Sequence[str], n: int) -> list[str]:
    return [values[i] for i in floor(random.random(n) * len(values)).tolist()]


def _years_before(day: date, years: int) -> date:
    """Return the latest birthday that makes someone as old on this day."""
    if (day.month, day.day) == (2, 29):
        day = day.replace(day=28)
    return day.replace(year=day.year - years)


def postcode_log_odds(players: Players) -> Floats:
    """Return the log-odds of churn that the players' postcodes are evidence of."""
    places = gazetteer()
    by_level = churn_log_odds(INDEX)[places.unit_level[players.unit] - 1]
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
    by_place = np.zeros(len(players.unit))
    at_home = players.country != ABROAD
    by_place[at_home] = np.log(churns[at_home] / stays[at_home])
    log_odds: Floats = np.where(players.is_unit_known, by_level, by_place)
    return log_odds
