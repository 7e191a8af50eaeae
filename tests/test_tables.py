"""
Tables, specified: the one place where a column is typed, and the DDL that follows.
"""

from __future__ import annotations

import re

import pytest

from propensity import tables
from propensity.schema import Column, Table
from propensity.tables import TABLES

BY_NAME = {table.name: table for table in TABLES}

# What a model version's row must hold: every word of the design's list.
METADATA = [
    "use_case", "model_version", "training_date", "as_of", "lookback_days",
    "horizon_days", "settle_days", "train_as_ofs", "calibration_as_ofs",
    "holdout_as_ofs", "train_rows", "calibration_rows", "users", "base_rate",
    "train_base_rate", "algorithm", "parameters", "calibration", "precision",
    "recall", "f1", "roc_auc", "pr_auc", "brier", "log_loss", "calibration_error",
    "threshold", "model_object", "model_sha256", "preprocessor_object",
    "preprocessor_sha256", "dataset_object", "dataset_sha256", "libraries",
    "bytes_billed",
]  # fmt: skip

EVALUATED = [
    "use_case", "week", "model_version", "status", "roc_auc", "true_positives",
    "true_negatives", "false_positives", "false_negatives", "f1", "recall",
    "precision", "pr_auc", "brier", "calibration_error", "lift", "base_rate",
    "users", "unscored_converters",
]  # fmt: skip

WITH_INTERVALS = ["roc_auc", "pr_auc"]


def columns(table: Table) -> dict[str, Column]:
    """A table's columns by name."""
    return {column.name: column for column in table.columns}


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
class TestEveryTable:
    def test_names_its_columns_once(self, table):
        """No column is there twice, not even in another case: BigQuery has none.
        Names are without project and dataset: a deployment chooses these."""
        names = [column.name.lower() for column in table.columns]

        assert len(set(names)) == len(names)
        assert re.fullmatch(r"[a-z_]+", table.name)

    def test_is_organised_by_columns_that_it_has(self, table):
        """Key, partition and clustering. A row without its partition's date would be
        found by no query."""
        partition = columns(table)[table.partition]

        assert {*table.key, table.partition, *table.clustering} <= set(columns(table))
        assert (partition.type, partition.required) == ("DATE", True)

    def test_writes_ddl_of_each_column(self, table):
        """The statement creates what is missing, with NOT NULL where it is required."""
        ddl = table.ddl()

        assert ddl.startswith(f"CREATE TABLE IF NOT EXISTS `{table.stored}` (")
        assert f"\nPARTITION BY {table.partition}\n" in ddl
        assert f"\nCLUSTER BY {', '.join(table.clustering)}\n" in ddl
        for column in table.columns:
            line = re.search(rf"^  {column.name} (.*?) OPTIONS", ddl, re.MULTILINE)
            assert line is not None
            assert line[1].endswith(" NOT NULL") == column.required

    def test_has_rows_of_the_same_columns_in_arrow(self, table):
        """The schema of written rows has the columns in order, nullable as they are."""
        schema = table.arrow_schema()

        assert schema.names == [column.name for column in table.columns]
        assert [field.nullable for field in schema] == [
            not column.required for column in table.columns
        ]


class TestTables:
    def test_are_named_once(self):
        """Two tables of one name would be one table."""
        assert len(BY_NAME) == len(TABLES)

    @pytest.mark.parametrize(
        ("name", "key"),
        [
            ("ma_model_training_metadata", ("use_case", "model_version")),
            ("ma_predictions_table", ("use_case", "user_id")),
            ("ma_model_evaluation", ("use_case", "week", "model_version")),
        ],
    )
    def test_keep_the_names_and_keys_of_the_contract(self, name, key):
        """Other people's queries name these tables and count on their keys."""
        assert BY_NAME[name].key == key

    def test_record_of_a_model_version_all_that_it_took(self):
        """A version's row says how it was trained, how good it is and what it is."""
        assert {*METADATA} <= {*columns(tables.TRAINING_METADATA)}

    def test_record_of_a_week_what_the_probabilities_were_worth(self):
        """A week's row has every figure."""
        assert {*EVALUATED} <= {*columns(tables.EVALUATION)}

    @pytest.mark.parametrize("table", [tables.TRAINING_METADATA, tables.EVALUATION])
    def test_record_intervals(self, table):
        """Of what versions and weeks are compared by."""
        bounds = {f"{name}_{end}" for name in WITH_INTERVALS for end in ("low", "high")}

        assert bounds <= {*columns(table)}

    def test_forget_dead_letters_alone(self):
        """They expire after a week; what is published never does."""
        expiring = {table.name for table in TABLES if table.expiration_days}

        assert expiring == {"dead_letters"}
        assert tables.DEAD_LETTERS.expiration_days == 7
        assert "partition_expiration_days" in tables.DEAD_LETTERS.ddl()
        assert "partition_expiration_days" not in tables.SCORES.ddl()


class TestRetention:
    def test_is_days_by_table(self):
        """Between spaces or commas; all others are kept as they are declared."""
        text = "stream_events=400, dead_letters=90"
        days = {table.name: table.expiration_days for table in tables.retained(text)}

        assert days["stream_events"] == 400
        assert days["dead_letters"] == 90
        assert days["inference_log"] == 0

    def test_is_in_the_statement_that_creates_a_table(self):
        """The table expires from its first day on, and one for ever never does."""
        kept = {
            table.name: table.ddl() for table in tables.retained("stream_events=400")
        }

        assert "partition_expiration_days = 400" in kept["stream_events"]
        assert "partition_expiration_days = 7" in kept["dead_letters"]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("strem_events=4", "strem_events"),
            ("stream_events", "400"),
            ("stream_events=-1", "up to"),
            ("stream_events=1.5", "up to"),
            ("stream_events=36501", "up to"),
            ("stream_events=1 stream_events=2", "once"),
            ("suppressed_users=30", "suppressed_users"),
        ],
    )
    def test_refuses_what_it_does_not_understand(self, text, message):
        """A word for a table that there is not would keep it for ever; the list of
        suppressed users must be kept."""
        with pytest.raises(ValueError, match=message):
            tables.retention(text)
