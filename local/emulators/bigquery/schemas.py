"""
Changes of a table's schema that BigQuery refuses.

``local-bigquery`` answers them with success: it records another type or mode for a
column that stays as it was, and forgets a new field within a record.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

# Two names of one type.
_NAMES = {
    "INT64": "INTEGER",
    "FLOAT64": "FLOAT",
    "BOOL": "BOOLEAN",
    "STRUCT": "RECORD",
    "DECIMAL": "NUMERIC",
    "BIGDECIMAL": "BIGNUMERIC",
}


def refuse_other_types() -> None:
    """Have a change of a schema refused unless it adds or relaxes columns."""
    from local_bigquery.catalog import names, tables
    from local_bigquery.errors import BigQueryError

    alter = tables._alter

    def alter_or_refuse(
        project: str, dataset: str, table: str, fields: Sequence[Any]
    ) -> None:
        known = tables.columns(project, dataset, table)
        if why := next(_refused(known, fields), None):
            raise BigQueryError(
                "invalid",
                "Provided Schema does not match Table "
                f"{names.label(project, dataset, table)}. {why}",
            )
        alter(project, dataset, table, fields)

    tables._alter = alter_or_refuse


def _refused(known: Sequence[Any], fields: Sequence[Any]) -> Any:
    columns = {field.name.casefold(): field for field in known}
    for field in fields:
        name, mode = field.name, field.mode or "NULLABLE"
        before = columns.get(name.casefold())
        if before is None:
            if mode == "REQUIRED":
                yield f"Cannot add a required field to an existing schema: {name}"
            continue
        if _type(field) != _type(before):
            yield (
                f"Field {name} has changed type from {_type(before)} to {_type(field)}"
            )
        mode_before = before.mode or "NULLABLE"
        if mode not in (mode_before, "NULLABLE") or (
            mode != mode_before and mode_before == "REPEATED"
        ):
            yield f"Field {name} has changed mode from {mode_before} to {mode}"
        inner = {field_.name.casefold() for field_ in before.fields or ()}
        if inner != {field_.name.casefold() for field_ in field.fields or ()}:
            yield (f"The local emulator cannot change the fields of a record: {name}")
        yield from _refused(before.fields or (), field.fields or ())


def _type(field: Any) -> str:
    name = str(field.type).upper()
    return _NAMES.get(name, name)
