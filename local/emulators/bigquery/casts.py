"""
Let the BigQuery emulator read texts, and cut them, as BigQuery does.

DuckDB reads more than BigQuery: "12.5" as the whole number 13, "1_000" as 1000, "yes"
as true, and a day out of a text with a time. A feature made of such a text would have a
value here and none on Google Cloud. It also rounds half to even where a FLOAT64 becomes
INT64, makes a NUMERIC of what a FLOAT64 nearly is, counts the seconds among
milliseconds, and begins a text at place 0 before its first letter.

Where the translation of a statement does not know the type of an operand, DuckDB
chooses, which does.

Source: https://github.com/google/googlesql, its reference implementation.
"""

from __future__ import annotations

import re
from typing import Any

_WHOLE = r"\s*[+-]?(0[xX][0-9a-fA-F]+|[0-9]+)\s*"
_BARE = r"[^_]*"
# Of each type that texts are cast to: what they look like, and what BigQuery says of
# others.
_READ = {
    "BIGINT": (_WHOLE, "Bad int64 value: "),
    "DOUBLE": (_BARE, "Bad double value: "),
    "DECIMAL": (_BARE, "Invalid NUMERIC value: "),
    "BOOLEAN": ("(?i:true|false)", "Bad bool value: "),
    "DATE": (r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}", "Invalid date: "),
}
# What is cast of a number, where it is not the number itself.
_OF_NUMBER = {"BIGINT": "round(a)", "DECIMAL": "bq.main._digits(a)"}
# All digits of a FLOAT64 to the ninth behind the point; those beyond 2**53 are whole.
_DIGITS = """
CREATE MACRO bq.main._digits(a) AS CASE
  WHEN abs(a) < 9e15 THEN printf('%.9f', a)
  WHEN abs(a) < 1e38 THEN CAST(CAST(a AS HUGEINT) AS VARCHAR)
  ELSE CAST(a AS VARCHAR) END
"""
_OF_TEXT = """
CREATE MACRO bq.main.{name}_text(a) AS
  CASE WHEN a IS NULL OR regexp_full_match(a, '{usual}') THEN a ELSE {otherwise} END
"""
_OF_ANY = """
CREATE MACRO bq.main.{name}
  (a VARCHAR) AS bq.main.{name}_text(a), (a DOUBLE) AS {number}, (a) AS a
"""
_PARTS = {"MILLISECOND": 1_000, "MICROSECOND": 1_000_000}


def define(connection: Any) -> None:
    """Register what texts are read by with DuckDB, where the emulator's macros are."""
    connection.execute(_DIGITS)
    for kind, (usual, problem) in _READ.items():
        for prefix, otherwise in (
            ("_readable", "NULL"),
            ("_read", f"_raise(concat('{problem}', a))"),
        ):
            name = _name(prefix, kind)
            number = _OF_NUMBER.get(kind, "a")
            connection.execute(
                _OF_TEXT.format(name=name, usual=usual, otherwise=otherwise)
            )
            connection.execute(_OF_ANY.format(name=name, number=number))


def _name(prefix: str, kind: str) -> str:
    return f"{prefix}_{kind.lower()}"


def read_as_bigquery() -> None:
    """Have statements read texts so."""
    from local_bigquery.sql import rules

    rules.NODE_RULES[:0] = [read, cut]
    # Once it is known what the part is of.
    rules.NODE_RULES.append(part)


def read(node: Any, context: Any) -> Any:
    """Check a text before it is cast, and round a number that becomes INT64."""
    from local_bigquery.sql.dialect import macro
    from local_bigquery.sql.rules.typing import FLOATS, TEXT, kind
    from sqlglot import exp

    if not isinstance(node, exp.Cast) or node.args.get("format"):
        return node
    operand, to = node.this, node.to.this.value
    if to not in _READ or isinstance(operand, exp.Null):
        return node
    if isinstance(operand, exp.Literal) and (
        not operand.is_string or re.fullmatch(_READ[to][0], operand.name)
    ):
        return node
    of = kind(operand)
    name = _name("_readable" if isinstance(node, exp.TryCast) else "_read", to)
    if of in TEXT:
        node.set("this", macro(f"{name}_text", operand))
    elif of in FLOATS and to == "DECIMAL":
        node.set("this", macro("_digits", operand))
    # DuckDB does not know the type of an aggregate before it runs.
    elif of in (None, exp.DataType.Type.UNKNOWN) and not operand.find(
        exp.AggFunc, exp.Window
    ):
        node.set("this", macro(name, operand))
    return node


def cut(node: Any, context: Any) -> Any:
    """Begin at the first letter where a place is before it."""
    from sqlglot import exp

    if not isinstance(node, exp.Substring):
        return node
    start = node.args["start"]
    if isinstance(start, exp.Literal) and start.name == "0":
        node.set("start", exp.Literal.number(1))
    elif isinstance(start, exp.Neg) and isinstance(start.this, exp.Literal):
        is_before = exp.LT(
            this=exp.func("length", node.this.copy()), expression=start.this.copy()
        )
        first = exp.If(this=is_before, true=exp.Literal.number(1))
        node.set("start", exp.Case(ifs=[first], default=start.copy()))
    return node


def part(node: Any, context: Any) -> Any:
    """Leave the seconds out of milliseconds and microseconds."""
    from sqlglot import exp

    if isinstance(node, exp.Extract) and (of := _PARTS.get(node.this.name.upper())):
        return exp.Mod(this=exp.Paren(this=node), expression=exp.Literal.number(of))
    return node
