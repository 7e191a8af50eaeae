"""Arrow columns of the export: parameters, texts, and records that repeat."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from local.generators.drawing import Floats, Ints
from local.generators.shop.world import (
    CATEGORIES,
    CHANNELS,
    COUNTRIES,
    DAY,
    DAY_US,
    DEVICES,
    EPOCH,
    HOSTNAME,
    PRODUCTS,
    PURCHASE,
    SECOND_US,
    TIME_ZONE,
)


@dataclass(frozen=True)
class Basket:
    """What each visit would pay for: lines of product and number, laid end to end."""

    offset: Ints
    count: Ints
    product: Ints
    each: Ints
    quantity: Ints
    value: Floats

    @classmethod
    def fill(cls, random: np.random.Generator, visits: int) -> Basket:
        count = 1 + random.poisson(1.1, visits)
        offset = np.r_[0, np.cumsum(count)[:-1]]
        product = random.integers(0, PRODUCTS, int(count.sum()))
        each = 1 + random.poisson(0.3, len(product))
        return cls(
            offset,
            count,
            product,
            each,
            np.add.reduceat(each, offset),
            np.round(np.add.reduceat(PRICES[product] * each, offset), 2).astype(float),
        )


class Params:
    """Collects parameters a key at a time and lays them out event by event."""

    def __init__(self, events: int, random: np.random.Generator) -> None:
        self.events = events
        self.random = random
        self.keys: list[str] = []
        self.rows: list[Ints] = []
        self.texts: list[pa.Array] = []
        self.wholes: list[pa.Array] = []
        self.floats: list[pa.Array] = []
        self.doubles: list[pa.Array] = []

    def _add(self, key: str, rows: Ints, name: str, values: pa.Array) -> None:
        columns = {
            "texts": pa.string(),
            "wholes": pa.int64(),
            "floats": pa.float64(),
            "doubles": pa.float64(),
        }
        self.keys.append(key)
        self.rows.append(rows)
        for column, kind in columns.items():
            held = values if column == name else pa.nulls(len(rows), kind)
            getattr(self, column).append(held)

    def text(self, key: str, rows: Ints, vocabulary: pa.Array, codes: Ints) -> None:
        self._add(key, rows, "texts", vocabulary.take(pa.array(codes)))

    def whole(self, key: str, rows: Ints, values: Ints) -> None:
        self._add(key, rows, "wholes", pa.array(values))

    def number(self, key: str, rows: Ints, values: Floats) -> None:
        """Write each number as an integer (if it is one), double, float or text."""
        style = self.random.choice(4, len(rows), p=[0.70, 0.18, 0.06, 0.06])
        is_whole = values == np.floor(values)
        style[(style == 0) & ~is_whole] = 1
        for code, name in enumerate(("wholes", "doubles", "floats", "texts")):
            chosen = np.flatnonzero(style == code)
            held = values[chosen]
            column = {
                "wholes": lambda x: pa.array(x.astype(np.int64)),
                "texts": lambda x: pa.array([f"{v:.10g}" for v in x.tolist()]),
            }.get(name, pa.array)(held)
            self._add(key, rows[chosen], name, column.cast(_PARAM_KINDS[name]))

    def build(self) -> pa.ListArray:
        rows = np.concatenate(self.rows)
        order = pa.array(np.argsort(rows, kind="stable"))
        lengths = [len(part) for part in self.rows]
        keys = pa.array(self.keys).take(
            pa.array(np.repeat(np.arange(len(self.keys)), lengths))
        )
        value = pa.StructArray.from_arrays(
            [
                pa.concat_arrays(part).take(order)
                for part in (self.texts, self.wholes, self.floats, self.doubles)
            ],
            ["string_value", "int_value", "float_value", "double_value"],
        )
        entries = pa.StructArray.from_arrays(
            [keys.take(order), value], ["key", "value"]
        )
        counts = np.bincount(rows, minlength=self.events)
        offsets = np.r_[0, np.cumsum(counts)].astype(np.int32)
        return pa.ListArray.from_arrays(pa.array(offsets), entries)


def joined(parts: list[Any], kind: Any) -> npt.NDArray[Any]:
    return np.concatenate([np.empty(0, kind), *parts]).astype(kind)


def texts(pattern: str, *columns: Ints) -> pa.Array:
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return pa.array([pattern.format(*row) for row in rows], pa.string())


def consents(visit: Ints) -> pa.StructArray:
    """
    Return what was consented to: of fifty visits one denied all, one says nothing.

    By the number of the visit and not by chance, which would change all that follows.
    """
    said = pa.array(["Yes", "No", None])
    analytics = np.select([visit % 50 == 7, visit % 50 == 8], [1, 2], 0)
    ads = np.where(analytics > 0, analytics, visit % 3 == 0).astype(np.int64)
    return pa.StructArray.from_arrays(
        [
            said.take(pa.array(analytics)),
            said.take(pa.array(ads)),
            pa.array(["No"] * len(visit)),
        ],
        ["analytics_storage", "ads_storage", "uses_transient_token"],
    )


def repeated(record: dict[str, str], n: int) -> pa.Array:
    return pa.array([record]).take(pa.array(np.zeros(n, np.int64)))


def dates(first: date, last: date) -> Iterator[date]:
    for offset in range((last - first).days + 1):
        yield first + offset * DAY


def local_days(time_us: Ints) -> Ints:
    """Return the shop's local date of each instant, in days since 1970."""
    hours, place = np.unique(time_us // (3600 * SECOND_US), return_inverse=True)
    offsets = [
        datetime.fromtimestamp(hour * 3600, UTC).astimezone(TIME_ZONE).utcoffset()
        for hour in hours.tolist()
    ]
    offset_us = np.array(
        [(o or timedelta()) // timedelta(microseconds=1) for o in offsets]
    )
    local: Ints = (time_us + offset_us[place]) // DAY_US
    return local


def texts_of_days(days: Ints) -> pa.Array:
    unique, place = np.unique(days, return_inverse=True)
    names = [f"{EPOCH + day * DAY:%Y%m%d}" for day in unique.tolist()]
    return pa.array(names).take(pa.array(place))


def lifetime_value(user: Ints, kind: Ints, value: Floats) -> pa.Array:
    """Return what each user had paid up to and including each event."""
    total = np.cumsum(np.where(kind == PURCHASE, value, 0.0))
    before = np.r_[0.0, total[:-1]]
    return pa.array(np.round(total - before[np.searchsorted(user, user)], 2))


_PARAM_KINDS = {
    "texts": pa.string(),
    "wholes": pa.int64(),
    "floats": pa.float64(),
    "doubles": pa.float64(),
}
PRICES = np.round(4.0 + 1.37 * ((np.arange(PRODUCTS) * 37) % 61), 2)
PRODUCT_IDS = texts("SKU{:05d}", 10_000 + 17 * np.arange(PRODUCTS))
PRODUCT_NAMES = texts("Product {}", 1 + np.arange(PRODUCTS))
PAGE_RECORDS = pa.array(
    [f"https://{HOSTNAME}/{path}" for path in ("", "checkout", "thanks")]
    + [f"https://{HOSTNAME}/c/{category}" for category in CATEGORIES]
    + [f"https://{HOSTNAME}/p/{product}" for product in range(PRODUCTS)]
)
DEVICE_RECORDS = [
    {
        "category": category,
        "mobile_brand_name": brand,
        "mobile_model_name": "<Other>",
        "operating_system": system,
        "operating_system_version": "<Other>",
        "language": "en-us",
        "is_limited_ad_tracking": "No",
        "web_info": {
            "browser": browser,
            "browser_version": "<Other>",
            "hostname": HOSTNAME,
        },
    }
    for category, system, browser, brand, *_ in DEVICES
]
GEO_RECORDS = [
    {
        "city": "(not set)",
        "country": country,
        "continent": continent,
        "region": "(not set)",
        "sub_continent": sub_continent,
        "metro": "(not set)",
    }
    for country, continent, sub_continent in COUNTRIES
]
SOURCE_RECORDS = [
    {"name": name, "medium": medium, "source": source}
    for source, medium, name, *_ in CHANNELS
]
COLLECTED_RECORDS = [
    {"manual_source": source, "manual_medium": medium, "manual_campaign_name": name}
    for source, medium, name, *_ in CHANNELS
]
