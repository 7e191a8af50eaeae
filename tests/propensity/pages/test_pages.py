"""Charts and words of pages: what is drawn is where and as long as its value says."""

from __future__ import annotations

import pytest

from propensity.pages.page import ticks
from propensity.pages.words import abbreviate, amount, count, decimals, percent


@pytest.mark.parametrize(
    ("values", "write", "labels"),
    [
        ([0, 1], count, ["0", "1", "2"]),
        ([0, 10], count, ["0", "2", "4", "6", "8", "10"]),
        ([0.7512, 0.7514], decimals(3), ["0.751", "0.752", "0.753"]),
    ],
)
def test_ticks_are_where_their_labels_say(values, write, labels) -> None:
    """Also in a chart of up to ten users, or of a single one."""
    found = ticks(values, write)

    assert [write(tick) for tick in found] == labels
    for tick, label in zip(found, labels, strict=True):
        shown = float(label.rstrip("%")) / (100 if "%" in label else 1)
        assert tick == pytest.approx(shown, abs=1e-9)


def test_numbers_are_written_for_people() -> None:
    """Thousands apart, a real minus, no minus zero. Halves of money go up, as on a
    bill; cents are shown of small sums alone."""
    assert count(1234567) == "1,234,567"
    assert percent(0.0042) == "0.42%"
    assert decimals(2)(-0.001) == "0.00"
    assert decimals(2)(-1.234) == "\N{MINUS SIGN}1.23"
    assert [*map(abbreviate, (999_500, 0.012345))] == ["1M", "0.0123"]
    assert [*map(amount, (2.345, 100.5))] == ["2.35", "101"]
    for write in (count, percent, abbreviate, decimals(1)):
        assert write(None) == write(float("nan")) == "—"
