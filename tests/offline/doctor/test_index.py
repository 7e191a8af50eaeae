"""Whether lookups answer from what was published last, as the doctor tells it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from offline.doctor import schedule
from offline.doctor.report import WARNING
from offline.doctor.schedule import check_runs
from propensity.edges.warehouse import Warehouse
from propensity.statements import statement
from tests.functions.streaming import USE_CASE
from tests.offline.doctor.conftest import MONDAY, NOW
from tests.offline.doctor.faults import publish_index, stale_index

pytestmark = pytest.mark.runs


def findings(place) -> list[tuple[str, str]]:
    return [(finding.severity, finding.what) for finding in place.checked(check_runs)]


class TestIndex:
    def test_that_is_older_than_the_table_is_named(self, place):
        """As after a run of code from before there were indexes."""
        message = stale_index(place).removeprefix("runs: ")

        assert findings(place) == [(WARNING, message)]

    @pytest.mark.parametrize("later", [timedelta(0), timedelta(days=1)])
    def test_of_the_newest_publication_is_none(self, place, later):
        """Nor one that a run of another date has published since."""
        stale_index(place)
        publish_index(place, NOW - timedelta(days=2) + later)

        assert findings(place) == []

    def test_is_not_judged_during_a_run(self, place):
        """A run publishes the table first, and its index some seconds later."""
        stale_index(place)
        place.begin("predict", MONDAY, at=NOW)

        assert [what for _, what in findings(place) if "index" in what] == []

    def test_that_there_is_not_is_no_fault(self, place):
        """Lookups read the table then."""
        stale_index(place)
        place.artifacts.delete(f"indexes/{USE_CASE}/current.json")

        assert findings(place) == []

    def test_and_runs_are_looked_up_by_one_query(self, place, monkeypatch):
        """Each query bills 10 MB of each table that it names."""
        stale_index(place)
        place.failed("predict", MONDAY, "SchemaError")
        place.ran("evaluate", MONDAY)
        statements = []
        rows = Warehouse.rows

        def counted(self, text, parameters=None):
            statements.append(text)
            return rows(self, text, parameters)

        monkeypatch.setattr(Warehouse, "rows", counted)
        place.checked(check_runs)

        assert statements.count(statement("newest_runs", own=schedule.SQL)) == 1
        assert (
            statement("newest_runs", own=schedule.SQL).count("ma_publications\n") == 1
        )
