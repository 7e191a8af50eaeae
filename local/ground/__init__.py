"""
What the product asks of Google, in the process: tables, objects and topics.

The product's own code runs on it, with clients that answer from DuckDB and dictionaries
where Google's would send a request.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from local.ground.bigquery import BigQuery
from local.ground.pubsub import Topics
from local.ground.secrets import Secrets
from local.ground.storage import Storage


@dataclass(eq=False)
class Ground:
    """Tables, objects and topics of one deployment."""

    project: str
    storage: Storage = field(default_factory=Storage)
    topics: Topics = field(default_factory=Topics)
    secrets: Secrets = field(default_factory=Secrets)

    def __post_init__(self) -> None:
        self.bigquery: Any = BigQuery(self.project, self.storage)
