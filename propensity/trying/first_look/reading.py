"""A labelled table, read: its rows with an outcome, and those whose outcome is open."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
import pyarrow as pa
from msgspec import convert, structs

from propensity import folders
from propensity.budget import Budget
from propensity.errors import NotEnoughData, SchemaError
from propensity.learning.candidates import PARALLEL_ROWS
from propensity.learning.rows import in_order
from propensity.learning.task import MEAN, RESERVED, Baseline, Candidate, Task
from propensity.pages.words import percent, plural
from propensity.suggestions import instead
from propensity.table_files.column import (
    Feature,
    by_their_clock,
    have_decimal_commas,
    is_moments,
    one_form,
)
from propensity.table_files.texts import refuse, texts
from propensity.timeframe import FEWEST_SNAPSHOTS, Timeframe
from propensity.trying.first_look import columns
from propensity.trying.first_look.columns import Steps

# If this many outcomes are expected and none is there, it is not by chance.
EXPECTED = 10
# The column of a training's rows that says when each was true, where that is a moment.
ROW_TIME = "row_time"
_RESERVED = RESERVED | {ROW_TIME}
ADVICE = "Add older rows, or rows of more users"


@dataclass(frozen=True, kw_only=True)
class ReadTable:
    """
    The rows of a table that can be tried.

    Attributes:
        task: What a training is told of the table.
        label: The column of the labels.
        rows: As a training has them, in order; ``unlabelled`` are left out.
        timeframe: When the label of one of the ``steps`` is known.
        open_rows: Rows whose outcome is not known, as they are, with ``open_times``.
        time, user: None where nothing says when a row was true, or whose it is.
        features: By column; ``rows`` have their values.
        test_times: How many of the newest times test; None for as many as it takes.
        missing: Words that stand for a missing value.
    """

    task: Task
    label: str
    rows: pa.Table
    steps: Steps
    timeframe: Timeframe
    unlabelled: int
    open_rows: pd.DataFrame
    time: str | None
    times: pd.Series | None
    open_times: pd.Series | None
    user: str | None
    features: Mapping[str, Feature]
    test_times: int | None
    missing: Sequence[str]

    @cached_property
    def columns(self) -> Mapping[str, str]:
        """Columns of features by their names in a training."""
        return names_in_training(self.features)

    @property
    def used(self) -> Mapping[str, Feature]:
        """Features by their names in a training."""
        return {name: self.features[column] for name, column in self.columns.items()}

    def without(self, leaks: Mapping[str, str]) -> ReadTable:
        """Return the table with columns left out that may know the outcome."""
        features = dict(self.features)
        for name, why in leaks.items():
            if features[name].kind:
                features[name] = Feature(why="it may know the outcome", leak=why)
        left = names_in_training(features)
        dropped = [name for name in self.columns if name not in left]
        kinds = {name: self.task.features[name] for name in left}
        return replace(
            self,
            task=structs.replace(self.task, features=kinds),
            features=features,
            rows=self.rows.drop_columns(dropped),
        )


def names_in_training(features: Mapping[str, Feature]) -> Mapping[str, str]:
    """Return columns by their names in a training, which uses some names itself."""
    names = {}
    for column, feature in features.items():
        name = column
        while name.lower() in _RESERVED or (name != column and name in features):
            name += "_"
        if feature.kind:
            names[name] = column
    return names


def read_table(
    table: pd.DataFrame | pa.Table,
    *,
    label: str,
    time: str | None = None,
    user: str | None = None,
    outcome: object | None = None,
    title: str | None = None,
    categories: Sequence[str] = (),
    plans: Sequence[str] = (),
    without: Sequence[str] = (),
    horizon_days: int | None = None,
    test_times: int | None = None,
    candidates: Sequence[Candidate] | None = None,
    missing: Sequence[str] = (),
    name: str = "table",
) -> ReadTable:
    """Read a table that is to be tried; arguments and errors are ``try_table``'s."""
    frame = columns.frame_of(table, missing, [label, time, user])
    label = one_form(label)
    time = one_form(time)
    user = one_form(user)
    categories = listed_names(frame, categories)
    plans = listed_names(frame, plans)
    without = listed_names(frame, without)
    for option, value in (("horizon-days", horizon_days), ("test-times", test_times)):
        if value is not None and time is None:
            hint = "Name the column that says when a row was true by --time"
            raise SchemaError(f"--{option} needs a time", hint=hint)
    keys = [column for column in (label, time, user) if column is not None]
    ignored = keys + list(without)
    check_names(frame, keys, list(categories) + list(plans) + list(without))
    labels, positive = columns.label_of(frame[label], outcome)
    times = None if time is None else columns.times_of(frame[time])
    if user is not None:
        columns.check_users(frame, user, time, times)
    is_tried = labels.notna()
    open_rows = frame[labels.isna()]
    open_times = None
    if times is not None:
        is_tried = _is_older(labels, times, frame[label])
        open_times = times[open_rows.index]
        times = times[is_tried]
    # Rows keep their numbers, which errors name.
    if not is_tried.all():
        frame = frame[is_tried]
    labels = labels[is_tried]
    features = features_of(frame.drop(columns=ignored), times, categories, plans)
    names = names_in_training(features)
    if not names:
        hint = "add a column, or leave out fewer"
        raise SchemaError(f"no column is left to predict {label} from", hint=hint)
    users = texts(frame.index.to_series() if user is None else frame[user])
    if times is None or time is None:
        steps = _random_steps(frame, users, user)
    else:
        steps = columns.steps_of(times, frame[time], horizon_days)
        _check_newest(steps, frame[label], labels)
    timeframe = _timeframe(steps, label, time, test_times)
    rows = {
        "as_of": pa.array(np.array(steps.days, "datetime64[D]")[steps.step_of_row]),
        "user_id": pa.array(users),
        "label": pa.array(labels.astype("int8")),
        "weight": pa.array(np.ones(len(labels))),
    }
    if is_moments(times):
        rows[ROW_TIME] = pa.array(by_their_clock(times))
    kinds = {}
    for feature, column in names.items():
        kinds[feature] = features[column].model_kind
        rows[feature] = features[column].array
        features[column] = replace(features[column], values=None)
    of_label = f"{label} = {positive}"
    if title is None:
        title = f"have {of_label}"
    task = Task(
        name=name,
        title=of_label,
        outcome=title,
        entity="row" if user is None else user,
        features=kinds,
        candidates=list(candidates or default_candidates(len(labels))),
        baseline=Baseline(feature="", ascending=False),
        threshold=0.5,
        budget=Budget(share=0.1),
        horizon_days=horizon_days,
    )
    return ReadTable(
        task=task,
        label=label,
        rows=in_order(pa.table(rows)),
        steps=steps,
        timeframe=timeframe,
        unlabelled=int((~is_tried).sum()),
        open_rows=open_rows,
        time=time,
        times=times,
        open_times=open_times,
        user=user,
        features=features,
        test_times=test_times,
        missing=missing,
    )


