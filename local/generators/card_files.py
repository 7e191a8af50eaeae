"""Real card transactions, from a file in the public data set's columns."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from local.generators.cards import COLUMNS, COMPONENTS, Transactions
from local.generators.streams import SECOND_MS, floor, milliseconds
from offline import table_files
from propensity.errors import SchemaError

# Of a file so many are played.
MAXIMUM_TRANSACTIONS = 12_000


class CardsError(ValueError):
    """A file is not of card transactions in the public data set's columns."""


def read_cards(path: Path, *, start: datetime, end: datetime) -> Transactions:
    """
    Read the first real transactions of a file, stretched between two times.

    Raises:
        CardsError: As of ``checked``.
    """
    table = checked(path).slice(0, MAXIMUM_TRANSACTIONS)
    values = {name: table[name].to_numpy() for name in COLUMNS}
    since = np.rint((values["Time"] - values["Time"][0]) * SECOND_MS)
    begins, ends = milliseconds(start), milliseconds(end)
    return Transactions(
        # The last is before the end.
        time_ms=begins + floor(since / (since[-1] + 1) * (ends - begins)),
        components=np.column_stack([values[name] for name in COMPONENTS]),
        amounts=values["Amount"],
        is_fraud=values["Class"] == 1,
    )


def checked(path: Path) -> pa.Table:
    """
    Return the columns of a file as finite numbers.

    Frauds that end a file are no stream, they were put there: they are left out.

    Args:
        path: Parquet or CSV with the columns Time (seconds, in order), V1 to V28,
            Amount, Class (1 is fraud); further columns are ignored.

    Raises:
        CardsError: It cannot be read, has other columns, or holds no stream.
    """
    try:
        table = table_files.read(path, COLUMNS)
        table = pa.table({name: table[name].cast(pa.float64()) for name in COLUMNS})
    except SchemaError as error:
        raise CardsError(error.message) from error
    except pa.ArrowException as error:
        raise CardsError(f"{path} has columns that are not numbers: {error}") from error
    for name in COLUMNS:
        column = table[name].to_numpy()
        if not np.isfinite(column).all():
            raise CardsError(f"{path} has rows without a finite number in {name}")
    if not {0.0, 1.0}.issuperset(pc.unique(table["Class"]).to_pylist()):
        raise CardsError(f"{path} has other values than 0 and 1 in Class")
    genuine = np.flatnonzero(table["Class"].to_numpy() == 0)
    if not len(genuine):
        raise CardsError(f"{path} holds no genuine transaction: that is no stream")
    table = table.slice(0, genuine[-1] + 1)
    back = np.flatnonzero(np.diff(table["Time"].to_numpy()) < 0)
    if len(back):
        raise CardsError(f"{path}, row {back[0] + 2}: Time goes back")
    return table
