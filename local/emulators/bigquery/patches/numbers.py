"""
NUMERIC multiplied and divided as in BigQuery: the exact number, to nine decimals.

DuckDB divides decimals as floating-point numbers, and multiplies two of nine decimals
into one of eighteen, which overflows at 1e20. Where the emulator does not know the type
of an operand, DuckDB chooses the operation. FLOAT64, INT64 and BIGNUMERIC are left as
they are.
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

NUMERIC = "DECIMAL(38, 9)"
# A product of two has at most 76 digits.
_EXACT = Context(prec=80)
_NUMERIC = Context(prec=38)
_NINTH = Decimal("1e-9")
# The body of a macro whose parameters fit best is DuckDB's choice.
_BY_TYPE = """
CREATE MACRO bq.main._{name}_by_type
  (a BIGINT, b BIGINT) AS {plain},
  (a HUGEINT, b HUGEINT) AS {plain},
  (a DOUBLE, b DOUBLE) AS {plain},
  (a {numeric}, b {numeric}) AS bq.main._{name}(a, b),
  (a, b) AS {plain}
"""
_DIVIDED = (
    "CASE WHEN b = 0 THEN _raise(concat('division by zero: ', CAST(a AS VARCHAR), "
    "' / ', CAST(b AS VARCHAR))) ELSE a / b END"
)


# The lines of local-bigquery that this replaces, by module.
REPLACES = {
    "local_bigquery.sql.rules.math": ("def division(",),
    "local_bigquery.sql.rules": ("NODE_RULES = [",),
}


def define(connection: Any) -> None:
    """Register the operations with DuckDB, where the emulator's macros are."""
    operations = {"multiply": (product, "a * b"), "divide": (quotient, _DIVIDED)}
    for name, (function, plain) in operations.items():
        connection.create_function(
            f"_numeric_{name}", function, [NUMERIC, NUMERIC], NUMERIC
        )
        connection.execute(
            f"CREATE MACRO bq.main._{name}(a, b) AS "
            f"_numeric_{name}(CAST(a AS {NUMERIC}), CAST(b AS {NUMERIC}))"
        )
        connection.execute(_BY_TYPE.format(name=name, plain=plain, numeric=NUMERIC))
    connection.execute(
        "CREATE MACRO bq.main._numeric_text(a) AS "
        f"rtrim(rtrim(CAST(CAST(a AS {NUMERIC}) AS VARCHAR), '0'), '.')"
    )


def product(left: Decimal, right: Decimal) -> Decimal:
    """Multiply; InvalidOperation beyond 29 integer digits."""
    return _rounded(_EXACT.multiply(left, right))


def quotient(left: Decimal, right: Decimal) -> Decimal:
    """Divide likewise; DivisionByZero by zero."""
    return _rounded(_EXACT.divide(left, right))


def _rounded(exact: Decimal) -> Decimal:
    return exact.quantize(_NINTH, ROUND_HALF_UP, _NUMERIC)


def calculate_exactly() -> None:
    """Have statements use the operations, and texts of NUMERIC end without zeros."""
    from local_bigquery.sql import rules
    from local_bigquery.sql.dialect import macro
    from local_bigquery.sql.rules.math import division
    from local_bigquery.sql.rules.typing import FLOATS, TEXT, kind
    from sqlglot import exp

    types = exp.DataType.Type

    def of(node: Any) -> Any:
        node_kind = kind(node)
        return None if node_kind in (types.UNKNOWN, types.NULL) else node_kind

    def operation(node: Any, context: Any) -> Any:
        if isinstance(node, exp.IntDiv):
            # sqlglot writes DIV(a + b, c) as a + b // c.
            for name in ("this", "expression"):
                node.set(name, exp.paren(node.args[name], copy=False))
        is_product = isinstance(node, exp.Anonymous) and node.name == (
            "bq.main.safe_multiply"
        )
        if is_product:
            left, right = node.expressions
        elif isinstance(node, exp.Mul) or (
            isinstance(node, exp.Div) and not node.args.get("safe")
        ):
            left = node.this
            right = node.expression
        else:
            return division(node, context)
        kinds = {of(left), of(right)}
        if types.BIGDECIMAL in kinds or not kinds.isdisjoint(FLOATS):
            return division(node, context)
        name = "_divide" if isinstance(node, exp.Div) else "_multiply"
        if types.DECIMAL in kinds:
            exact = macro(name, left, right)
            exact.type = exp.DataType.build("NUMERIC", dialect="bigquery")
        elif None in kinds and not node.find(exp.AggFunc, exp.Window):
            exact = macro(f"{name}_by_type", left, right)
        else:
            return division(node, context)
        return exp.func("TRY", exact) if is_product else exact

    def text(node: Any, context: Any) -> Any:
        is_text = isinstance(node, exp.Cast) and node.to.this in TEXT
        if is_text and of(node.this) == types.DECIMAL:
            return macro("_numeric_text", node.this)
        return node

    rules.NODE_RULES[rules.NODE_RULES.index(division)] = operation
    rules.NODE_RULES.append(text)
