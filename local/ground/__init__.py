"""
What the product asks of Google, in the process: tables, objects and topics.

The product's own code runs on it, with clients that answer from DuckDB and dictionaries
where Google's would send a request.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from local.ground.bigquery import BigQuery
from local.ground.pubsub import Topics
from local.ground.secrets import Secrets
from local.ground.storage import Storage

# Files of a ground that is saved.
TABLES = "tables.duckdb"
KNOWN = "known"


@dataclass(eq=False)
class Ground:
    """Tables, objects and topics of one deployment."""

    project: str
    storage: Storage = field(default_factory=Storage)
    topics: Topics = field(default_factory=Topics)
    secrets: Secrets = field(default_factory=Secrets)

    def __post_init__(self) -> None:
        self.bigquery: Any = BigQuery(self.project, self.storage)

    def save(self, folder: Path) -> None:
        """Write the project's tables and all objects into a folder."""
        self.bigquery.save(self.project, folder / TABLES)
        objects = {
            name: bucket.objects for name, bucket in self.storage.buckets.items()
        }
        (folder / KNOWN).write_bytes(pickle.dumps((self.project, objects)))

    @classmethod
    def copy_of(cls, folder: Path) -> Self:
        """Return a ground with what was saved in a folder."""
        project, objects = pickle.loads((folder / KNOWN).read_bytes())
        ground = cls(project)
        ground.bigquery.restore(project, folder / TABLES, lent=False)
        for name, content in objects.items():
            ground.storage.create_bucket(name).objects.update(content)
        return ground

    def borrow(self, folder: Path) -> None:
        """Add the project whose tables are in a folder; nobody may change them."""
        project, _ = pickle.loads((folder / KNOWN).read_bytes())
        self.bigquery.restore(project, folder / TABLES, lent=True)
