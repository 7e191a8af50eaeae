"""
Set-up, specified: tables, their columns and how long they are kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, replace
from datetime import date
from types import SimpleNamespace

import pyarrow as pa
import pytest
from google.cloud import bigquery

from propensity import tables
from propensity.edges.artifacts import Artifacts
from propensity.edges.warehouse import Warehouse
from propensity.runs import setup
from propensity.settings import Settings
from tests import shop

DAY = date(2026, 3, 2)


@dataclass(frozen=True)
class Options:
    """Which tables of a deployment expire, and which ask for a filter."""

    kept: Mapping[str, float]
    asking: Set[str]


@dataclass
class Deployment:
    """A dataset beside an export, and set-up over both."""

    environment: Mapping[str, str]
    warehouse: Warehouse
    artifacts: Artifacts

    def set_up(self, **settings: str) -> None:
        """Run set-up, with some settings of its own."""
        changed = Settings.from_environment({**self.environment, **settings})
        setup.prepare(self.warehouse, self.artifacts, changed)

    def table(self, name: str) -> bigquery.Table:
        """Return a table's definition."""
        settings = self.warehouse.settings
        place = f"{settings.project}.{settings.dataset}"
        return self.warehouse.client.get_table(f"{place}.{name}")

    def options(self) -> Options:
        """Return the days of tables whose rows expire, and which ask for a filter."""
        kept, asking = {}, set()
        for table in (self.table(known.name) for known in tables.TABLES):
            partitioning = table.time_partitioning
            if partitioning and partitioning.expiration_ms:
                days = int(partitioning.expiration_ms) / (24 * 3600 * 1000)
                kept[table.table_id] = days
            if table.require_partition_filter:
                asking.add(table.table_id)
        return Options(kept, asking)


@pytest.fixture(scope="module")
def deployment(module_workplace) -> Iterator[Deployment]:
    """A deployment that is set up, with a row; each test leaves it so."""
    shop.load(module_workplace, [shop.event("u", DAY)])
    environment = {**module_workplace.environment, "PROPENSITY_RETENTION_DAYS": ""}
    warehouse = Warehouse.open(Settings.from_environment(environment))
    with module_workplace.storage.client() as client:
        bucket = client.bucket(module_workplace.bucket)
        artifacts = Artifacts(bucket, deadline_s=30.0)
        deployed = Deployment(environment, warehouse, artifacts)
        deployed.set_up()
        row = {"run_id": "r", "staged_on": DAY, "user_id": "a", "probability": 0.5}
        staging = tables.PREDICTIONS_STAGING
        rows = pa.Table.from_pylist([row], staging.arrow_schema())
        warehouse.append(staging, rows, job_id="prepared")
        yield deployed
    warehouse.close()


@pytest.fixture(scope="module")
def again(deployment) -> SimpleNamespace:
    """Two more set-ups: with another setting, and over tables of an earlier version."""
    first = deployment.options()
    deployment.set_up(PROPENSITY_RETENTION_DAYS="stream_events=400")
    longer = deployment.options()
    statements = [
        "INSERT INTO ma_model_evaluation (use_case, week, model_version) "
        "VALUES ('ga4_purchase', DATE '2026-03-02', 1)",
        *(
            f"ALTER TABLE ma_model_evaluation DROP COLUMN {column}"
            for column in ("lift", "roc_auc")
        ),
        *(
            f"ALTER TABLE {name} SET OPTIONS "
            f"(require_partition_filter = {name not in first.asking})"
            for name in ("inference_log", "postcode_index")
        ),
    ]
    for statement in statements:
        deployment.warehouse.execute(statement)
    broken = deployment.options()
    deployment.set_up()
    every = [first, longer, broken, deployment.options()]
    return SimpleNamespace(
        deployment=deployment,
        kept=[every[n].kept for n in (0, 1, 3)],
        asking=[every[n].asking for n in (0, 2, 3)],
    )


class TestPrepare:
    def test_keeps_tables_for_as_long_as_the_settings_say(self, again):
        """Those that are there as well, from the next set-up on; and back."""
        usual = {
            "ma_predictions_staging": 3,
            "ma_model_evaluation_staging": 3,
            "ma_audience_lift_staging": 3,
        }

        assert again.kept == [usual, {**usual, "stream_events": 400}, usual]

    def test_adds_columns_that_are_missing(self, again):
        """A table of an earlier version gets them at its end, and keeps its rows."""
        deployment, name = again.deployment, "ma_model_evaluation"
        definition = deployment.table(name)
        [row] = deployment.warehouse.rows(f"SELECT * FROM {name}")

        assert {field.name for field in definition.schema} == {
            column.name for column in tables.EVALUATION.columns
        }
        assert (row["model_version"], row["roc_auc"], row["lift"]) == (1, None, [])

    def test_has_tables_ask_which_days_are_meant(self, again):
        """Those that were made by an earlier version as well, from this set-up on."""
        expected = {table.name for table in tables.TABLES if table.requires_filter}
        first, broken, last = again.asking

        assert first == last == expected
        assert broken != expected

    def test_makes_tables_and_views_and_keeps_what_is_there(self, again):
        """Twice equals once; tables that hold rows are left alone."""
        warehouse = again.deployment.warehouse
        users = warehouse.rows("SELECT user_pseudo_id FROM ga_events")
        listed = warehouse.client.list_tables(warehouse.settings.dataset)
        views = {"ga_events", "stream_features"}

        assert len(warehouse.rows("SELECT * FROM ma_predictions_staging")) == 1
        assert [row["user_pseudo_id"] for row in users] == ["u"]
        assert {table.table_id for table in listed} == views | {
            table.name for table in tables.TABLES
        }

    @pytest.mark.parametrize(
        "table",
        [tables.PREDICTIONS_STAGING, tables.STREAM_USERS, tables.EVALUATION],
        ids=["expiring", "in buckets", "with structs"],
    )
    def test_makes_tables_as_their_ddl_says(self, deployment, table):
        """The API is told of them; an older one is rewritten by a statement."""

        def kinds(fields) -> list[object]:
            return [(f.name, f.field_type, f.mode, kinds(f.fields)) for f in fields]

        def like(created: bigquery.Table) -> tuple[object, ...]:
            days, buckets = created.time_partitioning, created.range_partitioning
            return (
                created.description,
                [field.description for field in created.schema],
                kinds(created.schema),
                created.clustering_fields,
                bool(created.require_partition_filter),
                days and days.field,
                repr(buckets),
            )

        by_api, by_ddl = (replace(table, name=name) for name in ("told", "stated"))
        deployment.warehouse.create(by_api)
        deployment.warehouse.execute(by_ddl.ddl())
        definitions = [like(deployment.table(copy.name)) for copy in (by_api, by_ddl)]
        for copy in (by_api, by_ddl):
            deployment.warehouse.drop(copy.name)

        assert definitions[0] == definitions[1]
