"""
What a table is: a class whose fields are the columns of a row.

``tables`` has the classes. BigQuery's schema, Arrow's and Terraform's are made of them,
and so is the page of all tables. Nothing here talks to BigQuery.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from functools import cache, cached_property
from itertools import islice
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Self,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

from msgspec import Struct, StructMeta, convert
from msgspec.structs import fields

from propensity.errors import SchemaError

if TYPE_CHECKING:
    import pyarrow as pa

# Columns that are null where there is no value.
Number = float | None
Count = int | None
Money = Decimal | None

# In Python a row takes ten times as much memory as in Arrow.
ROWS_AT_ONCE = 5_000

# Types of BigQuery that say when something was.
MOMENTS = ("TIMESTAMP", "DATETIME", "DATE")

# SQL's names of types, by Python's.
_IN_SQL: Mapping[Any, str] = {
    str: "STRING",
    int: "INT64",
    float: "FLOAT64",
    bool: "BOOL",
    bytes: "BYTES",
    date: "DATE",
    datetime: "TIMESTAMP",
    Decimal: "NUMERIC",
}
# Names of types in BigQuery's API, by SQL's.
_IN_API = {
    "INT64": "INTEGER",
    "FLOAT64": "FLOAT",
    "BOOL": "BOOLEAN",
    "STRUCT": "RECORD",
}

# Marks of a field, behind its description. A NULLABLE column may be null in
# BigQuery, though every row that the functions write has a value.
NULLABLE = "nullable"
# The field has no column of its own: it is in the struct of the column ``details``.
DETAIL = "detail"


@dataclass_transform(frozen_default=True, kw_only_default=True)
class _Frozen(StructMeta):
    """Makes frozen classes, whose fields are given by name."""

    def __new__(cls, *args: Any, **options: Any) -> Any:
        return super().__new__(
            cls, *args, **{"frozen": True, "kw_only": True, **options}
        )


class Row(Struct, metaclass=_Frozen):
    """
    A row of a table, whose fields are the columns; or a struct within a row.

    Each field is ``Annotated`` with its description. BigQuery requires a value where
    the type has no None, unless the field is NULLABLE. A sequence of rows is an array
    of structs. A field of type ``Part`` stands for the columns of the part.

    Attributes:
        details: Name of the column, a struct, that holds the fields marked DETAIL.
    """

    details: ClassVar[str] = ""

    @classmethod
    def of(cls, values: Mapping[str, object]) -> Self:
        """Return a row that BigQuery has sent; a null is the field's default."""
        given = {**values}
        details = given.pop(cls.details, None)
        if isinstance(details, Mapping):
            given |= details
        present = {name: value for name, value in given.items() if value is not None}
        for name, part in _parts(cls).items():
            part_values = {
                column.name: present.get(column.name) for column in columns_of(part)
            }
            has_value = any(value not in (None, []) for value in part_values.values())
            # A part that a row must have may have nulls alone.
            if has_value or name in _nulls(cls):
                present[name] = part.of(part_values)
        return convert({**_nulls(cls), **present}, cls)

    def columns(self) -> dict[str, object]:
        """Return the values by column, details as well, without parts not set."""
        parts = _parts(type(self))
        columns = dict[str, object]()
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if name in parts:
                columns |= value.columns() if value is not None else {}
            elif isinstance(value, Sequence) and not isinstance(value, str):
                columns[name] = [_plain(each) for each in value]
            else:
                columns[name] = value
        return columns

    def stored(self) -> dict[str, object]:
        """Return the values by column, as the table has them."""
        columns = self.columns()
        inside = dict[str, object]()
        for column in columns_of(type(self)):
            if column.is_detail and column.name in columns:
                inside[column.name] = columns.pop(column.name)
        if self.details:
            columns[self.details] = inside
        return columns


class Part(Row):
    """Columns that belong together, of one table or of several."""


# Columns of many tables.
UseCaseName = Annotated[str, "Use case"]
RunId = Annotated[str, "The run that wrote the row", NULLABLE]
BytesBilled = Annotated[int, "Bytes billed by the run", NULLABLE]


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
    is_detail: bool = False

    @property
    def sql_type(self) -> str:
        kind = self.type
        if self.fields:
            inside = ", ".join(f"{part.name} {part.sql_type}" for part in self.fields)
            kind = f"STRUCT<{inside}>"
        return f"ARRAY<{kind}>" if self.repeated else kind

    @property
    def in_api(self) -> dict[str, object]:
        """The column as BigQuery's API has it, and Terraform."""
        mode = "REQUIRED" if self.required else "NULLABLE"
        column: dict[str, object] = {
            "name": self.name,
            "type": _IN_API.get(self.type, self.type),
            "mode": "REPEATED" if self.repeated else mode,
            "description": self.description,
        }
        if self.fields:
            column["fields"] = [part.in_api for part in self.fields]
        return column


