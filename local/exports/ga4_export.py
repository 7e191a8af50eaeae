"""
Anyone's rows of a GA4 export, read by DuckDB and loaded as daily shards.

A file is JSON (a row a line, or an array of rows; plain, gzip or Zstandard) or Parquet.
Ids are texts: a number may have lost digits, and is refused. The rows are on disk until
they are loaded, so memory does not grow with the export.

Source: "[GA4] BigQuery Export schema", https://support.google.com/analytics/answer/7029846
"""

from __future__ import annotations

import codecs
import contextlib
import glob
import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from local.exports.ga4_schema import ARROW_SCHEMA
from local.exports.sources import Summary, remark, replace_table, visible
from propensity.cli.progress import step
from propensity.errors import SchemaError
from propensity.ga4.shards import PREFIXES
from propensity.timeframe import DAY, days_of_data

if TYPE_CHECKING:
    from google.cloud import bigquery

PREFIX = "events_"
LOAD_WORKERS = 4
AT_ONCE = 16
# UTC days before the last whose ends its own is compared with.
COMPARED_DAYS = 14
PARQUET = ".parquet"
JSON = (".json", ".ndjson", ".jsonl")
PACKED = {".gz": "GZIP", ".zst": "ZSTD"}
ENDINGS = tuple(
    f"{ending}{packed}" for ending in JSON for packed in [""] + list(PACKED)
) + (PARQUET,)
# The name of a day's table, and what may follow it: words of parts, and an ending.
TABLE = re.compile(r"(?<![a-z0-9_])(events_(?:fresh_)?(?:intraday_)?)[0-9]{8}(.*)")
REST = re.compile(
    r"(part|shard|of|[^a-z])*(\.(json|ndjson|jsonl|parquet))?(\.(gz|zst))?"
)
CHECKED_ROWS = 100
# Whole numbers that are read as texts: DuckDB would round a fraction.
TEXTS = re.compile(
    r"\b(int_value|\w*quantity|\w+_timestamp|set_timestamp_micros) BIGINT"
)
# The first moment of 2000, which no site's analytics are older than.
OLDEST = 946_684_800_000_000
WRONG_ROWS = resources.files(__package__).joinpath("wrong_rows.sql").read_text()


def order_of(path: Path) -> int | None:
    """
    Return the place of a file's table among those of a day, of which the first counts.

    The nearest part of the path that has the name of a table says it; what is added to
    the name by downloads and extracts, as ``events_20260301 (1)``, has no letters.
    Without any a file is taken for one of daily tables.

    Returns:
        None for a copy, such as events_20260301_backup.
    """
    table = _table(path)
    if table is None:
        return 0
    is_copy = not REST.fullmatch(table[2])
    return None if is_copy else list(PREFIXES.values()).index(table[1])


def _table(path: Path) -> re.Match[str] | None:
    """Return what the nearest part of a path says of a table."""
    matches = (TABLE.search(part.lower()) for part in reversed(path.parts))
    return next(filter(None, matches), None)


def remarks(source: Path) -> list[str]:
    """Return how files were read, and which are left out, in words."""
    files = export_files(source)
    unclear = [path for path in files if _table(path) is None]
    visible_files = visible(source) if source.is_dir() else files
    others = [path for path in visible_files if path not in files]
    lines = []
    if unclear:
        lines.append(remark(unclear, "do not name a table, and count as daily tables"))
    if others:
        what = "are left out, because of their ending or as a copy of a table"
        lines.append(remark(others, what))
    return lines


def export_files(source: Path) -> list[Path]:
    """
    List the files that hold rows, in the order of their names.

    Copies of tables are left out.
    """
    if not source.exists():
        raise SchemaError(f"there is no file or folder {source}", hint="Check the path")
    files = []
    candidates = visible(source) if source.is_dir() else [source]
    for path in candidates:
        is_copy = path != source and order_of(path) is None
        if path.name.lower().endswith(ENDINGS) and not is_copy:
            files.append(path)
    if not files:
        raise SchemaError(f"{source} has no file that ends with {', '.join(ENDINGS)}")
    return files


