"""
A first look at a labelled table: how well its columns predict its label.

``columns`` reads types and times, and puts rows into snapshots; the split,
the candidates, the metrics and the report are those of every training. Here are what a
column tells alone: the best one to compare with, and likely leaks.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pyarrow as pa
from msgspec import structs

from propensity import usecases
from propensity.clock import SYSTEM
from propensity.errors import NotEnoughData, SchemaError
from propensity.first_look import columns
from propensity.first_look.columns import FEWEST, Feature, Steps, refuse, steps_of
from propensity.learning import card as cards
from propensity.learning import fit, gate
from propensity.learning.report import version_page
from propensity.learning.rows import Parts, Slice, of_users
from propensity.learning.trained import LEAK, Trained, ranks_alone
from propensity.pages.words import Plain, percent
from propensity.settings import Settings
from propensity.timeframe import FEWEST_SNAPSHOTS, Timeframe
from propensity.usecases import CATEGORY, Baseline, Candidate, UseCase
from propensity.usecases.declaration import MEAN, RESERVED, FeatureKind

# If this many outcomes are expected and none is there, it is not by chance.
_EXPECTED = 10
_ADVICE = "Add older rows, or rows of more users"
# A column with more values than that is no list of them.
_MOST_VALUES = 60
# Rows of a value, and their share of label 1, from which the value tells the outcome.
_SURE_ROWS, _SURE_SHARE = 20, 0.98
# A column that is filled so much less often in the newest rows is filled in later.
_FILLED_LESS = 0.1


class _Small(Settings):
    """Settings for a table of a few hundred rows: intervals say what it cannot tell."""

    minimum_training_rows = 50
    minimum_conversions = FEWEST


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
    card: Plain
    trained: Trained

    def page(self) -> str:
        """Write the model report, an HTML page."""
        return version_page(self.card)

    def __repr__(self) -> str:
        return "\n".join(self.lines)


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
    frame = frame.reset_index(drop=frame.index.names == [None])
    frame = frame.set_axis([str(column) for column in frame.columns], axis=1)
    keys = [time, label, *([user] if user else [])]
    _check_names(frame, [*keys, *categories, *without])
    times = columns.times_of(frame[time])
    if user:
        _check_users(frame[user], frame[time], times)
    known, positive = columns.label_of(frame[label], outcome)
    is_older = _is_older(known, times, frame[label])
    late = "" if is_older.all() else f"; {(~is_older).sum():,} rows have no {label} yet"
    # Rows keep their numbers, which errors name.
    frame, times, known = frame[is_older], times[is_older], known[is_older]
    read: dict[str, Feature] = {}
    for column in frame.columns.drop([*keys, *without]):
        if column in categories:
            read[column] = columns.category_of(frame[column])
        else:
            read[column] = columns.feature_of(frame[column], times)
    used = {_name_of(name, frame): one for name, one in read.items() if one.kind}
    if not used:
        hint = "add a column, or leave out fewer"
        raise SchemaError(f"{name} has no column to predict {label} from", hint=hint)
    rows = {
        "user_id": pa.array(map(str, frame[user] if user else frame.index)),
        "label": pa.array(known.astype("int8")),
        "weight": pa.array(np.ones(len(frame))),
    }
    kinds: dict[str, FeatureKind] = {}
    for shown, one in used.items():
        kinds[shown] = "category" if one.kind == "category" else "number"
        kind = pa.string() if one.kind == "category" else pa.float64()
        rows[shown] = pa.array(one.values, kind, from_pandas=True)
    use_case = UseCase(
        name=name,
        title=f"{label} = {positive}",
        outcome=f"have {label} = {positive}",
        lookback_days=1,
        horizon_days=1,
        threshold=0.5,
        features=kinds,
        baseline=Baseline(feature="", ascending=False),
        candidates=candidates(),
    )
    ways = [*steps_of(times, frame[time], known, horizon_days)]
    _check_newest(ways[0], frame[label], known)
    dated, parts, steps = _split(pa.table(rows), use_case, ways, time=time, label=label)
    leaks = {name: one.leak for name, one in read.items() if one.leak}
    leaks |= _leaks(parts, use_case)
    parts, use_case = _with_baseline(parts, use_case)
    trained = fit.train(parts, use_case, preprocessor=None, settings=_SETTINGS)
    reason = gate.beside_baseline(trained, f"{use_case.baseline.feature} alone")
    warnings = [f"{column} {why}" for column, why in leaks.items()]
    verdict = gate.Verdict(
        promoted=not warnings, reason="; LIKELY LEAK: ".join([reason, *warnings])
    )
    card = cards.card(
        use_case,
        trained,
        verdict,
        rows=dated,
        as_of=steps.days[-1],
        trained_at=SYSTEM.now(),
    )
    names = dict(zip(map(str, steps.days), steps.names, strict=True))
    split = {part: [names[d] for d in days] for part, days in card["split"].items()}
    for day in card["profile"]["dates"]:
        day["as_of"] = names[day["as_of"]]
    card = {
        **card,
        "heading": "Test set",
        "entity": user or "row",
        "horizon_days": horizon_days,
        "as_of": steps.names[-1],
        "split": split,
    }
    test = " to ".join(dict.fromkeys([split["holdout"][0], split["holdout"][-1]]))
    m, best = card["metrics"], card["metrics"]["lift"][0]
    lines = [
        f"Table    {len(frame):,} rows, {percent(known.mean())} with {use_case.title}; "
        f"tested on {test}, {len(parts.holdout):,} rows{late}",
        f"Columns  {_listed(read)}",
        f"Leaks    {'; '.join(warnings) or 'none found'}",
        f"Model    {reason}",
        f"Use      {percent(best['conversions'] / best['users'])} of the best 10% have "
        f"{use_case.title}, {best['lift']:.1f} times the average; expected of all "
        f"{percent(m['mean_probability'])}, found {percent(m['base_rate'])}",
    ]
    return FirstLook(
        lines=lines,
        kinds={name: one.kind for name, one in read.items() if one.kind},
        left_out={name: one.why for name, one in read.items() if one.why},
        leaks=leaks,
        card=card,
        trained=trained,
    )


def candidates() -> list[Candidate]:
    """Return the candidates of purchases, trees for few rows, and the mean of all."""
    every = {}
    for one in usecases.load("ga4_purchase").candidates:
        if one.algorithm != MEAN:
            every[one.name] = one
    for one in usecases.load("card_fraud").candidates:
        if one.algorithm == "HistGradientBoostingClassifier":
            name = f"{one.name}_of_few_rows"
            every[name] = Candidate(name, one.algorithm, one.parameters)
    return [*every.values(), Candidate("average", "VotingClassifier", {"of": [*every]})]


def _name_of(column: str, frame: pd.DataFrame) -> str:
    """Return a feature's name: the column's, unless a training uses it itself."""
    name = column
    while name.lower() in RESERVED or (name != column and name in frame.columns):
        name += "_"
    return name


def _listed(read: Mapping[str, Feature]) -> str:
    """Write the columns by their kinds, and the ones left out."""
    by_kind: dict[str, list[str]] = {}
    left_out = []
    for column, one in read.items():
        if one.kind:
            by_kind.setdefault(one.kind, []).append(column)
        else:
            left_out.append(f"{column} ({one.why})")
    listed = [f"{kind}: {', '.join(some)}" for kind, some in by_kind.items()]
    return "; ".join([*listed, f"left out: {', '.join(left_out) or 'none'}"])


def _check_names(frame: pd.DataFrame, named: Sequence[str]) -> None:
    for column in named:
        if column not in frame.columns:
            near = difflib.get_close_matches(column, frame.columns, n=1)
            hint = f"name one of {', '.join(near or frame.columns[:30])}"
            raise SchemaError(f"there is no column {column!r}", hint=hint)
    if twice := [*frame.columns[frame.columns.duplicated()]]:
        hint = "rename or remove one"
        raise SchemaError(f"there are two columns {twice[0]!r}", hint=hint)


def _check_users(users: pd.Series, shown: pd.Series, times: pd.Series) -> None:
    """Make sure that each row has a user, and each user one row at a time."""
    ids = columns.texts(users)
    if ids.isna().any():
        hint = "fill it in, or remove the row"
        refuse(users, ids.isna(), "is not a user", hint=hint)
    twice = pd.DataFrame({"user": ids, "time": times}).duplicated()
    if twice.any():
        problem = f"has another row at {shown[twice.argmax()]}"
        hint = f"keep one row for each {users.name} and {shown.name}"
        refuse(users, twice, problem, hint=hint)


def _is_older(known: pd.Series, times: pd.Series, shown: pd.Series) -> pd.Series:
    """
    Return which rows are older than all whose label is not known yet.

    Where an outcome shows at once and its absence later, the rows in between would be
    of one class.
    """
    unknown = known.isna()
    if not unknown.any():
        return ~unknown
    since = times[unknown].min()
    if since == times.min() or not unknown.groupby(times).any()[since:].all():
        hint = "fill it in, or remove the row"
        problem = "is missing, but later rows have a label"
        refuse(shown, unknown & (times == since), problem, hint=hint)
    return times < since


def _check_newest(steps: Steps, shown: pd.Series, known: pd.Series) -> None:
    """Refuse a label that no one has at the newest time, and should by the older."""
    is_newest = pd.Series(steps.of == steps.of.max(), known.index)
    share = known[~is_newest].mean()
    if known[is_newest].any() or not share * is_newest.sum() >= _EXPECTED:
        return
    problem = (
        f"is the label of all {is_newest.sum():,} rows of {steps.names[-1]}, and of "
        f"{percent(1 - share)} of the older ones: it is not known yet"
    )
    hint = "remove these rows, or leave their label empty"
    refuse(shown, is_newest, problem, hint=hint)


def _split(
    rows: pa.Table, use_case: UseCase, ways: Sequence[Steps], *, time: str, label: str
) -> tuple[pa.Table, Parts, Steps]:
    """Split by the first steps that leave enough, or say why the most natural don't."""
    refused: list[NotEnoughData] = []
    for steps in ways:
        horizon, count = steps.horizon_days, len(steps.days)
        days = pa.array(np.array(steps.days, "datetime64[D]")[steps.of])
        dated = rows.append_column("as_of", days)
        frame = Timeframe(lookback_days=1, horizon_days=horizon, settle_days=0)
        try:
            if count < FEWEST_SNAPSHOTS:
                raise NotEnoughData(
                    f"column {time} has {count} times: to train, to choose and to test "
                    f"takes {FEWEST_SNAPSHOTS}",
                    hint=_ADVICE,
                )
            if not frame.are_enough(steps.days):
                raise NotEnoughData(
                    f"column {label} is known too late: {horizon} days after {time}, "
                    f"whose values are from {steps.names[0]} to {steps.names[-1]}",
                    hint=f"{_ADVICE}, or lower --horizon-days",
                )
            parts = of_users(dated, use_case, frame, settings=_SETTINGS, advice=_ADVICE)
            return dated, parts, steps
        except NotEnoughData as error:
            refused.append(error)
    raise refused[0]


