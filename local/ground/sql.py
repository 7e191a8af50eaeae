"""
GoogleSQL as DuckDB's, for the statements of the product and of use cases.

sqlglot writes most of it. What it writes wrongly is rewritten here; what DuckDB lacks
is ``Untranslated``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal
from functools import lru_cache
from typing import Any

import sqlglot
from farmhash import Fingerprint64
from google.api_core import exceptions as api
from sqlglot import exp

# By its name a dialect is loaded at the first statement, and another thread that comes
# meanwhile finds half of it.
from sqlglot.dialects import BigQuery, DuckDB

from local.ground import functions, lists
from local.ground.functions import Untranslated, macro

# Of a table: project, dataset and name.
Path3 = tuple[str, str, str]
# Texts whose translations are kept, and those whose trees are: these are large.
KEPT = 2_000
KEPT_TREES = 100
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


def fingerprint(text: str) -> int:
    """Return FarmHash's Fingerprint64, whose bits BigQuery takes for an INT64."""
    unsigned: int = Fingerprint64(text)
    return int.from_bytes(unsigned.to_bytes(8), signed=True)


def define(database: Any) -> None:
    """Add to a database what DuckDB lacks."""
    both = [NUMERIC, NUMERIC]
    database.create_function("numeric_multiplied", product, both, NUMERIC)
    database.create_function("numeric_divided", quotient, both, NUMERIC)
    database.create_function("farm_fingerprint", fingerprint, ["VARCHAR"], "BIGINT")
    for definition in MACROS + functions.MACROS:
        database.execute(f"CREATE MACRO {definition}")


# Lists of tables, which DuckDB has otherwise.
LISTS = ("__TABLES__", "INFORMATION_SCHEMA.TABLES")
# What BigQuery alone knows, and a table of the past or of one partition.
NOT_HERE = re.compile(r"^INFORMATION_SCHEMA\.|[@$]")
PARTS = ("catalog", "db", "this")
# Statements that change a table, or what tables there are.
CHANGING = (
    exp.Insert, exp.Delete, exp.Update, exp.Merge, exp.Create, exp.Drop, exp.Alter,
    exp.TruncateTable,
)  # fmt: skip
TRANSACTIONS = (exp.Transaction, exp.Commit, exp.Rollback)
# Columns that have a name; BigQuery gives others one.
NAMED = (exp.Alias, exp.Column, exp.Dot)


def quoted(*names: str) -> str:
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


@dataclass(frozen=True)
class Statement:
    """
    A statement of a script, as DuckDB's.

    Attributes:
        text: With a placeholder for each parameter.
        parameters: Names of its parameters.
        reads: Tables that it reads or changes, and those of the views that it reads;
            without a project or dataset where the statement names none.
        changes: The table that it changes or makes, if any.
        kind: Of the tree, in small letters: select, insert, create, …
        conditions: Names of the columns in its conditions.
        temporary: Whether it makes a table that goes with the script.
        target: Where EXPORT DATA writes to.
        view: The query of a view that it makes, as it was written.
        doubled: A query for the rows that it would change twice, if there can be any.
    """

    text: str
    parameters: frozenset[str]
    reads: frozenset[Path3] = frozenset()
    changes: Path3 | None = None
    kind: str = "select"
    conditions: frozenset[str] = frozenset()
    temporary: bool = False
    target: str = ""
    view: str = ""
    doubled: Statement | None = None

    @property
    def is_query(self) -> bool:
        return self.kind in ("select", "setoperation")


@lru_cache(KEPT)
def translated(
    sql: str,
    types: tuple[tuple[str, str], ...] = (),
    place: tuple[str, str] = ("", ""),
    views: tuple[tuple[Path3, str], ...] = (),
) -> list[Statement]:
    """
    Return the statements of a script.

    Args:
        types: DuckDB's type of each parameter, by its name.
        place: Project and dataset of names without a dataset.
        views: Queries of views, which stand in the place of their names.
    """
    known = dict(types)
    named = dict(views)
    trees = [tree.copy() for tree in _parsed(sql)]
    return [_statement(tree, known, place, named) for tree in trees]


