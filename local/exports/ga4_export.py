"""
Anyone's GA4 export loaded as daily shards, one load job a day that replaces its table.

The rows are on disk meanwhile, so memory does not grow with the export.

Source: "[GA4] BigQuery Export schema", https://support.google.com/analytics/answer/7029846
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from local.exports import ga4_rows
from local.exports.ga4_schema import ARROW_SCHEMA, bigquery_schema
from local.progress import step
from propensity.timeframe import Timeframe, days_of_data, first_and_last

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
    ``dates`` the days that have data, from ``first_date`` to ``last_date``.
    """

    rows: int
    days: int
    users: int
    first_date: date
    last_date: date
    last_time: datetime
    events: dict[str, int]
    user_columns: frozenset[str] = frozenset()
    is_east_of_utc: bool = False
    is_cut_short: bool = False
    dates: frozenset[date] = frozenset()

    @property
    def last_full_day(self) -> date:
        """
        The last UTC day that the data cover to its end.

        ``event_date`` is the property's local date. East of Greenwich the last local
        day ends before the UTC day of that name does. Data that are cut short within
        their last day have the day before to its end.
        """
        full = self.last_date - DAY if self.is_east_of_utc else self.last_date
        return min(full, self.last_time.date() - DAY) if self.is_cut_short else full


def summary(database: Any) -> Summary:
    """Return what a database of ``ga4_rows`` holds."""
    spans = {
        date.fromisoformat(day): (count, first, last)
        for day, count, first, last in database.execute(
            "SELECT event_date, COUNT(*), MAKE_TIMESTAMP(MIN(event_timestamp)), "
            "MAKE_TIMESTAMP(MAX(event_timestamp)) FROM events GROUP BY 1 ORDER BY 1"
        ).fetchall()
    }
    users, pseudo_ids, user_ids = database.execute(
        "SELECT COUNT(DISTINCT COALESCE(user_pseudo_id, user_id)), "
        "COUNT(user_pseudo_id), COUNT(user_id) FROM events"
    ).fetchone()
    events = database.execute(
        "SELECT event_name, COUNT(*) FROM events GROUP BY 1 ORDER BY 1"
    ).fetchall()
    # A few stray days are no part of the data's span.
    rows = {day: count for day, (count, _, _) in spans.items()}
    first, last = first_and_last(rows)
    bulk = {day: span for day, span in spans.items() if first <= day <= last}
    # By the time of day of the last event; of data of a few days nobody can tell.
    *before, end = (
        until - datetime(day.year, day.month, day.day)  # noqa: DTZ001
        for day, (_, _, until) in bulk.items()
    )
    # Of a property east of UTC, rows of a tenth of all days are of the UTC day before.
    ahead = sum(since.date() < day for day, (_, since, _) in bulk.items())
    return Summary(
        rows=sum(rows.values()),
        days=len(rows),
        users=users,
        first_date=min(bulk),
        last_date=max(bulk),
        last_time=max(until for _, _, until in bulk.values()).replace(tzinfo=UTC),
        events=dict(events),
        user_columns=frozenset(
            ["user_pseudo_id"] * bool(pseudo_ids) + ["user_id"] * bool(user_ids)
        ),
        is_east_of_utc=len(bulk) <= 10 * ahead,
        is_cut_short=(
            len(before) >= COMPARED_DAYS and end < min(before[-COMPARED_DAYS:])
        ),
        dates=frozenset(day for day in days_of_data(rows) if first <= day <= last),
    )


def load_export(
    client: bigquery.Client, dataset: str, source: Path, *, progress: bool = True
) -> Summary:
    """
    Load anyone's export rows into ``events_YYYYMMDD`` shards.

    Every day found replaces its shard; other shards stay. Nothing is loaded unless
    every row can be read.

    Args:
        client: BigQuery or an emulator of it.
        dataset: Name of the GA4 dataset; is created where it is missing.
        source: File or folder, as ``ga4_rows`` reads it.
        progress: Show how far it is.

    Raises:
        ExportError: A row is no export's, or there is none.
    """
    with ga4_rows.opened(source, progress=progress) as database:
        shards = {
            f"events_{day}": partial(ga4_rows.rows_of, database, day)
            for day in ga4_rows.days(database)
        }
        if not shards:
            raise ga4_rows.ExportError(
                f"{source}: expected rows of a GA4 export, found none"
            )
        found = summary(database)
        _load(client, dataset, shards, progress=progress)
    return found


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
    client: bigquery.Client,
    dataset: str,
    shards: Iterable[tuple[str, pa.Table]],
    *,
    progress: bool = True,
) -> None:
    """
    Load Arrow tables as shards, each replacing the one of its name.

    Args:
        client, dataset, progress: As of ``load_export``.
        shards: Table name and rows in ``ARROW_SCHEMA``.
    """
    tables = {name: partial(lambda rows: rows, rows) for name, rows in shards}
    _load(client, dataset, tables, progress=progress)


def _load(
    client: bigquery.Client,
    dataset: str,
    shards: Mapping[str, Callable[[], pa.Table]],
    *,
    progress: bool,
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
        step("loading", total=len(shards), unit=" days", is_shown=progress) as bar,
    ):
        for _ in pool.map(load, shards):
            bar.update()


def weeks_allowed(
    dates: Collection[date], last_date: date, *, lookback_days: int, horizon_days: int
) -> list[date]:
    """
    List the as-of dates that a data set can be evaluated at, oldest first.

    One horizon apart, counted back from the end, so that the newest label window ends
    with the last day; each has data on nine tenths of its lookback.

    Args:
        dates: Days with events.
        last_date: Last date that the data cover to its end (``last_full_day``).
        lookback_days: Days of features before an as-of date.
        horizon_days: Days of the label from the as-of date on.
    """
    timeframe = Timeframe(
        lookback_days=lookback_days, horizon_days=horizon_days, settle_days=0
    )
    return list(
        timeframe.snapshots(
            today=last_date + DAY,
            days=dates,
            at_most=1 + (last_date - min(dates)).days // horizon_days,
        )
    )
