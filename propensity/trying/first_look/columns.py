"""
The columns of a labelled table: what each holds, and its faults.

What a person has typed is believed; of texts most decide, and a value that is something
else is refused. Errors name column, row and value, and say what to do. Rows are counted
from 1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from propensity.errors import SchemaError
from propensity.learning.task import FeatureKind
from propensity.models.encoding import Floats
from propensity.suggestions import instead
from propensity.table_files.texts import (
    DIGITS,
    FEW,
    GAPS,
    PAIRS,
    WITH_COMMA,
    WRITTEN,
    DayForm,
    Words,
    clean_numbers,
    codes_of,
    different_texts,
    has_decimal_commas,
    is_like_a_day,
    may_have_commas,
    moments_of,
    numbers_of,
    refuse,
    texts,
)
from propensity.timeframe import FEWEST_SNAPSHOTS

# Days before and after these years stand for never.
_FIRST_YEAR = 1901
_LAST_YEAR = 2199
# Texts with more values, each of fewer than two rows on average, are ids or prose.
_MOST_VALUES = 50
# How data frames and spreadsheets call the column with the number of the row.
_ROW_NUMBERS = ("", "index", "level_0", "Unnamed: 0")
# 1.0 and 1,0 are 1.
_DECIMALS = r"(?<=\d)(\.0+|,00?)$"
_CONSTANT = "empty, or the same in every row"
# A table with more times than that has no list of them.
_MOST_TIMES = 60
# Steps in time that have no date count from this day on, which no page shows.
_FIRST_DAY = date(2001, 1, 1)
# Parts of a table without times: of five one chooses and one is the test set.
_PARTS = 5
# Fewer outcomes are too few to train, to choose or to test by.
FEWEST = 5


@dataclass(frozen=True, kw_only=True)
class Feature:
    """
    A column as a model reads it.

    Attributes:
        kind: A date is the days from it to the row's time, or, of a plan, the days from
            the row's time to it; None where it is left out.
        values: One a row.
        why: Why it is left out.
        leak: Why it may know the outcome.
        form: How dates are written; None where they are dates by their type.
        has_commas: Whether numbers have commas before decimals.
        until: Up to when days are counted in a table without times.
        is_plan: Whether its dates are known in advance.
    """

    kind: Literal["number", "category", "date"] | None = None
    values: Any = None
    why: str = ""
    leak: str = ""
    form: DayForm | None = None
    has_commas: bool = False
    until: pd.Timestamp | None = None
    is_plan: bool = False

    @property
    def model_kind(self) -> FeatureKind:
        """The kind that a model is told: days until a date are numbers."""
        return "category" if self.kind == "category" else "number"

    def array(self, values: Any) -> pa.Array:
        """Return values as a training has them."""
        kind = pa.string() if self.model_kind == "category" else pa.float64()
        return pa.array(values, kind, from_pandas=True)


def is_moments(column: pd.Series) -> bool:
    """Tell whether a column holds dates or times."""
    return bool(pd.api.types.is_datetime64_any_dtype(column))


def is_number(column: pd.Series) -> bool:
    """Tell whether a column holds numbers by its type; truths are none."""
    is_numeric = pd.api.types.is_numeric_dtype(column)
    return is_numeric and column.dtype.kind not in "bc"


def unpacked(column: pd.Series) -> pd.Series:
    """
    Return a column whose values are not packed by Arrow.

    A period is its first day.
    """
    if isinstance(column.dtype, pd.PeriodDtype):
        return column.dt.start_time
    if isinstance(column.dtype, pd.ArrowDtype):
        values = pa.chunked_array(pa.array(column)).to_pandas()
        return values.set_axis(column.index).rename(column.name)
    return column


def frame_of(table: pd.DataFrame | pa.Table) -> pd.DataFrame:
    """Return a table's columns by texts, with rows that are counted from 0."""
    frame = table
    if isinstance(table, pa.Table):
        frame = table.to_pandas()
        # Of a table of texts alone, such as CSV, nobody has said that they are texts.
        if all(pa.types.is_string(kind) for kind in table.schema.types):
            frame = frame.astype("object")
    values = [unpacked(column) for _, column in frame.items()]
    read = pd.DataFrame(index=frame.index)
    if values:
        read = pd.concat(values, axis=1)
    read.columns = pd.Index([str(column) for column in frame.columns])
    for position, name in enumerate(frame.index.names):
        if name is not None and str(name) not in read.columns:
            read.insert(0, str(name), frame.index.get_level_values(position))
    return read.reset_index(drop=True)


