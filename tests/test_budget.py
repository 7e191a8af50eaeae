"""
The budget, specified: a number or a share of the best rows.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from propensity.budget import MOST, Budget


class TestParsing:
    @pytest.mark.parametrize(
        ("text", "budget"),
        [
            ("1", Budget(count=1)),
            ("1000", Budget(count=1000)),
            (str(MOST), Budget(count=MOST)),
            ("5%", Budget(share=0.05)),
            ("5 %", Budget(share=0.05)),
            ("0.5%", Budget(share=0.005)),
            ("100%", Budget(share=1.0)),
        ],
    )
    def test_reads_numbers_and_shares(self, text, budget):
        """A percent sign makes a share, nothing makes a number."""
        assert Budget.parse(text) == budget

    @pytest.mark.parametrize(
        "text",
        ["", "0", "-1", "1.5", "0%", "0.0%", "101%", "%", "5%%", "0.1", "many", "1e3",
         "٣", str(MOST + 1)],
    )  # fmt: skip
    def test_refuses_anything_else(self, text):
        """The message says what is allowed."""
        with pytest.raises(ValueError, match=r"must be a number .* or a share"):
            Budget.parse(text)

    @given(
        st.integers(1, MOST) | st.decimals("0.0001", 100, places=4).map("{}%".format)
    )
    def test_writes_what_it_reads(self, value):
        """As text and back it is the same budget."""
        budget = Budget.parse(str(value))

        assert Budget.parse(str(budget)) == budget


class TestRows:
    def test_of_a_number_are_so_many_for_each_date(self):
        """A thousand a week are three thousand of three weeks."""
        assert Budget(count=1000).rows(9_000, dates=3) == 3_000

    def test_of_a_number_are_all_where_there_are_fewer(self):
        """Nobody is selected twice."""
        assert Budget(count=1000).rows(12) == 12

    def test_of_a_share_go_with_the_rows(self):
        """A tenth of any number, of however many dates."""
        assert Budget(share=0.1).rows(25, dates=3) == pytest.approx(2.5)
