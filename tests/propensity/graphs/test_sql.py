"""
Statements that score in BigQuery, specified by their text.
"""

from __future__ import annotations

import pytest
import sqlglot
from sqlglot import exp

from local.stack.state import ROOT
from propensity import usecases
from propensity.graphs import sql
from propensity.statements import statement

FEATURES = {"visits": "number", "is_new": "number", "country": "category"}


def filled(
    text="SELECT\n        `inputs`\n  1 FROM ML.PREDICT(MODEL `model`, TABLE t)",
):
    return sql.scoring_statement(
        text, model="d.m", features=FEATURES, flags=frozenset({"is_new"})
    )


class TestScoring:
    def test_gives_a_graph_no_null(self):
        """A number is NaN, a truth value 1, 0 or NaN, and a text has a mark."""
        select = sqlglot.parse_one(filled(), dialect="bigquery")
        found = {one.alias: one.this.sql("bigquery") for one in select.expressions[:3]}

        assert found == {
            "visits": "IFNULL(CAST(`visits` AS FLOAT64), CAST('NaN' AS FLOAT64))",
            "is_new": "IFNULL(CAST(CAST(`is_new` AS INT64) AS FLOAT64), "
            "CAST('NaN' AS FLOAT64))",
            "country": "IFNULL(CONCAT('=', `country`), '')",
        }

    @pytest.mark.parametrize("name", ["ga4_purchase", "first_day_churn"])
    def test_is_one_insert_that_every_use_case_of_users_can_have(self, name):
        """ML.PREDICT over the use case's own features, and no MERGE."""
        use_case = usecases.load(name)
        [found] = sqlglot.parse(
            sql.scoring_statement(
                statement("score_by_model"),
                model="m",
                features=use_case.features,
                flags=frozenset(),
                rows=use_case.statement("features"),
            ),
            dialect="bigquery",
        )

        assert isinstance(found, exp.Insert)
        assert len([*found.find_all(exp.Predict)]) == 1
        assert not found.find(exp.Merge)


class TestNames:
    def test_of_a_model_hold_the_checksum(self):
        """Another graph is another model, whatever was in the dataset before."""
        assert sql.model_name("u", 3, checksum="ab" * 32) == "model_u_3_abababababab"

    def test_of_an_import_are_quoted(self):
        found = sql.import_statement("m", uri="gs://b/models/u/3/model.onnx")
        created = sqlglot.parse_one(found, dialect="bigquery")

        assert created.args["exists"]
        assert created.args["kind"] == "MODEL"
        assert "model_path = 'gs://b/models/u/3/model.onnx'" in found


def test_packages_of_a_function_are_those_of_the_project():
    """What BigQuery installs is what the tests ran with."""
    pins = (ROOT / "requirements.txt").read_text("utf-8").splitlines()

    for name, version in sql.FURTHER_PACKAGES.items():
        assert f"{name}=={version}" in pins
