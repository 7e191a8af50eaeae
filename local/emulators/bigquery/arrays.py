"""Arrays: searched by one join, aggregated where they are, read by their fields."""

from __future__ import annotations

from typing import Any


def read_arrays() -> None:
    """Have statements read arrays as in BigQuery, and as DuckDB is quick to."""
    from local_bigquery.sql import rules

    rules.STATEMENT_RULES[:0] = [_mark, _with_offsets]
    rules.NODE_RULES += [_join, _in_place, _with_fields]


# x IN UNNEST(@xs) -------------------------------------------------------------------
#
# The emulator has DuckDB search the array for every row: a second for a thousand
# elements and a million rows, where a join takes milliseconds.


def _mark(tree: Any, context: Any) -> Any:
    """Mark each that is a condition of a WHERE."""
    from sqlglot import exp

    for node in tree.find_all(exp.In):
        unnest = node.args.get("unnest")
        if unnest is None or not isinstance(unnest.expressions[0], exp.Parameter):
            continue
        place = node.find_ancestor(exp.Where, exp.Lambda, exp.AggFunc, exp.Select)
        node.meta["joined"] = isinstance(place, exp.Where)
    return tree


def _join(node: Any, context: Any) -> Any:
    """Let it be IN (SELECT …), which is one join."""
    from sqlglot import exp, select

    if not (isinstance(node, exp.In) and node.meta.get("joined")):
        return node
    elements = exp.Anonymous(this="UNNEST", expressions=node.args["unnest"].expressions)
    return exp.In(this=node.this, query=exp.Subquery(this=select(elements)))


# (SELECT MAX(p.value) FROM UNNEST(params) AS p WHERE p.key = 'x') ---------------------
#
# For DuckDB that is a join of the table with its own elements, and for each row it
# prepares a vector for every field of them. The view of the export has seven of these:
# they took two thirds of a query of features.


def _in_place(node: Any, context: Any) -> Any:
    """Return a scalar subquery over an array as a function of the array, if it can."""
    from sqlglot import exp

    # In these it is a table, not a value.
    holders = (exp.From, exp.Join, exp.Lateral, exp.In, exp.SetOperation)
    is_value = isinstance(node, exp.Subquery) and not isinstance(node.parent, holders)
    if not is_value or not _is_plain(node.this):
        return node
    query = node.this
    source, [aggregate] = query.args["from_"].this, query.expressions
    where = query.args.get("where")
    parts = [aggregate.this, *([where.this] if where else [])]
    [element] = source.args["alias"].columns
    if not all(map(_is_value, parts)):
        return node
    elements = source.expressions[0]
    if where:
        elements = _applied("list_filter", elements, where.this, element.name)
    value = _aggregated(aggregate, elements, element.name)
    if value is None:
        return node
    value.type = node.type or aggregate.type
    # One that is a column has the name that the emulator gives it, where it has no own.
    return exp.alias_(value, node.alias) if node.alias else value


def _is_plain(query: Any) -> bool:
    """Whether a query is one value of the elements of a column's array, and no more."""
    from sqlglot import exp

    allowed = {"kind", "expressions", "from_", "where"}
    if not isinstance(query, exp.Select) or len(query.expressions) != 1:
        return False
    if any(value for key, value in query.args.items() if key not in allowed):
        return False
    source = query.args.get("from_") and query.args["from_"].this
    alias = source and source.args.get("alias")
    return (
        isinstance(query.expressions[0], exp.Max | exp.Min | exp.Sum | exp.Count)
        and isinstance(source, exp.Unnest)
        and isinstance(source.expressions[0], exp.Column | exp.Dot)
        and not source.args.get("offset")
        and isinstance(alias, exp.TableAlias)
        and len(alias.columns) == 1
    )


def _is_value(part: Any) -> bool:
    """Whether nothing in it has names of its own, or is known to aggregates alone."""
    from sqlglot import exp

    own = (exp.Query, exp.Lambda, exp.AggFunc, exp.Window)
    known = (exp.Star, exp.HavingMax, exp.IgnoreNulls, exp.Order, exp.Limit)
    return not part.find(*own, *known)


