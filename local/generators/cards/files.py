"""Real transactions, from a file in the public columns."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from local.generators.cards.cards import DEFAULT_END
from local.generators.cards.transactions import COLUMNS, COMPONENTS, Transactions
from local.generators.drawing import SECOND_MS, Flags, Floats, milliseconds
from offline import table_files
from propensity.errors import SchemaError

# A final run of so many frauds is no stream: at the rate of the public data set one of
# three would come once in two hundred million transactions.
SHORTEST_TAIL = 3


class CardsError(Exception):
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
    ordered = _ordered(values["Time"])
    tail = _tail(is_fraud)
    used = min(ordered, len(is_fraud) - tail)
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
    except SchemaError as error:
        raise CardsError(error.message) from error
    if not table.num_rows:
        raise CardsError(f"{path} holds no transactions")
    try:
        table = pa.table({name: table[name].cast(pa.float64()) for name in COLUMNS})
    except pa.ArrowException as error:
        raise CardsError(f"{path} has columns that are not numbers: {error}") from error
    for name in COLUMNS:
        if not pc.all(pc.is_finite(table[name]), skip_nulls=False).as_py():
            raise CardsError(f"{path} has rows without a finite number in {name}")
    classes = pc.unique(table["Class"]).to_pylist()
    if not {0.0, 1.0}.issuperset(classes):
        raise CardsError(f"{path} has other values than 0 and 1 in Class")
    return table


def _ordered(time: Floats) -> int:
    """Return how many rows come before the first that goes back in time."""
    back = np.flatnonzero(np.diff(time) < 0)
    return int(back[0]) + 1 if len(back) else len(time)


def _tail(is_fraud: Flags) -> int:
    """Return the length of the final run of frauds, 0 for one that is too short."""
    genuine = np.flatnonzero(~is_fraud)
    tail = len(is_fraud) - (int(genuine[-1]) + 1 if len(genuine) else 0)
    return tail if tail >= SHORTEST_TAIL else 0
