"""
The digest of an export that was loaded here, made by the statements of a run.
"""

from __future__ import annotations

from collections.abc import Collection

from propensity.ga4.view import with_refusals
from propensity.gcp.warehouse import Warehouse
from propensity.runs.digest import replace_days
from propensity.runs.digest_state import Rules, read_export_tables
from propensity.tables.export import DIGEST
from propensity.tables.export_names import VIEW


def fill(warehouse: Warehouse, event_names: Collection[str]) -> None:
    """
    Digest all days that the view of the export shows, and no other.

    Args:
        event_names: Of the events that are conversions.
    """
    dataset = f"{warehouse.settings.project}.{warehouse.settings.dataset}"
    for table in DIGEST:
        warehouse.client.delete_table(f"{dataset}.{table.name}", not_found_ok=True)
        warehouse.create(table)
    view = warehouse.view_text(VIEW)
    tables = list(read_export_tables(warehouse, view).values())
    if tables:
        rules = Rules(
            source=with_refusals(view),
            statement="",
            consent="",
            event_names=frozenset(event_names),
        )
        replace_days(warehouse, tables, rules, run_id="local")
