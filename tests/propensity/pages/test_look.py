"""The look of all pages, as a browser lays it out: nothing too small, nothing lost."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from propensity.learning.report.page import training_page
from propensity.learning.report.week import evaluation_page
from propensity.pages.charts import Bar, bars_svg
from tests.propensity.learning.test_report import model_card, rows
from tests.propensity.learning.test_report_of_week import (
    ALARM,
    EXPECTED,
    LIFT,
    quarter,
    report,
)

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
WIDTHS = (360, 390, 768, 1280)
SMALLEST_PX = 11
PAPER_WIDTH = round(180 / 25.4 * 96)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")

# Of every frame: its width, the texts of charts with their size on the screen, and the
# tables that are wider than their place, with the pictures behind them.
MEASURE = """
onload = () => {
  const size = (view, text) => {
    const svg = text.closest('svg');
    const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
    return parseFloat(view.getComputedStyle(text).fontSize) * scale;
  };
  const found = [...document.querySelectorAll('iframe')].map(frame => {
    const view = frame.contentWindow, page = frame.contentDocument;
    return {
      width: frame.clientWidth,
      beyond: [...page.querySelectorAll('body *')].filter(
        part => !part.closest('svg') && !part.closest('.scroll > *') &&
          part.getBoundingClientRect().right > frame.clientWidth + 1).map(
        part => part.outerHTML.slice(0, 80)),
      texts: [...page.querySelectorAll('svg text')].map(
        text => [text.textContent, size(view, text)]),
      cut: [...page.querySelectorAll('.scroll')].filter(
        box => box.scrollWidth > box.clientWidth + 1).map(
        box => [box.getAttribute('aria-label'), box.tabIndex,
                view.getComputedStyle(box).backgroundAttachment]),
    };
  });
  document.body.textContent = JSON.stringify(found);
};
"""


def browsed(document: str, folder: Path) -> str:
    """Open a document in Chromium; return it as its scripts left it."""
    file = folder / "document.html"
    file.write_text(document, encoding="utf-8")
    ended = subprocess.run(
        [
            CHROMIUM or "",
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            f"--user-data-dir={folder / 'profile'}",
            "--dump-dom",
            file.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return ended.stdout


def measured(page: str, folder: Path, widths: Sequence[int] = WIDTHS) -> list[Any]:
    """Lay a page out at each width; return what ``MEASURE`` finds."""
    frames = "".join(
        f'<iframe style="width:{width}px; border:0" srcdoc="{html.escape(page)}">'
        "</iframe>"
        for width in widths
    )
    seen = browsed(
        f"<!DOCTYPE html><meta charset=utf-8><body>{frames}<script>{MEASURE}</script>",
        folder,
    )
    (found,) = re.findall(r"<body>(.*?)</body>", seen, re.S)
    return json.loads(html.unescape(found))


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


@pytest.fixture(scope="module", name="found", params=PAGES)
def _found(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> list[Any]:
    """A page of each kind, at each width."""
    return measured(PAGES[request.param](), tmp_path_factory.mktemp("look"))


class TestCharts:
    def test_can_be_read_at_any_width(self, found):
        """On a phone, too, no text of a chart is smaller than 11 pixels."""
        assert [frame["width"] for frame in found] == list(WIDTHS)
        for frame in found:
            small = [name for name, size in frame["texts"] if size < SMALLEST_PX]

            assert len(frame["texts"]) > 60
            assert small == []

    def test_keep_their_names_within_the_page(self, tmp_path):
        """The longest names and figures of bars have room beside them."""
        bars = [Bar("W" * 12 + "m" * 20, 0.2, "−0.0000 ± 0.0000")]
        svg = bars_svg(bars, title="t", description="d")
        seen = browsed(
            f'<!DOCTYPE html><body style="margin:0">{svg}<script>onload = () => {{'
            "document.body.textContent = JSON.stringify("
            "[...document.querySelectorAll('rect')].map("
            "box => box.getBBox().width)) }</script>",
            tmp_path,
        )
        (widths,) = re.findall(r"<body.*?>(.*?)</body>", seen, re.S)

        assert min(json.loads(widths)) > 20


class TestPages:
    def test_are_no_wider_than_the_screen(self, found):
        """Only their tables move sideways."""
        assert [frame["beyond"] for frame in found] == [[]] * len(WIDTHS)


class TestPaper:
    @pytest.mark.parametrize("name", PAGES)
    def test_has_all_of_every_table(self, name, tmp_path):
        """With the rules of print, A4 less its margins (180 mm) cuts nothing off."""
        page = PAGES[name]().replace("@media print", "@media all")
        [sheet] = measured(page, tmp_path, [PAPER_WIDTH])

        assert sheet["cut"] == []
        assert sheet["beyond"] == []


class TestTables:
    def test_that_are_wider_than_the_screen_show_it(self, found):
        """A shade at the edge, which stays while the table moves; the keyboard reaches
        them. The widest screen needs none."""
        phone, *_, wide = found

        assert len(phone["cut"]) >= 3
        for name, index, attachment in phone["cut"]:
            assert name
            assert index == 0
            assert attachment == "local, local, scroll, scroll"
        assert [name for name, *_ in wide["cut"] if name != "Correlations"] == []
