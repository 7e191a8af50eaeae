"""The rows of a training on events: what was scored, and what became known of it."""

from __future__ import annotations

from io import BytesIO

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import json

from propensity.errors import NotEnoughData, SchemaError
from propensity.usecases import UseCase

# What is known of an event's outcome.
STATES = ("known", "unknown", "pending")


def dataset(joined: pa.Table, use_case: UseCase) -> pa.Table:
    """
    Return the data set of a training: events in time order, features in columns.

    Args:
        joined: The result of ``event_training_rows.sql``: ``event_id``, ``user_id``,
            ``event_time``, ``as_of`` (the event's day), ``features`` as JSON, ``label``
            (0, 1 or null), ``truth_time``, ``is_conflicting``, ``state`` and
            ``weight``.
        use_case: Its features are read from the JSON; missing features are null.
    """
    if not len(joined):
        raise NotEnoughData(
            "there are no events before the as-of date",
            hint="Send some to the stream, or run `propensity load transactions`",
        )
    order = [("event_time", "ascending"), ("event_id", "ascending")]
    rows = joined.sort_by(order)
    options = json.ParseOptions(
        explicit_schema=use_case.feature_schema(),
        newlines_in_values=True,
        unexpected_field_behavior="ignore",
    )
    texts = pc.fill_null(rows["features"], "{}").to_pylist()
    try:
        lines = BytesIO("\n".join(texts).encode())
        features = json.read_json(lines, parse_options=options)
    except pa.ArrowInvalid as error:
        raise SchemaError(
            "inference_log has features of other types than usecase.toml",
            hint=f"Correct the types in usecase.toml: {error}",
        ) from error
    rows = rows.drop_columns(["features"])
    for name in use_case.features:
        rows = rows.append_column(name, features[name])
    return rows


def counts(rows: pa.Table) -> dict[str, int]:
    """Return the numbers of rows by state, and of those with conflicting labels."""
    numbers = {}
    for state in STATES:
        numbers[state] = pc.sum(pc.equal(rows["state"], state)).as_py()
    numbers["conflicting"] = pc.sum(rows["is_conflicting"], min_count=0).as_py()
    return numbers
