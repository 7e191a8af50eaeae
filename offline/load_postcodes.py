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
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from offline.postcode_files import BATCH_ROWS, INDEX, POSTCODE, SCHEMA, opened, typed
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

    Of those with postcode and index, ``repeated`` say what another row has said, and
    ``conflicts`` counts postcodes that have more than one value.
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
    """A file of postcodes that was read, and the table it replaced; empty for none."""

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
        is_dry: Whether nothing is loaded.

    Raises:
        SchemaError: The file is not one of postcodes; names column or row.
        PropensityError: BigQuery did not take it. The old table is still there.
    """
    # First, so that a wrong setting is not found after minutes of reading.
    settings = None if is_dry else Settings.from_environment()
    with opened(
        path, postcode_column=postcode_column, index_column=index_column
    ) as file:
        rows, summary = table_of(file.batches(), loaded_on=datetime.now(UTC).date())
    outcome = Outcome(
        file=path.name,
        postcode_column=file.postcode_column,
        index_column=file.index_column,
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
        warehouse: Of the deployment.
        table: Columns ``postcode`` and ``socioeconomic_idx``; others are left out.
        loaded_on: Today in UTC.

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

    Args:
        batches: As ``typed`` yields them.
        loaded_on: Today in UTC.

    Raises:
        SchemaError: No row has both a postcode and an index, or there are more than
            ``MAXIMUM_ROWS``.
    """
    rows = without_postcode = without_index = 0
    kept = []
    for batch in batches:
        rows += batch.num_rows
        if rows > MAXIMUM_ROWS:
            raise SchemaError(
                f"there are more than {MAXIMUM_ROWS:,} rows; a directory of postcodes "
                "has one for each. Leave out what is repeated"
            )
        codes, values = batch.columns
        without_postcode += codes.null_count
        is_said = codes.is_valid()
        without_index += pc.sum(pc.and_(is_said, values.is_null())).as_py() or 0
        kept.append(batch.filter(pc.and_(is_said, values.is_valid())))
    complete = pa.Table.from_batches(kept, schema=SCHEMA)
    if not complete.num_rows:
        raise SchemaError(f"none of {rows:,} rows has both a postcode and an index")
    codes, values = _sorted(
        complete[POSTCODE].combine_chunks(), complete[INDEX].combine_chunks()
    )
    is_other = pa.array(_is_new(codes) | _is_new(values))
    codes, values, sizes = _low_medians(codes.filter(is_other), values.filter(is_other))
    parts = _outward(codes)
    is_british = parts.is_valid()
    part, medians, _ = _low_medians(
        *_sorted(parts.filter(is_british), values.filter(is_british))
    )
    # One that the file itself has an index of keeps it.
    is_new = pc.invert(pc.is_in(part, codes))
    part, medians = part.filter(is_new), medians.filter(is_new)
    is_outward = np.repeat([False, True], [len(codes), len(part)])
    table = pa.table(
        {
            "postcode": pa.concat_arrays([codes, part]),
            "socioeconomic_idx": pa.concat_arrays([values, medians]),
            "is_outward": pa.array(is_outward),
            "loaded_on": pa.repeat(pa.scalar(loaded_on), len(is_outward)),
        }
    )
    summary = Summary(
        rows=rows,
        without_postcode=without_postcode,
        without_index=without_index,
        repeated=complete.num_rows - int(sizes.sum()),
        conflicts=int(np.count_nonzero(sizes > 1)),
        postcodes=len(codes),
        outward_codes=len(part),
        lowest=pc.min(values).as_py(),
        highest=pc.max(values).as_py(),
    )
    return table, summary


def _sorted(codes: pa.Array, values: pa.Array) -> tuple[pa.Array, pa.Array]:
    order = pc.sort_indices(
        pa.table({"code": codes, "value": values}),
        sort_keys=[("code", "ascending"), ("value", "ascending")],
    )
    return codes.take(order), values.take(order)


def _outward(codes: pa.Array) -> pa.Array:
    """Return the outward code of each, null where it has none."""
    pieces = (codes[at : at + BATCH_ROWS] for at in range(0, len(codes), BATCH_ROWS))
    return pa.concat_arrays(
        pa.array([outward(code) for code in piece.to_pylist()], pa.string())
        for piece in pieces
    )


def _is_new(column: pa.Array) -> Any:
    """Return where a value differs from the one before it."""
    is_new = np.ones(len(column), bool)
    is_new[1:] = pc.not_equal(column[1:], column[:-1])
    return is_new


def _low_medians(codes: pa.Array, values: pa.Array) -> tuple[pa.Array, pa.Array, Any]:
    """
    Return every code once, the lower median of its values, and how many it has.

    Args:
        codes: Sorted.
        values: Sorted within each code.
    """
    starts = np.flatnonzero(_is_new(codes))
    sizes = np.diff(starts, append=len(codes))
    medians = values.take(pa.array(starts + (sizes - 1) // 2))
    return codes.take(pa.array(starts)), medians, sizes
