"""
Anyone's rows of a GA4 export, read by DuckDB.

A file is JSON (a row a line, or an array of rows; plain, gzip or Zstandard) or Parquet.
Ids are texts: a number may have lost digits, and is refused.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import itertools
import re
import shutil
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import duckdb
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from local.exports.ga4_schema import ARROW_SCHEMA, SCHEMA, Column, duckdb_type
from local.progress import step
from propensity.events.values import microseconds_of
from propensity.ids import INEXACT

JSON = (".ndjson", ".jsonl", ".json")
COMPRESSED = (".gz", ".zst")
PARQUET = ".parquet"
SOURCES = "sources"
CHECKED_ROWS = 100
# The first moments of 2000, which no site's analytics are older than, and of 10000.
OLDEST, LATEST = 946_684_800_000_000, 253_402_300_800_000_000
_WRONG = f"""
SELECT
  row,
  CASE
    WHEN event_timestamp IS NULL THEN 'event_timestamp: expected a value, found none'
    WHEN event_name IS NULL THEN 'event_name: expected a value, found none'
    WHEN event_timestamp NOT BETWEEN 0 AND {LATEST - 1} THEN
      'event_timestamp: expected microseconds since 1970, found ' || event_timestamp
    WHEN event_date IS NOT NULL AND TRY_STRPTIME(event_date, '%Y%m%d') IS NULL
      THEN 'event_date: expected a date as YYYYMMDD, found ' || event_date
    WHEN is_number(user_pseudo_id) THEN
      'user_pseudo_id: expected a text, found the number ' || user_pseudo_id
    WHEN is_number(user_id) THEN
      'user_id: expected a text, found the number ' || user_id
  END AS why
FROM given
WHERE why IS NOT NULL
ORDER BY row
LIMIT 1
"""
# True of a JSON value that may have lost digits; a whole number of 53 bits has not.
_IS_NUMBER = f"""
CREATE TEMP MACRO is_number(id) AS
  JSON_TYPE(id) NOT IN ('VARCHAR', 'NULL')
  AND COALESCE(ABS(TRY_CAST(id AS HUGEINT)) >= {INEXACT} OR id LIKE '%.%', TRUE)
"""
# A day most of whose events are there twice, and the first file that has it.
_TWICE = """
SELECT MIN(file), event_date
FROM events
GROUP BY event_date
HAVING COUNT(*) > 1.5 * COUNT(DISTINCT HASH((
  event_timestamp, event_name, user_pseudo_id, user_id, event_params, items,
  batch_event_index, batch_page_id, batch_ordering_id
)))
ORDER BY event_date
LIMIT 1
"""


class ExportError(ValueError):
    """Rows that are no GA4 export's: where, what was expected, and what was found."""


def export_files(source: Path) -> list[Path]:
    """
    List the files that hold rows, in the order of their names.

    Raises:
        ExportError: There is no such file, or none in the folder that can be read.
    """
    if not source.exists():
        raise ExportError(f"{source}: no such file or folder")
    files = [source]
    if source.is_dir():
        files = sorted(
            path
            for path in source.rglob("*")
            if _is_known(path)
            # Tables of the user's own, beside the export.
            and path.parent != source / SOURCES
        )
    if not files or not all(map(_is_known, files)):
        raise ExportError(
            f"{source}: expected {', '.join(JSON)} (plain, .gz or .zst) or {PARQUET}, "
            f"found {'none of these in the folder' if not files else source.name}"
        )
    return files


