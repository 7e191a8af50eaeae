"""
Let the BigQuery emulator calculate with NUMERIC as BigQuery does.

DuckDB divides decimals as floating-point numbers, and multiplies two of nine decimals
into one of eighteen, which overflows at 1e20. Here is what BigQuery does:

- A product or quotient of NUMERICs, or of NUMERIC and INT64, is NUMERIC: the exact
  number, rounded half away from zero to nine decimals. DIV and MOD are exact.
- A result beyond 29 integer digits is an error, as is a division by zero.
- AVG of NUMERIC is SUM over COUNT by that rule.
- ROUND, TRUNC, CEIL and FLOOR of NUMERIC are NUMERIC, whatever they leave of its
  decimals: DuckDB would cut off those of the values beside them, too.
- So are SQRT, POW, EXP, LN, LOG and SIGN of NUMERIC.
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


def _check(
    sign: str, function: Callable[[Any, Any], Any], left: Any, right: Any
) -> None:
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

    exact = ExactRules()
    for rule, replacement in (
        (rules.math.division, exact.operation),
        (rules.typing.average, exact.average),
    ):
        rules.NODE_RULES[rules.NODE_RULES.index(rule)] = replacement
    rules.NODE_RULES += [exact.rounding, exact.text, exact.named]
    annotate = rules.STATEMENT_RULES.index(rules.typing.annotate)
    rules.STATEMENT_RULES[annotate] = exact.annotate


class ExactRules:
    """
    Rules of the emulator's translation: of a node, and ``annotate`` of a statement.

    A node rule returns what its node becomes; nodes within it have become it already.
    """

    def __init__(self) -> None:
        from local_bigquery.sql.dialect import macro
        from local_bigquery.sql.rules import math, typing
        from sqlglot import exp

        self._macro, self._math, self._typing = macro, math, typing
        self._type = exp.DataType.Type
        self._unknown = {None, self._type.UNKNOWN, self._type.NULL}
        self._kept = (
            *(exp.Round, exp.Ceil, exp.Floor, exp.Trunc),
            *(exp.Sqrt, exp.Pow, exp.Exp, exp.Ln, exp.Log, exp.Sign),
        )
        self._operations = {
            exp.Mul: "_multiply",
            exp.Div: "_divide",
            exp.IntDiv: "_integer_divide",
            exp.Mod: "_modulo",
            exp.SafeDivide: "_safe_divide",
        }

    # Rules

    def operation(self, node: Any, context: Any) -> Any:
        """Calculate exactly, or let DuckDB find out whether to."""
        from sqlglot import exp

        if isinstance(node, exp.Anonymous) and node.name == "bq.main.safe_multiply":
            left, right = node.expressions
            multiplied = self.operation(exp.Mul(this=left, expression=right), context)
            return exp.func("TRY", multiplied)
        name = self._operations.get(type(node))
        if name is None:
            return self._math.division(node, context)
        left, right = node.this, node.expression
        kinds = {self._kind(left), self._kind(right)}
        if kinds & {self._type.BIGDECIMAL, *self._typing.FLOATS}:
            return self._math.division(node, context)
        if self._type.DECIMAL in kinds:
            return self._numeric(self._macro(f"_numeric{name}", left, right), node)
        # Of a function's parameters DuckDB does not know the types either.
        if kinds & self._unknown and not any(
            column.meta.get("is_argument") for column in node.find_all(exp.Column)
        ):
            return self._by_type(name, left, right)
        return self._math.division(node, context)

    def average(self, node: Any, context: Any) -> Any:
        """Divide the sum by the count."""
        from sqlglot import exp

        window = node if isinstance(node, exp.Window) else None
        mean = node.this if window else node
        is_used = window or not isinstance(node.parent, exp.Window)
        if (
            not isinstance(mean, exp.Avg)
            or not is_used
            or self._kind(mean) != self._type.DECIMAL
        ):
            return self._typing.average(node, context)

        def over(aggregate: Any) -> Any:
            if window is None:
                return aggregate
            whole = window.copy()
            whole.set("this", aggregate)
            return whole

        total, count = (
            over(aggregate(this=mean.this.copy())) for aggregate in (exp.Sum, exp.Count)
        )
        return self._numeric(self._macro("_numeric_divide", total, count), node)

    def rounding(self, node: Any, context: Any) -> Any:
        """Keep a rounded NUMERIC, a root and a power of one NUMERIC."""
        from sqlglot import exp

        if not isinstance(node, self._kept):
            return node
        operands = [node.this, node.args.get("expression")]
        # A literal is NUMERIC beside one; it is a cast of its text by now.
        kinds = {
            self._kind(operand)
            for operand in operands
            if operand is not None and not isinstance(operand.this, exp.Literal)
        }
        if self._type.DECIMAL in kinds and not kinds & self._typing.FLOATS:
            return self._numeric(node, node)
        return node

    def text(self, node: Any, context: Any) -> Any:
        """Leave out zeros at the end of a NUMERIC's text."""
        from sqlglot import exp

        if (
            isinstance(node, exp.Cast)
            and node.to.this in self._typing.TEXT
            and self._kind(node.this) == self._type.DECIMAL
        ):
            return self._macro("_numeric_text", node.this)
        return node

    def named(self, node: Any, context: Any) -> Any:
        """Keep the name of a struct's field, which DuckDB may lose with its macro."""
        from sqlglot import exp

        if isinstance(node, exp.PropertyEQ):
            value = node.expression
            if isinstance(value, exp.Anonymous) and value.name.startswith("bq.main."):
                node.set("expression", exp.Coalesce(this=value, expressions=[]))
        return node

    def annotate(self, tree: Any, context: Any) -> Any:
        """Note types, also those of parameters, which the emulator leaves out."""
        from sqlglot import exp

        types = _arguments(tree)
        try:
            typed = self._typing._typed(
                _declared(tree, context, types), self._typing._schema(tree), True
            )
            self._typing._transfer(tree, typed)
        except Exception:  # what the emulator does then is a bit less
            self._typing.annotate(tree, context)
        for column in tree.find_all(exp.Column) if types else []:
            if (of := _argument_type(column, types)) is not None:
                column.type, column.meta["is_argument"] = of.copy(), True
        return tree

    # What they share

    def _kind(self, node: Any) -> Any:
        """Return the type of a node as far as the translation knows it."""
        from sqlglot import exp

        if node.type is not None and node.type.this not in self._unknown:
            return node.type.this
        if not isinstance(node, exp.Cast):
            return None
        scale = node.to.expressions[1].name if len(node.to.expressions) == 2 else "9"
        return self._type.BIGDECIMAL if int(scale) > _DECIMALS else node.to.this

    def _numeric(self, exact: Any, node: Any) -> Any:
        """Return what is NUMERIC for DuckDB even if an operand is NULL itself."""
        from sqlglot import exp

        if not isinstance(node.parent, exp.SafeFunc):  # which takes it apart
            exact = exp.cast(exact, exp.DataType.build(NUMERIC, dialect="duckdb"))
        exact.type = exp.DataType.build("NUMERIC", dialect="bigquery")
        return exact

    def _by_type(self, name: str, left: Any, right: Any) -> Any:
        """Leave the choice to DuckDB, which knows the type of any but an aggregate."""
        from sqlglot import exp

        if not any(side.find(exp.AggFunc, exp.Window) for side in (left, right)):
            return self._macro(name, left, right)
        fields = [
            exp.PropertyEQ(this=exp.to_identifier(key), expression=side)
            for key, side in (("a", left), ("b", right))
        ]
        pair = exp.Array(expressions=[exp.Struct(expressions=fields)])
        chosen = self._macro(name, exp.column("a", "_pair"), exp.column("b", "_pair"))
        function = exp.Lambda(this=chosen, expressions=[exp.to_identifier("_pair")])
        results = exp.func("list_transform", pair, function)
        return exp.func("list_extract", results, exp.Literal.number(1))


