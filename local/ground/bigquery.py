"""
BigQuery on this machine: what Google's client answers, from databases of DuckDB.

A project is a database, a dataset a schema; a statement has a connection of its own.
Whoever changes a table does so in turn, and in one transaction with what is known of
it. Appends wait for nobody.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import re
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from google.api_core import exceptions as api
from google.cloud import bigquery

from local.ground.catalog import Catalog, Changes, now_ms
from local.ground.database import CONFLICT, Database, translated_errors
from local.ground.fields import (
    IN_SQL,
    answered,
    column_of,
    fields_of,
    sql_types,
    type_of,
)
from local.ground.functions import Untranslated
from local.ground.sql import (
    LISTS,
    TYPES,
    Path3,
    Statement,
    quoted,
    reads_of,
    translated,
)
from local.ground.wildcards import Wildcards
from offline.usecases import googlesql

ABORT_SESSION = re.compile(r"\s*CALL\s+BQ\.ABORT_SESSION\(\)\s*;?\s*", re.IGNORECASE)
COUNTED = ("insert", "delete", "update", "merge")
# Statements with conditions on the table that they change.
FILTERED = ("delete", "update", "merge")
DOUBLED = "UPDATE/MERGE must match at most one source row for each target row"
# Nobody counts the bytes of a row here.
ROW_BYTES = 100
MIB = 1024**2
# Answers that are kept until a table changes, as BigQuery keeps them, and their rows.
KEPT_ANSWERS = 500
KEPT_ROWS = 1_000
# What is another one the next time, by its names in DuckDB.
VOLATILE = re.compile(r"\b(CURRENT_\w+|RANDOM|UUID)\b", re.IGNORECASE)
# Attempts of an append beside a statement that replaces the table.
ATTEMPTS = 10
LISTING = pa.schema(
    {
        "table_id": pa.string(),
        "table_name": pa.string(),
        "creation_time": pa.int64(),
        "last_modified_time": pa.int64(),
        "row_count": pa.int64(),
        "size_bytes": pa.int64(),
        "type": pa.int64(),
        "table_type": pa.string(),
    }
)


class Rows:
    """Rows of a statement, as Google's iterator has them."""

    def __init__(self, table: pa.Table, processed: int = 0) -> None:
        self.table = table
        self.total_rows = len(table)
        self.total_bytes_processed = processed

    @property
    def schema(self) -> list[bigquery.SchemaField]:
        return fields_of(self.table.schema)

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


@dataclass
class Call:
    """
    A call under way, which another thread may stop.

    Attributes:
        id: Of a job; what it changes is known by it, so that nothing is done twice.
        reason: Why it is to stop.
    """

    id: str = ""
    reason: str = ""
    cursor: Any = None

    def stop(self, reason: str) -> None:
        self.reason = reason
        if self.cursor is not None:
            self.cursor.interrupt()

    def check(self) -> None:
        """Raise if it is to stop: between two statements no interrupt is noticed."""
        if self.reason:
            raise api.BadRequest(self.reason)


@dataclass
class Session:
    """A connection with temporary tables of its own, for one statement at a time."""

    cursor: duckdb.DuckDBPyConnection
    lock: Any = field(default_factory=threading.Lock)