def check_users(
    frame: pd.DataFrame, user: str, time: str | None, times: pd.Series | None
) -> None:
    """Make sure that each row has a user, and each user one row at a time."""
    users = frame[user]
    ids = texts(users)
    if ids.isna().any():
        hint = "fill it in, or remove the row"
        refuse(users, ids.isna(), "is not a user", hint=hint)
    twice = pd.DataFrame({"user": ids, "time": times}).duplicated()
    if time is not None and twice.any():
        problem = f"has another row at {frame[time][twice.argmax()]}"
        hint = f"keep one row for each {user} and {time}"
        refuse(users, twice, problem, hint=hint)


def check_once(users: pd.Series, problem: str, hint: str) -> None:
    """Make sure that no user has two rows."""
    twice = texts(users).duplicated()
    if twice.any():
        refuse(users, twice, problem, hint=hint)


# -- the label -------------------------------------------------------------------------


def key_of(value: object) -> str:
    """Return a value as it is compared: neither case counts nor a decimal zero."""
    return re.sub(_DECIMALS, "", str(value).strip().lower())


def is_label(column: pd.Series) -> bool:
    """Tell whether all values of a column are 1 or 0, yes or no, or not known."""
    keys = texts(column).map(key_of, na_action="ignore").dropna()
    known = set(keys[~keys.str.fullmatch(rf"{GAPS}|unknown")])
    return bool(known) and any(known <= {key, PAIRS[key]} for key in PAIRS)


def label_of(column: pd.Series, outcome: object | None) -> tuple[pd.Series, str]:
    """
    Read the label: 1, 0, or null where it is not known, and what 1 is in the table.

    Case does not count, nor whether 1 is written as 1.0 or 1,0.

    Args:
        outcome: The value to predict; None where it is plain.
    """
    values = texts(column).str.replace(_DECIMALS, "", regex=True)
    keys = values.str.lower()
    wanted = None if outcome is None else key_of(outcome)
    # Who predicts "unknown" knows what it is.
    is_gap = keys.fillna("").str.fullmatch(rf"({GAPS}|unknown)?").astype("bool")
    is_known = ~is_gap | (keys == wanted)
    if wanted is None:
        wanted = max(PAIRS, key=lambda key: keys.isin([key, PAIRS[key]]).sum())
        odd = is_known & ~keys.isin([wanted, PAIRS[wanted]])
        if odd.any():
            hint = (
                "correct it, or name the value to predict by --outcome. A sum can only "
                "be the label of an experiment, with --treatment"
            )
            refuse(column, odd, "is neither 1 nor 0", hint=hint)
    spellings = values[keys == wanted].unique()
    if outcome is not None and not len(spellings):
        names = sorted(values[is_known].unique())[:10]
        hint = instead(str(outcome), names, kind="Its values")
        raise SchemaError(f"no row of {column.name} is {outcome!r}", hint=hint)
    if len(spellings) > 1 and wanted not in PAIRS:
        problem = f"column {column.name} has {' and '.join(spellings[:2])}"
        raise SchemaError(problem, hint="Write the values of the label in one way")
    label = (keys == wanted).astype("float64").mask(~is_known)
    if label.nunique() < 2:
        only = "no value"
        if is_known.any():
            only = f"only the value {values[is_known].iloc[0]!r}"
        raise SchemaError(
            f"column {column.name} has {only}",
            hint=f"Add rows: a model needs some with {wanted!r} and some with another "
            "value. An empty one is not known yet",
        )
    return label, spellings[0]


# -- times -----------------------------------------------------------------------------


def _by_their_clock(moments: pd.Series) -> pd.Series:
    """
    Return times by the clock that they were written by, as if it was UTC.

    Microseconds reach the years 1 and 9999, which stand for never.
    """
    return moments.dt.tz_localize(None).dt.as_unit("us").dt.tz_localize("UTC")


def times_of(column: pd.Series) -> pd.Series:
    """
    Read when each row is of: as moments in UTC, or as numbers that have an order.

    Months without a year are numbers: all are taken to be of one year.
    """
    if is_moments(column):
        values = _by_their_clock(column)
    else:
        words = Words.of(column)
        numbers = numbers_of(words)
        months = words.different.str.extract(r"^([A-Za-z]{3})[a-z]*\.?$")[0]
        ways = [
            _by_their_clock(moments_of(words).clock),
            numbers.mask(np.isinf(numbers)),
            pd.to_datetime(months, format="%b", errors="coerce").dt.month,
        ]
        best = max(ways, key=lambda way: words.rows[way.notna()].sum())
        values = words.by_row(best)
    if values.isna().any():
        hint = "write 2026-03-01, 2026-03 or Mar, or remove the row"
        refuse(column, values.isna(), "is not a time", hint=hint)
    return values


