"""
Anyone's GA4 export loaded as daily shards, one load job a day that replaces its table.

The rows are on disk meanwhile, so memory does not grow with the export.

Source: "[GA4] BigQuery Export schema", https://support.google.com/analytics/answer/7029846
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from local.exports import ga4_rows
from local.exports.ga4_schema import ARROW_SCHEMA, bigquery_schema
from local.exports.sources import replace_table
from local.progress import step
from propensity.timeframe import days_of_data

if TYPE_CHECKING:
    from google.cloud import bigquery

DAY = timedelta(days=1)
PREFIX, LOAD_WORKERS = "events_", 4
# UTC days before the last whose ends its own is compared with.
COMPARED_DAYS = 14


@dataclass(frozen=True, kw_only=True)
class Summary:
    """
    What a data set holds.

    ``dates`` are the days that have data, without stray ones at the ends;
    ``last_full_day`` is the last UTC day that they cover to its end.
    ``user_columns`` are those of user_pseudo_id and user_id that any event has.
    """

    rows: int
    users: int
    dates: frozenset[date]
    last_full_day: date
    events: frozenset[str]
    user_columns: frozenset[str]


def summary(database: Any) -> Summary:
    """Return what a database of ``ga4_rows`` holds."""
    found = database.execute(ga4_rows.sql("summary")).fetchall()
    rows = {day: count for day, count, *_ in found}
    # A few stray days are no part of the data's span.
    dates = days_of_data(rows)
    # Of each UTC day, which is none of the property's.
    ends = database.execute(
        "SELECT MAX(MAKE_TIMESTAMP(event_timestamp)) FROM events WHERE event_date "
        f"BETWEEN '{min(dates):%Y%m%d}' AND '{max(dates):%Y%m%d}' "
        f"GROUP BY event_timestamp // {DAY // timedelta(microseconds=1)} ORDER BY ALL"
    ).fetchall()
    *before, end = (at.time() for (at,) in ends)
    # Data whose last day ends earlier than any of two weeks before are cut short in it.
    is_cut = end < min(before[-COMPARED_DAYS:], default=end)
    columns = {"user_pseudo_id": 2, "user_id": 3}
    return Summary(
        rows=sum(rows.values()),
        users=found[0][5],
        dates=frozenset(dates),
        last_full_day=ends[-1][0].date() - is_cut * DAY,
        events=frozenset(name for row in found for name in row[4]),
        user_columns=frozenset(
            name for name, at in columns.items() if any(row[at] for row in found)
        ),
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
        _load(
            client,
            dataset,
            [f"{PREFIX}{day}" for day in ga4_rows.days(database)],
            lambda name: ga4_rows.rows_of(database, name.removeprefix(PREFIX)),
        )
        return summary(database)


def by_day(rows: Iterable[Mapping[str, Any]]) -> list[tuple[str, pa.Table]]:
    """Return daily tables by name, each row in the one of its ``event_date``."""
    days: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        days[f"{PREFIX}{row['event_date']}"].append(row)
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
    tables = dict(shards)
    _load(client, dataset, [*tables], tables.__getitem__)


def _load(
    client: bigquery.Client,
    dataset: str,
    names: Sequence[str],
    rows_of: Callable[[str], pa.Table],
) -> None:
    client.create_dataset(dataset, exists_ok=True)
    schema = bigquery_schema()

    def load(name: str) -> None:
        table = f"{client.project}.{dataset}.{name}"
        replace_table(client, table, rows_of(name), schema=schema)

    with (
        ThreadPoolExecutor(LOAD_WORKERS) as pool,
        step("loading", total=len(names), unit=" days") as bar,
    ):
        for _ in pool.map(load, names):
            bar.update()
