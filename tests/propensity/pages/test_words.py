"""Figures of pages, specified: written for people."""

from __future__ import annotations

from propensity.pages.words import compact, count, decimals, percent


def test_numbers_are_written_for_people() -> None:
    """Thousands apart, a real minus, no minus zero, few characters."""
    assert count(1234567) == "1,234,567"
    assert percent(0.0042) == "0.42%"
    assert percent(0.3141) == "31.4%"
    assert decimals(2)(-0.001) == "0.00"
    assert decimals(2)(-1.234) == "\N{MINUS SIGN}1.23"
    assert compact(1234567) == "1.23M"
    assert [*map(compact, (999_499, 999_500, 1e9 - 1))] == ["999k", "1M", "1B"]
    assert compact(0.012345) == "0.0123"
    assert compact(-(10.0**300)) == "\N{MINUS SIGN}1.00e+300"
    for write in (count, percent, compact, decimals(1)):
        assert write(None) == write(float("nan")) == write(float("inf")) == "—"
