"""The frame of all pages, specified: its policy comes before all that it is about."""

from __future__ import annotations

import pytest
from tests.propensity.learning.model_cards import model_card

from propensity.learning.report.page import training_page
from propensity.learning.report.week import evaluation_page
from tests.propensity.learning.report_pages import parse
from tests.propensity.learning.weeks import report

PAGES = {
    "card": lambda: training_page(model_card()),
    "week": lambda: evaluation_page(report()),
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