@contextlib.contextmanager
def opened(
    source: Path, *, limit: int | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """
    Read rows into the table ``events`` of a database on disk; with a ``limit``, so many
    rows of the first file.

    Of each day the rows of one table count: the first of ``PREFIXES`` that has it.

    Raises:
        SchemaError: A row is no export's; there is none; or the times of all are of
            another unit.
    """
    files = export_files(source)[: 1 if limit else None]
    with (
        tempfile.TemporaryDirectory(prefix="ga4-export-") as folder,
        duckdb.connect(f"{folder}/events.duckdb") as database,
        step("reading") as bar,
    ):
        # In one thread rows keep their order, so that an error names its row.
        database.execute("SET threads = 1")
        database.register("no_events", ARROW_SCHEMA.empty_table())
        database.execute("CREATE TABLE events AS SELECT 0 AS place, * FROM no_events")
        bar.total = len(files)
        bar.unit = "files"
        for number, path in enumerate(files):
            bar.done = number
            try:
                _read(database, path, copy=Path(folder) / "copy.json", limit=limit)
            except (OSError, duckdb.Error) as error:
                hint = f"Extract or download it again: {str(error).splitlines()[0]}"
                raise SchemaError(f"{path} cannot be read", hint=hint) from error
        database.execute(
            "DELETE FROM events AS e WHERE place > (SELECT MIN(place) FROM events AS o "
            "WHERE o.event_date = e.event_date)"
        )
        nine_tenths = "SELECT QUANTILE_DISC(event_timestamp, 0.9) FROM events"
        [(usual,)] = database.execute(nine_tenths).fetchall()
        if usual is None:
            raise SchemaError(f"{source} has no rows of a GA4 export")
        if usual < OLDEST:
            raise SchemaError(
                f"{source}: event_timestamp is {usual} in most rows, which is before "
                "2000",
                hint="Convert seconds or milliseconds to microseconds since 1970",
            )
        yield database


def _read(
    database: duckdb.DuckDBPyConnection, path: Path, *, copy: Path, limit: int | None
) -> None:
    """Check the rows of a file, and add them to ``events``."""
    some = f" LIMIT {limit}" if limit else ""
    file = _quoted(path)
    packed = PACKED.get(path.suffix.lower(), "UNCOMPRESSED")
    if path.name.lower().endswith(PARQUET):
        # Parquet becomes JSON, so that both are read and checked in one way.
        given = copy.with_suffix(".given")
        database.execute(
            f"COPY (FROM READ_PARQUET({file}){some}) TO {_quoted(given)} (FORMAT JSON)"
        )
        with given.open("rb") as rows, copy.open("wb") as plain:
            plain.writelines(map(_without_groups, rows))
        file = _quoted(copy)
    described = database.execute("DESCRIBE no_events").fetchall()
    kinds = {name: kind for name, kind, *_ in described}
    # JSON tells an id that is a number from a text.
    kinds |= dict.fromkeys(("user_pseudo_id", "user_id"), "JSON")
    for name, identity in (("ecommerce", "transaction_id"), ("items", "item_id")):
        kinds[name] = kinds[name].replace(f"{identity} VARCHAR", f"{identity} JSON")
    for name, kind in kinds.items():
        typed = TEXTS.sub(r"\1 VARCHAR", f"{name} {kind}")
        kinds[name] = typed.removeprefix(f"{name} ")
    form = "array" if _is_array(path) else "auto"

    fields = ", ".join(f"'{name}': '{kind}'" for name, kind in kinds.items())
    struct = ", ".join(f'"{name}" {kind}' for name, kind in kinds.items())
    how = f"FORMAT = '{form}', COMPRESSION = {packed}, COLUMNS = {{{fields}}}"
    plain_date = "REPLACE(event_date, '-', '') AS event_date"
    try:
        database.execute(
            "CREATE OR REPLACE TEMP TABLE given AS SELECT ROW_NUMBER() OVER () AS row, "
            f"* REPLACE ({plain_date}) FROM READ_JSON({file}, {how}){some}"
        )
    except duckdb.InvalidInputException as problem:
        malformed = re.search(r"Malformed JSON.* in \S+ (\d+): (.*)", str(problem))
        if malformed:
            # DuckDB names the next row.
            row = int(malformed[1]) - 1
            reason = malformed[2]
            expected = "expected JSON, a row a line or one array of rows"
            raise SchemaError(f"{path}, row {row}: {expected}: {reason}") from problem
        # DuckDB's number of a row is wrong where a value in a list is, so that the rows
        # are read once more, as JSON, and each beside what DuckDB makes of it.
        read = database.execute(
            f"SELECT json, TRY_CAST(json AS STRUCT({struct})) FROM READ_JSON_OBJECTS("
            f"{file}, FORMAT = '{form}', COMPRESSION = {packed})"
        )
        wrong = _first_wrong(read)
        hint = "Compare it with the columns of a GA4 export"
        raise SchemaError(f"{path}, {wrong}", hint=hint) from problem
    wrong_row = database.execute(WRONG_ROWS).fetchone()
    if wrong_row:
        raise SchemaError(f"{path}, row {wrong_row[0]}: {wrong_row[1]}")
    order = order_of(path)
    if order is None:
        order = 0
    database.execute(
        "INSERT INTO events BY NAME SELECT * EXCLUDE row REPLACE ("
        "COALESCE(event_date, STRFTIME(MAKE_TIMESTAMP(event_timestamp::BIGINT), "
        "'%Y%m%d')) AS event_date, user_pseudo_id ->> '$' AS user_pseudo_id, "
        "IF(ecommerce IS NULL, NULL, STRUCT_UPDATE(ecommerce, transaction_id := "
        "ecommerce.transaction_id ->> '$')) AS ecommerce, "
        "LIST_TRANSFORM(items, LAMBDA i: STRUCT_UPDATE(i, item_id := i.item_id ->> '$')"
        ") AS items, "
        f"user_id ->> '$' AS user_id), {order} AS place FROM given"
    )


def _first_wrong(rows: duckdb.DuckDBPyConnection) -> str:
    """Return which row and field DuckDB did not read, and what is there."""
    number = 0
    while batch := rows.fetchmany(CHECKED_ROWS):
        for text, read in batch:
            number += 1
            for field, value in _unread(json.loads(text), read):
                found = json.dumps(value)[:60]
                return f"row {number}: {field}: found {found}, which is of another type"
    return "a row is of other types"


def _unread(value: Any, read: Any, field: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the fields of a JSON value that are not in what was read of it."""
    if isinstance(value, dict) and isinstance(read, dict):
        for name in value.keys() & read.keys():
            inner = f"{field}.{name}" if field else name
            yield from _unread(value[name], read[name], inner)
    elif isinstance(value, list) and isinstance(read, list):
        for index, pair in enumerate(zip(value, read, strict=True)):
            yield from _unread(*pair, f"{field}[{index}]")
    elif value is not None and (read is None or isinstance(read, (dict, list))):
        yield field, value


def _is_array(path: Path) -> bool:
    """Return whether rows are an array, which a byte order mark hides from DuckDB."""
    with pa.input_stream(str(path), compression="detect") as file:
        beginning = file.read(4096).removeprefix(codecs.BOM_UTF8)
    return bool(beginning.lstrip().startswith(b"["))


def _without_groups(row: bytes) -> bytes:
    """Return a row with lists where BigQuery or Spark wrote groups list.element."""

    def inner(group: dict[str, Any]) -> Any:
        if group.keys() != {"list"}:
            return group
        values = []
        if group["list"] is not None:
            for element in group["list"]:
                values += element.values()
        return values

    if b'{"list":' not in row:
        return row
    return json.dumps(json.loads(row, object_hook=inner)).encode() + b"\n"


def _quoted(path: Path) -> str:
    """Return a path as a text of SQL that DuckDB takes for no pattern."""
    return "'" + glob.escape(str(path)).replace("'", "''") + "'"


def check(source: Path) -> None:
    """Reject files that are no export by their first rows, which is quick."""
    with opened(source, limit=CHECKED_ROWS):
        pass


def summary(database: Any) -> Summary:
    """Return what an opened export holds."""
    per_day = "SELECT STRPTIME(event_date, '%Y%m%d')::DATE, COUNT(*) FROM events"
    rows = dict(database.execute(f"{per_day} GROUP BY ALL").fetchall())
    # A few stray days are no part of the data's span, nor are the events of devices
    # whose clock is days ahead or behind.
    dates = days_of_data(rows)
    database.execute(
        "CREATE OR REPLACE TEMP VIEW usual AS "
        "SELECT *, MAKE_TIMESTAMP(event_timestamp) AS moment FROM events "
        f"WHERE event_date BETWEEN '{min(dates):%Y%m%d}' AND '{max(dates):%Y%m%d}' AND "
        "ABS(DATE_DIFF('day', STRPTIME(event_date, '%Y%m%d'), moment)) <= 1"
    )
    [(users, *has)] = database.execute(
        "SELECT COUNT(DISTINCT COALESCE(user_pseudo_id, user_id)), "
        "COUNT(user_pseudo_id), COUNT(user_id) FROM usual"
    ).fetchall()
    several = "SELECT event_name FROM usual GROUP BY ALL HAVING COUNT(*) > 1"
    names = database.execute(several).fetchall()
    # When the bulk of each UTC day, which is none of the property's, has happened.
    by_day = database.execute(
        "SELECT moment::DATE, COUNT(*), QUANTILE_DISC(moment, 0.95) FROM usual "
        "GROUP BY 1"
    ).fetchall()
    if not by_day:
        problem = "event_timestamp and event_date are of different days"
        raise SchemaError(problem, hint="Correct one of them")
    whole = days_of_data({day: count for day, count, _ in by_day})
    ends = sorted(end for day, _, end in by_day if day in whole)
    *before, end = (at.time() for at in ends)
    # Data whose last day ends earlier than any of two weeks before are cut short in it.
    is_cut = end < min(before[-COMPARED_DAYS:], default=end)
    # A person is a browser with a user_id.
    kinds = ("user_pseudo_id", "user_id", "person")
    columns = zip(kinds, list(has) + [min(has)], strict=True)
    return Summary(
        rows=sum(rows.values()),
        users=users,
        dates=frozenset(dates),
        last_full_day=ends[-1].date() - is_cut * DAY,
        events=frozenset(name for (name,) in names),
        user_columns=frozenset(name for name, count in columns if count > 1),
    )


def load_export(client: bigquery.Client, dataset: str, source: Path) -> Summary:
    """
    Load anyone's export rows into ``events_YYYYMMDD`` shards of a GA4 dataset.

    Every day found replaces its shard; other shards stay. Nothing is loaded unless
    every row can be read; a SchemaError names one that is no export's.
    """
    with opened(source) as database:
        result = database.execute("SELECT DISTINCT event_date FROM events ORDER BY ALL")
        names = [f"{PREFIX}{day}" for (day,) in result.fetchall()]
        # Some at once: memory does not hold all.
        for start in range(0, len(names), AT_ONCE):
            some = names[start : start + AT_ONCE]
            load_tables(client, dataset, {n: rows_of(database, n) for n in some})
        return replace(summary(database), remarks=remarks(source))


def rows_of(database: duckdb.DuckDBPyConnection, name: str) -> pa.Table:
    """Return the rows of a shard in ``ARROW_SCHEMA``."""
    of_day = "SELECT * EXCLUDE place FROM events WHERE event_date = ?"
    result = database.execute(of_day, [name.removeprefix(PREFIX)])
    return result.to_arrow_table().cast(ARROW_SCHEMA)


def load_tables(
    client: bigquery.Client, dataset: str, tables: Mapping[str, pa.Table]
) -> None:
    """Load rows in ``ARROW_SCHEMA`` as shards, each replacing the one of its name."""
    client.create_dataset(dataset, exists_ok=True)
    path = dataset if "." in dataset else f"{client.project}.{dataset}"

    def load(name: str) -> None:
        replace_table(client, f"{path}.{name}", tables[name])

    with ThreadPoolExecutor(LOAD_WORKERS) as pool, step("loading") as bar:
        bar.total = len(tables)
        bar.unit = "days"
        for _ in pool.map(load, tables):
            bar.done += 1
