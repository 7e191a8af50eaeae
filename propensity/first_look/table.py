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
from functools import cached_property

import numpy as np
import pandas as pd
import pyarrow as pa
from msgspec import structs

from propensity import usecases
from propensity.clock import SYSTEM
from propensity.errors import NotEnoughData, SchemaError
from propensity.first_look import columns
from propensity.first_look.columns import FEWEST, Feature, Steps, refuse
from propensity.learning import gate
from propensity.learning.card import Origin, UserCard, user_card
from propensity.learning.importance import ranks_alone
from propensity.learning.report import version_page
from propensity.learning.rows import Parts, Slice
from propensity.learning.split import of_users
from propensity.learning.trained import LEAK, Trained
from propensity.learning.users import UserTraining
from propensity.pages.words import percent
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
_SURE_ROWS = 20
_SURE_SHARE = 0.98
# A column that is filled so much less often in the newest rows is filled in later.
_FILLED_LESS = 0.1


class _Small(Settings):
    """Settings for a table of a few hundred rows: intervals say what it cannot tell."""

    minimum_training_rows = 50
    minimum_conversions = FEWEST


_SETTINGS = _Small(project="none")


@dataclass(frozen=True, kw_only=True)
class ReadTable:
    """
    The rows of a table that can be tried; they keep their numbers, which errors name.

    Attributes:
        name: Of the table, for the report.
        label: The column of ``labels``, which are 1 where it is ``positive``, or 0.
        unlabelled: How many rows are left out.
        time: The column of ``times``; None where nothing says when a row was true.
        user: The column of ``users``; None where each row is of another one.
        features: By column.
    """

    name: str
    label: str
    positive: str
    labels: pd.Series
    unlabelled: int
    time: str | None
    times: pd.Series | None
    user: str | None
    users: pd.Series
    features: Mapping[str, Feature]

    @cached_property
    def used(self) -> Mapping[str, Feature]:
        """Features by their names in a training, which uses some names itself."""
        used = {}
        for column, feature in self.features.items():
            name = column
            while name.lower() in RESERVED or (
                name != column and name in self.features
            ):
                name += "_"
            if feature.kind:
                used[name] = feature
        return used

    @cached_property
    def use_case(self) -> UseCase:
        """What a training is told of the table."""
        title = f"{self.label} = {self.positive}"
        kinds: dict[str, FeatureKind] = {}
        for name, feature in self.used.items():
            kinds[name] = "category" if feature.kind == "category" else "number"
        return UseCase(
            name=self.name,
            title=title,
            outcome=f"have {title}",
            lookback_days=1,
            horizon_days=1,
            threshold=0.5,
            features=kinds,
            baseline=Baseline(feature="", ascending=False),
            candidates=candidates(),
        )

    def rows(self, steps: Steps) -> pa.Table:
        rows = {
            "as_of": pa.array(np.array(steps.days, "datetime64[D]")[steps.step_of_row]),
            "user_id": pa.array(self.users),
            "label": pa.array(self.labels.astype("int8")),
            "weight": pa.array(np.ones(len(self.labels))),
        }
        for name, feature in self.used.items():
            kind = pa.string() if feature.kind == "category" else pa.float64()
            rows[name] = pa.array(feature.values, kind, from_pandas=True)
        return pa.table(rows)


@dataclass(frozen=True, kw_only=True)
class FirstLook:
    """
    What a table can predict; printed, five lines.

    Attributes:
        leaks: Why a column may know the outcome.
        card: As every model version has one.
    """

    table: ReadTable
    leaks: Mapping[str, str]
    card: UserCard
    trained: Trained

    @property
    def kinds(self) -> Mapping[str, str]:
        """number, category or date by column."""
        features = self.table.features.items()
        return {name: feature.kind for name, feature in features if feature.kind}

    @property
    def left_out(self) -> Mapping[str, str]:
        """Why a column is no feature."""
        features = self.table.features.items()
        return {name: feature.why for name, feature in features if feature.why}

    @property
    def lines(self) -> Sequence[str]:
        """The five lines."""
        title = self.card.title
        metrics = self.card.metrics
        tested = self.card.split["holdout"]
        rows = f"{len(self.trained.parts.holdout):,} rows"
        test = f"{' to '.join(dict.fromkeys([tested[0], tested[-1]]))}, {rows}"
        if self.table.times is None:
            test = (
                f"{rows} drawn at random: without --time this cannot see whether it "
                "holds later, or what was written after the outcome"
            )
        if self.table.unlabelled:
            test += f"; {self.table.unlabelled:,} rows have no {self.table.label} yet"
        by_kind: dict[str, list[str]] = {}
        for column, kind in self.kinds.items():
            by_kind.setdefault(kind, []).append(column)
        listed = [f"{kind}: {', '.join(names)}" for kind, names in by_kind.items()]
        others = [f"{column} ({why})" for column, why in self.left_out.items()]
        listed.append(f"left out: {', '.join(others) or 'none'}")
        leaks = [f"{column} {why}" for column, why in self.leaks.items()]
        compared = gate.beside_baseline(self.trained, self.card.baseline.name)
        best = metrics.lift[0]
        share = percent(self.trained.parts.every.label.mean())
        return [
            f"Table    {len(self.table.labels):,} rows, {share} with {title}; "
            f"tested on {test}",
            f"Columns  {'; '.join(listed)}",
            f"Leaks    {'; '.join(leaks) or 'none found'}",
            f"Model    {compared}",
            f"Use      {percent(best.conversions / best.users)} of the best 10% "
            f"have {title}, {best.lift:.1f} times the average; expected of all "
            f"{percent(metrics.mean_probability)}, found "
            f"{percent(metrics.base_rate)}",
        ]

    def page(self) -> str:
        """Write the model report, an HTML page."""
        return version_page(self.card)

    def __repr__(self) -> str:
        return "\n".join(self.lines)


