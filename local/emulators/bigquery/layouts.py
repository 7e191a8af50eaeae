"""Columns of a table as Arrow batches meet them: what fits, and why not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Reference = tuple[str, str, str]
# What is wrong with a row, as the emulator's own inserts say it.
RowError = dict[str, Any]
ROWS, _INDEX = "__rows", "__index"


@dataclass(frozen=True)
class Layout:
    """Columns of a table: their DuckDB types by name, and what each demands."""

    name: str
    types: dict[str, Any]
    required: frozenset[str]
    repeated: frozenset[str]
    inserts: dict[Any, str] = field(default_factory=dict)
    exact: dict[Any, frozenset[str]] = field(default_factory=dict)

    def insert(self, schema: Any) -> str:
        """Return what inserts rows of an Arrow schema; ValueError if nothing can."""
        if schema not in self.inserts:
            self.inserts[schema] = insertion(self, schema)
        return self.inserts[schema]

    def fitting(self, rows: Any) -> frozenset[str]:
        """Return the columns of rows whose every value fits, by their types alone."""
        if rows.schema not in self.exact:
            from local_bigquery.engine import database

            with database.cursor() as cursor:
                cursor.register(ROWS, rows.__arrow_c_stream__())
                relation = cursor.sql(f"SELECT * FROM {ROWS} LIMIT 0")
                self.exact[rows.schema] = frozenset(
                    name
                    for name, kind in zip(relation.columns, relation.types, strict=True)
                    if kind == self.types.get(self.stored(name) or "")
                )
        return self.exact[rows.schema]

    def stored(self, name: str) -> str | None:
        """Return the table's own spelling of a column, None if it has none such."""
        for spelling in self.types:
            if spelling.casefold() == name.casefold():
                return spelling
        return None


def layout_of(reference: Reference) -> Layout:
    from local_bigquery.catalog import tables
    from local_bigquery.engine import database

    name = tables.name(*reference)
    with database.cursor() as cursor:
        relation = cursor.sql(f"SELECT * FROM {name} LIMIT 0")
        types = dict(zip(relation.columns, relation.types, strict=True))
    fields = tables.columns(*reference)
    return Layout(
        name=name,
        types=types,
        required=frozenset(f.name for f in fields if f.mode == "REQUIRED"),
        repeated=frozenset(f.name for f in fields if f.mode == "REPEATED"),
    )


def insertion(layout: Layout, schema: Any) -> str:
    """
    Return the statement that inserts rows of an Arrow schema.

    Raises:
        ValueError: A column is not the table's, or of a type that does not fit.
    """
    from local_bigquery.engine.database import quote

    columns, values = [], []
    missing = set(layout.repeated)
    for column in schema:
        name = layout.stored(column.name)
        if name is None or _is_other(column, layout.types[name]):
            raise ValueError(column.name)
        for unknown in _unknown(column.type, layout.types[name], column.name):
            raise ValueError(unknown)
        missing.discard(name)
        value = f"CAST({quote(column.name)} AS {layout.types[name]})"
        columns.append(quote(name))
        values.append(f"coalesce({value}, [])" if name in layout.repeated else value)
    for name in sorted(missing):
        columns.append(quote(name))
        values.append(f"CAST([] AS {layout.types[name]})")
    return (
        f"INSERT INTO {layout.name} ({', '.join(columns)}) "
        f"SELECT {', '.join(values)} FROM {ROWS}"
    )


def _is_other(column: Any, kind: Any) -> bool:
    """Whether one of two is BYTES, which DuckDB would convert to text and back."""
    import pyarrow.types as arrow

    is_bytes = (
        arrow.is_binary(column.type)
        or arrow.is_large_binary(column.type)
        or arrow.is_fixed_size_binary(column.type)
    )
    return is_bytes != (str(kind) == "BLOB") and not arrow.is_null(column.type)


def _unknown(type_: Any, kind: Any, path: str) -> Iterator[str]:
    """Yield the fields within a column that its table does not have."""
    import pyarrow as pa

    if isinstance(type_, pa.ListType | pa.LargeListType) and kind.id == "list":
        yield from _unknown(type_.value_type, kind.children[0][1], path)
    elif isinstance(type_, pa.StructType) and kind.id == "struct":
        children = {name.casefold(): child for name, child in kind.children}
        for part in type_:
            name = f"{path}.{part.name}"
            if part.name.casefold() not in children:
                yield name
            else:
                yield from _unknown(part.type, children[part.name.casefold()], name)


def has_holes(column: Any) -> bool:
    """Whether a list of a column has a null in it, which BigQuery stores nowhere."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not isinstance(column.type, pa.ListType | pa.LargeListType):
        return False
    return bool(pc.list_flatten(column).null_count)


def explain(layout: Layout, batch: Any) -> list[RowError]:
    """Say of every row that its table cannot take why, in the emulator's words."""
    import numpy as np
    import pyarrow as pa

    problems: dict[int, list[str]] = {}
    names = {layout.stored(name): name for name in batch.schema.names}
    everywhere = [f"Missing required field: {n}." for n in layout.required - {*names}]
    for part in batch.schema:
        name = layout.stored(part.name)
        unknown = [part.name]
        if name is not None:
            unknown = list(_unknown(part.type, layout.types[name], part.name))
        everywhere += [f"no such field: {path}." for path in unknown]
    for message in everywhere:
        for row in range(len(batch)):
            problems.setdefault(row, []).append(message)
    rows = pa.Table.from_batches([batch])
    rows = rows.append_column(_INDEX, pa.array(np.arange(len(batch))))
    for name, source in names.items():
        if name is not None:
            for row, message in _misfits(layout, name, source, rows):
                problems.setdefault(row, []).append(message)
    return [
        {
            "index": row,
            "errors": [{"reason": "invalid", "message": " ".join(messages)}],
        }
        for row, messages in sorted(problems.items())
    ]


def _misfits(
    layout: Layout, name: str, source: str, rows: Any
) -> Iterator[tuple[int, str]]:
    """Yield the rows whose value a column cannot take, and why."""
    import duckdb
    import pyarrow.compute as pc
    from local_bigquery.catalog import tabledata
    from local_bigquery.engine import database
    from local_bigquery.engine.database import quote

    kind, column = layout.types[name], rows[source]
    if name in layout.required:
        for row in pc.indices_nonzero(pc.is_null(column)).to_pylist():
            yield row, f"Missing required field: {name}."
    if has_holes(column):
        for row, values in enumerate(column.to_pylist()):
            if values is not None and None in values:
                yield row, f"Array cannot have a null element; field {name}."
    if source in layout.fitting(rows):
        return
    fits = f"TRY_CAST(x AS {kind}) IS NOT NULL"
    if _is_other(rows.schema.field(source), kind):
        fits = "false"
    query = (
        f"SELECT {_INDEX}, CAST(x AS VARCHAR) FROM (SELECT {_INDEX}, {quote(source)} "
        f"AS x FROM {ROWS}) WHERE x IS NOT NULL AND NOT {{}} ORDER BY {_INDEX}"
    )
    with database.cursor() as cursor:
        cursor.register(ROWS, rows)
        try:
            misfits = cursor.execute(query.format(fits)).fetchall()
        except duckdb.Error:  # no value of such a type fits
            misfits = cursor.execute(query.format("false")).fetchall()
    for row, value in misfits:
        expected = tabledata._legacy(kind)
        yield row, f"Cannot convert value to {expected} (bad value): {value}"
