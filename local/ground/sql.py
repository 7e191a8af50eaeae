"""
GoogleSQL as DuckDB's, for the statements of the product and of use cases.

sqlglot writes most of it. What it writes wrongly is rewritten here; what DuckDB lacks
is ``Untranslated``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal
from functools import cache
from typing import Any

import sqlglot
from sqlglot import exp

# sqlglot warns of each property that DuckDB has no use for.
IGNORED = sqlglot.ErrorLevel.IGNORE

# DuckDB's names of types, by those of BigQuery's parameters and schemas.
TYPES: Mapping[str, str] = {
    "STRING": "VARCHAR",
    "INT64": "BIGINT",
    "INTEGER": "BIGINT",
    "FLOAT64": "DOUBLE",
    "FLOAT": "DOUBLE",
    "BOOL": "BOOLEAN",
    "BOOLEAN": "BOOLEAN",
    "BYTES": "BLOB",
    "DATE": "DATE",
    "TIMESTAMP": "TIMESTAMPTZ",
    "DATETIME": "TIMESTAMP",
    "NUMERIC": "DECIMAL(38, 9)",
    "JSON": "JSON",
}

NUMERIC = TYPES["NUMERIC"]
# Where macros are, since statements are of other databases.
MACROS_IN = "memory.main."
# Of NUMERIC a product has twice as many decimals in DuckDB, and a quotient is a double.
_BY_TYPE = """{name}
  (a BIGINT, b BIGINT) AS {plain},
  (a HUGEINT, b HUGEINT) AS {plain},
  (a DOUBLE, b DOUBLE) AS {plain},
  (a {numeric}, b {numeric}) AS {exact}(a, b),
  (a, b) AS {plain}"""
_DIVIDED = "CASE WHEN b = 0 THEN error('division by zero') ELSE a / b END"
# Functions that DuckDB lacks, or that answer otherwise there.
MACROS = (
    # Whom it draws is as good as whom BigQuery draws.
    "farm_fingerprint(text) AS "
    "CAST(CAST(hash(text) AS HUGEINT) - 9223372036854775808 AS BIGINT)",
    "as_text(a) AS CASE WHEN typeof(a) LIKE 'DECIMAL%' AND typeof(a) NOT LIKE '%,0)' "
    "THEN rtrim(rtrim(CAST(a AS VARCHAR), '0'), '.') "
    "WHEN typeof(a) = 'DOUBLE' THEN regexp_replace(CAST(a AS VARCHAR), '\\.0$', '') "
    "ELSE CAST(a AS VARCHAR) END",
    f"plainly_divided(a, b) AS {_DIVIDED}",
    _BY_TYPE.format(
        name="divided", plain=_DIVIDED, exact="numeric_divided", numeric=NUMERIC
    ),
    _BY_TYPE.format(
        name="multiplied", plain="a * b", exact="numeric_multiplied", numeric=NUMERIC
    ),
)
# A product of two has at most 76 digits.
_EXACT = Context(prec=80)
_NUMERIC = Context(prec=38)
_NINTH = Decimal("1e-9")


def product(left: Decimal, right: Decimal) -> Decimal:
    """Multiply two NUMERIC; InvalidOperation beyond 29 digits before the point."""
    return _EXACT.multiply(left, right).quantize(_NINTH, ROUND_HALF_UP, _NUMERIC)


def quotient(left: Decimal, right: Decimal) -> Decimal:
    """Divide likewise; DivisionByZero by zero."""
    return _EXACT.divide(left, right).quantize(_NINTH, ROUND_HALF_UP, _NUMERIC)


def define(database: Any) -> None:
    """Add to a database what DuckDB lacks."""
    both = [NUMERIC, NUMERIC]
    database.create_function("numeric_multiplied", product, both, NUMERIC)
    database.create_function("numeric_divided", quotient, both, NUMERIC)
    for macro in MACROS:
        database.execute(f"CREATE MACRO {macro}")


# Lists of tables, which DuckDB has otherwise.
LISTS = ("__TABLES__", "INFORMATION_SCHEMA.TABLES")
PARTS = ("catalog", "db", "this")
# Statements that change a table, or what tables there are.
CHANGING = (
    exp.Insert, exp.Delete, exp.Update, exp.Merge, exp.Create, exp.Drop, exp.Alter,
    exp.TruncateTable,
)  # fmt: skip


class Untranslated(BaseException):
    """DuckDB lacks what a statement uses; no program may catch it."""


@dataclass(frozen=True)
class Statement:
    """
    A statement of a script, as DuckDB's.

    Attributes:
        text: With a placeholder for each parameter.
        reads: Tables that it reads or changes, as (project, dataset, name); without a
            project or dataset where the statement names none.
        changes: The table that it changes or makes, if any.
        parameters: Names of its parameters.
        kind: Of the tree, in small letters: select, insert, create, …
        temporary: Whether it makes a table that goes with the script.
        target: Where EXPORT DATA writes to.
    """

    text: str
    reads: frozenset[tuple[str, str, str]]
    changes: tuple[str, str, str] | None
    parameters: frozenset[str]
    kind: str
    temporary: bool = False
    target: str = ""

    @property
    def is_query(self) -> bool:
        return self.kind in ("select", "setoperation")


@cache
def translated(sql: str, types: tuple[tuple[str, str], ...] = ()) -> list[Statement]:
    """
    Return the statements of a script.

    Args:
        types: DuckDB's type of each parameter, by its name.
    """
    try:
        trees = sqlglot.parse(
            sql, read="bigquery", error_level=sqlglot.ErrorLevel.RAISE
        )
    except sqlglot.ParseError as error:
        raise Untranslated(f"{error}\n{sql}") from error
    known = dict(types)
    return [_statement(tree, known) for tree in trees if tree is not None]


def _statement(tree: Any, types: Mapping[str, str]) -> Statement:
    if isinstance(tree, exp.Command):
        raise Untranslated(tree.sql(dialect="bigquery"))
    target = ""
    if isinstance(tree, exp.Export):
        options = tree.args["options"].expressions
        [target] = [one.args["value"].name for one in options if one.name == "uri"]
        if not any(one.name.upper() == "PARQUET" for one in options):
            raise Untranslated(tree.sql(dialect="bigquery"))
        tree = tree.this
    changed = None
    if isinstance(tree, CHANGING):
        changed = tree.find(exp.Table)
    is_temporary = tree.find(exp.TemporaryProperty) is not None
    reads = frozenset(_path(table) for table in _tables(tree))
    changes = None if changed is None else _path(changed)
    _rewrite(tree, types)
    parameters = frozenset(node.name for node in tree.find_all(exp.Parameter))
    kind = "select" if isinstance(tree, exp.Query) else type(tree).__name__.lower()
    if target:
        kind = "export"
    return Statement(
        text=tree.sql(dialect="duckdb", unsupported_level=IGNORED),
        reads=reads,
        changes=changes,
        parameters=parameters,
        kind=kind,
        temporary=is_temporary,
        target=target,
    )


def view_of(path: tuple[str, str, str]) -> tuple[str, str, str]:
    """Return what stands for a wildcard or a list of tables, by its name."""
    return "memory", "main", ".".join(path)


def _path(table: exp.Table) -> tuple[str, str, str]:
    return table.catalog, table.db, table.name


def _tables(tree: exp.Expression) -> Iterator[exp.Table]:
    """Yield the tables of a statement, but for the names of its own WITH."""
    own = {common.alias for common in tree.find_all(exp.CTE)}
    for table in tree.find_all(exp.Table):
        if table.db or table.name not in own:
            yield table


def _rewrite(tree: exp.Expression, types: Mapping[str, str]) -> None:
    """Change what sqlglot would write wrongly, what is inside of others first."""
    for node in reversed(list(tree.walk())):
        _rewrite_name(node, types)
        _rewrite_list(node)
        _rewrite_number(node)


def _rewrite_name(node: Any, types: Mapping[str, str]) -> None:
    """Change names of tables and parameters, and types that DuckDB names otherwise."""
    match node:
        case exp.Table() if node.name in LISTS or node.name.endswith("*"):
            _hide_suffix(node)
            if not node.alias:
                alias = exp.to_identifier(node.name, quoted=True)
                node.set("alias", exp.TableAlias(this=alias))
            for part, name in zip(PARTS, view_of(_path(node)), strict=True):
                node.set(part, exp.to_identifier(name, quoted=True))
        case exp.Parameter() if node.name in types:
            typed = exp.DataType.build(types[node.name], dialect="duckdb")
            node.replace(exp.Cast(this=node.copy(), to=typed))
        case exp.DataType() if node.is_type("BIGDECIMAL"):
            raise Untranslated("BIGNUMERIC")
        case exp.DataType() if node.is_type("DECIMAL") and not node.expressions:
            node.replace(exp.DataType.build(NUMERIC, dialect="duckdb"))


def _rewrite_list(node: Any) -> None:
    """Change lists, which DuckDB counts from one and makes whole, and what counts."""
    match node:
        case exp.Bracket():
            _count_from_one(node)
        case exp.Unnest() if node.args.get("offset"):
            _count_from_zero(node)
        case exp.ArrayAgg() if isinstance(node.this, exp.Limit):
            _cut(node)
        case exp.ApproxQuantiles():
            _exact_quantiles(node)
        case exp.CountIf():
            # DuckDB's own is null where no condition is known.
            is_true = exp.If(this=node.this, true=exp.Literal.number(1))
            node.replace(exp.Count(this=exp.Case(ifs=[is_true])))


def _rewrite_number(node: Any) -> None:
    """Change calculations, and texts of numbers."""
    match node:
        case exp.Extract() if node.name == "DATE":
            node.replace(exp.cast(node.expression, "DATE"))
        case exp.Literal() if _is_decimal(node):
            # BigQuery takes it for FLOAT64.
            node.set("this", f"{node.this}e0")
        case exp.DateAdd() | exp.DateSub():
            node.replace(exp.cast(node.copy(), "DATE"))
        case exp.UnixToTime():
            node.replace(exp.cast(node.copy(), TYPES["TIMESTAMP"]))
        case exp.IntDiv():
            for name in ("this", "expression"):
                node.set(name, exp.paren(node.args[name], copy=False))
        case exp.Div() | exp.Mul():
            _by_type(node)
        case exp.SafeMultiply():
            product = _macro("multiplied", node.this, node.expression)
            node.replace(exp.Anonymous(this="try", expressions=[product]))
        case exp.FarmFingerprint():
            node.replace(_macro("farm_fingerprint", *node.expressions))
        case exp.Cast() if node.to.is_type("BINARY"):
            # DuckDB's own takes ASCII alone.
            node.replace(exp.Anonymous(this="encode", expressions=[node.this]))
        case exp.JSONFormat() if node.args.get("to_json"):
            # It would be a text of JSON within JSON.
            node.replace(exp.func("to_json", node.this))
        case exp.Cast() if _is_of_text(node):
            node.replace(_macro("as_text", node.this))


def _is_decimal(node: exp.Literal) -> bool:
    return not node.is_string and "." in node.this and "e" not in node.this.lower()


def _is_of_text(node: exp.Cast) -> bool:
    return node.to.is_type("TEXT", "VARCHAR") and not isinstance(node, exp.TryCast)


def _macro(name: str, *arguments: exp.Expression) -> exp.Expression:
    return exp.Anonymous(this=f"{MACROS_IN}{name}", expressions=list(arguments))


def _by_type(node: exp.Binary) -> None:
    """Have NUMERIC calculated exactly, but for aggregates: DuckDB types them late."""
    if node.args.get("safe") or node.find(exp.Interval):
        return
    is_late = node.find(exp.AggFunc, exp.Window, exp.PercentileDisc) is not None
    if isinstance(node, exp.Div):
        name = "plainly_divided" if is_late else "divided"
        node.replace(_macro(name, node.this, node.expression))
    elif not is_late:
        node.replace(_macro("multiplied", node.this, node.expression))


def _count_from_one(node: exp.Bracket) -> None:
    """Have an index that is no literal begin at one; sqlglot counts literals up."""
    [index] = node.expressions[:1]
    if node.args.get("offset") == 0 and not index.is_number:
        one_more = exp.Add(
            this=exp.paren(index.copy()), expression=exp.Literal.number(1)
        )
        node.set("expressions", [one_more])
        node.set("offset", 1)


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


def _hide_suffix(table: exp.Table) -> None:
    """Leave _TABLE_SUFFIX out of the stars of a query that reads a wildcard."""
    query = table.find_ancestor(exp.Select)
    for column in query.expressions if query is not None else []:
        star = column
        if isinstance(column, exp.Column) and column.table == table.alias_or_name:
            star = column.this
        if isinstance(star, exp.Star):
            star.append("except_", exp.to_identifier("_TABLE_SUFFIX"))