def _is_known(path: Path) -> bool:
    name = path.name.lower()
    for ending in COMPRESSED:
        name = name.removesuffix(ending)
    return name.endswith((*JSON, PARQUET)) and path.is_file() and name[0] != "."


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
        ExportError: A row is no export's; names file, row and field.
    """
    files = export_files(source)[: 1 if limit else None]
    with (
        tempfile.TemporaryDirectory(prefix="ga4-export-") as folder,
        duckdb.connect(f"{folder}/events.duckdb") as database,
        step("reading", total=len(files), is_shown=progress) as bar,
    ):
        # In one thread rows keep their order, so that an error names its row.
        database.execute("SET threads = 1")
        database.execute(_IS_NUMBER)
        columns = ", ".join(f"{one.name} {duckdb_type(one)}" for one in SCHEMA)
        database.execute(f"CREATE TABLE events (file INT, is_intraday BOOL, {columns})")
        content = Path(folder, "rows.json")
        for number, path in enumerate(files):
            try:
                _write_json(path, content, limit)
                _read(database, path, content, number)
            except (OSError, TypeError, pa.ArrowException, duckdb.Error) as error:
                raise ExportError(f"{path} cannot be read: {error}") from error
            bar.update()
        database.execute(
            "DELETE FROM events WHERE is_intraday AND event_date IN "
            "(SELECT event_date FROM events WHERE NOT is_intraday)"
        )
        if twice := database.execute(_TWICE).fetchone():
            raise ExportError(
                f"{files[twice[0]]}: most of its events of {twice[1]} are there twice. "
                "Of the tables events_YYYYMMDD and events_intraday_YYYYMMDD of a day, "
                "leave the second one out; the wildcard events_* has both"
            )
        yield database


def _decompressed(raw: IO[bytes]) -> IO[bytes]:
    """Return the content of a file that is packed by gzip, Zstandard or not at all."""
    start = raw.read(4)
    raw.seek(0)
    codec = "gzip" if start.startswith(b"\x1f\x8b") else "zstd"
    if codec == "zstd" and start != b"\x28\xb5\x2f\xfd":
        return raw
    stream = pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), codec)
    return io.BufferedReader(stream, 2**20)


def _write_json(path: Path, target: Path, limit: int | None) -> None:
    """Write the rows of a file as JSON."""
    with path.open("rb") as raw, target.open("wb") as file:
        start = raw.read(4)
        raw.seek(0)
        if path.suffix.lower() == PARQUET or start == b"PAR1":
            batches = pq.ParquetFile(raw).iter_batches(batch_size=limit or 2_000)
            for batch in itertools.islice(batches, 1 if limit else None):
                for row in batch.to_pylist():
                    file.write(orjson.dumps(_plain(row), default=str) + b"\n")
            return
        content = _decompressed(raw)
        # Editors on Windows put a mark before the first line.
        first = content.readline().removeprefix(codecs.BOM_UTF8)
        if first.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in first[:4]:
            raise ExportError(f"{path} is written in UTF-16; save it as UTF-8")
        file.write(first)
        if limit and not first.lstrip().startswith(b"["):
            file.writelines(itertools.islice(content, limit - 1))
        else:
            shutil.copyfileobj(content, file)


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


def _rows(content: Path, columns: tuple[Column, ...] = SCHEMA) -> str:
    """Return the table of rows in a file, with ids as JSON has them."""
    kinds = {one.name: duckdb_type(one) for one in columns}
    ids = {"user_pseudo_id": "JSON", "user_id": "JSON"}
    kinds = {name: ids.get(name, kind) for name, kind in kinds.items()}
    fields = ", ".join(f"'{name}': '{kind}'" for name, kind in kinds.items())
    return f"READ_JSON('{content}', columns = {{{fields}}})"


def _read(
    database: duckdb.DuckDBPyConnection, path: Path, content: Path, number: int
) -> None:
    """Check the rows of a file, and add them to ``events``."""
    try:
        database.execute(
            "CREATE OR REPLACE TEMP TABLE given AS SELECT ROW_NUMBER() OVER () AS row, "
            "* REPLACE (REPLACE(event_date, '-', '') AS event_date) "
            f"FROM {_rows(content)}"
        )
    except duckdb.InvalidInputException as error:
        raise ExportError(f"{path}{_problem(database, content, error)}") from error
    if wrong := database.execute(_WRONG).fetchone():
        raise ExportError(f"{path}, row {wrong[0]}: {wrong[1]}")
    # No parameters: DuckDB would import pandas for them.
    is_intraday = "intraday" in f"{path.parent.name}/{path.name}"
    database.execute(
        "INSERT INTO events BY NAME SELECT * EXCLUDE row REPLACE ("
        "COALESCE(event_date, STRFTIME(MAKE_TIMESTAMP(event_timestamp), '%Y%m%d')) "
        "AS event_date, user_pseudo_id ->> '$' AS user_pseudo_id, "
        "user_id ->> '$' AS user_id), "
        f"{number} AS file, {is_intraday} AS is_intraday FROM given"
    )


def _problem(
    database: duckdb.DuckDBPyConnection, content: Path, error: duckdb.Error
) -> str:
    """Return where and what DuckDB could not read: by reading each field alone."""
    text = str(error).splitlines()[0]
    if "Malformed JSON" in text:
        with content.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    orjson.loads(line.strip() or b"{}")
                except orjson.JSONDecodeError:
                    found = line[:60].decode(errors="replace")
                    return (
                        f", row {number}: expected JSON, a row a line or an array of "
                        f"rows, found {found!r}"
                    )
    for column in SCHEMA:
        try:
            database.execute(
                f"SELECT COUNT({column.name}) FROM {_rows(content, (column,))}"
            ).fetchall()
        except duckdb.InvalidInputException as alone:
            text = str(alone).splitlines()[0]
            where = re.search(r", in (?:line|record/value|value) (\d+)", text)
            row = f", row {where[1]}" if where else ""
            reason = re.sub(r'^.*?in file "[^"]*"[^:]*: ', "", text)
            return f"{row}: {column.name}: expected {_kind(column)}: {reason}"
    return f": {text}"


def _kind(column: Column) -> str:
    if column.mode == "REPEATED":
        return "a list of objects"
    return "an object" if column.fields else column.field_type


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
        ExportError: A row is no export's, there is none, or the times of all are of
            another unit.
    """
    with opened(source, limit=CHECKED_ROWS, progress=False) as database:
        found = database.execute("SELECT MAX(event_timestamp) FROM events").fetchone()
    newest = found[0] if found else None
    if newest is None:
        raise ExportError(f"{source}: expected rows of a GA4 export, found none")
    if newest < OLDEST:
        raise ExportError(
            f"{source}: event_timestamp: expected microseconds since 1970, found "
            f"{newest} at most in the first rows, which is before 2000; convert "
            "seconds and milliseconds"
        )
