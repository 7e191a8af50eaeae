"""
Past card transactions of a table, in the public form or the events' own.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from offline import table_files
from propensity.errors import SchemaError
from propensity.events.values import EARLIEST, EPOCH, microseconds_of
from propensity.ids import is_meaningless, problem_of
from propensity.timeframe import moment_of
from propensity.usecases import UseCase

TIME, CLASS, EVENT_TIME = "Time", "Class", "event_time"
_MICROSECONDS = pa.timestamp("us", tz="UTC")
_ID_CHARACTERS = 24
# A hundred years: what is later than now is refused by its moment.
_LONGEST_S = 36525 * 86400


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
        SchemaError: It can not be read, a column is missing, or a row has what it can
            not have; rows are counted from 1, without a header.
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
    truth = _field(use_case, use_case.truths, "truth")
    known_at = _field(use_case, use_case.truths, "truth time")
    identity = _field(use_case, use_case.scored, "identity")
    # Filled column by column: a file may have tens of millions of rows.
    features = np.empty((len(table), len(use_case.features)))
    for place, name in enumerate(use_case.features):
        features[:, place] = _numbers(table, name)
    at = _moments(table, start)
    by_start = "" if EVENT_TIME in table.column_names else "; choose an earlier --start"
    _check_period(at, "would be at", latest=latest, advice=by_start)
    label = _labels(table, truth)
    truth_at = at
    if known_at in table.column_names:
        times = _timestamps(table[known_at], known_at)
        truth_at = np.where(_is_null(table[known_at]), at, times)
        _check_period(truth_at, f"has its {known_at} at", latest=latest)
    ids = (
        _ids(table[identity], identity)
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
    if pa.types.is_boolean(column.type):
        raise SchemaError(f"column {name!r} holds no numbers: it is true or false")
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
    if seconds.max() > _LONGEST_S:
        row = int(np.argmax(seconds))
        raise SchemaError(
            f"row {row + 1}: {TIME} is {seconds[row]:g} seconds, more than a "
            "hundred years"
        )
    return microseconds_of(start) + np.rint(seconds * 1e6).astype(np.int64)


def _check_period(
    at: NDArray[np.int64], what: str, *, latest: datetime, advice: str = ""
) -> None:
    """Raise SchemaError where the first or the last moment can not be."""
    row, why = int(np.argmin(at)), f"and no event is from before {EARLIEST:%Y}"
    if at[row] >= microseconds_of(EARLIEST):
        row, why = int(np.argmax(at)), f"which is still to come{advice}"
        if at[row] <= microseconds_of(latest):
            return
    try:
        moment = f"{utc_of(at[row]):%Y-%m-%d %H:%M}"
    except OverflowError:
        # A column that says it counts microseconds may count something smaller.
        moment = f"{at[row]:,} microseconds from 1970"
    raise SchemaError(f"row {row + 1} {what} {moment}, {why}")


def _timestamps(column: pa.ChunkedArray, name: str) -> NDArray[np.int64]:
    """
    Return moments as microseconds, 0 for null.

    A text without a zone is UTC, and a day is its midnight: CSV has days, too.
    """
    try:
        if pa.types.is_date(column.type) or pa.types.is_null(column.type):
            column = column.cast(pa.timestamp("us"))
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            return _moments_of(column.to_pylist(), name)
        if not pa.types.is_timestamp(column.type):
            raise SchemaError(f"column {name!r} holds no moments: {column.type}")
        if column.type.tz is None:
            column = pc.assume_timezone(column.cast(pa.timestamp("us")), "UTC")
        whole = column.cast(_MICROSECONDS, safe=False).cast(pa.int64())
    except pa.ArrowException as error:
        raise SchemaError(f"column {name!r} holds no moments: {error}") from error
    counted: NDArray[np.int64] = pc.fill_null(whole, 0).to_numpy()
    return counted


def _moments_of(texts: Sequence[str | None], name: str) -> NDArray[np.int64]:
    at = np.zeros(len(texts), np.int64)
    for row, text in enumerate(texts):
        if text is not None:
            try:
                at[row] = microseconds_of(moment_of(text))
            except ValueError as error:
                raise SchemaError(f"row {row + 1}: {name}: {error}") from error
    return at


def _labels(table: pa.Table, name: str) -> NDArray[np.int8]:
    """Return 0 and 1, and -1 where a row does not say."""
    either = dict.fromkeys((CLASS, name))
    named = [column for column in either if column in table.column_names]
    if not named:
        return np.full(len(table), -1, np.int8)
    if len(named) > 1:
        # Where they differ nobody could tell which of them is the truth.
        raise SchemaError(
            f"there are both {' and '.join(named)}; leave one of them out"
        )
    column = table[named[0]]
    try:
        values = pc.fill_null(column.cast(pa.float64()), -1.0).to_numpy()
    except pa.ArrowException as error:
        raise SchemaError(
            f"column {named[0]!r} is not an outcome, 0 or 1: {error}"
        ) from error
    odd = ~np.isin(values, (-1.0, 0.0, 1.0)) | (_is_null(column) != (values == -1.0))
    if odd.any():
        row = int(np.argmax(odd))
        raise SchemaError(
            f"row {row + 1}: wanted 0 or 1 in column {named[0]!r}, found "
            f"{column[row].as_py()!r}"
        )
    labels: NDArray[np.int8] = values.astype(np.int8)
    return labels


def _ids(column: pa.ChunkedArray, name: str) -> list[str]:
    texts = table_files.identities(column, name).to_pylist()
    for place, text in enumerate(texts):
        if not text:
            raise SchemaError(f"row {place + 1} has no {name}")
        if problem := problem_of(text):
            raise SchemaError(f"row {place + 1}: {name} {problem}")
        if is_meaningless(text):
            raise SchemaError(f"row {place + 1}: {name} {text!r} means nothing")
    if len(set(texts)) < len(texts):
        twice, _ = Counter(texts).most_common(1)[0]
        raise SchemaError(f"{name} {twice[:64]!r} is in several rows")
    return [str(text) for text in texts]


def _is_null(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    is_null: NDArray[np.bool_] = column.is_null().to_numpy()
    return is_null


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
        digest = hashlib.sha256(data).hexdigest()
        short = digest[:_ID_CHARACTERS]
        seen[short] += 1
        ids.append(f"{short}-{seen[short]}" if seen[short] > 1 else short)
    return ids


def utc_of(microseconds: int | np.int64) -> datetime:
    """Return the moment of microseconds since 1970, UTC."""
    return EPOCH + timedelta(microseconds=int(microseconds))