# -- features --------------------------------------------------------------------------


def have_decimal_commas(frame: pd.DataFrame) -> bool:
    """Tell whether a column of a table has numbers with a comma before decimals."""
    for _, column in frame.items():
        if may_have_commas(column) and has_decimal_commas(Words.of(column)):
            return True
    return False


def feature_of(
    column: pd.Series,
    times: pd.Series | None,
    *,
    has_commas: bool = False,
    is_plan: bool = False,
) -> Feature:
    """
    Decide what a column is.

    Args:
        times: Of the rows; None where they have none.
        has_commas: Whether the table's numbers have commas before decimals.
        is_plan: Whether it has dates that are known in advance.
    """
    if pd.api.types.is_timedelta64_dtype(column):
        return _number(column, column.dt.total_seconds())
    if is_moments(column):
        return _days(_by_their_clock(column), times, is_plan=is_plan)
    is_typed = isinstance(column.dtype, pd.CategoricalDtype) or column.dtype.kind == "b"
    if is_typed or not column.count():
        return category_of(column)
    numbers = None
    if is_number(column):
        numbers = _floats(column)
    elif not isinstance(column.dtype, pd.StringDtype):
        numbers = clean_numbers(column, has_commas=has_commas)
    first, last = DIGITS
    if numbers is not None and (numbers.min() < first or numbers.max() > last):
        return _number(column, numbers)
    return _of_texts(column, numbers, times, has_commas=has_commas, is_plan=is_plan)


def _of_texts(
    column: pd.Series,
    numbers: pd.Series | None,
    times: pd.Series | None,
    *,
    has_commas: bool,
    is_plan: bool,
) -> Feature:
    """Decide what a column of texts is, or of numbers that may be days."""
    words = Words.of(column)
    if not len(words):
        return Feature(why=_CONSTANT)
    newest = None if times is None or not is_moments(times) else times.max()
    read = moments_of(words, newest=newest)
    if words.share(read.clock.notna()) > 0.5:
        odd = _odd(column, "a date", "2026-03-01")
        moments = _by_their_clock(words.every(read.clock, *odd)).rename(column.name)
        return replace(_days(moments, times, is_plan=is_plan), form=read.form)
    if numbers is not None:
        return _number(column, numbers)
    return _number_or_category(words, has_commas=has_commas)


def _number_or_category(words: Words, *, has_commas: bool) -> Feature:
    """Decide what a column of texts is, by those that are no gaps."""
    column = words.column
    numbers = numbers_of(words)
    # Without a person's word, data frames make numbers of them.
    is_typed = isinstance(column.dtype, pd.StringDtype) and len(words) == column.count()
    is_category = is_typed and numbers.notna().all()
    has_commas = has_commas and words.share(words.matching(WITH_COMMA)) > 0.5
    if has_commas:
        numbers = numbers_of(words, has_commas=True)
    is_written = numbers.notna() | words.matching(WRITTEN)
    is_code = codes_of(words)
    is_category |= words.share(is_written) <= 0.5 or words.share(is_code) > FEW
    if is_category or (is_code.any() and words.different.str.len().nunique() == 1):
        _refuse_days(words)
        return category_of(column)
    values = words.every(numbers.mask(is_code), *_odd(column, "a number", "1234.5"))
    return replace(_number(column, values), has_commas=has_commas)


def _refuse_days(words: Words) -> None:
    """Refuse texts that may be dates: of a category nobody sees that it is a leak."""
    first = words.different.head(_MOST_VALUES).map(is_like_a_day)
    if not first.any():
        return
    is_day = words.different.map(is_like_a_day).astype("bool")
    if words.share(is_day) > 0.5:
        column = words.column
        hint = (
            "write it like 2026-03-01; or, if it is no date, add --category "
            f"{column.name}, or leave the column out by --without {column.name}"
        )
        problem = "may be a date, in a form that cannot be read"
        refuse(column, words.by_row(is_day).eq(True), problem, hint=hint)


def share_filled(feature: Feature, column: pd.Series) -> float:
    """Return the share of rows in which a feature has a value; 0 without rows."""
    # Of names, those that are gaps among numbers are values.
    if feature.kind == "category":
        count = texts(column).count()
    else:
        count = len(Words.of(column))
    return float(count) / max(len(column), 1)


