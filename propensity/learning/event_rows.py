"""
The data set of a training on events, from what ``inference_log`` keeps of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import json

from propensity.errors import NotEnoughData, SchemaError
from propensity.usecases import NUMBER, UseCase

STATES = ("known", "unknown", "pending")

# Texts of features that are parsed at a time; one takes five times its numbers' memory.
_PARSED_ROWS = 100_000


def dataset(joined: pa.Table, use_case: UseCase) -> pa.Table:
    """
    Return the data set of a training: events in time order, features in columns.

    Args:
        joined: The result of ``event_training_rows.sql``: ``event_id``, ``user_id``,
            ``event_time``, ``as_of`` (the event's day), ``features`` as JSON, ``label``
            (0, 1 or null), ``truth_time``, ``is_conflicting``, ``state`` and
            ``weight``.
        use_case: Its features are read from the JSON; missing features are null.

    Raises:
        NotEnoughData: There is no row.
        SchemaError: A feature is of another type than the use case's.
    """
    if not len(joined):
        raise NotEnoughData(
            "no event was scored or loaded that happened before the as-of date: "
            "send some to the stream, or load some (propensity load transactions)"
        )
    order = [("event_time", "ascending"), ("event_id", "ascending")]
    joined = joined.sort_by(order)
    rows = joined.drop_columns(["features"])
    features = _parsed(joined["features"], use_case.features)
    for name in use_case.features:
        rows = rows.append_column(name, features[name])
    return rows


def _parsed(texts: pa.ChunkedArray, features: Mapping[str, str]) -> pa.Table:
    """Read JSON objects, as ``inference_log`` has them, into a column per feature."""
    schema = pa.schema(
        [
            (name, pa.float64() if kind == NUMBER else pa.string())
            for name, kind in features.items()
        ]
    )
    options = json.ParseOptions(
        explicit_schema=schema, unexpected_field_behavior="ignore"
    )
    parts = []
    for first in range(0, len(texts), _PARSED_ROWS):
        piece = pc.fill_null(texts.slice(first, _PARSED_ROWS), "{}")
        lines = pc.replace_substring(piece, "\n", " ").to_pylist()
        try:
            read = json.read_json(
                BytesIO("\n".join(lines).encode()), parse_options=options
            )
        except pa.ArrowInvalid as error:
            raise SchemaError(f"inference_log holds other features: {error}") from error
        parts.append(read)
    parsed = pa.concat_tables(parts)
    if len(parsed) != len(texts):
        raise SchemaError(
            f"inference_log holds {len(texts) - len(parsed)} rows of features that are "
            "not JSON objects"
        )
    return parsed


def counts(rows: pa.Table) -> dict[str, int]:
    """Return the numbers of rows by state, and of those with conflicting labels."""
    states = pc.value_counts(rows["state"]).to_pylist()
    by_state = {entry["values"]: entry["counts"] for entry in states}
    conflicts = pc.sum(pc.cast(rows["is_conflicting"], pa.int64())).as_py()
    return {
        **{state: by_state.get(state, 0) for state in STATES},
        "conflicting": conflicts or 0,
    }
