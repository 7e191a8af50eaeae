"""
Load past card transactions with their outcomes, as the first data to train on.

A file is CSV (as ``table_files`` reads it) or Parquet, in one of two forms:

- the public data set's: Time (seconds since a start), V1 to V28, Amount, and Class
  (1 is fraud) where it is known;
- the events' own: event_time (a timestamp, or text in ISO 8601), the same features, and
  where they are known transaction_id, is_fraud and truth_time.

Further columns are ignored. Each transaction becomes a row of inference_log with source
"loaded" that nothing has scored (model version -1), and each known outcome a row of
truth_events, found when the transaction happened unless the file says when. Then
00-ModelTraining trains on them as on those that the stream has scored.

A transaction without an id gets one from what it holds, so that loading a file twice,
or a longer one after a shorter one, adds nothing that is there. The file has to fit in
memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from offline.transactions import Transactions, read, utc_of
from propensity import tables, usecases
from propensity.events.values import microseconds_of
from propensity.gcp.warehouse import Warehouse
from propensity.schema import Table
from propensity.settings import Settings
from propensity.statements import statement

SQL = resources.files(__package__)

USE_CASE = "card_fraud"
SOURCE = "loaded"
NO_VERSION = -1
PIECE = 50_000


@dataclass(frozen=True)
class Loaded:
    """How many rows were added; the others were there."""

    transactions: int
    truths: int


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The transactions of a file, and the rows added; None for a dry run."""

    file: str
    transactions: Transactions
    loaded: Loaded | None

    def __str__(self) -> str:
        if self.loaded is None:
            return f"{self.file}: {self.transactions}\nNothing was loaded."
        return (
            f"{self.file}: {self.transactions}\n"
            f"{self.loaded.transactions:,} transactions and "
            f"{self.loaded.truths:,} outcomes were added, the others were there.\n"
            f'Train with {{"use_case": "{self.transactions.use_case.name}", "as_of": '
            f'"{self.first_as_of}"}} or later.'
        )

    @property
    def first_as_of(self) -> date:
        """The first date as of which a training sees all of them."""
        return self.transactions.days[1] + timedelta(days=1)

    def fields(self) -> dict[str, Any]:
        """Return the counts."""
        first, last = self.transactions.days
        return {
            "file": self.file,
            "use_case": self.transactions.use_case.name,
            "transactions": len(self.transactions),
            "first_day": first,
            "last_day": last,
            "added": asdict(self.loaded) if self.loaded else None,
            "as_of": self.first_as_of,
        }


def run(
    path: Path,
    *,
    use_case: str = USE_CASE,
    start: datetime | None = None,
    limit: int | None = None,
    is_dry: bool = False,
) -> Outcome:
    """
    Read, check and load a file of transactions.

    Args:
        start: What ``Time`` counts from.
        limit: How many rows from the beginning, None for all.

    Raises:
        SchemaError: The file is not one of transactions; names column or row.
        PropensityError: BigQuery did not take all of it; load it again.
    """
    # First, so that a wrong setting is not found after minutes of reading.
    settings = None if is_dry else Settings.from_environment()
    chosen, now = usecases.load(use_case), datetime.now(UTC)
    transactions = read(path, chosen, start=start, limit=limit, now=now)
    if settings is None:
        return Outcome(file=path.name, transactions=transactions, loaded=None)
    with contextlib.closing(Warehouse.open(settings)) as warehouse:
        loaded = load(warehouse, transactions)
    return Outcome(file=path.name, transactions=transactions, loaded=loaded)


