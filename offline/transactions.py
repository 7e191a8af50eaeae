"""Past card transactions of a table, in the public form or the events' own."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from offline import table_files
from propensity.errors import SchemaError
from propensity.events.values import EARLIEST, EPOCH, microseconds_of
from propensity.ids import problem_of
from propensity.usecases import UseCase

TIME, CLASS, EVENT_TIME = "Time", "Class", "event_time"
ID_CHARACTERS = 24
# A hundred years: what is later than now is refused by its moment.
LONGEST_S = 36525 * 86400


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
        return utc_of(self.at.min()).date(), utc_of(self.at.max()).date()

    def __str__(self) -> str:
        first, last = self.days
        known = int((self.label >= 0).sum())
        return (
            f"{len(self):,} transactions from {first} to {last}: the outcome of "
            f"{known:,} is known, {int((self.label == 1).sum()):,} are fraud"
        )


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
        start: What Time counts from; None where the file has event_time.
        now: No transaction may be later.

    Raises:
        SchemaError: It cannot be read, a column is missing, or a row has what it cannot
            have; rows are counted from 1, without a header.
    """
    if not use_case.scores_events:
        raise SchemaError(f"{use_case.name} scores users, and no events: none to load")
    # As they are written: an id may look like a number.
    texts = [
        _field(use_case, use_case.scored, "identity"),
        _field(use_case, use_case.truths, "truth time"),
        EVENT_TIME,
    ]
    table = table_files.read(path, list(use_case.features), texts=texts)
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
    known_at = _field(use_case, use_case.truths, "truth time")
    identity = _field(use_case, use_case.scored, "identity")
    # Filled column by column: a file may have tens of millions of rows.
    features = np.empty((len(table), len(use_case.features)))
    for place, name in enumerate(use_case.features):
        features[:, place] = _numbers(table, name)
    at = truth_at = _happened(table, start)
    _check_period(at, "is at", latest=latest)
    if known_at in table.column_names:
        times, is_known = _moments(table, known_at)
        truth_at = np.where(is_known, times, at)
        _check_period(truth_at, f"has its {known_at} at", latest=latest)
    return Transactions(
        use_case=use_case,
        ids=_ids(table[identity], identity)
        if identity in table.column_names
        else _identities(at, features),
        at=at,
        features=features,
        label=_labels(table, _field(use_case, use_case.truths, "truth")),
        truth_at=truth_at,
    )


def _field(use_case: UseCase, types: Sequence[str], kind: str) -> str:
    """Return the field of a kind that events of one of the types have."""
    for name in types:
        for field, declared in use_case.event_types.get(name, {}).items():
            if declared == kind:
                return field
    return ""


def _refuse(is_wrong: NDArray[np.bool_], table: pa.Table, name: str, what: str) -> None:
    """Raise SchemaError with the first row that is wrong."""
    if is_wrong.any():
        row = int(np.argmax(is_wrong))
        found = table[name][row].as_py()
        raise SchemaError(
            f"row {row + 1}: wanted {what} in column {name!r}, found {found!r}"
        )


def _numbers(table: pa.Table, name: str) -> NDArray[np.float64]:
    column = pd.to_numeric(table[name].to_pandas(), errors="coerce")
    values: NDArray[np.float64] = column.to_numpy(np.float64)
    _refuse(~np.isfinite(values), table, name, "a finite number")
    return values


def _moments(table: pa.Table, name: str) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """
    Return moments as microseconds, and which rows have one.

    A text without a zone is UTC, and a day is its midnight.
    """
    texts = table[name].to_pandas().astype("string").str.removesuffix(" UTC")
    at = pd.to_datetime(texts, format="ISO8601", utc=True, errors="coerce")
    is_there = texts.notna().to_numpy()
    _refuse(is_there & at.isna().to_numpy(), table, name, "a moment in ISO 8601")
    return at.dt.as_unit("us").astype("int64").to_numpy(), is_there


def _happened(table: pa.Table, start: datetime | None) -> NDArray[np.int64]:
    if EVENT_TIME in table.column_names:
        at, is_there = _moments(table, EVENT_TIME)
        _refuse(~is_there, table, EVENT_TIME, "a moment")
        return at
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
    is_wrong = (seconds < 0) | (seconds > LONGEST_S)
    _refuse(is_wrong, table, TIME, "seconds of up to a hundred years")
    return microseconds_of(start) + np.rint(seconds * 1e6).astype(np.int64)


def _check_period(at: NDArray[np.int64], what: str, *, latest: datetime) -> None:
    """Raise SchemaError where the first or the last moment cannot be."""
    for row, is_wrong, why in (
        (
            int(np.argmin(at)),
            at.min() < microseconds_of(EARLIEST),
            f"before {EARLIEST:%Y}",
        ),
        (
            int(np.argmax(at)),
            at.max() > microseconds_of(latest),
            "which is still to come",
        ),
    ):
        if is_wrong:
            moment = pd.Timestamp(int(at[row]), unit="us", tz="UTC")
            raise SchemaError(f"row {row + 1} {what} {moment:%Y-%m-%d %H:%M}, {why}")


def _labels(table: pa.Table, name: str) -> NDArray[np.int8]:
    """Return 0 and 1, and -1 where a row does not say."""
    named = [c for c in dict.fromkeys((CLASS, name)) if c in table.column_names]
    if not named:
        return np.full(len(table), -1, np.int8)
    if len(named) > 1:
        raise SchemaError(
            f"there are both {' and '.join(named)}; leave one of them out"
        )
    column = table[named[0]].to_pandas()
    values = pd.to_numeric(column, errors="coerce")
    is_wrong = column.notna() & ~values.isin((0, 1))
    _refuse(is_wrong.to_numpy(bool), table, named[0], "0 or 1")
    labels: NDArray[np.int8] = values.fillna(-1).to_numpy().astype(np.int8)
    return labels


def _ids(column: pa.ChunkedArray, name: str) -> list[str]:
    texts = table_files.identities(column, name).to_pylist()
    for place, text in enumerate(texts):
        if not text:
            raise SchemaError(f"row {place + 1} has no {name}")
        if problem := problem_of(text):
            raise SchemaError(f"row {place + 1}: {name} {problem}")
    if len(set(texts)) < len(texts):
        twice, _ = Counter(texts).most_common(1)[0]
        raise SchemaError(f"{name} {twice[:64]!r} is in several rows")
    return [str(text) for text in texts]


def _identities(at: NDArray[np.int64], features: NDArray[np.float64]) -> list[str]:
    """
    Return an id for each row from what it holds; equal rows are numbered.

    So it does not matter what the file is called, nor where in it a row stands.
    """
    seen: Counter[str] = Counter()
    ids = []
    for moment, row in zip(at, features, strict=True):
        # Zero has two signs, and is one amount.
        data = int(moment).to_bytes(8, "big") + (row + 0.0).tobytes()
        short = hashlib.sha256(data).hexdigest()[:ID_CHARACTERS]
        seen[short] += 1
        ids.append(f"{short}-{seen[short]}" if seen[short] > 1 else short)
    return ids


def utc_of(microseconds: int | np.int64) -> datetime:
    """Return the moment of microseconds since 1970, UTC."""
    return EPOCH + timedelta(microseconds=int(microseconds))
