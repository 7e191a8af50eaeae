"""Columns and tables: the types and the Arrow schema that follow from them."""

from __future__ import annotations

import pyarrow as pa

from propensity.tables import every as tables


def test_a_repeated_record_is_an_array_of_structs():
    """In SQL and in Arrow."""
    lift = next(column for column in tables.EVALUATION.columns if column.name == "lift")
    part = tables.EVALUATION.arrow_schema().field("lift").type

    assert lift.sql_type.startswith("ARRAY<STRUCT<decile INT64, users FLOAT64, ")
    assert pa.types.is_list(part)
    assert part.value_type.field("decile").type == pa.int64()


def test_money_is_exact():
    """NUMERIC has 38 digits, nine of them behind the point."""
    amount = tables.STREAM_EVENTS.arrow_schema().field("amount")

    assert amount.type == pa.decimal128(38, 9)
