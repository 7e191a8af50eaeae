"""
Set-up, specified: tables, their columns and how long they are kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date

import pyarrow as pa
import pytest
from google.cloud import bigquery

from propensity.gcp.artifacts import Artifacts
from propensity.gcp.warehouse import Warehouse
from propensity.runs import setup
from propensity.settings import Settings
from propensity.tables import every as tables
from tests import shop

DAY = date(2026, 3, 2)


@dataclass
class Deployment:
    """A dataset beside an export, and set-up over both."""

    environment: Mapping[str, str]
    warehouse: Warehouse
    artifacts: Artifacts

    def set_up(self) -> None:
        """Run set-up."""
        settings = Settings.from_environment(self.environment)
        setup.prepare(self.warehouse, self.artifacts, settings)

    def table(self, name: str) -> bigquery.Table:
        """Return a table's definition."""
        settings = self.warehouse.settings
        place = f"{settings.project}.{settings.dataset}"
        return self.warehouse.client.get_table(f"{place}.{name}")


@pytest.fixture(scope="module")
def deployment(module_workplace) -> Iterator[Deployment]:
    """A deployment that is set up, with a row; each test leaves it so."""
    shop.load(module_workplace, [shop.event("u", DAY)])
    environment = module_workplace.environment
    warehouse = Warehouse.open(Settings.from_environment(environment))
    with module_workplace.storage.client() as client:
        bucket = client.bucket(module_workplace.bucket)
        artifacts = Artifacts(bucket, warehouse.settings)
        deployed = Deployment(environment, warehouse, artifacts)
        deployed.set_up()
        row = {"use_case": "u", "as_of": DAY, "users": 1, "model_version": 0}
        rows = pa.Table.from_pylist([row], tables.PUBLICATIONS.arrow_schema())
        warehouse.write(tables.PUBLICATIONS, rows)
        yield deployed
    warehouse.close()


class TestPrepare:
    def test_makes_tables_and_views_and_keeps_what_is_there(self, deployment):
        """Twice equals once; tables that hold rows are left alone."""
        deployment.set_up()
        warehouse = deployment.warehouse
        users = warehouse.rows("SELECT user_pseudo_id FROM ga_events")
        listed = warehouse.client.list_tables(warehouse.settings.dataset)
        views = {"ga_events", "stream_features", *tables.views("")}

        assert len(warehouse.rows("SELECT * FROM ma_publications")) == 1
        assert [row["user_pseudo_id"] for row in users] == ["u"]
        assert {table.table_id for table in listed} == views | {
            table.stored for table in tables.TABLES
        }

    def test_makes_a_table_as_it_is_declared(self, deployment):
        """Columns, clusters, partitions, and how long they are kept."""
        made = deployment.table("dead_letters")

        assert [field.name for field in made.schema] == [
            column.name for column in tables.DEAD_LETTERS.columns
        ]
        assert made.clustering_fields == [*tables.DEAD_LETTERS.clustering]
        assert made.time_partitioning.field == tables.DEAD_LETTERS.partition
