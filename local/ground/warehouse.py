"""
BigQuery in the process: the product's own statements, translated for DuckDB.

The emulator does so behind HTTP, where a statement costs ten times as much. The auditor
plays sequences by the hundred; other tests ask whether statements are BigQuery's.
"""

from __future__ import annotations

import importlib.resources
import re
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

import duckdb
import pyarrow as pa
import sqlglot
from google.cloud.bigquery import Row as BigQueryRow
from sqlglot import exp

from propensity.errors import MissingTable, UseCaseError
from propensity.gcp.warehouse import Warehouse
from propensity.schema import Row, Table
from propensity.settings import Settings

PARAMETER = re.compile(r"\$(\w+)")


class Untranslated(BaseException):
    """DuckDB lacks what a statement of the product uses; no program may catch it."""


@dataclass(frozen=True)
class Translated:
    """
    Statements of DuckDB.

    Attributes:
        tables: Names of the tables and views in them.
        temporary: Names of the tables that go with the script.
        reads: Whether the last one only reads.
    """

    texts: Sequence[str]
    tables: frozenset[str]
    temporary: Sequence[str]
    reads: bool


@cache
def translated(sql: str) -> Translated:
    trees = [tree for tree in sqlglot.parse(sql, read="bigquery") if tree is not None]
    names = set[str]()
    temporary = []
    for tree in trees:
        if isinstance(tree, exp.Create) and tree.find(exp.TemporaryProperty):
            temporary.append(tree.this.name)
        for table in tree.find_all(exp.Table):
            # There is one dataset.
            table.set("db", None)
            table.set("catalog", None)
            names.add(table.name)
        for part in tree.find_all(exp.Extract):
            if part.name == "DATE":
                part.replace(exp.cast(part.expression, "DATE"))
    texts = [tree.sql(dialect="duckdb") for tree in trees]
    reads = isinstance(trees[-1], exp.Query)
    return Translated(texts, frozenset(names), temporary, reads)


def _with_integers(rows: pa.Table) -> pa.Table:
    """Return rows with INT64, where DuckDB counts in numbers of 128 bits."""
    for place, column in enumerate(rows.schema):
        if column.type == pa.decimal128(38, 0):
            counted = rows[column.name].cast(pa.int64())
            rows = rows.set_column(place, column.name, counted)
    return rows


