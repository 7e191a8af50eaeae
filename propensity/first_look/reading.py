"""A labelled table, read: its rows with an outcome, and those whose outcome is open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
import pyarrow as pa

from propensity import usecases
from propensity.errors import SchemaError
from propensity.first_look import columns
from propensity.first_look.columns import Feature, Steps
from propensity.suggestions import instead
from propensity.texts import refuse, texts
from propensity.usecases import Baseline, Candidate, UseCase
from propensity.usecases.declaration import MEAN, RESERVED


@dataclass(frozen=True, kw_only=True)
class ReadTable:
    """
    The rows of a table that can be tried; they keep their numbers, which errors name.

    Attributes:
        name: Of the table, for the report.
        label: The column of ``labels``, which are 1 where it is ``positive``, or 0.
        unlabelled: How many rows are left out.
        tried: The rows as they are.
        open_rows: Rows whose outcome is not known, as they are, with ``open_times``.
        time: The column of ``times``; None where nothing says when a row was true.
        user: The column of ``users``; None where each row is of another one.
        features: By column.
        horizon_days: Until a label is known; None for until the table's next time.
    """

    name: str
    label: str
    positive: str
    labels: pd.Series
    unlabelled: int
    tried: pd.DataFrame
    open_rows: pd.DataFrame
    time: str | None
    times: pd.Series | None
    open_times: pd.Series | None
    user: str | None
    users: pd.Series
    features: Mapping[str, Feature]
    horizon_days: int | None

    @cached_property
    def columns(self) -> Mapping[str, str]:
        """Columns of features by their names in a training, which uses some itself."""
        names = {}
        for column, feature in self.features.items():
            name = column
            while name.lower() in RESERVED or (
                name != column and name in self.features
            ):
                name += "_"
            if feature.kind:
                names[name] = column
        return names

    @property
    def used(self) -> Mapping[str, Feature]:
        """Features by their names in a training."""
        return {name: self.features[column] for name, column in self.columns.items()}

    @cached_property
    def use_case(self) -> UseCase:
        """What a training is told of the table."""
        title = f"{self.label} = {self.positive}"
        kinds = {name: feature.model_kind for name, feature in self.used.items()}
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
            rows[name] = feature.array(feature.values)
        return pa.table(rows)

    def without(self, leaks: Mapping[str, str]) -> ReadTable:
        """Return the table with columns left out that may know the outcome."""
        features = dict(self.features)
        for name, why in leaks.items():
            if features[name].kind:
                features[name] = Feature(why="it may know the outcome", leak=why)
        return replace(self, features=features)


def read_table(
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
) -> ReadTable:
    """Read a table that is to be tried; arguments and errors are ``try_table``'s."""
    frame = columns.frame_of(table)
    keys = [column for column in (label, time, user) if column is not None]
    ignored = keys + list(without)
    check_names(frame, keys, list(categories) + list(without))
    labels, positive = columns.label_of(frame[label], outcome)
    times = None if time is None else columns.times_of(frame[time])
    if user is not None:
        columns.check_users(frame, user, time, times)
    is_tried = labels.notna()
    is_open = labels.isna()
    open_times = None
    if times is not None:
        is_tried = _is_older(labels, times, frame[label])
        open_times = times[is_open]
        times = times[is_tried]
    # Rows keep their numbers, which errors name.
    tried = frame[is_tried]
    read = ReadTable(
        name=name,
        label=label,
        positive=positive,
        labels=labels[is_tried],
        unlabelled=int((~is_tried).sum()),
        tried=tried,
        open_rows=frame[is_open],
        time=time,
        times=times,
        open_times=open_times,
        user=user,
        users=texts(tried.index.to_series() if user is None else tried[user]),
        features=features_of(tried.drop(columns=ignored), times, categories),
        horizon_days=horizon_days,
    )
    if not read.used:
        hint = "add a column, or leave out fewer"
        raise SchemaError(f"no column is left to predict {label} from", hint=hint)
    return read


def features_of(
    frame: pd.DataFrame, times: pd.Series | None, categories: Sequence[str]
) -> dict[str, Feature]:
    has_commas = columns.have_decimal_commas(frame)
    features = {}
    for name, column in frame.items():
        if name in categories:
            features[str(name)] = columns.category_of(column)
        else:
            features[str(name)] = columns.feature_of(
                column, times, has_commas=has_commas
            )
    return features


def candidates() -> list[Candidate]:
    """Return the candidates of purchases, trees for few rows, and the mean of all."""
    members = []
    for candidate in usecases.load("ga4_purchase").candidates:
        if candidate.algorithm != MEAN:
            members.append(candidate)
    for candidate in usecases.load("card_fraud").candidates:
        if candidate.algorithm == "HistGradientBoostingClassifier":
            name = f"{candidate.name}_of_few_rows"
            members.append(Candidate(name, candidate.algorithm, candidate.parameters))
    names = [member.name for member in members]
    mean = Candidate("average", "VotingClassifier", {"of": names})
    return members + [mean]


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
