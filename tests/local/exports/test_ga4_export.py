"""
Anyone's GA4 export, specified: what is loaded of it, and the weeks that it allows.
"""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pytest

from local.exports import ga4_export
from local.exports.ga4_export import Summary
from local.exports.ga4_rows import ExportError
from local.exports.ga4_schema import ARROW_SCHEMA
from tests.local.exports.test_ga4_rows import NOON, event, ndjson


class TestLoading:
    @pytest.fixture
    def load(self, workplace, tmp_path):
        def call(*rows: Any) -> ga4_export.Summary:
            path = tmp_path / "events.ndjson"
            path.write_bytes(ndjson(*rows))
            return ga4_export.load_export(
                workplace.bigquery.client(workplace.project),
                workplace.ga4_dataset,
                path,
                progress=False,
            )

        return call

    @pytest.fixture
    def stored(self, workplace):
        def call(table: str) -> list[dict[str, Any]]:
            client = workplace.bigquery.client(workplace.project)
            name = f"{workplace.project}.{workplace.ga4_dataset}.{table}"
            return [dict(row) for row in client.list_rows(client.get_table(name))]

        return call

    def test_each_day_becomes_its_shard(self, load, stored):
        """Rows go to the table of their event_date, whatever their timestamp says."""
        summary = load(event(), event(event_date="20250302"), event())

        assert len(stored("events_20250301")) == 2
        assert len(stored("events_20250302")) == 1
        assert (summary.rows, summary.days, summary.users) == (3, 2, 1)
        assert (summary.first_date, summary.last_date) == (
            date(2025, 3, 1),
            date(2025, 3, 2),
        )
        assert summary.events == {"page_view": 3}

    def test_a_property_east_of_utc_ends_a_day_earlier(self, load):
        """Its last local day ends before the UTC day of the same name."""
        assert load(event(event_date="20250302")).last_full_day == date(2025, 3, 1)

    def test_twice_equals_once(self, load, stored):
        """A shard is replaced, not added to."""
        load(event())
        load(event())

        assert len(stored("events_20250301")) == 1

    def test_nested_values_arrive_as_they_were(self, load, stored):
        """Parameters keep their type and order; what is absent is null."""
        params = [
            {"key": "a", "value": {"int_value": "7"}},
            {"key": "b", "value": {"double_value": 1.5}},
            {"key": "c", "value": {}},
        ]
        load(event(event_params=params, items=[{"item_id": "x", "quantity": 2.0}]))
        (row,) = stored("events_20250301")

        assert [list(p["value"].values()) for p in row["event_params"]] == [
            [None, 7, None, None],
            [None, None, None, 1.5],
            [None, None, None, None],
        ]
        assert row["items"][0]["quantity"] == 2
        assert row["ecommerce"] is None

    def test_a_bad_row_loads_nothing(self, load, workplace):
        """Nothing is loaded unless every row can be read."""
        with pytest.raises(ExportError):
            load(event(), event(event_timestamp=None))
        client = workplace.bigquery.client(workplace.project)

        assert not list(client.list_tables(workplace.ga4_dataset))

    def test_no_rows_are_refused(self, load):
        """An empty file is a mistake, not an empty export."""
        with pytest.raises(ExportError, match="found none"):
            load()


class TestWeeks:
    def weeks(self, days: int, *, without: int = 0, stray: int = 0) -> list[date]:
        """Return the weeks of 2025 of so many days, some in the middle missing."""
        first = date(2025, 1, 1)
        there = {first + n * ga4_export.DAY for n in range(days)}
        there -= {first + (30 + n) * ga4_export.DAY for n in range(without)}
        there |= {first - 365 * ga4_export.DAY} if stray else set()
        last = max(there)
        return ga4_export.weeks_allowed(there, last, lookback_days=60, horizon_days=7)

    def test_the_newest_week_ends_with_the_data(self):
        """Counted back from the end, a horizon apart, each with nine tenths of a
        lookback; a stray day a year before is no beginning."""
        weeks = self.weeks(90, stray=1)

        assert weeks == self.weeks(90)
        assert (weeks[0], weeks[-1]) == (date(2025, 2, 25), date(2025, 3, 25))
        assert {b - a for a, b in pairwise(weeks)} == {7 * ga4_export.DAY}

    @pytest.mark.parametrize(("days", "without"), [(60, 0), (90, 7)])
    def test_too_little_data_allow_none(self, days, without):
        """Less than nine tenths of a lookback, also where a property has paused."""
        assert not [
            week for week in self.weeks(days, without=without) if week.month < 4
        ]

    def test_strays_are_no_end(self):
        """What holds for a property follows from the bulk of its rows."""
        days = [[self.row(day) for _ in range(20)] for day in range(75)]
        strays = [[self.row(-365)], [self.row(77)], [self.row(500)]]
        days[10].append(self.row(9) | {"event_date": "20250111"})
        summary = self.summed(days + strays)

        assert (summary.first_date, summary.last_full_day) == (
            date(2025, 1, 1),
            date(2025, 3, 16),
        )

    def row(self, day: int) -> dict[str, Any]:
        name = date(2025, 1, 1) + day * ga4_export.DAY
        midnight = (name - date(1970, 1, 1)) // timedelta(microseconds=1)
        return event(
            event_date=f"{name:%Y%m%d}", event_timestamp=midnight + self.DAY_US // 2
        )

    def summed(self, days: list[list[dict[str, Any]]]) -> Summary:
        tables = [pa.Table.from_pylist(day, ARROW_SCHEMA) for day in days]
        return ga4_export._summary([ga4_export._Day.of(table) for table in tables])

    DAY_US = 86_400_000_000

    def cut(self, at_hour: float, *, zone: int = 0, days: int = 20) -> Summary:
        """Sum up twenty days with an event an hour, the last of which ends early."""
        rows: dict[str, list[dict[str, Any]]] = {}
        first = NOON - NOON % self.DAY_US
        for day in range(days):
            hours = at_hour if day == days - 1 else 24
            for hour in range(int(hours)):
                time = first + day * self.DAY_US + (hour - zone) * 3_600_000_000
                name = date(2025, 3, 1) + day * ga4_export.DAY
                row = event(event_date=f"{name:%Y%m%d}", event_timestamp=time)
                rows.setdefault(row["event_date"], []).append(row)
        tables = [pa.Table.from_pylist(day, ARROW_SCHEMA) for day in rows.values()]
        return ga4_export._summary([ga4_export._Day.of(table) for table in tables])

    @pytest.mark.parametrize(
        ("zone", "hour", "is_cut", "full"),
        [
            (0, 13, True, 19),
            (0, 24, False, 20),
            # A local day that goes on past midnight UTC has the UTC day to its end.
            (9, 13, True, 19),
            (9, 4, True, 18),
            (-8, 13, True, 19),
            (-8, 22, True, 20),
        ],
    )
    def test_a_last_day_that_is_cut_short_does_not_count(
        self, zone, hour, is_cut, full
    ):
        """It ends earlier in the day than any of the two weeks before."""
        summary = self.cut(hour, zone=zone)

        assert summary.is_cut_short is is_cut
        assert summary.last_full_day == date(2025, 3, full)

    def test_of_a_few_days_nobody_can_tell(self):
        """What is usual takes two weeks to know."""
        assert not self.cut(3, days=10).is_cut_short
