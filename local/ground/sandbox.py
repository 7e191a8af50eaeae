"""An export of made-up events, and its digest, for statements that have never run."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from local.exports import digest, ga4_export, sources
from local.exports.ga4_schema import ARROW_SCHEMA
from local.ground import Ground
from local.ground.functions import Untranslated
from offline.usecases.check import NotRun
from propensity.ga4.view import events_view
from propensity.gcp.warehouse import Warehouse
from propensity.settings import Settings
from propensity.tables.export_names import VIEW
from propensity.usecases.declaration import Events, OwnSource

Row = dict[str, Any]
SETTINGS = Settings(project="sandbox", dataset="propensity", ga4_dataset="analytics")


@dataclass
class Sandbox:
    """A warehouse, and the loading of events into its export and digest."""

    warehouse: Warehouse
    _loaded: dict[str, pa.Table] = field(default_factory=dict)

    def load(self, rows: Iterable[Row]) -> None:
        """
        Have the export and its digest hold these events alone.

        Only days that differ are sent.
        """
        client = self.warehouse.client
        settings = self.warehouse.settings
        events = list(rows)
        tables = by_day(events)
        changed = {}
        for name in self._loaded.keys() - tables.keys():
            client.delete_table(f"{settings.export}.{name}")
        for name, table in tables.items():
            if table != self._loaded.get(name):
                changed[name] = table
        ga4_export.load_tables(client, settings.ga4_dataset, changed)
        self._loaded = tables
        view = events_view(settings.export, require="false")
        self.warehouse.replace_view(VIEW, view)
        digest.fill(self.warehouse, {row["event_name"] for row in events})

    def load_source(
        self, source: OwnSource | Events, rows: Iterable[Mapping[str, Any]]
    ) -> None:
        """Have the table of a source hold these rows alone."""
        sources.load(
            self.warehouse.client, source, sources.table_of(source, list(rows))
        )

    def rows_of(self, table: str) -> pa.Table:
        """Return all rows of a table or view, by its name in statements."""
        settings = self.warehouse.settings
        dataset = "" if "." in table else f"{settings.dataset}."
        name = f"{settings.project}.{dataset}{table}"
        client = self.warehouse.client
        view = client.get_table(name).view_query
        rows = client.query_and_wait(view) if view else client.list_rows(name)
        return rows.to_arrow()

    def table(self, sql: str, parameters: Mapping[str, object]) -> pa.Table:
        """
        Run a statement.

        Raises:
            NotRun: It uses what only BigQuery has.
        """
        try:
            return self.warehouse.table(sql, parameters)
        except Untranslated as error:
            [reason, *_] = str(error).splitlines()
            raise NotRun(reason) from None


def by_day(rows: Iterable[Row]) -> dict[str, pa.Table]:
    """Return daily tables by name, each row in the one of its ``event_date``."""
    days: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        days[f"{ga4_export.PREFIX}{row['event_date']}"].append(row)
    tables = {}
    for name, events in sorted(days.items()):
        tables[name] = pa.Table.from_pylist(events, ARROW_SCHEMA)
    return tables


@contextlib.contextmanager
def opened() -> Iterator[Sandbox]:
    """Give a sandbox with empty datasets, in this process."""
    client = Ground(SETTINGS.project).bigquery
    for dataset in (SETTINGS.dataset, SETTINGS.ga4_dataset):
        client.create_dataset(dataset)
    yield Sandbox(Warehouse(SETTINGS, client=client))
