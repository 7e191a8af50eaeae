"""Lists of tables as one text, because a translation visits each literal."""

from __future__ import annotations

import json
from typing import Any

# The lines of local-bigquery that this replaces, by module.
REPLACES = {
    "local_bigquery.sql.rules.information_schema": (
        "def _values(columns: list[str], rows: list[list])",
        "query = _values(*VIEWS[view](project_id, dataset_id))",
    ),
}


def list_as_text() -> None:
    """Have the rows of INFORMATION_SCHEMA and ``__TABLES__`` be one literal of JSON."""
    from local_bigquery.sql.rules import information_schema
    from sqlglot import exp

    as_literals = information_schema._values

    def as_text(columns: list[str], rows: list[list[Any]]) -> Any:
        kinds = {}
        for column in columns:
            name, _, kind = column.partition(" ")
            kinds[name] = kind if kind else "STRING"
        try:
            text = json.dumps([dict(zip(kinds, row, strict=True)) for row in rows])
        except TypeError:  # some views have expressions in their rows
            return as_literals(columns, rows)
        structure = json.dumps([dict.fromkeys(kinds, "VARCHAR")])
        literals = [exp.Literal.string(literal) for literal in (text, structure)]
        listed = exp.func("unnest", exp.func("from_json", *literals))
        source = exp.select(exp.alias_(listed, "v")).subquery("t")
        query = exp.Select().from_(source)
        for name, kind in kinds.items():
            value = exp.cast(exp.column(name, "v"), kind, dialect="bigquery")
            query = query.select(exp.alias_(value, name), copy=False)
        return query

    information_schema._values = as_text
