"""Shops that ``benchmarks.quality`` plays: their weeks, with features and labels."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa

from local import sandbox
from local.demos.source import DRIFT, SEASON, weeks_allowed
from local.exports import ga4_export
from local.generators.export import Shop
from local.generators.shop import DEFAULT_SEED, DEFAULT_USERS
from local.progress import step
from propensity import usecases
from propensity.gcp.warehouse import Warehouse
from propensity.privacy import consent
from propensity.settings import Settings
from propensity.usecases import UseCase

REAL = "online_retail_ga4.ndjson.zst"
# As-of dates a query: the emulator's memory grows with them.
AS_OFS = 24


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A shop's labelled rows, its last weeks, and what each month trains on."""

    name: str
    use_case: UseCase
    settings: Settings
    weeks: Sequence[date]
    snapshots: Mapping[date, Sequence[date]]
    rows: pa.Table


def shops(use_case: UseCase, *, count: int) -> Iterator[Loaded]:
    """Load a generated shop, and the real one of PROPENSITY_DATA, if it is set."""
    files = (
        [Path(folder) / REAL] if (folder := os.environ.get("PROPENSITY_DATA")) else []
    )
    for file in (None, *files):
        with sandbox.opened() as opened:
            yield _loaded(opened.warehouse, file, use_case, count=count)


def _loaded(
    warehouse: Warehouse, file: Path | None, use_case: UseCase, *, count: int
) -> Loaded:
    settings, client = warehouse.settings, warehouse.client
    if file:
        name = file.name.partition(".")[0]
        summary = ga4_export.load_export(client, settings.ga4_dataset, file)
        days, last = [*summary.dates], summary.last_full_day
    else:
        name = f"generated shop, {DEFAULT_USERS:,} users"
        shop = Shop(users=DEFAULT_USERS, seed=DEFAULT_SEED, season=SEASON, drift=DRIFT)
        last, span = shop.last_date, (shop.last_date - shop.first_date).days + 1
        days = [shop.first_date + timedelta(days=n) for n in range(span)]
        tables = [(f"events_{day:%Y%m%d}", shop.shard(day)) for day in days]
        ga4_export.load_tables(client, settings.ga4_dataset, tables)
    view = consent.events_view(settings.export, require="false")
    warehouse.replace_view(usecases.EXPORT_VIEW, view)
    spans = {"lookback_days": use_case.lookback_days}
    weeks = weeks_allowed(days, last, horizon_days=use_case.horizon_days, **spans)
    weeks, timeframe = weeks[-count:], use_case.timeframe(settings)
    # The first week of each month trains.
    months = {(week.year, week.month): week for week in reversed(weeks)}
    at_most = settings.training_snapshots
    snapshots = {
        week: timeframe.snapshots(today=week, days={*days}, at_most=at_most)
        for week in months.values()
    }
    as_ofs = sorted({*weeks}.union(*snapshots.values()))
    parts = []
    with step(f"features of {name}", total=len(as_ofs), unit=" dates") as bar:
        for start in range(0, len(as_ofs), AS_OFS):
            window = use_case.window(settings, as_ofs[start : start + AS_OFS])
            parameters = {**window, "maximum_rows": 10**9}
            statement = use_case.statement("training_rows")
            parts.append(warehouse.table(statement, parameters))
            bar.update(len(as_ofs[start : start + AS_OFS]))
    keys = [("as_of", "ascending"), ("user_id", "ascending")]
    return Loaded(
        name=name,
        use_case=use_case,
        settings=settings,
        weeks=weeks,
        snapshots=snapshots,
        rows=pa.concat_tables(parts).sort_by(keys),
    )
