"""
Places that are made once and put back between tests, which is cheaper than new ones.
"""

from __future__ import annotations

from collections.abc import Iterable

from propensity.edges.artifacts import Artifacts, Generation
from propensity.edges.warehouse import Warehouse
from propensity.schema import Table


def empty_tables(warehouse: Warehouse, tables: Iterable[Table]) -> None:
    """Remove all rows of some tables."""
    script = "".join(f"TRUNCATE TABLE {table.name};\n" for table in tables)
    warehouse.execute(script)


def empty_bucket(artifacts: Artifacts) -> None:
    """Remove all objects, with the generations that a bucket with versioning keeps."""
    for entry in artifacts.generations():
        artifacts.delete_generation(entry)


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
            self._artifacts.delete_generation(entry)
        for name in {entry.name for entry in self._kept - there}:
            self._artifacts.create(name, self._data[name])
        self._kept = self._there()

    def _there(self) -> set[Generation]:
        return set(self._artifacts.generations())
