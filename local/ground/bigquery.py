"""
BigQuery in the process: what Google's client answers, from a database of DuckDB.

A project is a database, a dataset a schema. A wildcard is a table with the rows of the
tables of now, made again where one was changed: a plan of many tables takes longer.
"""

from __future__ import annotations

import contextlib
import importlib.resources
import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from google.api_core import exceptions as api
from google.cloud import bigquery

from local.ground.sql import (
    LISTS,
    TYPES,
    Statement,
    Untranslated,
    define,
    translated,
    view_of,
)
from local.ground.storage import Storage

Path3 = tuple[str, str, str]
LIST_COLUMNS = (
    "table_id VARCHAR, table_name VARCHAR, creation_time BIGINT, "
    "last_modified_time BIGINT, row_count BIGINT, size_bytes BIGINT, type BIGINT, "
    "table_type VARCHAR"
)
ABORT_SESSION = "CALL BQ.ABORT_SESSION()"
# Nobody counts the bytes of a row here.
ROW_BYTES = 100
MIB = 1024**2
# Names of types in BigQuery's schemas, by Arrow's.
KINDS = {
    pa.string(): "STRING",
    pa.int64(): "INTEGER",
    pa.float64(): "FLOAT",
    pa.bool_(): "BOOLEAN",
    pa.binary(): "BYTES",
    pa.date32(): "DATE",
    pa.timestamp("us", tz="UTC"): "TIMESTAMP",
    pa.timestamp("us"): "DATETIME",
    pa.decimal128(38, 9): "NUMERIC",
}


class Rows:
    """Rows of a statement, as Google's iterator has them."""

    def __init__(self, table: pa.Table, processed: int = 0) -> None:
        self.table = table
        self.total_rows = len(table)
        self.total_bytes_processed = processed

    @property
    def schema(self) -> list[bigquery.SchemaField]:
        return [field_of(field) for field in self.table.schema]

    def __iter__(self) -> Iterator[bigquery.Row]:
        names = self.table.column_names
        places = {name: place for place, name in enumerate(names)}
        columns = [column.to_pylist() for column in self.table.columns]
        for values in zip(*columns, strict=True):
            yield bigquery.Row(values, places)

    def to_arrow(self, **_: Any) -> pa.Table:
        return self.table

    def to_arrow_iterable(self, **_: Any) -> Iterator[pa.RecordBatch]:
        yield from self.table.to_batches()


@dataclass
class Job:
    """A statement or load that has ended."""

    rows: Rows
    total_bytes_processed: int = 0
    total_bytes_billed: int = 0
    num_dml_affected_rows: int | None = None
    session_info: bigquery.SessionInfo | None = None

    @property
    def schema(self) -> list[bigquery.SchemaField]:
        return self.rows.schema

    def result(self, **_: Any) -> Rows:
        return self.rows


