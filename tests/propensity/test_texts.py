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
from propensity.first_look import columns
from propensity.texts import as_declared

MARCH = datetime(2024, 3, 1, tzinfo=UTC)
QUARTER_PAST = MARCH.replace(hour=10, minute=15, second=30)


def feature(values, *, named: str = "x") -> columns.Feature:
    """Return what ``try`` makes of a column of a table of 2025."""
    column = pd.Series(values, dtype="object", name=named)
    times = pd.Series(pd.to_datetime(["2025-01-01"] * len(column), utc=True))
    has_commas = columns.have_decimal_commas(column.to_frame())
    return columns.feature_of(column, times, has_commas=has_commas)


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
    (["1", "NA", "2.5"], [1, None, 2.5]), ([" 12 ", "12.0", ""], [12, 12, None]),
    (["+50", "-3", "0"], [50, -3, 0]), (["+7", "+12", "+3"], [7, 12, 3]),
    (["-03", "05", "-12"], [-3, 5, -12]), (["+1.5e-3", "2"], [0.0015, 2]),
    (["1e-05", "1.5E3", ".5"], [0.00001, 1500, 0.5]),
    (["1.234,50", "7", "-0,5"], [1234.5, 7, -0.5]), (["0,0", "12,5"], [0, 12.5]),
    (['="12.50"', '="3"'], [12.5, 3]),
    (["NULL", "?", "-", "#N/A", "<NA>", "nan", "4", "5"], [None] * 6 + [4, 5]),
]  # fmt: skip
DAYS = [
    (["2024-03-01", None, "2024-02-29"], MARCH),
    (["2024-03-01 00:00:00", "2024-02-29"], MARCH),
    (["2024-03-01T10:15:30Z", "2024-02-29T10:00:00Z"], QUARTER_PAST),
    (["2024-03-01 10:15:30 UTC"], QUARTER_PAST),
    (["2024-03-01 10:15:30+00", "2024-02-29"], QUARTER_PAST),
    (["2024-02-29T23:00:00-01:00"], MARCH), (["2024-3-1", "2024-2-29"], MARCH),
    (["01.03.2024", "29.02.2024 10:30"], MARCH),
    (["29/02/2024", "01/03/2024"][::-1], MARCH),
    (["3/1/2024 10:15:30 AM", "2/29/2024 9:00:00 PM"], QUARTER_PAST),
    (["2024/03/01"], MARCH), (["2024.03.01"], MARCH),
    (["1-Mar-24", "29-Feb-24"], MARCH), (["20240301", "20240229"], MARCH),
    (["01MAR2024"], MARCH), (["20240301101530"], QUARTER_PAST), (["2024-061"], MARCH),
    (["2024-Q1"], MARCH.replace(month=1)),
    (["2024-W09"], MARCH.replace(month=2, day=26)),
    (["01-MAR-24 10.15.30.000000 AM"], QUARTER_PAST), (["01-MAR-24"], MARCH),
    (["2024-03-01-10.15.30.000000"], QUARTER_PAST),
    (["20240301T101530Z"], QUARTER_PAST),
    (["Fri Mar 01 10:15:30 UTC 2024"], QUARTER_PAST),
    (["Fri, 01 Mar 2024 10:15:30 GMT"], QUARTER_PAST),
    (["01/Mar/2024:10:15:30 +0000"], QUARTER_PAST),
    (["March 1st, 2024 at 10:15:30 a.m."], QUARTER_PAST),
    (["1. März 2024", "29. Februar 2024"], MARCH), (["Freitag, 1. März 2024"], MARCH),
    (["1 de marzo de 2024"], MARCH), (["1er mars 2024"], MARCH),
    (["1 maart 2024"], MARCH), (["2024年3月1日"], MARCH), (["2024. 03. 01."], MARCH),
    (["2024-03-01/2024-03-31"], MARCH), (["01.03.2024 10:15:30 Uhr"], QUARTER_PAST),
    (["Mär 2024", "Dez 2023"], MARCH), (["3.2024", "12.2023"], MARCH),
]  # fmt: skip
NAMES = [
    ["01234", "98765"], ["12E4", "13E5", "14A2"], ["+4930123", "+4940123"],
    ["'00123", "'04711"], ['="00029"', '="00030"'],
    ['=("8440000000001")', '=("8440000000002")'], ["1.2.10", "1.2.11"],
    ["NA", "DE", None], ["18-24", "25-34", "65+"], ["#12", "#13"],
    ["iPhone 12", "iPhone 13"], ["Summer 2024", "Winter 2023"], ["v1.0", "v1.1"],
    ["<5", ">5"], ["Decile 1", "Decile 2"], ["Set 12", "Set 13"], ["Gen 2", "Gen 10"],
    ["March 5", "March 6"], ["Marketing 12", "Junior 13"],
    ["12345678901234567890", "12345678901234567891"],
]  # fmt: skip
NOTHING = [
    [None, None], ["NA", "NA"], [" ", ""], ["n/a", "?", "n/a"], ["NULL", "null", None],
    ["-", "."], ["NaN", "nan", "None"], ["#N/A", "n/a"], ["0000-00-00", "NULL"],
    ["N/A", " n/a "], ["\\N", ""], ["NaT", "NaN"],
]  # fmt: skip


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
    """Defect: those of Oracle, of DB2, and months in other languages were names, so
    that a date of the future was no leak."""
    later = [value and str(value).replace("2024", "2034") for value in values]
    later = [value and value.replace("-24", "-34") for value in later]

    assert feature([*values, None]).kind in {"date", "number"}
    assert declared(values, "TIMESTAMP")[0] == first
    if "29" not in str(values):
        assert feature(later).why == "it knows the future"


