"""
Values of an audience's SQL, as JSON in a table and as columns of a Parquet file.

A number stays a number and JSON stays JSON, so that a receiver gets what the SQL says.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal

import pyarrow as pa


def entries_of(fields: Iterable[pa.Field]) -> str:
    """
    Return the entries of a JSON object with columns, as an expression of SQL.

    BigQuery writes a NUMERIC and a long whole number as a text of JSON, and the entries
    of a STRUCT in another order: so numbers are written by CAST, one by one.
    """
    parts = list[str]()
    for field in fields:
        name = json.dumps(json.dumps(field.name) + ":", ensure_ascii=False)
        column = f"`{field.name}`"
        value = f"TO_JSON_STRING({column})"
        if pa.types.is_decimal128(field.type):
            value = f"CAST(CAST({column} AS NUMERIC) AS STRING)"
        elif pa.types.is_decimal(field.type) or pa.types.is_integer(field.type):
            value = f"CAST({column} AS STRING)"
        elif pa.types.is_nested(field.type):
            value = f"TO_JSON_STRING(TO_JSON({column}))"
        comma = "',', " if parts else ""
        parts.append(f"{comma}{name}, IFNULL({value}, 'null')")
    return ", ".join(parts) if parts else "''"


def of_json(text: str) -> dict[str, object]:
    """Return the values of a JSON object; a number that no float holds is a Decimal."""
    values: dict[str, object] = json.loads(text, parse_float=_exact)
    return values


def _exact(text: str) -> float | Decimal:
    number = float(text)
    exact = Decimal(text)
    return number if Decimal(repr(number)) == exact else exact


def column(values: Sequence[object]) -> pa.Array:
    """
    Return a column; values without a type in common are texts of JSON.

    Fractions are floats, as the columns of all files need one type.
    """
    values = [float(v) if isinstance(v, Decimal) else v for v in values]
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError):
        return pa.array([json.dumps(value, default=float) for value in values])


def texts_of(value: object) -> Iterator[str]:
    """Yield texts in a value of JSON."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from texts_of(item)
    if isinstance(value, str):
        yield value
