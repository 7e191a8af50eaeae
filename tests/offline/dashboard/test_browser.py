"""
The pages in a real browser, specified: accessible, nothing from outside, fit to screen
and paper, usable by keyboard.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from offline.dashboard.cases import Known
from offline.dashboard.reports import FIRST
from offline.dashboard.site import site
from propensity.learning.report.week import evaluation_page
from tests.browser import PHONE, WIDE, needs_chromium
from tests.offline.dashboard.rows import KNOWN, WINDOW, full, readings
from tests.propensity.learning.weeks import report

pytestmark = [needs_chromium, pytest.mark.runs]

CARDS = {"card_fraud": Known(title="Card fraud", is_of_events=True, champion=3)}
FILES = (
    *("index.html", "stream.html", "fraud.html", "audiences.html", "runs.html"),
    *("sql.html", "use-case-ga4_purchase.html", "use-case-card_fraud.html"),
)
TAB, ENTER = "\ue004", "\ue007"


def written(folder: Path, rows, known) -> Path:
    """A site in a folder."""
    folder.mkdir()
    for name, page in site(readings(rows), known, WINDOW, place="p.d").items():
        (folder / name).write_text(page, "utf-8")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The pages of a deployment with something in every table."""
    place = tmp_path_factory.mktemp("pages") / "full"
    return written(place, full(), {**KNOWN, **CARDS})


@pytest.fixture(scope="module")
def empty(tmp_path_factory) -> Path:
    """The pages of a deployment without a row, of which one use case serves."""
    return written(tmp_path_factory.mktemp("pages") / "empty", {}, KNOWN)


class TestPage:
    @pytest.mark.parametrize("file", FILES)
    def test_has_no_violation_by_axe_and_fits_every_screen(self, browser, folder, file):
        """In light and dark, wide and on a phone: nothing is asked for from outside,
        no error is in the console, and only tables scroll sideways."""
        assert browser.faults((folder / file).as_uri()) == []

    @pytest.mark.parametrize("file", FILES)
    def test_can_be_printed(self, browser, folder, file):
        """In ink on white, whole tables, without what is for clicking."""
        browser.show((folder / file).as_uri(), scheme="dark", media="print")
        paper = browser.run("return getComputedStyle(document.body).backgroundColor")
        hidden = browser.run(
            "return [...document.querySelectorAll('nav, .sql')].every("
            "one => getComputedStyle(one).display === 'none')"
        )

        assert paper == "rgb(255, 255, 255)"
        assert hidden
        assert browser.printed().startswith(b"%PDF-")

    @pytest.mark.parametrize("file", ["index.html", "stream.html", "fraud.html"])
    def test_without_rows_has_no_violation_either(self, browser, empty, file):
        """A sentence in the place of a chart is a page, too."""
        browser.show((empty / file).as_uri(), size=PHONE)

        assert browser.violations() == []

    @pytest.mark.parametrize("size", [PHONE, WIDE])
    @pytest.mark.parametrize("file", ["use-case-ga4_purchase.html", "audiences.html"])
    def test_writes_charts_in_letters_of_text(self, browser, folder, file, size):
        """From nine pixels on a phone to those of the text beside them, and none of
        them outside of its chart, where another may begin."""
        browser.show((folder / file).as_uri(), size=size)
        letters = browser.run(
            "return [...document.querySelectorAll('figure svg text')].map(one => ["
            "parseFloat(getComputedStyle(one).fontSize)"
            " * one.ownerSVGElement.getScreenCTM().a,"
            "one.getBoundingClientRect().left"
            " - one.ownerSVGElement.getBoundingClientRect().left])"
        )
        sizes, starts = zip(*letters, strict=True)

        assert 9 <= min(sizes) <= max(sizes) <= 16
        assert min(starts) >= -1

    def test_has_no_tile_alone(self, browser, folder):
        """The figures of a use case with amounts stand in two rows of three."""
        browser.show((folder / "use-case-ga4_purchase.html").as_uri(), size=WIDE)
        tops = browser.run(
            "return [...document.querySelectorAll('.tile')]"
            ".map(one => Math.round(one.getBoundingClientRect().top))"
        )

        assert [tops.count(top) for top in sorted({*tops})] == [3, 3]


