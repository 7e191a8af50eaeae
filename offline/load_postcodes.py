"""
Load postcodes and their socioeconomic index into the table ``postcode_index``.

Postcodes are compared in capitals and without spaces. A postcode with several values
gets their lower median; every British outward code gets the lower median of its
postcodes, for those that the table lacks. One load job replaces the whole table.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from propensity.errors import SchemaError
from propensity.gcp.warehouse import Warehouse
from propensity.registry.deployment import open_deployment
from propensity.streaming.events.postcodes import normalised, outward
from propensity.table_files import files as table_files
from propensity.table_files.texts import refuse
from propensity.tables.stream import POSTCODE_INDEX

POSTCODE = "postcode"
INDEX = "socioeconomic_idx"

# The longest postcodes of the world have ten. The functions keep the table in memory,
# every row as wide as the widest.
MAXIMUM_CHARACTERS = 16


def run(file: Path, *, is_dry: bool = False) -> dict[str, Any]:
    """
    Read, check and load a file of postcodes; return what was read of it.

    Args:
        file: CSV or Parquet, as ``table_files`` reads it, with the columns postcode and
            socioeconomic_idx.

    Raises:
        SchemaError: The file is not one of postcodes; names row and column.
        PropensityError: BigQuery did not take it. The old table is still there.
    """
    table = table_files.read_file(file, [POSTCODE, INDEX])
    today = datetime.now(UTC).date()
    with table_files.named(file):
        if is_dry:
            _, summary = table_of(table, loaded_on=today)
        else:
            with open_deployment() as deployment:
                summary = load(deployment.warehouse, table, loaded_on=today)
    return {"file": file.name, **summary, "is_dry": is_dry}


def load(warehouse: Warehouse, table: pa.Table, *, loaded_on: date) -> dict[str, Any]:
    """
    Replace ``postcode_index`` by postcodes that are in memory, at once or not at all.

    Raises:
        SchemaError, PropensityError: As ``run``.
    """
    rows, summary = table_of(table, loaded_on=loaded_on)
    warehouse.create(POSTCODE_INDEX)
    warehouse.replace(POSTCODE_INDEX, rows)
    return summary


def table_of(table: pa.Table, *, loaded_on: date) -> tuple[pa.Table, dict[str, Any]]:
    """
    Return the rows of ``postcode_index``, and what they were made of.

    The same for any order of the same rows. ``skipped`` rows lack postcode or index;
    ``conflicts`` counts the postcodes with several values.

    Raises:
        SchemaError: No row has both a postcode and an index, or one has what can be
            neither; rows are counted from 1, without a header.
    """
    given = pd.DataFrame({POSTCODE: _codes(table), INDEX: _values(table)})
    complete = given.dropna()
    if complete.empty:
        raise SchemaError(f"none of {len(given):,} rows has a postcode and an index")
    by_postcode = complete.drop_duplicates().groupby(POSTCODE)[INDEX]
    values = by_postcode.quantile(interpolation="lower")
    by_outward = values.groupby(values.index.map(outward))
    medians = by_outward.quantile(interpolation="lower")
    # An outward code that the file itself has an index of keeps that index.
    medians = medians.drop(medians.index.intersection(values.index))
    both = pd.concat([values, medians])
    summary = {
        "rows": len(given),
        "skipped": len(given) - len(complete),
        "conflicts": int((by_postcode.size() > 1).sum()),
        "postcodes": len(values),
        "outward_codes": len(medians),
        "lowest": float(values.min()),
        "highest": float(values.max()),
    }
    rows = {
        POSTCODE: pa.array(both.index, pa.string()),
        INDEX: both.to_numpy(),
        "is_outward": np.arange(len(both)) >= len(values),
        "loaded_on": pa.repeat(pa.scalar(loaded_on), len(both)),
    }
    return pa.table(rows), summary


def _codes(table: pa.Table) -> list[str | None]:
    """Return postcodes, normalised; null where a row has none."""
    texts = table_files.identities(table[POSTCODE], POSTCODE).to_pylist()
    codes = list[str | None]()
    for row, text in enumerate(texts):
        code = "" if text is None else normalised(text)
        codes.append(code if code else None)
        if len(code) > MAXIMUM_CHARACTERS:
            raise SchemaError(
                f"row {row + 1}: {text[:40]!r} is longer than a postcode, which "
                f"has {MAXIMUM_CHARACTERS} letters and digits at most"
            )
    return codes


def _values(table: pa.Table) -> pd.Series:
    """Return finite numbers; NaN where a row has none."""
    values = table_files.typed(table, INDEX, "FLOAT64").to_pandas().rename(INDEX)
    is_infinite = np.isinf(values)
    if is_infinite.any():
        refuse(values, is_infinite, "is infinite", hint="Leave it empty")
    # Minus zero is no other value.
    return values + 0.0
