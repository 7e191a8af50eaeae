"""
Anyone's rows of a GA4 export, read by DuckDB.

A file is JSON (a row a line, or an array of rows, plain or packed) or Parquet. Ids are
texts: as a number an id may have lost digits, and is refused.
"""

from __future__ import annotations

import codecs
import contextlib
import itertools
import re
import shutil
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from local.exports.ga4_schema import ARROW_SCHEMA, SCHEMA, Column, duckdb_type
from local.progress import step
from offline.table_files import decompressed, is_utf16
from propensity.events.values import microseconds_of
from propensity.ids import INEXACT

JSON = (".ndjson", ".jsonl", ".json")
COMPRESSED = (".gz", ".zst")
PARQUET = ".parquet"
PARQUET_BATCH = 2_000
SOURCES = "sources"
CHECKED_ROWS = 100
# The first moments of 2000, which no site's analytics are older than, and of 10000.
OLDEST, LATEST = 946_684_800_000_000, 253_402_300_800_000_000
# Fields of a session of Universal Analytics, GA4's forerunner, that no event has.
_SESSION = {"fullVisitorId", "visitId", "visitStartTime", "hits", "totals"}

_IDS = (
    Column("user_pseudo_id", "JSON"),
    Column("user_id", "JSON"),
    Column("ecommerce", "RECORD", fields=(Column("transaction_id", "JSON"),)),
    Column("items", "RECORD", "REPEATED", fields=(Column("item_id", "JSON"),)),
    Column(
        "event_params",
        "RECORD",
        "REPEATED",
        fields=(Column("key", "STRING"), Column("value", "JSON")),
    ),
)
_NUMBERS_AS_IDS = f"""
WITH
  given AS (SELECT ROW_NUMBER() OVER () AS row, * FROM {{rows}}),
  ids AS (
    SELECT row, 'user_pseudo_id' AS field, user_pseudo_id AS id FROM given
    UNION ALL SELECT row, 'user_id', user_id FROM given
    UNION ALL
    SELECT row, 'ecommerce.transaction_id', ecommerce.transaction_id FROM given
    UNION ALL
    SELECT row, 'items.item_id', UNNEST(items).item_id FROM given
    UNION ALL
    SELECT
      row,
      'event_params.transaction_id',
      UNNEST(JSON_EXTRACT(
        value,
        ['$.string_value', '$.int_value', '$.float_value', '$.double_value']
      ))
    FROM (SELECT row, UNNEST(event_params, recursive := TRUE) FROM given)
    WHERE key = 'transaction_id'
  )
SELECT row, field, id
FROM ids
WHERE
  JSON_TYPE(id) NOT IN ('VARCHAR', 'NULL')
  AND NOT (
    JSON_TYPE(id) IN ('BIGINT', 'UBIGINT')
    AND ABS(TRY_CAST(id AS HUGEINT)) < {INEXACT}
  )
ORDER BY row
LIMIT 1
"""
_WRONG_ROWS = f"""
SELECT
  row,
  CASE
    WHEN event_timestamp IS NULL THEN 'event_timestamp: wanted a value, found none'
    WHEN event_name IS NULL THEN 'event_name: wanted a value, found none'
    WHEN event_timestamp NOT BETWEEN 0 AND {LATEST - 1}
      THEN 'event_timestamp: wanted microseconds since 1970, found ' || event_timestamp
    ELSE 'event_date: wanted a date as YYYYMMDD, found ' || event_date
  END
FROM given
WHERE
  event_timestamp IS NULL
  OR event_name IS NULL
  OR event_timestamp NOT BETWEEN 0 AND {LATEST - 1}
  OR (event_date IS NOT NULL AND TRY_STRPTIME(event_date, '%Y%m%d') IS NULL)
ORDER BY row
LIMIT 1
"""
# Of a day's files, those with rows of which most are in another file as well, or once
# more in the same with other values beside what was sent. Exact repeats are folded.
_REPEATED = """
SELECT file, event_date
FROM (
  SELECT
    file,
    event_date,
    MIN(file) OVER same < MAX(file) OVER same
    OR MIN(whole) OVER sent < MAX(whole) OVER sent AS is_repeated
  FROM (
    SELECT *, HASH(events) AS whole, HASH(
      event_params, items, batch_event_index, batch_page_id, batch_ordering_id
    ) AS content
    FROM events
  )
  WINDOW
    same AS (
      PARTITION BY event_date, event_timestamp, event_name, user_pseudo_id, user_id
    ),
    sent AS (
      PARTITION BY
        event_date, event_timestamp, event_name, user_pseudo_id, user_id, content
    )
)
GROUP BY file, event_date
HAVING COUNT_IF(is_repeated) * 2 > COUNT(*)
ORDER BY event_date, file
LIMIT 1
"""


