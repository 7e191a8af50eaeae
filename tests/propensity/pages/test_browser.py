"""
Reports and cards in a real browser, specified: accessible, nothing from outside, and
fit to every screen.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from propensity.learning.report.page import training_page
from propensity.learning.report.week import evaluation_page
from tests.browser import needs_chromium
from tests.propensity.learning.model_cards import model_card
from tests.propensity.learning.test_report_worth import VALUE
from tests.propensity.learning.weeks import (
    ALARM,
    EXPECTED,
    LIFT,
    card_row,
    of_cards,
    report,
    row,
)

pytestmark = [needs_chromium, pytest.mark.runs]

PAGES = (
    "week",
    "card",
    # They have what the others have, or less of it.
    pytest.param("day", marks=pytest.mark.long),
    pytest.param("first-week", marks=pytest.mark.long),
    pytest.param("card-of-events", marks=pytest.mark.long),
)


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Mapping[str, Path]:
    """A page of each kind, with something in every part of it, in a file."""
    first = row(0)
    pages = {
        "week": evaluation_page(report(alarms=[EXPECTED, ALARM], lifts=[LIFT])),
        "first-week": evaluation_page(report(newest=first, weeks=[first], trained={})),
        "day": evaluation_page(of_cards(card_row(2), card_row(3, is_shadow=True))),
        "card": training_page(model_card(value=VALUE)),
        "card-of-events": training_page(
            model_card(use_case="card_fraud", outcomes={"known": 1_500, "unknown": 30})
        ),
    }
    folder = tmp_path_factory.mktemp("pages")
    files = {}
    for name, page in pages.items():
        files[name] = folder / f"{name}.html"
        files[name].write_text(page, "utf-8")
    return files


class TestPage:
    @pytest.mark.parametrize("name", PAGES)
    def test_has_no_violation_by_axe_and_fits_every_screen(
        self, browser, written, name
    ):
        """Light and wide, dark and on a phone: nothing is asked for from outside,
        no error is in the console, and only tables scroll sideways."""
        assert browser.faults(written[name].as_uri()) == []
