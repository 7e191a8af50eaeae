"""
The texts of strangers' tables, specified: one table of them, as ``try`` reads a column
and as a declared type does.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from propensity.errors import SchemaError
from propensity.table_files.column import Feature, have_decimal_commas
from propensity.table_files.texts import Words, as_declared, moments_of

MARCH = datetime(2024, 3, 1, tzinfo=UTC)
QUARTER_PAST = MARCH.replace(hour=10, minute=15, second=30)


def feature(values, *, named: str = "x") -> Feature:
    """Return what ``try`` makes of a column of a table of 2025."""
    column = pd.Series(values, dtype="object", name=named)
    times = pd.Series(pd.to_datetime(["2025-01-01"] * len(column), utc=True))
    has_commas = have_decimal_commas(column.to_frame())
    return Feature.decide(column, times, has_commas=has_commas)


def declared(values, kind: str) -> list[object]:
    """Return the values of a column in a type of BigQuery."""
    column = pd.Series(values, dtype="object", name="x")
    read = as_declared(column, kind)
    if kind == "TIMESTAMP":
        read = read.dt.tz_localize("UTC")
    if kind == "DATE":
        read = read.dt.date
    return [None if pd.isna(value) else value for value in read]


NUMBERS = [
    ([" 12 ", "12.0", "", "NA"], [12, 12, None, None]),
    (["+50", "-3", "0"], [50, -3, 0]),
    (["+1.5e-3", "2"], [0.0015, 2]),
    (["1.234,50", "7", "-0,5"], [1234.5, 7, -0.5]),
    (["0,5", "9,6E-05"], [0.5, 9.6e-05]),
    (['="12.50"', '="3"'], [12.5, 3]),
]
DAYS = [
    (["2024-03-01T10:15:30Z", "2024-02-29T10:00:00Z"], QUARTER_PAST),
    (["2024-02-29T23:00:00-01:00"], MARCH),
    (["01.03.2024", "29.02.2024 10:30"], MARCH),
    (["3/1/2024 10:15:30 AM", "2/29/2024 9:00:00 PM"], QUARTER_PAST),
    (["20240301", "20240229"], MARCH),
    (["2024-W09"], MARCH.replace(month=2, day=26)),
    (["01-MAR-24 10.15.30.000000 AM"], QUARTER_PAST),
    (["Fri, 01 Mar 2024 10:15:30 GMT"], QUARTER_PAST),
    (["1. März 2024", "29. Februar 2024"], MARCH),
]


@pytest.mark.parametrize(("values", "numbers"), NUMBERS, ids=str)
def test_numbers_are_read_as_people_write_them(values, numbers):
    """In any country, with any word for a gap. Defects: +5 beside -3 was a telephone
    number, and an amount's decimal comma was refused where a type is declared."""
    read = feature(values)

    assert read.kind == "number"
    expected = [np.nan if number is None else number for number in numbers]
    assert read.values.to_numpy() == pytest.approx(np.array(expected), nan_ok=True)
    assert declared(values, "FLOAT64") == numbers


@pytest.mark.parametrize(("values", "first"), DAYS, ids=str)
def test_days_are_read_as_people_and_databases_write_them(values, first):
    """As those of Oracle and DB2, and in other languages: a date of the future is a
    leak."""
    later = [value and str(value).replace("2024", "2034") for value in values]
    later = [value and value.replace("-24", "-34") for value in later]

    assert feature([*values, None]).kind in {"date", "number"}
    assert declared(values, "TIMESTAMP")[0] == first
    if "29" not in str(values):
        assert feature(later).why == "it knows the future"


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("NUMERIC", "0.30000000000000004", Decimal("0.3")),
        ("NUMERIC", "-19.990000000000002", Decimal("-19.99")),
        ("NUMERIC", "1.234,50", Decimal("1234.5")),
        ("BOOL", "1.0", True),
        ("BOOL", "Yes", True),
        ("DATE", "2026-01-05", date(2026, 1, 5)),
        ("DATE", "05.01.2026", date(2026, 1, 5)),
        ("TIMESTAMP", "2026-01-05 10:00:00.123456 UTC",
         datetime(2026, 1, 5, 10, 0, 0, 123456, UTC)),
        ("TIMESTAMP", "2026-01-05T00:30-09:30", datetime(2026, 1, 5, 10, tzinfo=UTC)),
    ],
)  # fmt: skip
def test_values_are_exact_in_the_declared_type(kind, text, value):
    """Money is rounded to the nine decimals that a table has, as BigQuery does it:
    0.30000000000000004 is 0.3."""
    assert declared([text, None], kind) == [value, None]


