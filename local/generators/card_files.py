"""Real card transactions, from a file in the public data set's columns."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from local.generators.cards import DEFAULT_END
from local.generators.drawing import SECOND_MS, milliseconds
from local.generators.transactions import COLUMNS, COMPONENTS, Transactions
from offline import table_files
from propensity.errors import SchemaError

# So many frauds at the end of a file are no stream: they were put there.
SHORTEST_TAIL = 3


class CardsError(ValueError):
    """A file is not of card transactions in the public data set's columns."""


def read_cards(path: Path, *, end: datetime = DEFAULT_END) -> Transactions:
    """
    Read real transactions in the public data set's columns.

    Only the beginning of the file that is a stream is used: Time does not go back, and
    the file does not end in frauds only. ``notes`` says what was left out.

    Args:
        path: Parquet or CSV with the columns Time (seconds), V1 to V28, Amount, Class
            (1 is fraud); further columns are ignored.
        end: The last transaction is just before.

    Raises:
        CardsError: It cannot be read, has other columns, or holds no stream.
    """
    table = _columns(path)
    values = {name: table[name].to_numpy() for name in COLUMNS}
    is_fraud = values["Class"] == 1
    back = np.flatnonzero(np.diff(values["Time"]) < 0)
    ordered = int(back[0]) + 1 if len(back) else len(is_fraud)
    genuine = np.flatnonzero(~is_fraud)
    tail = len(is_fraud) - (int(genuine[-1]) + 1 if len(genuine) else 0)
    used = min(ordered, len(is_fraud) - (tail if tail >= SHORTEST_TAIL else 0))
    if not used:
        raise CardsError(f"{path} holds frauds only: that is no stream of transactions")
    notes = [f"{used:,} transactions of {path.name}, {is_fraud[:used].sum():,} frauds"]
    if used < len(is_fraud):
        why = (
            f"the last {tail:,} are frauds only"
            if used < ordered
            else "Time goes back after them"
        )
        left = len(is_fraud) - used
        notes.append(f"{left:,} more of the file are left out: {why}")
    time = values["Time"][:used]
    since = np.rint((time - time[-1]) * SECOND_MS).astype(np.int64)
    return Transactions(
        ids=[f"{path.stem}-{number:07d}" for number in range(1, used + 1)],
        time_ms=milliseconds(end) - 1 + since,
        components=np.column_stack([values[name][:used] for name in COMPONENTS]),
        amounts=values["Amount"][:used],
        is_fraud=is_fraud[:used],
        notes=tuple(notes),
    )


def _columns(path: Path) -> pa.Table:
    """Return the columns of a file as finite numbers."""
    try:
        table = table_files.read(path, COLUMNS)
        table = pa.table({name: table[name].cast(pa.float64()) for name in COLUMNS})
    except SchemaError as error:
        raise CardsError(error.message) from error
    except pa.ArrowException as error:
        raise CardsError(f"{path} has columns that are not numbers: {error}") from error
    if not table.num_rows:
        raise CardsError(f"{path} holds no transactions")
    for name in COLUMNS:
        if not pc.all(pc.is_finite(table[name]), skip_nulls=False).as_py():
            raise CardsError(f"{path} has rows without a finite number in {name}")
    if not {0.0, 1.0}.issuperset(pc.unique(table["Class"]).to_pylist()):
        raise CardsError(f"{path} has other values than 0 and 1 in Class")
    return table