def _odd(column: pd.Series, what: str, example: str) -> tuple[str, str]:
    """Say what is wrong with a value that is not like most, and what to do."""
    hint = (
        f"write it like {example}, leave it empty, or, if the column has names of "
        f"something, add --category {column.name}"
    )
    return f"is not {what}, but most of the column is", hint


def names_of(column: pd.Series) -> pd.Series:
    """Return values as names of something: of 1, 1.0 and true one each."""
    codes, different = different_texts(column)
    written = different.str.replace(r"^(-?(?:0|[1-9]\d*))\.0+$", r"\1", regex=True)
    is_truth = written.str.lower().isin(["true", "false"])
    written = written.mask(is_truth, written.str.capitalize())
    # Texts of Arrow: those of Python would take ten times the memory.
    names = pa.array(written, pa.string(), from_pandas=True)
    values = names.take(pa.array(codes, mask=codes < 0))
    return pd.Series(values.to_pandas(), dtype="str").set_axis(column.index)


def category_of(column: pd.Series) -> Feature:
    """Return a column's values as names of something."""
    read = names_of(column)
    count = read.nunique(dropna=False)
    if count < 2:
        return Feature(why=_CONSTANT)
    if count > _MOST_VALUES and 2 * count > len(read):
        return Feature(why=f"text with {count:,} values")
    return Feature(kind="category", values=read)


def _check_finite(column: pd.Series, values: pd.Series) -> None:
    is_infinite = np.isinf(values)
    if is_infinite.any():
        hint = f"leave it empty, or, if it is a name, add --category {column.name}"
        refuse(column, is_infinite, "is infinite or too large a number", hint=hint)


def _number(column: pd.Series, values: pd.Series) -> Feature:
    _check_finite(column, values)
    low = values.min()
    high = values.max()
    if not low < high and values.count() in {0, len(values)}:
        return Feature(why=_CONSTANT)
    if (values % 1 == 0).all():
        # Numbers that are counted up: rows may have been sorted or left out since.
        is_counted = high - low < 3 * len(values) and values.is_unique
        if is_counted or column.name in _ROW_NUMBERS:
            return Feature(why="the number of the row")
    return Feature(kind="number", values=values)


def _floats(column: pd.Series) -> pd.Series:
    """Return a column of numbers as floats, NaN where there is none."""
    if isinstance(column.dtype, np.dtype):
        return column.astype("float64")
    return column.astype("Float64").astype("float64")


def _days(
    moments: pd.Series, times: pd.Series | None, *, is_plan: bool = False
) -> Feature:
    """
    Return the days from dates to the rows' times, or to the last of the dates.

    Of a plan they are counted the other way round.
    """
    until = None
    if times is None:
        until = _without_never(moments).max()
        times = pd.Series(until, moments.index, dtype=moments.dtype)
    if not is_moments(times):
        return Feature(why="dates, but the rows' times are not dates")
    days = _days_to(times, moments)
    is_late = _is_late(days, times)
    if is_plan:
        days = -days
    elif is_late.any():
        row = is_late.index[is_late.argmax()] + 1
        leak = (
            f"holds days after the row's time, first in row {row}: if they are known "
            f"in advance, add --plans {moments.name}"
        )
        return Feature(why="it knows the future", leak=leak)
    if days.nunique(dropna=False) < 2:
        return Feature(why=_CONSTANT)
    return Feature(kind="date", values=days, until=until, is_plan=is_plan)


def _without_never(moments: pd.Series) -> pd.Series:
    """Return dates; null where one stands for never."""
    return moments.where(moments.dt.year.between(_FIRST_YEAR, _LAST_YEAR))


def _days_to(times: pd.Series, moments: pd.Series) -> pd.Series:
    """Return the days from dates to times."""
    return (times - _without_never(moments)).dt.total_seconds() / 86_400


def _is_late(days: pd.Series, times: pd.Series) -> pd.Series:
    """Return which dates are after the rows' times; a month may be its first day."""
    return days < (-31 if (times.dt.day == 1).all() else -1)


# -- further rows ----------------------------------------------------------------------


def read_as(feature: Feature, column: pd.Series, times: pd.Series | None) -> pd.Series:
    """
    Read a column of further rows as a feature: what it is, is decided already.

    Args:
        times: Of the rows; None where they have none.
    """
    if feature.kind == "category":
        return names_of(column)
    if feature.kind == "number":
        return _read_numbers(feature, column)
    if is_moments(column):
        moments = column
    else:
        words = Words.of(column)
        read = moments_of(words, form=feature.form)
        moments = words.every(read.clock, *_odd(column, "a date", "2026-03-01"))
    moments = _by_their_clock(moments)
    if times is None:
        times = pd.Series(feature.until, column.index, dtype=moments.dtype)
    days = _days_to(times, moments)
    if feature.is_plan:
        return -days
    is_late = _is_late(days, times)
    if is_late.any():
        problem = f"is after the row's time, {times[is_late.idxmax()]:%Y-%m-%d}"
        refuse(column, is_late, problem, hint="correct it, or leave it empty")
    return days


