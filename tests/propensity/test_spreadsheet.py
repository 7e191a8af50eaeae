"""CSV for spreadsheets, specified: no cell is a formula, and each can be read back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from propensity.spreadsheet import csv_of, id_meant, rows_of_csv


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("x;=cmd|' /C calc'!A0", "x;'=cmd|' /C calc'!A0"),
        ("\uff1d1+1", "'\uff1d1+1"),
        ({"a": ["=1"]}, '{""a"": [""=1""]}'),
        ("'=1", "''=1"),
    ],
)
def test_no_cell_is_a_formula_by_any_separator(value, cell):
    """Of x;=1 a spreadsheet in German makes a cell with =1."""
    assert csv_of(["x"], [[value]]).decode("utf-8-sig") == f'"x"\r\n"{cell}"\r\n'


@pytest.mark.parametrize("text", ["-NC0029", "+ana@x.de", "-1.5", "+49 (0)30 123", ""])
def test_ids_and_addresses_stay_as_they_were(text):
    """The receiver of an upload does not know an id with an apostrophe in front of its
    dash."""
    assert csv_of(["x"], [[text]]).decode("utf-8-sig") == f'"x"\r\n"{text}"\r\n'


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=2))
def test_texts_are_read_back_as_they_were(texts):
    """Also those that begin with an apostrophe, or have quotes, commas and lines."""
    assert rows_of_csv(csv_of(texts, [texts])) == [texts, texts]


IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@pytest.mark.parametrize("written", ["{}", "'{}", '="{}"'])
@given(IDS)
def test_an_id_is_found_whatever_a_spreadsheet_added_to_it(written, text):
    assert id_meant(written.format(text), {text}) == text


@given(IDS.filter(lambda text: text == text.strip()))
def test_an_id_is_found_between_blanks(text):
    assert id_meant(f" {text}\u2028", {text}) == text


def test_ids_of_another_case_or_number_are_others():
    assert id_meant("USER1", {"user1"}) is None
    assert id_meant("1.0", {"1"}) is None
    assert id_meant("'=a", {"=a", "'=a"}) == "=a"
