"""The frame of all pages, specified: its policy comes before all that it is about."""

from __future__ import annotations

import pytest

from propensity.learning.report.version import version_page
from propensity.learning.report.week import week_page
from tests.propensity.learning.report_pages import parse
from tests.propensity.learning.test_card import card
from tests.propensity.learning.weeks import report

PAGES = {
    "card": lambda: version_page(card()),
    "week": lambda: week_page(report()),
}


class TestPolicy:
    @pytest.mark.parametrize("name", PAGES)
    def test_stands_before_all_that_it_is_about(self, name):
        """A browser takes it from where it stands on; only the encoding goes first."""
        tags = [
            attributes
            for tag, attributes in parse(PAGES[name]()).tags
            if tag not in {"html", "head"}
        ]

        assert tags[0] == {"charset": "utf-8"}
        assert tags[1]["http-equiv"] == "Content-Security-Policy"
        assert str(tags[1]["content"]).startswith("default-src 'none'; ")
