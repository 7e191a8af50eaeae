"""
What is known of tables beside their rows: in the project's own database.

It is written in the transaction that changes the rows, so that after a kill both are
of one moment: descriptions of tables, texts of views, locations of datasets, and the
ids of the calls that have changed something.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import duckdb

from local.ground.sql import Path3, quoted

Resource = dict[str, Any]
# No dataset has a name with a point.
SCHEMA = ".catalog"
DAY_MS = 24 * 3600 * 1000


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass
class Changes:
    """
    What a transaction changes beside rows.

    Attributes:
        tables: Resources by path, None for a table that goes.
        touched: Tables whose rows are changed.
        datasets: Resources by project and dataset.
        calls: What is answered to whoever repeats a call, by its id.
        is_undone: Whether the transaction is rolled back.
    """

    project: str
    tables: dict[Path3, Resource | None] = field(default_factory=dict)
    touched: set[Path3] = field(default_factory=set)
    datasets: dict[tuple[str, str], Resource] = field(default_factory=dict)
    calls: dict[str, Resource] = field(default_factory=dict)
    is_undone: bool = False


class Catalog:
    """Resources of datasets and tables, as BigQuery's API has them."""

    def __init__(self) -> None:
        self.datasets: dict[tuple[str, str], Resource] = {}
        self.tables: dict[Path3, Resource] = {}
        # What calls of earlier have changed, by their ids, for a day.
        self.calls: dict[str, Resource] = {}
        # Names of each dataset's tables, in their order, until one comes or goes.
        self._names: dict[tuple[str, str], list[str]] = {}

    def create(self, cursor: duckdb.DuckDBPyConnection, project: str) -> None:
        """Make the catalog of a project that has none."""
        schema = quoted(project, SCHEMA)
        cursor.execute(
            f"CREATE SCHEMA IF NOT EXISTS {schema};"
            f"CREATE TABLE IF NOT EXISTS {schema}.entries "
            "(dataset VARCHAR, name VARCHAR, resource VARCHAR);"
            f"CREATE TABLE IF NOT EXISTS {schema}.calls "
            "(id VARCHAR, ended BIGINT, resource VARCHAR)"
        )

    def read(self, cursor: duckdb.DuckDBPyConnection, project: str) -> None:
        """Learn what a project's database has."""
        schema = quoted(project, SCHEMA)
        cursor.execute(f"SELECT dataset, name, resource FROM {schema}.entries")
        for dataset, name, resource in cursor.fetchall():
            if name:
                self.tables[project, dataset, name] = json.loads(resource)
            else:
                self.datasets[project, dataset] = json.loads(resource)
        since = now_ms() - DAY_MS
        recent = f"SELECT id, resource FROM {schema}.calls WHERE ended > {since}"
        for call, resource in cursor.execute(recent).fetchall():
            self.calls[call] = json.loads(resource)
        self._names.clear()

    def names(self, place: tuple[str, str]) -> list[str]:
        """Return the names of a dataset's tables and views, in their order."""
        names = self._names.get(place)
        if names is None:
            names = sorted(path[2] for path in self.tables if path[:2] == place)
            self._names[place] = names
        return names

    def kind(self, path: Path3) -> str:
        return "VIEW" if self.view(path) else "TABLE"

    def view(self, path: Path3) -> str:
        """Return the query of a view; "" of a table, or of what is not there."""
        query: str = self.tables.get(path, {}).get("view", {}).get("query", "")
        return query

    def modified(self, path: Path3) -> int:
        return int(self.tables.get(path, {}).get("lastModifiedTime", 0))

    def write(self, cursor: duckdb.DuckDBPyConnection, changes: Changes) -> None:
        """Write what a transaction changes, within it."""
        for path in changes.touched:
            resource = changes.tables.get(path, self.tables.get(path))
            if resource is not None:
                # Two changes in a millisecond are two.
                newest = max(now_ms(), self.modified(path) + 1)
                changed = {**resource, "lastModifiedTime": str(newest)}
                changes.tables[path] = changed
        schema = quoted(changes.project, SCHEMA)
        for dataset, name, entry in _entries(changes):
            cursor.execute(
                f"DELETE FROM {schema}.entries WHERE dataset = ? AND name = ?",
                [dataset, name],
            )
            if entry is not None:
                cursor.execute(
                    f"INSERT INTO {schema}.entries VALUES (?, ?, ?)",
                    [dataset, name, json.dumps(entry)],
                )
        for call, answer in changes.calls.items():
            cursor.execute(f"DELETE FROM {schema}.calls WHERE id = ?", [call])
            cursor.execute(
                f"INSERT INTO {schema}.calls VALUES (?, ?, ?)",
                [call, now_ms(), json.dumps(answer)],
            )

    def keep(self, changes: Changes) -> None:
        """Know what a transaction has changed, once it is committed."""
        self.datasets |= changes.datasets
        self.calls |= changes.calls
        for path, resource in changes.tables.items():
            if resource is None:
                self.tables.pop(path, None)
                self._names.pop(path[:2], None)
            else:
                if path not in self.tables:
                    self._names.pop(path[:2], None)
                self.tables[path] = resource


def _entries(changes: Changes) -> Iterator[tuple[str, str, Mapping[str, Any] | None]]:
    for (_, dataset), resource in changes.datasets.items():
        yield dataset, "", resource
    for path, of_table in changes.tables.items():
        yield path[1], path[2], of_table