@lru_cache(KEPT)
def reads_of(sql: str, place: tuple[str, str]) -> frozenset[Path3]:
    """Return the tables and views that a script names, as those of a ``Statement``."""
    trees = _parsed(sql)
    return frozenset(_full(table, place) for tree in trees for table in _tables(tree))


@lru_cache(KEPT_TREES)
def _parsed(sql: str) -> list[Any]:
    """Return the trees of a script; whoever changes one changes a copy."""
    try:
        trees = sqlglot.parse(sql, read=BigQuery, error_level=sqlglot.ErrorLevel.RAISE)
    except sqlglot.errors.ParseError as error:
        [first, *_] = error.errors
        place = f"[{first['line']}:{first['col']}]"
        said = f"what it has before {first['highlight']} at {place}"
        raise Untranslated(f"{said}\n{sql}") from error
    except sqlglot.errors.SqlglotError as error:
        raise Untranslated(f"{error}\n{sql}") from error
    return [tree for tree in trees if tree is not None]


def _statement(
    tree: Any,
    types: Mapping[str, str],
    place: tuple[str, str],
    views: Mapping[Path3, str],
) -> Statement:
    target = ""
    if isinstance(tree, exp.Export):
        options = tree.args["options"].expressions
        [target] = [one.args["value"].name for one in options if one.name == "uri"]
        if not any(one.name.upper() == "PARQUET" for one in options):
            raise Untranslated(tree.sql(dialect=BigQuery))
        tree = tree.this
    if not isinstance(tree, (exp.Query, *CHANGING, *TRANSACTIONS)):
        raise Untranslated(tree.sql(dialect=BigQuery))
    changed = None
    view = ""
    if isinstance(tree, CHANGING):
        changed = tree.find(exp.Table)
        if tree.args.get("kind") == "VIEW" and isinstance(tree, exp.Create):
            view = tree.expression.sql(dialect=BigQuery)
        elif tree.args.get("kind") not in (None, "TABLE", "VIEW"):
            raise Untranslated(tree.sql(dialect=BigQuery))
    if isinstance(tree, exp.Delete | exp.Update) and not tree.args.get("where"):
        kind = type(tree).__name__.upper()
        raise api.BadRequest(f"{kind} must have a WHERE clause")
    is_temporary = tree.find(exp.TemporaryProperty) is not None
    changes = None if changed is None else _full(changed, place)
    reads = _put_views(tree, place, views, target=changed)
    conditions = _conditions(tree)
    if isinstance(tree, exp.Query):
        _name_columns(tree)
    _rewrite(tree, types)
    parameters = frozenset(node.name for node in tree.find_all(exp.Parameter))
    kind = "select" if isinstance(tree, exp.Query) else type(tree).__name__.lower()
    if target:
        kind = "export"
    return Statement(
        doubled=_doubled(tree),
        text=tree.sql(dialect=DuckDB, copy=False, unsupported_level=IGNORED),
        reads=reads,
        changes=changes,
        parameters=parameters,
        kind=kind,
        conditions=conditions,
        temporary=is_temporary,
        target=target,
        view=view,
    )


def _doubled(tree: Any) -> Statement | None:
    """Return a query for the rows to which several rows of a source belong."""
    if isinstance(tree, exp.Merge):
        source = tree.args["using"]
        whens = [one for one in tree.args["whens"].expressions if one.args["matched"]]
        if not whens:
            return None
        wanted = [one.args.get("condition") or exp.true() for one in whens]
        pairs = exp.and_(tree.args["on"], exp.or_(*wanted))
    elif isinstance(tree, exp.Update) and tree.args.get("from_"):
        source = tree.args["from_"].this
        pairs = tree.args["where"].this
    else:
        return None
    row = exp.column("rowid", table=tree.this.alias_or_name)
    query = exp.select("1").from_(tree.this).join(source, join_type="CROSS")
    query = query.where(pairs).group_by(row).having("COUNT(*) > 1")
    return Statement(
        text=query.sql(dialect=DuckDB, copy=False, unsupported_level=IGNORED),
        parameters=frozenset(node.name for node in query.find_all(exp.Parameter)),
    )


