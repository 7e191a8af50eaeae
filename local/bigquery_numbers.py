"""
Let the BigQuery emulator calculate with NUMERIC as BigQuery does.

DuckDB divides decimals as floating-point numbers, and multiplies two of nine decimals
into one of eighteen, which overflows at 1e20. Here is what BigQuery does:

- A product or quotient of NUMERICs, or of NUMERIC and INT64, is NUMERIC: the exact
  number, rounded half away from zero to nine decimals. DIV and MOD are exact.
- A result beyond 29 integer digits is an error, as is a division by zero.
- AVG of NUMERIC is SUM over COUNT by that rule.
- NUMERIC becomes STRING without zeros at its end.

Arrow calculates, in 256 bits. Where the translation of a statement does not know the
type of an operand, DuckDB chooses, which does. FLOAT64 and INT64 are left to DuckDB.
BIGNUMERIC is what the emulator makes of it: DECIMAL(38, 18).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from decimal import Decimal
from typing import Any

NUMERIC = "DECIMAL(38, 9)"
# One more digit than the result has decides how half is rounded.
_DECIMALS, _DIGITS_CALCULATED = 9, 10
_TO_ZERO, _HALF_AWAY = "towards_zero", "half_towards_infinity"
_NON_ZERO = (
    "CASE WHEN b = 0 THEN _raise(concat('division by zero: ', "
    "regexp_replace(CAST(a AS VARCHAR), '\\.0$', ''), ' {sign} ', "
    "regexp_replace(CAST(b AS VARCHAR), '\\.0$', ''))) ELSE {value} END"
)
# What an operation is for NUMERICs, where Arrow does not calculate it.
_EXACT = {
    "_numeric_text": f"rtrim(rtrim(CAST(CAST(a AS {NUMERIC}) AS VARCHAR), '0'), '.')",
    "_numeric_modulo": (
        "CASE WHEN b = 0 THEN _raise(concat('division by zero: ', "
        "bq.main._numeric_text(a), ' MOD ', bq.main._numeric_text(b))) "
        f"ELSE CAST(a AS {NUMERIC}) % CAST(b AS {NUMERIC}) END"
    ),
    "_numeric_safe_divide": "CASE WHEN b <> 0 THEN bq.main._numeric_divide(a, b) END",
}
# What it is for other types.
_PLAIN = {
    "_multiply": "a * b",
    "_divide": _NON_ZERO.format(sign="/", value="a / b"),
    "_integer_divide": _NON_ZERO.format(sign="DIV", value="a // b"),
    "_modulo": _NON_ZERO.format(sign="MOD", value="a % b"),
    "_safe_divide": "CASE WHEN b <> 0 THEN a / b END",
}
# DuckDB takes the body whose parameters fit best.
_BY_TYPE = """
CREATE MACRO bq.main.{name}
  (a BIGINT, b BIGINT) AS {plain},
  (a HUGEINT, b HUGEINT) AS {plain},
  (a DOUBLE, b DOUBLE) AS {plain},
  (a {numeric}, b {numeric}) AS {exact}(a, b),
  (a, b) AS {plain}
"""


def define(connection: Any) -> None:
    """Register the operations with DuckDB, where the emulator's macros are."""
    for name, function in (
        ("_numeric_multiply", _checked("*", product)),
        ("_numeric_divide", _checked("/", quotient)),
        ("_numeric_integer_divide", _checked("DIV", integer_quotient)),
    ):
        connection.create_function(
            f"_arrow{name}", function, [NUMERIC, NUMERIC], NUMERIC, type="arrow"
        )
        connection.execute(
            f"CREATE MACRO bq.main.{name}(a, b) AS "
            f"_arrow{name}(CAST(a AS {NUMERIC}), CAST(b AS {NUMERIC}))"
        )
    for name, body in _EXACT.items():
        parameters = "a" if name == "_numeric_text" else "a, b"
        connection.execute(f"CREATE MACRO bq.main.{name}({parameters}) AS {body}")
    for name, plain in _PLAIN.items():
        exact = f"bq.main._numeric{name}"
        connection.execute(
            _BY_TYPE.format(name=name, plain=plain, exact=exact, numeric=NUMERIC)
        )


