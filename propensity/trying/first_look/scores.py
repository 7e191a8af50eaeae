"""
The rows to score: those of a tried table whose outcome is open, or of another table.

Their columns are read as the table's features were.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
        if table is not None:
            return cls.of_others(
                table,
                user=read.user,
                time=read.time,
                times=read.times,
                features=read.used,
                columns_of=read.columns,
                missing=read.missing,
            )
        if read.open_rows.empty:
            raise SchemaError(
                f"no row is left to score: each has a {read.label}",
                hint=f"Add rows whose {read.label} is empty, or name a file of rows by "
                "--rows",
            )
        return cls._newest(
            read.open_rows, read.open_times, read.user, read.used, read.columns
        )

    @classmethod
    def of_others(
        cls,
        table: pd.DataFrame | pa.Table,
        *,
        user: str | None,
        time: str | None,
        times: pd.Series | None,
        features: Mapping[str, Feature],
        columns_of: Mapping[str, str],
        missing: Sequence[str],
    ) -> RowsToScore:
        """
        Read rows of another table.

        Args:
            time, times: As the tried table has them; None where it has none.
            features, columns_of: What is read, and its column, by a model's names.
        """
        frame = columns.frame_of(table, missing, [time, user])
        keys = [name for name in (user, time) if name is not None]
        absent = [
            name for name in keys + list(columns_of.values()) if name not in frame
        ]
        if absent:
            raise SchemaError(
                f"the rows to score lack the column {absent[0]!r}",
                hint=f"Add it, or train without it by --without {absent[0]}",
            )
        if frame.empty:
            hint = "Add some below the header"
            raise SchemaError("there are no rows to score", hint=hint)
        times_of_rows = None
        if time is not None:
            times_of_rows = columns.times_of(frame[time])
            if is_moments(times_of_rows) != is_moments(times):
                every = pd.Series(True, frame.index)
                problem = "is not a time as the table has them"
                hint = "write the times in the same way"
                refuse(frame[time], every, problem, hint=hint)
        if user is not None:
            columns.check_users(frame, user, time, times_of_rows)
        return cls._newest(frame, times_of_rows, user, features, columns_of)

    @classmethod
    def _newest(
        cls,
        frame: pd.DataFrame,
        times: pd.Series | None,
        user: str | None,
        features: Mapping[str, Feature],
        columns_of: Mapping[str, str],
    ) -> RowsToScore:
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