class LocalWarehouse(Warehouse):
    """
    A warehouse that is a database of DuckDB, in memory; a process has one.

    Attributes:
        sources: Tables that a view reads, by its name.
        texts: Queries of views, by their names.
        changed: How often the rows of a table were changed.
        read: Rows that were read since the tables were emptied, by the statement, its
            parameters, and how often its tables had been changed.
    """

    database: duckdb.DuckDBPyConnection
    lock = threading.RLock()
    sources: dict[str, frozenset[str]] = {}
    texts: dict[str, str] = {}
    changed: Counter[str] = Counter()
    read: dict[tuple[object, ...], pa.Table] = {}

    @classmethod
    def begin(cls) -> None:
        """Make the database, empty."""
        cls.texts.clear()
        cls.database = duckdb.connect(
            config={"threads": 1, "autoinstall_known_extensions": False}
        )
        package = Path(str(importlib.resources.files("duckdb_extension_icu")))
        icu = package / f"extensions/v{duckdb.__version__}/icu.duckdb_extension"
        cls.database.execute(f"LOAD '{icu}'")
        cls.database.execute("SET TimeZone = 'UTC'")
        # Whom it draws is as good as whom BigQuery draws.
        hashed = "CAST(hash(text) // 2 AS BIGINT)"
        cls.database.execute(f"CREATE MACRO farm_fingerprint(text) AS {hashed}")
        # Tables are small, and a plan costs more than it saves.
        cls.database.execute("PRAGMA disable_optimizer")

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Return the database; there is nothing to close."""
        return cls(settings, client=None)  # type: ignore[arg-type]

    def close(self) -> None:
        """Close nothing."""

    def _arrow(
        self, sql: str, parameters: Mapping[str, object] | None
    ) -> tuple[pa.Table, int]:
        """Run statements; return the last one's rows, and how many were changed."""
        given = dict(parameters) if parameters else {}
        statements = translated(sql)
        tables = self._tables_of(statements)
        states = tuple(self.changed[name] for name in sorted(tables))
        key = (sql, repr(parameters), states)
        if statements.reads and key in self.read:
            return self.read[key], 0
        result = pa.table({})
        changed = 0
        with self.lock:
            for text in statements.texts:
                names = set(PARAMETER.findall(text))
                values = {name: value for name, value in given.items() if name in names}
                try:
                    done = self.database.execute(text, values)
                except duckdb.CatalogException as error:
                    if "Table with name" not in str(error):
                        raise Untranslated(str(error)) from error
                    raise MissingTable(str(error)) from error
                except duckdb.Error as error:
                    raise UseCaseError(str(error)) from error
                if statements.reads:
                    result = _with_integers(done.to_arrow_table())
                else:
                    counts = done.fetchall()
                    changed += counts[0][0] if counts and counts[0] else 0
            for name in statements.temporary:
                self.database.execute(f"DROP TABLE {name}")
        if statements.reads:
            self.read[key] = result
        else:
            self.changed.update(tables)
        return result, changed

    def _tables_of(self, statements: Translated) -> frozenset[str]:
        """Return the tables that statements read, be it by a view."""
        tables = set[str]()
        for name in statements.tables:
            tables |= self.sources.get(name, {name})
        return frozenset(tables)

    def rows(self, sql: str, parameters: Any = None) -> list[Any]:
        table = self._arrow(sql, parameters)[0]
        places = {name: place for place, name in enumerate(table.column_names)}
        return [BigQueryRow(tuple(row.values()), places) for row in table.to_pylist()]

    def lookup(self, sql: str, parameters: Any) -> list[Any]:
        """Return the rows of a statement."""
        return self.rows(sql, parameters)

    def table(self, sql: str, parameters: Any = None) -> pa.Table:
        """Return the rows of a statement."""
        return self._arrow(sql, parameters)[0]

    def batches(self, sql: str, parameters: Any = None) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a statement."""
        yield from self._arrow(sql, parameters)[0].to_batches()

    def execute(self, sql: str, parameters: Any = None) -> int:
        """Run a statement that changes rows; return how many."""
        return self._arrow(sql, parameters)[1]

    def write(
        self, table: Table, rows: pa.Table | Iterable[Row | Mapping[str, object]]
    ) -> None:
        self.changed[table.stored] += 1
        written = table.arrow(rows)
        if not len(written):
            return
        with self.lock:
            self.database.register("written", written)
            try:
                self.database.execute(
                    f"INSERT INTO {table.stored} BY NAME SELECT * FROM written"
                )
            except duckdb.CatalogException as error:
                raise MissingTable(str(error)) from error
            finally:
                self.database.unregister("written")

    def append(
        self, table: Table, rows: pa.Table | Iterable[Row | Mapping[str, object]]
    ) -> None:
        self.write(table, rows)

    def create(self, table: Table) -> None:
        """Create a table where it is missing, and its view."""
        with self.lock:
            self.database.register("empty", table.arrow_schema().empty_table())
            self.database.execute(
                f"CREATE TABLE IF NOT EXISTS {table.stored} AS SELECT * FROM empty"
            )
            self.database.unregister("empty")
        if table.newest:
            self.replace_view(table.name, table.view(self._dataset))

    def replace_view(self, name: str, sql: str) -> None:
        """Create a view, or change its query."""
        statements = translated(sql)
        [text] = statements.texts
        self.sources[name] = self._tables_of(statements)
        self.texts[name] = sql
        with self.lock:
            self.database.execute(f"CREATE OR REPLACE VIEW {name} AS {text}")

    def view_text(self, name: str) -> str:
        """Return the query of a view, if there is one."""
        if name not in self.texts:
            raise MissingTable(name)
        return self.texts[name]

    def read_small_table(self, table: str, columns: Any) -> list[Any]:
        """Return columns of all rows."""
        return self.rows(f"SELECT {', '.join(columns)} FROM {table}")

    def names(self) -> list[str]:
        """Return the names of all tables."""
        named = "SELECT table_name FROM duckdb_tables() ORDER BY 1"
        with self.lock:
            return [name for (name,) in self.database.execute(named).fetchall()]

    def empty(self) -> None:
        """Remove all rows."""
        self.read.clear()
        for name in self.names():
            self.changed[name] += 1
            self.database.execute(f"TRUNCATE {name}")