def view_of(path: Path3) -> Path3:
    """Return what stands for a wildcard, by its name."""
    return "gathered", "main", ".".join(path)


def _full(table: exp.Table, place: tuple[str, str]) -> Path3:
    """Return the path of a table; project or dataset are "" where nothing says them."""
    if table.db:
        return table.catalog or place[0], table.db, table.name
    return place[0], place[1], table.name


def _tables(tree: Any) -> Iterator[exp.Table]:
    """Yield the tables of a statement, but for the names of its own WITH."""
    own = {common.alias for common in tree.find_all(exp.CTE)}
    for table in tree.find_all(exp.Table):
        if not isinstance(table.this, exp.Identifier) or table.args.get("version"):
            # A function could read a file; of the past nothing is kept.
            raise Untranslated(table.sql(dialect=BigQuery))
        if NOT_HERE.search(table.name) and table.name not in LISTS:
            raise Untranslated(f"{table.name}: it is not on this machine")
        if table.db or table.name not in own:
            yield table


def _put_views(
    tree: Any,
    place: tuple[str, str],
    views: Mapping[Path3, str],
    *,
    target: exp.Table | None = None,
) -> frozenset[Path3]:
    """
    Put queries of views in the place of their names; return what is read then.

    A view is of the tables of now, and DuckDB's own keeps those that it was made of.
    """
    reads = set[Path3]()
    for table in list(_tables(tree)):
        path = _full(table, place)
        reads.add(path)
        if table.db:
            # Projects have dashes in their names.
            _name_in_full(table, path)
        if path not in views or table is target:
            continue
        [parsed] = _parsed(views[path])
        body = parsed.copy()
        for inner in list(_tables(body)):
            _name_in_full(inner, _full(inner, path[:2]))
        reads |= _put_views(body, path[:2], views)
        alias = table.args.get("alias")
        if alias is None:
            alias = exp.TableAlias(this=exp.to_identifier(table.name, quoted=True))
        table.replace(exp.Subquery(this=body, alias=alias))
    return frozenset(reads)


def _name_in_full(table: exp.Table, path: Path3) -> None:
    for part, name in zip(PARTS, path, strict=True):
        table.set(part, exp.to_identifier(name, quoted=True))


def _name_columns(query: Any) -> None:
    """Name the columns that have no name: f0_, f1_, … as BigQuery does."""
    while isinstance(query, exp.SetOperation | exp.Subquery):
        query = query.this
    number = 0
    for column in list(query.expressions):
        if not isinstance(column, NAMED) and not column.is_star:
            column.replace(exp.alias_(column.copy(), f"f{number}_", quoted=True))
            number += 1


def _conditions(tree: Any) -> frozenset[str]:
    conditions = list(tree.find_all(exp.Where))
    if isinstance(tree, exp.Merge):
        conditions.append(tree.args["on"])
    return frozenset(
        column.name.casefold()
        for condition in conditions
        for column in condition.find_all(exp.Column)
    )


def _rewrite(tree: Any, types: Mapping[str, str]) -> None:
    """Change what sqlglot would write wrongly, what is inside of others first."""
    for node in reversed(list(tree.walk())):
        _rewrite_name(node, types)
        lists.rewrite(node)
        _rewrite_number(node)
        functions.rewrite(node)


