"""
Views and wildcards in the emulator, specified: they are what their tables are now.
"""

from __future__ import annotations

import pyarrow as pa
import pytest
from google.api_core.exceptions import BadRequest


class TestViews:
    def test_keeps_a_view_where_a_daily_table_is_gone(self, warehouse):
        """Its text and its rows: BigQuery reads a view anew each time."""
        for day in ("20260301", "20260302"):
            warehouse.load(pa.table({"n": [1]}), f"events_{day}")
        text = f"SELECT n FROM `{warehouse.dataset}.events_*`"
        warehouse.rows(f"CREATE OR REPLACE VIEW v AS {text}")

        warehouse.rows("DROP TABLE events_20260301")

        view = warehouse.client.get_table(warehouse.default.table("v"))
        assert warehouse.dataset in view.view_query
        assert warehouse.rows("SELECT COUNT(*) FROM v") == [(1,)]

    def test_keeps_equal_rows_of_a_wildcard(self, warehouse):
        """An event exported twice is two rows, within a day and between days."""
        for day in ("20260301", "20260302"):
            warehouse.load(pa.table({"n": [1, 1]}), f"events_{day}")

        rows = warehouse.rows(f"SELECT COUNT(*) FROM `{warehouse.dataset}.events_*`")

        assert rows == [(4,)]

    def test_matches_columns_of_a_wildcard_by_name(self, warehouse):
        """A column that came with a later day is null before, in any order."""
        warehouse.load(pa.table({"a": [1], "b": ["x"]}), "events_20260301")
        warehouse.load(pa.table({"c": [9], "b": ["y"], "a": [2]}), "events_20260302")

        rows = warehouse.rows(
            f"SELECT a, b, c FROM `{warehouse.dataset}.events_*` ORDER BY a"
        )

        assert rows == [(1, "x", None), (2, "y", 9)]

    def test_forgets_a_daily_table_that_is_dropped(self, warehouse):
        """A wildcard has the tables of now, whichever way one came or went."""
        count = f"SELECT COUNT(*) FROM `{warehouse.dataset}.events_*`"
        warehouse.load(pa.table({"n": [1]}), "events_20260301")
        assert warehouse.rows(count) == [(1,)]

        warehouse.rows("CREATE TABLE events_20260302 AS SELECT 2 AS n")
        assert warehouse.rows(count) == [(2,)]
        warehouse.client.delete_table(warehouse.default.table("events_20260301"))
        assert warehouse.rows(count) == [(1,)]
        warehouse.rows("DROP TABLE events_20260302; CREATE TABLE events_x (n INT64)")
        assert warehouse.rows(count) == [(0,)]

    def test_refuses_a_wildcard_that_matches_a_view(self, warehouse):
        """Whatever conditions leave out: BigQuery's first limitation of wildcards."""
        warehouse.load(pa.table({"n": [1]}), "events_20260301")
        warehouse.rows("CREATE VIEW events_flat AS SELECT 1 AS n")
        sql = "SELECT n FROM `{}.events_{}*` WHERE _TABLE_SUFFIX BETWEEN '0' AND '3'"

        assert warehouse.rows(sql.format(warehouse.dataset, "2")) == [(1,)]
        with pytest.raises(BadRequest, match="Matched views are"):
            warehouse.rows(sql.format(warehouse.dataset, ""))

    def test_lists_tables_by_name(self, warehouse):
        """INFORMATION_SCHEMA has every table and view of a dataset, as they are now."""
        warehouse.load(pa.table({"n": [1]}), "a")
        warehouse.rows("CREATE VIEW v AS SELECT 1 AS n")
        sql = (
            "SELECT table_schema, table_name, table_type, is_insertable_into, "
            "creation_time > TIMESTAMP '2020-01-01' FROM INFORMATION_SCHEMA.TABLES "
            "ORDER BY table_name"
        )
        schema = warehouse.dataset.rpartition(".")[2]

        assert warehouse.rows(sql) == [
            (schema, "a", "BASE TABLE", "YES", True),
            (schema, "v", "VIEW", "NO", True),
        ]
        warehouse.rows("DROP TABLE a")
        assert [name for _, name, *_ in warehouse.rows(sql)] == ["v"]

    def test_views_views(self, warehouse):
        """A view on a view on a wildcard is as fresh, also by an alias."""
        warehouse.load(pa.table({"n": [1]}), "events_20260301")
        warehouse.rows(
            f"CREATE OR REPLACE VIEW inner_v AS WITH days AS (SELECT * FROM "
            f"`{warehouse.dataset}.events_*`) SELECT n FROM days"
        )
        warehouse.rows("CREATE OR REPLACE VIEW outer_v AS SELECT n FROM inner_v")
        warehouse.load(pa.table({"n": [2]}), "events_20260302")

        rows = warehouse.rows(
            "WITH x AS (SELECT o.n FROM outer_v AS o) SELECT SUM(x.n) FROM x"
        )

        assert rows == [(3,)]
