"""
A duel: the model's list beside the one that somebody makes today, from the past.

Both are made on each tested date, of rows that models of older rows have scored, and
have the same length. Who is on both decides nothing, so that the others are compared.
What happened shows whom a list finds, and not whom contacting changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from propensity.errors import RequestError, SchemaError
from propensity.learning.rows import Slice
from propensity.measures.intervals import Difference
from propensity.measures.metric_intervals import difference
from propensity.measures.verdicts import MINIMUM_BUYERS
from propensity.models.encoding import Flags, Floats
from propensity.pages.page import bins_svg
from propensity.pages.words import count
from propensity.suggestions import instead
from propensity.table_files import files as table_files
from propensity.table_files.column import Feature, by_their_clock
from propensity.table_files.texts import Words, moments_of
from propensity.trying.first_look.reading import ROW_TIME
from propensity.trying.first_look.table import FirstLook

# A list of more than half of all is none: the model's would be nearly the same.
MOST_LISTED = 0.5
# How a file of lists may call the column with the day of each row.
_DAYS = ("as_of", "date", "day")
# The longer sign first, of those that begin alike.
_SIGNS: Mapping[str, Callable[[Any, Any], Any]] = {
    "<=": np.less_equal,
    ">=": np.greater_equal,
    "!=": np.not_equal,
    "<": np.less,
    ">": np.greater,
    "=": np.equal,
}
_ORDERED = ("<=", ">=", "<", ">")
_EXAMPLE = "Example: --against 'recency_days < 90'"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """
    Rows whose value of a column is as a rule says: ``recency_days < 90``.

    Attributes:
        column: As the table calls it, and ``name`` as the rows of a training do.
        value: A number, a name, or the moment of a date.
    """

    column: str
    name: str
    feature: Feature
    sign: str
    value: Any

    def is_listed(self, rows: Slice) -> Flags:
        """Return which rows are so, (rows,); an empty value is not."""
        values = rows.rows[self.name].to_pandas()
        is_filled = values.notna()
        if self.feature.kind == "date":
            days = pd.to_timedelta(values, "D")
            times = self.feature.until
            if times is None:
                times = _times_of(rows)
            values = times + days if self.feature.is_plan else times - days
            # Days are fractions, which are a little beside the second.
            values = values.dt.round("s")
        elif self.feature.kind == "category":
            values = values.astype("object")
        is_so = _SIGNS[self.sign](values[is_filled], self.value)
        is_listed = np.zeros(len(rows), np.bool_)
        is_listed[is_filled.to_numpy()] = is_so
        return is_listed


@dataclass(frozen=True, kw_only=True)
class DatedList:
    """
    Lists of a file, each row with its user and day.

    A day's list counts on the first tested date that is not before it, and of several
    the newest.
    """

    users: pd.Series
    days: pd.Series

    def is_listed(self, rows: Slice) -> Flags:
        """Return which rows are of a listed user, (rows,)."""
        times = _times_of(rows)
        tested = np.sort(times.unique())
        position = np.searchsorted(tested, self.days.to_numpy())
        is_tested = position < len(tested)
        listed = pd.DataFrame({"user": self.users, "day": self.days})[is_tested]
        listed["tested"] = tested[position[is_tested]]
        newest = listed.groupby("tested")["day"].transform("max")
        listed = listed[listed["day"] == newest]
        keys = pd.MultiIndex.from_frame(listed[["user", "tested"]])
        users = rows.rows["user_id"].to_pandas().astype("object")
        of_rows = pd.MultiIndex.from_arrays([users, times.to_numpy()])
        return np.asarray(of_rows.isin(keys))


# The list that somebody makes today.
TodaysList = Rule | DatedList


def read_todays_list(
    text: str,
    features: Mapping[str, Feature],
    names: Mapping[str, str],
    *,
    user: str | None,
    time: str | None,
) -> TodaysList:
    """
    Read what a person calls their list: a file that is there, or a rule of a column.

    Args:
        text: As ``recency_days < 90``, ``city = Porto`` or ``lists.csv``.
        features: How columns are read, by their names in the table.
        names: Columns by their names in a training.
        user, time: The columns of users and times; None where there are none.
    """
    if Path(text).is_file():
        return _read_file(Path(text), user=user, time=time)
    for column in sorted(features, key=len, reverse=True):
        rest = text.strip().removeprefix(column).lstrip()
        signs = [sign for sign in _SIGNS if rest.startswith(sign)]
        if text.strip().startswith(column) and signs:
            value = rest.removeprefix(signs[0]).strip()
            return _rule_of(column, signs[0], value, features, names)
    written = [text.index(sign) for sign in _SIGNS if sign in text]
    if not written:
        raise _refusal(
            f"{text!r} is neither a file nor a rule",
            f"Quote a rule, because a shell reads < and > itself. {_EXAMPLE}",
        )
    column = text[: min(written)].strip()
    raise _refusal(
        f"there is no column {column!r}", instead(column, features, kind="Columns")
    )


@dataclass(frozen=True, kw_only=True)
class Duel:
    """
    What both lists found, on all tested dates; rows count by their weights.

    Attributes:
        outcome: What users did: bought.
        dates: On how many dates they were made.
        listed: Rows of each list, of which ``on_both`` are on both.
        found_on_both: Of these, those with the outcome.
        found_by_model, found_today: Rows with the outcome that the model's list alone
            has, and today's alone.
        more: The first less the second, by user.
        paid: What these paid more; None where it can't be compared.
    """

    outcome: str
    dates: int
    listed: float
    on_both: float
    found_on_both: float
    found_by_model: float
    found_today: float
    more: Difference
    paid: Difference | None

    @property
    def apart(self) -> float:
        """Rows that one of the lists alone has, of each list."""
        return self.listed - self.on_both

    @property
    def sentence(self) -> str:
        """What both lists found, and what that does not say."""
        both = f"Both lists have {count(self.listed)}"
        if self.dates > 1:
            both += f" on {count(self.dates)} dates in all"
        both += f"; {count(self.on_both)} are on "
        if not self.apart:
            return f"{both}both, so that they are the same."
        told = (
            f"{both}both. Of the other {count(self.apart)} each, "
            f"{count(self.found_by_model)} {self.outcome}, and of today's list "
            f"{count(self.found_today)}: {_more_text(self.more)}"
        )
        if self.paid is not None:
            told += f", who paid {_more_text(self.paid)}"
        return (
            f"{told}. This does not say who would have done so without being asked, or "
            "whether contacting adds more: only a control group tells, in a folder of "
            "lists with --control, or in an experiment with --treatment."
        )

    def plain(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "listed": round(self.listed),
            "on_both": round(self.on_both),
            "found": round(self.found_by_model),
            "found_today": round(self.found_today),
            "more": self.more,
            "paid": self.paid,
            "sentence": self.sentence,
        }

    def picture(self) -> str:
        """Draw both lists, what is on both, and the share with the outcome in each."""
        sizes = [self.apart, self.on_both, self.apart]
        converted = [self.found_by_model, self.found_on_both, self.found_today]
        shares = [size / sum(sizes) for size in sizes]
        rates = []
        for size, of_size in zip(sizes, converted, strict=True):
            rates.append(of_size / size if size else 0.0)
        names = ["only the model's", "on both", "only today's"]
        return bins_svg(names, shares, rates, title="Both lists")


def compare_lists(
    rows: Slice,
    score: Floats,
    todays: TodaysList,
    *,
    outcome: str,
    amounts: Floats | None = None,
) -> Duel:
    """
    Compare the best rows of a model with as many that today's list has.

    Args:
        rows: Scored by models of older rows, in the order of their dates.
        score: Of the rows, (rows,).
        outcome: What users of label 1 did.
        amounts: What each row's user paid, (rows,); None where nobody knows.
    """
    is_listed = todays.is_listed(rows)
    share = rows.weight[is_listed].sum() / rows.weight.sum()
    if not share:
        raise _refusal("nobody of the tested rows is on your list", _EXAMPLE)
    if share > MOST_LISTED:
        raise _refusal(
            f"{100 * share:.0f}% of the tested rows are on your list, and at most half "
            "can be",
            "Name a narrower rule",
        )
    is_best = _best_of_each_date(rows, score, is_listed)
    sign = is_best.astype("float64") - is_listed
    on_one = rows.where(sign != 0)
    sign = sign[sign != 0]
    paid = None
    if amounts is not None:
        paid = _paid_more(on_one, sign, amounts[is_best != is_listed])
    converted = rows.weight * rows.label
    return Duel(
        outcome=outcome,
        dates=len(np.unique(rows.rows["as_of"].to_numpy())),
        listed=float(rows.weight[is_listed].sum()),
        on_both=float(rows.weight[is_listed & is_best].sum()),
        found_on_both=float(converted[is_listed & is_best].sum()),
        found_by_model=float(converted[is_best & ~is_listed].sum()),
        found_today=float(converted[is_listed & ~is_best].sum()),
        more=_more(on_one, sign, on_one.label.astype("float64")),
        paid=paid,
    )


def compare_look(look: FirstLook, todays: TodaysList) -> Duel:
    """Compare the list of a table's model, without its likely leaks, with today's."""
    if isinstance(todays, Rule) and todays.column in look.leaks:
        column = todays.column
        raise _refusal(
            f"{column} {look.leaks[column]}, so it may know the outcome",
            "Name a column that was known when the list was made",
        )
    clean = look.without_leaks
    rows, score, _ = clean.trained.judged_forward()
    return compare_lists(rows, score, todays, outcome=clean.card.outcome)


def _best_of_each_date(rows: Slice, score: Floats, is_listed: Flags) -> Flags:
    """Return the best rows of each date, as many as are listed, (rows,)."""
    dates = rows.rows["as_of"].to_numpy()
    is_best = np.zeros(len(rows), np.bool_)
    for day in np.unique(dates):
        of_day = np.flatnonzero(dates == day)
        needed = rows.weight[of_day][is_listed[of_day]].sum()
        best_first = of_day[np.argsort(-score[of_day], kind="stable")]
        # A weight is seldom a whole number, so that sums of the same are not equal.
        reached = rows.weight[best_first].cumsum() <= needed * (1 + 1e-9)
        is_best[best_first[reached]] = True
    return is_best


def _more(apart: Slice, sign: Floats, value: Floats) -> Difference:
    """
    Return how much more rows of sign 1 have than those of sign -1, by user.

    A user of several dates is one draw, so that what is theirs is added up before it is
    squared.
    """
    residuals = value.copy()
    for side in (1, -1):
        of_side = sign == side
        if of_side.any():
            weights = apart.weight[of_side]
            residuals[of_side] -= np.average(value[of_side], weights=weights)
    estimate = float((sign * apart.weight * value).sum())
    slopes = sign * apart.weight * residuals
    return difference(estimate, slopes, apart.label, apart.users)


def _paid_more(apart: Slice, sign: Floats, amounts: Floats) -> Difference | None:
    """Return how much more rows of sign 1 paid; None of too few buyers."""
    for side in (1, -1):
        buyers = apart.users[(sign == side) & (apart.label == 1)]
        if len(np.unique(buyers)) < MINIMUM_BUYERS:
            return None
    return _more(apart, sign, amounts)


def _more_text(more: Difference) -> str:
    if more.low is None or more.high is None:
        return "too few to compare"
    text = f"{count(abs(more.estimate))} {'more' if more.estimate >= 0 else 'fewer'}"
    ends = sorted([more.low, more.high], key=abs)
    if more.is_above() or more.is_below():
        return f"{text} ({count(abs(ends[0]))} to {count(abs(ends[1]))})"
    low = f"{count(-more.low)} fewer"
    return f"{text} ({low} to {count(more.high)} more), which may be chance"


def _rule_of(
    column: str,
    sign: str,
    value: str,
    features: Mapping[str, Feature],
    names: Mapping[str, str],
) -> Rule:
    feature = features[column]
    if feature.kind is None:
        why = feature.leak or feature.why
        raise _refusal(f"{column} is no feature: {why}", "Name another column")
    if feature.kind == "category" and sign in _ORDERED:
        raise _refusal(
            f"{column} has names of something, which have no order for {sign}",
            f"Use = or !=. Example: --against '{column} = {value or 'Porto'}'",
        )
    written = pd.Series([value], name=column, dtype="object")
    try:
        read = _read_value(written, feature)
    except SchemaError:
        read = None
    if read is None or pd.isna(read):
        raise _refusal(
            f"{value!r} is no value of {column}, which has {feature.kind} values",
            _EXAMPLE,
        )
    [name] = [name for name, of_name in names.items() if of_name == column]
    return Rule(column=column, name=name, feature=feature, sign=sign, value=read)


def _read_value(written: pd.Series, feature: Feature) -> Any:
    if feature.kind != "date":
        return feature.read(written, None)[0].as_py()
    words = Words.of(written)
    clock = moments_of(words, form=feature.form).clock
    return by_their_clock(clock).iloc[0]


def _read_file(path: Path, *, user: str | None, time: str | None) -> DatedList:
    if user is None or time is None:
        raise _refusal(
            f"{path} is compared by user and day, and the table lacks one of them",
            "Name the columns by --user and --time",
        )
    table = table_files.read_file(path, [user])
    days = [name for name in (time, *_DAYS) if name in table.column_names]
    if not days:
        raise _refusal(
            f"{path} has no day for each row: a list that was made with what is known "
            "today would win by construction",
            f"Add a column {time} with the day on which each row was listed",
        )
    with table_files.named(path):
        users = table_files.identities(table[user], user).to_pandas()
        moments = table_files.typed(table, days[0], "TIMESTAMP", is_needed=True)
    return DatedList(
        users=users.astype("object"), days=by_their_clock(moments.to_pandas())
    )


def _times_of(rows: Slice) -> pd.Series:
    """Return when each row was true, by the clock that it was written by."""
    if ROW_TIME in rows.rows.column_names:
        return by_their_clock(rows.rows[ROW_TIME].to_pandas())
    dates = rows.rows["as_of"].cast(pa.timestamp("us"))
    return by_their_clock(dates.to_pandas())


def _refusal(problem: str, hint: str) -> RequestError:
    return RequestError(f"--against: {problem}", hint=hint, field="against")