def _is_of(column: Any, name: str) -> bool:
    """Whether a column is an element, or one of its fields: ``p`` or ``p.value.x``."""
    return bool(column.parts[0].name.casefold() == name.casefold())


def _applied(function: str, elements: Any, value: Any, name: str) -> Any:
    """Return a list function of elements, with ``value`` as its lambda."""
    from sqlglot import exp

    # No table has this name, which DuckDB would take before the lambda's.
    element = f"_element_{name}"
    body = exp.Paren(this=value.copy())
    for column in list(body.find_all(exp.Column)):
        if _is_of(column, name):
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
    if not isinstance(aggregate, exp.Count) or not isinstance(value, exp.Distinct):
        return None
    if len(value.expressions) != 1:
        return None
    values = _applied("list_transform", elements, value.expressions[0], name)
    # Like COUNT, it leaves out NULL.
    number = exp.func("len", exp.func("list_distinct", values))
    return exp.Coalesce(this=number, expressions=[exp.Literal.number(0)])


# (SELECT value.int_value FROM UNNEST(event_params) WHERE key = 'x') -------------------
#
# In BigQuery the fields of elements are columns of their own, whether the elements have
# a name or not, and a name of theirs goes before a column of that name. In DuckDB
# neither is so.


def _with_fields(node: Any, context: Any) -> Any:
    """Return the elements of a column's array as a table that has their fields, too."""
    from sqlglot import exp

    source = node.parent
    is_read = isinstance(node, exp.Unnest) and not node.args.get("offset")
    if not is_read or not isinstance(source, exp.From | exp.Join):
        return node
    [array, *others] = node.expressions
    if others or not isinstance(array, exp.Column | exp.Dot):
        return node
    alias = node.args.get("alias")
    name = next(iter(alias.columns), None) if alias else None
    if name:
        read = _columns_beside(node)
        if name.name.casefold() == array.name.casefold():
            for column in read:
                if _is_of(column, name.name):
                    _rename(column, f"_{name.name}")
            name.set("this", f"_{name.name}")
        if all(column.table or _is_of(column, name.name) for column in read):
            return node
    if source.args.get("side") == "LEFT":
        # BigQuery takes it without a condition.
        source.set("on", source.args.get("on") or exp.true())
    return _elements(array, name)


def _with_offsets(tree: Any, context: Any) -> Any:
    """Have elements without a name that are counted by WITH OFFSET read by fields."""
    from sqlglot import exp

    for node in list(tree.find_all(exp.Unnest)):
        offset, [array, *_] = node.args.get("offset"), node.expressions
        if not isinstance(offset, exp.Identifier) or node.alias_column_names:
            continue
        if isinstance(array, exp.Column | exp.Dot):
            first = exp.Literal.number(1)
            number = exp.func("generate_subscripts", array.copy(), first)
            node.replace(_elements(array, None, exp.alias_(number - 1, offset)))
    return tree


def _elements(array: Any, name: Any, *others: Any) -> Any:
    """Return a table of elements: each by its fields, and whole by its name."""
    from sqlglot import exp

    depth = exp.PropertyEQ(this=exp.var("max_depth"), expression=exp.Literal.number(2))
    columns: list[Any] = [
        exp.Anonymous(this="UNNEST", expressions=[array.copy(), depth])
    ]
    if name:
        columns.append(exp.alias_(exp.func("UNNEST", array.copy()), name))
    table = exp.to_identifier(f"_of_{name.name if name else array.name}")
    elements = exp.select(*columns, *others)
    return exp.Subquery(this=elements, alias=exp.TableAlias(this=table))


def _columns_beside(unnest: Any) -> list[Any]:
    """Return the columns of the query that an array is unnested in, but for its own."""
    from sqlglot import exp

    query = unnest.find_ancestor(exp.Select)
    others = [unnest, *query.ctes]
    own = {id(column) for other in others for column in other.find_all(exp.Column)}
    return [column for column in query.find_all(exp.Column) if id(column) not in own]


def _rename(column: Any, name: str) -> None:
    """Read elements by another name; one that a query answers whole keeps its own."""
    from sqlglot import exp

    own = column.parts[0].name
    column.parts[0].set("this", name)
    if isinstance(column.parent, exp.Select) and len(column.parts) == 1:
        column.replace(exp.alias_(column.copy(), own))
