"""
Anyone's GA4 export loaded as daily shards, one load job a day that replaces its table.

So twice equals once, and a shard loaded again with its late rows is simply the newer
shard. The rows are on disk meanwhile, so memory does not grow with the export (but for
an entry per user, to count them).

Source: "[GA4] BigQuery Export schema", https://support.google.com/analytics/answer/7029846
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from local.exports import ga4_rows
from local.exports.ga4_schema import bigquery_schema
from local.progress import step
from propensity.timeframe import Timeframe, days_of_data, first_and_last

if TYPE_CHECKING:
    from google.api_core.retry import Retry
    from google.cloud import bigquery


DAY = timedelta(days=1)
LOAD_TIMEOUT_S = 300
LOAD_WORKERS = 4
# Days before the last whose ends its own is compared with.
COMPARED_DAYS = 14
# Who a user is: the first that an event has.
USER_COLUMNS = ("user_pseudo_id", "user_id")


_SHARD = re.compile(r"events_(\d{8})")


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a data set holds, known after it has been loaded."""

    rows: int
    days: int
    users: int
    first_date: date
    last_date: date
    last_time: datetime
    events: dict[str, int]
    # Those of user_pseudo_id and user_id that any event has.
    user_columns: frozenset[str] = frozenset()
    is_east_of_utc: bool = False
    is_cut_short: bool = False
    # Days that have data, from first_date to last_date.
    dates: frozenset[date] = frozenset()

    @property
    def last_full_day(self) -> date:
        """
        The last UTC day that the data cover to its end.

        ``event_date`` is the property's local date. East of Greenwich the last local
        day ends before the UTC day of that name does; rows whose local date is ahead
        of their UTC date, on a tenth of all days, give such a property away. Data that
        are cut short within their last day have the day before to its end.
        """
        full = self.last_date - DAY if self.is_east_of_utc else self.last_date
        return min(full, self.last_time.date() - DAY) if self.is_cut_short else full


@dataclass(frozen=True)
class _Day:
    """What a table of one ``event_date`` holds."""

    day: date
    first_us: int
    last_us: int
    events: Counter[str]
    users: frozenset[str]
    user_columns: frozenset[str]

    @classmethod
    def of(cls, table: pa.Table) -> _Day:
        times = pc.min_max(table["event_timestamp"]).as_py()
        counts = pc.value_counts(table["event_name"]).to_pylist()
        users = pc.unique(pc.coalesce(*(table[column] for column in USER_COLUMNS)))
        return cls(
            day=date.fromisoformat(table["event_date"][0].as_py()),
            first_us=times["min"],
            last_us=times["max"],
            events=Counter({count["values"]: count["counts"] for count in counts}),
            users=frozenset(users.drop_null().to_pylist()),
            user_columns=frozenset(
                column
                for column in USER_COLUMNS
                if table[column].null_count < table.num_rows
            ),
        )


def _summary(days: list[_Day]) -> Summary:
    days = sorted(days, key=lambda one: one.day)
    events = sum((one.events for one in days), Counter[str]())
    rows = {one.day: one.events.total() for one in days}
    first, last_day = first_and_last(rows)
    bulk = [one for one in days if first <= one.day <= last_day]
    # By the time of day of the last event; of data of a few days nobody can tell.
    *before, last = (one.last_us - _midnight(one.day) for one in bulk)
    is_cut_short = len(before) >= COMPARED_DAYS and last < min(before[-COMPARED_DAYS:])
    return Summary(
        rows=events.total(),
        days=len(days),
        users=len(frozenset().union(*(one.users for one in days))),
        first_date=bulk[0].day,
        last_date=bulk[-1].day,
        last_time=_instant(max(one.last_us for one in bulk)),
        events=dict(sorted(events.items())),
        user_columns=frozenset().union(*(one.user_columns for one in days)),
        is_east_of_utc=len(bulk)
        <= 10 * sum(_instant(one.first_us).date() < one.day for one in bulk),
        is_cut_short=is_cut_short,
        dates=frozenset(day for day in days_of_data(rows) if first <= day <= last_day),
    )


