"""
Load postcodes and their socioeconomic index into the table ``postcode_index``.

A file is CSV or Parquet, with a column of postcodes and one of numbers. Postcodes are
compared in capitals and without spaces. A postcode with several values gets their lower
median; every British outward code gets the lower median of its postcodes, for those
that the table lacks.

One load job replaces the whole table: a failed job leaves the old one. Running
functions read it anew within an hour.
"""

from __future__ import annotations

import contextlib
import uuid
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from offline import table_files
from propensity import tables
from propensity.errors import SchemaError
from propensity.events.enrichment import normalised, outward
from propensity.gcp.warehouse import Warehouse
from propensity.settings import Settings

POSTCODE, INDEX = "postcode", "socioeconomic_idx"

# The longest postcodes of the world have ten. The functions keep the table in memory,
# every row as wide as the widest.
MAXIMUM_CHARACTERS = 16


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
    postcode_column: str = POSTCODE,
    index_column: str = INDEX,
    is_dry: bool = False,
) -> Outcome:
    """
    Read, check and load a file of postcodes.

    Args:
        path: CSV or Parquet, as ``table_files`` reads it.

    Raises:
        SchemaError: The file is not one of postcodes; names column or row.
        PropensityError: BigQuery did not take it. The old table is still there.
    """
    # First, so that a wrong setting is not found after minutes of reading.
    settings = None if is_dry else Settings.from_environment()
    columns = [postcode_column, index_column]
    table = table_files.read(path, columns, texts=[postcode_column])
    try:
        rows, summary = table_of(table, *columns, loaded_on=datetime.now(UTC).date())
    except SchemaError as error:
        raise SchemaError(f"{path}: {error.message}") from error
    outcome = Outcome(
        file=path.name,
        postcode_column=postcode_column,
        index_column=index_column,
        summary=summary,
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
    rows, summary = table_of(table, loaded_on=loaded_on)
    put(warehouse, rows)
    return summary


def put(warehouse: Warehouse, rows: pa.Table) -> None:
    """Replace ``postcode_index`` by rows of it, at once or not at all."""
    warehouse.create(tables.POSTCODE_INDEX)
    warehouse.replace(
        tables.POSTCODE_INDEX, rows, job_id=f"postcodes-{uuid.uuid4().hex}"
    )


def table_of(
    table: pa.Table,
    postcode_column: str = POSTCODE,
    index_column: str = INDEX,
    *,
    loaded_on: date,
) -> tuple[pa.Table, Summary]:
    """
    Return the rows of ``postcode_index``: postcodes, and their outward codes.

    The same for any order of the same rows.

    Raises:
        SchemaError: No row has both a postcode and an index, or one has what can be
            neither; rows are counted from 1, without a header.
    """
    rows = len(table)
    codes = _codes(table[postcode_column], postcode_column)
    given = pa.table(
        {POSTCODE: codes, INDEX: _values(table[index_column], index_column)}
    )
    complete = given.drop_null()
    without_postcode = given[POSTCODE].null_count
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


def _codes(column: pa.ChunkedArray, name: str) -> pa.Array:
    """Return postcodes, normalised; null where a row has none."""
    texts = table_files.identities(column, name).to_pylist()
    codes = [normalised(text or "") or None for text in texts]
    for row, code in enumerate(codes):
        if code and len(code) > MAXIMUM_CHARACTERS:
            raise SchemaError(
                f"row {row + 1}: {texts[row][:40]!r} in column {name!r} is no "
                f"postcode, it has more than {MAXIMUM_CHARACTERS} letters and digits"
            )
    return pa.array(codes, pa.string())


def _values(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """Return finite numbers; null where a row has none."""
    try:
        values = column.cast(pa.float64())
    except pa.ArrowException as error:
        raise SchemaError(f"column {name!r} holds no numbers: {error}") from error
    # Data frames write NaN for a missing number.
    values = pc.if_else(pc.is_nan(values), None, values)
    row = pc.index(pc.is_inf(values), True).as_py()
    if row >= 0:
        raise SchemaError(f"row {row + 1}: the index in column {name!r} is infinite")
    # Minus zero is no other value.
    return pc.add(values, 0.0)