def _read_numbers(feature: Feature, column: pd.Series) -> pd.Series:
    """Read a column of further rows as the numbers of a feature."""
    if pd.api.types.is_timedelta64_dtype(column):
        values = column.dt.total_seconds()
    elif is_number(column):
        values = _floats(column)
    else:
        words = Words.of(column)
        numbers = numbers_of(words, has_commas=feature.has_commas)
        values = words.every(numbers, *_odd(column, "a number", "1234.5"))
    _check_finite(column, values)
    return values


# -- steps of time ---------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Steps:
    """
    Rows in steps of time.

    Attributes:
        step_of_row: The step of each row, from 0 on, (rows,).
        days: A date for each step.
        names: What each is called.
        horizon_days: After so many of these days a label is known.
    """

    step_of_row: NDArray[np.int64]
    days: list[date]
    names: list[str]
    horizon_days: int = 1


def random_steps(users: pd.Series) -> Steps:
    """Put users, and all rows of each, into parts at random: the same each time."""
    hashes = pd.util.hash_array(users.to_numpy(dtype="object"))
    numbers = np.unique(hashes, return_inverse=True)[1]
    parts = numbers * _PARTS // (numbers.max() + 1)
    days = [_FIRST_DAY + timedelta(days=part) for part in range(_PARTS)]
    names = [f"part {part} of {_PARTS}" for part in range(1, _PARTS + 1)]
    return Steps(step_of_row=parts, days=days, names=names)


def steps_of(times: pd.Series, shown: pd.Series, horizon: int | None) -> Steps:
    """
    Put rows into months, weeks or days; else by the table's own times, or ten blocks.

    Args:
        times: As ``times_of`` returns them; ``shown`` as the table has them.
        horizon: Days until a label is known; None for until the next step.
    """
    if is_moments(times):
        periods = _periods(times, horizon=horizon)
        if periods is not None:
            return periods
    elif horizon is not None:
        raise SchemaError(
            f"--horizon-days needs dates, and row 1 has {str(shown.iloc[0])!r}",
            hint="Write the times as 2026-03-01, or leave --horizon-days out",
        )
    values = times.astype("int64" if is_moments(times) else "float64").to_numpy(float)
    starts = np.unique(values)
    if len(starts) > _MOST_TIMES:
        starts = np.quantile(values, np.arange(10) / 10)
    return _blocks(values, shown, starts)


def _periods(times: pd.Series, *, horizon: int | None) -> Steps | None:
    """Return months, weeks or days, whichever are enough first; None if none are."""
    days = times.dt.tz_localize(None)
    # A horizon is in days: so days are taken, and refused if there are too few.
    fewest_days = FEWEST_SNAPSHOTS if horizon is None else 1
    for unit, fewest in (("M", 4), ("W", 4), ("D", fewest_days)):
        starts = days.dt.to_period(unit).dt.start_time
        if starts.nunique() >= fewest:
            first_days, step_of_row = np.unique(starts.dt.date, return_inverse=True)
            if horizon is None:
                gap = min(np.diff(first_days)).days
            else:
                gap = horizon + int((days - starts).dt.days.max())
            form = "%Y-%m" if unit == "M" else "%Y-%m-%d"
            return Steps(
                step_of_row=step_of_row,
                days=list(first_days),
                names=[day.strftime(form) for day in first_days],
                horizon_days=gap,
            )
    return None


def _blocks(values: Floats, shown: pd.Series, starts: Floats) -> Steps:
    """Return steps that begin at these values, each named by its first and last."""
    positions = np.searchsorted(np.unique(starts), values, "right")
    step_of_row = np.unique(positions, return_inverse=True)[1]
    days = []
    names = []
    for step in range(step_of_row.max() + 1):
        rows = np.flatnonzero(step_of_row == step)
        first = str(shown.iloc[rows[values[rows].argmin()]])
        last = str(shown.iloc[rows[values[rows].argmax()]])
        names.append(first if first == last else f"{first} to {last}")
        days.append(_FIRST_DAY + timedelta(days=step))
    return Steps(step_of_row=step_of_row, days=days, names=names)