class BigQuery:
    """
    Datasets of any project, by the methods of ``bigquery.Client`` that are used.

    Attributes:
        changed: How often the rows of a table were changed.
        read: Results, by the statement, its parameters, and how often its tables were
            changed by then.
    """

    def __init__(self, project: str, storage: Storage, location: str = "US") -> None:
        self.project = project
        self.location = location
        self.storage = storage
        self.lock = threading.RLock()
        self.changed = Counter[Path3]()
        self.read: dict[tuple[object, ...], pa.Table] = {}
        self._modified: dict[Path3, int] = {}
        # Rows of tables, until one is changed.
        self._counts: dict[Path3, int] = {}
        self._locations: dict[tuple[str, str], str] = {}
        # Queries of views, in the order in which they were made.
        self._views: dict[Path3, str] = {}
        # What was created with more than columns: partitions, descriptions, …
        self._definitions: dict[Path3, dict[str, Any]] = {}
        # The tables of a wildcard, and how often they had been changed.
        self._wildcards: dict[Path3, dict[str, int]] = {}
        # The tables and views of datasets, until one comes or goes.
        self._listed: dict[tuple[str, str], dict[str, str]] = {}
        self._current: tuple[str, str] | None = None
        # Connections of sessions, each with temporary tables of its own, by their ids.
        self._sessions: dict[str, duckdb.DuckDBPyConnection] = {}
        self._numbers = itertools.count()
        self.database = _database()

    def close(self) -> None:
        """Stay: another client of the same ground may be used."""

    # -- copies -----------------------------------------------------------------------

    def save(self, project: str, file: Path) -> dict[str, Any]:
        """Write a project into a file; return what else is known of it."""
        with self.lock:
            self._execute(f"ATTACH '{file}' AS saved")
            self._execute(f"COPY FROM DATABASE {_quoted(project)} TO saved")
            self._execute("DETACH saved")
        return {
            "project": project,
            "known": [
                {path: value for path, value in kept.items() if path[0] == project}
                for kept in self._known()
            ],
        }

    def _known(self) -> Any:
        """Return what is known of tables beside their rows, each by their paths."""
        return self._locations, self._modified, self._views, self._definitions

    def restore(self, file: Path, saved: Mapping[str, Any], *, lent: bool) -> None:
        """
        Add a project that was saved.

        Args:
            lent: Read it from the file, which nobody may change; else it is copied.
        """
        project = _quoted(saved["project"])
        with self.lock:
            name = project if lent else "saved"
            self._execute(f"ATTACH '{file}' AS {name} (READ_ONLY)")
            if not lent:
                self._execute(f"ATTACH ':memory:' AS {project}")
                self._execute(f"COPY FROM DATABASE saved TO {project}")
                self._execute("DETACH saved")
            for kept, values in zip(self._known(), saved["known"], strict=True):
                kept.update(values)
            self.changed.update(saved["known"][1].keys())

    # -- datasets and tables ----------------------------------------------------------

    def create_dataset(self, dataset: Any, exists_ok: bool = False, **_: Any) -> Any:
        if isinstance(dataset, str):
            dataset = bigquery.Dataset(self._dataset_id(dataset))
        place = dataset.project, dataset.dataset_id
        with self.lock:
            if place in self._locations:
                if not exists_ok:
                    raise api.Conflict(f"Already Exists: Dataset {':'.join(place)}")
                return dataset
            projects = {project for project, _ in self._locations}
            if place[0] not in projects:
                self.database.execute(f"ATTACH ':memory:' AS {_quoted(place[0])}")
            self.database.execute(f"CREATE SCHEMA {_quoted(*place)}")
            where = dataset.location
            self._locations[place] = where if where else self.location
        return dataset

    def get_dataset(self, dataset: str, **_: Any) -> Any:
        of_text: Any = bigquery.DatasetReference.from_string
        reference = of_text(self._dataset_id(dataset))
        place = reference.project, reference.dataset_id
        self._exists(place)
        found = bigquery.Dataset(reference)
        found.location = self._locations[place]
        return found

    def list_datasets(self, project: str, **_: Any) -> list[Any]:
        places = sorted(self._locations)
        references = [bigquery.DatasetReference(*place) for place in places]
        return [one for one in references if one.project == project]

    def _dataset_id(self, dataset: str) -> str:
        return dataset if "." in dataset else f"{self.project}.{dataset}"

    def _exists(self, place: tuple[str, str]) -> None:
        if place not in self._locations:
            raise api.NotFound(f"Not found: Dataset {':'.join(place)}")

    def _table_exists(self, path: Path3) -> None:
        self._exists(path[:2])
        if path[2] not in self._names(path[:2]):
            raise api.NotFound(f"Not found: Table {_label(path)}")

    def list_tables(self, dataset: Any, **_: Any) -> list[Any]:
        place = self.get_dataset(str(dataset)).reference
        names = self._names((place.project, place.dataset_id))
        return [
            bigquery.table.TableListItem(
                {
                    "tableReference": place.table(name).to_api_repr(),
                    "type": kind,
                }
            )
            for name, kind in names.items()
        ]

    def _names(self, place: tuple[str, str]) -> dict[str, str]:
        """Return the tables and views of a dataset, and which they are."""
        if place not in self._listed:
            listing = (
                "SELECT table_name, table_type FROM information_schema.tables "
                "WHERE table_catalog = ? AND table_schema = ? ORDER BY 1"
            )
            with self.lock:
                rows = self.database.execute(listing, list(place)).fetchall()
            self._listed[place] = {
                name: "VIEW" if kind == "VIEW" else "TABLE" for name, kind in rows
            }
        return self._listed[place]

    def create_table(
        self, table: bigquery.Table, exists_ok: bool = False, **_: Any
    ) -> bigquery.Table:
        path = self._path(table)
        with self.lock:
            self._exists(path[:2])
            if path[2] in self._names(path[:2]):
                if not exists_ok:
                    raise api.Conflict(f"Already Exists: Table {_label(path)}")
            elif table.view_query:
                self._make_view(path, table.view_query)
            else:
                self._make_table(path, table.schema)
                self._definitions[path] = table.to_api_repr()
        return table

    def _make_table(self, path: Path3, schema: Sequence[bigquery.SchemaField]) -> None:
        columns = ", ".join(map(_column, schema))
        self.database.execute(f"CREATE OR REPLACE TABLE {_quoted(*path)} ({columns})")
        self._note(path, is_new=True)

    def _make_view(self, path: Path3, sql: str) -> None:
        [statement] = translated(sql)
        self._prepare(statement, path[:2])
        self._execute(f"CREATE OR REPLACE VIEW {_quoted(*path)} AS {statement.text}")
        self._views[path] = sql
        self._note(path, is_new=True)

    def update_table(
        self, table: bigquery.Table, fields: Sequence[str], **_: Any
    ) -> bigquery.Table:
        path = self._path(table)
        if fields != ["view_query"]:
            raise Untranslated(f"a change of {fields}")
        with self.lock:
            self._table_exists(path)
            self._make_view(path, table.view_query)
        return table

    def get_table(self, table: Any, **_: Any) -> bigquery.Table:
        path = self._path(table)
        self._table_exists(path)
        reference = bigquery.TableReference.from_string(".".join(path))
        found = bigquery.Table.from_api_repr(
            {
                **self._definitions.get(path, {}),
                "tableReference": reference.to_api_repr(),
                "location": self._locations[path[:2]],
                "numRows": "0",
                "numBytes": "0",
                "type": "VIEW" if path in self._views else "TABLE",
            }
        )
        if path in self._views:
            found.view_query = self._views[path]
            return found
        rows = self._count(path)
        with self.lock:
            table = _quoted(*path)
            described = self.database.execute(f"DESCRIBE {table}").fetchall()
            arrow = self.database.execute(f"FROM {table} LIMIT 0").to_arrow_table()
        required = {name for name, _, null, *_ in described if null == "NO"}
        found.schema = [field_of(one, one.name in required) for one in arrow.schema]
        properties = found.to_api_repr()
        properties |= {"numRows": str(rows), "numBytes": str(rows * ROW_BYTES)}
        properties["lastModifiedTime"] = str(self._modified.get(path, 0))
        return bigquery.Table.from_api_repr(properties)

    def delete_table(self, table: Any, not_found_ok: bool = False, **_: Any) -> None:
        path = self._path(table)
        with self.lock:
            if not_found_ok and path[2] not in self._names(path[:2]):
                return
            self._table_exists(path)
            kind = self._names(path[:2])[path[2]]
            self.database.execute(f"DROP {kind} {_quoted(*path)}")
            self._views.pop(path, None)
            self._definitions.pop(path, None)
            self._note(path, is_new=True)

    def _path(self, table: Any) -> Path3:
        if isinstance(table, str):
            table = bigquery.TableReference.from_string(table, self.project)
        return table.project, table.dataset_id, table.table_id

    def _count(self, path: Path3) -> int:
        with self.lock:
            if path not in self._counts:
                counted = self.database.execute(
                    f"SELECT COUNT(*) FROM {_quoted(*path)}"
                )
                [(self._counts[path],)] = counted.fetchall()
            return self._counts[path]

    def _note(self, path: Path3, *, is_new: bool = False) -> None:
        """Note that a table was changed: later than any other."""
        if is_new:
            self._listed.pop(path[:2], None)
        self._counts.pop(path, None)
        self.changed[path] += 1
        now = time.time_ns() // 1_000_000
        self._modified[path] = max(now, self._modified.get(path, 0) + 1)

    # -- rows -------------------------------------------------------------------------

    def list_rows(
        self, table: Any, selected_fields: Sequence[Any] = (), **_: Any
    ) -> Rows:
        path = self._path(table)
        columns = ", ".join(_quoted(field.name) for field in selected_fields)
        rows = f"SELECT {columns if columns else '*'} FROM {_quoted(*path)}"
        with self.lock:
            self._table_exists(path)
            return Rows(_as_bigquery(self._execute(rows).to_arrow_table()))

    def empty(self, paths: Iterable[Path3]) -> None:
        """Remove all rows of tables that have any."""
        with self.lock:
            for path in paths:
                if self._count(path):
                    self._execute(f"TRUNCATE {_quoted(*path)}")
                    self._note(path)

    def append(self, path: Path3, rows: pa.Table) -> None:
        """Append rows, columns by their names."""
        with self.lock:
            self._table_exists(path)
            if len(rows):
                self._insert(path, rows)
            self._note(path)

    def _insert(self, path: Path3, rows: pa.Table) -> None:
        # BigQuery has no null for a list.
        columns = ", ".join(
            f"COALESCE({name}, []) AS {name}" if pa.types.is_list(field.type) else name
            for field in rows.schema
            for name in [_quoted(field.name)]
        )
        self.database.register("given", rows)
        try:
            self._execute(
                f"INSERT INTO {_quoted(*path)} BY NAME SELECT {columns} FROM given"
            )
        finally:
            self.database.unregister("given")

    def load_table_from_file(
        self, file: IO[bytes], table: Any, *, job_config: Any, **_: Any
    ) -> Job:
        """Load a Parquet file."""
        file.seek(0)
        return self._load(pq.read_table(file), self._path(table), job_config)

    def load_table_from_json(
        self, rows: Iterable[Mapping[str, Any]], table: Any, **more: Any
    ) -> Job:
        config = more.get("job_config", bigquery.LoadJobConfig())
        return self._load(pa.Table.from_pylist(list(rows)), self._path(table), config)

    def _load(self, rows: pa.Table, path: Path3, config: Any) -> Job:
        with self.lock:
            if config.create_disposition == "CREATE_NEVER":
                self._table_exists(path)
            self._exists(path[:2])
            is_there = path[2] in self._names(path[:2])
            schema = config.schema
            if not schema:
                schema = [field_of(field) for field in _as_bigquery(rows[:0]).schema]
            if not is_there or config.write_disposition == "WRITE_TRUNCATE":
                self._make_table(path, schema)
            if len(rows):
                self._insert(path, rows)
            self._note(path)
        return Job(Rows(pa.table({})))

    # -- statements -------------------------------------------------------------------

    def query_and_wait(self, sql: str, *, job_config: Any = None, **_: Any) -> Rows:
        return self.query(sql, job_config=job_config).rows

    def query(self, sql: str, *, job_config: Any = None, **_: Any) -> Job:
        """Run a script to its end."""
        config = job_config if job_config else bigquery.QueryJobConfig()
        session = self._session_of(config)
        if sql == ABORT_SESSION:
            self._sessions.pop(session).close()
            return Job(Rows(pa.table({})))
        default = config.default_dataset
        place = ("", "") if default is None else (default.project, default.dataset_id)
        given = {one.name: _value(one) for one in config.query_parameters}
        kinds = {one.name: _type(one) for one in config.query_parameters}
        script = translated(sql, tuple(sorted(kinds.items())))
        with self.lock, self._within(session):
            for statement in script:
                self._prepare(statement, place)
            tables = set[Path3]()
            for statement in script:
                tables |= self._sources(statement, place)
            processed = self._size(tables)
            most = config.maximum_bytes_billed
            if most is not None and processed > int(most):
                raise api.BadRequest(
                    f"Query exceeded limit for bytes billed: {most}. {processed} or "
                    "higher required."
                )
            if config.dry_run:
                with self._naming(tables):
                    described = [self._bound(statement, given) for statement in script]
                return Job(Rows(described[-1]), processed)
            states = tuple((path, self.changed[path]) for path in sorted(tables))
            key = (sql, repr(sorted(given.items())), place, states)
            is_list = any(path[2] in LISTS for path in tables)
            is_kept = script[-1].is_query and len(script) == 1 and not is_list
            is_kept = is_kept and not session
            if is_kept and key in self.read:
                return Job(Rows(self.read[key]))
            with self._naming(tables):
                table, changed = self._run(script, given, place, session)
            if is_kept:
                self.read[key] = table
        billed = max(10 * MIB, -(-processed // MIB) * MIB) if processed else 0
        job = Job(Rows(table, processed), processed, billed, changed)
        if session:
            job.session_info = bigquery.SessionInfo({"sessionId": session})
        return job

    def _session_of(self, config: Any) -> str:
        """Return the id of a statement's session, which it may begin; "" for none."""
        session = ""
        for prop in config.connection_properties:
            session = str(prop.value)
        if config.create_session:
            session = f"session-{next(self._numbers)}"
            self._sessions[session] = _prepared(self.database.cursor())
        if session and session not in self._sessions:
            raise api.BadRequest(f"Session {session} is not found")
        return session

    @contextlib.contextmanager
    def _within(self, session: str) -> Iterator[None]:
        """Have statements run by the connection of a session, if there is one."""
        if not session:
            yield
            return
        shared = self.database
        current = self._current
        self.database = self._sessions[session]
        self._current = None
        try:
            yield
        finally:
            self.database = shared
            self._current = current

    def _drop(self, names: Iterable[str]) -> None:
        """Drop temporary tables."""
        for name in names:
            self.database.execute(f"DROP TABLE IF EXISTS temp.{_quoted(name)}")

    @contextlib.contextmanager
    def _naming(self, tables: Iterable[Path3]) -> Iterator[None]:
        """Name the table that is missing, where a statement finds none."""
        try:
            yield
        except api.NotFound:
            temporary = "SELECT table_name FROM duckdb_tables() WHERE temporary"
            made = {name for (name,) in self.database.execute(temporary).fetchall()}
            for path in sorted(tables):
                if path[2] not in made:
                    self._table_exists(path)
            raise

    def _run(
        self,
        script: Sequence[Statement],
        given: Mapping[str, Any],
        place: tuple[str, str],
        session: str,
    ) -> tuple[pa.Table, int | None]:
        result = pa.table({})
        changed = None
        made = list[str]()
        try:
            for statement in script:
                values = {name: given[name] for name in statement.parameters}
                done = self._execute(statement.text, values)
                if statement.kind == "export":
                    self._export(done.to_arrow_table(), statement.target)
                elif statement.is_query:
                    result = _as_bigquery(done.to_arrow_table())
                elif statement.kind in ("insert", "delete", "update", "merge"):
                    [(count,)] = done.fetchall()
                    changed = count if changed is None else changed + count
                if statement.changes is None:
                    continue
                if statement.temporary:
                    made.append(statement.changes[2])
                else:
                    is_new = statement.kind in ("create", "drop")
                    self._note(self._full(statement.changes, place), is_new=is_new)
        except BaseException:
            with contextlib.suppress(duckdb.TransactionException):
                self.database.execute("ROLLBACK")
            raise
        finally:
            # Those of a session stay until it ends.
            if not session:
                self._drop(made)
        return result, changed

    def _export(self, rows: pa.Table, uri: str) -> None:
        file = pa.BufferOutputStream()
        pq.write_table(rows, file)
        bucket, _, name = uri.removeprefix("gs://").partition("/")
        name = name.replace("*", "000000000000")
        data = file.getvalue().to_pybytes()
        self.storage.bucket(bucket).blob(name).upload_from_string(data)

    def _execute(self, text: str, values: Mapping[str, Any] | None = None) -> Any:
        """Run a statement of DuckDB; raise its errors as BigQuery's."""
        try:
            return self.database.execute(text, values)
        except duckdb.Error as error:
            raise _error_of(error, text) from error

    def _bound(self, statement: Statement, given: Mapping[str, Any]) -> pa.Table:
        """Have DuckDB bind a statement that is not run; return its columns."""
        if not statement.is_query:
            return pa.table({})
        values = {name: given[name] for name in statement.parameters}
        bound = self._execute(f"SELECT * FROM ({statement.text}) LIMIT 0", values)
        return _as_bigquery(bound.to_arrow_table())

    def _full(self, path: Path3, place: tuple[str, str]) -> Path3:
        project, dataset, name = path
        if not dataset:
            return place[0], place[1], name
        return project if project else self.project, dataset, name

    def _prepare(self, statement: Statement, place: tuple[str, str]) -> None:
        """Have names without a dataset be of this one, and lists be of now."""
        if self._current != place:
            schema = place
            if all(place):
                self._exists(place)
            else:
                # A session finds no table of the dataset that was used last.
                schema = (self.project, "main")
            self.database.execute(f"USE {_quoted(*schema)}")
            self._current = place
        for named in self._named(statement, place):
            if named[2] in LISTS:
                self._list(named)
        wildcards = {
            named
            for named in self._named(statement, place)
            if named[2].endswith("*") and self._gather(named)
        }
        if wildcards:
            self._renew_views(wildcards)

    def _sources(self, statement: Statement, place: tuple[str, str]) -> set[Path3]:
        """Return what a statement reads, by views and wildcards, too."""
        found = set[Path3]()
        for path in self._named(statement, place):
            full = self._full(path, place)
            found.add(full)
            if full[2].endswith("*"):
                found.update(_sibling(full, name) for name in self._matches(full))
        return found

    def _named(self, statement: Statement, place: tuple[str, str]) -> set[Path3]:
        """Return the names in a statement, and in the views that it reads."""
        found = set(statement.reads)
        for path in statement.reads:
            full = self._full(path, place)
            view = self._views.get(full)
            if view is not None:
                [inner] = translated(view)
                found |= self._named(inner, full[:2])
        return found

    def _matches(self, path: Path3) -> list[str]:
        prefix = path[2].rstrip("*")
        names = self._names(path[:2])
        return [name for name in names if name.startswith(prefix)]

    def _gather(self, named: Path3) -> bool:
        """Have a wildcard be the rows of its tables of now; return if it changed."""
        path = self._full(named, ("", ""))
        names = self._matches(path)
        if not names:
            raise api.BadRequest(f"{_label(path)} does not match any table.")
        if any(_sibling(path, name) in self._views for name in names):
            raise api.BadRequest("Views cannot be queried through prefix.")
        states = {name: self.changed[_sibling(path, name)] for name in names}
        if self._wildcards.get(named) == states:
            return False
        prefix = path[2].rstrip("*")
        rows = " UNION ALL BY NAME ".join(
            f"SELECT *, '{name.removeprefix(prefix)}' AS _TABLE_SUFFIX "
            f"FROM {_quoted(*_sibling(path, name))}"
            for name in names
        )
        self._execute(f"CREATE OR REPLACE TABLE {_quoted(*view_of(named))} AS {rows}")
        self._wildcards[named] = states
        return True

    def _renew_views(self, wildcards: set[Path3]) -> None:
        """
        Make views anew that read wildcards which have changed.

        A view knows the types of what it reads from when it was made.
        """
        for view, sql in self._views.items():
            [inner] = translated(sql)
            reads = self._named(inner, view[:2])
            if not reads & wildcards:
                continue
            # One of which no table is left cannot be read, until it is replaced.
            with contextlib.suppress(api.BadRequest):
                for named in reads:
                    if named[2].endswith("*"):
                        self._gather(named)
                text = f"CREATE OR REPLACE VIEW {_quoted(*view)} AS {inner.text}"
                self._execute(text)

    def _list(self, named: Path3) -> None:
        """Have a list of tables be of now."""
        path = self._full(named, ("", ""))
        self._exists(path[:2])
        listed = _quoted(*view_of(named))
        self.database.execute(f"CREATE OR REPLACE TABLE {listed} ({LIST_COLUMNS})")
        for name, kind in self._names(path[:2]).items():
            is_view = kind == "VIEW"
            count = 0 if is_view else self._count(_sibling(path, name))
            modified = self._modified.get(_sibling(path, name), 0)
            row = [name, name, modified, modified, count, count * ROW_BYTES]
            row += [2, "VIEW"] if is_view else [1, "BASE TABLE"]
            places = ", ".join("?" * len(row))
            self.database.execute(f"INSERT INTO {listed} VALUES ({places})", row)

    def _size(self, tables: Iterable[Path3]) -> int:
        """Return the bytes of tables that are there."""
        total = 0
        for path in tables:
            if path in self._modified and path not in self._views:
                with contextlib.suppress(duckdb.CatalogException):
                    total += self._count(path) * ROW_BYTES
        return total


def _database() -> duckdb.DuckDBPyConnection:
    database = duckdb.connect(
        config={"threads": 1, "autoinstall_known_extensions": False}
    )
    package = Path(str(importlib.resources.files("duckdb_extension_icu")))
    icu = package / f"extensions/v{duckdb.__version__}/icu.duckdb_extension"
    database.execute(f"LOAD '{icu}'")
    define(database)
    return _prepared(database)


def _prepared(connection: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """Return a connection that has BigQuery's time zone."""
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET enable_progress_bar = false")
    return connection


def _quoted(*names: str) -> str:
    return ".".join(f'"{name}"' for name in names)


def _sibling(path: Path3, name: str) -> Path3:
    """Return a table of the same dataset."""
    return path[0], path[1], name


def _label(path: Path3) -> str:
    return f"{path[0]}:{path[1]}.{path[2]}"


def _type_of(field: bigquery.SchemaField) -> str:
    if field.field_type in ("RECORD", "STRUCT"):
        inside = ", ".join(
            f"{_quoted(part.name)} {_type_of(part)}" for part in field.fields
        )
        kind = f"STRUCT({inside})"
    else:
        kind = TYPES[field.field_type]
    return f"{kind}[]" if field.mode == "REPEATED" else kind


def _column(field: bigquery.SchemaField) -> str:
    column = f"{_quoted(field.name)} {_type_of(field)}"
    if field.mode == "REPEATED":
        column += " DEFAULT []"
    return f"{column} NOT NULL" if field.mode == "REQUIRED" else column


def field_of(field: pa.Field, is_required: bool = False) -> bigquery.SchemaField:
    """Return a field of Arrow's as BigQuery describes it."""
    kind = field.type
    mode = "REQUIRED" if is_required else "NULLABLE"
    if pa.types.is_list(kind):
        mode = "REPEATED"
        kind = kind.value_type
    if pa.types.is_struct(kind):
        inside = [field_of(part) for part in kind]
        return bigquery.SchemaField(field.name, "RECORD", mode, fields=inside)
    return bigquery.SchemaField(field.name, KINDS[_arrow_type(kind)], mode)


def _arrow_type(kind: pa.DataType) -> pa.DataType:
    """Return the type of Arrow's in which BigQuery answers values of this one."""
    types = pa.types
    answered = kind
    if types.is_list(kind) or types.is_large_list(kind):
        answered = pa.list_(_arrow_type(kind.value_type))
    elif types.is_struct(kind):
        answered = pa.struct([(part.name, _arrow_type(part.type)) for part in kind])
    elif types.is_decimal(kind) and kind.scale:
        answered = pa.decimal128(38, 9)
    elif types.is_integer(kind) or types.is_decimal(kind):
        # DuckDB counts and adds whole numbers in 128 bits.
        answered = pa.int64()
    elif types.is_floating(kind):
        answered = pa.float64()
    elif types.is_large_string(kind) or types.is_null(kind):
        answered = pa.string()
    elif types.is_timestamp(kind):
        answered = pa.timestamp("us", tz="UTC" if kind.tz else None)
    return answered


def _as_bigquery(rows: pa.Table) -> pa.Table:
    fields = [(field.name, _arrow_type(field.type)) for field in rows.schema]
    schema = pa.schema(fields)
    return rows if rows.schema == schema else rows.cast(schema)


def _type(parameter: Any) -> str:
    if isinstance(parameter, bigquery.ArrayQueryParameter):
        return f"{TYPES[parameter.array_type]}[]"
    return TYPES[parameter.type_]


def _value(parameter: Any) -> Any:
    if isinstance(parameter, bigquery.ArrayQueryParameter):
        return list(parameter.values)
    return parameter.value


def _error_of(error: duckdb.Error, text: str) -> BaseException:
    """Return an error as BigQuery says it, or that DuckDB lacks something."""
    message = str(error)
    match error:
        case duckdb.CatalogException() if "Table with name" in message:
            return api.NotFound(f"Not found: Table: {message}")
        case duckdb.BinderException() if (
            "not found in FROM clause" in message
            or "does not have a column" in message
            or "Could not find key" in message
        ):
            return api.BadRequest(f"Unrecognized name: {message}")
        case duckdb.CatalogException() | duckdb.ParserException():
            return Untranslated(f"{message}\n{text}")
        case duckdb.BinderException() | duckdb.NotImplementedException():
            return Untranslated(f"{message}\n{text}")
        case duckdb.TransactionException():
            return api.BadRequest(f"Could not serialize access: {message}")
    # DuckDB says first which kind of error it is.
    return api.BadRequest(message.partition("Error: ")[2])
