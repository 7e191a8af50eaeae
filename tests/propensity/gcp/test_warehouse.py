"""BigQuery against the emulator: statements in, rows out."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pyarrow as pa
import pytest

from propensity.errors import MissingTable, PropensityError, SchemaError
from propensity.gcp.columns import query_parameter, record
from propensity.tables.every import AUDIENCE_MEMBERS
from tests.propensity.gcp.staging import DAY, SCORES, VALUES, staged

INJECTION = "x'; DROP TABLE ma_predictions_runs; --"


class TestStatements:
    def test_take_values_as_parameters_only(self, warehouse):
        """Defect: SQL made of f-strings. A value that is SQL is a value."""
        [row] = warehouse.rows("SELECT @text AS value", {"text": INJECTION})
        listed = warehouse.rows(
            "SELECT * FROM UNNEST(@texts) AS value", {"texts": [INJECTION, "b"]}
        )

        assert row["value"] == INJECTION
        assert [row["value"] for row in listed] == [INJECTION, "b"]
        assert warehouse.rows("SELECT * FROM ma_predictions_runs") == []

    @pytest.mark.parametrize(
        ("value", "kind"),
        [
            (True, "BOOL"),
            (1, "INT64"),
            (0.5, "FLOAT64"),
            (Decimal("0.1"), "NUMERIC"),
            ("a", "STRING"),
            (DAY, "DATE"),
            (datetime(2026, 3, 2, tzinfo=UTC), "TIMESTAMP"),
        ],
    )
    def test_have_typed_parameters(self, value, kind):
        """A value has one type, alone and in a list."""
        assert query_parameter("p", value).type_ == kind
        assert query_parameter("p", [value]).array_type == kind

    @pytest.mark.parametrize("value", [[], None, {"a": 1}, b"x"])
    def test_refuse_what_has_no_type(self, value):
        """An empty list and an unknown type are a caller's mistake."""
        with pytest.raises(TypeError, match="@p"):
            query_parameter("p", value)

    def test_answer_rows_batches_and_tables_alike(self, warehouse):
        """One statement, three shapes."""
        sql = "SELECT n FROM UNNEST(GENERATE_ARRAY(1, @most)) AS n"
        rows = warehouse.rows(sql, {"most": 5})
        table = warehouse.table(sql, {"most": 5})
        batches = pa.Table.from_batches(warehouse.batches(sql, {"most": 5}))

        assert sorted(row["n"] for row in rows) == [1, 2, 3, 4, 5]
        assert sorted(table["n"].to_pylist()) == [1, 2, 3, 4, 5]
        assert sorted(batches["n"].to_pylist()) == [1, 2, 3, 4, 5]

    def test_stream_all_rows(self, warehouse):
        """Rows come one batch after the other, and all of them come."""
        sql = "SELECT n FROM UNNEST(GENERATE_ARRAY(1, 300000)) AS n"

        assert sum(len(batch) for batch in warehouse.batches(sql)) == 300_000

    def test_that_only_cost_are_not_run(self, warehouse):
        """A dry run of a write writes nothing."""
        warehouse.dry_run("DELETE FROM ma_predictions_runs WHERE TRUE")
        with pytest.raises(PropensityError):
            warehouse.dry_run("SELEC 1")

    def test_are_metered_apart_for_each_run(self, warehouse):
        """A run has the clients of its instance and a meter of its own."""
        run = warehouse.for_run()

        assert run.client is warehouse.client
        assert run.bytes_billed == 0


class TestAppend:
    @pytest.fixture(autouse=True)
    def emptied(self, warehouse):
        yield
        warehouse.execute("DELETE FROM ma_predictions_runs WHERE TRUE")

    def test_of_one_id_happens_once(self, warehouse):
        """A retried load adds nothing: its job has run."""
        for rows in (staged(a=0.5), staged(b=0.5)):
            warehouse.append(SCORES, rows, job_id="once")

        [row] = warehouse.rows("SELECT user_id FROM ma_predictions_runs")
        assert row["user_id"] == "a"

    def test_takes_columns_in_any_order(self, warehouse):
        """And keeps texts as they are."""
        warehouse.append(SCORES, staged(**{INJECTION: 0.5}), job_id="order")

        [row] = warehouse.rows("SELECT * FROM ma_predictions_runs")
        assert dict(row.items()) == {
            "use_case": "u", "run_id": "r", "as_of": DAY, "user_id": INJECTION,
            "probability": 0.5,

            **dict.fromkeys(VALUES),
        }  # fmt: skip

    @pytest.mark.parametrize(
        "rows",
        [
            staged(a=0.5).drop_columns("run_id"),
            staged(a=0.5).append_column("extra", pa.array([1])),
        ],
        ids=["missing", "extra"],
    )
    def test_refuses_other_columns(self, warehouse, rows):
        """Tables are contracts: what does not fit is not written."""
        with pytest.raises(SchemaError, match="ma_predictions_runs"):
            warehouse.append(SCORES, rows, job_id="refused")

    def test_says_that_a_table_is_older_than_the_code(self, warehouse):
        """Where functions are deployed before the set-up: rows and statements alike."""
        warehouse.execute("ALTER TABLE ma_predictions_runs DROP COLUMN expected_value")
        refused = "expected_value.*The set-up adds columns"
        try:
            with pytest.raises(SchemaError, match=refused):
                warehouse.append(SCORES, staged(a=0.5), job_id="older")
            with pytest.raises(SchemaError, match=refused):
                warehouse.execute(
                    "INSERT INTO ma_predictions_runs (run_id, expected_value) "
                    "VALUES ('r', 1)"
                )
        finally:
            warehouse.drop(SCORES.name)
            warehouse.create(SCORES)

    def test_makes_one_row_of_values(self):
        """Missing values are null; an unknown one is an error."""
        row = record({"user_id": "a"}, SCORES)

        nothing = dict.fromkeys(column.name for column in SCORES.columns)
        assert row.to_pylist() == [{**nothing, "user_id": "a"}]
        with pytest.raises(SchemaError, match="no column shoe_size"):
            record({"shoe_size": 44}, SCORES)


class TestTables:
    def test_are_made_where_missing(self, warehouse):
        """Making a table twice is making it once; dropping it, too."""
        warehouse.create(AUDIENCE_MEMBERS)
        warehouse.create(AUDIENCE_MEMBERS)
        assert warehouse.rows("SELECT * FROM ma_audience_members") == []

        warehouse.drop("ma_audience_members")
        warehouse.drop("ma_audience_members")
        with pytest.raises(MissingTable, match="ma_audience_members"):
            warehouse.rows("SELECT * FROM ma_audience_members")

    def test_view_is_replaced(self, warehouse):
        """A view takes its new query."""
        for number in (1, 2):
            warehouse.replace_view("ga_events", f"SELECT {number} AS n")
            assert warehouse.rows("SELECT n FROM ga_events")[0]["n"] == number
