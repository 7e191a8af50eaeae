"""
An emulated BigQuery for a while, with an export of a few made-up events.

For what runs statements that nobody has run yet: it starts emulators on free ports, in
a temporary folder, and leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from local.exports import ga4_export, ga4_schema
from local.processes import free_ports
from local.stack.stack import Stack
from local.stack.state import EMULATOR_PORTS, State
from propensity.edges.warehouse import Warehouse
from propensity.settings import Settings

Row = dict[str, Any]


@dataclass
class Sandbox:
    """The edge to an emulated BigQuery, and what loads events of the export into it."""

    warehouse: Warehouse
    _loaded: dict[str, pa.Table] = field(default_factory=dict)

    def load(self, rows: Iterable[Row]) -> None:
        """Have the export hold these events alone; only days that differ are sent."""
        days: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            days[f"events_{row['event_date']}"].append(row)
        wanted = {
            name: pa.Table.from_pylist(found, ga4_schema.ARROW_SCHEMA)
            for name, found in sorted(days.items())
        }
        settings = self.warehouse.settings
        for name in self._loaded.keys() - wanted.keys():
            self.warehouse.client.delete_table(f"{settings.export}.{name}")
        changed = [
            (name, table)
            for name, table in wanted.items()
            if name not in self._loaded or not table.equals(self._loaded[name])
        ]
        if changed:
            ga4_export.load_tables(
                self.warehouse.client, settings.ga4_dataset, changed, progress=False
            )
        self._loaded = wanted


@contextlib.contextmanager
def opened() -> Iterator[Sandbox]:
    """Start the emulators and give a sandbox; stop them afterwards."""
    ports = dict(zip(EMULATOR_PORTS, free_ports(len(EMULATOR_PORTS)), strict=True))
    with tempfile.TemporaryDirectory(prefix="propensity-") as folder:
        state = State("sandbox", Path(folder))
        with Stack(state, ports=ports, functions=()) as stack:
            settings = Settings.from_environment(stack.environment)
            with contextlib.closing(Warehouse.open(settings)) as warehouse:
                yield Sandbox(warehouse)
