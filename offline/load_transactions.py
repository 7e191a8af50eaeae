"""
Load past transactions as the first data to train on, and what came of them.

A file is CSV or Parquet, in one of two forms:

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
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyarrow import csv
from tqdm import tqdm

from propensity import tables, usecases
from propensity.edges.warehouse import Warehouse
from propensity.errors import SchemaError
from propensity.settings import Settings
from propensity.statements import statement
from propensity.timeframe import moment_of
from propensity.usecases import UseCase

USE_CASE = "card_fraud"
SOURCE = "loaded"
NO_VERSION = -1

# Rows of one load job.
PIECE = 50_000

TIME, CLASS, EVENT_TIME = "Time", "Class", "event_time"

_MICROSECONDS = pa.timestamp("us", tz="UTC")
_PARQUET = b"PAR1"
_ID_CHARACTERS = 24


@dataclass(frozen=True, kw_only=True)
class Transactions:
    """
    Transactions of a file, in its order.

    ``at`` and ``truth_at`` are microseconds since 1970, UTC, (n,); ``features`` is
    (n, F) in the use case's order; ``label`` is 0, 1, or -1 where none is known.
    """

    use_case: UseCase
    ids: Sequence[str]
    at: NDArray[np.int64]
    features: NDArray[np.float64]
    label: NDArray[np.int8]
    truth_at: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def days(self) -> tuple[date, date]:
        """The first and the last day, UTC."""
        return _moment(self.at.min()).date(), _moment(self.at.max()).date()

    def __str__(self) -> str:
        first, last = self.days
        known = int((self.label >= 0).sum())
        return (
            f"{len(self):,} transactions from {first} to {last}: the outcome of "
            f"{known:,} is known, {int((self.label == 1).sum()):,} are fraud"
        )


@dataclass(frozen=True)
class Loaded:
    """How many rows were added; the others were there."""

    transactions: int
    truths: int


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A file of transactions that was read, and what was added; None for nothing."""

    file: str
    found: Transactions
    loaded: Loaded | None

    def __str__(self) -> str:
        if self.loaded is None:
            return f"{self.file}: {self.found}\nNothing was loaded."
        return (
            f"{self.file}: {self.found}\n{self.loaded.transactions:,} transactions and "
            f"{self.loaded.truths:,} outcomes were added, the others were there.\n"
            f'Train with {{"use_case": "{self.found.use_case.name}", "as_of": '
            f'"{self.first_as_of}"}} or later.'
        )

    @property
    def first_as_of(self) -> date:
        """The first date as of which a training sees all of them."""
        return self.found.days[1] + timedelta(days=1)

    def fields(self) -> dict[str, Any]:
        """Return the counts."""
        first, last = self.found.days
        return {
            "file": self.file,
            "use_case": self.found.use_case.name,
            "transactions": len(self.found),
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
        path: CSV or Parquet.
        use_case: Whose events they are.
        start: What ``Time`` counts from.
        limit: How many rows from the beginning, None for all.
        is_dry: Whether nothing is loaded.

    Raises:
        SchemaError: The file is not one of transactions; names column or row.
        PropensityError: BigQuery did not take all of it; load it again.
    """
    # First, so that a wrong setting is not found after minutes of reading.
    settings = None if is_dry else Settings.from_environment()
    chosen, now = usecases.load(use_case), datetime.now(UTC)
    found = read(path, chosen, start=start, limit=limit, now=now)
    if settings is None:
        return Outcome(file=path.name, found=found, loaded=None)
    with contextlib.closing(Warehouse.open(settings)) as warehouse:
        loaded = load(warehouse, found)
    return Outcome(file=path.name, found=found, loaded=loaded)


# Reading ------------------------------------------------------------------------------


def read(
    path: Path,
    use_case: UseCase,
    *,
    start: datetime | None,
    limit: int | None = None,
    now: datetime,
) -> Transactions:
    """
    Read and check the transactions of a file.

    Args:
        path: CSV or Parquet.
        use_case: One that scores events.
        start: What Time counts from; None where the file has event_time.
        limit: Only the first rows; None for all.
        now: No transaction may be later.

    Raises:
        SchemaError: It can not be read, a column is missing, or a row has what it can
            not have; rows are counted from 1, without a header.
    """
    if not use_case.scores_events:
        raise SchemaError(f"{use_case.name} scores users, and no events: none to load")
    try:
        with path.open("rb") as file:
            is_parquet = file.read(len(_PARQUET)) == _PARQUET
        table = pq.read_table(path) if is_parquet else csv.read_csv(path)
    except (pa.ArrowException, OSError) as error:
        raise SchemaError(f"{path} can not be read: {error}") from error
    try:
        return transactions(table.slice(0, limit), use_case, start=start, latest=now)
    except SchemaError as error:
        raise SchemaError(f"{path}: {error.message}") from error


def transactions(
    table: pa.Table, use_case: UseCase, *, start: datetime | None, latest: datetime
) -> Transactions:
    """
    Return the transactions of a table in either form.

    Raises:
        SchemaError: As ``read``.
    """
    if not len(table):
        raise SchemaError("it holds no transaction")
    missing = [name for name in use_case.features if name not in table.column_names]
    if missing:
        raise SchemaError(
            f"there is no column {', '.join(missing)}; found are "
            f"{', '.join(table.column_names)}"
        )
    features = np.column_stack([_numbers(table, name) for name in use_case.features])
    at = _moments(table, start)
    if at.max() > _microseconds(latest):
        row = int(np.argmax(at))
        raise SchemaError(
            f"row {row + 1} would be at {_moment(at[row]):%Y-%m-%d %H:%M}, which is "
            "still to come; choose an earlier --start"
        )
    label = _labels(table, _field(use_case, use_case.truths, "truth"))
    known_at = _field(use_case, use_case.truths, "truth time")
    truth_at = at
    if known_at in table.column_names:
        told = _timestamps(table[known_at], known_at)
        truth_at = np.where(_is_null(table[known_at]), at, told)
    identity = _field(use_case, use_case.scored, "identity")
    ids = (
        _texts(table[identity], identity)
        if identity in table.column_names
        else _identities(at, features)
    )
    return Transactions(
        use_case=use_case,
        ids=ids,
        at=at,
        features=features,
        label=label,
        truth_at=truth_at,
    )


def _field(use_case: UseCase, types: Sequence[str], kind: str) -> str:
    """Return the field of a kind that events of one of the types have."""
    for name in types:
        for field, declared in use_case.event_types.get(name, {}).items():
            if declared == kind:
                return field
    return ""


def _numbers(table: pa.Table, name: str) -> NDArray[np.float64]:
    column = table[name]
    try:
        values = column.cast(pa.float64())
    except pa.ArrowException as error:
        raise SchemaError(f"column {name!r} holds no numbers: {error}") from error
    finite = pc.fill_null(pc.is_finite(values), False).to_numpy()
    if not finite.all():
        row = int(np.argmin(finite))
        raise SchemaError(
            f"row {row + 1}: wanted a finite number in column {name!r}, found "
            f"{column[row].as_py()!r}"
        )
    floats: NDArray[np.float64] = values.to_numpy()
    return floats


def _moments(table: pa.Table, start: datetime | None) -> NDArray[np.int64]:
    if EVENT_TIME in table.column_names:
        moments = table[EVENT_TIME]
        if moments.null_count:
            row = int(np.argmax(_is_null(moments)))
            raise SchemaError(f"row {row + 1} has no {EVENT_TIME}")
        return _timestamps(moments, EVENT_TIME)
    if TIME not in table.column_names:
        raise SchemaError(
            f"there is neither a column {EVENT_TIME} nor {TIME}; found are "
            f"{', '.join(table.column_names)}"
        )
    if start is None:
        raise SchemaError(
            f"{TIME} counts seconds from a moment that the file does not say; name it "
            "by --start"
        )
    seconds = _numbers(table, TIME)
    if seconds.min() < 0:
        raise SchemaError(f"row {int(np.argmin(seconds)) + 1}: {TIME} is negative")
    return _microseconds(start) + np.rint(seconds * 1e6).astype(np.int64)


def _timestamps(column: pa.ChunkedArray, name: str) -> NDArray[np.int64]:
    """Return moments as microseconds, 0 for null; a text without a zone is UTC."""
    try:
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            moments = [
                None if text is None else moment_of(text) for text in column.to_pylist()
            ]
            column = pa.chunked_array([pa.array(moments, _MICROSECONDS)])
        elif not pa.types.is_timestamp(column.type):
            raise SchemaError(f"column {name!r} holds no moments: {column.type}")
        elif column.type.tz is None:
            column = pc.assume_timezone(column.cast(pa.timestamp("us")), "UTC")
        whole = column.cast(_MICROSECONDS, safe=False).cast(pa.int64())
    except (ValueError, pa.ArrowException) as error:
        raise SchemaError(f"column {name!r} holds no moments: {error}") from error
    counted: NDArray[np.int64] = pc.fill_null(whole, 0).to_numpy()
    return counted


def _labels(table: pa.Table, name: str) -> NDArray[np.int8]:
    """Return 0 and 1, and -1 where a row does not say."""
    named = [one for one in (CLASS, name) if one in table.column_names]
    if not named:
        return np.full(len(table), -1, np.int8)
    column = table[named[0]]
    try:
        values = pc.fill_null(column.cast(pa.float64()), -1.0).to_numpy()
    except pa.ArrowException as error:
        raise SchemaError(f"column {named[0]!r} is no outcome: {error}") from error
    odd = ~np.isin(values, (-1.0, 0.0, 1.0)) | (_is_null(column) != (values == -1.0))
    if odd.any():
        row = int(np.argmax(odd))
        raise SchemaError(
            f"row {row + 1}: wanted 0 or 1 in column {named[0]!r}, found "
            f"{column[row].as_py()!r}"
        )
    labels: NDArray[np.int8] = values.astype(np.int8)
    return labels


def _texts(column: pa.ChunkedArray, name: str) -> list[str]:
    texts = column.cast(pa.string()).to_pylist()
    if not all(texts):
        row = next(place for place, text in enumerate(texts) if not text)
        raise SchemaError(f"row {row + 1} has no {name}")
    if len(set(texts)) < len(texts):
        twice, _ = Counter(texts).most_common(1)[0]
        raise SchemaError(f"{name} {twice[:64]!r} is in several rows")
    return [str(text) for text in texts]


def _is_null(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = column.is_null().to_numpy()
    return found


def _identities(at: NDArray[np.int64], features: NDArray[np.float64]) -> list[str]:
    """
    Return an id for each row from what it holds; equal rows are numbered.

    So it does not matter what the file is called, nor where in it a row stands.
    """
    seen: Counter[str] = Counter()
    ids = []
    # Zero has two signs, and is one amount.
    for moment, row in zip(at.tolist(), features + 0.0, strict=True):
        digest = hashlib.sha256(moment.to_bytes(8, "big") + row.tobytes()).hexdigest()
        short = digest[:_ID_CHARACTERS]
        seen[short] += 1
        ids.append(f"{short}-{seen[short]}" if seen[short] > 1 else short)
    return ids


def _microseconds(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _moment(microseconds: int | np.int64) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(microseconds))


# Loading ------------------------------------------------------------------------------


def load(warehouse: Warehouse, found: Transactions) -> Loaded:
    """
    Append transactions and truths that are not there yet, and show a bar on stderr.

    Args:
        warehouse: Of the deployment.
        found: What ``read`` has read.

    Raises:
        PropensityError: BigQuery did not take all of it; loading again adds the rest.
    """
    for table in (tables.INFERENCE_LOG, tables.TRUTH_EVENTS):
        warehouse.create(table)
    new = np.flatnonzero(~np.isin(found.ids, list(_loaded(warehouse, found))))
    told = _told(warehouse, found)
    known = [
        int(place)
        for place in np.flatnonzero(found.label >= 0)
        if _truth(found, int(place)) not in told
    ]
    with tqdm(
        desc="loading", total=len(new) + len(known), unit=" rows", disable=None
    ) as bar:
        for table, places, rows in (
            (tables.INFERENCE_LOG, new.tolist(), _inferences),
            (tables.TRUTH_EVENTS, known, _truths),
        ):
            for piece in _pieces(places):
                job = f"load-{table.name}-{uuid.uuid4().hex}"
                warehouse.append(table, rows(found, piece), job_id=job)
                bar.update(len(piece))
    return Loaded(transactions=len(new), truths=len(known))


def _pieces(places: list[int]) -> Iterator[list[int]]:
    for first in range(0, len(places), PIECE):
        yield places[first : first + PIECE]


def _loaded(warehouse: Warehouse, found: Transactions) -> set[str]:
    first, last = found.days
    there = warehouse.table(
        statement("loaded_events"),
        {"use_case": found.use_case.name, "first_day": first, "last_day": last},
    )
    return set(there["event_id"].to_pylist())


def _told(warehouse: Warehouse, found: Transactions) -> set[tuple[str, int, int]]:
    """Return the truths of the period that are there, by event, label and moment."""
    known = found.truth_at[found.label >= 0]
    if not len(known):
        return set()
    there = warehouse.table(
        statement("known_truths"),
        {
            "use_case": found.use_case.name,
            "first_day": _moment(known.min()).date(),
            "last_day": _moment(known.max()).date(),
        },
    )
    return {
        (event_id, label, _microseconds(at))
        for event_id, label, at in zip(
            there["event_id"].to_pylist(),
            there["label"].to_pylist(),
            there["truth_time"].to_pylist(),
            strict=True,
        )
    }


def _truth(found: Transactions, place: int) -> tuple[str, int, int]:
    return found.ids[place], int(found.label[place]), int(found.truth_at[place])


def _inferences(found: Transactions, places: Sequence[int]) -> pa.Table:
    """Return rows of ``inference_log``, as if logged when they happened."""
    names, name = list(found.use_case.features), found.use_case.name
    ids = [found.ids[place] for place in places]
    moments = [_moment(found.at[place]) for place in places]
    days = [moment.date() for moment in moments]
    n = len(ids)
    texts = [
        json.dumps(dict(zip(names, row, strict=True)), separators=(",", ":"))
        for row in found.features[places].tolist()
    ]
    columns: dict[str, Any] = {
        "use_case": [name] * n,
        "inference_id": [_digest(name, one, SOURCE) for one in ids],
        "event_id": ids,
        "user_id": ids,
        "event_time": moments,
        "event_date": days,
        "model_version": [NO_VERSION] * n,
        "is_warm": [False] * n,
        "is_shadow": [False] * n,
        "source": [SOURCE] * n,
        "features": texts,
        "scored_at": moments,
        "scored_on": days,
    }
    return _table(tables.INFERENCE_LOG, columns, n)


def _truths(found: Transactions, places: Sequence[int]) -> pa.Table:
    """Return rows of ``truth_events``: received when they were found."""
    name = found.use_case.name
    ids = [found.ids[place] for place in places]
    moments = [_moment(found.truth_at[place]) for place in places]
    columns: dict[str, Any] = {
        "use_case": [name] * len(ids),
        "event_id": ids,
        "label": found.label[places].tolist(),
        "truth_time": moments,
        "message_id": [_digest(name, *map(str, _truth(found, p))) for p in places],
        "received_at": moments,
        "received_on": [moment.date() for moment in moments],
    }
    return _table(tables.TRUTH_EVENTS, columns, len(ids))


def _digest(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _table(table: tables.Table, columns: dict[str, Any], n: int) -> pa.Table:
    schema = table.arrow_schema()
    empty = {name: [None] * n for name in schema.names if name not in columns}
    return pa.table({**columns, **empty}, schema=schema)
