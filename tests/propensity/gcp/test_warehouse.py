"""BigQuery against the emulator: statements in, rows out."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pyarrow as pa
import pytest

from propensity.errors import SchemaError, SettingsError
from propensity.gcp.queries import query_parameter
from propensity.tables.stream import POSTCODE_INDEX
from tests.propensity.gcp.conftest import DAY, SCORES, staged

INJECTION = "x'; DROP TABLE ma_predictions_runs; --"


class TestStatements:
    def test_statements_take_values_as_parameters_only(self, warehouse):
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
    def test_statements_have_typed_parameters(self, value, kind):
        assert query_parameter("p", value).type_ == kind
        assert query_parameter("p", [value]).array_type == kind

    @pytest.mark.parametrize("value", [[], None, {"a": 1}, b"x"])
    def test_statements_refuse_what_has_no_type(self, value):
        with pytest.raises(TypeError, match="@p"):
            query_parameter("p", value)

    @pytest.mark.parametrize("count", [5, 300_000])
    def test_statements_answer_all_rows(self, warehouse, count):
        """Few come with the answer, many through the Storage API: all of them."""
        sql = "SELECT n FROM UNNEST(GENERATE_ARRAY(1, @most)) AS n"
        table = warehouse.table(sql, {"most": count})
        batches = pa.Table.from_batches(warehouse.batches(sql, {"most": count}))

        expected = list(range(1, count + 1))
        assert sorted(table["n"].to_pylist()) == expected
        assert sorted(batches["n"].to_pylist()) == expected
        rows = warehouse.rows(f"{sql} WHERE n <= 5", {"most": count})
        assert sorted(row["n"] for row in rows) == expected[:5]

    def test_bytes_are_counted_apart_for_each_run(self, warehouse):
        """An alert reads those of a run, whatever else its instance does."""
        warehouse.bytes_billed += 10
        run = warehouse.for_run()

        assert (run.client, run.bytes_billed) == (warehouse.client, 0)


class TestRows:
    @pytest.fixture(autouse=True)
    def emptied(self, warehouse):
        yield
        warehouse.execute("DELETE FROM ma_predictions_runs WHERE TRUE")

    def test_rows_keep_their_texts_whatever_the_order_of_columns(self, warehouse):
        rows = staged(INJECTION)
        warehouse.write(SCORES, rows.select(rows.column_names[::-1]))

        [row] = warehouse.rows("SELECT * FROM ma_predictions_runs")
        assert dict(row.items()) == rows.to_pylist()[0]

    def test_rows_replace_all_others(self, warehouse):
        """Whoever reads sees the old rows or the new ones."""
        row = {"socioeconomic_idx": 0.5, "is_outward": False, "loaded_on": DAY}
        warehouse.create(POSTCODE_INDEX)
        for postcode in ("A", "B"):
            rows = POSTCODE_INDEX.arrow([{**row, "postcode": postcode}])
            warehouse.replace(POSTCODE_INDEX, rows)

        [found] = warehouse.rows("SELECT postcode FROM postcode_index")
        assert found["postcode"] == "B"

    def test_jobs_are_labelled_for_the_bill(self, warehouse):
        """Whoever looks at costs finds the application's, statements and loads."""
        assert warehouse.rows("SELECT 1 AS one")
        found = {
            job.job_type: job.labels
            for job in warehouse.client.list_jobs()
            if warehouse.settings.dataset in str(job.to_api_repr())
        }

        assert found == dict.fromkeys(["query", "load"], {"application": "propensity"})

    @pytest.mark.parametrize(
        "rows",
        [
            staged("a").drop_columns("run_id"),
            staged("a").append_column("extra", pa.array([1])),
            [{"user_id": "a", "extra": 1}],
        ],
        ids=["missing", "extra", "extra in values"],
    )
    def test_rows_of_other_columns_are_refused(self, warehouse, rows):
        """Tables are contracts: what does not fit is not written."""
        with pytest.raises(SchemaError, match="ma_predictions_runs"):
            warehouse.write(SCORES, rows)

    def test_rows_of_any_number_are_held_a_few_thousand_at_once(self):
        """Defect: the members of a large audience filled the memory of a function."""
        held = 0
        most = 0

        class Values(dict):
            def __init__(self, user: str) -> None:
                nonlocal held, most
                super().__init__(use_case="ga4_purchase", user_id=user)
                held += 1
                most = max(most, held)

            def __del__(self) -> None:
                nonlocal held
                held -= 1

        users = [f"u{number}" for number in range(30_000)]
        written = SCORES.arrow(Values(user) for user in users)

        assert written["user_id"].to_pylist() == users
        assert most < 15_000

    def test_rows_say_that_a_table_is_older_than_the_code(self, warehouse):
        """Where functions are deployed before the set-up."""
        warehouse.execute("ALTER TABLE ma_predictions_runs DROP COLUMN expected_value")
        refused = "expected_value.*run deploy/setup.sh"
        try:
            with pytest.raises(SchemaError, match=refused):
                warehouse.execute(
                    "INSERT INTO ma_predictions_runs (run_id, expected_value) "
                    "VALUES ('r', 1)"
                )
        finally:
            warehouse.execute("DROP TABLE ma_predictions_runs")
            warehouse.create(SCORES)


class TestTables:
    def test_tables_of_another_location_are_refused(self, warehouse, opened):
        """BigQuery joins nothing across locations; the message names the setting."""
        dataset = f"{warehouse.settings.project}.{warehouse.settings.dataset}"
        assert SCORES.name in warehouse.tables_of(dataset)

        with pytest.raises(SettingsError, match="PROPENSITY_LOCATION"):
            opened(location="EU").tables_of(dataset)
