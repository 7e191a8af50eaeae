"""
Lists as DuckDB has them: counted from one, made whole, and aggregated where they are.

A subquery over a row's own list, such as ``(SELECT MAX(p.value) FROM UNNEST(params) AS
p WHERE p.key = 'x')``, would be for DuckDB a join of the table with all elements of its
lists: a view of the export has ten of these, and took gigabytes.
"""

from __future__ import annotations

from typing import Any

import sqlglot
from sqlglot import exp

# Aggregates that DuckDB's ``list_aggregate`` has, too, by their names there.
AGGREGATES: dict[type[Any], str] = {exp.Max: "max", exp.Min: "min", exp.Sum: "sum"}
# Below these a subquery is rows instead of a value.
HOLDERS = (exp.From, exp.Join, exp.Lateral, exp.In, exp.SetOperation, exp.Exists)
# What a function of an element cannot have in it.
BEYOND = (exp.Query, exp.AggFunc, exp.Window, exp.Star, exp.Order, exp.Limit)


def rewrite(node: Any) -> None:
    """Change a node that has to do with lists."""
    match node:
        case exp.Bracket():
            _count_from_one(node)
            _first(node)
        case exp.Unnest() if node.args.get("offset"):
            _count_from_zero(node)
        case exp.ArrayAgg() if isinstance(node.this, exp.Limit):
            _cut(node)
        case exp.ApproxQuantiles():
            _exact_quantiles(node)
        case exp.Subquery():
            _aggregate_in_place(node)


def _count_from_one(node: exp.Bracket) -> None:
    """Have an index that is no literal begin at one; sqlglot counts literals up."""
    [index] = node.expressions[:1]
    if node.args.get("offset") == 0 and not index.is_number:
        one_more = exp.Add(
            this=exp.paren(index.copy()), expression=exp.Literal.number(1)
        )
        node.set("expressions", [one_more])
        node.set("offset", 1)


def _first(node: exp.Bracket) -> None:
    """Take the first of a group without its list: ordered lists take most memory."""
    cut = node.this
    [index] = node.expressions[:1]
    if node.args.get("offset") != 0 or index.name != "0":
        return
    if isinstance(cut, exp.Anonymous) and cut.name == "list_slice":
        whole = cut.expressions[0]
        if isinstance(whole, exp.ArrayAgg):
            node.replace(exp.First(this=whole.this))


def _count_from_zero(node: exp.Unnest) -> None:
    """Have the offset of an element begin at zero, where an ordinality is one more."""
    offset = node.args["offset"]
    alias = node.args.get("alias")
    element = alias.columns[0].name if alias and alias.columns else "element"
    place = offset.name if isinstance(offset, exp.Identifier) else "offset"
    both = f"SELECT element AS `{element}`, ordinal - 1 AS `{place}` FROM unnested"
    inner: Any = sqlglot.parse_one(both, read="bigquery")
    values = exp.Unnest(
        expressions=node.expressions,
        alias=exp.TableAlias(
            this=exp.to_identifier("unnested"),
            columns=[exp.to_identifier("element")],
        ),
        offset=exp.to_identifier("ordinal"),
    )
    inner.find(exp.Table).replace(values)
    node.replace(inner.subquery(f"with_{place}"))


def _cut(node: exp.ArrayAgg) -> None:
    """Cut a list off that DuckDB can only make whole."""
    limit = node.this
    node.set("this", limit.this)
    whole = node.parent if isinstance(node.parent, exp.IgnoreNulls) else node
    cut = exp.Anonymous(this="list_slice", expressions=[])
    whole.replace(cut)
    cut.set("expressions", [whole, exp.Literal.number(1), limit.expression])


def _exact_quantiles(node: exp.ApproxQuantiles) -> None:
    count = int(node.expression.name)
    bounds = [exp.Literal.number(number / count) for number in range(count + 1)]
    node.replace(exp.func("quantile_disc", node.this, exp.Array(expressions=bounds)))


def _aggregate_in_place(node: exp.Subquery) -> None:
    """Make a value that aggregates a row's own list a function of the list."""
    query = node.this
    if isinstance(node.parent, HOLDERS) or not isinstance(query, exp.Select):
        return
    given = {name for name, value in query.args.items() if value}
    if not given <= {"expressions", "from_", "where"} or len(query.expressions) != 1:
        return
    source = query.args["from_"].this if query.args.get("from_") else None
    where = query.args.get("where")
    if not isinstance(source, exp.Unnest) or (where and where.this.find(*BEYOND)):
        return
    [elements, *others] = source.expressions
    alias = source.args.get("alias")
    is_own = isinstance(elements, exp.Column | exp.Dot) and not others
    if not is_own or source.args.get("offset") or not alias or len(alias.columns) != 1:
        return
    name = alias.columns[0].name
    if where:
        elements = _each("list_filter", elements, where.this, name)
    value = _aggregated(query.expressions[0], elements, name)
    if value is not None:
        node.replace(exp.alias_(value, node.alias) if node.alias else value)


def _each(function: str, elements: Any, value: Any, name: str) -> Any:
    """Return a list function, with a function of an element of this name."""
    # A column of the same name would be taken for it.
    element = f"element {name}"
    body = exp.paren(value)
    for column in list(body.find_all(exp.Column)):
        first = column.parts[0]
        if first.name.casefold() == name.casefold():
            first.replace(exp.to_identifier(element, quoted=True))
    parameter = exp.to_identifier(element, quoted=True)
    each = exp.Lambda(this=body, expressions=[parameter])
    return exp.func(function, elements.copy(), each)


def _aggregated(aggregate: Any, elements: Any, name: str) -> Any | None:
    """Return an aggregate of a list's elements; None where lists have none such."""
    value = aggregate.this
    if type(aggregate) in AGGREGATES and not value.find(exp.Distinct, *BEYOND):
        values = _each("list_transform", elements, value, name)
        kind = exp.Literal.string(AGGREGATES[type(aggregate)])
        return exp.func("list_aggregate", values, kind)
    if not isinstance(aggregate, exp.Count):
        return None
    counted = elements.copy()
    if isinstance(value, exp.Distinct) and len(value.expressions) == 1:
        [distinct] = value.expressions
        if distinct.find(*BEYOND):
            return None
        values = _each("list_transform", elements, distinct, name)
        # It leaves out nulls, as COUNT does.
        counted = exp.func("list_distinct", values)
    elif not isinstance(value, exp.Star):
        return None
    return exp.func("COALESCE", exp.func("len", counted), exp.Literal.number(0))
