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

import contextlib
import gzip
import io
import itertools
import math
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pa_json
import pyarrow.parquet as pq
import zstandard

from local.progress import bar as progress_bar

if TYPE_CHECKING:
    from google.api_core.retry import Retry
    from google.cloud import bigquery

Row = dict[str, Any]

DAY = timedelta(days=1)
MICROSECONDS_PER_SECOND = 1_000_000

NDJSON = (".ndjson", ".jsonl", ".json")
COMPRESSED = (".gz", ".zst")
PARQUET = ".parquet"

READ_BYTES = 2**17
SPOOL_BYTES = 32 * 2**20
# A row must fit into a block of the JSON reader; BigQuery's own limit is 100 MB.
BLOCK_BYTES = 8 * 2**20
PARQUET_BATCH = 2_000
CHECKED_ROWS = 100
LOAD_TIMEOUT_S = 300
LOAD_WORKERS = 4
# Days before the last whose ends its own is compared with.
COMPARED_DAYS = 14

_SHARD = re.compile(r"events_(\d{8})")
_WHOLE = re.compile(r"[+-]?\d{1,19}")
INT64 = range(-(2**63), 2**63)


class ExportError(ValueError):
    """Rows that are not a GA4 export's, with where, what was wanted and what found."""


@dataclass(frozen=True)
class Column:
    """
    A column of the export, as BigQuery's client describes it.

    The client itself takes seconds to import, and whoever reads rows does without.
    """

    name: str
    field_type: str
    mode: str = "NULLABLE"
    fields: tuple[Column, ...] = ()


def _leaves(kind: str, *names: str) -> tuple[Column, ...]:
    return tuple(Column(name, kind) for name in names)


def _record(name: str, *fields: Column, mode: str = "NULLABLE") -> Column:
    return Column(name, "RECORD", mode=mode, fields=fields)


def _keyed(name: str, *extra: Column) -> Column:
    """Return GA4's list of ``{key, value{one of four types}}``."""
    value = (
        *_leaves("STRING", "string_value"),
        *_leaves("INTEGER", "int_value"),
        *_leaves("FLOAT", "float_value", "double_value"),
        *extra,
    )
    return _record(
        name, Column("key", "STRING"), _record("value", *value), mode="REPEATED"
    )