class BigQuery:
    """
    Datasets of any project, by the methods of ``bigquery.Client`` that are used.

    Args:
        project: Of names without one.
        storage: Where EXPORT DATA writes to: Google's client, or the ground's.
        folder: Holds a file for each project, which one process uses at a time; by
            default all is in memory.
        asks_google: Whether a dry run asks Google's analyzer, which takes what DuckDB
            takes for less.

    Attributes:
        changed: How often the rows of a table were changed, since this was opened.
    """

    def __init__(
        self,
        project: str,
        storage: Any,
        *,
        folder: Path | None = None,
        location: str = "US",
        asks_google: bool = False,
    ) -> None:
        self.project = project
        self.location = location
        self.asks_google = asks_google
        self.storage = storage
        self.changed = Counter[Path3]()
        self.catalog = Catalog()
        self._turns: dict[Path3, Any] = {}
        self._google = threading.Lock()
        self._sessions: dict[str, Session] = {}
        self._numbers = itertools.count()
        self._answers: dict[Any, pa.Table] = {}
        # Rows of tables, with how often these were changed by then.
        self._counts: dict[Path3, tuple[int, int]] = {}
        self._database = Database(folder)
        self._wildcards = Wildcards(self._database)
        with self._database.cursor() as cursor:
            for known in self._database.projects:
                self.catalog.read(cursor, known)

    def close(self) -> None:
        """Stay: another client of the same ground may be used."""

    def start_google(self) -> None:
        """Load Google's analyzer, so that the first dry run need not wait for it."""
        with self._google:
            googlesql.service()

    # -- copies -----------------------------------------------------------------------

    def save(self, project: str, file: Path) -> None:
        """Write a project into a file."""
        with self._database.cursor() as cursor:
            cursor.execute(f"ATTACH '{file}' AS saved")
            cursor.execute(f"COPY FROM DATABASE {quoted(project)} TO saved")
            cursor.execute("DETACH saved")

    def restore(self, project: str, file: Path, *, lent: bool) -> None:
        """
        Add a project that was saved.

        Args:
            lent: Read it from the file, which nobody may change; else it is copied.
        """
        with self._database.cursor() as cursor:
            name = quoted(project) if lent else "saved"
            cursor.execute(f"ATTACH '{file}' AS {name} (READ_ONLY)")
            if not lent:
                self._database.attach(project)
                cursor.execute(f"COPY FROM DATABASE saved TO {quoted(project)}")
                cursor.execute("DETACH saved")
            self.catalog.read(cursor, project)
        self.changed.update(path for path in self.catalog.tables if path[0] == project)

    # -- datasets and tables ----------------------------------------------------------

    def create_dataset(self, dataset: Any, exists_ok: bool = False, **_: Any) -> Any:
        if isinstance(dataset, str):
            dataset = bigquery.Dataset(self._dataset_id(dataset))
        place = dataset.project, dataset.dataset_id
        whole = (place[0], "", "")
        with self._in_turn(whole), self._database.cursor() as cursor:
            if place in self.catalog.datasets:
                if not exists_ok:
                    raise api.Conflict(f"Already Exists: Dataset {':'.join(place)}")
                return dataset
            if place[0] not in self._database.projects:
                self._database.attach(place[0])
            with self._changing(cursor, place[0], whole) as changes:
                self.catalog.create(cursor, place[0])
                cursor.execute(f"CREATE SCHEMA {quoted(*place)}")
                resource = dataset.to_api_repr()
                resource["location"] = resource.get("location") or self.location
                changes.datasets[place] = resource
        return dataset

    def get_dataset(self, dataset: Any, **_: Any) -> Any:
        of_text: Any = bigquery.DatasetReference.from_string
        reference = of_text(self._dataset_id(str(dataset)))
        place = reference.project, reference.dataset_id
        self._exists(place)
        return bigquery.Dataset.from_api_repr(self.catalog.datasets[place])

    def list_datasets(self, project: str, **_: Any) -> list[Any]:
        places = sorted(self.catalog.datasets)
        references = [bigquery.DatasetReference(*place) for place in places]
        return [one for one in references if one.project == project]

    def _dataset_id(self, dataset: str) -> str:
        return dataset if "." in dataset else f"{self.project}.{dataset}"

    def _exists(self, place: tuple[str, str]) -> None:
        if place not in self.catalog.datasets:
            raise api.NotFound(f"Not found: Dataset {':'.join(place)}")

    def _table_exists(self, path: Path3) -> None:
        if not path[1]:
            raise api.BadRequest(f'Table "{path[2]}" must be qualified with a dataset')
        self._exists(path[:2])
        if path not in self.catalog.tables:
            raise api.NotFound(f"Not found: Table {_label(path)}")

    def list_tables(self, dataset: Any, **_: Any) -> list[Any]:
        place = self.get_dataset(dataset).reference
        key = place.project, place.dataset_id
        listed = []
        for name in self.catalog.names(key):
            reference = place.table(name).to_api_repr()
            kind = self.catalog.kind((*key, name))
            resource = {"tableReference": reference, "type": kind}
            listed.append(bigquery.table.TableListItem(resource))
        return listed

    def create_table(
        self, table: bigquery.Table, exists_ok: bool = False, **_: Any
    ) -> bigquery.Table:
        path = self._path(table)
        with self._in_turn(path), self._database.cursor() as cursor:
            self._exists(path[:2])
            if path in self.catalog.tables:
                if not exists_ok:
                    raise api.Conflict(f"Already Exists: Table {_label(path)}")
                return table
            with self._changing(cursor, path[0], path) as changes:
                if table.view_query:
                    self._make_view(cursor, changes, path, table.view_query)
                else:
                    resource = table.to_api_repr()
                    self._make_table(cursor, changes, path, table.schema, resource)
        return table

    def _make_table(
        self,
        cursor: duckdb.DuckDBPyConnection,
        changes: Changes,
        path: Path3,
        schema: Sequence[bigquery.SchemaField],
        resource: Mapping[str, Any],
    ) -> None:
        columns = ", ".join(map(column_of, schema))
        with translated_errors():
            cursor.execute(f"CREATE OR REPLACE TABLE {quoted(*path)} ({columns})")
        fields = [one.to_api_repr() for one in schema]
        made = {"creationTime": str(now_ms()), **resource, "schema": {"fields": fields}}
        changes.tables[path] = made
        changes.touched.add(path)

    def _make_view(
        self,
        cursor: duckdb.DuckDBPyConnection,
        changes: Changes,
        path: Path3,
        sql: str,
    ) -> None:
        """Note the text of a view, whose columns stay those of now, as in BigQuery."""
        [statement] = self._translated(sql, (), path[:2])
        self._use(cursor, path[:2])
        self._prepare(cursor, statement)
        described = self._bound(cursor, statement, {})
        fields = [one.to_api_repr() for one in fields_of(described.schema)]
        changes.tables[path] = {
            "creationTime": str(now_ms()),
            "view": {"query": sql, "useLegacySql": False},
            "schema": {"fields": fields},
        }
        changes.touched.add(path)

    def update_table(
        self, table: bigquery.Table, fields: Sequence[str], **_: Any
    ) -> bigquery.Table:
        """Change the query of a view, add columns to a table, or describe it anew."""
        path = self._path(table)
        with self._in_turn(path), self._database.cursor() as cursor:
            self._table_exists(path)
            with self._changing(cursor, path[0], path) as changes:
                if "view_query" in fields:
                    self._make_view(cursor, changes, path, table.view_query)
                    return table
                if "schema" in fields:
                    self._add_columns(cursor, path, table.schema)
                known = self.catalog.tables[path]
                changes.tables[path] = {**known, **table.to_api_repr()}
                changes.touched.add(path)
        return table

    def _add_columns(
        self,
        cursor: duckdb.DuckDBPyConnection,
        path: Path3,
        schema: Sequence[bigquery.SchemaField],
    ) -> None:
        there = {one.name: one for one in self._fields(path)}
        if list(there.values()) != list(schema)[: len(there)]:
            raise api.BadRequest(
                f"Provided Schema does not match Table {_label(path)}: columns can "
                "only be added, at the end"
            )
        table = quoted(*path)
        for one in list(schema)[len(there) :]:
            column = quoted(one.name)
            cursor.execute(f"ALTER TABLE {table} ADD COLUMN {column} {type_of(one)}")
            if one.mode == "REPEATED":
                cursor.execute(f"UPDATE {table} SET {column} = []")
                cursor.execute(f"ALTER TABLE {table} ALTER {column} SET DEFAULT []")

    def _fields(self, path: Path3) -> list[bigquery.SchemaField]:
        described = self.catalog.tables[path].get("schema", {}).get("fields", [])
        return list(map(bigquery.SchemaField.from_api_repr, described))

    def get_table(self, table: Any, **_: Any) -> bigquery.Table:
        path = self._path(table)
        self._table_exists(path)
        reference = bigquery.TableReference.from_string(".".join(path))
        count = 0 if self.catalog.view(path) else self._count(path)
        return bigquery.Table.from_api_repr(
            {
                **self.catalog.tables[path],
                "tableReference": reference.to_api_repr(),
                "location": self.catalog.datasets[path[:2]]["location"],
                "numRows": str(count),
                "numBytes": str(count * ROW_BYTES),
                "type": self.catalog.kind(path),
            }
        )

    def delete_table(self, table: Any, not_found_ok: bool = False, **_: Any) -> None:
        path = self._path(table)
        with self._in_turn(path), self._database.cursor() as cursor:
            if not_found_ok and path not in self.catalog.tables:
                return
            self._table_exists(path)
            with self._changing(cursor, path[0], path) as changes:
                if not self.catalog.view(path):
                    cursor.execute(f"DROP TABLE {quoted(*path)}")
                changes.tables[path] = None

    def _path(self, table: Any) -> Path3:
        if isinstance(table, str):
            table = bigquery.TableReference.from_string(table, self.project)
        return table.project, table.dataset_id, table.table_id

    def _count(self, path: Path3) -> int:
        changes = self.changed[path]
        known, count = self._counts.get(path, (-1, 0))
        if known != changes:
            with self._database.cursor() as cursor:
                cursor.execute(f"SELECT COUNT(*) FROM {quoted(*path)}")
                [(count,)] = cursor.fetchall()
            self._counts[path] = changes, count
        return count

    # -- changes ----------------------------------------------------------------------

    @contextlib.contextmanager
    def _in_turn(self, *paths: Path3) -> Iterator[None]:
        """Change tables alone; all are taken in one order, so that no two wait."""
        with contextlib.ExitStack() as turns:
            for path in sorted(paths):
                turns.enter_context(self._turns.setdefault(path, threading.RLock()))
            yield

    @contextlib.contextmanager
    def _changing(
        self, cursor: duckdb.DuckDBPyConnection, project: str, *paths: Path3
    ) -> Iterator[Changes]:
        """Change tables, and what is known of them, in one transaction, in turn."""
        changes = Changes(project)
        with self._in_turn(*paths):
            cursor.execute("BEGIN")
            try:
                yield changes
                if changes.is_undone:
                    cursor.execute("ROLLBACK")
                    return
                with translated_errors():
                    self.catalog.write(cursor, changes)
                    cursor.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(duckdb.Error):
                    cursor.execute("ROLLBACK")
                raise
            self.catalog.keep(changes)
            self.changed.update(changes.tables.keys())

    def append(self, path: Path3, rows: pa.Table) -> None:
        """Append rows, columns by their names; it waits for no other statement."""
        self._table_exists(path)
        for attempt in range(ATTEMPTS):
            try:
                with self._database.cursor() as cursor:
                    _insert(cursor, path, rows)
                break
            except api.BadRequest as error:
                # The table was replaced meanwhile.
                if CONFLICT not in str(error) or attempt + 1 == ATTEMPTS:
                    raise
        self.changed[path] += 1

    def commit(
        self, path: Path3, streams: Mapping[str, Sequence[pa.RecordBatch]]
    ) -> None:
        """Append the rows of streams by their names: all of them, or none."""
        self._table_exists(path)
        with (
            self._database.cursor() as cursor,
            self._changing(cursor, path[0], path) as changes,
        ):
            for name, batches in streams.items():
                if batches:
                    _insert(cursor, path, pa.Table.from_batches(batches))
                changes.calls[name] = {}
            changes.touched.add(path)

    def refused(self, path: Path3, rows: pa.Table) -> dict[int, str]:
        """Return why a table does not take some rows, by their places."""
        reasons = {}
        with self._database.cursor() as cursor:
            for place in range(len(rows)):
                cursor.execute("BEGIN")
                try:
                    _insert(cursor, path, rows.slice(place, 1))
                except api.BadRequest as error:
                    reasons[place] = str(error.message)
                finally:
                    cursor.execute("ROLLBACK")
        return reasons

    def list_rows(
        self,
        table: Any,
        selected_fields: Sequence[Any] = (),
        start_index: int = 0,
        max_results: int | None = None,
        **_: Any,
    ) -> Rows:
        path = self._path(table)
        self._table_exists(path)
        columns = ", ".join(quoted(one.name) for one in selected_fields)
        rows = f"SELECT {columns if columns else '*'} FROM {quoted(*path)}"
        if max_results is not None:
            rows += f" LIMIT {max_results} OFFSET {start_index}"
        with self._database.cursor() as cursor, translated_errors(rows):
            return Rows(self._database.table(cursor.execute(rows)))

    def load_table_from_file(
        self, file: IO[bytes], table: Any, *, job_config: Any, **_: Any
    ) -> Job:
        """Load a Parquet file."""
        file.seek(0)
        self.load(reader_of(file), self._path(table), job_config)
        return Job(Rows(pa.table({})))

    def load(
        self, rows: Any, path: Path3, config: Any, call: Call | None = None
    ) -> int:
        """
        Load what a reader of Arrow has in one transaction; return how many rows.

        Args:
            call: Its id is kept with the rows.
        """
        self._exists(path[:2])
        if config.create_disposition == "CREATE_NEVER":
            self._table_exists(path)
        with (
            self._database.cursor() as cursor,
            self._changing(cursor, path[0], path) as changes,
        ):
            known = self.catalog.tables.get(path)
            fields = config.schema
            if not fields:
                fields = fields_of(answered(rows.schema))
            if known is None or config.write_disposition == "WRITE_TRUNCATE":
                # Partitions and descriptions stay where a schema says nothing of them.
                kept = {} if known is None else known
                self._make_table(cursor, changes, path, fields, kept)
            count = _insert(cursor, path, rows)
            changes.touched.add(path)
            if call is not None:
                call.check()
                changes.calls[call.id] = {"outputRows": str(count)}
        return count

    # -- statements -------------------------------------------------------------------

    def query_and_wait(self, sql: str, *, job_config: Any = None, **_: Any) -> Rows:
        return self.query(sql, job_config=job_config).rows

    def query(self, sql: str, *, job_config: Any = None, **_: Any) -> Job:
        """Run a script to its end."""
        config = job_config if job_config else bigquery.QueryJobConfig()
        return self.run(sql, config, Call())

    def run(self, sql: str, config: Any, call: Call) -> Job:
        """Run a script for a call, which may be stopped."""
        name = self._session_of(config)
        if ABORT_SESSION.fullmatch(sql):
            self._sessions.pop(name).cursor.close()
            return Job(Rows(pa.table({})))
        if not name:
            with self._database.cursor() as cursor:
                call.cursor = cursor
                return self._job(sql, config, call)
        session = self._sessions[name]
        with session.lock:
            call.cursor = session.cursor
            job = self._job(sql, config, call)
        job.session_info = bigquery.SessionInfo({"sessionId": name})
        return job

    def _session_of(self, config: Any) -> str:
        """Return the id of a statement's session, which it may begin; "" for none."""
        session = ""
        for prop in config.connection_properties:
            session = str(prop.value)
        if config.create_session:
            session = f"session-{now_ms()}-{next(self._numbers)}"
            self._sessions[session] = Session(self._database.cursor())
        if session and session not in self._sessions:
            raise api.BadRequest(f"Session {session} is not found")
        return session

    def _job(self, sql: str, config: Any, call: Call) -> Job:
        default = config.default_dataset
        place = ("", "") if default is None else (default.project, default.dataset_id)
        kinds = {one.name: _type(one) for one in config.query_parameters}
        given = {one.name: _value(one) for one in config.query_parameters}
        types = tuple(sorted(kinds.items()))
        script = self._translated(sql, types, place)
        for name in {name for one in script for name in one.parameters} - given.keys():
            raise api.BadRequest(f"Query parameter '{name}' not found")
        cursor = call.cursor
        self._use(cursor, place)
        tables = {path for statement in script for path in self._sources(statement)}
        processed = self._size(tables)
        most = config.maximum_bytes_billed
        if most is not None and processed > int(most):
            raise api.BadRequest(
                f"Query exceeded limit for bytes billed: {most}. {processed} or "
                "higher required."
            )
        billed = max(10 * MIB, -(-processed // MIB) * MIB) if processed else 0
        with self._naming(cursor, tables):
            if config.dry_run:
                if self.asks_google and len(script) == 1:
                    # It answers one question at a time.
                    with self._google:
                        self._ask_google(sql, config.query_parameters, place)
                described = pa.table({})
                for statement in script:
                    self._prepare(cursor, statement)
                    described = self._bound(cursor, statement, given)
                return Job(Rows(described), processed)
            asked: Any = None
            if not config.create_session and not config.connection_properties:
                states = [(path, self.changed[path]) for path in sorted(tables)]
                values = hashlib.sha256(repr(sorted(given.items())).encode()).digest()
                asked = sql, values, types, place, tuple(states)
            if asked in self._answers:
                return Job(Rows(self._answers[asked], processed), processed, billed)
            table, changed = self._run(script, given, place, call)
            if asked and len(table) <= KEPT_ROWS and _is_lasting(script):
                if len(self._answers) >= KEPT_ANSWERS:
                    self._answers.clear()
                self._answers[asked] = table
        return Job(Rows(table, processed), processed, billed, changed)

    def _ask_google(self, sql: str, parameters: Any, place: tuple[str, str]) -> None:
        """Refuse what Google's analyzer refuses, where it knows all the tables."""
        relations = {}
        for name in googlesql.tables_of(sql):
            columns = self._columns_in_sql(name, place)
            if not columns:
                # It is temporary, or missing, which a dry run says as well.
                return
            relations[name] = columns
        given = {one.name: _type_in_sql(one) for one in parameters}
        try:
            googlesql.resolve(sql, relations, given)
        except googlesql.Refused as error:
            place_in_sql = f"[{error.line}:{error.column}]"
            raise api.BadRequest(f"{error} at {place_in_sql}") from None

    def _columns_in_sql(self, name: str, place: tuple[str, str]) -> dict[str, str]:
        """Return the types of a table's columns; none of one that is not known."""
        *dataset, table = name.split(".")
        default = place[0] if place[0] else self.project, place[1]
        whole = (*default[: 2 - len(dataset)], *dataset)
        path = whole[0], whole[1], table
        if path in self.catalog.tables:
            return sql_types(self._fields(path))
        columns: dict[str, str] = {}
        if table.endswith("*") and path[:2] in self.catalog.datasets:
            for _, one in self._of(path):
                columns |= sql_types(self._fields(one))
            columns["_TABLE_SUFFIX"] = "STRING"
        return columns

    def _translated(
        self, sql: str, types: tuple[tuple[str, str], ...], place: tuple[str, str]
    ) -> list[Statement]:
        """Return the statements of a script with the views of now."""
        project, dataset = place
        place = (project if project else self.project), dataset
        views: dict[Path3, str] = {}
        named = list(reads_of(sql, place))
        while named:
            path = named.pop()
            view = self.catalog.view(path)
            if view and path not in views:
                views[path] = view
                named.extend(reads_of(view, path[:2]))
        return translated(sql, types, place, tuple(sorted(views.items())))

    @contextlib.contextmanager
    def _naming(
        self, cursor: duckdb.DuckDBPyConnection, tables: Iterable[Path3]
    ) -> Iterator[None]:
        """Name the table that is missing, where a statement finds none."""
        try:
            yield
        except api.NotFound:
            temporary = "SELECT table_name FROM duckdb_tables() WHERE temporary"
            made = {name for (name,) in cursor.execute(temporary).fetchall()}
            for path in sorted(tables):
                if path[2] not in made:
                    self._table_exists(path)
            raise

    def _run(
        self,
        script: Sequence[Statement],
        given: Mapping[str, Any],
        place: tuple[str, str],
        call: Call,
    ) -> tuple[pa.Table, int | None]:
        result = pa.table({})
        counts = list[int]()
        changes: Changes | None = None
        # What a script answers after its last change is lost with the process.
        last = -1 if script[-1].is_query else _last_change(script)
        changed = {one.changes for one in script if one.changes and not one.temporary}
        with contextlib.ExitStack() as transaction:
            for number, statement in enumerate(script):
                call.check()
                self._prepare(call.cursor, statement)
                project = place[0] if place[0] else self.project
                if statement.kind == "transaction":
                    begun = self._changing(call.cursor, project, *changed)
                    changes = transaction.enter_context(begun)
                    continue
                if statement.kind in ("commit", "rollback"):
                    if changes is None:
                        raise api.BadRequest("Transaction control: none is open")
                    changes.is_undone = statement.kind == "rollback"
                    _note(changes, call, counts, is_whole=number == last)
                    transaction.close()
                    changes = None
                    continue
                if statement.changes is None or statement.temporary or changes:
                    done = self._step(statement, given, changes, call.cursor)
                else:
                    path = statement.changes
                    with self._changing(call.cursor, path[0], path) as own:
                        done = self._step(statement, given, own, call.cursor)
                        counted = counts + [done] if isinstance(done, int) else counts
                        _note(own, call, counted, is_whole=number == last)
                if isinstance(done, int):
                    counts.append(done)
                elif done is not None:
                    result = done
            if changes is not None:
                changes.is_undone = True
        return result, sum(counts) if counts else None

    def _step(
        self,
        statement: Statement,
        given: Mapping[str, Any],
        changes: Changes | None,
        cursor: duckdb.DuckDBPyConnection,
    ) -> pa.Table | int | None:
        """Run a statement; return its rows, how many it has changed, or nothing."""
        values = {name: given[name] for name in statement.parameters}
        path = statement.changes
        if path is not None and changes is not None:
            if statement.view:
                self._make_view(cursor, changes, path, statement.view)
                return None
            if statement.kind == "drop" and self.catalog.view(path):
                changes.tables[path] = None
                return None
        if statement.doubled is not None:
            doubled = self._step(statement.doubled, given, None, cursor)
            if isinstance(doubled, pa.Table) and len(doubled):
                raise api.BadRequest(DOUBLED)
        with translated_errors(statement.text):
            done = cursor.execute(statement.text, values)
            if statement.kind == "export":
                self._export(done, statement.target)
                return None
            if statement.is_query:
                return self._database.table(done)
            counted: int | None = None
            if statement.kind in COUNTED:
                [(counted,)] = done.fetchall()
        if path is None or changes is None or statement.temporary:
            return counted
        if statement.kind == "drop":
            changes.tables[path] = None
        elif statement.kind in ("create", "alter"):
            empty = cursor.execute(f"FROM {quoted(*path)} LIMIT 0").to_arrow_table()
            fields = [one.to_api_repr() for one in fields_of(answered(empty.schema))]
            known = self.catalog.tables.get(path, {"creationTime": str(now_ms())})
            changes.tables[path] = {**known, "schema": {"fields": fields}}
        changes.touched.add(path)
        return counted

    def _export(self, done: duckdb.DuckDBPyConnection, uri: str) -> None:
        if not uri.startswith("gs://"):
            raise api.BadRequest(f"Invalid destination: {uri} is not in a bucket")
        rows = self._database.table(done)
        file = pa.BufferOutputStream()
        pq.write_table(rows, file)
        bucket, _, name = uri.removeprefix("gs://").partition("/")
        name = name.replace("*", "000000000000")
        data = file.getvalue().to_pybytes()
        self.storage.bucket(bucket).blob(name).upload_from_string(data)

    def _bound(
        self,
        cursor: duckdb.DuckDBPyConnection,
        statement: Statement,
        given: Mapping[str, Any],
    ) -> pa.Table:
        """Have DuckDB bind a statement that is not run; return its columns."""
        if not statement.is_query:
            return pa.table({})
        values = {name: given[name] for name in statement.parameters}
        text = f"SELECT * FROM ({statement.text}) LIMIT 0"
        with translated_errors(text):
            return self._database.table(cursor.execute(text, values))

    def _use(self, cursor: duckdb.DuckDBPyConnection, place: tuple[str, str]) -> None:
        """Have names without a dataset be of this one."""
        schema = place
        if all(place):
            self._exists(place)
        elif self.project in self._database.projects:
            # Of names without a dataset it has none.
            schema = (self.project, "main")
        else:
            schema = ("memory", "main")
        cursor.execute(f"USE {quoted(*schema)}")

    def _prepare(self, cursor: duckdb.DuckDBPyConnection, statement: Statement) -> None:
        """Have lists and wildcards of a statement be of now."""
        for path in sorted(statement.reads):
            if path[2] in LISTS:
                cursor.register(".".join(path), self._listing(path[:2]))
            elif path[2].endswith("*"):
                states = {name: self.changed[one] for name, one in self._of(path)}
                self._wildcards.gather(path, states)
            else:
                self._check_filter(statement, path)

    def _check_filter(self, statement: Statement, path: Path3) -> None:
        """Refuse to read a table without the condition that it asks for."""
        resource = self.catalog.tables.get(path, {})
        is_read = path != statement.changes or statement.kind in FILTERED
        is_asked = resource.get("requirePartitionFilter") and is_read
        column = resource.get("timePartitioning", {}).get("field", "_PARTITIONTIME")
        if is_asked and column.casefold() not in statement.conditions:
            raise api.BadRequest(
                f"Cannot query over table '{'.'.join(path)}' without a filter over "
                f"column(s) '{column}' that can be used for partition elimination"
            )

    def _sources(self, statement: Statement) -> set[Path3]:
        """Return what a statement reads or changes, by wildcards, too."""
        found = set(statement.reads)
        for path in statement.reads:
            if path[2].endswith("*"):
                found.update(one for _, one in self._of(path))
        return found

    def _of(self, path: Path3) -> list[tuple[str, Path3]]:
        """Return the tables of a wildcard, each with its name."""
        self._exists(path[:2])
        prefix = path[2].rstrip("*")
        found = [
            (name, (path[0], path[1], name))
            for name in self.catalog.names(path[:2])
            if name.startswith(prefix)
        ]
        if not found:
            raise api.BadRequest(f"{_label(path)} does not match any table.")
        if any(self.catalog.view(one) for _, one in found):
            raise api.BadRequest("Views cannot be queried through prefix.")
        return found

    def _listing(self, place: tuple[str, str]) -> pa.Table:
        """Return the list of a dataset's tables of now."""
        self._exists(place)
        rows = []
        for name in self.catalog.names(place):
            path = (*place, name)
            is_view = bool(self.catalog.view(path))
            count = 0 if is_view else self._count(path)
            resource = self.catalog.tables[path]
            rows.append(
                {
                    "table_id": name,
                    "table_name": name,
                    "creation_time": int(resource.get("creationTime", 0)),
                    "last_modified_time": self.catalog.modified(path),
                    "row_count": count,
                    "size_bytes": count * ROW_BYTES,
                    "type": 2 if is_view else 1,
                    "table_type": "VIEW" if is_view else "BASE TABLE",
                }
            )
        return pa.Table.from_pylist(rows, LISTING)

    def _size(self, tables: Iterable[Path3]) -> int:
        """Return the bytes of tables that are there."""
        total = 0
        for path in tables:
            if path in self.catalog.tables and not self.catalog.view(path):
                total += self._count(path) * ROW_BYTES
        return total


def _is_lasting(script: Sequence[Statement]) -> bool:
    """Return whether a query's rows are the same until a table changes."""
    [first, *more] = script
    is_listed = any(path[2] in LISTS for path in first.reads)
    return first.is_query and not (more or is_listed or VOLATILE.search(first.text))


def _last_change(script: Sequence[Statement]) -> int:
    """Return the place of the statement with which the last transaction ends."""
    last = -1
    is_open = False
    for number, statement in enumerate(script):
        if statement.kind == "transaction":
            is_open = True
        elif statement.kind in ("commit", "rollback"):
            is_open = False
            last = number
        elif statement.changes and not statement.temporary and not is_open:
            last = number
    return last


def _note(changes: Changes, call: Call, counts: list[int], *, is_whole: bool) -> None:
    """Keep with a transaction what is answered to whoever repeats its call."""
    if call.id:
        affected = sum(counts) if counts else None
        changes.calls[call.id] = {"affected": affected, "isWhole": is_whole}


def reader_of(parquet: Any) -> pa.RecordBatchReader:
    """Return the rows of a Parquet file, which are not all in memory at once."""
    opened = pq.ParquetFile(parquet)
    batches = opened.iter_batches()
    return pa.RecordBatchReader.from_batches(opened.schema_arrow, batches)


def _insert(cursor: duckdb.DuckDBPyConnection, path: Path3, rows: Any) -> int:
    """Insert Arrow's rows by the names of their columns; return how many."""
    # BigQuery has no null for a list.
    columns = ", ".join(
        f"COALESCE({name}, []) AS {name}" if pa.types.is_list(one.type) else name
        for one in rows.schema
        for name in [quoted(one.name)]
    )
    cursor.register("given", rows)
    try:
        with translated_errors():
            into = f"INSERT INTO {quoted(*path)} BY NAME SELECT {columns} FROM given"
            [(count,)] = cursor.execute(into).fetchall()
            return int(count)
    finally:
        cursor.unregister("given")


def _label(path: Path3) -> str:
    return f"{path[0]}:{path[1]}.{path[2]}"


def _type(parameter: Any) -> str:
    is_list = isinstance(parameter, bigquery.ArrayQueryParameter)
    kind = parameter.array_type if is_list else getattr(parameter, "type_", "STRUCT")
    if kind not in TYPES:
        raise Untranslated(f"parameters of {kind}")
    return f"{TYPES[kind]}[]" if is_list else TYPES[kind]


def _type_in_sql(parameter: Any) -> str:
    if isinstance(parameter, bigquery.ArrayQueryParameter):
        return f"ARRAY<{IN_SQL.get(parameter.array_type, parameter.array_type)}>"
    return str(IN_SQL.get(parameter.type_, parameter.type_))


def _value(parameter: Any) -> Any:
    if isinstance(parameter, bigquery.ArrayQueryParameter):
        return list(parameter.values)
    return parameter.value
