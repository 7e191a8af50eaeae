"""
The columns of a labelled table: what each holds, and its faults.

Errors name column, row and value, and say what to do. Rows are counted from 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any, Literal, NoReturn

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from propensity.errors import SchemaError
from propensity.models.encoding import Floats
from propensity.timeframe import FEWEST_SNAPSHOTS

# Spreadsheets and data frames write these where a column of numbers has a gap.
_GAPS = ["", "na", "n/a", "#n/a", "nan", "null", "none", "?", "-"]
# Numbers for people: with a currency, separators of thousands, a percent sign.
_WRITTEN = r"[-+]?[$€£]? ?\d{1,3}([,. ']?\d{3})*([.,]\d+)? ?[%€$£]?"
# Postcodes and account numbers: their zeros count.
_CODE = r"-?0\d+"
# Digits without dashes may be anything.
_DAY = r"\d{4}-\d\d.*"
# This says how far a clock is from UTC; the digits before it stay.
_OFFSET = r"(:\d\d(?:[.,]\d+)?) ?(?:Z|UTC|[+-]\d\d(?::?\d\d)?)$"
# Texts with more values, each of fewer than two rows on average, are ids or prose.
_MOST_VALUES = 50
# How texts may say when a row is of, beside numbers, quarters and names of months.
_FORMATS = ("ISO8601", "%Y-%m", "%Y/%m", "%d.%m.%Y", "%b %Y", "%B %Y", "%Y %b", "%b-%y")
# Values of a label, and their opposites.
_PAIRS = {"1": "0", "yes": "no", "y": "n", "true": "false", "t": "f"}
_CONSTANT = "empty, or the same in every row"
# A table with more times than that has no list of them.
_MOST_TIMES = 60
# Steps in time that have no date count from this day on, which no page shows.
_FIRST_DAY = date(2001, 1, 1)
# Fewer outcomes are too few to train, to choose or to test by.
FEWEST = 5


@dataclass(frozen=True, kw_only=True)
class Feature:
    """
    A column as a model reads it.

    Attributes:
        kind: A date is the days from it to the row's time; None where it is left out.
        values: One a row.
        why: Why it is left out.
        leak: Why it may know the outcome.
    """

    kind: Literal["number", "category", "date"] | None = None
    values: Any = None
    why: str = ""
    leak: str = ""


def refuse(column: pd.Series, rows: pd.Series, problem: str, *, hint: str) -> NoReturn:
    """Raise SchemaError about the first value whose flag is set."""
    row = rows.index[int(np.argmax(rows))]
    value = "" if pd.isna(column[row]) else str(column[row])
    where = f"column {column.name}, row {row + 1}"
    raise SchemaError(f"{where}: {value!r} {problem}", hint=hint)


def texts(column: pd.Series) -> pd.Series:
    """Return values as stripped texts; null where there is none."""
    values = column.astype("object").map(lambda v: str(v).strip(), na_action="ignore")
    return values.where(values.notna() & (values != ""), None).astype("object")


def is_moments(column: pd.Series) -> bool:
    """Tell whether a column holds dates or times."""
    return bool(pd.api.types.is_datetime64_any_dtype(column))


def _by_their_clock(moments: pd.Series) -> pd.Series:
    """
    Return times by the clock that they were written by, as if it was UTC.

    Microseconds reach the years 1 and 9999, which stand for never.
    """
    return moments.dt.tz_localize(None).dt.as_unit("us").dt.tz_localize("UTC")


def _read_moments(read: pd.Series, form: str = "ISO8601") -> pd.Series:
    """Read texts by the clock that they were written by; null where one is no time."""
    bare = read.str.replace(_OFFSET, r"\1", regex=True)
    return pd.to_datetime(bare, format=form, errors="coerce", utc=True)


def label_of(column: pd.Series, outcome: str | None) -> tuple[pd.Series, str]:
    """
    Read the label: 1, 0, or null where it is not known, and what 1 is in the table.

    The outcome is the value to predict; None where it is plain.
    """
    # A gap makes 1 and 0 of data frames 1.0 and 0.0.
    values = texts(column).str.replace(r"\.0$", "", regex=True)
    is_known = values.notna()
    if outcome is None:
        values = values.str.lower()
        outcome = max(_PAIRS, key=lambda one: values.isin([one, _PAIRS[one]]).sum())
        odd = is_known & ~values.isin([outcome, _PAIRS[outcome]])
        if odd.any():
            hint = "correct it, or name the value to predict by --outcome"
            refuse(column, odd, "is neither 1 nor 0", hint=hint)
    label = (values == outcome).astype("float64").mask(~is_known)
    if label.nunique() < 2:
        found = ", ".join(sorted(values.fillna("empty").unique())[:5]) or "empty"
        raise SchemaError(
            f"column {column.name} is {found} from row 1 to the last",
            hint=f"Add rows: a model needs some with {outcome!r} and some with another "
            "value; an empty one is not known yet",
        )
    return label, outcome


def times_of(column: pd.Series) -> pd.Series:
    """
    Read when each row is of: as moments in UTC, or as numbers that have an order.

    Months without a year are numbers: all are taken to be of one year.
    """
    if is_moments(column):
        values = _by_their_clock(column)
    elif pd.api.types.is_numeric_dtype(column):
        values = column.astype("Float64").astype("float64")
        values = values.mask(np.isinf(values))
    else:
        read = texts(column)
        known = pd.Series(read.dropna().unique(), dtype="object")
        quarters = known.str.extract(r"(?i)^(\d{4})[- ]?[QW](\d\d?)$").astype("float64")
        months = known.str.extract(r"^([A-Za-z]{3})[a-z]*\.?$")[0]
        ways = [
            pd.to_numeric(known, errors="coerce"),
            pd.to_datetime(months, format="%b", errors="coerce").dt.month,
            quarters[0] * 100 + quarters[1],
        ]
        for form in _FORMATS:
            ways.append(_read_moments(known, form))
        best = max(ways, key=lambda way: way.notna().sum())
        values = read.map(dict(zip(known, best, strict=True)))
        values = _by_their_clock(values) if is_moments(values) else values
    if values.isna().any():
        hint = "write 2026-03-01, 2026-03 or Mar, or remove the row"
        refuse(column, values.isna(), "is not a time", hint=hint)
    return values


def feature_of(column: pd.Series, times: pd.Series) -> Feature:
    """Decide what a column is; SchemaError for infinity, or text among numbers."""
    if pd.api.types.is_timedelta64_dtype(column):
        column = column.dt.total_seconds()
    if is_moments(column):
        return _days(column, times)
    if pd.api.types.is_numeric_dtype(column):
        return _number(column.astype("Float64").astype("float64"))
    read = texts(column)
    words = read.mask(read.str.lower().isin(_GAPS)).dropna()
    is_number = pd.to_numeric(words, errors="coerce").notna()
    is_written = is_number | words.str.fullmatch(_WRITTEN)
    if words.str.fullmatch(_CODE).any() or 2 * is_written.sum() <= len(words):
        moments = _read_moments(read)
        is_day = moments[words.index].notna() & words.str.fullmatch(_DAY)
        is_date = len(words) and is_day.all()
        return _days(moments, times) if is_date else category_of(read)
    if not is_number.all():
        hint = (
            "write it like 1234.5, leave it empty, or, if the column's numbers are "
            f"names, add --category {column.name}"
        )
        problem = "is not a number, but most of the column is"
        refuse(column, ~is_number, problem, hint=hint)
    return _number(pd.to_numeric(words).reindex(read.index).astype("float64"))


def category_of(column: pd.Series) -> Feature:
    """Return a column's values as names of something."""
    read = texts(column)
    count = read.nunique(dropna=False)
    if count < 2:
        return Feature(why=_CONSTANT)
    if count > _MOST_VALUES and 2 * count > len(read):
        return Feature(why=f"text with {count:,} values")
    return Feature(kind="category", values=read)