class TestKeyboard:
    def focused(self, browser) -> str:
        return browser.run(
            "return (document.activeElement.getAttribute('href') || "
            "document.activeElement.tagName) + '|' + "
            "(getComputedStyle(document.activeElement).outlineStyle)"
        )

    def test_skips_to_the_content_first(self, browser, folder):
        """The first stop of the tabulator leads past the navigation."""
        browser.show((folder / "index.html").as_uri())
        browser.press(TAB)

        assert self.focused(browser).startswith("#content|")

    def test_reaches_every_link_and_shows_where_it_is(self, browser, folder):
        """Each stop has an outline; the first page leads to all others."""
        browser.show((folder / "index.html").as_uri())
        stops = set()
        for _ in range(60):
            browser.press(TAB)
            target, _, outline = self.focused(browser).partition("|")
            if target == "BODY":
                if stops:
                    break
                # A window that is new takes keys only once it has the focus.
                continue
            assert outline != "none", target
            stops.add(target)

        assert {file for file in FILES if file != "sql.html"} <= stops

    def test_goes_from_a_number_to_its_sql_by_one_key(self, browser, folder):
        """Enter on a figure is the statement that gives it, in view."""
        browser.show((folder / "index.html").as_uri())
        browser.run("document.querySelector('.tile strong a').focus()")
        browser.press(ENTER)
        browser.run("return new Promise(done => setTimeout(done, 200))")

        assert browser.run("return location.pathname.split('/').pop()") == "sql.html"
        top = browser.run(
            "return document.querySelector(':target').getBoundingClientRect().top"
        )
        assert 0 <= top <= WIDE[1]

    def test_selects_a_statement_by_one_click(self, browser, folder):
        """All of it, to be copied."""
        browser.show((folder / "sql.html").as_uri())
        style = browser.run(
            "return getComputedStyle(document.querySelector('pre')).userSelect"
        )

        assert style == "all"


class TestCopyOfAReport:
    @pytest.mark.parametrize(
        "planted",
        [
            "<script>document.title = 'ran'</script>",
            "<img src=x onerror=\"document.title = 'ran'\">",
            "<svg onload=\"document.title = 'ran'\"></svg>",
            '<script src="planted.js"></script>',
            '<base href="data:text/javascript,"><script src="planted.js"></script>',
            "<iframe srcdoc=\"<script>parent.document.title='ran'</script>\"></iframe>",
        ],
    )
    @pytest.mark.parametrize(
        "before",
        [
            "",
            # What would take the policy back, had a report a say in it.
            '<!DOCTYPE html><meta http-equiv="Content-Security-Policy" '
            "content=\"script-src 'unsafe-inline' *\">",
            "--><!-- --></head><body>",
        ],
    )
    def test_runs_no_script(self, browser, tmp_path, before, planted):
        """Whoever may write reports in the bucket decides what is in them."""
        (tmp_path / "planted.js").write_text("document.title = 'ran'")
        file = tmp_path / "report.html"
        file.write_text(f"{FIRST}{before}<title>quiet</title>{planted}<p>text</p>")
        browser.show(file.as_uri())
        browser.run("return new Promise(done => setTimeout(done, 50))")

        assert browser.run("return document.title") == "quiet"
        browser.errors()

    def test_looks_as_the_report_does(self, browser, tmp_path):
        """Its styles and its icon are its own, and nothing is refused."""
        page = evaluation_page(report())
        shapes = []
        for name, text in (("report", page), ("copy", FIRST + page)):
            file = tmp_path / f"{name}.html"
            file.write_text(text, "utf-8")
            browser.show(file.as_uri())
            shapes.append(
                browser.run(
                    "return [document.compatMode, document.documentElement.lang,"
                    " document.characterSet, document.documentElement.scrollHeight,"
                    " getComputedStyle(document.body).backgroundColor]"
                )
            )

        assert shapes[0] == shapes[1]
        assert browser.errors() == []
