"""The BigQuery emulator as local mode starts it, by what clients see of it."""

from __future__ import annotations

import io
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.api_core.exceptions import GoogleAPICallError
from google.cloud import bigquery

DAY = date(2026, 3, 1)
Scalar = bigquery.ScalarQueryParameter
DAYS = [Scalar("d", "DATE", DAY)]


class Warehouse:
    """One test's dataset and the few verbs that its tests need."""

    def __init__(self, client: bigquery.Client, dataset: str) -> None:
        self.client = client
        self.dataset = dataset
        self.default = bigquery.DatasetReference(client.project, dataset)

    def job(self, sql: str, parameters: Any = (), **options: Any) -> Any:
        config = bigquery.QueryJobConfig(
            default_dataset=self.default, query_parameters=list(parameters), **options
        )
        return self.client.query(sql, job_config=config, job_retry=None)

    def rows(self, sql: str, parameters: Any = ()) -> list[tuple[Any, ...]]:
        result = self.job(sql, parameters).result(job_retry=None)
        return [tuple(row.values()) for row in result]

    def load(self, name: str, write: str | None = None, **columns: list[Any]) -> None:
        file = io.BytesIO()
        pq.write_table(pa.table(columns), file)
        config = bigquery.LoadJobConfig(source_format="PARQUET")
        config.write_disposition = write
        self.client.load_table_from_file(
            file, self.default.table(name), rewind=True, job_config=config
        ).result()


@pytest.fixture
def warehouse(emulated) -> Warehouse:
    return Warehouse(emulated.warehouse.client, emulated.dataset)


class TestTransactions:
    SCRIPT = """
        BEGIN TRANSACTION;
        DELETE FROM history WHERE day = @d;
        INSERT INTO history (day, user_id) SELECT @d, user_id FROM staging;
        MERGE current AS c
        USING staging AS s
        ON c.user_id = s.user_id
        WHEN MATCHED THEN UPDATE SET p = s.p
        WHEN NOT MATCHED THEN INSERT (user_id, p) VALUES (s.user_id, s.p);
        {last}
        COMMIT TRANSACTION;
    """

    @pytest.mark.parametrize("last", ["", "SELECT ERROR('stop');"])
    def test_transactions_are_seen_together_or_not_at_all(self, warehouse, last):
        """DELETE, INSERT and MERGE of one script; an error leaves all as it was."""
        warehouse.rows("CREATE TABLE current AS SELECT 'a' AS user_id, 0.5 AS p")
        warehouse.rows("CREATE TABLE history AS SELECT @d AS day, 'z' AS user_id", DAYS)
        warehouse.load("staging", user_id=["a", "b"], p=[0.1, 0.2])
        script = self.SCRIPT.format(last=last)
        current = "SELECT * FROM current"
        if last:
            with pytest.raises(GoogleAPICallError):
                warehouse.rows(script, DAYS)
        else:
            warehouse.rows(script, DAYS)
        history = warehouse.rows("SELECT user_id FROM history ORDER BY 1")

        assert history == ([("z",)] if last else [("a",), ("b",)])
        assert sorted(warehouse.rows(current)) == (
            [("a", 0.5)] if last else [("a", 0.1), ("b", 0.2)]
        )


def test_numerics_are_calculated_exactly(warehouse):
    """Products and quotients, to nine decimals, rounded half away from zero."""
    values = {
        "a / b": "0.333333333",
        "-2 * a / (3 * a)": "-0.666666667",
        "large * 1000 * b": "3000000000000000000",
        "SAFE_MULTIPLY(large, b) - large * b": "0",
        "SAFE_MULTIPLY(large, large)": "None",
        "CAST(a / 8 AS STRING)": "0.125",
    }
    [row] = warehouse.rows(
        f"SELECT {', '.join(values)} FROM "
        "(SELECT NUMERIC '1' AS a, NUMERIC '3' AS b, NUMERIC '1e15' AS large)"
    )

    assert [*map(str, row)] == [*values.values()]


def test_whole_numbers_are_divided_as_they_are_grouped(warehouse):
    sql = "SELECT DIV(3 + 47, 24), DIV(100, 2 + 1), MOD(7 + 1, 5 - 1), DIV(-7, 2)"

    assert warehouse.rows(sql) == [(2, 33, 0, -3)]


class TestViews:
    def test_views_read_the_tables_of_now(self, warehouse):
        """A view on a view on a wildcard, whichever way a daily table came or went."""
        events = f"`{warehouse.dataset}.events_*`"
        warehouse.load("events_20260301", n=[1])
        warehouse.rows(
            f"CREATE VIEW inner_v AS WITH days AS (SELECT * FROM {events}) "
            "SELECT n FROM days"
        )
        warehouse.rows("CREATE VIEW outer_v AS SELECT n FROM inner_v")
        total = "WITH x AS (SELECT o.n FROM outer_v AS o) SELECT SUM(x.n) FROM x"
        assert warehouse.rows(total) == [(1,)]

        warehouse.load("events_20260302", n=[2])
        assert warehouse.rows(total) == [(3,)]
        warehouse.rows("CREATE TABLE events_20260303 AS SELECT 4 AS n")
        assert warehouse.rows(total) == [(7,)]
        warehouse.client.delete_table(warehouse.default.table("events_20260301"))
        assert warehouse.rows(total) == [(6,)]
        view = warehouse.client.get_table(warehouse.default.table("inner_v"))
        assert warehouse.dataset in view.view_query


@pytest.mark.parametrize(
    "sql",
    [
        "COPY (SELECT 1) TO '{file}'",
        "EXPORT DATA OPTIONS (uri = '{file}', format = 'PARQUET') AS SELECT 1 AS n",
        "EXPORT DATA OPTIONS (uri = 'file://{file}', format = 'CSV') AS SELECT 1 AS n",
        "SELECT * FROM read_csv('/etc/hostname')",
        "ATTACH '{file}' AS other",
        "PRAGMA home_directory = '{file}'",
    ],
)
def test_a_statement_touches_no_file_of_the_machine(warehouse, tmp_path, sql):
    """Whoever reaches the port can send one."""
    file = tmp_path / "folder" / "file"
    with pytest.raises(GoogleAPICallError):
        warehouse.rows(sql.replace("{file}", str(file)))

    assert not file.parent.exists()


def test_a_table_of_a_day_says_when_its_rows_were_changed(warehouse):
    """By a load and by a statement. Who only reads changes nothing."""

    def changed() -> int:
        [row] = warehouse.rows(
            "SELECT last_modified_time, size_bytes "
            f"FROM {warehouse.dataset}.__TABLES__ WHERE table_id = 'events_20260301'"
        )
        assert row[1] > 0
        return int(row[0])

    warehouse.load("events_20260301", "WRITE_TRUNCATE", user=["a", "b", "c"])
    loaded = changed()
    warehouse.rows("SELECT * FROM events_20260301")
    assert changed() == loaded
    warehouse.rows("DELETE FROM events_20260301 WHERE user = 'a'")
    deleted = changed()
    warehouse.load("events_20260301", "WRITE_TRUNCATE", user=["a"])

    assert loaded < deleted < changed()
