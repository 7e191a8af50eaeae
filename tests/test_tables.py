"""
Tables, specified: the one place where a column is typed, and what follows from it.
"""

from __future__ import annotations

import re

import pytest

from propensity.errors import SettingsError
from propensity.schema import Column, Table
from propensity.tables import every as tables
from propensity.tables.every import TABLES

BY_NAME = {table.name: table for table in TABLES}


def columns(table: Table) -> dict[str, Column]:
    """A table's columns by name."""
    return {column.name: column for column in table.columns}


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_a_table_is_organised_by_columns_that_it_has_once(table):
    """Key, partition and clustering. BigQuery knows no case of a column's name, and a
    row without its partition's date would be found by no query."""
    names = [column.name.lower() for column in table.columns]
    partition = columns(table)[table.partition]

    assert len(set(names)) == len(names)
    assert {*table.key, table.partition, *table.clustering} <= set(columns(table))
    assert (partition.type, partition.required) == ("DATE", True)


@pytest.mark.parametrize(
    ("name", "key", "has"),
    [
        (
            "ma_model_training_metadata",
            ("use_case", "model_version"),
            "training_date as_of algorithm precision recall f1 roc_auc pr_auc brier "
            "log_loss calibration_error true_positives true_negatives false_positives "
            "false_negatives threshold users base_rate promoted verdict model_object "
            "model_sha256 preprocessor_object preprocessor_sha256 card",
        ),
        ("ma_predictions_table", ("use_case", "user_id"), "probability model_version"),
        (
            "ma_model_evaluation",
            ("use_case", "week", "model_version"),
            "status precision recall f1 roc_auc pr_auc brier log_loss "
            "calibration_error true_positives true_negatives false_positives "
            "false_negatives lift base_rate users unscored_converters metrics",
        ),
    ],
)
def test_the_contract_s_tables_keep_their_columns(name, key, has):
    """Other people's queries name them and count on their keys."""
    assert BY_NAME[name].key == key
    assert set(has.split()) <= set(columns(BY_NAME[name]))


def test_views_name_tables_alone():
    """A view of a view could only be created after it, and Terraform knows no order."""
    texts = tables.views("p.d")

    assert set(texts) >= {"ma_predictions_history", "ma_publications", "ma_drift"}
    for text in texts.values():
        named = set(re.findall(r"`p\.d\.(\w+)`", text))
        assert named
        assert named <= {table.stored for table in TABLES}


class TestRetention:
    def test_retention_is_days_by_table(self):
        """Between spaces or commas, from the statement that creates a table on; all
        others are kept as they are declared."""
        kept = {
            one.name: one
            for one in tables.retained("stream_events=400, ma_drift_runs=90")
        }

        assert kept["stream_events"].expiration_days == 400
        assert kept["ma_drift"].expiration_days == 90
        assert kept["inference_log"].expiration_days == 0

    @pytest.mark.parametrize("name", ["strem_events", "suppressed_users"])
    def test_retention_refuses_what_is_no_table_or_never_expires(self, name):
        """A word for a table that there is not would keep it for ever; the list of
        suppressed users must be kept, and how control groups were drawn. What is too
        old of the digest the runs delete themselves."""
        with pytest.raises(SettingsError, match=f"RETENTION_DAYS names {name},"):
            tables.retention(f"stream_events=4 {name}=30")

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            # A member whose first week had expired counted as a new one.
            ("ma_audience_members=399", "keeps ma_audience_members for 399 days alone"),
            # A removal of a member who had expired was sent without an address.
            ("ma_audience_requests=0", "longer than ma_audience_members"),
        ],
    )
    def test_retention_keeps_audiences_and_addresses_long_enough(self, text, problem):
        with pytest.raises(SettingsError, match=problem):
            tables.retention(text)
