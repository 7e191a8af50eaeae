"""
Aggregates of a row's own array, calculated where it is.

``(SELECT MAX(p.value) FROM UNNEST(params) AS p WHERE p.key = 'x')`` is for DuckDB a
join of the table with its own elements, and for each row it prepares a vector for every
field of them. The view of the export has seven of these: without this a training of the
demo takes three times as long, and 3 GB of memory.
"""

from __future__ import annotations

from typing import Any

# The lines of local-bigquery that this replaces, by module.
REPLACES = {
    "local_bigquery.sql.rules": ("NODE_RULES = [",),
}


def aggregate_in_place() -> None:
    """Have a scalar subquery over an array be a function of the array, if it can."""
    from local_bigquery.sql import rules
    from sqlglot import exp

    def in_place(node: Any, context: Any) -> Any:
        # Below these the array is a table instead of a value.
        holders = (exp.From, exp.Join, exp.Lateral, exp.In, exp.SetOperation)
        is_value = isinstance(node, exp.Subquery) and not isinstance(
            node.parent, holders
        )
        if not is_value or not _is_plain(node.this):
            return node
        query = node.this
        source = query.args["from_"].this
        [aggregate] = query.expressions
        [element] = source.args["alias"].columns
        elements = source.expressions[0]
        if where := query.args.get("where"):
            elements = _applied("list_filter", elements, where.this, element.name)
        value = _aggregated(aggregate, elements, element.name)
        if value is None:
            return node
        value.type = aggregate.type if node.type is None else node.type
        # A column has the name that the emulator gives it, where it has no own.
        return exp.alias_(value, node.alias) if node.alias else value

    rules.NODE_RULES.append(in_place)


def _is_plain(query: Any) -> bool:
    """Whether a query is one aggregate of the elements of a column's array."""
    from sqlglot import exp

    allowed = {"kind", "expressions", "from_", "where"}
    if not isinstance(query, exp.Select) or len(query.expressions) != 1:
        return False
    if any(value for key, value in query.args.items() if key not in allowed):
        return False
    source = None
    alias = None
    if query.args.get("from_"):
        source = query.args["from_"].this
        alias = source.args.get("alias")
    [aggregate] = query.expressions
    where = query.args.get("where")
    # Names of their own, and names that only aggregates know.
    others = (
        exp.Query,
        exp.Lambda,
        exp.AggFunc,
        exp.Window,
        exp.Star,
        exp.HavingMax,
        exp.IgnoreNulls,
        exp.Order,
        exp.Limit,
    )
    return (
        isinstance(aggregate, exp.Max | exp.Min | exp.Sum | exp.Count)
        and isinstance(source, exp.Unnest)
        and isinstance(source.expressions[0], exp.Column | exp.Dot)
        and not source.args.get("offset")
        and isinstance(alias, exp.TableAlias)
        and len(alias.columns) == 1
        and (isinstance(aggregate.this, exp.Star) or not aggregate.this.find(*others))
        and not (where and where.this.find(*others))
    )


def _applied(function: str, elements: Any, value: Any, name: str) -> Any:
    """Return a list function of elements, with ``value`` as its lambda."""
    from sqlglot import exp

    # No table has this name, which DuckDB would take before the lambda's.
    element = f"_element_{name}"
    body = exp.Paren(this=value.copy())
    for column in list(body.find_all(exp.Column)):
        if column.parts[0].name.casefold() == name.casefold():
            column.parts[0].set("this", element)
    applied = exp.Lambda(this=body, expressions=[exp.to_identifier(element)])
    return exp.func(function, elements.copy(), applied)


def _aggregated(aggregate: Any, elements: Any, name: str) -> Any:
    """Return an aggregate over elements; None where a list function is not the same."""
    from sqlglot import exp

    kinds = {exp.Max: "max", exp.Min: "min", exp.Sum: "sum"}
    value = aggregate.this
    if type(aggregate) in kinds and not isinstance(value, exp.Distinct):
        values = _applied("list_transform", elements, value, name)
        kind = exp.Literal.string(kinds[type(aggregate)])
        return exp.func("list_aggregate", values, kind)
    if not isinstance(aggregate, exp.Count):
        return None
    if isinstance(value, exp.Star):
        counted = elements.copy()
    elif isinstance(value, exp.Distinct) and len(value.expressions) == 1:
        values = _applied("list_transform", elements, value.expressions[0], name)
        # Like COUNT, it leaves out NULL.
        counted = exp.func("list_distinct", values)
    else:
        return None
    number = exp.func("len", counted)
    return exp.Coalesce(this=number, expressions=[exp.Literal.number(0)])
