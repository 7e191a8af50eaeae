"""
The digest of an export that was loaded here, made by the statements of a run.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime

from propensity.ga4.shards import Shards, kinds_read
from propensity.ga4.view import with_refusals
from propensity.gcp.warehouse import Warehouse
from propensity.runs.digest import ExportTable, Rules, replace_days
from propensity.tables.export import DIGEST, VIEW

# No run compares it with that of the export's tables.
MODIFIED = datetime(2026, 1, 1, tzinfo=UTC)


def fill(
    warehouse: Warehouse, event_names: Collection[str], *, export: str = ""
) -> None:
    """
    Digest all days that the view of the export shows, and no other.

    Args:
        event_names: Of the events that are conversions.
        export: The dataset that the view reads; by default that of the settings.
    """
    if not export:
        export = warehouse.settings.export
    dataset = f"{warehouse.settings.project}.{warehouse.settings.dataset}"
    for table in DIGEST:
        warehouse.client.delete_table(f"{dataset}.{table.name}", not_found_ok=True)
        warehouse.create(table)
    view = warehouse.view_text(VIEW)
    kinds = kinds_read(view)
    shards = Shards.of(warehouse.tables_of(export), kinds=kinds)
    tables = []
    for day in sorted(shards.days):
        shard = ExportTable(
            name="", day=day, modified=MODIFIED, size_bytes=0, row_count=0
        )
        tables.append(shard)
    if tables:
        rules = Rules(
            statement="", consent=frozenset(), event_names=frozenset(event_names)
        )
        source = with_refusals(view)
        replace_days(warehouse, tables, rules, source=source, run_id="local")
