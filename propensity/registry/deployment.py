"""The deployment that the environment names: its clients, and a use case."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from propensity import usecases
from propensity.gcp.artifacts import Artifacts
from propensity.gcp.warehouse import Warehouse
from propensity.registry.versions import Registry
from propensity.schema import Row
from propensity.settings import Settings
from propensity.statements import statement
from propensity.usecases import UseCase

RowType = TypeVar("RowType", bound=Row)


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """Clients and use case that a command or a run works with."""

    settings: Settings
    warehouse: Warehouse
    artifacts: Artifacts
    use_case: UseCase

    @property
    def registry(self) -> Registry:
        return Registry(self.artifacts, self.use_case.name)

    def rows(self, name: str, **parameters: object) -> list[Any]:
        """Return the rows of a statement about the use case, named by columns."""
        values = {"use_case": self.use_case.name, **parameters}
        return self.warehouse.rows(statement(name), values)

    def read(
        self, row: type[RowType], name: str, **parameters: object
    ) -> list[RowType]:
        """Return the rows of a statement about the use case, as instances."""
        return [row.of(dict(values)) for values in self.rows(name, **parameters)]


def of_use_case(
    use_case: UseCase, settings: Settings, *, warehouse: Warehouse, artifacts: Artifacts
) -> Deployment:
    """Return a deployment as a use case has it: by its words, settings and export."""
    own_settings = use_case.settings(settings)
    return Deployment(
        settings=own_settings,
        warehouse=warehouse.for_run(own_settings),
        artifacts=artifacts,
        use_case=use_case.with_label_event(settings),
    )


@contextlib.contextmanager
def connected(settings: Settings) -> Iterator[tuple[Artifacts, Warehouse]]:
    """Open the clients of a deployment, for what is about all of its use cases."""
    with (
        contextlib.closing(Artifacts.open(settings)) as artifacts,
        contextlib.closing(Warehouse.open(settings)) as warehouse,
    ):
        yield artifacts, warehouse


@contextlib.contextmanager
def open_deployment(
    use_case: str | None = None, *, settings: Settings | None = None
) -> Iterator[Deployment]:
    """Open the deployment that the environment names."""
    if settings is None:
        settings = Settings.from_environment()
    if use_case is None:
        use_case = settings.use_case
    loaded_use_case = usecases.load(use_case)
    with connected(settings) as (artifacts, warehouse):
        yield of_use_case(
            loaded_use_case, settings, warehouse=warehouse, artifacts=artifacts
        )