def _random_steps(frame: pd.DataFrame, users: pd.Series, user: str | None) -> Steps:
    if user is None:
        # Rows that are alike may be of one user, and are on one side.
        hashes = pd.util.hash_pandas_object(frame.astype("str"), index=False)
        users = hashes.astype("str")
    count = users.nunique()
    if count < FEWEST_SNAPSHOTS:
        kind = "user" if user else "kind"
        raise NotEnoughData(
            f"all rows are of {plural(count, kind)}. You need at least "
            f"{FEWEST_SNAPSHOTS}: to train, to choose and to test",
            hint=ADVICE,
        )
    return columns.random_steps(users)


def _check_newest(steps: Steps, shown: pd.Series, labels: pd.Series) -> None:
    """Refuse a label that no one has at the newest time, and should by the older."""
    is_newest = pd.Series(steps.step_of_row == steps.step_of_row.max(), labels.index)
    share = labels[~is_newest].mean()
    if labels[is_newest].any() or not share * is_newest.sum() >= EXPECTED:
        return
    problem = (
        f"is the label of all {is_newest.sum():,} rows of {steps.names[-1]}, and of "
        f"{percent(1 - share)} of the older ones: it is not known yet"
    )
    hint = "remove these rows, or leave their label empty"
    refuse(shown, is_newest, problem, hint=hint)


