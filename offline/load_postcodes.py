"""
Load postcodes and their socioeconomic index into the table ``postcode_index``.

A file is CSV (separated by commas, semicolons, tabs or bars; plain, gzip or Zstandard)
or Parquet, with a column of postcodes and one of numbers. Columns without a name are
guessed: postcode, and socioeconomic_idx or else the only numeric column. Postcodes are
compared in capitals and without spaces. A postcode with several values gets their lower
median; every British outward code gets the lower median of its postcodes, for those
that the table lacks.

One load job replaces the whole table: a failed job leaves the old one. Running
functions read it anew within PROPENSITY_POSTCODE_TTL_S seconds.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from offline.csv_files import refusals_of
from offline.postcode_files import (
    INDEX,
    POSTCODE,
    SCHEMA,
    batches_of,
    columns_of,
    typed,
)
from propensity import tables
from propensity.edges.warehouse import Warehouse
from propensity.errors import SchemaError
from propensity.events.postcodes import outward
from propensity.settings import Settings

# The largest directories have some millions. A Parquet file of 400 kB can hold fifty
# million equal rows, which would fill the memory.
MAXIMUM_ROWS = 20_000_000


@dataclass(frozen=True, kw_only=True)
class Summary:
    """
    The rows of a file, by what was done with them.

    Of the rows with postcode and index, ``repeated`` are equal to another row;
    ``conflicts`` counts the postcodes with several values.
    """

    rows: int
    without_postcode: int
    without_index: int
    repeated: int
    conflicts: int
    postcodes: int
    outward_codes: int
    lowest: float
    highest: float

    def __str__(self) -> str:
        return (
            f"{self.rows:,} rows read: {self.postcodes:,} postcodes and "
            f"{self.outward_codes:,} outward codes, with an index from "
            f"{self.lowest:g} to {self.highest:g}\n"
            f"{self.without_postcode:,} rows without a postcode, "
            f"{self.without_index:,} without an index, {self.repeated:,} repeated; "
            f"{self.conflicts:,} postcodes with several values"
        )


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What was read, and ``project.dataset`` of the table; empty if none was loaded."""

    file: str
    postcode_column: str
    index_column: str
    summary: Summary
    table: str = ""

    def __str__(self) -> str:
        replaced = (
            f"They replaced table {tables.POSTCODE_INDEX.name} of {self.table}."
            if self.table
            else "Nothing was loaded."
        )
        columns = f"{self.postcode_column}, {self.index_column}"
        return f"{self.file}: {columns}\n{self.summary}\n{replaced}"


def run(
    path: Path,
    *,
    postcode_column: str | None = None,
    index_column: str | None = None,
    is_dry: bool = False,
) -> Outcome:
    """
    Read, check and load a file of postcodes.

    Args:
        path: CSV or Parquet.
        postcode_column: Its name, None to guess.
        index_column: Its name, None to guess.

    Raises:
        SchemaError: The file is not one of postcodes; names column or row.
        PropensityError: BigQuery did not take it. The old table is still there.
    """
    # First, so that a wrong setting is not found after minutes of reading.
    settings = None if is_dry else Settings.from_environment()
    with refusals_of(path):
        postcodes, index = columns_of(path, postcode_column, index_column)
        batches = batches_of(path, postcodes, index)
        rows, summary = table_of(batches, loaded_on=datetime.now(UTC).date())
    outcome = Outcome(
        file=path.name, postcode_column=postcodes, index_column=index, summary=summary
    )
    if settings is None:
        return outcome
    with contextlib.closing(Warehouse.open(settings)) as warehouse:
        put(warehouse, rows)
    return replace(outcome, table=f"{settings.project}.{settings.dataset}")


def load(warehouse: Warehouse, table: pa.Table, *, loaded_on: date) -> Summary:
    """
    Replace ``postcode_index`` by postcodes that are in memory.

    Args:
        table: Columns ``postcode`` and ``socioeconomic_idx``; others are left out.

    Raises:
        SchemaError: No row has both, or one has what can be neither.
        PropensityError: BigQuery did not take it. The old table is still there.
    """
    batches = typed(table.select([POSTCODE, INDEX]).to_batches(), POSTCODE, INDEX)
    rows, summary = table_of(batches, loaded_on=loaded_on)
    put(warehouse, rows)
    return summary


def put(warehouse: Warehouse, rows: pa.Table) -> None:
    """Replace ``postcode_index`` by rows of it, at once or not at all."""
    warehouse.create(tables.POSTCODE_INDEX)
    warehouse.replace(
        tables.POSTCODE_INDEX, rows, job_id=f"postcodes-{uuid.uuid4().hex}"
    )


def table_of(
    batches: Iterable[pa.RecordBatch], *, loaded_on: date
) -> tuple[pa.Table, Summary]:
    """
    Return the rows of ``postcode_index``: postcodes, and their outward codes.

    The same for any order of the same rows.

    Raises:
        SchemaError: No row has both a postcode and an index, or there are more than
            ``MAXIMUM_ROWS``.
    """
    rows = without_postcode = 0
    kept = []
    for batch in batches:
        rows += batch.num_rows
        if rows > MAXIMUM_ROWS:
            raise SchemaError(
                f"there are more than {MAXIMUM_ROWS:,} rows; a directory of postcodes "
                "has one for each. Leave out what is repeated"
            )
        without_postcode += batch.column(POSTCODE).null_count
        kept.append(batch.drop_null())
    complete = pa.Table.from_batches(kept, schema=SCHEMA)
    if not complete.num_rows:
        raise SchemaError(f"none of {rows:,} rows has both a postcode and an index")
    # By Arrow: a file of equal rows becomes small before pandas copies it.
    different = complete.group_by([POSTCODE, INDEX]).aggregate([]).to_pandas()
    by_postcode = different.groupby(POSTCODE)[INDEX]
    values = by_postcode.quantile(interpolation="lower")
    by_outward = values.groupby(values.index.map(outward))
    medians = by_outward.quantile(interpolation="lower")
    # An outward code that the file itself has an index of keeps that index.
    medians = medians.drop(medians.index.intersection(values.index))
    both = pd.concat([values, medians])
    table = pa.table(
        {
            "postcode": pa.array(both.index, pa.string()),
            "socioeconomic_idx": both.to_numpy(),
            "is_outward": np.arange(len(both)) >= len(values),
            "loaded_on": pa.repeat(pa.scalar(loaded_on), len(both)),
        }
    )
    summary = Summary(
        rows=rows,
        without_postcode=without_postcode,
        without_index=rows - without_postcode - complete.num_rows,
        repeated=complete.num_rows - len(different),
        conflicts=int((by_postcode.size() > 1).sum()),
        postcodes=len(values),
        outward_codes=len(medians),
        lowest=float(values.min()),
        highest=float(values.max()),
    )
    return table, summary
