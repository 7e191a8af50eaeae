"""
Places that are made once and put back between tests, which is cheaper than new ones.
"""

from __future__ import annotations

from collections.abc import Iterable

from propensity.gcp.artifacts import Artifacts, Generation
from propensity.gcp.warehouse import Warehouse
from propensity.schema import Table


def empty_tables(warehouse: Warehouse, tables: Iterable[Table]) -> None:
    """
    Remove all rows of some tables.

    By DELETE, after which the emulator's translations still hold.
    """
    rows = {
        table.stored: f"FROM {table.stored} WHERE "
        + (f"{table.partition} >= '1970-01-01'" if table.requires_filter else "TRUE")
        for table in tables
    }
    filled = " UNION ALL ".join(
        f"(SELECT '{name}' AS name {every} LIMIT 1)" for name, every in rows.items()
    )
    script = "".join(
        f"DELETE {rows[row['name']]};\n" for row in warehouse.rows(filled, {})
    )
    if script:
        warehouse.execute(script)


def empty_bucket(artifacts: Artifacts) -> None:
    """Remove all objects, with the generations that a bucket with versioning keeps."""
    for entry in artifacts.generations():
        artifacts.delete(entry.name, generation=entry.generation)


class Objects:
    """
    The objects of a bucket as they are now, to be put back after each test.

    Earlier generations, which a bucket with versioning keeps, go as well.
    """

    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts
        self._data = {name: artifacts.read(name).data for name in artifacts.names("")}
        self._kept = self._there()

    def put_back(self) -> None:
        """Delete what has come, and write anew what was changed or deleted."""
        there = self._there()
        for entry in there - self._kept:
            self._artifacts.delete(entry.name, generation=entry.generation)
        for name in {entry.name for entry in self._kept - there}:
            self._artifacts.create(name, self._data[name])
        self._kept = self._there()

    def _there(self) -> set[Generation]:
        return set(self._artifacts.generations())
