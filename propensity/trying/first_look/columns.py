"""
The rows of a labelled table: whose they are, their label, their times and their steps.

Errors name column, row and value, and say what to do. Rows are counted from 1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from propensity.errors import SchemaError
from propensity.models.encoding import Floats
from propensity.suggestions import instead
from propensity.table_files.column import by_their_clock, is_moments, one_form
from propensity.table_files.texts import (
    GAPS,
    PAIRS,
    Words,
    different_texts,
    moments_of,
    numbers_of,
    refuse,
    texts,
)
from propensity.timeframe import FEWEST_SNAPSHOTS

# 1.0 and 1,0 are 1.
_DECIMALS = r"(?<=\d)(\.0+|,00?)$"
# A table with more times than that has no list of them.
_MOST_TIMES = 60
# Steps in time that have no date count from this day on, which no page shows.
_FIRST_DAY = date(2001, 1, 1)
# Parts of a table without times: of five one chooses and one is the test set.
_PARTS = 5
# Fewer outcomes are too few to train, to choose or to test by.
FEWEST = 5


def unpacked(column: pd.Series) -> pd.Series:
    """
    Return a column whose values are not packed by Arrow.

    A period is its first day, and bytes are text.
    """
    if isinstance(column.dtype, pd.PeriodDtype):
        return column.dt.start_time
    first = column[column.notna().to_numpy()].head(1)
    if column.dtype == "object" and isinstance(first.squeeze(), bytes):
        try:
            return column.map(bytes.decode, na_action="ignore")
        except (TypeError, UnicodeDecodeError) as error:
            raise SchemaError(
                f"column {column.name} has bytes that are no text",
                hint=f"Write it as text, or leave it out by --without {column.name}",
            ) from error
    if isinstance(column.dtype, pd.ArrowDtype):
        values = pa.chunked_array(pa.array(column)).to_pandas()
        return values.set_axis(column.index).rename(column.name)
    return column


def frame_of(
    table: pd.DataFrame | pa.Table,
    missing: Sequence[str] = (),
    keys: Sequence[str | None] = (),
) -> pd.DataFrame:
    """
    Return a table's columns by texts, with rows that are counted from 0.

    Args:
        missing: Words that stand for a missing value in a feature.
        keys: Columns of label, user, time and treatment, whose values stay.
    """
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
    read.columns = pd.Index([one_form(str(column)) for column in frame.columns])
    for position, name in enumerate(frame.index.names):
        if name is not None and str(name) not in read.columns:
            read.insert(0, str(name), frame.index.get_level_values(position))
    read = read.reset_index(drop=True)
    words = {key_of(word) for word in missing}
    features = read.columns.difference(one_form(list(keys)), sort=False)
    for name in features if words else ():
        codes, different = different_texts(read[name])
        is_missing = different.map(key_of).isin(words).to_numpy()
        if is_missing.any():
            read[name] = read[name].mask(np.append(is_missing, False)[codes])
    return read


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
    return re.sub(_DECIMALS, "", one_form(str(value)).strip().lower())


def is_label(column: pd.Series) -> bool:
    """Tell whether all values of a column are 1 or 0, yes or no, or not known."""
    keys = texts(column).map(key_of, na_action="ignore").dropna()
    values = set(keys[~keys.str.fullmatch(rf"{GAPS}|unknown")])
    return bool(values) and any(values <= {key, PAIRS[key]} for key in PAIRS)


def label_of(column: pd.Series, outcome: object | None) -> tuple[pd.Series, str]:
    """
    Read the label: 1, 0, or null where it is not known, and what 1 is in the table.

    Case does not count, nor whether 1 is written as 1.0 or 1,0.

    Args:
        outcome: The value to predict; None where it is plain.
    """
    values = texts(column).map(one_form).str.replace(_DECIMALS, "", regex=True)
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


def times_of(column: pd.Series) -> pd.Series:
    """
    Read when each row is of: as moments in UTC, or as numbers that have an order.

    Months without a year are numbers: all are taken to be of one year.
    """
    if is_moments(column):
        values = by_their_clock(column)
    else:
        words = Words.of(column)
        numbers = numbers_of(words)
        months = words.different.str.extract(r"^([A-Za-z]{3})[a-z]*\.?$")[0]
        ways = [
            by_their_clock(moments_of(words).clock),
            numbers.mask(np.isinf(numbers)),
            pd.to_datetime(months, format="%b", errors="coerce").dt.month,
        ]
        best = max(ways, key=lambda way: words.rows[way.notna()].sum())
        values = words.by_row(best)
    if values.isna().any():
        hint = "write all alike: 2026-03-01, 2026-03 or Mar; or remove the row"
        refuse(column, values.isna(), "is not a time", hint=hint)
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
