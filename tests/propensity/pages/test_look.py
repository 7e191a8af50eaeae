"""
The look of all pages, as a browser lays it out: accessible, nothing from outside,
nothing too small, nothing lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from propensity.learning.report.page import training_page
from propensity.learning.report.week import evaluation_page
from propensity.pages.charts import Bar, bars_svg
from tests.browser import Browser, needs_chromium
from tests.propensity.learning.model_cards import CARDS, VALUE, model_card, rows
from tests.propensity.learning.weeks import (
    ALARM,
    EXPECTED,
    LIFT,
    card_row,
    of_cards,
    quarter,
    report,
    row,
)

WIDTHS = (360, 390, 768, 1280)
FURTHER_WIDTHS = (320, 390, 768, 1280, 2200)
SMALLEST_PX = 11
SIMPLER = sorted(CARDS.keys() - {"hostile"})
PAPER_WIDTH = round(180 / 25.4 * 96)

pytestmark = [needs_chromium, pytest.mark.runs]

# Of a page on a screen: its width, the texts of charts with their size there, what
# reaches beyond the page, and the tables that are wider than their place, with the
# pictures behind them.
MEASURE = """
const root = document.documentElement;
const size = text => {
  const svg = text.closest('svg');
  const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
  return parseFloat(getComputedStyle(text).fontSize) * scale;
};
return {
  width: root.clientWidth,
  content: root.scrollWidth,
  heading: root.querySelector('h1').getBoundingClientRect().height,
  beyond: [...root.querySelectorAll('body *')].filter(
    part => !part.closest('svg') && !part.closest('.scroll > *') &&
      part.getBoundingClientRect().right > root.clientWidth + 1).map(
    part => part.outerHTML.slice(0, 80)),
  texts: [...root.querySelectorAll('svg text')].map(
    text => [text.textContent, size(text)]),
  cut: [...root.querySelectorAll('.scroll')].filter(
    box => box.scrollWidth > box.clientWidth + 1).map(
    box => [box.getAttribute('aria-label'), box.tabIndex,
            getComputedStyle(box).backgroundAttachment]),
};
"""


def measured(
    browser: Browser,
    page: str,
    folder: Path,
    *,
    widths: Sequence[int] = WIDTHS,
    media: str = "",
) -> list[Any]:
    """Lay a page out at each width; return what ``MEASURE`` finds."""
    file = folder / "page.html"
    file.write_text(page, encoding="utf-8")
    frames = []
    for width in widths:
        browser.show(file.as_uri(), size=(width, 900), media=media)
        frames.append(browser.run(MEASURE))
    return frames


PAGES = {
    "model": lambda: training_page(model_card(rows(400, numbers=37))),
    "week": lambda: evaluation_page(
        report(
            newest=quarter()[-1] | {"status": "provisional"},
            weeks=quarter(),
            alarms=[ALARM, EXPECTED],
            lifts=[LIFT],
        )
    ),
}


# A page of each kind, with something in every part of it.
WHOLE = {
    "week": lambda: evaluation_page(report(alarms=[EXPECTED, ALARM], lifts=[LIFT])),
    "card": lambda: training_page(model_card(value=VALUE)),
}
# They have what those have, or less of it.
FURTHER = {
    "first-week": lambda: evaluation_page(
        report(newest=row(0), weeks=[row(0)], trained={})
    ),
    "day": lambda: evaluation_page(of_cards(card_row(2), card_row(3, is_shadow=True))),
    "card-of-events": lambda: training_page(
        model_card(use_case="card_fraud", outcomes={"known": 1_500, "unknown": 30})
    ),
}


@pytest.fixture(scope="module", name="frames", params=PAGES)
def _frames(browser, request, tmp_path_factory) -> list[Any]:
    """A page of each kind, at each width."""
    folder = tmp_path_factory.mktemp("look")
    return measured(browser, PAGES[request.param](), folder)


class TestCharts:
    def test_can_be_read_at_any_width(self, frames):
        """On a phone, too, no text of a chart is smaller than 11 pixels."""
        assert [frame["width"] for frame in frames] == list(WIDTHS)
        for frame in frames:
            small = [name for name, size in frame["texts"] if size < SMALLEST_PX]

            assert len(frame["texts"]) > 60
            assert small == []

    def test_keep_their_names_within_the_page(self, browser, tmp_path):
        """The longest names and figures of bars have room beside them."""
        bars = [Bar("W" * 12 + "m" * 20, 0.2, "−0.0000 ± 0.0000")]
        file = tmp_path / "bars.html"
        svg = bars_svg(bars, title="t", description="d")
        file.write_text(f'<!DOCTYPE html><body style="margin:0">{svg}', "utf-8")
        browser.show(file.as_uri())
        widths = browser.run(
            "return [...document.querySelectorAll('rect')].map("
            "box => box.getBBox().width)"
        )

        assert min(widths) > 20


class TestPages:
    @pytest.mark.parametrize(
        "name", [*WHOLE, *(pytest.param(n, marks=pytest.mark.long) for n in FURTHER)]
    )
    def test_have_no_violation_by_axe_and_fit_every_screen(
        self, browser, tmp_path, name
    ):
        """Light and wide, dark and on a phone: nothing is asked for from outside,
        no error is in the console, and only tables scroll sideways."""
        file = tmp_path / "page.html"
        file.write_text({**WHOLE, **FURTHER}[name](), "utf-8")

        assert browser.faults(file.as_uri()) == []

    def test_are_no_wider_than_the_screen(self, frames):
        """Only their tables move sideways."""
        assert [frame["beyond"] for frame in frames] == [[]] * len(WIDTHS)

    @pytest.mark.parametrize(
        "sort",
        ["hostile", *(pytest.param(sort, marks=pytest.mark.long) for sort in SIMPLER)],
    )
    def test_fit_whatever_the_card_has(self, browser, tmp_path, sort):
        """From a phone to a wide screen nothing is cut off or complained of."""
        page = training_page(CARDS[sort]())
        browser.errors()
        for screen in measured(browser, page, tmp_path, widths=FURTHER_WIDTHS):
            assert screen["content"] <= screen["width"]
            assert screen["beyond"] == []
            assert screen["heading"] > 0
        assert browser.errors() == []


class TestPaper:
    @pytest.mark.parametrize("name", PAGES)
    def test_has_all_of_every_table(self, browser, name, tmp_path):
        """A4 less its margins (180 mm) cuts nothing off."""
        [sheet] = measured(
            browser, PAGES[name](), tmp_path, widths=[PAPER_WIDTH], media="print"
        )

        assert sheet["cut"] == []
        assert sheet["beyond"] == []


class TestTables:
    def test_that_are_wider_than_the_screen_show_it(self, frames):
        """A shade at the edge, which stays while the table moves; the keyboard reaches
        them. The widest screen needs none."""
        phone, *_, wide = frames

        assert len(phone["cut"]) >= 3
        for name, index, attachment in phone["cut"]:
            assert name
            assert index == 0
            assert attachment == "local, local, scroll, scroll"
        assert [name for name, *_ in wide["cut"] if name != "Correlations"] == []