class ExportError(ValueError):
    """Rows that are not a GA4 export's, with where, what was wanted and what found."""


def export_files(source: Path) -> list[Path]:
    """
    List the files that hold rows, in the order of their names.

    Raises:
        ExportError: There is no such file, or none in the folder that can be read.
    """
    if source.is_file():
        files = [source]
    elif source.is_dir():
        files = sorted(
            path
            for path in source.rglob("*")
            if path.is_file()
            and not path.name.startswith(".")
            and _is_known(path)
            # Tables of one's own, beside the export.
            and path.parent != source / SOURCES
        )
    else:
        raise ExportError(f"{source}: no such file or folder")
    if not files or not all(map(_is_known, files)):
        raise ExportError(
            f"{source}: wanted {', '.join(JSON)} (plain, .gz or .zst) or {PARQUET}, "
            f"found {'none of these in the folder' if not files else source.name}"
        )
    return files


def _is_known(path: Path) -> bool:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSED:
        suffixes.pop()
    return suffixes[-1:] == [PARQUET] or bool(suffixes and suffixes[-1] in JSON)


@contextlib.contextmanager
def opened(
    source: Path, *, limit: int | None = None, progress: bool = True
) -> Iterator[duckdb.DuckDBPyConnection]:
    """
    Read rows into the table ``events`` of a database on disk.

    The rows of an intraday table do not count on days that the daily table has.

    Args:
        source: A file, or a folder.
        limit: Rows of the first file to read, and no others; None for all.
        progress: Show how far it is.

    Raises:
        ExportError: A row is not an export's; names file, row, wanted and found.
    """
    files = export_files(source)[: 1 if limit else None]
    with (
        tempfile.TemporaryDirectory(prefix="ga4-export-") as folder,
        duckdb.connect(f"{folder}/events.duckdb") as database,
        step("reading", total=len(files), is_shown=progress) as bar,
    ):
        # In one thread rows keep their order, so that an error names its row.
        database.execute("SET threads = 1")
        columns = ", ".join(f"{one.name} {duckdb_type(one)}" for one in SCHEMA)
        database.execute(f"CREATE TABLE events (file INT, is_intraday BOOL, {columns})")
        for number, path in enumerate(files):
            content = Path(folder, "rows.json")
            name = f"{source.name}/{path.relative_to(source)}"
            try:
                _write_json(path, content, limit)
                _read(
                    database,
                    path,
                    content=content,
                    number=number,
                    is_intraday="intraday" in name,
                )
            except (OSError, TypeError, pa.ArrowException, duckdb.Error) as error:
                raise ExportError(f"{path} cannot be read: {error}") from error
            bar.update()
        database.execute(
            "DELETE FROM events WHERE is_intraday AND event_date IN "
            "(SELECT event_date FROM events WHERE NOT is_intraday)"
        )
        if repeated := database.execute(_REPEATED).fetchone():
            raise ExportError(
                f"{files[repeated[0]]}: most of its events of {repeated[1]} are there "
                "twice. Of the tables events_YYYYMMDD and events_intraday_YYYYMMDD of "
                "a day, leave the second one out; the wildcard events_* has both"
            )
        yield database