def try_table(
    table: pd.DataFrame | pa.Table,
    *,
    label: str,
    time: str | None = None,
    user: str | None = None,
    outcome: object | None = None,
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
        label: The column with the outcome: 1 or 0, yes or no, true or false.
        time: The column that says when a row was true; None to test on users drawn at
            random, which shows neither what changes with time nor every leak.
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
    frame = _frame(table)
    keys = [column for column in (label, time, user) if column is not None]
    _check_names(frame, keys, [*categories, *without])
    labels, positive = columns.label_of(frame[label], outcome)
    times = None if time is None else columns.times_of(frame[time])
    if user is not None:
        _check_users(frame, user, time, times)
    is_tried = labels.notna()
    if times is not None:
        is_tried = _is_older(labels, times, frame[label])
        times = times[is_tried]
    # Rows keep their numbers, which errors name.
    tried = frame[is_tried]
    read = ReadTable(
        name=name,
        label=label,
        positive=positive,
        labels=labels[is_tried],
        unlabelled=int((~is_tried).sum()),
        time=time,
        times=times,
        user=user,
        users=columns.texts(tried[user] if user else tried.index.to_series()),
        features=_features(tried.drop(columns=[*keys, *without]), times, categories),
    )
    if not read.used:
        hint = "add a column, or leave out fewer"
        raise SchemaError(f"no column is left to predict {label} from", hint=hint)
    steps, timeframe = _steps(read, tried, horizon_days)
    rows = read.rows(steps)
    parts = of_users(rows, read.use_case, timeframe, settings=_SETTINGS, advice=_ADVICE)
    leaks = _leaks(parts, read.use_case)
    for column, feature in read.features.items():
        if feature.leak:
            leaks[column] = feature.leak
    parts, use_case = _with_baseline(parts, read.use_case)
    training = UserTraining(parts=parts, use_case=use_case, settings=_SETTINGS)
    trained = training.run()
    card = _card(read, steps, leaks, use_case, trained)
    card = structs.replace(card, horizon_days=horizon_days)
    return FirstLook(table=read, leaks=leaks, card=card, trained=trained)


def _frame(table: pd.DataFrame | pa.Table) -> pd.DataFrame:
    """Return a table's columns by texts, with rows that are counted from 0."""
    frame = table
    if isinstance(table, pa.Table):
        frame = table.to_pandas()
        # Of a table of texts alone, such as CSV, nobody has said that they are texts.
        if all(pa.types.is_string(kind) for kind in table.schema.types):
            frame = frame.astype("object")
    plain = [columns.plain(column) for _, column in frame.items()]
    read = pd.DataFrame(index=frame.index) if not plain else pd.concat(plain, axis=1)
    read.columns = pd.Index([str(column) for column in frame.columns])
    for position, name in enumerate(frame.index.names):
        if name is not None and str(name) not in read.columns:
            read.insert(0, str(name), frame.index.get_level_values(position))
    return read.reset_index(drop=True)


def _features(
    frame: pd.DataFrame, times: pd.Series | None, categories: Sequence[str]
) -> dict[str, Feature]:
    has_commas = columns.has_decimal_commas(frame)
    features = {}
    for name, column in frame.items():
        if name in categories:
            features[str(name)] = columns.category_of(column)
        else:
            features[str(name)] = columns.feature_of(
                column, times, has_commas=has_commas
            )
    return features


def _steps(
    read: ReadTable, frame: pd.DataFrame, horizon_days: int | None
) -> tuple[Steps, Timeframe]:
    """Put rows into steps, with the time until their labels are known."""
    if read.time is None or read.times is None:
        if horizon_days is not None:
            hint = "Name the column that says when a row was true by --time"
            raise SchemaError("--horizon-days needs a time", hint=hint)
        # Rows that are alike may be of one user, and are on one side.
        rows = pd.util.hash_pandas_object(frame.astype("str"), index=False).astype(
            "str"
        )
        steps = columns.random_steps(read.users if read.user else rows)
    else:
        steps = columns.steps_of(read.times, frame[read.time], horizon_days)
        _check_newest(steps, frame[read.label], read.labels)
    horizon = steps.horizon_days
    timeframe = Timeframe(lookback_days=1, horizon_days=horizon, settle_days=0)
    if len(steps.days) < FEWEST_SNAPSHOTS:
        raise NotEnoughData(
            f"column {read.time} has {len(steps.days)} times: to train, to choose and "
            f"to test takes {FEWEST_SNAPSHOTS}",
            hint=f"{_ADVICE}, or leave --time out",
        )
    if not timeframe.are_enough(steps.days):
        raise NotEnoughData(
            f"column {read.label} is known too late: {horizon} days after {read.time}, "
            f"whose values are from {steps.names[0]} to {steps.names[-1]}",
            hint=f"{_ADVICE}, or lower --horizon-days",
        )
    return steps, timeframe


def _card(
    read: ReadTable,
    steps: Steps,
    leaks: Mapping[str, str],
    use_case: UseCase,
    trained: Trained,
) -> UserCard:
    """Return a card as every model version has one, with the names of steps."""
    reason = gate.beside_baseline(trained, f"{use_case.baseline.feature} alone")
    warnings = [f"{column} {why}" for column, why in leaks.items()]
    verdict = gate.Verdict(
        promoted=not warnings, reason="; LIKELY LEAK: ".join([reason, *warnings])
    )
    origin = Origin(
        rows=trained.parts.every.rows,
        as_of=steps.days[-1],
        trained_at=SYSTEM.now(),
    )
    card = user_card(use_case, trained, verdict, origin)
    names = dict(zip(map(str, steps.days), steps.names, strict=True))
    for day in card.profile["dates"]:
        day["as_of"] = names[str(day["as_of"])]
    split = {}
    for part, days in card.split.items():
        split[part] = [names[day] for day in days]
    return structs.replace(
        card,
        heading="Test set",
        is_random=read.times is None,
        entity=read.user or "row",
        as_of=steps.names[-1],
        split=split,
    )


def candidates() -> list[Candidate]:
    """Return the candidates of purchases, trees for few rows, and the mean of all."""
    every = {}
    for candidate in usecases.load("ga4_purchase").candidates:
        if candidate.algorithm != MEAN:
            every[candidate.name] = candidate
    for candidate in usecases.load("card_fraud").candidates:
        if candidate.algorithm == "HistGradientBoostingClassifier":
            name = f"{candidate.name}_of_few_rows"
            every[name] = Candidate(name, candidate.algorithm, candidate.parameters)
    return [
        *every.values(),
        Candidate("average", "VotingClassifier", {"of": list(every)}),
    ]


def _check_names(
    frame: pd.DataFrame, keys: Sequence[str], others: Sequence[str]
) -> None:
    for column in [*keys, *others]:
        if column not in frame.columns:
            near = difflib.get_close_matches(str(column), frame.columns, n=1)
            hint = f"name one of {', '.join(near or frame.columns[:30])}"
            raise SchemaError(f"there is no column {column!r}", hint=hint)
    if twice := list(frame.columns[frame.columns.duplicated()]):
        hint = "rename or remove one"
        raise SchemaError(f"there are two columns {twice[0]!r}", hint=hint)
    for column in keys:
        if keys.count(column) > 1:
            hint = (
                "label, time and user are three columns; leave out which is not there"
            )
            raise SchemaError(f"column {column} is named twice", hint=hint)


def _check_users(
    frame: pd.DataFrame, user: str, time: str | None, times: pd.Series | None
) -> None:
    """Make sure that each row has a user, and each user one row at a time."""
    users = frame[user]
    ids = columns.texts(users)
    if ids.isna().any():
        hint = "fill it in, or remove the row"
        refuse(users, ids.isna(), "is not a user", hint=hint)
    twice = pd.DataFrame({"user": ids, "time": times}).duplicated()
    if time is not None and twice.any():
        problem = f"has another row at {frame[time][twice.argmax()]}"
        hint = f"keep one row for each {user} and {time}"
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
    is_newest = pd.Series(steps.step_of_row == steps.step_of_row.max(), known.index)
    share = known[~is_newest].mean()
    if known[is_newest].any() or not share * is_newest.sum() >= _EXPECTED:
        return
    problem = (
        f"is the label of all {is_newest.sum():,} rows of {steps.names[-1]}, and of "
        f"{percent(1 - share)} of the older ones: it is not known yet"
    )
    hint = "remove these rows, or leave their label empty"
    refuse(shown, is_newest, problem, hint=hint)


# -- what a column tells alone --------------------------------------------------------


def _with_baseline(parts: Parts, use_case: UseCase) -> tuple[Parts, UseCase]:
    """Make the column that alone ranks the judged rows best the baseline."""
    older = parts.before.between(0, parts.blocks[0].fit_end)
    every = parts.every
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
    fit_end = parts.blocks[0].fit_end
    every = parts.every
    older = every.between(0, fit_end)
    later = every.between(fit_end)
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
