"""Columns that rows of several tables of the stream have, as Arrow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, cast

import pyarrow as pa

from propensity.events.messages import Message
from propensity.events.values import Refused, microseconds_of, moment_of

UTC_TIME = pa.timestamp("us", "UTC")


def moments(texts: Sequence[str]) -> list[int | None]:
    """Return times in microseconds since 1970, None for what is no time."""
    try:
        moments = pa.array(texts, pa.string()).cast(UTC_TIME)
        return cast(list[int | None], moments.cast(pa.int64()).to_pylist())
    except pa.ArrowInvalid:  # one of them is written otherwise, or is none
        each = map(_moment_or_none, texts)
        return [None if one is None else microseconds_of(one) for one in each]


def published(messages: Iterable[Message]) -> pa.Array:
    """Return when messages were published; null where that is not known."""
    texts = [message.published_at or None for message in messages]
    try:
        return pa.array(texts, pa.string()).cast(UTC_TIME)
    except pa.ArrowInvalid:  # such as nanoseconds
        return pa.array(map(_moment_or_none, texts), UTC_TIME)


def _moment_or_none(text: str | None) -> datetime | None:
    try:
        return moment_of(text) if text else None
    except Refused:
        return None


def batch_of(
    schema: pa.Schema, columns: Mapping[str, Sequence[Any] | pa.Array], count: int
) -> pa.RecordBatch:
    """Return a batch of a table; columns that are not given are null."""
    return pa.RecordBatch.from_arrays(
        [
            pa.array(columns[field.name], field.type)
            if field.name in columns
            else pa.nulls(count, field.type)
            for field in schema
        ],
        schema=schema,
    )


def receipt(received_at: datetime, count: int) -> dict[str, pa.Array]:
    """Return the columns that say when rows were received."""
    day = pa.scalar(received_at.date(), pa.date32())
    return {
        "received_at": pa.repeat(pa.scalar(received_at, UTC_TIME), count),
        "received_on": pa.repeat(day, count),
    }
