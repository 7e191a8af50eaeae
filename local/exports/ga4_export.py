"""
The GA4 BigQuery export: its schema, and anyone's rows of it loaded as daily shards.

A reader takes a file or a folder of NDJSON (plain, ``.gz``, ``.zst``) or Parquet, as
people really have them: BigQuery's JSON extract with INT64 written as strings, numbers
for ``stream_id``, a subset of the columns, columns that nobody has heard of. What is
wrong stops it with file, line, what was wanted and what was found; what is merely
unknown is left out and counted by name.

The rows are spooled to disk by day, so memory does not grow with the export (one entry
per user is kept, to count them). Each day becomes one load job that replaces its
``events_YYYYMMDD`` table: twice equals once, and a shard loaded again with its late
rows is simply the newer shard.

Source: "[GA4] BigQuery Export schema", https://support.google.com/analytics/answer/7029846
"""

from __future__ import annotations

import io
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pa_json
import pyarrow.parquet as pq

from local.exports.ga4_rows import ExportError, Row, date_of, read_rows
from local.exports.ga4_schema import ARROW_SCHEMA, bigquery_schema
from local.progress import bar as progress_bar

if TYPE_CHECKING:
    from google.api_core.retry import Retry
    from google.cloud import bigquery


DAY = timedelta(days=1)
SPOOL_BYTES = 32 * 2**20
# A row must fit into a block of the JSON reader; BigQuery's own limit is 100 MB.
BLOCK_BYTES = 8 * 2**20
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
    ignored: dict[str, int] = field(default_factory=dict)
    is_east_of_utc: bool = False
    is_cut_short: bool = False

    @property
    def last_full_day(self) -> date:
        """
        The last UTC day that the data cover to its end.

        ``event_date`` is the property's local date. East of Greenwich the last local
        day ends before the UTC day of that name does; a row whose local date is ahead
        of its UTC date gives such a property away. Data that are cut short within
        their last day have the day before to its end.
        """
        full = self.last_date - DAY if self.is_east_of_utc else self.last_date
        return min(full, self.last_time.date() - DAY) if self.is_cut_short else full


class _Census:
    """Counts rows as they pass, row by row or a table at a time."""

    def __init__(self) -> None:
        self.events: Counter[str] = Counter()
        # The last moment of each day that has rows.
        self.dates: dict[str, int] = {}
        self.users: set[str] = set()
        self.user_columns: set[str] = set()
        self.times: list[int] = []
        self.is_east_of_utc = False

    def add_row(self, row: Row) -> None:
        self._span(row["event_date"], row["event_timestamp"], row["event_timestamp"])
        self.events[row["event_name"]] += 1
        for column in USER_COLUMNS:
            if row.get(column):
                self.user_columns.add(column)
        user = row.get("user_pseudo_id") or row.get("user_id")
        if user:
            self.users.add(user)

    def add_table(self, table: pa.Table) -> None:
        """Count a table whose rows share one ``event_date``."""
        times = pc.min_max(table["event_timestamp"]).as_py()
        self._span(table["event_date"][0].as_py(), times["min"], times["max"])
        for count in pc.value_counts(table["event_name"]).to_pylist():
            self.events[count["values"]] += count["counts"]
        self.user_columns.update(
            column
            for column in USER_COLUMNS
            if table[column].null_count < table.num_rows
        )
        users = pc.unique(pc.coalesce(*(table[column] for column in USER_COLUMNS)))
        self.users.update(user for user in users.to_pylist() if user is not None)

    def _span(self, day: str, first: int, last: int) -> None:
        self.dates[day] = max(last, self.dates.get(day, last))
        self.times = [min([first, *self.times]), max([last, *self.times])]
        if not self.is_east_of_utc:
            self.is_east_of_utc = _instant(first).date() < date_of(day)

    def summary(self, ignored: dict[str, int]) -> Summary:
        return Summary(
            rows=self.events.total(),
            days=len(self.dates),
            users=len(self.users),
            first_date=date_of(min(self.dates)),
            last_date=date_of(max(self.dates)),
            last_time=_instant(self.times[1]),
            events=dict(sorted(self.events.items())),
            user_columns=frozenset(self.user_columns),
            ignored=dict(sorted(ignored.items())),
            is_east_of_utc=self.is_east_of_utc,
            is_cut_short=self._is_cut_short(),
        )

    def _is_cut_short(self) -> bool:
        """
        Tell whether the last day ends before any of the days before it did.

        By the time of day of the last event; of data of a few days nobody can tell.
        """
        *before, last = (self.dates[day] - _midnight(day) for day in sorted(self.dates))
        return len(before) >= COMPARED_DAYS and last < min(before[-COMPARED_DAYS:])