def product(left: Any, right: Any) -> Any:
    """
    Multiply, element by element.

    Args:
        left: Arrow array of decimal128(38, 9), as is ``right``.

    Returns:
        One of the same type; null where an operand is.

    Raises:
        pyarrow.ArrowInvalid: A product has more than 29 integer digits.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    units = pc.multiply(_units(left, 38), _units(right, 37))
    exact = units.view(pa.decimal256(76, 2 * _DECIMALS))
    return _rounded(exact, _DECIMALS, _HALF_AWAY)


def quotient(left: Any, right: Any) -> Any:
    """Divide likewise; ArrowInvalid also where the divisor is zero."""
    return _rounded(_divided(left, right), _DECIMALS, _HALF_AWAY)


def integer_quotient(left: Any, right: Any) -> Any:
    """Divide likewise and drop what is behind the point."""
    return _rounded(_divided(left, right), 0, _TO_ZERO)


def _divided(left: Any, right: Any) -> Any:
    """Return quotients cut off, towards zero, after ten digits behind the point."""
    import pyarrow.compute as pc

    # Arrow shifts the dividend by one digit more than the divisor is said to have.
    return pc.divide(_units(left, 66), _units(right, _DIGITS_CALCULATED - 1))


def _units(column: Any, digits: int) -> Any:
    """Return NUMERICs in billionths, as whole numbers said to have so many digits."""
    import pyarrow as pa

    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    return column.cast(pa.decimal256(38, _DECIMALS)).view(pa.decimal256(digits, 0))


def _rounded(exact: Any, decimals: int, mode: str) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.cast(pc.round(exact, decimals, mode), pa.decimal128(38, _DECIMALS))


def _checked(sign: str, function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """Say which operands an operation has failed on, as BigQuery does."""

    def inner(left: Any, right: Any) -> Any:
        import pyarrow as pa

        try:
            return function(left, right)
        except pa.ArrowInvalid:
            for row in range(len(left)):
                _check(sign, function, left.slice(row, 1), right.slice(row, 1))
            raise

    return inner


def _check(sign: str, function: Callable[[Any, Any], Any], left: Any, right: Any) -> None:
    import pyarrow as pa

    try:
        function(left, right)
    except pa.ArrowInvalid as error:
        a, b = left[0].as_py(), right[0].as_py()
        problem = "numeric overflow" if b else "division by zero"
        raise ValueError(f"{problem}: {_plain(a)} {sign} {_plain(b)}") from error


def _plain(value: Decimal) -> str:
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def calculate_exactly() -> None:
    """Have statements use the operations wherever a NUMERIC may be an operand."""
    from local_bigquery.sql import rules
    from local_bigquery.sql.dialect import macro
    from local_bigquery.sql.rules import math, typing
    from sqlglot import exp, parse_one

    type_ = exp.DataType.Type
    operations = {
        exp.Mul: "_multiply",
        exp.Div: "_divide",
        exp.IntDiv: "_integer_divide",
        exp.Mod: "_modulo",
        exp.SafeDivide: "_safe_divide",
    }
    unknown = {None, type_.UNKNOWN, type_.NULL}

    def kind(node: Any) -> Any:
        if node.type is not None and node.type.this not in unknown:
            return node.type.this
        if not isinstance(node, exp.Cast):
            return None
        scale = node.to.expressions[1].name if len(node.to.expressions) == 2 else "9"
        return type_.BIGDECIMAL if int(scale) > _DECIMALS else node.to.this

    def operation(node: Any, context: Any) -> Any:
        if isinstance(node, exp.Anonymous) and node.name == "bq.main.safe_multiply":
            left, right = node.expressions
            multiplied = operation(exp.Mul(this=left, expression=right), context)
            return exp.func("TRY", multiplied)
        name = operations.get(type(node))
        kinds = {kind(node.this), kind(node.expression)} if name else set()
        if kinds & {type_.BIGDECIMAL, *typing.FLOATS}:
            return math.division(node, context)
        if type_.DECIMAL in kinds:
            exact = macro(f"_numeric{name}", node.this, node.expression)
            exact.type = exp.DataType.build("NUMERIC", dialect="bigquery")
            return exact
        if kinds & unknown and not is_in_function(node):
            return by_type(name, node)
        return math.division(node, context)

    def is_in_function(node: Any) -> bool:
        """Whether DuckDB, too, will not know a type: that of a macro's parameter."""
        created = node.find_ancestor(exp.Create)
        return created is not None and created.args.get("kind") == "FUNCTION"

    def by_type(name: Any, node: Any) -> Any:
        """Leave the choice to DuckDB, which knows the type of any but an aggregate."""
        left, right = node.this, node.expression
        if not any(side.find(exp.AggFunc, exp.Window) for side in (left, right)):
            return macro(name, left, right)
        fields = [
            exp.PropertyEQ(this=exp.to_identifier(key), expression=side)
            for key, side in (("a", left), ("b", right))
        ]
        pair = exp.Array(expressions=[exp.Struct(expressions=fields)])
        chosen = macro(name, exp.column("a", "s"), exp.column("b", "s"))
        function = exp.Lambda(this=chosen, expressions=[exp.to_identifier("s")])
        results = exp.func("list_transform", pair, function)
        return exp.func("list_extract", results, exp.Literal.number(1))

    def average(node: Any, context: Any) -> Any:
        window = node if isinstance(node, exp.Window) else None
        mean = node.this if window else node
        is_used = window or not isinstance(node.parent, exp.Window)
        if not (isinstance(mean, exp.Avg) and is_used and kind(mean) == type_.DECIMAL):
            return typing.average(node, context)

        def over(aggregate: Any) -> Any:
            if window is None:
                return aggregate
            whole = window.copy()
            whole.set("this", aggregate)
            return whole

        exact = macro(
            "_numeric_divide",
            over(exp.Sum(this=mean.this.copy())),
            over(exp.Count(this=mean.this.copy())),
        )
        exact.type = mean.type
        return exact

    def text(node: Any, context: Any) -> Any:
        if (
            isinstance(node, exp.Cast)
            and node.to.this in typing.TEXT
            and kind(node.this) == type_.DECIMAL
        ):
            return macro("_numeric_text", node.this)
        return node

    declared_type = functools.lru_cache(256)(
        lambda given: parse_one(given, dialect="duckdb").to
    )

    def declared(tree: Any, context: Any) -> Any:
        """Return a copy in which parameters have the types they are declared with."""
        copy = tree.copy()
        for parameter in list(copy.find_all(exp.Parameter)):
            given = context.parameters.get(parameter.name)
            if given is not None and isinstance(parameter.this, exp.Var):
                to = declared_type(given).copy()
                parameter.replace(exp.Cast(this=exp.null(), to=to))
        return copy

    def annotate(tree: Any, context: Any) -> Any:
        try:
            schema = typing._schema(tree)
            typed = typing._typed(declared(tree, context), schema, True)
            typing._transfer(tree, typed)
        except Exception:  # what the emulator does then is a bit less
            return typing.annotate(tree, context)
        return tree

    node_rules, statement_rules = rules.NODE_RULES, rules.STATEMENT_RULES
    node_rules[node_rules.index(math.division)] = operation
    node_rules[node_rules.index(typing.average)] = average
    node_rules.append(text)
    statement_rules[statement_rules.index(typing.annotate)] = annotate
