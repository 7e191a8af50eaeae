"""What players write when they register, and their postcodes: all made up."""

from __future__ import annotations

from datetime import timedelta
from functools import cache

import numpy as np
import pandas as pd
import pyarrow as pa

from local.generators.drawing import moment, random_of, shuffled
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


@cache
def units() -> pd.DataFrame:
    """
    Return all postcodes, the same for every seed: code, city, country, level.

    A district has a level, the index from 1 to 7, and its units vary around it.
    """
    random = random_of(7, "postcodes")
    districts = pd.DataFrame(
        [(area + one, city, of) for area, city, of in AREAS for one in DISTRICTS],
        columns=["district", "city", "country"],
    )
    base = np.zeros(len(districts), np.int64)
    for nation in range(ABROAD):
        theirs = np.flatnonzero(districts["country"] == nation)
        levels = 1 + np.arange(len(theirs)) % INDEX_LEVELS
        base[theirs] = levels[shuffled(random, len(theirs))]
    letters = [a + b for a in LETTERS for b in LETTERS]
    codes: list[str] = []
    for name in districts["district"]:
        drawn = shuffled(random, 10 * len(letters))[:UNITS].tolist()
        codes += sorted(f"{name} {one % 10}{letters[one // 10]}" for one in drawn)
    step = np.searchsorted([0.2, 0.8], random.random(len(codes))) - 1
    # Each district has a unit of its own index, and each country all of them.
    step[::UNITS] = 0
    level = np.clip(np.repeat(base, UNITS) + step, 1, INDEX_LEVELS)
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
    return pa.table({"postcode": [*units()["code"]], "socioeconomic_idx": level})


def registered(players: pd.DataFrame) -> list[Event]:
    """
    Return the fields of each registration.

    Args:
        players: A row each, with indices into the tuples above. ``unit`` is where a
            player lives. Who mistypes it writes another unit of the district, or
            another district altogether where not ``is_district_known``.
    """
    rows, homes = [], units().iloc[players["unit"]][["code", "city"]].to_numpy()
    for i, player in enumerate(players.to_dict("records")):
        campaign, affiliate_url = CHANNELS[player["channel"]]
        day = moment(player["registered_ms"]).date()
        birthday = day.replace(day=min(day.day, 28), year=day.year - player["age"])
        code, city = homes[i]
        if player["country"] == ABROAD:
            code, city = f"Q{i % 90:02d} {i:06d}", CITY_ABROAD
        elif not player["is_district_known"]:
            code = f"ZZ{1 + i % 90} 1AA"
        elif not player["is_unit_known"]:
            code = f"{code[:-3]}1ZZ"
        rows.append(
            {
                "name": NAMES[i % len(NAMES)],
                "date_of_birth": str(birthday - timedelta(days=i % 364)),
                "street_address": f"{1 + i % 180} King's Parade",
                "city": city,
                "country": COUNTRIES[player["country"]],
                # Two in ten type it otherwise.
                "postcode": {8: code.lower(), 9: code.replace(" ", "")}.get(
                    i % 10, code
                ),
                "affiliate_url": affiliate_url,
                "campaign": campaign,
                "label": player["churns"],
            }
        )
    return rows
