"""The deployment that the tests of commands work in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from commands.cli import main
from propensity.gcp.artifacts import Artifacts
from propensity.gcp.warehouse import Warehouse
from propensity.registry.versions import Registry
from propensity.runs import setup
from propensity.settings import Settings
from tests.conftest import Workplace, new_workplace
from tests.functions.conftest import entered
from tests.partitions import of_all_days
from tests.rows import append_rows


class Deployment:
    """A workplace with tables and views, and the commands in it; no export."""

    def __init__(self, workplace: Workplace, **extra: str) -> None:
        self.workplace = workplace
        self.environment = {
            **workplace.environment,
            "PROPENSITY_GA4_DATASET": "",
            **extra,
        }
        self.settings = Settings.from_environment(self.environment)
        self.warehouse = Warehouse.open(self.settings)
        with entered(self.environment):
            self.artifacts = Artifacts.open(self.settings)
        self.registry = Registry(self.artifacts, self.settings.use_case)
        setup.prepare(self.warehouse, self.settings)

    def close(self) -> None:
        self.warehouse.close()
        self.artifacts.close()

    def append(self, table: Any, *rows: dict[str, Any]) -> None:
        """Append rows; columns that a test does not name are null."""
        append_rows(self.warehouse, table, rows)

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """Run a query of all days."""
        return [dict(row.items()) for row in self.warehouse.rows(of_all_days(sql))]

    def run(self, *words: str) -> int:
        """Run a command; return its exit status."""
        with entered(self.environment):
            return main(words)


@pytest.fixture(scope="module")
def new_deployment(emulators) -> Iterator[Callable[..., Deployment]]:
    """Make a deployment that nobody else uses, with settings."""
    made: list[Deployment] = []

    def make(kind: Callable[..., Any] = Deployment, **extra: str) -> Any:
        made.append(kind(new_workplace(emulators), **extra))
        return made[-1]

    yield make
    for deployment in made:
        deployment.close()


@pytest.fixture(scope="module")
def deployment(new_deployment) -> Deployment:
    """A deployment for the tests of one module."""
    return new_deployment()
