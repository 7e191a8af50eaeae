"""The operator's country: areas, districts and postcodes of no real place."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import pyarrow as pa

from local.generators.drawing import Floats, Ints, random_of, shuffled

INDEX_LEVELS = 7
INDEX = np.array(
    [
        [0.04, 0.07, 0.12, 0.17, 0.21, 0.21, 0.18],
        [0.17, 0.20, 0.20, 0.17, 0.13, 0.08, 0.05],
    ]
)
COUNTRIES = ("England", "Scotland", "Wales", "Northern Ireland", "Ireland")
# The last country has postcodes of another kind, of which no table knows.
ABROAD = len(COUNTRIES) - 1
ABROAD_CITIES = ("Carrigmoyle", "Dúnbeg")


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

    def in_place(self, country: int, level: int) -> Ints:
        """Return the units of one index in a country."""
        countries = np.array([area[2] for area in AREAS])
        unit_country = countries[self.outward_area[self.unit_outward]]
        return np.flatnonzero((unit_country == country) & (self.unit_level == level))

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
def gazetteer() -> _Gazetteer:
    """Draw every district with a level of its own, and units around it."""
    random = random_of(POSTCODE_SEED, "postcodes")
    outwards = [area + district for area, _, _ in AREAS for district in DISTRICTS]
    outward_area = np.repeat(np.arange(len(AREAS)), len(DISTRICTS))
    country = np.array([area[2] for area in AREAS])[outward_area]
    base = np.zeros(len(outwards), np.int64)
    for nation in range(ABROAD):
        # Every nation has districts, and so units, of every level.
        theirs = np.flatnonzero(country == nation)
        levels = 1 + np.arange(len(theirs)) % INDEX_LEVELS
        base[theirs] = levels[shuffled(random, len(theirs))]
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
    places = gazetteer()
    return pa.table(
        {
            "postcode": pa.array(places.unit_codes),
            "socioeconomic_idx": pa.array(places.unit_level.astype(np.float64)),
        }
    )


def base36(number: int) -> str:
    """Write a number below 36**4 with four characters, the last digit first."""
    alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return "".join(alphabet[number // 36**i % 36] for i in range(4))


def misspelt(postcode: str, how: float) -> str:
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
