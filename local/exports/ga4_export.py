"""
Anyone's GA4 export loaded as daily shards, one load job a day that replaces its table.

The rows are on disk meanwhile, so memory does not grow with the export.

Source: "[GA4] BigQuery Export schema", https://support.google.com/analytics/answer/7029846
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from local.exports import ga4_rows
from local.exports.ga4_schema import ARROW_SCHEMA, bigquery_schema
from local.progress import step
from propensity.timeframe import days_of_data, first_and_last

if TYPE_CHECKING:
    from google.cloud import bigquery

DAY = timedelta(days=1)
LOAD_TIMEOUT_S = 300
LOAD_WORKERS = 4
# Days before the last whose ends its own is compared with.
COMPARED_DAYS = 14


@dataclass(frozen=True, kw_only=True)
class Summary:
    """
    What a data set holds.

    ``user_columns`` are those of user_pseudo_id and user_id that any event has;
    ``dates`` the days that have data, from ``first_date`` to ``last_date``;
    ``last_full_day`` the last UTC day that they cover to its end.
    """

    rows: int
    days: int
    users: int
    first_date: date
    last_date: date
    last_full_day: date
    events: frozenset[str]
    user_columns: frozenset[str]
    dates: frozenset[date]


def summary(database: Any) -> Summary:
    """Return what a database of ``ga4_rows`` holds."""
    found = database.execute(ga4_rows.sql("summary")).fetchall()
    rows = {day: count for day, count, *_ in found}
    # A few stray days are no part of the data's span.
    first, last = first_and_last(rows)
    bulk = [row for row in found if first <= row[0] <= last]
    last_date, last_time = bulk[-1][0], max(row[3] for row in bulk)
    # ``event_date`` is the property's local date. East of Greenwich the last local day
    # ends before the UTC day of that name: rows of most days are of the UTC day before.
    ahead = sum(since.date() < day for day, _, since, *_ in bulk)
    full = last_date - DAY if len(bulk) <= 10 * ahead else last_date
    # Data whose last day ends earlier than any of two weeks before are cut short in it.
    *before, end = (
        until - datetime.combine(day, time.min) for day, _, _, until, *_ in bulk
    )
    if len(before) >= COMPARED_DAYS and end < min(before[-COMPARED_DAYS:]):
        full = min(full, last_time.date() - DAY)
    columns = {"user_pseudo_id": any(row[4] for row in found)}
    columns["user_id"] = any(row[5] for row in found)
    return Summary(
        rows=sum(rows.values()),
        days=len(rows),
        users=found[0][7],
        first_date=bulk[0][0],
        last_date=last_date,
        last_full_day=full,
        events=frozenset(name for row in found for name in row[6]),
        user_columns=frozenset(name for name, is_there in columns.items() if is_there),
        dates=frozenset(day for day in days_of_data(rows) if first <= day <= last),
    )


def load_export(client: bigquery.Client, dataset: str, source: Path) -> Summary:
    """
    Load anyone's export rows into ``events_YYYYMMDD`` shards.

    Every day found replaces its shard; other shards stay. Nothing is loaded unless
    every row can be read.

    Args:
        client: BigQuery or an emulator of it.
        dataset: Name of the GA4 dataset; is created where it is missing.
        source: File or folder, as ``ga4_rows`` reads it.

    Raises:
        ExportError: A row is no export's, or there is none.
    """
    with ga4_rows.opened(source) as database:
        shards = {
            f"events_{day}": partial(ga4_rows.rows_of, database, day)
            for day in ga4_rows.days(database)
        }
        if not shards:
            raise ga4_rows.ExportError(
                f"{source}: expected rows of a GA4 export, found none"
            )
        _load(client, dataset, shards)
        return summary(database)


def by_day(rows: Iterable[Mapping[str, Any]]) -> list[tuple[str, pa.Table]]:
    """Return daily tables by name, each row in the one of its ``event_date``."""
    days: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        days[f"events_{row['event_date']}"].append(row)
    return [
        (name, pa.Table.from_pylist(events, ARROW_SCHEMA))
        for name, events in sorted(days.items())
    ]


def load_tables(
    client: bigquery.Client, dataset: str, shards: Iterable[tuple[str, pa.Table]]
) -> None:
    """
    Load Arrow tables as shards, each replacing the one of its name.

    Args:
        client, dataset: As of ``load_export``.
        shards: Table name and rows in ``ARROW_SCHEMA``.
    """
    _load(client, dataset, {name: partial(pa.table, rows) for name, rows in shards})


def _load(
    client: bigquery.Client, dataset: str, shards: Mapping[str, Callable[[], pa.Table]]
) -> None:
    from google.cloud import bigquery

    client.create_dataset(dataset, exists_ok=True)
    config = bigquery.LoadJobConfig(
        schema=bigquery_schema(),
        source_format=bigquery.SourceFormat.PARQUET,
        write_disposition=bigquery.WriteDisposition.WRITE_TRUNCATE,
    )
    options = bigquery.ParquetOptions()  # type: ignore[no-untyped-call]
    options.enable_list_inference = True
    config.parquet_options = options

    def load(name: str) -> None:
        file = io.BytesIO()
        pq.write_table(shards[name](), file)
        table = f"{client.project}.{dataset}.{name}"
        job = client.load_table_from_file(file, table, rewind=True, job_config=config)
        job.result(timeout=LOAD_TIMEOUT_S)

    with (
        ThreadPoolExecutor(LOAD_WORKERS) as pool,
        step("loading", total=len(shards), unit=" days") as bar,
    ):
        for _ in pool.map(load, shards):
            bar.update()
