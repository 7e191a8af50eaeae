"""Bounds of ``_TABLE_SUFFIX``: which tables of a wildcard a query reads."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any

_SUFFIX = "_table_suffix"
_COMPARED: dict[str, Callable[[str, str], bool]] = {
    "EQ": operator.eq,
    "LT": operator.lt,
    "LTE": operator.le,
    "GT": operator.gt,
    "GTE": operator.ge,
}
_MIRRORED = {"EQ": "EQ", "LT": "GT", "LTE": "GTE", "GT": "LT", "GTE": "LTE"}
# Of the values of parameters, as they are when it is asked, and of a suffix.
Bound = Callable[[Mapping[str, Any], str], bool]
Constant = Callable[[Mapping[str, Any]], Any]


def suffix_bounds(table: Any, context: Any) -> list[Bound]:
    """
    Return conditions that a shard's suffix must meet to have rows in the answer.

    Conditions are those conjuncts of WHERE that compare ``_TABLE_SUFFIX`` with string
    constants or parameters: of the query that reads the wildcard, and of queries around
    it that get the suffix under some name, or with a constant before it, from a
    subquery which only selects, or from a UNION ALL of such.

    Args:
        table: The wildcard, in a statement whose parameters still stand.
        context: The translation's, for the parameters' types.
    """
    from sqlglot import exp

    bounds: list[Bound] = []
    name: str | None = _SUFFIX
    source = table
    before = ""
    query = table.find_ancestor(exp.Select)
    while query is not None and name is not None:
        if not _reads(query, source):
            break
        where = query.args.get("where")
        for condition in _conjuncts(where.this) if where is not None else ():
            bound = _bound(condition, name, source.alias_or_name, context)
            if bound is not None:
                bounds.append(_with(bound, before))
        outer, first = _united(query)
        is_plain = isinstance(outer, exp.Subquery) and not any(
            value for key, value in outer.args.items() if key not in ("this", "alias")
        )
        if not is_plain or not _only_selects(query):
            break
        name, more = _passed_on(query, first, name, source.alias_or_name)
        before = more + before
        source, query = outer, outer.find_ancestor(exp.Select)
    return bounds


def _with(bound: Bound, before: str) -> Bound:
    return lambda values, suffix: bound(values, before + suffix)


def _united(query: Any) -> tuple[Any, Any]:
    """Return what a query is in, and the SELECT that names the columns there."""
    from sqlglot import exp

    outer, first = query.parent, query
    harmless = {"this", "expression", "distinct", "by_name"}
    while isinstance(outer, exp.Union):
        is_all = not outer.args.get("distinct")
        if not is_all or any(v for k, v in outer.args.items() if k not in harmless):
            break
        first = outer.left
        while isinstance(first, exp.Union):
            first = first.left
        outer = outer.parent
    return outer, first


def _reads(query: Any, source: Any) -> bool:
    """Whether ``source`` stands in the FROM or in a JOIN of ``query`` itself."""
    from sqlglot import exp

    parent = source.parent
    return isinstance(parent, exp.From | exp.Join) and parent.parent is query


def _only_selects(query: Any) -> bool:
    """Whether a condition on a selected column may as well be checked before."""
    from sqlglot import exp

    harmless = {"kind", "hint", "expressions", "from", "from_", "joins", "where"}
    if any(value for key, value in query.args.items() if key not in harmless):
        return False
    return not any(
        window.find_ancestor(exp.Select) is query
        for window in query.find_all(exp.Window)
    )


def _conjuncts(condition: Any) -> Iterator[Any]:
    from sqlglot import exp

    if isinstance(condition, exp.Paren):
        yield from _conjuncts(condition.this)
    elif isinstance(condition, exp.And):
        yield from _conjuncts(condition.this)
        yield from _conjuncts(condition.expression)
    else:
        yield condition


def _is_suffix(node: Any, name: str, source: str) -> bool:
    from sqlglot import exp

    return (
        isinstance(node, exp.Column)
        and node.name.casefold() == name
        and node.table.casefold() in ("", source.casefold())
    )


def _passed_on(
    query: Any, first: Any, name: str, source: str
) -> tuple[str | None, str]:
    """
    Return the name under which ``query`` selects the suffix, None if it does not, and
    the constant that it puts before it.

    Args:
        query: A SELECT.
        first: The SELECT that names its columns: of a union, the first.
        name: Of the suffix in what the query reads.
        source: By what name it reads that.
    """
    from sqlglot import exp

    for position, column in enumerate(query.expressions):
        if column.is_star and first is not query:
            break
        inner = column.this if isinstance(column, exp.Alias) else column
        before = ""
        if isinstance(inner, exp.Concat) and len(inner.expressions) == 2:
            constant, inner = inner.expressions
            if not constant.is_string:
                continue
            before = str(constant.this)
        if _is_suffix(inner, name, source):
            named = first.expressions[position]
            return str(named.alias_or_name).casefold(), before
    return None, ""


def _constant(node: Any, context: Any) -> Constant | None:
    """Return what gives a string that does not depend on rows, if it is one."""
    from sqlglot import exp

    if isinstance(node, exp.Literal) and node.is_string:
        text = str(node.this)
        return lambda _: text
    if isinstance(node, exp.Parameter) and isinstance(node.this, exp.Var):
        name = node.name
        if context.parameters.get(name, "").endswith(" AS VARCHAR)"):
            return lambda values: values.get(name)
    return None


def _bound(condition: Any, name: str, source: str, context: Any) -> Bound | None:
    """Return what a conjunct demands of the suffix ``name`` of ``source``, if it is."""
    from sqlglot import exp

    subject = condition.this
    compare: Callable[..., bool]
    if isinstance(condition, exp.Between) and not condition.args.get("symmetric"):
        others = [condition.args["low"], condition.args["high"]]
        compare = _is_between
    elif isinstance(condition, exp.In):
        others = condition.expressions
        compare = _is_in
    elif (kind := type(condition).__name__) in _COMPARED:
        other = condition.expression
        if not _is_suffix(subject, name, source):
            subject, other, kind = other, subject, _MIRRORED[kind]
        compare, others = _COMPARED[kind], [other]
    else:
        return None
    constants = [_constant(other, context) for other in others]
    known = [constant for constant in constants if constant is not None]
    if not known or known != constants or not _is_suffix(subject, name, source):
        return None

    def allows(values: Mapping[str, Any], suffix: str) -> bool:
        texts = [constant(values) for constant in known]
        # A value that is no text passes: NULL is for DuckDB to judge.
        return not all(isinstance(t, str) for t in texts) or compare(suffix, *texts)

    return allows


def _is_between(suffix: str, low: str, high: str) -> bool:
    return low <= suffix <= high


def _is_in(suffix: str, *items: str) -> bool:
    return suffix in items
