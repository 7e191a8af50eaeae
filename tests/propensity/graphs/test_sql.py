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
        inputs = {
            column.alias: column.this.sql("bigquery")
            for column in select.expressions[:3]
        }

        assert inputs == {
            "visits": "IFNULL(CAST(`visits` AS FLOAT64), CAST('NaN' AS FLOAT64))",
            "is_new": "IFNULL(CAST(CAST(`is_new` AS INT64) AS FLOAT64), "
            "CAST('NaN' AS FLOAT64))",
            "country": "IFNULL(CONCAT('=', `country`), '')",
        }

    @pytest.mark.parametrize("name", ["ga4_purchase", "first_day_churn"])
    def test_is_one_insert_that_every_use_case_of_users_can_have(self, name):
        """ML.PREDICT over the use case's own features, and no MERGE."""
        use_case = usecases.load(name)
        [insert] = sqlglot.parse(
            sql.scoring_statement(
                statement("score_by_model"),
                model="m",
                features=use_case.features,
                flags=frozenset(),
                rows=use_case.statement("features"),
            ),
            dialect="bigquery",
        )

        assert isinstance(insert, exp.Insert)
        assert len([*insert.find_all(exp.Predict)]) == 1
        assert not insert.find(exp.Merge)


# Features with the names of all placeholders: a car has a model, a visit a source.
PLACEHOLDERS = {
    **dict.fromkeys(("model", "inputs", "features", "feature", "values"), "number"),
    **dict.fromkeys(("source", "function", "arguments", "packages"), "category"),
    **dict.fromkeys(("connection", "bucket", "bundle", "sha256", "uri"), "category"),
}


class TestFeatures:
    @pytest.mark.parametrize("last", ["", "\n", " -- the end"])
    def test_may_be_named_like_a_placeholder(self, last):
        """Weekly, of a table and as arguments each reads its own column. A statement of
        features may end as it likes."""
        rows = "SELECT * FROM t" + last
        weekly = sql.scoring_statement(
            statement("score_by_model"),
            model="m",
            features=PLACEHOLDERS,
            flags=frozenset(),
            rows=rows,
        )
        of_table = sql.table_statement("d.m", features=PLACEHOLDERS, source="d.t")
        call = sql.function_call_statement("d.f", features=PLACEHOLDERS, source="d.t")
        for text, model in ((weekly, "m"), (of_table, "d.m")):
            parsed = sqlglot.parse_one(text, dialect="bigquery")
            [predicted] = parsed.find_all(exp.Predict)
            inputs = {
                column.alias: column
                for column in predicted.find(exp.Select).expressions
            }

            assert predicted.this.sql("bigquery").replace("`", "") == model
            assert {*PLACEHOLDERS} < {*inputs}
            for name in PLACEHOLDERS:
                assert inputs[name].find(exp.Column).name == name
        called = sqlglot.parse_one(call, dialect="bigquery")

        columns = called.find_all(exp.Column, bfs=False)

        assert [column.name for column in columns] == [
            "user_id",
            *PLACEHOLDERS,
        ]
        assert called.find(exp.From).this.sql("bigquery") == "`d.t`"

    def test_are_the_arguments_of_a_function(self):
        created = sql.function_statement(
            "d.f",
            connection="c",
            bundle="gs://b/o",
            checksum="0",
            features=PLACEHOLDERS,
            libraries={},
        )
        arguments = created[created.index("(") + 1 : created.index(")")]

        assert [argument.split("`")[1] for argument in arguments.split(",")] == [
            *PLACEHOLDERS
        ]


class TestNames:
    def test_of_a_model_hold_the_checksum(self):
        """Another graph is another model, whatever was in the dataset before."""
        assert sql.model_name("u", 3, checksum="ab" * 32) == "model_u_3_abababababab"

    @pytest.mark.parametrize("source", ["d.t", "`d.t`", "`d`.`t`"])
    def test_of_a_table_are_quoted_once(self, source):
        """As somebody writes them who knows SQL."""
        of_graph = sql.table_statement("d.m", features=FEATURES, source=source)
        by_function = sql.function_call_statement(
            "d.f", features=FEATURES, source=source
        )

        assert "FROM\n        `d.t`\n" in of_graph
        assert "FROM\n  `d.t`\n" in by_function

    def test_of_an_import_are_quoted(self):
        text = sql.import_statement("m", uri="gs://b/models/u/3/model.onnx")
        created = sqlglot.parse_one(text, dialect="bigquery")

        assert created.args["exists"]
        assert created.args["kind"] == "MODEL"
        assert "model_path = 'gs://b/models/u/3/model.onnx'" in text
        # Not with words about placeholders, which somebody would read who runs it.
        assert text.startswith("CREATE MODEL IF NOT EXISTS `m`\n")


def test_packages_of_a_function_are_those_of_the_project():
    """What BigQuery installs is what the tests ran with."""
    pins = (ROOT / "requirements.txt").read_text("utf-8").splitlines()

    for name, version in sql.FURTHER_PACKAGES.items():
        assert f"{name}=={version}" in pins
