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
from collections.abc import Iterator, Sequence
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import IO, Any

import duckdb
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from local.exports.ga4_schema import ARROW_SCHEMA, SCHEMA, Column, duckdb_type
from local.progress import step
from propensity.events.values import microseconds_of

JSON = (".ndjson", ".jsonl", ".json")
PARQUET = ".parquet"
SOURCES = "sources"
CHECKED_ROWS = 100
# The first moment of 2000, which no site's analytics are older than.
OLDEST = 946_684_800_000_000


class ExportError(ValueError):
    """Rows that are no GA4 export's: where, what was expected, and what was found."""


def sql(name: str) -> str:
    """Return a statement of this folder, which DuckDB runs."""
    return resources.files(__package__).joinpath(f"{name}.sql").read_text()


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
        # Tables of the user's own, beside the export, are none of it.
        found = (path for path in source.rglob("*") if path.parent != source / SOURCES)
        files = sorted(filter(_is_known, found))
    if not files or not all(map(_is_known, files)):
        raise ExportError(
            f"{source}: expected {', '.join(JSON)} (plain, .gz or .zst) or {PARQUET}, "
            f"found {'none of these in the folder' if not files else source.name}"
        )
    return files


def _is_known(path: Path) -> bool:
    name = path.name.lower().removesuffix(".gz").removesuffix(".zst")
    return name.endswith((*JSON, PARQUET)) and path.is_file() and name[0] != "."


@contextlib.contextmanager
def opened(
    source: Path, *, limit: int | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """
    Read rows into the table ``events`` of a database on disk.

    The rows of an intraday table do not count on days that the daily table has.

    Args:
        source: A file, or a folder.
        limit: Rows of the first file to read, and no others; None for all.

    Raises:
        ExportError: A row is no export's; names file, row and field.
    """
    files = export_files(source)[: 1 if limit else None]
    with (
        tempfile.TemporaryDirectory(prefix="ga4-export-") as folder,
        duckdb.connect(f"{folder}/events.duckdb") as database,
        step("reading", total=len(files)) as bar,
    ):
        # In one thread rows keep their order, so that an error names its row.
        database.execute("SET threads = 1")
        database.execute(sql("is_number"))
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
        if twice := database.execute(sql("repeated_days")).fetchone():
            raise ExportError(
                f"{files[twice[0]]}: most of its events of {twice[1]} are there twice. "
                "Of the tables events_YYYYMMDD and events_intraday_YYYYMMDD of a day, "
                "leave the second one out; the wildcard events_* has both"
            )
        yield database


def _write_json(path: Path, target: Path, limit: int | None) -> None:
    """Write the rows of a file as JSON, plain; the first ones of a row a line."""
    with path.open("rb") as raw, target.open("wb") as file:
        start = raw.read(4)
        raw.seek(0)
        if path.suffix.lower() == PARQUET:
            batches = pq.ParquetFile(raw).iter_batches(batch_size=limit or 2_000)
            for batch in itertools.islice(batches, 1 if limit else None):
                for row in batch.to_pylist():
                    file.write(orjson.dumps(_plain(row), default=str) + b"\n")
            return
        content: IO[bytes] = raw
        # By its first bytes: downloads lose or gain an ending.
        for codec, mark in (("gzip", b"\x1f\x8b"), ("zstd", b"\x28\xb5\x2f\xfd")):
            if start.startswith(mark):
                packed = pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), codec)
                content = io.BufferedReader(packed, 2**20)
        # Editors on Windows put a mark before the first line.
        first = content.readline().removeprefix(codecs.BOM_UTF8)
        if b"\0" in first[:4]:
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


def _rows(content: Path, columns: Sequence[Column] = SCHEMA) -> str:
    """Return the table of rows in a file, with ids as JSON has them."""
    kinds = {one.name: duckdb_type(one) for one in columns}
    kinds |= {name: "JSON" for name in ("user_pseudo_id", "user_id") if name in kinds}
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
    if wrong := database.execute(sql("wrong_rows")).fetchone():
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

    def row(text: str) -> str:
        where = re.search(r" in (?:line|record/value|value) (\d+)", text)
        return f", row {where[1]}" if where else ""

    text = str(error).splitlines()[0]
    if "Malformed JSON" in text:
        # DuckDB counts lines otherwise.
        for number, line in enumerate(content.read_bytes().splitlines(), start=1):
            try:
                orjson.loads(line.strip() or b"{}")
            except orjson.JSONDecodeError:
                return (
                    f", row {number}: expected JSON, a row a line or an array of rows, "
                    f"found {line[:60].decode(errors='replace')!r}"
                )
    for column in SCHEMA:
        try:
            database.execute(
                f"SELECT COUNT({column.name}) FROM {_rows(content, (column,))}"
            ).fetchall()
        except duckdb.InvalidInputException as alone:
            text = str(alone).splitlines()[0]
            kind = "an object" if column.fields else column.field_type
            kind = "a list of objects" if column.mode == "REPEATED" else kind
            reason = re.sub(r'^.*?in file "[^"]*"[^:]*: ', "", text)
            return f"{row(text)}: {column.name}: expected {kind}: {reason}"
    return f": {text}"


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
    with opened(source, limit=CHECKED_ROWS) as database:
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
