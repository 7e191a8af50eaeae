"""
Tables of the user's own as sources of features: a folder ``sources/``.

A file of Parquet or CSV has the name of a source of the use case, as ``loyalty.csv``;
it is loaded as the table that ``usecase.toml`` names, and replaces it.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from offline import table_files
from propensity.errors import SchemaError
from propensity.schema import Column, arrow_type
from propensity.usecases import UseCase
from propensity.usecases.declaration import Events, OwnTable, Source

SOURCES, LOAD_TIMEOUT_S = "sources", 300


def load_folder(client: Any, folder: Path, use_case: UseCase) -> None:
    """
    Load the sources of a use case from ``folder/sources``.

    Raises:
        SchemaError: A source has no file, a file no source, or one cannot be read.
    """
    files = {path.stem: path for path in (folder / SOURCES).glob("*.[cp]*")}
    known = use_case.sources
    for name in sorted(files.keys() ^ known.keys()):
        raise SchemaError(
            f"{folder / SOURCES} has {', '.join(sorted(files)) or 'nothing'}, and the "
            f"sources of {use_case.name} are {', '.join(known) or 'none'}: {name} is "
            "expected in both, as a file .parquet or .csv and under [sources]"
        )
    for name, path in files.items():
        load(client, known[name], read(path, known[name]))


def read(path: Path, source: Source | Events) -> pa.Table:
    """
    Read the rows of a table of one's own, in the types that it declares.

    Raises:
        SchemaError: A column is missing, or holds something else.
    """
    rows = table_files.read(path, list(source.types))
    with table_files.named(path):
        columns = {
            name: table_files.typed(rows, name, kind)
            for name, kind in source.types.items()
            if name != source.user_id
        }
        ids = table_files.identities(rows[source.user_id], source.user_id)
    return pa.table({source.user_id: ids, **columns})


def table_of(source: Source | Events, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Return made-up rows as a table of the types that a source declares."""
    return pa.Table.from_pylist([*rows], _schema(source))


def _schema(source: Source | Events) -> pa.Schema:
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

    parquet = ParquetOptions()  # type: ignore[no-untyped-call]
    parquet.enable_list_inference = True
    file = io.BytesIO()
    pq.write_table(rows, file)
    config = LoadJobConfig(
        source_format="PARQUET",
        write_disposition="WRITE_TRUNCATE",
        parquet_options=parquet,
    )
    job = client.load_table_from_file(file, table, rewind=True, job_config=config)
    job.result(timeout=LOAD_TIMEOUT_S)
