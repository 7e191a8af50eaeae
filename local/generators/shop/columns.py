"""Arrow columns of the export: parameters, texts, and records that repeat."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa

from local.generators.drawing import Floats, Ints
from local.generators.shop import world


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
        product = random.integers(0, world.PRODUCTS, int(count.sum()))
        each = 1 + random.poisson(0.3, len(product))
        return cls(
            offset,
            count,
            product,
            each,
            np.add.reduceat(each, offset),
            np.round(np.add.reduceat(PRICES[product] * each, offset), 2).astype(float),
        )


_PARAM_KINDS = {
    "string_value": pa.string(),
    "int_value": pa.int64(),
    "float_value": pa.float64(),
    "double_value": pa.float64(),
}


class Params:
    """Collects parameters a key at a time and lays them out event by event."""

    def __init__(self, events: int, random: np.random.Generator) -> None:
        self.events = events
        self.random = random
        # Of each part: its key, its rows, its values and the field that holds them.
        self.parts: list[tuple[str, Ints, pa.Array, str]] = []

    def text(self, key: str, rows: Ints, vocabulary: pa.Array, codes: Ints) -> None:
        values = vocabulary.take(pa.array(codes))
        self.parts.append((key, rows, values, "string_value"))

    def whole(self, key: str, rows: Ints, values: Ints) -> None:
        self.parts.append((key, rows, pa.array(values), "int_value"))

    def number(self, key: str, rows: Ints, values: Floats) -> None:
        """Write each number as an integer (if it is one), double, float or text."""
        style = self.random.choice(4, len(rows), p=[0.70, 0.18, 0.06, 0.06])
        style[(style == 0) & (values != np.floor(values))] = 1
        names = ("int_value", "double_value", "float_value", "string_value")
        for code, name in enumerate(names):
            chosen = np.flatnonzero(style == code)
            sizes = values[chosen]
            column = (
                pa.array([f"{size:.10g}" for size in sizes.tolist()], pa.string())
                if name == "string_value"
                else pa.array(sizes).cast(_PARAM_KINDS[name])
            )
            self.parts.append((key, rows[chosen], column, name))

    def build(self) -> pa.ListArray:
        keys, rows_of, _, _ = zip(*self.parts, strict=True)
        rows = np.concatenate(rows_of)
        order = pa.array(np.argsort(rows, kind="stable"))
        key = np.repeat(np.arange(len(keys)), [len(part) for part in rows_of])
        fields = [
            pa.concat_arrays(
                [
                    values if field == name else pa.nulls(len(values), kind)
                    for _, _, values, field in self.parts
                ]
            ).take(order)
            for name, kind in _PARAM_KINDS.items()
        ]
        value = pa.StructArray.from_arrays(fields, [*_PARAM_KINDS])
        entries = pa.StructArray.from_arrays(
            [pa.array(keys).take(pa.array(key)).take(order), value], ["key", "value"]
        )
        counts = np.bincount(rows, minlength=self.events)
        offsets = np.r_[0, np.cumsum(counts)].astype(np.int32)
        return pa.ListArray.from_arrays(pa.array(offsets), entries)


def struct_of(
    columns: dict[str, pa.Array],
    fields: Iterable[pa.Field],
    n: int,
    *,
    mask: pa.Array | None = None,
) -> pa.StructArray:
    """Return records of the export's fields; a field without a column is null."""
    kinds = list(fields)
    return pa.StructArray.from_arrays(
        [
            columns[field.name].cast(field.type)
            if field.name in columns
            else pa.nulls(n, field.type)
            for field in kinds
        ],
        fields=kinds,
        mask=mask,
    )


def texts(pattern: str, *columns: Ints) -> pa.Array:
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return pa.array([pattern.format(*row) for row in rows], pa.string())


def consents(visit: Ints) -> pa.StructArray:
    """
    Return what was consented to: of fifty visits one denied all, one says nothing.

    By the number of the visit and not by chance, which would change all that follows.
    """
    answers = pa.array(["Yes", "No", None])
    analytics = np.select([visit % 50 == 7, visit % 50 == 8], [1, 2], 0)
    ads = np.where(analytics > 0, analytics, visit % 3 == 0).astype(np.int64)
    return pa.StructArray.from_arrays(
        [
            answers.take(pa.array(analytics)),
            answers.take(pa.array(ads)),
            pa.array(["No"] * len(visit)),
        ],
        ["analytics_storage", "ads_storage", "uses_transient_token"],
    )


def repeated(record: dict[str, str], n: int) -> pa.Array:
    return pa.array([record]).take(pa.array(np.zeros(n, np.int64)))


def dates(first: date, last: date) -> Iterator[date]:
    for offset in range((last - first).days + 1):
        yield first + offset * world.DAY


def local_days(time_us: Ints) -> Ints:
    """Return the shop's local date of each instant, in days since 1970."""
    hours, place = np.unique(time_us // (3600 * world.SECOND_US), return_inverse=True)
    offsets = [
        datetime.fromtimestamp(hour * 3600, UTC).astimezone(world.TIME_ZONE).utcoffset()
        for hour in hours.tolist()
    ]
    offset_us = np.array(
        [(o or timedelta()) // timedelta(microseconds=1) for o in offsets]
    )
    local: Ints = (time_us + offset_us[place]) // world.DAY_US
    return local


def texts_of_days(days: Ints) -> pa.Array:
    unique, place = np.unique(days, return_inverse=True)
    names = [f"{world.EPOCH + day * world.DAY:%Y%m%d}" for day in unique.tolist()]
    return pa.array(names).take(pa.array(place))


def lifetime_value(user: Ints, kind: Ints, value: Floats) -> pa.Array:
    """Return what each user had paid up to and including each event."""
    total = np.cumsum(np.where(kind == world.PURCHASE, value, 0.0))
    before = np.r_[0.0, total[:-1]]
    return pa.array(np.round(total - before[np.searchsorted(user, user)], 2))


PRICES = np.round(4.0 + 1.37 * ((np.arange(world.PRODUCTS) * 37) % 61), 2)
PRODUCT_IDS = texts("SKU{:05d}", 10_000 + 17 * np.arange(world.PRODUCTS))
PRODUCT_NAMES = texts("Product {}", 1 + np.arange(world.PRODUCTS))
PAGE_RECORDS = pa.array(
    [f"https://{world.HOSTNAME}/{path}" for path in ("", "checkout", "thanks")]
    + [f"https://{world.HOSTNAME}/c/{category}" for category in world.CATEGORIES]
    + [f"https://{world.HOSTNAME}/p/{product}" for product in range(world.PRODUCTS)]
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
            "hostname": world.HOSTNAME,
        },
    }
    for category, system, browser, brand, *_ in world.DEVICES
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
    for country, continent, sub_continent in world.COUNTRIES
]
SOURCE_RECORDS = [
    {"name": name, "medium": medium, "source": source}
    for source, medium, name, *_ in world.CHANNELS
]
COLLECTED_RECORDS = [
    {"manual_source": source, "manual_medium": medium, "manual_campaign_name": name}
    for source, medium, name, *_ in world.CHANNELS
]