def _rewrite_name(node: Any, types: Mapping[str, str]) -> None:
    """Change names of tables and parameters, and types that DuckDB names otherwise."""
    match node:
        case exp.Table() if node.name in LISTS or node.name.endswith("*"):
            _hide_suffix(node)
            if not node.alias:
                alias = exp.to_identifier(node.name, quoted=True)
                node.set("alias", exp.TableAlias(this=alias))
            path = node.catalog, node.db, node.name
            # A list is a view of the connection alone.
            gathered = ("temp", "main", ".".join(path))
            if path[2].endswith("*"):
                gathered = view_of(path)
            _name_in_full(node, gathered)
        case exp.Placeholder():
            raise Untranslated("positional parameters; name each, as @day")
        case exp.Parameter() if not node.name:
            raise Untranslated("variables of the system, as @@row_count")
        case exp.Parameter() if node.name in types:
            typed = exp.DataType.build(types[node.name], dialect=DuckDB)
            node.replace(exp.Cast(this=node.copy(), to=typed))
        case exp.DataType() if node.is_type("BIGDECIMAL"):
            raise Untranslated("BIGNUMERIC")
        case exp.DataType() if node.is_type("DECIMAL") and not node.expressions:
            node.replace(exp.DataType.build(NUMERIC, dialect=DuckDB))


def _rewrite_number(node: Any) -> None:
    """Change calculations, and texts of numbers."""
    match node:
        case exp.CountIf():
            # DuckDB's own is null where no condition is known.
            is_true = exp.If(this=node.this, true=exp.Literal.number(1))
            node.replace(exp.Count(this=exp.Case(ifs=[is_true])))
        case exp.Extract() if node.name == "DATE":
            node.replace(exp.cast(node.expression, "DATE"))
        case exp.Literal() if _is_decimal(node):
            # BigQuery takes it for FLOAT64.
            node.set("this", f"{node.this}e0")
        case exp.DateAdd() | exp.DateSub():
            node.replace(exp.cast(node, "DATE"))
        case exp.UnixToTime():
            node.replace(exp.cast(node, TYPES["TIMESTAMP"]))
        case exp.IntDiv():
            for name in ("this", "expression"):
                node.set(name, exp.paren(node.args[name], copy=False))
        case exp.Div() | exp.Mul():
            _by_type(node)
        case exp.SafeMultiply():
            product = macro("multiplied", node.this, node.expression)
            node.replace(exp.Anonymous(this="try", expressions=[product]))
        case exp.SafeFunc():
            node.replace(exp.Anonymous(this="try", expressions=[node.this]))
        case exp.FarmFingerprint():
            function = exp.Anonymous(this="farm_fingerprint")
            function.set("expressions", node.expressions)
            node.replace(function)
        case exp.Cast() if node.to.is_type("BINARY"):
            # DuckDB's own takes ASCII alone.
            node.replace(exp.Anonymous(this="encode", expressions=[node.this]))
        case exp.JSONFormat() if node.args.get("to_json"):
            # It would be a text of JSON within JSON.
            node.replace(exp.func("to_json", node.this))
        case exp.Cast() if _is_of_text(node):
            node.replace(macro("as_text", node.this))


def _is_decimal(node: exp.Literal) -> bool:
    return not node.is_string and "." in node.this and "e" not in node.this.lower()


def _is_of_text(node: exp.Cast) -> bool:
    return node.to.is_type("TEXT", "VARCHAR") and not isinstance(node, exp.TryCast)


def _by_type(node: exp.Binary) -> None:
    """Have NUMERIC calculated exactly, but for aggregates: DuckDB types them late."""
    if node.args.get("safe") or node.find(exp.Interval):
        return
    is_late = node.find(exp.AggFunc, exp.Window, exp.PercentileDisc) is not None
    if isinstance(node, exp.Div):
        name = "plainly_divided" if is_late else "divided"
        node.replace(macro(name, node.this, node.expression))
    elif not is_late:
        node.replace(macro("multiplied", node.this, node.expression))


def _hide_suffix(table: exp.Table) -> None:
    """Leave _TABLE_SUFFIX out of the stars of a query that reads a wildcard."""
    query = table.find_ancestor(exp.Select)
    for column in query.expressions if query is not None else []:
        star = column
        if isinstance(column, exp.Column) and column.table == table.alias_or_name:
            star = column.this
        if isinstance(star, exp.Star):
            star.append("except_", exp.to_identifier("_TABLE_SUFFIX"))