# -- what a column tells alone --------------------------------------------------------


def _with_baseline(parts: Parts, use_case: UseCase) -> tuple[Parts, UseCase]:
    """Make the column that alone ranks the judged rows best the baseline."""
    older, every = parts.before.between(0, parts.blocks[0].fit_end), parts.every
    areas = dict[str, float]()
    for name, kind in use_case.features.items():
        areas[name] = _area(older, parts.choosing, name, kind)
    best = max(areas, key=lambda name: abs(areas[name] - 0.5))
    baseline = Baseline(feature=best, ascending=areas[best] < 0.5)
    if use_case.features[best] == CATEGORY:
        rates = ranks_alone(older, every, best, CATEGORY)
        baseline = Baseline(feature=f"{best} (rate)", ascending=False)
        rows = every.rows.append_column(baseline.feature, pa.array(rates))
        every = replace(every, rows=rows)
        parts = replace(
            parts,
            every=every,
            before=every.between(0, len(parts.before)),
            fitting=every.between(0, len(parts.fitting)),
            holdout=every.between(len(parts.before)),
        )
    return parts, structs.replace(use_case, baseline=baseline)


def _leaks(parts: Parts, use_case: UseCase) -> dict[str, str]:
    """Return columns that alone nearly decide the label, or are written after it."""
    fit_end, every = parts.blocks[0].fit_end, parts.every
    older, later = every.between(0, fit_end), every.between(fit_end)
    found = {}
    for name, kind in use_case.features.items():
        area = _area(older, later, name, kind)
        filled, newest = (
            1 - part.rows[name].null_count / len(part)
            for part in (parts.before, parts.holdout)
        )
        if max(area, 1 - area) >= LEAK:
            found[name] = f"alone ranks at ROC AUC {max(area, 1 - area):.3f}"
        elif newest < filled * _FILLED_LESS:
            found[name] = (
                f"is filled in {percent(filled)} of the older rows and "
                f"{percent(newest)} of the newest, as if written later"
            )
        elif sure := _sure(every, name):
            found[name] = sure
    return found


def _area(older: Slice, part: Slice, name: str, kind: str) -> float:
    """Return the ROC AUC of a column alone; 0.5 where there is one class."""
    area = part.roc_auc(ranks_alone(older, part, name, kind))
    return 0.5 if area is None else area


def _sure(every: Slice, name: str) -> str:
    """Say which value has the rarer label only, if one has; a gap is a value."""
    values = every.rows[name].to_pandas()
    texts = values.astype("str").where(values.notna(), "empty")
    if texts.nunique() > _MOST_VALUES:
        usual = texts.mode()[0]
        texts = texts.where(texts == usual, f"not {usual}")
    rarer = int(2 * every.conversions < len(every))
    rates = pd.Series(every.label == rarer).groupby(texts).agg(["size", "mean"])
    sure = rates[(rates["size"] >= _SURE_ROWS) & (rates["mean"] >= _SURE_SHARE)]
    if sure.empty:
        return ""
    count = sure["size"].iloc[0]
    return f"is {sure.index[0]} in {count:,} rows, nearly all of label {rarer}"
