"""CSV for spreadsheets, specified: no cell is a formula, and each can be read back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from propensity.spreadsheet import csv_of, rows_of_csv


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-2+SUM(A1)", "'-2+SUM(A1)"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("-1.5", "-1.5"),
        ("+49 (0)30 123-45", "+49 (0)30 123-45"),
        ("O'Neill", "O'Neill"),
        (-1.5, "-1.5"),
        (None, '""'),
        (True, "true"),
        ({"a": [1]}, '"{""a"": [1]}"'),
    ],
)
def test_no_cell_is_a_formula(value, cell):
    assert csv_of(["x"], [[value]]).decode("utf-8-sig") == f"x\r\n{cell}\r\n"


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=2))
def test_texts_are_read_back_as_they_were(texts):
    """Also those that begin with an apostrophe, or have quotes, commas and lines."""
    assert rows_of_csv(csv_of(texts, [texts])) == [texts, texts]
