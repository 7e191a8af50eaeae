"""Names in statements that the emulator reads otherwise than BigQuery."""

from __future__ import annotations

from typing import Any


def prefer_aliases() -> None:
    """
    Let GROUP BY, QUALIFY and ORDER BY mean the select list's column of a name.

    DuckDB means the table's: ``SELECT LOWER(source) AS source … GROUP BY source`` has a
    row for each spelling there, and one in BigQuery.
    """
    from local_bigquery.sql import rules

    rules.STATEMENT_RULES.insert(0, _without_aliases)


def _without_aliases(tree: Any, context: Any) -> Any:
    """Put what an alias stands for in the place of its name, in all these clauses."""
    from sqlglot import exp

    for select in list(tree.find_all(exp.Select)):
        means = {
            column.alias.casefold(): column.this
            for column in select.expressions
            if isinstance(column, exp.Alias)
            and column.this.find(exp.Column)
            and not column.this.find(exp.AggFunc, exp.Window, exp.Query)
        }
        for clause in ("group", "qualify", "order"):
            part = select.args.get(clause)
            for name in list(part.find_all(exp.Column)) if part and means else ():
                # As a whole, DuckDB orders by the alias, too.
                is_whole = isinstance(name.parent, exp.Ordered) and clause == "order"
                is_own = name.find_ancestor(exp.Select) is select
                meant = means.get(name.name.casefold())
                if meant is not None and is_own and not name.table and not is_whole:
                    name.replace(exp.paren(meant.copy()))
    return tree
