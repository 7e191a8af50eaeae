"""
A first look at a labelled table: how well its columns predict its label.

``columns`` reads types and times; splits, candidates, metrics and the report are
those of every training.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from propensity import usecases
from propensity.clock import SYSTEM
from propensity.errors import NotEnoughData, SchemaError
from propensity.first_look import alone
from propensity.first_look import columns as table_columns
from propensity.first_look.columns import Feature, refuse
from propensity.learning import card as cards
from propensity.learning import fit, gate
from propensity.learning.report.version import version_page
from propensity.learning.rows import Parts, of_users
from propensity.learning.trained import Trained
from propensity.pages.words import percent
from propensity.settings import Settings
from propensity.timeframe import FEWEST_SNAPSHOTS, Timeframe
from propensity.usecases import NUMBER, Baseline, Candidate, UseCase
from propensity.usecases.declaration import RESERVED, FeatureKind

# With more times than that a table has no list of them.
_MOST_TIMES = 60
# Where so many outcomes are expected, none is no chance.
_EXPECTED = 10
# Steps in time that have no date count from this day on, which nobody sees.
_FIRST_DAY = date(2001, 1, 1)
_ADVICE = "Add older rows, or rows of more users"


class _Small(Settings):
    """Settings for a table of a few hundred rows: intervals say what it cannot tell."""

    minimum_training_rows = 50
    minimum_conversions = 5


_SETTINGS = _Small(project="none")


@dataclass(frozen=True, kw_only=True)
class FirstLook:
    """
    What a table can predict; printed, five lines.

    Attributes:
        kinds: number, category or date by column.
        left_out: Why a column is no feature.
        leaks: Why a column may know the outcome.
        card: As every model version has one.
    """

    lines: Sequence[str]
    kinds: Mapping[str, str]
    left_out: Mapping[str, str]
    leaks: Mapping[str, str]
    card: Mapping[str, Any]
    trained: Trained

    def page(self) -> str:
        """Write the model report, an HTML page."""
        return version_page(self.card)

    def __repr__(self) -> str:
        return "\n".join(self.lines)


@dataclass(frozen=True, kw_only=True)
class _Steps:
    """
    Rows in steps of time.

    Attributes:
        of: The step of each row, from 0 on, (rows,).
        days: A date for each step.
        names: What each is called.
        horizon_days: After so many of these days a label is known.
    """

    of: NDArray[np.int64]
    days: Sequence[date]
    names: Sequence[str]
    horizon_days: int = 1


def try_table(
    table: pd.DataFrame | pa.Table,
    *,
    time: str,
    label: str,
    user: str | None = None,
    outcome: str | None = None,
    categories: Sequence[str] = (),
    without: Sequence[str] = (),
    horizon_days: int | None = None,
    name: str = "table",
) -> FirstLook:
    """
    Train on a labelled table, and say how well its newest rows can be predicted.

    Args:
        table: A row for each user and time. Columns that are not named here are
            features.
        time: The column that says when a row was true.
        label: The column with the outcome: 1 or 0, yes or no, true or false.
        user: The column that names the user; None where each row is of another one.
        outcome: The value of the label to predict, where it is another one.
        categories: Columns whose numbers are names of something.
        without: Columns to leave out.
        horizon_days: Days after a row's time until its label is known; by default it is
            known at the table's next time.
        name: Of the table, for the report.

    Raises:
        SchemaError: A column or value is wrong; the message names it.
        NotEnoughData: There are too few rows of a class, or too few times.
    """
    frame = table.to_pandas() if isinstance(table, pa.Table) else table
    frame = frame.set_axis([str(column) for column in frame.columns], axis=1)
    frame = frame.reset_index(drop=True)
    keys = [time, label, *([user] if user else [])]
    _check_names(frame, [*keys, *categories, *without])
    times = table_columns.times_of(frame[time], time)
    if user:
        _check_users(frame, user, time, times)
    known, positive = table_columns.label_of(frame[label], label, outcome)
    kept = _kept(known, times, label)
    columns = _columns(
        frame.drop(columns=[*keys, *without]), times, kept, categories=categories
    )
    if not columns.features:
        hint = "add a column, or leave out fewer"
        raise SchemaError(f"{name} has no column to predict {label} from", hint=hint)
    rows = pa.table(
        {
            "user_id": pa.array([*map(str, frame[user] if user else frame.index)]),
            "label": pa.array(np.nan_to_num(known).astype(np.int8)),
            "weight": pa.array(np.ones(len(frame))),
            **columns.values,
        }
    ).filter(pa.array(kept))
    use_case = UseCase(
        name=name,
        title=f"{label} = {positive}",
        outcome=f"have {label} = {positive}",
        lookback_days=1,
        horizon_days=1,
        threshold=0.5,
        features=columns.features,
        baseline=Baseline(feature="", ascending=False),
        candidates=candidates(),
    )
    ways = [*_steps(times[kept], frame[time][kept], known[kept], horizon=horizon_days)]
    if ways:
        _check_newest(ways[0], known, np.flatnonzero(kept), label)
    rows, parts, steps = _split(rows, use_case, ways, time=time, label=label)
    columns.leaks.update(alone.leaks(parts, use_case))
    parts, use_case = alone.with_baseline(parts, use_case)
    trained = fit.train(parts, use_case, preprocessor=None, settings=_SETTINGS)
    reason = gate.beside_baseline(trained, f"{use_case.baseline.feature} alone")
    warnings = [f"{column} {why}" for column, why in columns.leaks.items()]
    card = cards.card(
        use_case,
        trained,
        gate.Verdict(
            promoted=not warnings, reason="; LIKELY LEAK: ".join([reason, *warnings])
        ),
        version=None,
        rows=rows,
        as_of=steps.days[-1],
        data_until=None,
        settle_days=0,
        chosen={},
        trained_at=SYSTEM.now(),
        bytes_billed=0,
    )
    names = {
        str(day): shown for day, shown in zip(steps.days, steps.names, strict=True)
    }
    split = {part: [names[d] for d in days] for part, days in card["split"].items()}
    own = {"heading": "Test set", "entity": user or "row", "horizon_days": horizon_days}
    card |= {**own, "as_of": steps.names[-1], "split": split}
    for day in card["profile"]["dates"]:
        day["as_of"] = names[day["as_of"]]
    known_rows = f"{len(rows):,} rows, {percent(known[kept].mean())} with"
    late = "" if kept.all() else f"; {(~kept).sum():,} rows have no {label} yet"
    test = " to ".join(dict.fromkeys([split["holdout"][0], split["holdout"][-1]]))
    m, best = card["metrics"], card["metrics"]["lift"][0]
    lines = [
        f"Table    {known_rows} {use_case.title}; tested on {test}, "
        f"{len(parts.holdout):,} rows{late}",
        f"Columns  {columns.listed()}",
        f"Leaks    {'; '.join(warnings) or 'none found'}",
        f"Model    {reason}",
        f"Use      {percent(best['conversions'] / best['users'])} of the best 10% have "
        f"{use_case.title}, {best['lift']:.1f} times the average; expected of all "
        f"{percent(m['mean_probability'])}, found {percent(m['base_rate'])}",
    ]
    return FirstLook(
        lines=lines,
        kinds=columns.kinds,
        left_out=columns.left_out,
        leaks=columns.leaks,
        card=card,
        trained=trained,
    )


def candidates() -> list[Candidate]:
    """Return the candidates of purchases, and that of card fraud for few rows."""
    every = [*usecases.load("ga4_purchase").candidates]
    for one in usecases.load("card_fraud").candidates:
        if one.algorithm == "HistGradientBoostingClassifier":
            name = f"{one.name}_of_few_rows"
            every.append(Candidate(name, one.algorithm, one.parameters))
    return every


@dataclass(frozen=True, kw_only=True)
class _Columns:
    """
    The columns of a table that may be features.

    Attributes:
        values: Those that are, by the feature's name; ``features`` has their kinds.
        kinds, left_out, leaks: As ``FirstLook`` has them.
    """

    values: dict[str, pa.Array] = field(default_factory=dict)
    features: dict[str, FeatureKind] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    leaks: dict[str, str] = field(default_factory=dict)

    def listed(self) -> str:
        """Write the columns by their kinds, and those that are left out."""
        by_kind: dict[str, list[str]] = {}
        for column, kind in self.kinds.items():
            by_kind.setdefault(kind, []).append(column)
        listed = [f"{kind}: {', '.join(some)}" for kind, some in by_kind.items()]
        left_out = [f"{column} ({why})" for column, why in self.left_out.items()]
        return "; ".join([*listed, f"left out: {', '.join(left_out) or 'none'}"])


def _columns(
    frame: pd.DataFrame, times: pd.Series, kept: Any, *, categories: Sequence[str]
) -> _Columns:
    columns = _Columns()
    for name in frame.columns:
        is_category = name in categories
        one = table_columns.feature_of(
            frame[name], name, times, is_category=is_category
        )
        if late := _later_than(one, times, kept):
            where = f"holds days after the row's time, first in row {late}"
            columns.leaks[name] = where
            columns.left_out[name] = "it knows the future"
        elif one.kind:
            shown = name
            while shown.lower() in RESERVED or shown in columns.values:
                shown += "_"
            kind = pa.float64() if one.kind == NUMBER else pa.string()
            columns.values[shown] = pa.array(one.values, kind, from_pandas=True)
            columns.features[shown] = one.kind
            columns.kinds[name] = "date" if one.is_date else one.kind
        else:
            columns.left_out[name] = one.why
    return columns


def _check_names(frame: pd.DataFrame, named: Sequence[str]) -> None:
    for column in named:
        if column not in frame.columns:
            near = difflib.get_close_matches(column, frame.columns, n=1)
            hint = f"name one of {', '.join(near or frame.columns[:30])}"
            raise SchemaError(f"there is no column {column!r}", hint=hint)
    if twice := [*frame.columns[frame.columns.duplicated()]]:
        hint = "rename or remove one"
        raise SchemaError(f"there are two columns {twice[0]!r}", hint=hint)


def _check_users(frame: pd.DataFrame, user: str, time: str, times: pd.Series) -> None:
    """Make sure that each row has a user, and each user one row at a time."""
    users = table_columns.texts(frame[user])
    if users.isna().any():
        hint = "fill it in, or remove the row"
        refuse(user, users.isna(), "", "names nobody", hint=hint)
    twice = pd.DataFrame({"user": users, "time": times}).duplicated()
    if twice.any():
        at = frame[time].iloc[int(np.argmax(twice))]
        hint = f"keep one row for each {user} and {time}"
        refuse(user, twice, users, f"has another row at {at}", hint=hint)


def _kept(known: NDArray[np.float64], times: pd.Series, label: str) -> Any:
    """
    Return which rows are older than all whose label is not known yet, (rows,).

    Where an outcome shows at once and its absence later, the rows in between would be
    of one class.
    """
    unknown = pd.Series(np.isnan(known))
    if not unknown.any():
        return np.ones(len(known), np.bool_)
    since = times[unknown].min()
    if since == times.min() or not unknown.groupby(times).any()[since:].all():
        hint = "fill it in, or remove the row"
        rows = unknown & (times == since)
        refuse(label, rows, "", "is not known, but that of later rows is", hint=hint)
    return (times < since).to_numpy()


def _check_newest(
    steps: _Steps, known: NDArray[np.float64], rows: NDArray[Any], label: str
) -> None:
    """Refuse a label that nobody has at the newest time, and should by the older."""
    newest = steps.of == steps.of.max()
    if newest.all() or known[rows[newest]].any():
        return
    share = known[rows[~newest]].mean()
    if share * newest.sum() < _EXPECTED:
        return
    first = np.arange(len(known)) == rows[newest][0]
    refuse(
        label,
        first,
        "0",
        f"is the label of all {newest.sum():,} rows of {steps.names[-1]}, and of "
        f"{percent(1 - share)} of the older ones: it is not known yet",
        hint="remove these rows, or leave their label empty",
    )


def _later_than(one: Feature, times: pd.Series, kept: Any) -> int:
    """Return the first row with a date after its time, or 0."""
    if not one.is_date:
        return 0
    # A month may be written as its first day.
    late = kept & (one.values < (-31 if (times.dt.day == 1).all() else -1))
    return int(np.argmax(late)) + 1 if late.any() else 0


def _steps(
    times: pd.Series, shown: pd.Series, known: Any, *, horizon: int | None
) -> Iterator[_Steps]:
    """
    Yield ways to put rows into steps of time, the most natural first.

    Months, weeks or days; else the table's own times where they are few; else blocks of
    equal size and, for a rare outcome, three with a half and two quarters of it.
    """
    is_dated = table_columns.is_moments(times)
    days = times.dt.tz_localize(None) if is_dated else times
    for unit, fewest in (("M", 4), ("W", 4), ("D", 3)) if is_dated else ():
        starts = days.dt.to_period(unit).dt.start_time
        if starts.nunique() >= fewest:
            dates, of = np.unique(starts.dt.date, return_inverse=True)
            found = [*dates]
            gap = min(np.diff(found)).days
            if horizon is not None:
                gap = horizon + (days - starts).dt.days.max()
            names = [f"{day:%Y-%m}" if unit == "M" else str(day) for day in found]
            yield _Steps(of=of, days=found, names=names, horizon_days=int(gap))
            break
    if horizon is not None:
        if not is_dated:
            raise SchemaError(
                f"--horizon-days needs dates, and row 1 has {shown.iloc[0]!r}",
                hint="write the times as 2026-03-01, or leave --horizon-days out",
            )
        return
    values = times.astype("int64" if is_dated else "float64").to_numpy(np.float64)
    distinct = np.unique(values)
    if len(distinct) <= _MOST_TIMES:
        yield _blocks(values, shown, distinct)
        return
    for count in (10, 20):
        yield _blocks(values, shown, np.quantile(values, np.arange(count) / count))
    rare = np.quantile(values[known == 1], [0.5, 0.75])
    yield _blocks(values, shown, [distinct[0], *rare])


def _blocks(values: NDArray[np.float64], shown: pd.Series, starts: Any) -> _Steps:
    """Return steps that begin at these values."""
    at = np.searchsorted(np.unique(starts), values, "right")
    _, of = np.unique(at, return_inverse=True)
    names, days = list[str](), list[date]()
    for step in range(int(of.max()) + 1):
        inside = np.flatnonzero(of == step)
        ends = inside[[values[inside].argmin(), values[inside].argmax()]]
        names.append(" to ".join(dict.fromkeys(str(shown.iloc[end]) for end in ends)))
        days.append(_FIRST_DAY + timedelta(days=step))
    return _Steps(of=of, days=days, names=names)


def _split(
    rows: pa.Table, use_case: UseCase, ways: Sequence[_Steps], *, time: str, label: str
) -> tuple[pa.Table, Parts, _Steps]:
    """
    Split the rows by the first steps that leave enough of them.

    Raises:
        NotEnoughData: No steps do; the message is about the first.
    """
    refused = NotEnoughData(
        f"column {time} has fewer than {FEWEST_SNAPSHOTS} times: to train, to choose "
        f"and to test takes as many",
        hint=_ADVICE,
    )
    for number, steps in enumerate(ways):
        days = pa.array(np.array(steps.days, "datetime64[D]")[steps.of])
        dated = rows.append_column("as_of", days)
        horizon = steps.horizon_days
        frame = Timeframe(lookback_days=1, horizon_days=horizon, settle_days=0)
        is_late = not frame.are_enough(steps.days)
        if is_late and len(steps.days) >= FEWEST_SNAPSHOTS:
            raise NotEnoughData(
                f"column {label} is known too late: {horizon} days after {time}, whose "
                f"values are from {steps.names[0]} to {steps.names[-1]}",
                hint=f"{_ADVICE}, or lower --horizon-days",
            )
        try:
            if not is_late:
                split = of_users(
                    dated, use_case, frame, settings=_SETTINGS, advice=_ADVICE
                )
                return dated, split, steps
        except NotEnoughData as error:
            refused = error if number == 0 else refused
    raise refused
