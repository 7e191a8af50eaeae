"""
Wildcards: the rows of all tables of a prefix, gathered into one table beside them.

A query of a year of days would be planned for 365 tables each time, which takes longer
than to run it. Where a table has changed, its rows alone are gathered again.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence

import duckdb

from local.ground.database import Database, translated_errors
from local.ground.sql import Path3, quoted, view_of

# Tables of one INSERT.
AT_ONCE = 32


class Wildcards:
    """The wildcards that were read, each as of the changes that it had seen."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        # How often each table had been changed, by its name.
        self._states: dict[Path3, dict[str, int]] = {}

    def gather(self, path: Path3, states: Mapping[str, int]) -> None:
        """
        Have a wildcard be the rows of its tables of now.

        Args:
            states: How often each of its tables was changed, before this call.
        """
        with self._lock:
            before = self._states.get(path, {})
            if before == states:
                return
            changed = [name for name in states if before.get(name) != states[name]]
            gone = [name for name in before if before[name] != states.get(name)]
            with self._database.cursor() as cursor, translated_errors():
                cursor.execute("BEGIN")
                with _ended(cursor):
                    kept = quoted(*view_of(path))
                    if before and _fits(cursor, kept, path, changed):
                        suffixes = ", ".join(f"'{_suffix(path, one)}'" for one in gone)
                        if suffixes:
                            where = f"_TABLE_SUFFIX IN ({suffixes})"
                            cursor.execute(f"DELETE FROM {kept} WHERE {where}")
                    else:
                        changed = list(states)
                        columns = f"SELECT * FROM ({_rows(path, changed)}) LIMIT 0"
                        cursor.execute(f"CREATE OR REPLACE TABLE {kept} AS {columns}")
                    for start in range(0, len(changed), AT_ONCE):
                        rows = _rows(path, changed[start : start + AT_ONCE])
                        cursor.execute(f"INSERT INTO {kept} BY NAME {rows}")
            self._states[path] = dict(states)


@contextlib.contextmanager
def _ended(cursor: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Commit a transaction, or roll it back after an error."""
    try:
        yield
        cursor.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(duckdb.Error):
            cursor.execute("ROLLBACK")
        raise


def _suffix(path: Path3, name: str) -> str:
    return name.removeprefix(path[2].rstrip("*"))


def _rows(path: Path3, names: Sequence[str]) -> str:
    return " UNION ALL BY NAME ".join(
        f"SELECT *, '{_suffix(path, name)}' AS _TABLE_SUFFIX "
        f"FROM {quoted(path[0], path[1], name)}"
        for name in names
    )


def _fits(
    cursor: duckdb.DuckDBPyConnection, kept: str, path: Path3, names: Sequence[str]
) -> bool:
    """Return whether all columns of some tables are there, of the same types."""
    there = _columns(cursor, f"FROM {kept}")
    return not names or _columns(cursor, _rows(path, names)) <= there


def _columns(cursor: duckdb.DuckDBPyConnection, query: str) -> set[tuple[str, str]]:
    described = cursor.execute(f"DESCRIBE {query}").fetchall()
    return {(name, kind) for name, kind, *_ in described}
