"""Runs of a late export, specified: what they have left in their tables."""

from __future__ import annotations

from datetime import timedelta

from offline.doctor.schedule import check_runs
from tests.offline.doctor.conftest import MONDAY, NOW, Place

WEEK = timedelta(days=7)


def losses(place: Place) -> list[str]:
    """Return what is told of runs that are done, a week on."""
    findings = place.checked(check_runs, now=NOW + WEEK)
    return [finding.what for finding in findings if " is done, and " in finding.what]


class TestRunsOfALateExport:
    def test_are_in_their_tables_as_of_the_day_that_the_export_ends(self, place):
        """01 publishes as of that day, and 03 evaluates no week that is not over."""
        for kind in ("predict", "evaluate"):
            place.ran(kind, MONDAY + WEEK, data_until=MONDAY.isoformat())

        assert losses(place) == []

    def test_are_missed_in_their_tables_where_rows_were_deleted(self, place):
        """What was published as of that day is not there either."""
        place.ran("predict", MONDAY + WEEK, data_until=MONDAY.isoformat())
        place.warehouse.execute("DELETE FROM ma_publications WHERE TRUE")

        assert [message.partition(": ")[2] for message in losses(place)] == [
            f"the run of {MONDAY + WEEK} is done, and ma_publications ends with nothing"
        ]

    def test_of_other_days_are_missed_all_the_same(self, place):
        """A run that read up to its own date has left rows of that date."""
        for kind in ("predict", "evaluate"):
            day = MONDAY + WEEK
            place.ran(kind, day, data_until=day.isoformat())

        assert [message.rpartition(" ends with ")[2] for message in losses(place)] == [
            MONDAY.isoformat()
        ] * 2