def _number(values: pd.Series) -> Feature:
    is_infinite = np.isinf(values)
    if is_infinite.any():
        hint = "leave it empty, or write a large number"
        refuse(values, is_infinite, "is infinite", hint=hint)
    if values.nunique(dropna=False) < 2:
        return Feature(why=_CONSTANT)
    if (values.diff()[1:] == 1).all():
        return Feature(why="the number of the row")
    return Feature(kind="number", values=values)


def _days(moments: pd.Series, times: pd.Series) -> Feature:
    if not is_moments(times):
        return Feature(why="dates, but the rows' times are not dates")
    days = (times - _by_their_clock(moments)).dt.total_seconds() / 86_400
    # A month may be written as its first day.
    is_late = days < (-31 if (times.dt.day == 1).all() else -1)
    if is_late.any():
        row = is_late.index[is_late.argmax()] + 1
        leak = f"holds days after the row's time, first in row {row}"
        return Feature(why="it knows the future", leak=leak)
    feature = _number(days)
    return replace(feature, kind="date") if feature.kind else feature


# -- steps of time ---------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Steps:
    """
    Rows in steps of time.

    Attributes:
        of: The step of each row, from 0 on, (rows,).
        days: A date for each step.
        names: What each is called.
        horizon_days: After so many of these days a label is known.
    """

    of: NDArray[np.int64]
    days: list[date]
    names: list[str]
    horizon_days: int = 1