def _timeframe(
    steps: Steps, label: str, time: str | None, test_times: int | None
) -> Timeframe:
    """Return when labels are known; refuse steps that are too few to train and test."""
    horizon = steps.horizon_days
    timeframe = Timeframe(lookback_days=1, horizon_days=horizon, settle_days=0)
    if len(steps.days) < FEWEST_SNAPSHOTS:
        raise NotEnoughData(
            f"column {time} has only {plural(len(steps.days), 'value')}. You need "
            f"at least {FEWEST_SNAPSHOTS}: to train, to choose and to test",
            hint=f"{ADVICE}, or leave --time out",
        )
    if not timeframe.are_enough(steps.days):
        raise NotEnoughData(
            f"column {label} is known too late: {horizon} days after {time}, "
            f"whose values are from {steps.names[0]} to {steps.names[-1]}",
            hint=f"{ADVICE}, or lower --horizon-days",
        )
    if test_times is None:
        return timeframe
    if not timeframe.are_enough(steps.days[: len(steps.days) - test_times + 1]):
        raise NotEnoughData(
            f"--test-times {test_times} leaves too few of the "
            f"{plural(len(steps.days), 'time')} to train and to choose",
            hint=f"{ADVICE}, or lower --test-times",
        )
    return timeframe


def features_of(
    frame: pd.DataFrame,
    times: pd.Series | None,
    categories: Sequence[str],
    plans: Sequence[str] = (),
) -> dict[str, Feature]:
    has_commas = have_decimal_commas(frame)
    features = {}
    for name, column in frame.items():
        is_plan = name in plans
        feature = Feature.decide(
            column,
            times,
            has_commas=has_commas,
            is_category=name in categories,
            is_plan=is_plan,
        )
        if is_plan and feature.kind != "date" and not feature.why:
            raise SchemaError(
                f"--plans {name} has no dates, but is a {feature.kind}",
                hint="Leave it out of --plans",
            )
        features[str(name)] = feature
    return features


def default_candidates(rows: int) -> list[Candidate]:
    """
    Return the candidates of purchases, trees for few rows, and the mean of all.

    Of many rows both kinds of trees are the same, and there is one.
    """
    if rows > PARALLEL_ROWS:
        return declared_candidates("ga4_purchase")
    members = []
    for candidate in declared_candidates("ga4_purchase"):
        if candidate.algorithm != MEAN:
            members.append(candidate)
    for candidate in declared_candidates("card_fraud"):
        if candidate.algorithm == "HistGradientBoostingClassifier":
            name = f"{candidate.name}_of_few_rows"
            members.append(Candidate(name, candidate.algorithm, candidate.parameters))
    names = [member.name for member in members]
    mean = Candidate("average", "VotingClassifier", {"of": names})
    return members + [mean]


def declared_candidates(use_case: str) -> list[Candidate]:
    """Return the candidates of a use case that ships, as its file has them."""
    file = folders.FOLDER / use_case / folders.FILE
    entries = tomllib.loads(file.read_text("utf-8"))
    return convert(entries["candidates"], list[Candidate])


def listed_names(frame: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """Return the columns that an option names, of which some may be one text: a,b."""
    listed = list[str]()
    for name in one_form(names):
        is_column = name in frame.columns or "," not in name
        listed += [name] if is_column else [part.strip() for part in name.split(",")]
    return listed


def check_names(
    frame: pd.DataFrame, keys: Sequence[str], others: Sequence[str]
) -> None:
    for column in list(keys) + list(others):
        if column not in frame.columns:
            hint = instead(str(column), frame.columns, kind="Columns")
            raise SchemaError(f"there is no column {column!r}", hint=hint)
    twice = list(frame.columns[frame.columns.duplicated()])
    if twice:
        hint = "rename or remove one"
        raise SchemaError(f"there are two columns {twice[0]!r}", hint=hint)
    for column in keys:
        if keys.count(column) > 1:
            hint = (
                "label, time and user are three columns; leave out which is not there"
            )
            raise SchemaError(f"column {column} is named twice", hint=hint)


def _is_older(labels: pd.Series, times: pd.Series, shown: pd.Series) -> pd.Series:
    """
    Return which rows are older than all whose label is not known yet.

    Where an outcome shows at once and its absence later, the rows in between would be
    of one class.
    """
    unknown = labels.isna()
    if not unknown.any():
        return ~unknown
    since = times[unknown].min()
    if since == times.min() or not unknown.groupby(times).any()[since:].all():
        hint = "fill it in, or remove the row"
        problem = "is missing, but later rows have a label"
        refuse(shown, unknown & (times == since), problem, hint=hint)
    return times < since
