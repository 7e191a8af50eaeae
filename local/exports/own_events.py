"""
A table of events of the user's own, from files: Parquet or CSV.

They are loaded as the table that ``[events]`` of a ``usecase.toml`` names.
"""

from __future__ import annotations

import re
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from local.exports import sources
from local.exports.ga4_export import Summary
from propensity.errors import SchemaError
from propensity.timeframe import days_of_data
from propensity.usecases.declaration import Events

FILES = re.compile(r".+\.(parquet|csv(\.gz|\.zst)?)")


def load(client: Any, path: Path, events: Events) -> Summary:
    """
    Load a file, or all files of a folder, in place of what the table held.

    Raises:
        SchemaError: There is no file, or one has other columns or values.
    """
    files = [path] if path.is_file() else sorted(path.iterdir())
    tables = [sources.read(one, events) for one in files if FILES.fullmatch(one.name)]
    if not tables:
        raise SchemaError(
            f"{path} has no file of events: expected are .parquet, .csv, .csv.gz and "
            ".csv.zst"
        )
    rows = pa.concat_tables(tables)
    rows = rows.filter(
        pc.and_(*(rows[name].is_valid() for name in rows.column_names[:2]))
    )
    if not len(rows):
        raise SchemaError(f"{path} has no row with {events.user_id} and {events.time}")
    sources.load(client, events, rows)
    return summary(rows, events)


def summary(rows: pa.Table, events: Events) -> Summary:
    """Return what the demo needs to know of the events."""
    times, names = rows[events.time], set[str]()
    days: dict[date, int] = {}
    for one in times.cast(pa.date32(), safe=False).value_counts().to_pylist():
        days[one["values"]] = one["counts"]
    if events.name:
        names.update(rows[events.name].unique().drop_null().to_pylist())
    dates = days_of_data(days)
    # Days are whole where times are days; else the last may still have gone on.
    has_hours = pc.any(pc.not_equal(times, times.cast(pa.date32(), safe=False))).as_py()
    return Summary(
        rows=len(rows),
        users=pc.count_distinct(rows[events.user_id]).as_py(),
        dates=frozenset(dates),
        last_full_day=max(dates) - timedelta(days=bool(has_hours)),
        events=frozenset(names),
        user_columns=frozenset(),
    )
