"""Statements that the emulator reads otherwise than BigQuery."""

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


def name_fields() -> None:
    """Let a field of ``STRUCT(day, n)`` have the name of its column."""
    from local_bigquery.sql import rules

    rules.STATEMENT_RULES.insert(0, _with_names)


def _with_names(tree: Any, context: Any) -> Any:
    from sqlglot import exp

    for struct in list(tree.find_all(exp.Struct)):
        fields = struct.expressions
        names = [
            field.name if isinstance(field, exp.Column) else "" for field in fields
        ]
        # Typed ones have names; and DuckDB takes names of all fields, or of none.
        if all(names) and not isinstance(struct.parent, exp.Cast):
            for name, field in zip(names, fields, strict=True):
                value = field.copy()
                field.replace(
                    exp.PropertyEQ(this=exp.to_identifier(name), expression=value)
                )
    return tree


def bind_inner_parameters() -> None:
    """
    Let EXECUTE IMMEDIATE give a parameter the name that one of its job has.

    The emulator binds the job's value as well, and DuckDB refuses what it cannot use.
    """
    from local_bigquery.sql import rules
    from sqlglot import exp

    parameter = rules.parameters.parameter

    def innermost(node: Any, context: Any) -> Any:
        bound = parameter(node, context)
        if isinstance(node, exp.Parameter):
            name = node.name
            if f"${name}" not in context.parameters.get(name, ""):
                context.used.discard(name)
        return bound

    rules.NODE_RULES[rules.NODE_RULES.index(parameter)] = innermost
