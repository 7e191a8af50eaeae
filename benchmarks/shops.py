"""Shops that benchmarks play: generated ones, and those of files of export rows."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from local.demos.source import DRIFT, SEASON
from local.exports import ga4_export
from local.generators.export import Shop
from local.generators.shop import DEFAULT_SEED, DEFAULT_USERS
from propensity.gcp.warehouse import Warehouse

REAL = "online_retail_ga4.ndjson.zst"


@dataclass(frozen=True, kw_only=True)
class Source:
    """A shop to play: its name, how its export is loaded, and what has drawn it."""

    name: str
    load: Callable[[Warehouse], tuple[Collection[date], date]]
    shop: Shop | None = None


def sources() -> Iterator[Source]:
    """Yield the shops to play."""
    yield _generated(DEFAULT_SEED, DEFAULT_USERS)
    if folder := os.environ.get("PROPENSITY_DATA"):
        yield _of_file(Path(folder) / REAL)


def _of_file(path: Path) -> Source:
    """Return the shop of a file or folder of export rows."""

    def load(warehouse: Warehouse) -> tuple[Collection[date], date]:
        dataset = warehouse.settings.ga4_dataset
        summary = ga4_export.load_export(warehouse.client, dataset, path)
        return summary.dates, summary.last_full_day

    return Source(name=path.name.partition(".")[0], load=load)


def _generated(seed: int, users: int) -> Source:
    """Return the generated shop of a seed, with the demo's season and drift."""
    shop = Shop(users=users, seed=seed, season=SEASON, drift=DRIFT)

    def load(warehouse: Warehouse) -> tuple[Collection[date], date]:
        span = (shop.last_date - shop.first_date).days + 1
        days = [shop.first_date + timedelta(days=n) for n in range(span)]
        tables = [(f"events_{day:%Y%m%d}", shop.shard(day)) for day in days]
        ga4_export.load_tables(warehouse.client, warehouse.settings.ga4_dataset, tables)
        return days, shop.last_date

    return Source(
        name=f"generated shop, seed {seed}, {users:,} users", load=load, shop=shop
    )
