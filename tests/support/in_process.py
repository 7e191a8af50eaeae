"""A deployment in this process: its tables and objects are behind no HTTP."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from local.ground.bucket import LocalBucket
from local.ground.warehouse import LocalWarehouse
from propensity.gcp.artifacts import Artifacts
from propensity.gcp.warehouse import Warehouse
from propensity.schema import Table
from propensity.tables import every as tables
from propensity.tables.models import PREDICTIONS_HISTORY
from tests.support.clocks import ManualClock
from tests.support.deployment import Deployment, entered

ENVIRONMENT = {
    "GOOGLE_CLOUD_PROJECT": "my-project",
    "PROPENSITY_BUCKET": "bucket",
    "PROPENSITY_DATASET": "propensity",
    "PROPENSITY_GA4_DATASET": "",
}


class InProcess(Deployment):
    """
    A deployment whose statements cost a tenth. A process has one: the newest.

    Others ask whether statements are BigQuery's: tests of functions, and Google's
    analyzer.
    """

    def __init__(self, **settings: str) -> None:
        self.extra = settings
        self.clock = ManualClock()
        LocalWarehouse.begin()
        for table in tables.TABLES:
            self.warehouse.create(table)
        history = tables.views("")[PREDICTIONS_HISTORY]
        self.warehouse.replace_view(PREDICTIONS_HISTORY, history)
        self.empty()

    @property
    def environment(self) -> dict[str, str]:
        return {**ENVIRONMENT, **self.extra}

    @property
    def warehouse(self) -> Any:
        return LocalWarehouse.open(self.settings)

    @property
    def artifacts(self) -> Any:
        return LocalBucket.open(self.settings)

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Have functions and commands of this process work here."""
        with pytest.MonkeyPatch.context() as patch, entered(self.environment):
            patch.setattr(Warehouse, "open", LocalWarehouse.open)
            patch.setattr(Artifacts, "open", LocalBucket.open)
            yield

    def empty_tables(self, of: Iterable[Table]) -> None:
        """Remove all rows of tables."""
        for table in of:
            self.warehouse.execute(f"DELETE FROM {table.stored} WHERE TRUE")

    def empty_bucket(self) -> None:
        """Remove all objects."""
        self.artifacts.empty()