def _midnight(day: str) -> int:
    """Return the microseconds from 1970 to a date's midnight UTC."""
    return (date_of(day) - date(1970, 1, 1)) // timedelta(microseconds=1)


def _instant(microseconds: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)


class _Spool:
    """One NDJSON file a day, written through a buffer of bounded size."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.buffers: dict[str, list[bytes]] = {}
        self.size = 0

    def add(self, day: str, line: bytes) -> None:
        self.buffers.setdefault(day, []).append(line)
        self.size += len(line)
        if self.size > SPOOL_BYTES:
            self.flush()

    def flush(self) -> None:
        for day, lines in self.buffers.items():
            with (self.folder / f"{day}.ndjson").open("ab") as file:
                file.writelines(lines)
        self.buffers.clear()
        self.size = 0

    def shards(self) -> list[Path]:
        self.flush()
        return sorted(self.folder.glob("*.ndjson"))


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
        source: File or folder, as ``read_rows`` takes it.
        progress: Show bars on stderr where that is a terminal.

    Raises:
        ExportError: A row is not an export's, or there is none.
    """
    ignored: Counter[str] = Counter()
    census = _Census()
    with tempfile.TemporaryDirectory(prefix="ga4-export-") as name:
        spool = _Spool(Path(name))
        for row in read_rows(source, ignored=ignored, progress=progress):
            census.add_row(row)
            spool.add(
                row["event_date"], orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
            )
        if not census.dates:
            raise ExportError(f"{source}: wanted rows of a GA4 export, found none")
        _load(
            client,
            dataset,
            ((f"events_{path.stem}", path) for path in spool.shards()),
            write=_parquet_of_ndjson,
            total=len(census.dates),
            progress=progress,
        )
    return census.summary(ignored)


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
    census = _Census()
    listed = list(shards)
    for name, table in listed:
        if _SHARD.fullmatch(name):
            census.add_table(table)
    _load(
        client,
        dataset,
        listed,
        write=_parquet_of_table,
        total=len(listed),
        progress=progress,
    )
    return census.summary({})


def _parquet_of_ndjson(path: Path) -> IO[bytes]:
    """Rewrite a day's spool as Parquet, a block at a time, into a temporary file."""
    reader = pa_json.open_json(
        path,
        read_options=pa_json.ReadOptions(use_threads=False, block_size=BLOCK_BYTES),
        parse_options=pa_json.ParseOptions(
            explicit_schema=ARROW_SCHEMA, unexpected_field_behavior="error"
        ),
    )
    file = tempfile.TemporaryFile()  # noqa: SIM115, closed by its only reader
    with pq.ParquetWriter(file, ARROW_SCHEMA) as writer:
        for batch in reader:
            writer.write_batch(batch)
    return file


def _parquet_of_table(table: pa.Table) -> io.BytesIO:
    file = io.BytesIO()
    pq.write_table(table, file)
    return file


def _load_retry() -> Retry:
    """An emulator's 500 is retried by the client: with no deadline, for ten minutes."""
    from google.api_core.retry import Retry

    return Retry(initial=0.2, maximum=2.0, timeout=30.0)


def _load(
    client: bigquery.Client,
    dataset: str,
    shards: Iterable[tuple[str, Any]],
    *,
    write: Callable[[Any], Any],
    total: int,
    progress: bool,
) -> None:
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

    def load(shard: tuple[str, Any]) -> None:
        name, source = shard
        with write(source) as file:
            job = client.load_table_from_file(
                file,
                f"{client.project}.{dataset}.{name}",
                rewind=True,
                size=file.seek(0, io.SEEK_END),
                job_config=config,
            )
            job.result(retry=_load_retry(), timeout=LOAD_TIMEOUT_S)

    with (
        ThreadPoolExecutor(LOAD_WORKERS) as pool,
        progress_bar("loading", total=total, unit=" days", is_shown=progress) as bar,
    ):
        for _ in pool.map(load, shards):
            bar.update()


def weeks_allowed(
    first_date: date, last_date: date, *, lookback_days: int, horizon_days: int
) -> list[date]:
    """
    List the as-of dates that a data set can be evaluated at, oldest first.

    One horizon apart, counted back from the end, so that the newest label window ends
    with the last day; the oldest has a whole lookback of data before it.

    Args:
        first_date: First date with events.
        last_date: Last date that the data cover to its end (``last_full_day``).
        lookback_days: Days of features before an as-of date.
        horizon_days: Days of the label from the as-of date on.
    """
    as_of = last_date + DAY - timedelta(days=horizon_days)
    weeks = []
    while as_of - timedelta(days=lookback_days) >= first_date:
        weeks.append(as_of)
        as_of -= timedelta(days=horizon_days)
    return weeks[::-1]
