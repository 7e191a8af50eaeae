"""
The columns of a labelled table: what each holds, and what is wrong with it.

Errors name column, row and value, and say what to do. Rows are counted from 1.
"""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from propensity.errors import SchemaError
from propensity.usecases.declaration import FeatureKind

Floats = NDArray[np.float64]

# What spreadsheets and data frames write in a column of numbers where there is none.
_GAPS = ["", "na", "n/a", "nan", "null", "none", "?", "-"]
# Numbers for people: with a currency, separators of thousands, a percent sign.
_WRITTEN = re.compile(r"[-+]?[$€£]? ?\d{1,3}([,. ']?\d{3})*([.,]\d+)? ?[%€$£]?")
# Postcodes and account numbers: their zeros count.
_CODE = re.compile(r"-?0\d+")
# Digits without dashes may be anything.
_DAY = re.compile(r"\d{4}-\d\d")
# Texts with more values, each of fewer than two rows on average, are ids or prose.
_MOST_VALUES = 50
# How texts may say when a row is of, beside numbers and the names of months.
_FORMATS = ("ISO8601", "%Y-%m", "%Y/%m", "%d.%m.%Y", "%b %Y", "%B %Y", "%Y %b", "%b-%y")
# Values of a label, and what is their opposite.
_PAIRS = {"1": "0", "yes": "no", "y": "n", "true": "false", "t": "f"}


@dataclass(frozen=True, kw_only=True)
class Feature:
    """
    A column as a model reads it.

    Attributes:
        kind: number or category; None where it is left out.
        values: One a row; the days before the row's time where the column has dates.
        is_date: Whether it has.
        why: Why it is left out.
    """

    kind: FeatureKind | None = None
    values: Any = None
    is_date: bool = False
    why: str = ""


def refuse(
    column: str, rows: Any, value: object, problem: str, *, hint: str
) -> NoReturn:
    """Raise SchemaError about the first row whose flag is set, and its value."""
    row = int(np.argmax(np.asarray(rows, dtype=bool)))
    if isinstance(value, pd.Series):
        value = value.iloc[row]
    where = f"column {column}, row {row + 1}"
    raise SchemaError(f"{where}: {str(value)!r} {problem}", hint=hint)


def texts(column: pd.Series) -> pd.Series:
    """Return values as stripped texts; null where there is none."""
    values = column.astype("object").map(lambda v: str(v).strip(), na_action="ignore")
    return values.where(values.notna() & (values != ""), None).astype("object")


def is_moments(column: pd.Series) -> bool:
    """Tell whether a column holds dates or times."""
    return bool(pd.api.types.is_datetime64_any_dtype(column))


def _moments(column: pd.Series) -> pd.Series:
    """
    Return dates or times by the clock that they were written by, as if it was UTC.

    Microseconds reach the years 1 and 9999, which stand for never.
    """
    return column.dt.tz_localize(None).dt.as_unit("us").dt.tz_localize("UTC")


def label_of(column: pd.Series, name: str, outcome: str | None) -> tuple[Floats, str]:
    """
    Read the label: 1, 0, or NaN where it is not known, and what 1 is in the table.

    Args:
        outcome: The value that is to be predicted; None where it is plain.
    """
    # A gap makes 1 and 0 of data frames 1.0 and 0.0.
    values = texts(column).str.replace(r"\.0$", "", regex=True)
    lower, is_known = values.str.lower(), values.notna()
    if outcome is None:
        outcome = max(_PAIRS, key=lambda one: lower.isin([one, _PAIRS[one]]).sum())
        odd = is_known & ~lower.isin([outcome, _PAIRS[outcome]])
        if odd.any():
            hint = "correct it, or name the value to predict by --outcome"
            refuse(name, odd, values, "is neither 1 nor 0", hint=hint)
        values = lower
    label = (values == outcome).astype("float64").mask(~is_known)
    if label.nunique() < 2:
        found = sorted(values.dropna().unique())[:5]
        raise SchemaError(
            f"column {name} is {', '.join(found) or 'empty'} from row 1 to the last",
            hint=f"add rows: a model needs some with {outcome!r} and some without",
        )
    return label.to_numpy(), outcome