# Left out: session_traffic_source_last_click (some seventy columns of ad platforms)
# and publisher (ad revenue of apps). The emulator's every shard pays for each column.
SCHEMA: tuple[Column, ...] = (
    *_leaves("STRING", "event_date"),
    *_leaves("INTEGER", "event_timestamp"),
    *_leaves("STRING", "event_name"),
    _keyed("event_params"),
    *_leaves("INTEGER", "event_previous_timestamp"),
    *_leaves("FLOAT", "event_value_in_usd"),
    *_leaves("INTEGER", "event_bundle_sequence_id", "event_server_timestamp_offset"),
    *_leaves("STRING", "user_id", "user_pseudo_id"),
    _record(
        "privacy_info",
        *_leaves("STRING", "analytics_storage", "ads_storage", "uses_transient_token"),
    ),
    _keyed("user_properties", Column("set_timestamp_micros", "INTEGER")),
    *_leaves("INTEGER", "user_first_touch_timestamp"),
    _record("user_ltv", Column("revenue", "FLOAT"), Column("currency", "STRING")),
    _record(
        "device",
        *_leaves(
            "STRING",
            "category",
            "mobile_brand_name",
            "mobile_model_name",
            "mobile_marketing_name",
            "mobile_os_hardware_model",
            "operating_system",
            "operating_system_version",
            "vendor_id",
            "advertising_id",
            "language",
            "is_limited_ad_tracking",
        ),
        Column("time_zone_offset_seconds", "INTEGER"),
        *_leaves("STRING", "browser", "browser_version"),
        _record(
            "web_info", *_leaves("STRING", "browser", "browser_version", "hostname")
        ),
    ),
    _record(
        "geo",
        *_leaves(
            "STRING", "city", "country", "continent", "region", "sub_continent", "metro"
        ),
    ),
    _record(
        "app_info",
        *_leaves(
            "STRING",
            "id",
            "version",
            "install_store",
            "firebase_app_id",
            "install_source",
        ),
    ),
    _record("traffic_source", *_leaves("STRING", "name", "medium", "source")),
    *_leaves("STRING", "stream_id", "platform"),
    _record("event_dimensions", Column("hostname", "STRING")),
    _record(
        "ecommerce",
        Column("total_item_quantity", "INTEGER"),
        *_leaves(
            "FLOAT",
            "purchase_revenue_in_usd",
            "purchase_revenue",
            "refund_value_in_usd",
            "refund_value",
            "shipping_value_in_usd",
            "shipping_value",
            "tax_value_in_usd",
            "tax_value",
        ),
        Column("unique_items", "INTEGER"),
        Column("transaction_id", "STRING"),
    ),
    _record(
        "items",
        *_leaves(
            "STRING",
            "item_id",
            "item_name",
            "item_brand",
            "item_variant",
            "item_category",
            "item_category2",
            "item_category3",
            "item_category4",
            "item_category5",
        ),
        *_leaves("FLOAT", "price_in_usd", "price"),
        Column("quantity", "INTEGER"),
        *_leaves(
            "FLOAT",
            "item_revenue_in_usd",
            "item_revenue",
            "item_refund_in_usd",
            "item_refund",
        ),
        *_leaves(
            "STRING",
            "coupon",
            "affiliation",
            "location_id",
            "item_list_id",
            "item_list_name",
            "item_list_index",
            "promotion_id",
            "promotion_name",
            "creative_name",
            "creative_slot",
        ),
        _keyed("item_params"),
        mode="REPEATED",
    ),
    _record(
        "collected_traffic_source",
        *_leaves(
            "STRING",
            "manual_campaign_id",
            "manual_campaign_name",
            "manual_source",
            "manual_medium",
            "manual_term",
            "manual_content",
            "manual_source_platform",
            "manual_creative_format",
            "manual_marketing_tactic",
            "gclid",
            "dclid",
            "srsltid",
        ),
    ),
    Column("is_active_user", "BOOLEAN"),
    *_leaves("INTEGER", "batch_event_index", "batch_page_id", "batch_ordering_id"),
)

_ARROW_LEAF = {
    "STRING": pa.string(),
    "INTEGER": pa.int64(),
    "FLOAT": pa.float64(),
    "BOOLEAN": pa.bool_(),
}


def _arrow_type(column: Column) -> pa.DataType:
    if column.field_type == "RECORD":
        kind = pa.struct([(inner.name, _arrow_type(inner)) for inner in column.fields])
    else:
        kind = _ARROW_LEAF[column.field_type]
    return pa.list_(kind) if column.mode == "REPEATED" else kind


def bigquery_schema(columns: Iterable[Column] = SCHEMA) -> list[bigquery.SchemaField]:
    """Return the export's columns for BigQuery's client."""
    from google.cloud.bigquery import SchemaField

    return [
        SchemaField(
            column.name,
            column.field_type,
            mode=column.mode,
            fields=bigquery_schema(column.fields),
        )
        for column in columns
    ]


ARROW_SCHEMA = pa.schema([(column.name, _arrow_type(column)) for column in SCHEMA])


class _Mismatch(Exception):
    """A value that its column cannot hold, on its way up to the row that has it."""

    def __init__(self, wanted: str, found: object) -> None:
        super().__init__(wanted)
        self.wanted = wanted
        self.found = found
        self.path: list[str] = []

    def within(self, name: str) -> _Mismatch:
        self.path.insert(0, name)
        return self

    def sentence(self) -> str:
        found = repr(self.found)
        shown = found if len(found) <= 80 else f"{found[:77]}..."
        return (
            f"{'.'.join(self.path) or 'the row'}: wanted {self.wanted}, found {shown}"
        )


# Fields of a session of Universal Analytics, GA4's forerunner, that no event has.
_SESSION = frozenset({"fullVisitorId", "visitId", "visitStartTime", "hits", "totals"})


class _Session(_Mismatch):
    """A row that is a session of Universal Analytics, and no event."""

    def sentence(self) -> str:
        return (
            "these are sessions of Universal Analytics (ga_sessions_YYYYMMDD, with "
            f"{', '.join(sorted(self.found))}), and not the GA4 export, which "  # type: ignore[call-overload]
            "has one row per event. Export the tables events_YYYYMMDD of the dataset "
            "analytics_PROPERTY, which a GA4 property fills (Admin, BigQuery links); "
            "sessions cannot be made into events"
        )


