"""
A column of a stranger's table: what it holds, decided once, and read by one rule.

What a person has typed is believed; of texts most decide, and a value that is something
else is refused, in the rows that decide and in further ones. A word that most rows have
in place of a value decides nothing. Errors name column, row and value, and say what to
do. Rows are counted from 1.
"""

from __future__ import annotations

import shlex
import unicodedata
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa

from propensity.table_files.texts import (
    DIGITS,
    FEW,
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

# Days before and after these years stand for never, as do the first year and the last.
_FIRST_YEAR = 1901
_LAST_YEAR = 2199
_NEVER = (1, 9999)
# Texts with more values, each of fewer than two rows on average, are ids or prose.
_MOST_VALUES = 50
# How data frames and spreadsheets call the column with the number of the row.
_ROW_NUMBERS = ("", "index", "level_0", "Unnamed: 0")
_CONSTANT = "empty, or the same in every row"
# Why a column of texts is left out begins so.
TEXT = "text"
_NUMBER = ("a number", "1234.5")
_DATE = ("a date", "2026-03-01")


@dataclass(frozen=True, kw_only=True)
class Feature:
    """
    A column as a model reads it.

    Attributes:
        kind: A date is the days from it to the row's time, or, of a plan, the days from
            the row's time to it; None where it is left out.
        values: One a row, of the rows that it was decided by.
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

    @classmethod
    def decide(
        cls,
        column: pd.Series,
        times: pd.Series | None,
        *,
        has_commas: bool = False,
        is_category: bool = False,
        is_plan: bool = False,
    ) -> Feature:
        """
        Decide what a column is, and read it.

        Args:
            times: Of the rows; None where they have none.
            has_commas: Whether the table's numbers have commas before decimals.
            is_category: Whether a person says that its values are names of something.
            is_plan: Whether it has dates that are known in advance.
        """
        is_typed = isinstance(column.dtype, pd.CategoricalDtype)
        is_typed = is_typed or column.dtype.kind == "b"
        if is_category or is_typed or not column.count():
            return _category(column)
        if pd.api.types.is_timedelta64_dtype(column):
            return _number(column, column.dt.total_seconds())
        if is_moments(column):
            return _days(column, by_their_clock(column), times, is_plan=is_plan)
        numbers = None
        if _is_number(column):
            numbers = _floats(column)
        elif not isinstance(column.dtype, pd.StringDtype):
            numbers = clean_numbers(column, has_commas=has_commas)
        first, last = DIGITS
        if numbers is not None and (numbers.min() < first or numbers.max() > last):
            return _number(column, numbers)
        words = Words.of(column)
        if not len(words):
            return cls(why=_CONSTANT)
        newest = None if times is None or not is_moments(times) else times.max()
        read = moments_of(words, newest=newest)
        if words.share_of_others(read.clock.notna()) > 0.5:
            moments = words.every(read.clock, *_odd(words, _DATE))
            dates = _days(column, by_their_clock(moments), times, is_plan=is_plan)
            return replace(dates, form=read.form)
        if numbers is not None:
            return _number(column, numbers)
        return _number_or_category(words, has_commas=has_commas)

    @property
    def model_kind(self) -> Literal["number", "category"]:
        """The kind that a model is told: days until a date are numbers."""
        return "category" if self.kind == "category" else "number"

    @property
    def array(self) -> pa.Array:
        """The values that it was decided by, as a training has them."""
        return self._array(self.values)

    def _array(self, values: Any) -> pa.Array:
        kind = pa.string() if self.model_kind == "category" else pa.float64()
        return pa.array(values, kind, from_pandas=True)

    def read(self, column: pd.Series, times: pd.Series | None) -> pa.Array:
        """
        Read further rows by what is decided.

        Args:
            times: Of the rows; None where they have none.
        """
        if self.kind == "category":
            return self._array(names_of(column))
        if self.kind == "number":
            return self._array(self._numbers(column))
        moments = column
        if not is_moments(column):
            words = Words.of(column)
            clock = moments_of(words, form=self.form).clock
            moments = words.every(clock, *_odd(words, _DATE))
        moments = by_their_clock(moments)
        if times is None:
            times = pd.Series(self.until, column.index, dtype=moments.dtype)
        days = _days_to(times, moments)
        if self.is_plan:
            return self._array(-days)
        is_late = _is_late(days, times)
        if is_late.any():
            problem = f"is after the row's time, {times[is_late.idxmax()]:%Y-%m-%d}"
            refuse(column, is_late, problem, hint="correct it, or leave it empty")
        return self._array(days)

    def _numbers(self, column: pd.Series) -> pd.Series:
        if pd.api.types.is_timedelta64_dtype(column):
            values = column.dt.total_seconds()
        elif _is_number(column):
            values = _floats(column)
        else:
            words = Words.of(column)
            numbers = numbers_of(words, has_commas=self.has_commas)
            values = words.every(numbers, *_odd(words, _NUMBER))
        _check_finite(column, values)
        return values

    def share_filled(self, column: pd.Series) -> float:
        """Return the share of further rows that have a value; 0 without rows."""
        # Of names, those that are gaps among numbers are values.
        if self.kind == "category":
            count = texts(column).count()
        else:
            count = len(Words.of(column))
        return float(count) / max(len(column), 1)


def is_moments(column: pd.Series) -> bool:
    """Tell whether a column holds dates or times."""
    return bool(pd.api.types.is_datetime64_any_dtype(column))


def by_their_clock(moments: pd.Series) -> pd.Series:
    """
    Return times by the clock that they were written by, as if it was UTC.

    Microseconds reach the years 1 and 9999, which stand for never.
    """
    return moments.dt.tz_localize(None).dt.as_unit("us").dt.tz_localize("UTC")


def have_decimal_commas(frame: pd.DataFrame) -> bool:
    """Tell whether a column of a table has numbers with a comma before decimals."""
    for _, column in frame.items():
        if may_have_commas(column) and has_decimal_commas(Words.of(column)):
            return True
    return False


def one_form(value: Any) -> Any:
    """Return a text, or texts, in the one form of Unicode in which names compare."""
    if isinstance(value, list | tuple):
        return [one_form(text) for text in value]
    return unicodedata.normalize("NFC", value) if isinstance(value, str) else value


def names_of(column: pd.Series) -> pd.Series:
    """Return values as names of something: of 1, 1.0 and true one each."""
    codes, different = different_texts(column)
    written = different.map(one_form)
    written = written.str.replace(r"^(-?(?:0|[1-9]\d*))\.0+$", r"\1", regex=True)
    is_truth = written.str.lower().isin(["true", "false"])
    written = written.mask(is_truth, written.str.capitalize())
    # Texts of Arrow: those of Python would take ten times the memory.
    names = pa.array(written, pa.string(), from_pandas=True)
    values = names.take(pa.array(codes, mask=codes < 0))
    return pd.Series(values.to_pandas(), dtype="str").set_axis(column.index)


def _is_number(column: pd.Series) -> bool:
    """Tell whether a column holds numbers by its type; truths are none."""
    is_numeric = pd.api.types.is_numeric_dtype(column)
    return is_numeric and column.dtype.kind not in "bc"


def _floats(column: pd.Series) -> pd.Series:
    """Return a column of numbers as floats, NaN where there is none."""
    if isinstance(column.dtype, np.dtype):
        return column.astype("float64")
    return column.astype("Float64").astype("float64")


def _category(column: pd.Series) -> Feature:
    read = names_of(column)
    count = read.nunique(dropna=False)
    if count < 2:
        return Feature(why=_CONSTANT)
    if count > _MOST_VALUES and 2 * count > len(read):
        return Feature(why=f"{TEXT} with {count:,} values")
    return Feature(kind="category", values=read)


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
    is_category |= (
        words.share_of_others(is_written) <= 0.5 or words.share(is_code) > FEW
    )
    if is_category or (is_code.any() and words.different.str.len().nunique() == 1):
        _refuse_days(words)
        return _category(column)
    numbers = numbers.mask(is_code)
    values = words.every(numbers, *_odd(words, _NUMBER))
    return replace(_number(column, values), has_commas=has_commas)


def _refuse_days(words: Words) -> None:
    """Refuse texts that may be dates: of a category nobody sees that it is a leak."""
    first = words.different.head(_MOST_VALUES).map(is_like_a_day)
    if not first.any():
        return
    is_day = words.different.map(is_like_a_day).astype("bool")
    if words.share_of_others(is_day) > 0.5:
        problem = "may be a date, in a form that cannot be read"
        _refuse_day(words.column, words.by_row(is_day).eq(True), problem)


def _refuse_day(column: pd.Series, rows: pd.Series, problem: str) -> None:
    hint = (
        "write it like 2026-03-01; or, if it is no date, add --category "
        f"{column.name}, or leave the column out by --without {column.name}"
    )
    refuse(column, rows, problem, hint=hint)


def _odd(words: Words, what: tuple[str, str]) -> tuple[str, str]:
    """Say what is wrong with a value that is not like most, and what to do."""
    noun, example = what
    hint = f"write it like {example}, leave it empty"
    others = "but most of the column is"
    share = 0.0
    if words.usual is not None:
        share = words.share(words.different == words.usual)
    if share > FEW:
        word = shlex.quote(str(words.usual))
        hint += f", add --missing {word} if that stands for a missing value"
    if share >= 0.5:
        others = "and most other values are"
    column = words.column.name
    hint += f", or, if the column has names of something, add --category {column}"
    return f"is not {noun}, {others}", hint


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


def _days(
    column: pd.Series,
    moments: pd.Series,
    times: pd.Series | None,
    *,
    is_plan: bool,
) -> Feature:
    """
    Return the days from dates to the rows' times, or to the last of the dates.

    Of a plan they are counted the other way round.
    """
    _check_calendar(column, moments)
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
            f"in advance, add --plans {column.name}"
        )
        return Feature(why="it knows the future", leak=leak)
    if days.nunique(dropna=False) < 2:
        return Feature(why=_CONSTANT)
    return Feature(kind="date", values=days, until=until, is_plan=is_plan)


def _check_calendar(column: pd.Series, moments: pd.Series) -> None:
    """Refuse dates most of which are in years of another calendar."""
    years = moments.dt.year
    is_other = years.notna() & ~years.between(_FIRST_YEAR - 1, _LAST_YEAR)
    is_other &= ~years.isin(_NEVER)
    others = moments[is_other].nunique()
    if others > 1 and others > moments[~is_other].nunique():
        year = int(years[is_other].iloc[0])
        problem = f"is in the year {year}, as if by another calendar"
        _refuse_day(column, is_other, problem)


def _without_never(moments: pd.Series) -> pd.Series:
    """Return dates; null where one stands for never."""
    return moments.where(moments.dt.year.between(_FIRST_YEAR, _LAST_YEAR))


def _days_to(times: pd.Series, moments: pd.Series) -> pd.Series:
    """Return the days from dates to times."""
    return (times - _without_never(moments)).dt.total_seconds() / 86_400


def _is_late(days: pd.Series, times: pd.Series) -> pd.Series:
    """Return which dates are after the rows' times; a month may be its first day."""
    return days < (-31 if (times.dt.day == 1).all() else -1)