def _write_json(path: Path, target: Path, limit: int | None) -> None:
    """Write the rows of a file as JSON."""
    with path.open("rb") as raw, target.open("wb") as file:
        start = raw.read(4)
        raw.seek(0)
        if path.suffix.lower() == PARQUET or start == b"PAR1":
            batches = pq.ParquetFile(raw).iter_batches(
                batch_size=limit or PARQUET_BATCH
            )
            for batch in itertools.islice(batches, 1 if limit else None):
                for row in batch.to_pylist():
                    file.write(
                        orjson.dumps(_plain(row), default=_text_or_number) + b"\n"
                    )
            return
        content = decompressed(raw)
        # Editors on Windows put a mark before the first line.
        first = content.readline().removeprefix(codecs.BOM_UTF8)
        if is_utf16(first):
            raise ExportError(f"{path} is written in UTF-16; save it as UTF-8")
        file.write(first)
        if limit and not first.lstrip().startswith(b"["):
            file.writelines(itertools.islice(content, limit - 1))
        else:
            shutil.copyfileobj(content, file)


def _text_or_number(value: Any) -> str | float:
    return value.decode() if isinstance(value, bytes) else float(value)


def _plain(value: Any) -> Any:
    """Return a value of Parquet without the ``list.element`` of BigQuery's own."""
    if isinstance(value, datetime) and value.tzinfo:
        return microseconds_of(value)
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"list"}:
        return [_plain(next(iter(one.values()))) for one in value["list"] or []]
    return {name: _plain(inner) for name, inner in value.items()}


def _rows(content: Path, columns: tuple[Column, ...]) -> str:
    fields = ", ".join(f"'{one.name}': '{duckdb_type(one)}'" for one in columns)
    return f"READ_JSON('{content}', columns = {{{fields}}})"


def _read(
    database: duckdb.DuckDBPyConnection,
    path: Path,
    *,
    content: Path,
    number: int,
    is_intraday: bool,
) -> None:
    """Check the rows of a file, and add them to ``events``."""
    try:
        wrong = database.execute(
            _NUMBERS_AS_IDS.format(rows=_rows(content, _IDS))
        ).fetchone()
        if wrong:
            row, field, found = wrong
            raise ExportError(
                f"{path}, row {row}: {field}: wanted an id as a text, found {found}; "
                "a number may have lost digits, so write ids as texts"
            )
        database.execute(
            "CREATE OR REPLACE TEMP TABLE given AS SELECT ROW_NUMBER() OVER () AS row, "
            "* REPLACE (REPLACE(event_date, '-', '') AS event_date) "
            f"FROM {_rows(content, SCHEMA)}"
        )
    except duckdb.InvalidInputException as error:
        raise ExportError(f"{path}{_problem(database, content, error)}") from error
    if rounded := _fraction(database, content):
        raise ExportError(f"{path}, row {rounded}")
    if wrong := database.execute(_WRONG_ROWS).fetchone():
        raise ExportError(
            f"{path}, row {wrong[0]}: {wrong[1]}{_session(database, content)}"
        )
    database.execute(
        "INSERT INTO events BY NAME SELECT * EXCLUDE row REPLACE (COALESCE("
        "event_date, STRFTIME(MAKE_TIMESTAMP(event_timestamp), '%Y%m%d')) "
        f"AS event_date), {number} AS file, {is_intraday} AS is_intraday FROM given"
    )


def _fraction(database: duckdb.DuckDBPyConnection, content: Path) -> str:
    """Return where ``given`` has a rounded number, and which; empty if nowhere."""
    exact = tuple(filter(None, map(_as_floats, SCHEMA)))
    is_wrong = " OR ".join(
        f"CAST(given.{one.name} AS {duckdb_type(one)}) IS DISTINCT FROM "
        f"exact.{one.name}"
        for one in exact
    )
    wrong = database.execute(
        f"SELECT row, exact FROM given JOIN (SELECT ROW_NUMBER() OVER () AS row, * "
        f"FROM {_rows(content, exact)}) AS exact USING (row) "
        f"WHERE {is_wrong} ORDER BY row LIMIT 1"
    ).fetchone()
    if wrong is None:
        return ""
    row, values = wrong
    field, found = next(
        place for one in SCHEMA for place in _fractions(one, values.get(one.name), "")
    )
    return f"{row}: {field}: wanted a whole number of 64 bits, found {found}"


def _as_floats(column: Column) -> Column | None:
    """Return a column with floats for integers; None if it holds no integer."""
    if column.field_type == "INTEGER":
        return Column(column.name, "FLOAT", column.mode)
    inner = {one: _as_floats(one) for one in column.fields}
    if not any(inner.values()):
        return None
    fields = tuple(changed or one for one, changed in inner.items())
    return Column(column.name, column.field_type, column.mode, fields)


