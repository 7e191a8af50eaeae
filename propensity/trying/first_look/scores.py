"""
The rows to score: those of a tried table whose outcome is open, or of another table.

Their columns are read as the table's features were.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from propensity.errors import SchemaError
from propensity.models.encoding import Floats
from propensity.table_files.column import Feature, is_moments
from propensity.table_files.texts import refuse, texts
from propensity.trying.first_look import columns
from propensity.trying.first_look.reading import ReadTable

# What a list has of each user beside the user.
COLUMNS = ("probability", "percentile", "reasons")


@dataclass(frozen=True, kw_only=True)
class RowsToScore:
    """
    A row for each user: the newest one.

    Attributes:
        users: Of the rows, by the name of their column; ``row`` where there is none.
        features: As a model reads them.
    """

    users: pd.Series
    features: pa.Table

    @classmethod
    def of(
        cls, read: ReadTable, table: pd.DataFrame | pa.Table | None = None
    ) -> RowsToScore:
        """
        Read rows to score.

        Args:
            table: All of its rows; None for the open rows of the tried table.
        """
        if read.user in COLUMNS:
            hint = "Rename the column"
            raise SchemaError(f"a list has a column {read.user} itself", hint=hint)
        if table is None:
            frame = read.open_rows
            times = read.open_times
            if frame.empty:
                raise SchemaError(
                    f"no row is left to score: each has a {read.label}",
                    hint=f"Add rows whose {read.label} is empty, or name a file of rows"
                    " by --rows",
                )
        else:
            frame = columns.frame_of(table, read.missing, [read.time, read.user])
            times = _times_of_others(read, frame)
        used = {name: read.features[column] for name, column in read.columns.items()}
        return cls.from_frame(
            frame, times, user=read.user, features=used, columns_of=read.columns
        )

    @classmethod
    def from_frame(
        cls,
        frame: pd.DataFrame,
        times: pd.Series | None,
        *,
        user: str | None,
        features: Mapping[str, Feature],
        columns_of: Mapping[str, str],
    ) -> RowsToScore:
        """
        Read the newest row of each user.

        Args:
            features, columns_of: What is read, and its column, by a model's names.
        """
        users = frame.index.to_series().add(1).rename("row")
        if user is not None:
            users = texts(frame[user])
        if user is not None and times is not None:
            oldest_first = users[times.sort_values(kind="stable").index]
            users = oldest_first.drop_duplicates(keep="last").sort_index()
            frame = frame.loc[users.index]
            times = times[users.index]
        elif user is not None:
            hint = "name the column that says when a row was true by --time"
            columns.check_once(frame[user], "has another row to score", hint)
        arrays = {}
        for name, feature in features.items():
            arrays[name] = feature.read(frame[columns_of[name]], times)
        return cls(users=users, features=pa.table(arrays))


def best_first(users: pd.Series, probability: Floats) -> pd.DataFrame:
    """
    Return users with their probabilities, (rows,), the best first.

    The index has the places of their rows. As in predictions, users who share a
    probability share the lowest percentile.
    """
    quantiles = np.quantile(probability, np.arange(101) / 100, method="lower")
    user = str(users.name)
    table = pd.DataFrame({user: users.to_numpy()})
    table["probability"] = probability
    table["percentile"] = np.maximum(1, np.searchsorted(quantiles, probability))
    return table.sort_values(["probability", user], ascending=[False, True])


def check_there(names: Iterable[str], frame: pd.DataFrame) -> None:
    """Raise SchemaError if rows to score lack a column."""
    missing = [name for name in names if name not in frame.columns]
    if missing:
        raise SchemaError(
            f"the rows to score lack the column {missing[0]!r}",
            hint=f"Add it, or train without it by --without {missing[0]}",
        )


def _times_of_others(read: ReadTable, frame: pd.DataFrame) -> pd.Series | None:
    """Return the times of another table's rows; raise SchemaError if it is wrong."""
    keys = [name for name in (read.user, read.time) if name is not None]
    check_there(keys + list(read.columns.values()), frame)
    if frame.empty:
        raise SchemaError(
            "there are no rows to score", hint="Add some below the header"
        )
    times = None
    if read.time is not None:
        times = columns.times_of(frame[read.time])
        if is_moments(times) != is_moments(read.times):
            every = pd.Series(True, frame.index)
            problem = "is not a time as the table has them"
            hint = "write the times in the same way"
            refuse(frame[read.time], every, problem, hint=hint)
    if read.user is not None:
        columns.check_users(frame, read.user, read.time, times)
    return times
