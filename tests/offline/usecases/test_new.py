"""
A new use case, specified: a folder that runs as it is.
"""

from __future__ import annotations

import pytest

from offline.usecases import new
from propensity import usecases
from propensity.errors import RequestError

# An event of any language: it is what the site sends.
EVENT = "inscri\u00e7\u00e3o conclu\u00edda"
CHOSEN = {"label_event": EVENT, "lookback_days": 30, "horizon_days": 14}


class TestWrite:
    def test_writing_a_use_case_makes_a_use_case_that_loads(self, use_cases):
        """Its declarations are right, and it has every statement."""
        written = new.write("shop_sign_up", **CHOSEN)
        found = usecases.load("shop_sign_up")

        assert written["folder"] == use_cases / "shop_sign_up"
        assert {path.name for path in written["folder"].iterdir()} == {
            *written["files"]
        }
        assert found.parameters["converting_event"] == EVENT
        assert (found.lookback_days, found.horizon_days) == (30, 14)

    def test_writing_a_use_case_shows_what_it_would_write(self, use_cases):
        """A dry run names the same files, and writes none."""
        shown = new.write("shop_sign_up", **CHOSEN, is_dry=True)

        assert not (use_cases / "shop_sign_up").exists()
        assert shown["files"] == new.write("shop_sign_up", **CHOSEN)["files"]

    def test_writing_a_use_case_keeps_what_is_there(self, use_cases):
        """Nobody's use case is overwritten."""
        with pytest.raises(RequestError, match="already exists"):
            new.write("ga4_purchase", **CHOSEN)

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            *(("name", name) for name in ("", "Shop", "2nd", "a-b", "../x", "a" * 65)),
            ("label_event", "it's"),
            ("label_event", ""),
            ("lookback_days", 0),
            ("horizon_days", -1),
        ],
    )
    def test_writing_a_use_case_refuses_what_cannot_be(self, use_cases, field, value):
        """The field is named, and nothing is written."""
        there = {*use_cases.iterdir()}
        with pytest.raises(RequestError) as refused:
            new.write(**{"name": "shop_sign_up", **CHOSEN, field: value})

        assert field in (refused.value.field or refused.value.message)
        assert {*use_cases.iterdir()} == there
