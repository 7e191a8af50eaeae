"""
Columns and tables, specified: the DDL and the Arrow schema that follow from them.
"""

from __future__ import annotations

import pyarrow as pa
import pytest

from propensity import tables
from propensity.schema import Column, Table, in_sql


def table_of(column: Column) -> Table:
    """Return a table of one column."""
    return Table(
        name="t",
        description='the "newest" \\ one',
        key=(column.name,),
        partition=column.name,
        clustering=(column.name,),
        columns=(column,),
    )


class TestColumn:
    def test_spells_nested_types(self):
        """A repeated record is an array of structs, in DDL and in Arrow."""
        lift = next(
            column for column in tables.EVALUATION.columns if column.name == "lift"
        )
        part = tables.EVALUATION.arrow_schema().field("lift").type

        assert lift.sql_type == (
            "ARRAY<STRUCT<decile INT64, users FLOAT64, conversions FLOAT64, "
            "mean_probability FLOAT64, lift FLOAT64>>"
        )
        assert pa.types.is_list(part)
        assert part.value_type.field("decile").type == pa.int64()

    @pytest.mark.parametrize(
        ("of_the_api", "of_sql"),
        [
            ("INTEGER", "INT64"),
            ("FLOAT", "FLOAT64"),
            ("ARRAY<BOOLEAN>", "ARRAY<BOOL>"),
            ("ARRAY<INT64>", "ARRAY<INT64>"),
            ("NUMERIC", "NUMERIC"),
        ],
    )
    def test_of_the_api_is_named_as_in_sql(self, of_the_api, of_sql):
        assert in_sql(of_the_api) == of_sql

    def test_keeps_money_exact(self):
        """NUMERIC has 38 digits, nine of them behind the point."""
        table = table_of(Column("a", "NUMERIC", "money"))

        assert table.arrow_schema().field("a").type == pa.decimal128(38, 9)

    def test_quotes_a_description(self):
        """Quotes and backslashes in a description end no literal."""
        table = table_of(Column("a", "DATE", 'say "when"', required=True))

        assert table.ddl() == (
            "CREATE TABLE IF NOT EXISTS `t` (\n"
            '  a DATE NOT NULL OPTIONS (description = "say \\"when\\"")\n'
            ")\n"
            "PARTITION BY a\n"
            "CLUSTER BY a\n"
            'OPTIONS (description = "the \\"newest\\" \\\\ one")'
        )