def _fractions(column: Column, value: Any, prefix: str) -> Iterator[tuple[str, float]]:
    """Yield the integers of a value that have a fraction, by their fields."""
    if isinstance(value, list):
        for one in value:
            yield from _fractions(column, one, prefix)
    elif isinstance(value, dict):
        for inner in column.fields:
            path = f"{prefix}{column.name}."
            yield from _fractions(inner, value.get(inner.name), path)
    elif column.field_type == "INTEGER" and value is not None and value % 1:
        yield prefix + column.name, value


def _problem(
    database: duckdb.DuckDBPyConnection, content: Path, error: duckdb.Error
) -> str:
    """Return where and what DuckDB could not read."""
    text = str(error).splitlines()[0].rstrip(". ")
    if "Malformed JSON" in text:
        with content.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    orjson.loads(line.strip() or b"{}")
                except orjson.JSONDecodeError:
                    return (
                        f", line {number}: wanted JSON, a row a line or an array of "
                        f"rows, found {line[:60].decode(errors='replace')!r}"
                    )
    for column in SCHEMA:
        # A field alone: which it is, and in which row if it is not a nested one.
        try:
            database.execute(
                f"SELECT COUNT({column.name}) FROM {_rows(content, (column,))}"
            ).fetchall()
        except duckdb.InvalidInputException as alone:
            text = str(alone).splitlines()[0]
            where = re.search(r", in \S+ (\d+)", text)
            row = f", row {where[1]}" if where and not column.fields else ""
            reason = text.rpartition(f"{where[0]}: ")[2] if where else text
            return f"{row}: {column.name}: wanted {_wanted(column)}: {reason}"
    return f": {text}"


def _wanted(column: Column) -> str:
    if column.mode == "REPEATED":
        return "a list of objects"
    return {
        "RECORD": "an object",
        "INTEGER": "a whole number of 64 bits",
        "FLOAT": "a number",
        "BOOLEAN": "true or false",
    }.get(column.field_type, "a text")


def _session(database: duckdb.DuckDBPyConnection, content: Path) -> str:
    """Return what to do about sessions of Universal Analytics, if these are some."""
    keys = database.execute(
        f"SELECT JSON_KEYS(json) FROM READ_JSON_OBJECTS('{content}') LIMIT 1"
    ).fetchone()
    if not keys or len(_SESSION.intersection(keys[0])) < 2:
        return ""
    return (
        ". These are sessions of Universal Analytics and not the GA4 export, which has "
        "one row per event. Export the tables events_YYYYMMDD of the dataset "
        "analytics_PROPERTY, which a GA4 property fills (Admin, BigQuery links)"
    )


def days(database: duckdb.DuckDBPyConnection) -> list[str]:
    """List the days that have rows, as YYYYMMDD, oldest first."""
    found = database.execute("SELECT DISTINCT event_date FROM events ORDER BY ALL")
    return [day for (day,) in found.fetchall()]


def rows_of(database: duckdb.DuckDBPyConnection, day: str) -> pa.Table:
    """Return the rows of a day in ``ARROW_SCHEMA``; threads may do so at once."""
    found = database.cursor().execute(
        "SELECT * EXCLUDE (file, is_intraday) FROM events WHERE event_date = ?", [day]
    )
    return found.to_arrow_table().cast(ARROW_SCHEMA)


def check(source: Path) -> None:
    """
    Refuse what is no export by its first rows, which takes no time.

    Raises:
        ExportError: A row is not an export's, there is none, or the times of all are
            of another unit.
    """
    with opened(source, limit=CHECKED_ROWS, progress=False) as database:
        (newest,) = database.execute(
            "SELECT MAX(event_timestamp) FROM events"
        ).fetchone() or (None,)
    if newest is None:
        raise ExportError(f"{source}: wanted rows of a GA4 export, found none")
    if newest < OLDEST:
        raise ExportError(
            f"{source}: event_timestamp: wanted microseconds since 1970, found "
            f"{newest} at most in the first rows, which is before 2000; convert "
            "seconds and milliseconds"
        )
