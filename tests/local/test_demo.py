"""
The demo: what it refuses and how soon, what it sends, what it says.

The whole of it is what ``make demo`` runs.
"""

from __future__ import annotations

import os
import sys
import time
from datetime import date
from pathlib import Path

import pytest

from local.demos import Choice, shop
from local.demos.source import weeks_allowed
from local.errors import LocalError
from local.exports.ga4_export import DAY
from local.stack.stack import Stack
from local.stack.state import Options, State
from propensity import usecases
from tests.support.programs import execute


class TestFunctions:
    """Those that start beside the demo."""

    @pytest.fixture
    def stack(self, tmp_path):
        return Stack(State("test", tmp_path), options=Options(), functions=())

    def test_functions_that_do_not_start_are_named_before_a_stream(
        self, stack, monkeypatch
    ):
        """Before messages are sent that nobody would take."""
        played = []

        def ready() -> None:
            time.sleep(0.2)
            raise LocalError("score_stream ended")

        monkeypatch.setattr(stack, "ready", ready)
        monkeypatch.setattr(shop.cards, "play", lambda *_, **__: played.append(1) or [])

        with pytest.raises(LocalError, match="score_stream ended"):
            shop.run(stack, Choice(cards=Path("cards.csv")))
        assert not played


def test_weeks_end_with_the_data():
    """Counted back from the end, a horizon apart, each with nine tenths of a lookback.
    Of too little data there are none."""
    use_case = usecases.load("ga4_purchase")
    days = [date(2025, 1, 1) + n * DAY for n in range(90)]
    weeks = [date(2025, 2, 25) + n * 7 * DAY for n in range(5)]

    assert weeks_allowed(days, days[-1], use_case) == weeks
    assert not weeks_allowed(days[:60], days[59], use_case)


class TestRefusals:
    @pytest.mark.parametrize(
        ("variable", "name", "text", "message"),
        [
            ("DATA", "e.json", "", "has no rows of a GA4 export"),
            ("CARDS", "cards.csv", "a,b\n1,2\n", "lacks the columns Time"),
        ],
    )
    def test_refusals_come_before_anything_is_started(
        self, tmp_path, variable, name, text, message
    ):
        """By the name of the data; no process is started, and no state is left."""
        path = tmp_path / name
        path.write_text(text)
        make = ["make", "-o", "setup", f"VENV={sys.prefix}", "demo"]
        process = execute([*make, f"{variable}={path}"], env=os.environ, status=2)

        for part in ("demo: ", message, str(path)):
            assert part in process.stderr
        assert "Traceback" not in process.stderr
        assert "starting" not in process.stdout
        assert not State.of_data(path).folder.exists()
