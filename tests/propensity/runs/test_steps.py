"""
The steps of the runs, where no function shows them: what they refuse, and set-up.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from propensity import tables
from propensity.edges.artifacts import Artifacts
from propensity.edges.warehouse import Warehouse
from propensity.errors import SchemaError
from propensity.runs import steps
from propensity.settings import Settings
from tests import shop

DAY = date(2026, 3, 2)


class TestOutcomes:
    def test_are_apart_from_converters_whom_nobody_had_scored(self):
        """Defect: an inner join forgets who was not scored, and who did not buy."""
        groups = pa.table(
            {
                "probability": [0.5, None, 0.25],
                "users": [4, 3, 10],
                "conversions": [2, 3, 0],
            }
        )
        observed, unscored = steps.outcomes_of(groups)

        assert unscored == 3
        assert observed.probability.tolist() == [0.25, 0.5]
        assert observed.users.tolist() == [10, 4]
        assert observed.conversions.tolist() == [0, 2]

    def test_may_be_empty(self):
        """A week that nobody was scored for has no outcome, and may have converters."""
        groups = pa.table(
            {
                "probability": pa.array([None], pa.float64()),
                "users": [3],
                "conversions": [3],
            }
        )
        observed, unscored = steps.outcomes_of(groups)

        assert (len(observed.users), unscored) == (0, 3)


class TestChecks:
    def test_features_that_are_not_there_are_named(self):
        """What features.sql must give is what usecase.toml names."""
        rows = pa.table({"recency_days": [1.0]})

        assert steps.checked(rows, {"recency_days": "number"}) is rows
        with pytest.raises(SchemaError, match="shoe_size"):
            steps.checked(rows, {"recency_days": "number", "shoe_size": "number"})

    @pytest.mark.parametrize("wrong", [np.nan, -0.1, 1.1, np.inf])
    def test_values_that_are_no_probabilities_are_not_staged(self, wrong):
        """A model that answers NaN publishes nothing."""
        batch = pa.RecordBatch.from_pydict({"user_id": ["a", "b"]})
        run = SimpleNamespace(run_id="r", began_at=datetime(2026, 3, 2, tzinfo=UTC))
        scored = [(batch, np.array([0.5, wrong]))]

        with pytest.raises(SchemaError, match="no probabilities"):
            list(steps._staged(run, scored))


class TestPrepare:
    def test_keeps_tables_for_as_long_as_the_settings_say(self, environment):
        """Those that are there as well, from the next set-up on; and back."""

        def expiring(text: str) -> dict[str, int]:
            settings = Settings.from_environment(
                {
                    **environment,
                    "PROPENSITY_GA4_DATASET": "",
                    "PROPENSITY_RETENTION_DAYS": text,
                }
            )
            warehouse, artifacts = Warehouse.open(settings), Artifacts.open(settings)
            steps.prepare(warehouse, artifacts, settings)
            found = {}
            for table in tables.TABLES:
                name = f"{settings.project}.{settings.dataset}.{table.name}"
                partitioning = warehouse.client.get_table(name).time_partitioning
                if partitioning and partitioning.expiration_ms:
                    days = int(partitioning.expiration_ms) / (24 * 3600 * 1000)
                    found[table.name] = days
            warehouse.close()
            artifacts.close()
            return found

        staged = {"ma_predictions_staging": 3, "ma_model_evaluation_staging": 3}

        assert expiring("") == staged
        assert expiring("stream_events=400") == {**staged, "stream_events": 400}
        assert expiring("") == staged

    def test_adds_columns_that_are_missing(self, environment):
        """A table of an earlier version gets them at its end, and keeps its rows."""
        settings = Settings.from_environment(
            {**environment, "PROPENSITY_GA4_DATASET": ""}
        )
        warehouse, artifacts = Warehouse.open(settings), Artifacts.open(settings)
        steps.prepare(warehouse, artifacts, settings)
        name = "ma_model_evaluation"
        warehouse.execute(
            f"INSERT INTO {name} (use_case, week, model_version) "
            "VALUES ('ga4_purchase', DATE '2026-03-02', 1)"
        )
        for column in ("lift", "roc_auc"):
            warehouse.execute(f"ALTER TABLE {name} DROP COLUMN {column}")

        steps.prepare(warehouse, artifacts, settings)
        found = warehouse.client.get_table(
            f"{settings.project}.{settings.dataset}.{name}"
        )
        [row] = warehouse.rows(f"SELECT * FROM {name}")
        warehouse.close()
        artifacts.close()

        assert {field.name for field in found.schema} == {
            column.name for column in tables.EVALUATION.columns
        }
        assert (row["model_version"], row["roc_auc"], row["lift"]) == (1, None, [])

    def test_has_tables_ask_which_days_are_meant(self, environment):
        """Those that were made by an earlier version as well, from this set-up on."""
        settings = Settings.from_environment(
            {**environment, "PROPENSITY_GA4_DATASET": ""}
        )
        warehouse, artifacts = Warehouse.open(settings), Artifacts.open(settings)

        def asking() -> set[str]:
            every = [
                warehouse.client.get_table(
                    f"{settings.project}.{settings.dataset}.{table.name}"
                )
                for table in tables.TABLES
            ]
            return {one.table_id for one in every if one.require_partition_filter}

        steps.prepare(warehouse, artifacts, settings)
        wanted = {one.name for one in tables.TABLES if one.requires_filter}
        assert asking() == wanted
        for name in ("inference_log", "postcode_index"):
            is_large = name in wanted
            warehouse.execute(
                f"ALTER TABLE {name} SET OPTIONS "
                f"(require_partition_filter = {not is_large})"
            )
        assert asking() != wanted

        steps.prepare(warehouse, artifacts, settings)
        assert asking() == wanted
        warehouse.close()
        artifacts.close()

    def test_makes_tables_and_views_and_keeps_what_is_there(
        self, workplace, environment
    ):
        """Twice equals once; tables that hold rows are left alone."""
        shop.load(workplace, [shop.event("u", DAY)])
        settings = Settings.from_environment(environment)
        warehouse, artifacts = Warehouse.open(settings), Artifacts.open(settings)
        steps.prepare(warehouse, artifacts, settings)
        row = {"run_id": "r", "staged_on": DAY, "user_id": "a", "probability": 0.5}
        schema = tables.PREDICTIONS_STAGING.arrow_schema()
        rows = pa.Table.from_pylist([row], schema)
        warehouse.append(tables.PREDICTIONS_STAGING, rows, job_id="prepared")
        steps.prepare(warehouse, artifacts, settings)

        assert len(warehouse.rows("SELECT * FROM ma_predictions_staging")) == 1
        assert [found["user_pseudo_id"] for found in warehouse.rows(
            "SELECT user_pseudo_id FROM ga_events"
        )] == ["u"]  # fmt: skip
        names = {
            table.table_id for table in warehouse.client.list_tables(settings.dataset)
        }
        views = {"ga_events", "stream_features"}
        assert names == views | {table.name for table in tables.TABLES}
        warehouse.close()
        artifacts.close()
