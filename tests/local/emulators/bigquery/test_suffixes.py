"""
Tables by their suffix in the emulator, specified: which a statement reads, and when.
"""

from __future__ import annotations

import pyarrow as pa
import pytest
from google.api_core.exceptions import BadRequest

from tests.local.emulators.bigquery.conftest import Scalar


@pytest.fixture(scope="module")
def four_days(shared):
    """Four daily tables behind a view, which tests read."""
    for day in (1, 2, 3, 4):
        shared.load(pa.table({"n": [day, 9]}), f"events_2026030{day}")
    shared.rows(
        "CREATE VIEW v AS SELECT n, _TABLE_SUFFIX AS day "
        f"FROM `{shared.dataset}.events_*` WHERE n < 9"
    )
    return shared


class TestSuffixes:
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

    def test_reads_many_days(self, warehouse):
        """The number of daily tables has no bound that a property reaches."""
        script = ";".join(
            f"CREATE TABLE events_{day} AS SELECT {day} AS n" for day in range(200)
        )
        warehouse.rows(script)

        rows = warehouse.rows(f"SELECT SUM(n) FROM `{warehouse.dataset}.events_*`")

        assert rows == [(sum(range(200)),)]

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

    ENDS = (Scalar("first", "STRING", "20260302"), Scalar("last", "STRING", "20260303"))

    @pytest.mark.parametrize(
        ("condition", "days"),
        [
            ("day BETWEEN @first AND @last", [2, 3]),
            ("day >= @first AND (v.day < @last)", [2]),
            ("@last = v.day", [3]),
            ("day IN (@first, '20260304')", [2, 4]),
            ("day > '20260303'", [4]),
            ("day BETWEEN '2027' AND '2028'", []),
            ("day = @first OR n = 4", [2, 4]),
            ("NOT day = @first", [1, 3, 4]),
            ("CONCAT(day, 'x') > @last", [3, 4]),
        ],
    )
    def test_bounds_a_view_by_the_suffix(self, four_days, condition, days):
        """Whatever a query says of the suffix, it gets the rows that it asks for."""
        rows = four_days.rows(
            f"SELECT n FROM v WHERE {condition} ORDER BY n", self.ENDS
        )

        assert rows == [(day,) for day in days]

    @pytest.mark.parametrize(
        ("view", "rows"),
        [
            ("SELECT n, _TABLE_SUFFIX AS day FROM events ORDER BY n LIMIT 1", []),
            (
                "SELECT SUM(n) OVER () AS n, _TABLE_SUFFIX AS day FROM events",
                [(10,)],
            ),
            ("SELECT SUM(n) AS n, MAX(_TABLE_SUFFIX) AS day FROM events", []),
        ],
    )
    def test_bounds_no_view_that_does_more_than_select(self, warehouse, view, rows):
        """A bound outside of LIMIT, a window or an aggregate is no bound within."""
        for day in (1, 2, 3, 4):
            warehouse.load(pa.table({"n": [day]}), f"events_2026030{day}")
        source = f"`{warehouse.dataset}.events_*`"
        warehouse.rows(f"CREATE OR REPLACE VIEW v AS {view.replace('events', source)}")

        assert warehouse.rows("SELECT n FROM v WHERE day = '20260302'") == rows

    def test_reads_no_table_outside_of_the_bounds(self, warehouse):
        """Daily tables that the bounds exclude may hold what the query cannot read."""
        warehouse.load(pa.table({"n": [{"not": "a number"}]}), "events_20260301")
        for day in (2, 3):
            warehouse.load(pa.table({"n": [day]}), f"events_2026030{day}")
        warehouse.rows(
            "CREATE OR REPLACE VIEW v AS SELECT CAST(n AS INT64) AS n, "
            f"_TABLE_SUFFIX AS day FROM `{warehouse.dataset}.events_*`"
        )

        rows = warehouse.rows(
            "SELECT SUM(n) FROM v WHERE day BETWEEN @first AND @last", self.ENDS
        )

        assert rows == [(5,)]

    UNITED = (
        "SELECT CAST(n AS INT64) AS n, day FROM ("
        "SELECT CONCAT('2', _TABLE_SUFFIX) AS day, d.* FROM `{0}.events_2*` AS d) "
        "UNION ALL SELECT CAST(n AS INT64) AS n, day FROM ("
        "SELECT CONCAT('2', _TABLE_SUFFIX) AS day, i.* FROM `{0}.events_intraday_2*` "
        "AS i WHERE CONCAT('events_2', _TABLE_SUFFIX) NOT IN "
        "(SELECT table_name FROM `{0}.INFORMATION_SCHEMA.TABLES`))"
    )

    def test_bounds_both_parts_of_a_union_by_what_they_make_of_it(self, warehouse):
        """Tables that the bounds exclude may hold what the query cannot read; each part
        has the columns of its own tables."""
        unread = pa.table({"n": [{"not": "a number"}]})
        for name in ("20260301", "intraday_20260301"):
            warehouse.load(unread, f"events_{name}")
        warehouse.load(pa.table({"n": [2]}), "events_20260302")
        # Not read either: the day has a daily table.
        warehouse.load(pa.table({"n": [9]}), "events_intraday_20260302")
        warehouse.load(pa.table({"new": ["x"], "n": [3]}), "events_intraday_20260303")
        warehouse.rows(
            f"CREATE OR REPLACE VIEW v AS {self.UNITED.format(warehouse.dataset)}"
        )

        rows = warehouse.rows(
            "SELECT day, n FROM v WHERE day BETWEEN @first AND @last ORDER BY day",
            self.ENDS,
        )

        assert rows == [("20260302", 2), ("20260303", 3)]

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

    def test_has_the_newest_columns_within_any_bounds(self, warehouse):
        """A column that only newer tables have is null in the older ones."""
        warehouse.load(pa.table({"n": [1]}), "events_20260302")
        warehouse.load(pa.table({"n": [2], "new": ["x"]}), "events_20260304")

        rows = warehouse.rows(
            f"SELECT n, new FROM `{warehouse.dataset}.events_*` "
            "WHERE _TABLE_SUFFIX BETWEEN @first AND @last",
            self.ENDS,
        )

        assert rows == [(1, None)]

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