@cache
def columns_of(row: type[Row]) -> tuple[Column, ...]:
    """Return the columns of a class, and those of its fields that are details."""
    columns = list[Column]()
    for name, hint in get_type_hints(row, include_extras=True).items():
        if get_origin(hint) is Annotated:
            columns.append(_column(name, *get_args(hint)))
        elif name in _parts(row):
            columns += columns_of(_parts(row)[name])
    if row.details:
        details = (column for column in columns if column.is_detail)
        columns.append(
            Column(row.details, "STRUCT", "Further metrics", fields=tuple(details))
        )
    return tuple(columns)


def _column(name: str, kind: Any, description: str, *marks: str) -> Column:
    kind, is_optional = _without_none(kind)
    is_repeated = get_origin(kind) is Sequence
    if is_repeated:
        [kind] = get_args(kind)
    if kind in _IN_SQL:
        required = not (is_optional or is_repeated or marks)
        column = Column(name, _IN_SQL[kind], description, required)
    else:
        inside = (replace(part, required=False) for part in columns_of(kind))
        column = Column(name, "STRUCT", description, fields=tuple(inside))
    return replace(column, repeated=is_repeated, is_detail=DETAIL in marks)


@cache
def _parts(row: type[Row]) -> dict[str, type[Part]]:
    """Return the fields of a class that stand for several columns."""
    parts = dict[str, type[Part]]()
    for name, hint in get_type_hints(row, include_extras=True).items():
        kind, _ = _without_none(hint)
        if isinstance(kind, type) and issubclass(kind, Part):
            parts[name] = kind
    return parts


@cache
def _nulls(row: type[Row]) -> dict[str, None]:
    """Return null for each field of a class that has no default."""
    return {field.name: None for field in fields(row) if field.required}


def _without_none(kind: Any) -> tuple[Any, bool]:
    """Return a type without None, and whether it has None."""
    if get_origin(kind) is not UnionType:
        return kind, False
    return next(member for member in get_args(kind) if member is not NoneType), True


def _plain(value: Any) -> Any:
    return value.columns() if isinstance(value, Row) else value


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
    row: type[Row]
    key: tuple[str, ...]
    partition: str
    clustering: tuple[str, ...]
    expiration_days: int = 0
    requires_filter: bool = False
    newest: str = ""

    @property
    def description(self) -> str:
        """What a row is, for the console."""
        text = "" if self.row.__doc__ is None else self.row.__doc__
        return " ".join(text.split()).removesuffix(".")

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """The columns, in order."""
        return tuple(column for column in columns_of(self.row) if not column.is_detail)

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

    def arrow(self, rows: pa.Table | Iterable[Row | Mapping[str, object]]) -> pa.Table:
        """
        Return rows in the table's own columns.

        Args:
            rows: In Arrow, all columns in any order; or rows, or values by column, of
                which missing ones are null. Of these a few thousand are held at once.
        """
        import pyarrow as pa

        schema = self.arrow_schema()
        names = set(schema.names)
        if isinstance(rows, pa.Table):
            self._check_columns(names ^ set(rows.column_names))
            return rows.select(schema.names).cast(schema)
        pieces = [schema.empty_table()]
        rest = iter(rows)
        while True:
            values = list[Mapping[str, object]]()
            for row in islice(rest, ROWS_AT_ONCE):
                values.append(row.stored() if isinstance(row, Row) else row)
            if not values:
                return pa.concat_tables(pieces)
            self._check_columns(set[str]().union(*values) - names)
            pieces.append(pa.Table.from_pylist(values, schema=schema))

    def _check_columns(self, wrong: Collection[str]) -> None:
        if wrong:
            raise SchemaError(
                f"rows for {self.name} lack these columns, or have too many: "
                f"{', '.join(sorted(wrong))}"
            )

    def batch(self, columns: Mapping[str, object], count: int) -> pa.RecordBatch:
        """Return so many rows, by columns; missing columns are null."""
        import pyarrow as pa

        schema = self.arrow_schema()
        arrays = []
        for field in schema:
            if field.name in columns:
                arrays.append(pa.array(columns[field.name], field.type))
            else:
                arrays.append(pa.nulls(count, field.type))
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    def arrow_schema(self) -> pa.Schema:
        return self._schema

    @cached_property
    def _schema(self) -> pa.Schema:
        import pyarrow as pa  # a lookup never needs Arrow

        return pa.schema(
            [
                pa.field(column.name, arrow_type(column), nullable=not column.required)
                for column in self.columns
            ]
        )


def arrow_type(column: Column) -> pa.DataType:
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
        kind = pa.struct([(part.name, arrow_type(part)) for part in column.fields])
    else:
        kind = kinds[column.type]
    return pa.list_(kind) if column.repeated else kind


def kept_days(text: str) -> dict[str, int]:
    """Return the days of PROPENSITY_RETENTION_DAYS by table; it may be none of ours."""
    days_by_table = {}
    for part in text.replace(",", " ").split():
        name, _, days = part.partition("=")
        days_by_table[name] = int(days)
    return days_by_table
