"""The budget, specified: a number or a share of the best rows."""

from __future__ import annotations

import pytest

from propensity.budget import MOST, Budget


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("1", Budget(count=1)),
        (str(MOST), Budget(count=MOST)),
        ("5%", Budget(share=0.05)),
        ("0.5%", Budget(share=0.005)),
        ("100%", Budget(share=1.0)),
    ],
)
def test_a_percent_sign_makes_a_share_and_nothing_a_number(text, budget):
    assert Budget.parse(text) == Budget.parse(text.replace("%", " %")) == budget
    assert str(budget) == text


@pytest.mark.parametrize(
    "text",
    ["", "0", "-1", "1.5", "0%", "0.0%", "101%", "%", "5%%", "0.1", "many", "1e3", "٣",
     str(MOST + 1)],
)  # fmt: skip
def test_anything_else_is_refused(text):
    """The message says what is allowed."""
    with pytest.raises(ValueError, match=r"use a number .* or a share"):
        Budget.parse(text)


def test_rows_are_so_many_for_each_date_or_a_share_of_all():
    """A thousand a week are three thousand of three weeks; nobody is selected twice."""
    assert Budget(count=1000).rows(9_000, dates=3) == 3_000
    assert Budget(count=1000).rows(12) == 12
    assert Budget(share=0.1).rows(25, dates=3) == pytest.approx(2.5)
