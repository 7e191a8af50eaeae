"""
Set-up, specified: tables, their columns and how long they are kept.
"""

from __future__ import annotations

from datetime import date

from propensity.gcp.warehouse import Warehouse
from propensity.runs import setup
from propensity.settings import Settings
from propensity.tables import every as tables
from tests import shop
from tests.rows import append_rows

DAY = date(2026, 3, 2)


def test_a_set_up_makes_tables_and_views_and_keeps_what_is_there(module_workplace):
    """As they are declared; twice equals once, and tables with rows are left alone."""
    shop.load(module_workplace, [shop.event("u", DAY)])
    settings = Settings.from_environment(module_workplace.environment)
    warehouse = Warehouse.open(settings)
    setup.prepare(warehouse, settings)
    row = {"use_case": "u", "as_of": DAY, "users": 1, "model_version": 0}
    append_rows(warehouse, tables.PUBLICATIONS, [row])
    setup.prepare(warehouse, settings)
    place = f"{settings.project}.{settings.dataset}"
    made = warehouse.client.get_table(f"{place}.dead_letters")
    users = warehouse.rows("SELECT user_pseudo_id FROM ga_events")
    listed = warehouse.client.list_tables(settings.dataset)
    views = {"ga_events", *tables.views("")}

    assert len(warehouse.rows("SELECT * FROM ma_publications")) == 1
    assert [row["user_pseudo_id"] for row in users] == ["u"]
    assert {table.table_id for table in listed} == views | {
        table.stored for table in tables.TABLES
    }
    declared = tables.DEAD_LETTERS
    assert [field.name for field in made.schema] == [*declared.types]
    assert made.clustering_fields == [*declared.clustering]
    assert made.time_partitioning.field == declared.partition
    warehouse.close()
