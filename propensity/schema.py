"""
What a table of the warehouse is: its columns and its Arrow schema.

``tables`` lists the tables; nothing here talks to BigQuery.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from propensity.errors import SchemaError

if TYPE_CHECKING:
    import pyarrow as pa


# Names of types in BigQuery's API, by those that SQL has.
_IN_API = {
    "INT64": "INTEGER",
    "FLOAT64": "FLOAT",
    "BOOL": "BOOLEAN",
    "STRUCT": "RECORD",
}


def in_sql(kind: str) -> str:
    """Return a type of BigQuery's API as SQL names it."""
    return next((sql for sql, other in _IN_API.items() if other == kind), kind)


@dataclass(frozen=True)
class Column:
    """One column: BigQuery's type name, mode and a description for the console."""

    name: str
    type: str
    description: str
    required: bool = False
    repeated: bool = False
    fields: tuple[Column, ...] = ()

    @property
    def sql_type(self) -> str:
        """The type as SQL spells it."""
        kind = self.type
        if self.fields:
            inside = ", ".join(f"{part.name} {part.sql_type}" for part in self.fields)
            kind = f"STRUCT<{inside}>"
        return f"ARRAY<{kind}>" if self.repeated else kind

    @property
    def in_api(self) -> dict[str, Any]:
        """The column as BigQuery's API has it, and Terraform."""
        mode = "REQUIRED" if self.required else "NULLABLE"
        return {
            "name": self.name,
            "type": _IN_API.get(self.type, self.type),
            "mode": "REPEATED" if self.repeated else mode,
            "description": self.description,
            **(
                {"fields": [part.in_api for part in self.fields]} if self.fields else {}
            ),
        }


def structs(name: str, description: str, *fields: Column) -> Column:
    """Return a column with any number of structs."""
    return Column(name, "STRUCT", description, repeated=True, fields=fields)


# Columns of many tables.
USE_CASE = Column("use_case", "STRING", "Use case", required=True)
RUN = Column("run_id", "STRING", "The run that wrote the row")
BILLED = Column("bytes_billed", "INT64", "Bytes that the run's queries had billed")


@dataclass(frozen=True, kw_only=True)
class Table:
    """
    One table of the dataset.

    ``key`` names the columns that identify a row (BigQuery does not enforce it; the
    statements that write do). ``partition`` is a DATE column, whose days are the
    partitions. ``expiration_days`` is how long a day is kept, 0 for ever. With
    ``requires_filter`` BigQuery refuses a query without a condition on the partition.

    With ``newest``, a condition for QUALIFY, rows are only ever appended, to a table
    that is named like this one and ``_runs``; ``name`` is a view of the newest row of
    each key.
    """

    name: str
    description: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    partition: str
    clustering: tuple[str, ...]
    expiration_days: int = 0
    requires_filter: bool = False
    newest: str = ""

    @property
    def stored(self) -> str:
        """Name of the table that rows are written to."""
        return f"{self.name}_runs" if self.newest else self.name

    def view(self, dataset: str) -> str:
        """Return the query of the view of the newest rows; ``dataset`` has both."""
        return (
            f"SELECT * FROM `{dataset}.{self.stored}` WHERE TRUE\nQUALIFY {self.newest}"
        )

    @property
    def types(self) -> dict[str, str]:
        """The columns' types, as SQL spells them, by name."""
        return {column.name: column.sql_type for column in self.columns}

    def arrow(self, rows: pa.Table | Iterable[Mapping[str, Any]]) -> pa.Table:
        """
        Return rows in the table's own columns.

        Args:
            rows: In Arrow, all columns in any order; or values by column, of which
                missing ones are null.

        Raises:
            SchemaError: A column is missing in Arrow, or the table has no such column.
        """
        import pyarrow as pa

        schema = self.arrow_schema()
        names = {*schema.names}
        if isinstance(rows, pa.Table):
            wrong = names ^ {*rows.column_names}
        else:
            rows = [*rows]
            wrong = {*chain.from_iterable(rows)} - names
        if wrong:
            raise SchemaError(
                f"rows for {self.name} lack these columns, or have too many: "
                f"{', '.join(sorted(wrong))}"
            )
        if isinstance(rows, pa.Table):
            return rows.select(schema.names).cast(schema)
        return pa.Table.from_pylist(rows, schema=schema)

    def arrow_schema(self) -> pa.Schema:
        """Return the Arrow schema of the table's rows."""
        import pyarrow as pa  # a lookup never needs Arrow

        return pa.schema(
            [
                pa.field(column.name, arrow_type(column), nullable=not column.required)
                for column in self.columns
            ]
        )


def arrow_type(column: Column) -> pa.DataType:
    """Return the Arrow type of a column."""
    import pyarrow as pa

    kinds = {
        "STRING": pa.string(),
        "INT64": pa.int64(),
        "FLOAT64": pa.float64(),
        "BOOL": pa.bool_(),
        "BYTES": pa.binary(),
        "DATE": pa.date32(),
        "DATETIME": pa.timestamp("us"),
        "TIMESTAMP": pa.timestamp("us", tz="UTC"),
        "NUMERIC": pa.decimal128(38, 9),
    }
    if column.fields:
        kind = pa.struct(
            [pa.field(part.name, arrow_type(part)) for part in column.fields]
        )
    else:
        kind = kinds[column.type]
    return pa.list_(kind) if column.repeated else kind