def load(warehouse: Warehouse, transactions: Transactions) -> Loaded:
    """
    Append transactions and truths that are not there yet, and show a bar on stderr.

    Raises:
        PropensityError: BigQuery did not take all of it; loading again adds the rest.
    """
    for table in (tables.INFERENCE_LOG, tables.TRUTH_EVENTS):
        warehouse.create(table)
    stored = _stored_ids(warehouse, transactions)
    ids = enumerate(transactions.ids)
    new = [place for place, event_id in ids if event_id not in stored]
    truths = _stored_truths(warehouse, transactions)
    with_outcome = [
        int(place)
        for place in np.flatnonzero(transactions.label >= 0)
        if _truth(transactions, int(place)) not in truths
    ]
    with tqdm(
        desc="loading", total=len(new) + len(with_outcome), unit=" rows", disable=None
    ) as bar:
        for table, places, rows in (
            (tables.INFERENCE_LOG, new, _inferences),
            (tables.TRUTH_EVENTS, with_outcome, _truths),
        ):
            for piece in _pieces(places):
                job = f"load-{table.name}-{uuid.uuid4().hex}"
                warehouse.append(table, rows(transactions, piece), job_id=job)
                bar.update(len(piece))
    return Loaded(transactions=len(new), truths=len(with_outcome))


def _pieces(places: list[int]) -> Iterator[list[int]]:
    for first in range(0, len(places), PIECE):
        yield places[first : first + PIECE]


def _stored_ids(warehouse: Warehouse, transactions: Transactions) -> set[str]:
    first, last = transactions.days
    stored = warehouse.table(
        statement("loaded_events", own=SQL),
        {"use_case": transactions.use_case.name, "first_day": first, "last_day": last},
    )
    return set(stored["event_id"].to_pylist())


def _stored_truths(
    warehouse: Warehouse, transactions: Transactions
) -> set[tuple[str, int, int]]:
    """Return the truths of the period that are there, by event, label and moment."""
    known = transactions.truth_at[transactions.label >= 0]
    if not len(known):
        return set()
    stored = warehouse.table(
        statement("known_truths", own=SQL),
        {
            "use_case": transactions.use_case.name,
            "first_day": utc_of(known.min()).date(),
            "last_day": utc_of(known.max()).date(),
        },
    )
    return {
        (event_id, label, microseconds_of(at))
        for event_id, label, at in zip(
            stored["event_id"].to_pylist(),
            stored["label"].to_pylist(),
            stored["truth_time"].to_pylist(),
            strict=True,
        )
    }


def _truth(transactions: Transactions, place: int) -> tuple[str, int, int]:
    return (
        transactions.ids[place],
        int(transactions.label[place]),
        int(transactions.truth_at[place]),
    )


def _inferences(transactions: Transactions, places: Sequence[int]) -> pa.Table:
    """Return rows of ``inference_log``, as if logged when they happened."""
    names, name = list(transactions.use_case.features), transactions.use_case.name
    ids = [transactions.ids[place] for place in places]
    moments = [utc_of(transactions.at[place]) for place in places]
    days = [moment.date() for moment in moments]
    n = len(ids)
    texts = [
        json.dumps(dict(zip(names, row, strict=True)), separators=(",", ":"))
        for row in transactions.features[places].tolist()
    ]
    columns: dict[str, Any] = {
        "use_case": [name] * n,
        "inference_id": [
            _digest(name, transaction_id, SOURCE) for transaction_id in ids
        ],
        "event_id": ids,
        "user_id": ids,
        "event_time": moments,
        "event_date": days,
        "model_version": [NO_VERSION] * n,
        "is_warm": [False] * n,
        "source": [SOURCE] * n,
        "features": texts,
        "scored_at": moments,
        "scored_on": days,
    }
    return _table(tables.INFERENCE_LOG, columns, n)


def _truths(transactions: Transactions, places: Sequence[int]) -> pa.Table:
    """Return rows of ``truth_events``: received when they were found."""
    name = transactions.use_case.name
    ids = [transactions.ids[place] for place in places]
    moments = [utc_of(transactions.truth_at[place]) for place in places]
    columns: dict[str, Any] = {
        "use_case": [name] * len(ids),
        "event_id": ids,
        "label": transactions.label[places].tolist(),
        "truth_time": moments,
        "message_id": [
            _digest(name, *map(str, _truth(transactions, p))) for p in places
        ],
        "received_at": moments,
        "received_on": [moment.date() for moment in moments],
    }
    return _table(tables.TRUTH_EVENTS, columns, len(ids))


def _digest(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _table(table: Table, columns: dict[str, Any], n: int) -> pa.Table:
    schema = table.arrow_schema()
    empty = {name: [None] * n for name in schema.names if name not in columns}
    return pa.table({**columns, **empty}, schema=schema)
