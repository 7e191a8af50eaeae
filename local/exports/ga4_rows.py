"""Anyone's export rows, read and fitted into the schema."""

from __future__ import annotations

import codecs
import contextlib
import itertools
import math
import re
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from local.exports.ga4_schema import SCHEMA, Column
from local.progress import bar as progress_bar
from offline.table_files import decompressed

Row = dict[str, Any]
MICROSECONDS_PER_SECOND = 1_000_000


NDJSON = (".ndjson", ".jsonl", ".json")
COMPRESSED = (".gz", ".zst")
PARQUET = ".parquet"


PARQUET_BATCH = 2_000
CHECKED_ROWS = 100
# The first moment of 2000, which no site's analytics are older than: a clock may be
# wrong once, and of all first rows it is not the clock.
OLDEST = 946_684_800 * MICROSECONDS_PER_SECOND
_WHOLE = re.compile(r"[+-]?\d{1,19}")
INT64 = range(-(2**63), 2**63)


class ExportError(ValueError):
    """Rows that are not a GA4 export's, with where, what was wanted and what found."""


class _Mismatch(Exception):
    """A value that its column cannot hold, on its way up to the row that has it."""

    def __init__(self, expected: str, actual: object) -> None:
        super().__init__(expected)
        self.expected = expected
        self.actual = actual
        self.path: list[str] = []

    def within(self, name: str) -> _Mismatch:
        self.path.insert(0, name)
        return self

    def sentence(self) -> str:
        actual = repr(self.actual)
        shown = actual if len(actual) <= 80 else f"{actual[:77]}..."
        return (
            f"{'.'.join(self.path) or 'the row'}: wanted {self.expected}, found {shown}"
        )


# Fields of a session of Universal Analytics, GA4's forerunner, that no event has.
_SESSION = frozenset({"fullVisitorId", "visitId", "visitStartTime", "hits", "totals"})


class _Session(_Mismatch):
    """A row that is a session of Universal Analytics, and no event."""

    def sentence(self) -> str:
        return (
            "these are sessions of Universal Analytics (ga_sessions_YYYYMMDD, with "
            f"{', '.join(sorted(self.actual))}), and not the GA4 export, which "  # type: ignore[call-overload]
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
    fit: Callable[[Any], object] = (
        _fits(column.fields, ignored, f"{prefix}{column.name}.")
        if column.field_type == "RECORD"
        else _LEAF[column.field_type]
    )
    if column.mode != "REPEATED":
        return fit

    def many(value: Any) -> list[object]:
        return [fit(inner) for inner in _elements(value) if inner is not None]

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
        moment = row["event_timestamp"]
        try:
            day = datetime.fromtimestamp(moment // MICROSECONDS_PER_SECOND, UTC)
        except (ValueError, OverflowError, OSError):
            # Of nanoseconds, as some pipelines have them, the years have five digits.
            raise _Mismatch("microseconds since 1970", moment).within(
                "event_timestamp"
            ) from None
        row.setdefault("event_date", f"{day:%Y%m%d}")
        try:
            row["event_date"] = f"{date_of(row['event_date']):%Y%m%d}"
        except ValueError:
            raise _Mismatch("a date as YYYYMMDD", row["event_date"]).within(
                "event_date"
            ) from None
        return row

    return fit_row


def date_of(text: str) -> date:
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


def _lines(raw: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of an open file, packed or not, whatever its name says."""
    lines = decompressed(raw)
    # Editors on Windows put a mark before the first.
    yield lines.readline().removeprefix(codecs.BOM_UTF8)
    yield from lines


def _ndjson_objects(path: Path, advance: Callable[[int], None]) -> Iterator[Any]:
    """Yield (line number, object) of one NDJSON file; blank lines are skipped."""
    with path.open("rb") as raw:
        read_bytes = number = 0
        try:
            for number, line in enumerate(_lines(raw), start=1):
                if number % 1000 == 0:
                    advance(raw.tell() - read_bytes)
                    read_bytes = raw.tell()
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
        except OSError as error:
            raise ExportError(
                f"{path}, after line {number}: wanted a whole file, found one that "
                f"cannot be decompressed: {error}"
            ) from error
        advance(path.stat().st_size - read_bytes)


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
        ExportError: A row is not an export's, there is none, or the times of all are
            of another unit.
    """
    rows = read_rows(source, ignored=Counter(), progress=False)
    with contextlib.closing(rows):
        first = list(itertools.islice(rows, CHECKED_ROWS))
    if not first:
        raise ExportError(f"{source}: wanted rows of a GA4 export, found none")
    newest = max(row["event_timestamp"] for row in first)
    if newest < OLDEST:
        raise ExportError(
            f"{source}: event_timestamp: wanted microseconds since 1970, found "
            f"{newest} at most in the first rows, which is in {_year(newest)}; convert "
            "seconds and milliseconds"
        )


def _year(microseconds: int) -> int:
    return datetime.fromtimestamp(microseconds // MICROSECONDS_PER_SECOND, UTC).year