def _midnight(day: date) -> int:
    """Return the microseconds from 1970 to a date's midnight UTC."""
    return (day - date(1970, 1, 1)) // timedelta(microseconds=1)


def _instant(microseconds: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)


def load_export(
    client: bigquery.Client,
    dataset: str,
    source: Path,
    *,
    progress: bool = True,
) -> Summary:
    """
    Load anyone's export rows into ``events_YYYYMMDD`` shards, one load job a day.

    Every day found replaces its shard; other shards stay. Nothing is loaded unless
    every row can be read.

    Args:
        client: BigQuery or an emulator of it.
        dataset: Name of the GA4 dataset; is created where it is missing.
        source: File or folder, as ``ga4_rows`` reads it.
        progress: Show how far it is.

    Raises:
        ExportError: A row is not an export's, or there is none.
    """
    with ga4_rows.opened(source, progress=progress) as database:
        shards = {
            f"events_{day}": partial(ga4_rows.rows_of, database, day)
            for day in ga4_rows.days(database)
        }
        if not shards:
            raise ga4_rows.ExportError(
                f"{source}: wanted rows of a GA4 export, found none"
            )
        return _summary(_load(client, dataset, shards, progress=progress))


def load_tables(
    client: bigquery.Client,
    dataset: str,
    shards: Iterable[tuple[str, pa.Table]],
    *,
    progress: bool = True,
) -> Summary:
    """
    Load Arrow tables as shards, each replacing the one of its name.

    Args:
        client, dataset, progress: As of ``load_export``.
        shards: Table name (``events_YYYYMMDD`` or ``events_intraday_YYYYMMDD``) and
            rows in ``ARROW_SCHEMA``, all of one ``event_date``, at least one.

    Returns:
        The summary of the daily shards; intraday ones repeat them and do not count.
    """
    listed = dict(shards)
    loaded = _load(
        client,
        dataset,
        {name: partial(listed.__getitem__, name) for name in listed},
        progress=progress,
    )
    return _summary(
        [
            day
            for name, day in zip(listed, loaded, strict=True)
            if _SHARD.fullmatch(name)
        ]
    )


def _load_retry() -> Retry:
    """An emulator's 500 is retried by the client: with no deadline, for ten minutes."""
    from google.api_core.retry import Retry

    return Retry(initial=0.2, maximum=2.0, timeout=30.0)


def _load(
    client: bigquery.Client,
    dataset: str,
    shards: Mapping[str, Callable[[], pa.Table]],
    *,
    progress: bool,
) -> list[_Day]:
    """Load shards, and return what each holds."""
    from google.cloud import bigquery

    client.create_dataset(dataset, exists_ok=True, retry=_load_retry())
    config = bigquery.LoadJobConfig(
        schema=bigquery_schema(),
        source_format=bigquery.SourceFormat.PARQUET,
        write_disposition=bigquery.WriteDisposition.WRITE_TRUNCATE,
    )
    options = bigquery.ParquetOptions()  # type: ignore[no-untyped-call]
    options.enable_list_inference = True
    config.parquet_options = options

    def load(name: str) -> _Day:
        table = shards[name]()
        file = io.BytesIO()
        pq.write_table(table, file)
        job = client.load_table_from_file(
            file,
            f"{client.project}.{dataset}.{name}",
            rewind=True,
            size=file.tell(),
            job_config=config,
        )
        job.result(retry=_load_retry(), timeout=LOAD_TIMEOUT_S)
        return _Day.of(table)

    loaded = []
    with (
        ThreadPoolExecutor(LOAD_WORKERS) as pool,
        step("loading", total=len(shards), unit=" days", is_shown=progress) as bar,
    ):
        for day in pool.map(load, shards):
            loaded.append(day)
            bar.update()
    return loaded


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
