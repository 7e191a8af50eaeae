"""
Features of events, from the JSON that ``inference_log`` keeps.
"""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import json

from propensity.errors import SchemaError
from propensity.usecases import NUMBER

# Rows that are read at a time: a text takes five times the memory of its numbers.
_PIECE_ROWS = 100_000


def parsed(texts: pa.ChunkedArray, features: Mapping[str, str]) -> pa.Table:
    """
    Read JSON objects into a column for each feature.

    Raises:
        SchemaError: A feature is of another type, or a text is not a JSON object.
    """
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
    for first in range(0, len(texts), _PIECE_ROWS):
        piece = pc.fill_null(texts.slice(first, _PIECE_ROWS), "{}")
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
