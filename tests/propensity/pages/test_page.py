"""The frame of all pages, specified: what a browser may do with one."""

from __future__ import annotations

import pytest

from propensity.learning.report.page import training_page
from propensity.learning.report.week import evaluation_page
from tests.browser import needs_chromium
from tests.propensity.learning.model_cards import model_card
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

    @needs_chromium
    @pytest.mark.parametrize("name", PAGES)
    @pytest.mark.parametrize(
        "planted",
        [
            "<script>document.title = 'ran'</script>",
            "<img src=x onerror=\"document.title = 'ran'\">",
            "<svg onload=\"document.title = 'ran'\"></svg>",
        ],
    )
    def test_lets_no_script_run(self, browser, tmp_path, name, planted):
        """Also where a text of the data came into the page as it is."""
        page = PAGES[name]().replace("</h1>", f"{planted}</h1>", 1)
        file = tmp_path / "page.html"
        file.write_text(page)
        browser.show(file.as_uri())
        title = browser.run("return document.title")
        browser.run("return new Promise(done => setTimeout(done, 50))")

        assert planted in page
        assert browser.run("return document.title") == title != "ran"
        browser.errors()