def _arguments(tree: Any) -> dict[str, Any]:
    """Return the types of the parameters of a function that a statement creates."""
    from sqlglot import exp

    if not isinstance(tree, exp.Create):
        return {}
    if not isinstance(tree.this, exp.UserDefinedFunction):
        return {}
    return {
        argument.name.casefold(): argument.args["kind"]
        for argument in tree.this.expressions
    }


def _argument_type(column: Any, types: dict[str, Any]) -> Any:
    return None if column.table else types.get(column.name.casefold())


def _declared(tree: Any, context: Any, types: dict[str, Any]) -> Any:
    """Return a copy in which parameters have the types they are declared with."""
    from sqlglot import exp

    copy = tree.copy()
    for column in list(copy.find_all(exp.Column)) if types else []:
        if (to := _argument_type(column, types)) is not None:
            column.replace(exp.Cast(this=exp.null(), to=to.copy()))
    for parameter in list(copy.find_all(exp.Parameter)):
        value = context.parameters.get(parameter.name)
        if value is not None and isinstance(parameter.this, exp.Var):
            to = _declared_type(value).copy()
            parameter.replace(exp.Cast(this=exp.null(), to=to))
    return copy


@functools.lru_cache(256)
def _declared_type(expression: str) -> Any:
    """Return the type of ``CAST(… AS …)`` in DuckDB's words."""
    from sqlglot import parse_one

    cast: Any = parse_one(expression, dialect="duckdb")
    return cast.to