WORDS = [
    (["k.A."] * 7 + ["12.5", "3", "7.25"], "row 1: 'k.A.' is not a number"),
    (["(null)"] * 7 + ["12", "3", "7"], "row 1: '(null)' is not a number"),
    (["basic"] * 7 + ["2", "2", "pro"], "row 1: 'basic' is not a number"),
    (["nie"] * 7 + ["2024-03-01", "2024-02-29"], "row 1: 'nie' is not a date"),
]


@pytest.mark.parametrize(("values", "problem"), WORDS, ids=str)
def test_a_word_in_place_of_values_does_not_decide_what_a_column_is(values, problem):
    """In whatever language. It is refused by row, and the hint gives both ways out."""
    with pytest.raises(SchemaError) as caught:
        feature(values)

    assert problem in caught.value.problem
    assert "add --missing " in caught.value.hint
    assert "--category x" in caught.value.hint


@pytest.mark.parametrize(
    "values",
    [
        ["1446/03/01", "1446/04/12"],
        ["2568-03-01", "2567-11-30"],
        ["114/03/01", "113/12/24"],
        ["令和7年3月1日", "令和6年12月24日"],
        ["R7.3.1", "R6.12.24"],
        ["7 มี.ค. 2567", "8 มี.ค. 2567"],
        ["1_234_567", "2_345_678"],
        ["12,34,567", "1,23,456"],
        ["12.5 lakh", "3 crore"],
    ],
    ids=str,
)
def test_what_looks_like_a_date_or_a_number_is_read_or_refused(values):
    """Defects: dates of other calendars were "empty, or the same in every row", or
    names, so that one of the future was no leak."""
    with pytest.raises(SchemaError, match=f"row 1: '{values[0]}' "):
        feature([*values, None])


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (["2024-01-01", "2024-02-01", "soon"], "row 3: 'soon' is not a date, but most"),
        ([*map(str, range(100, 130)), "05"], "row 31: '05' is not a number, but most"),
        (["03/04/2026", "01/02/2026"], "row 1: '03/04/2026' may have the day,"),
        (["1", "2.5", "1e+999"], "row 3: '1e+999' is infinite or too large"),
        (["1\u00a0234", "2\u202f500"], "row 1: '1\\xa0234' is not a number, but most"),
        (["(12.50)", "(3.10)", "8.07"], "row 1: '(12.50)' is not a number"),
        (["\u221212", "\u22125"], "row 1: '\u221212' is not a number"),
        (["1 b\u0159ezna 2025", "2 dubna 2025"], "row 1: '1 b\u0159ezna 2025' may"),
        (["31.02.2025", "30.02.2025"], "row 1: '31.02.2025' may be a date"),
        (["valid 2025-03-01", "valid 2025-03-02"], "row 1: 'valid 2025-03-01' may be"),
    ],
    ids=str,
)  # fmt: skip
def test_an_odd_value_is_named_and_never_changes_a_column(values, problem):
    """Defects: dates with one other text were names, and so were those in a form that
    is not read; numbers in brackets were left out as text."""
    with pytest.raises(SchemaError) as caught:
        feature(values)

    assert f"column x, {problem}" in caught.value.problem
    assert caught.value.hint


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("INT64", "12.5"),
        ("INT64", "9223372036854775808"),
        ("FLOAT64", "1e999"),
        ("NUMERIC", "$12"),
        ("BOOL", "maybe"),
        ("DATE", "2026-02-29"),
        ("TIMESTAMP", "01/02/2026"),
        ("TIMESTAMP", "2026-01-05 10:00:00 CET"),
    ],
)
def test_a_text_of_another_type_is_named(kind, text):
    """Rows are counted from 1, without the header."""
    with pytest.raises(SchemaError, match="column x, row 2: ") as caught:
        declared([None, text], kind)
    assert repr(text) in caught.value.problem
    assert caught.value.hint


@pytest.mark.parametrize(
    ("values", "years"),
    [
        (["01.02.65", "17.12.70", "03.04.88"], [1965, 1970, 1988]),
        (["1-Feb-47", "17-Dec-51"], [1947, 1951]),
        (["31.12.99", "30.06.05", "01.01.24"], [1999, 2005, 2024]),
    ],
    ids=str,
)
def test_two_digits_of_a_year_lie_in_the_past_where_the_future_is_impossible(
    values, years
):
    """Who was born on 01.02.65 is no leak, as of 2065."""
    column = pd.Series(values, name="x", dtype="object")
    newest = pd.Timestamp("2025-01-01", tz="UTC")
    read = moments_of(Words.of(column), newest=newest)

    assert read.clock.dt.year.tolist() == years