def times_of(column: pd.Series, name: str) -> pd.Series:
    """
    Read when each row is of: as moments in UTC, or as numbers that have an order.

    Months without a year are numbers: all are taken to be of one year.
    """
    if is_moments(column):
        values = _moments(column)
    elif pd.api.types.is_numeric_dtype(column):
        values = pd.Series(column.to_numpy(dtype="float64", na_value=np.nan))
        values = values.mask(np.isinf(values))
    else:
        read = texts(column)
        known = pd.Series(read.dropna().unique(), dtype="object")
        quarters = known.str.extract(r"(?i)^(\d{4})[- ]?[QW](\d\d?)$").astype("float64")
        ways = [
            pd.to_numeric(known, errors="coerce"),
            known.map(_month),
            quarters[0] * 100 + quarters[1],
        ]
        for form in _FORMATS:
            ways.append(pd.to_datetime(known, format=form, errors="coerce", utc=True))
        best = max(ways, key=lambda way: way.notna().sum())
        values = read.map(dict(zip(known, best, strict=True)))
        values = _moments(values) if is_moments(values) else values
    if values.isna().any():
        hint = "write 2026-03-01, 2026-03 or Mar, or remove the row"
        refuse(name, values.isna(), column, "is not a time", hint=hint)
    return values


def _month(text: str) -> float:
    """Read the name of a month, whole or cut short; NaN for another text."""
    for number in range(1, 13):
        name = calendar.month_name[number].lower()
        if len(text) >= 3 and name.startswith(text.lower().rstrip(".")):
            return number
    return np.nan


def feature_of(
    column: pd.Series, name: str, times: pd.Series, *, is_category: bool = False
) -> Feature:
    """
    Decide what a column is; a date becomes the days from it to the row's time.

    Args:
        times: As ``times_of`` returns them.
        is_category: Whether numbers in it are names of something.

    Raises:
        SchemaError: A number is infinite, or a text stands among numbers.
    """
    if pd.api.types.is_timedelta64_dtype(column):
        column = column.dt.total_seconds()
    if is_moments(column):
        return _days(column, times)
    if pd.api.types.is_numeric_dtype(column) and not is_category:
        return _number(column.to_numpy(dtype="float64", na_value=np.nan), name)
    read = texts(column)
    gaps = read.str.lower().isin(_GAPS)
    words = read[read.notna() & ~gaps]
    is_number = pd.to_numeric(words, errors="coerce").notna()
    is_written = is_number | words.str.fullmatch(_WRITTEN)
    is_code = words.str.fullmatch(_CODE).any()
    if is_category or is_code or 2 * is_written.sum() <= len(words):
        moments = pd.to_datetime(read, format="ISO8601", errors="coerce", utc=True)
        is_day = moments[words.index].notna() & words.str.match(_DAY)
        if len(words) and not is_category and is_day.all():
            return _days(moments, times)
        return _category(read)
    if not is_number.all():
        odd = words[~is_number].index[0]
        hint = (
            "write it like 1234.5, leave it empty, or, if the column's numbers are "
            f"names, add --category {name}"
        )
        problem = "is not a number, but most of the column is"
        refuse(name, read.index == odd, read, problem, hint=hint)
    numbers = pd.to_numeric(read.mask(gaps), errors="coerce")
    return _number(numbers.to_numpy(dtype="float64"), name)


def _number(values: Floats, name: str) -> Feature:
    if np.isinf(values).any():
        hint = "leave it empty, or write a large number"
        refuse(name, np.isinf(values), pd.Series(values), "is infinite", hint=hint)
    if np.isnan(values).all() or np.ptp(values) == 0:
        return Feature(why="empty, or the same in every row")
    if np.all(np.diff(values) == 1):
        return Feature(why="the number of the row")
    return Feature(kind="number", values=values)


def _category(read: pd.Series) -> Feature:
    count = read.nunique(dropna=False)
    if count < 2:
        return Feature(why="empty, or the same in every row")
    if count > _MOST_VALUES and 2 * count > len(read):
        return Feature(why=f"text with {count:,} values")
    return Feature(kind="category", values=read.to_numpy())


def _days(moments: pd.Series, times: pd.Series) -> Feature:
    if not is_moments(times):
        return Feature(why="dates, and the rows' times are none")
    days = (times - _moments(moments)).dt.total_seconds() / 86_400
    feature = _number(days.to_numpy(dtype="float64"), "")
    return replace(feature, is_date=True)
