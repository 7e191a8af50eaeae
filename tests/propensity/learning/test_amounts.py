"""
Amounts, specified: of the same user and date, and none that dominates.
"""

from __future__ import annotations

from datetime import date

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from propensity.learning import amounts

FIRST, SECOND = date(2026, 1, 5), date(2026, 1, 12)


class TestAmountsOfRows:
    ROWS = pa.table(
        {
            "as_of": pa.array([FIRST, FIRST, FIRST, SECOND]),
            "user_id": ["a", "b", "c", "a"],
            "label": [1, 0, 1, 1],
        }
    )

    def paid(self, *entries) -> list[pa.RecordBatch]:
        kind = pa.schema(
            [
                ("as_of", pa.date32()),
                ("user_id", pa.string()),
                ("amount", pa.decimal128(38, 9)),
            ]
        )
        names = kind.names
        return [
            pa.RecordBatch.from_pylist([dict(zip(names, entry, strict=True))], kind)
            for entry in entries
        ]

    def test_are_of_the_same_user_and_date(self):
        """In any order; those of others, and of users who do not buy, are left out."""
        rows = amounts.with_amounts(
            self.ROWS,
            self.paid(
                (SECOND, "a", 7),
                (FIRST, "stranger", 1_000),
                (FIRST, "b", 1_000),
                (FIRST, "a", 5),
                (FIRST, "c", None),
            ),
        )

        assert rows[amounts.AMOUNT].to_pylist() == [5, None, None, 7]
        assert rows.drop_columns([amounts.AMOUNT]) == self.ROWS

    @pytest.mark.parametrize("paid", [[], [(FIRST, "a", None)], [(FIRST, "x", 3)]])
    def test_where_none_is_known_leave_the_rows_as_they_are(self, paid):
        assert amounts.with_amounts(self.ROWS, self.paid(*paid)) is self.ROWS


class TestCap:
    AMOUNTS = st.lists(st.floats(0, 1e9), min_size=1, max_size=300).map(np.array)

    @given(AMOUNTS)
    @example(np.array([0.0, 0.0, 134217726.0, 2.24]))
    def test_lets_no_buyer_dominate(self, amount):
        capped_amounts = amounts.capped(amount, np.ones(len(amount)))

        share = max(0.02, 3 / len(amount))
        assert np.isfinite(capped_amounts).all()
        assert (capped_amounts <= amount).all()
        assert (
            capped_amounts.max() <= share * capped_amounts.sum() * (1 + 1e-9) + 1e-300
        )

    @given(st.lists(st.floats(10, 15), min_size=5, max_size=300).map(np.array))
    def test_leaves_amounts_that_are_alike(self, amount):
        assert np.array_equal(amounts.capped(amount, np.ones(len(amount))), amount)

    @given(AMOUNTS)
    def test_cuts_the_largest_to_one_height(self, amount):
        capped_amounts = amounts.capped(amount, np.ones(len(amount)))

        cut = capped_amounts < amount
        assert len(np.unique(capped_amounts[cut])) <= 1
        if cut.any():
            assert (capped_amounts[~cut] <= capped_amounts[cut][0]).all()