@pytest.mark.parametrize("values", NAMES, ids=str)
def test_codes_are_names(values):
    assert feature(values).kind == "category"


@pytest.mark.parametrize("values", NOTHING, ids=str)
def test_a_column_of_gaps_is_no_feature(values):
    """Defect: n/a beside ? was a category of two values."""
    assert feature(values).why == "empty, or the same in every row"
    assert declared(values, "NUMERIC") == [None] * len(values)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("INT64", "9007199254740993", 2**53 + 1),
        ("NUMERIC", "0.1", Decimal("0.1")),
        ("NUMERIC", "0.30000000000000004", Decimal("0.3")),
        ("NUMERIC", "0.1234567895", Decimal("0.12345679")),
        ("NUMERIC", "-19.990000000000002", Decimal("-19.99")),
        ("NUMERIC", "1E-11", Decimal(0)),
        ("NUMERIC", "1.005", Decimal("1.005")),
        ("NUMERIC", "9" * 29 + ".999999999", Decimal("9" * 29 + ".999999999")),
        ("BOOL", "true", True),
        ("BOOL", "1.0", True),
        ("BOOL", "'0'", False),
        ("BOOL", "Yes", True),
        ("BOOL", "f", False),
        ("DATE", "2026-01-05", date(2026, 1, 5)),
        ("DATE", "2026-01-05 00:00:00", date(2026, 1, 5)),
        ("DATE", "05.01.2026", date(2026, 1, 5)),
        ("TIMESTAMP", "2026-01-05 10:00:00.123456 UTC",
         datetime(2026, 1, 5, 10, 0, 0, 123456, UTC)),
        ("TIMESTAMP", "2026-01-05T00:30-09:30", datetime(2026, 1, 5, 10, tzinfo=UTC)),
    ],
)  # fmt: skip
def test_values_are_exact_in_the_declared_type(kind, text, value):
    """Money is rounded to the nine decimals that a table has, as BigQuery does it.
    Defect: 0.30000000000000004 ended the loading."""
    assert declared([text, None], kind) == [value, None]


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (["2024-01-01", "2024-02-01", "soon"], "row 3: 'soon' is not a date, but most"),
        (["5", "7", "x"], "row 3: 'x' is not a number, but most"),
        ([*map(str, range(100, 130)), "05"], "row 31: '05' is not a number, but most"),
        (["03/04/2026", "01/02/2026"], "row 1: '03/04/2026' may have the day,"),
        (["26/03/15", "25/01/02"], "row 1: '26/03/15' may have the day, the month or"),
        (["1", "2.5", "1e+999"], "row 3: '1e+999' is infinite or too large"),
        (["1\u00a0234", "2\u202f500"], "row 1: '1\\xa0234' is not a number, but most"),
        # Brackets, currencies and signs around numbers.
        (["(12.50)", "(3.10)", "8.07"], "row 1: '(12.50)' is not a number"),
        (["EUR 12", "EUR 13"], "row 1: 'EUR 12' is not a number"),
        (["\u221212", "\u22125"], "row 1: '\u221212' is not a number"),
        (["12.50-", "3.10-"], "row 1: '12.50-' is not a number"),
        (["12.50 CR", "3.10 DR"], "row 1: '12.50 CR' is not a number"),
        (["R$ 12", "R$ 3"], "row 1: 'R$ 12' is not a number"),
        (["\u20b912", "\u20b93"], "row 1: '\u20b912' is not a number"),
        (["12 USD", "7 USD"], "row 1: '12 USD' is not a number"),
        (["US$12", "US$9"], "row 1: 'US$12' is not a number"),
        (["12 %", "9 %"], "row 1: '12 %' is not a number"),
        (["1.200,50 €", "3,10 €"], "row 1: '1.200,50 €' is not a number"),
        (["-$12.50", "$3.10"], "row 1: '-$12.50' is not a number"),
        (["120 kr", "99 kr"], "row 1: '120 kr' is not a number"),
        (["+4,030.98", "-3,100.10"], "row 1: '+4,030.98' is not a number"),
        # Dates in a form that is not read.
        (["1 b\u0159ezna 2025", "2 dubna 2025"], "row 1: '1 b\u0159ezna 2025' may"),
        (["2025-13-05", "2025-14-06"], "row 1: '2025-13-05' may be a date"),
        (["31.02.2025", "30.02.2025"], "row 1: '31.02.2025' may be a date"),
        (["2025M03", "2025M04"], "row 1: '2025M03' may be a date"),
        (["Week 7, 2025", "Week 8, 2025"], "row 1: 'Week 7, 2025' may be a date"),
        (["1 marca 2025", "2 marca 2025"], "row 1: '1 marca 2025' may be a date"),
        (["Mar 5, 25 x", "Mar 6, 25 x"], "row 1: 'Mar 5, 25 x' may be a date"),
        (["2025-03-01 25:00", "2025-03-02 26:00"], "row 1: '2025-03-01 25:00' may be"),
        (["valid 2025-03-01", "valid 2025-03-02"], "row 1: 'valid 2025-03-01' may be"),
        (["3rd quarter 2025", "4th quarter 2025"], "row 1: '3rd quarter 2025' may be"),
        (["2025-060-01", "2025-061-02"], "row 1: '2025-060-01' may be a date"),
        (["2025/3/1 10\u65f615\u5206"] * 2, "row 1: '2025/3/1 10\u65f615\u5206' may"),
        (["/Date(1700000000000)/"] * 2, "row 1: '/Date(1700000000000)/' may be a"),
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
        ("INT64", "1e999999999"),
        ("INT64", "1_000"),
        ("FLOAT64", "1e999"),
        ("FLOAT64", "1,234"),
        ("FLOAT64", "12;50"),
        ("NUMERIC", "1e30"),
        ("NUMERIC", "$12"),
        ("BOOL", "maybe"),
        ("DATE", "2026-02-29"),
        ("DATE", "2026-01-05 10:00:00"),
        ("TIMESTAMP", "01/02/2026"),
        ("TIMESTAMP", "1770000000"),
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
        (["01.02.38", "17.12.57", "03.04.79", "01.01.08"], [1938, 1957, 1979, 2008]),
        (["1-Feb-47", "17-Dec-51"], [1947, 1951]),
        (["02/28/45", "12/17/58"], [1945, 1958]),
        (["01.02.24", "17.12.98"], [2024, 1998]),
        (["31.12.26", "30.06.25"], [2026, 2025]),
        (["14-MAR-25", "14-APR-26"], [2025, 2026]),
        (["Mar-19", "Apr-24"], [2019, 2024]),
        (["31.12.99", "30.06.05", "01.01.24"], [1999, 2005, 2024]),
        (["65-12-17", "70-11-30"], [1965, 1970]),
    ],
    ids=str,
)
def test_two_digits_of_a_year_lie_in_the_past_where_the_future_is_impossible(
    values, years
):
    """Defect: who was born on 01.02.65 was a leak, as of 2065."""
    column = pd.Series(values, name="x", dtype="object")
    newest = pd.Timestamp("2025-01-01", tz="UTC")
    read = columns.moments_of(columns.Words.of(column), newest=newest)

    assert read.clock.dt.year.tolist() == years


@pytest.mark.parametrize(
    ("trained", "later"),
    [
        ([1, 2, 3], [1.0, 2.0, 2.5]),
        ([1.0, 2.0, 2.5], [1, 2, 2.5]),
        (["1", "2"], [1.0, 2.0]),
        (["1.0", "2.0"], [1, 2]),
        ([1, None, 2], ["1", "", "2"]),
        (["1.00", "2.00"], ["1", "2"]),
        ([True, False], ["true", "false"]),
        (["TRUE", "FALSE"], [True, False]),
        ([-1.0, 0.0], ["-1", "0"]),
        ([Decimal("3"), Decimal("4.0")], ["3", "4"]),
        (pd.Categorical([1, 2]), [1.0, 2.0]),
    ],
    ids=str,
)
def test_a_category_of_numbers_is_read_alike_in_further_rows(trained, later):
    """Defect: 1 was 1.0 beside 2.5, which no row of the training had."""
    names = columns.names_of(pd.Series(trained, name="x"))
    others = columns.names_of(pd.Series(later, name="x"))

    assert names.dropna()[:2].tolist() == others.dropna()[:2].tolist()
