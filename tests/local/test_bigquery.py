"""The BigQuery emulator as local mode starts it, by what clients see of it."""

from __future__ import annotations

import io
from datetime import date
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.api_core.exceptions import BadRequest, GoogleAPICallError
from google.cloud import bigquery
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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
def warehouse(deployment) -> Warehouse:
    return Warehouse(deployment.warehouse.client, deployment.dataset)


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


def test_a_query_knows_the_columns_of_now(warehouse):
    """The same text, before and after its table changes: by a statement, by a load."""
    third = Decimal("0.333333333")
    sql = "SELECT a / 3 FROM t"
    warehouse.load("t", a=[1.0])
    assert warehouse.rows(sql) == [(1 / 3,)]
    warehouse.rows("CREATE OR REPLACE TABLE t AS SELECT NUMERIC '1' AS a")
    assert warehouse.rows(sql) == [(third,)]
    warehouse.load("t", write="WRITE_TRUNCATE", a=[1.0])
    assert warehouse.rows(sql) == [(1 / 3,)]


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

    def test_a_wildcard_has_what_was_written_to_its_tables_in_any_way(self, warehouse):
        """By a statement, by the streaming API, by a load in the place of another."""
        days = [f"events_2026030{n}" for n in (1, 2)]
        for number, name in enumerate(days, 1):
            warehouse.load(name, n=[number])
        total = f"SELECT SUM(n), COUNT(*) FROM `{warehouse.dataset}.events_*`"
        assert warehouse.rows(total) == [(3, 2)]

        warehouse.rows("UPDATE events_20260301 SET n = 10 WHERE n = 1")
        assert warehouse.rows(total) == [(12, 2)]
        warehouse.rows("DELETE FROM events_20260302 WHERE n = 2")
        assert warehouse.rows(total) == [(10, 1)]
        table = warehouse.client.get_table(warehouse.default.table(days[1]))
        assert warehouse.client.insert_rows_json(table, [{"n": 5}]) == []
        assert warehouse.rows(total) == [(15, 2)]
        warehouse.rows("CREATE OR REPLACE TABLE events_20260301 AS SELECT 1 AS n")
        assert warehouse.rows(total) == [(6, 2)]

    def test_views_cannot_be_matched_by_a_wildcard(self, warehouse):
        """Whatever conditions leave out: BigQuery's first limitation of wildcards."""
        warehouse.load("events_20260301", n=[1])
        warehouse.rows("CREATE VIEW events_flat AS SELECT 1 AS n")
        sql = "SELECT n FROM `{}.events_{}*` WHERE _TABLE_SUFFIX BETWEEN '0' AND '3'"

        assert warehouse.rows(sql.format(warehouse.dataset, "2")) == [(1,)]
        with pytest.raises(BadRequest, match="Matched views are"):
            warehouse.rows(sql.format(warehouse.dataset, ""))


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
def test_a_statement_reads_and_writes_no_file_of_the_machine(warehouse, tmp_path, sql):
    """Whoever reaches the port can send one."""
    file = tmp_path / "folder" / "file"
    with pytest.raises(GoogleAPICallError):
        warehouse.rows(sql.replace("{file}", str(file)))

    assert not file.parent.exists()


# Something on the way could read these as more than a text.
TEXTS = st.text() | st.lists(
    st.sampled_from(
        ["$q", "$day", "${p}", "@q", "?", "'", '"', "\\", "\\u00e9", "\\1", "é"]
    )
).map("".join)


@given(p=TEXTS, q=TEXTS, ids=st.lists(TEXTS, min_size=1))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_parameter_is_what_it_was_whatever_its_text(deployment, p, q, ids):
    """Also where a wildcard is read, and in a statement with such a text of its own."""
    warehouse = Warehouse(deployment.warehouse.client, deployment.dataset)
    warehouse.rows("CREATE TABLE IF NOT EXISTS events_20260301 AS SELECT 1 AS n")
    given = [
        Scalar("p", "STRING", p),
        Scalar("q", "STRING", q),
        Scalar("day", "STRING", "0260301"),
        bigquery.ArrayQueryParameter("ids", "STRING", ids),
    ]
    what = "SELECT @p, @q, '$p', @ids, @p IN UNNEST(@ids), @p = @q -- it's\nFROM"

    for where in ("`events_2*` WHERE _TABLE_SUFFIX", "events_20260301 WHERE '0260301'"):
        assert warehouse.rows(f"{what} {where} = @day", given) == [
            (p, q, "$p", ids, p in ids, p == q)
        ]


def test_whole_numbers_are_divided_as_they_are_grouped(warehouse):
    sql = "SELECT DIV(3 + 47, 24), DIV(100, 2 + 1), MOD(7 + 1, 5 - 1), DIV(-7, 2)"

    assert warehouse.rows(sql) == [(2, 33, 0, -3)]
