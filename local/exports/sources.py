"""
Tables of the user's own, from Parquet or CSV: events, and sources of features.

Files of events are loaded as the table that ``[events]`` of a ``usecase.toml`` names. A
file of a folder ``sources/`` has the name of a source of the use case, as
``loyalty.csv``; it is loaded as the table that ``usecase.toml`` names, and replaces it.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from local.processes import PATIENCE_S
from propensity.errors import SchemaError
from propensity.schema import Column, arrow_type
from propensity.table_files import files as table_files
from propensity.table_files.files import is_table
from propensity.timeframe import days_of_data
from propensity.usecases import UseCase
from propensity.usecases.declaration import Events, OwnSource, OwnTable

SOURCES = "sources"
# Files that a remark names.
NAMED = 5


@dataclass(frozen=True, kw_only=True)
class Summary:
    """
    What a data set holds; none of it hangs on one row, whose clock may be wrong.

    ``dates`` are the days that have data, without stray ones at the ends;
    ``last_full_day`` is the last UTC day that they cover to its end.
    ``events`` are the names that several events have, and ``user_columns`` those of
    user_pseudo_id and user_id. ``remarks`` say what was left out, in words.
    """

    rows: int
    users: int
    dates: frozenset[date]
    last_full_day: date
    events: frozenset[str]
    user_columns: frozenset[str]
    remarks: Sequence[str] = ()


def visible(folder: Path) -> list[Path]:
    """
    List a folder's files, and those of its folders.

    Tables of the user's own, beside the events, are none of them, nor is what a system
    hides, as macOS does with `._events.json`.
    """
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.parent != folder / SOURCES
        and not any(part[0] == "." for part in path.relative_to(folder).parts)
    ]


def remark(paths: Sequence[Path], what: str) -> str:
    """Say something of files, and name the first of them."""
    names = [path.name for path in paths[:NAMED]]
    more = " …" if len(paths) > NAMED else ""
    return f"{len(paths):,} files {what}: {', '.join(names)}{more}"


def load_folder(client: Any, folder: Path, use_case: UseCase) -> None:
    """Load the sources of a use case from ``folder/sources``."""
    tables = [path for path in (folder / SOURCES).glob("[!.]*") if is_table(path.name)]
    files = {path.name.partition(".")[0]: path for path in tables}
    sources = use_case.sources
    for name in sorted(files.keys() ^ sources.keys()):
        existing = ", ".join(sorted(files)) if files else "nothing"
        declared = ", ".join(sources) if sources else "none"
        raise SchemaError(
            f"{folder / SOURCES} has {existing}, and the sources of {use_case.name} "
            f"are {declared}: {name} is expected in both, as a file .parquet or .csv "
            "and under [sources]"
        )
    if len(files) < len(tables):
        names = ", ".join(sorted(path.name for path in tables))
        raise SchemaError(f"{folder / SOURCES} has a source twice: {names}. Remove one")
    for name, path in files.items():
        load(client, sources[name], read(path, sources[name]))


def read(path: Path, source: OwnSource | Events) -> pa.Table:
    """
    Read a table in the types that it declares; raise SchemaError for other values.
    """
    rows = table_files.read_file(path, list(source.types))
    with table_files.named(path):
        columns = {
            name: table_files.typed(rows, name, kind)
            for name, kind in source.types.items()
            if name != source.user_id
        }
        ids = table_files.identities(rows[source.user_id], source.user_id)
    return pa.table({source.user_id: ids, **columns})


def table_of(source: OwnSource | Events, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Return made-up rows as a table of the types that a source declares."""
    return pa.Table.from_pylist(list(rows), _schema(source))


def _schema(source: OwnSource | Events) -> pa.Schema:
    columns = (Column(name, kind, "") for name, kind in source.types.items())
    return pa.schema([(column.name, arrow_type(column)) for column in columns])


def load(client: Any, source: OwnTable, rows: pa.Table) -> None:
    """Replace a table of the user's own; its project and dataset are made for it."""
    from google.cloud.bigquery import Dataset

    project, dataset, name = source.place(client.project)
    client.create_dataset(Dataset(f"{project}.{dataset}"), exists_ok=True)
    replace_table(client, f"{project}.{dataset}.{name}", rows)


def replace_table(client: Any, table: str, rows: pa.Table) -> None:
    """Have a table hold these rows alone, by a load job."""
    from google.cloud.bigquery import LoadJobConfig, ParquetOptions

    parquet = ParquetOptions()
    parquet.enable_list_inference = True
    file = io.BytesIO()
    pq.write_table(rows, file)
    config = LoadJobConfig(source_format="PARQUET", parquet_options=parquet)
    config.write_disposition = "WRITE_TRUNCATE"
    job = client.load_table_from_file(file, table, rewind=True, job_config=config)
    job.result(timeout=PATIENCE_S)


def load_events(client: Any, path: Path, events: Events) -> Summary:
    """Load a file, or all files of a folder, in place of what the table held."""
    paths = visible(path) if path.is_dir() else [path]
    files = [file for file in paths if file == path or is_table(file.name)]
    if not files:
        raise SchemaError(
            f"{path} has no file of events: expected are .parquet and .csv"
        )
    rows = pa.concat_tables(read(file, events) for file in files)
    is_event = pc.and_(rows[events.user_id].is_valid(), rows[events.time].is_valid())
    kept = rows.filter(is_event)
    if not len(kept):
        raise SchemaError(f"{path} has no row with {events.user_id} and {events.time}")
    load(client, events, kept)
    return replace(summary_of(kept, events), remarks=_remarks(paths, files, rows, kept))


def _remarks(
    paths: Sequence[Path], files: Sequence[Path], rows: pa.Table, kept: pa.Table
) -> list[str]:
    """Say what is left out, and what counts several times."""
    remarks = []
    others = [file for file in paths if file not in files]
    if others:
        remarks.append(remark(others, "are left out, because of their ending"))
    if len(kept) < len(rows):
        count = len(rows) - len(kept)
        remarks.append(f"{count:,} rows without a user or a time are left out")
    distinct = kept.group_by(kept.column_names).aggregate([])
    if len(distinct) < len(kept):
        count = len(kept) - len(distinct)
        remarks.append(
            f"{count:,} rows repeat another one, and count as further events"
        )
    return remarks


def summary_of(rows: pa.Table, events: Events) -> Summary:
    """Return what the demo needs to know of the events."""
    times = rows[events.time]
    days = times.cast(pa.date32(), safe=False)
    names = set[str]()
    if events.name:
        names.update(rows[events.name].unique().drop_null().to_pylist())
    counts = days.value_counts().to_pylist()
    dates = days_of_data({day["values"]: day["counts"] for day in counts})
    # Days are whole where most times are days; else the last may still have gone on.
    has_hours = 2 * pc.sum(pc.not_equal(times, days)).as_py() > len(rows)
    return Summary(
        rows=len(rows),
        users=pc.count_distinct(rows[events.user_id]).as_py(),
        dates=frozenset(dates),
        last_full_day=max(dates) - timedelta(days=has_hours),
        events=frozenset(names),
        user_columns=frozenset(),
    )
