"""The page of runs, specified where the other pages do not show it."""

from __future__ import annotations

from datetime import timedelta

from tests.offline.dashboard.rows import WINDOW, publication, version
from tests.offline.dashboard.test_site import pages, words


def test_bills_are_of_the_weeks_that_are_shown():
    """Defect: versions are read of a year more, as one of them may serve, and what
    these had billed was in the sum beside half a year of the other runs."""
    before = WINDOW.days["since"] - timedelta(days=1)
    rows = {
        "publications": [publication(bytes_billed=3 * 2**30)],
        "versions": [
            version(bytes_billed=2**30),
            version(2, training_date=before, bytes_billed=2**40),
        ],
    }

    assert "2 runs in this time, 4.0 GiB billed." in words(pages(rows)["runs.html"])