def _whole_number(value: object) -> int:
    """Accept 7, "7" and 7.0: extracts write strings, data frames write floats."""
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif (isinstance(value, str) and _WHOLE.fullmatch(value)) or (
        isinstance(value, float) and value.is_integer()
    ):
        number = int(value)
    elif isinstance(value, datetime) and value.tzinfo is not None:
        number = round(value.timestamp() * MICROSECONDS_PER_SECOND)
    else:
        raise _Mismatch("a whole number", value)
    if number not in INT64:
        raise _Mismatch("a whole number of 64 bits", value)
    return number


def _decimal_number(value: object) -> float:
    if isinstance(value, (int, float, str, Decimal)) and not isinstance(value, bool):
        try:
            return float(value)
        except ValueError:
            pass
    raise _Mismatch("a number", value)


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, date):
        return value.strftime("%Y%m%d")
    raise _Mismatch("a string", value)


def _truth_value(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise _Mismatch("true or false", value)


_LEAF: dict[str, Callable[[Any], object]] = {
    "STRING": _text,
    "INTEGER": _whole_number,
    "FLOAT": _decimal_number,
    "BOOLEAN": _truth_value,
}


def _is_nothing(value: object) -> bool:
    """Tell null, and the NaN that data frames write for it."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _fits(
    columns: Iterable[Column], ignored: Counter[str], prefix: str = ""
) -> Callable[[Any], Row]:
    """Compile columns into a function that fits one object into them."""
    known = {column.name: _fit(column, ignored, prefix) for column in columns}

    def fit(value: Any) -> Row:
        if not isinstance(value, dict):
            raise _Mismatch("an object", value)
        fitted = {}
        for name, inner in value.items():
            if name not in known:
                ignored[prefix + name] += 1
            elif not _is_nothing(inner):
                try:
                    fitted[name] = known[name](inner)
                except _Mismatch as mismatch:
                    raise mismatch.within(name) from None
        return fitted

    return fit


def _fit(column: Column, ignored: Counter[str], prefix: str) -> Callable[[Any], object]:
    one: Callable[[Any], object] = (
        _fits(column.fields, ignored, f"{prefix}{column.name}.")
        if column.field_type == "RECORD"
        else _LEAF[column.field_type]
    )
    if column.mode != "REPEATED":
        return one

    def many(value: Any) -> list[object]:
        return [one(inner) for inner in _elements(value) if inner is not None]

    return many


def _elements(value: Any) -> list[Any]:
    """Return the list, also out of the ``list.element`` of BigQuery's own Parquet."""
    if isinstance(value, dict) and set(value) == {"list"}:
        return [
            next(iter(inner.values()))
            if isinstance(inner, dict) and set(inner) in ({"element"}, {"item"})
            else inner
            for inner in value["list"] or []
        ]
    if not isinstance(value, list):
        raise _Mismatch("a list", value)
    return value


def row_fitter(ignored: Counter[str]) -> Callable[[Any], Row]:
    """
    Make the function that fits one object into ``SCHEMA``.

    Args:
        ignored: Is counted up by the dotted name of every unknown field.

    Returns:
        A function from an object to a row: columns in their types, absent ones left
        out, ``event_date`` from ``event_timestamp`` in UTC where it is missing.
    """
    fit = _fits(SCHEMA, ignored)

    def fit_row(value: Any) -> Row:
        if isinstance(value, dict) and "event_timestamp" not in value:
            session = _SESSION.intersection(value)
            if len(session) > 1:
                raise _Session("an event", session)
        row = fit(value)
        for name in ("event_timestamp", "event_name"):
            if name not in row:
                raise _Mismatch("a value, since every GA4 event has one", None).within(
                    name
                )
        if "event_date" not in row:
            seconds = row["event_timestamp"] // MICROSECONDS_PER_SECOND
            try:
                row["event_date"] = f"{datetime.fromtimestamp(seconds, UTC):%Y%m%d}"
            except (ValueError, OverflowError, OSError):
                raise _Mismatch("microseconds since 1970", seconds).within(
                    "event_timestamp"
                ) from None
        try:
            row["event_date"] = f"{_day(row['event_date']):%Y%m%d}"
        except ValueError:
            raise _Mismatch("a date as YYYYMMDD", row["event_date"]).within(
                "event_date"
            ) from None
        return row

    return fit_row


def _day(text: str) -> date:
    return date.fromisoformat(text)


def export_files(source: Path) -> list[Path]:
    """
    List the files that hold rows, in the order in which they are read.

    Raises:
        ExportError: There is no such file, or none in the folder that can be read.
    """
    if source.is_file():
        files = [source]
    elif source.is_dir():
        files = sorted(
            path
            for path in source.rglob("*")
            if path.is_file() and not path.name.startswith(".") and _kind(path)
        )
    else:
        raise ExportError(f"{source}: no such file or folder")
    if not files or not all(map(_kind, files)):
        raise ExportError(
            f"{source}: wanted {', '.join(NDJSON)} (plain, .gz or .zst) or {PARQUET}, "
            f"found {'none of these in the folder' if not files else source.name}"
        )
    return files


def _kind(path: Path) -> str | None:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes[-1:] == [PARQUET]:
        return PARQUET
    if suffixes and suffixes[-1] in COMPRESSED:
        suffixes.pop()
    return "ndjson" if suffixes and suffixes[-1] in NDJSON else None


def _lines(path: Path, raw: io.BufferedReader) -> Iterator[bytes]:
    suffix = path.suffix.lower()
    if suffix == ".gz":
        with gzip.open(raw) as lines:
            yield from lines
    elif suffix == ".zst":
        yield from _split(_zstd_frames(raw))
    else:
        yield from raw


def _zstd_frames(raw: io.BufferedReader) -> Iterator[bytes]:
    """Decompress frame after frame; unlike the library's reader, notice a cut one."""
    decompressor = zstandard.ZstdDecompressor()
    frame = decompressor.decompressobj()
    while packed := raw.read(READ_BYTES):
        while packed:
            if frame.eof:
                frame = decompressor.decompressobj()
            yield frame.decompress(packed)
            packed = frame.unused_data if frame.eof else b""
    if not frame.eof:
        raise EOFError("it ends before its last frame does")


def _split(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
    if rest:
        yield rest


def _ndjson_objects(path: Path, advance: Callable[[int], None]) -> Iterator[Any]:
    """Yield (line number, object) of one NDJSON file; blank lines are skipped."""
    with path.open("rb") as raw:
        done = number = 0
        try:
            for number, line in enumerate(_lines(path, raw), start=1):
                if number % 1000 == 0:
                    advance(raw.tell() - done)
                    done = raw.tell()
                if not line.strip():
                    continue
                try:
                    yield f"line {number}", orjson.loads(line)
                except orjson.JSONDecodeError as error:
                    start = line[:60].decode(errors="replace").strip()
                    raise ExportError(
                        f"{path}, line {number}: wanted one JSON object a line "
                        f"(NDJSON), found {start!r}: {error}"
                    ) from error
        except (EOFError, zstandard.ZstdError, gzip.BadGzipFile) as error:
            raise ExportError(
                f"{path}, after line {number}: wanted a whole {path.suffix} file, "
                f"found one that cannot be decompressed: {error}"
            ) from error
        advance(path.stat().st_size - done)


def _parquet_objects(path: Path, advance: Callable[[int], None]) -> Iterator[Any]:
    try:
        file = pq.ParquetFile(path)
        rows = max(file.metadata.num_rows, 1)
        size, number = path.stat().st_size, 0
        for batch in file.iter_batches(batch_size=PARQUET_BATCH):
            for value in batch.to_pylist():
                number += 1
                yield f"row {number}", value
            advance(size * batch.num_rows // rows)
    except pa.ArrowException as error:
        raise ExportError(f"{path}: wanted a Parquet file: {error}") from error


def read_rows(
    source: Path, *, ignored: Counter[str], progress: bool = True
) -> Generator[Row]:
    """
    Read anyone's export rows, one at a time, fitted into ``SCHEMA``.

    Args:
        source: A file, or a folder whose files are read in the order of their names.
        ignored: Is counted up by the name of every unknown field.
        progress: Show a bar on stderr where that is a terminal.

    Raises:
        ExportError: A row is not an export's; names file, line, wanted and found.
    """
    fit = row_fitter(ignored)
    files = export_files(source)
    with progress_bar(
        "reading",
        total=sum(path.stat().st_size for path in files),
        unit="B",
        unit_scale=True,
        is_shown=progress,
    ) as bar:
        for path in files:
            objects = _parquet_objects if _kind(path) == PARQUET else _ndjson_objects
            for where, value in objects(path, bar.update):
                try:
                    yield fit(value)
                except _Mismatch as mismatch:
                    raise ExportError(
                        f"{path}, {where}: {mismatch.sentence()}"
                    ) from None


def check(source: Path) -> None:
    """
    Refuse what is no export by its first rows, which takes no time.

    Raises:
        ExportError: A row is not an export's, or there is none.
    """
    rows = read_rows(source, ignored=Counter(), progress=False)
    with contextlib.closing(rows):
        if not any(True for _ in itertools.islice(rows, CHECKED_ROWS)):
            raise ExportError(f"{source}: wanted rows of a GA4 export, found none")


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a data set holds, known after it has been loaded."""

    rows: int
    days: int
    users: int
    first_date: date
    last_date: date
    first_time: datetime
    last_time: datetime
    events: dict[str, int]
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
        self.times: list[int] = []
        self.is_east_of_utc = False

    def add_row(self, row: Row) -> None:
        self._span(row["event_date"], row["event_timestamp"], row["event_timestamp"])
        self.events[row["event_name"]] += 1
        user = row.get("user_pseudo_id") or row.get("user_id")
        if user is not None:
            self.users.add(user)

    def add_table(self, table: pa.Table) -> None:
        """Count a table whose rows share one ``event_date``."""
        times = pc.min_max(table["event_timestamp"]).as_py()
        self._span(table["event_date"][0].as_py(), times["min"], times["max"])
        for count in pc.value_counts(table["event_name"]).to_pylist():
            self.events[count["values"]] += count["counts"]
        users = pc.unique(pc.coalesce(table["user_pseudo_id"], table["user_id"]))
        self.users.update(user for user in users.to_pylist() if user is not None)

    def _span(self, day: str, first: int, last: int) -> None:
        self.dates[day] = max(last, self.dates.get(day, last))
        self.times = [min([first, *self.times]), max([last, *self.times])]
        if not self.is_east_of_utc:
            self.is_east_of_utc = _instant(first).date() < _day(day)

    def summary(self, ignored: dict[str, int]) -> Summary:
        return Summary(
            rows=self.events.total(),
            days=len(self.dates),
            users=len(self.users),
            first_date=_day(min(self.dates)),
            last_date=_day(max(self.dates)),
            first_time=_instant(self.times[0]),
            last_time=_instant(self.times[1]),
            events=dict(sorted(self.events.items())),
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
    return (_day(day) - date(1970, 1, 1)) // timedelta(microseconds=1)


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
    workers: int = LOAD_WORKERS,
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
        workers: Load jobs at a time.
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
            workers=workers,
            progress=progress,
        )
    return census.summary(ignored)


def load_tables(
    client: bigquery.Client,
    dataset: str,
    shards: Iterable[tuple[str, pa.Table]],
    *,
    workers: int = LOAD_WORKERS,
    progress: bool = True,
) -> Summary:
    """
    Load Arrow tables as shards, each replacing the one of its name.

    Args:
        client: BigQuery or an emulator of it.
        dataset: Name of the GA4 dataset; is created where it is missing.
        shards: Table name (``events_YYYYMMDD`` or ``events_intraday_YYYYMMDD``) and
            rows in ``ARROW_SCHEMA``, all of one ``event_date``, at least one.
        workers: Load jobs at a time.
        progress: Show a bar on stderr where that is a terminal.

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
        workers=workers,
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
    workers: int,
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
        ThreadPoolExecutor(workers) as pool,
        progress_bar("loading", total=total, unit=" days", is_shown=progress) as bar,
    ):
        for _ in pool.map(load, shards):
            bar.update()


def loaded_dates(client: bigquery.Client, dataset: str) -> tuple[date, date] | None:
    """Return the first and last date of the daily shards, or None without any."""
    dates = sorted(
        _day(match[1])
        for table in client.list_tables(dataset, retry=_load_retry())
        if (match := _SHARD.fullmatch(table.table_id))
    )
    return (dates[0], dates[-1]) if dates else None


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