def steps_of(
    times: pd.Series, shown: pd.Series, label: pd.Series, horizon: int | None
) -> Iterator[Steps]:
    """
    Yield ways to put rows into steps, the most natural first.

    Months, weeks or days; else the table's own times where they are few; else blocks of
    equal size and, for a rare outcome, three: the newest tenth of the rows, or more,
    with a quarter of it, a third of the rest, and all that remains.

    Args:
        times: As ``times_of`` returns them; ``shown`` as the table has them.
        horizon: Days until a label is known; None for until the next step.
    """
    is_dated = is_moments(times)
    if is_dated and (periods := _periods(times, horizon=horizon)):
        yield periods
    if horizon is not None:
        if not is_dated:
            raise SchemaError(
                f"--horizon-days needs dates, and row 1 has {str(shown.iloc[0])!r}",
                hint="Write the times as 2026-03-01, or leave --horizon-days out",
            )
        return
    values = times.astype("int64" if is_dated else "float64").to_numpy(np.float64)
    distinct = np.unique(values)
    if len(distinct) <= _MOST_TIMES:
        yield _blocks(values, shown, distinct)
        return
    yield _blocks(values, shown, np.quantile(values, np.arange(10) / 10))
    found = np.sort(values[label == 1])
    if len(found) < 3 * FEWEST:
        return
    newest = min(found[-len(found) // 4], np.quantile(values, 0.9))
    left = found[found < newest]
    if len(left):
        later = left[-max(FEWEST, len(left) // 3) :]
        yield _blocks(values, shown, np.array([distinct[0], later[0], newest]))


def _periods(times: pd.Series, *, horizon: int | None) -> Steps | None:
    """Return months, weeks or days, whichever are enough first; None if none are."""
    days = times.dt.tz_localize(None)
    # A horizon is in days: so days are taken, and refused if there are too few.
    fewest_days = FEWEST_SNAPSHOTS if horizon is None else 1
    for unit, fewest in (("M", 4), ("W", 4), ("D", fewest_days)):
        starts = days.dt.to_period(unit).dt.start_time
        if starts.nunique() >= fewest:
            found, of = np.unique(starts.dt.date, return_inverse=True)
            if horizon is None:
                gap = min(np.diff(found)).days
            else:
                gap = horizon + int((days - starts).dt.days.max())
            names = [f"{day:%Y-%m}" if unit == "M" else str(day) for day in found]
            return Steps(of=of, days=[*found], names=names, horizon_days=gap)
    return None


def _blocks(values: Floats, shown: pd.Series, starts: Floats) -> Steps:
    """Return steps that begin at these values, each named by its first and last."""
    at = np.searchsorted(np.unique(starts), values, "right")
    _, of = np.unique(at, return_inverse=True)
    days, names = [], []
    for step in range(of.max() + 1):
        inside = np.flatnonzero(of == step)
        ends = inside[[values[inside].argmin(), values[inside].argmax()]]
        names.append(" to ".join(dict.fromkeys(str(shown.iloc[end]) for end in ends)))
        days.append(_FIRST_DAY + timedelta(days=step))
    return Steps(of=of, days=days, names=names)
