"""
What is no SQL of BigQuery's, although the emulated BigQuery takes it.

People bring these from templates, notebooks and other databases. The emulator runs some
of them, and says of others what helps nobody.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Final

from sqlglot import Token, TokenType, exp
from sqlglot.dialects.bigquery import BigQuery

from propensity import tables
from propensity.runs.compact import VIEW as STREAM_FEATURES
from propensity.usecases import export

_RESERVED: Final = BigQuery.Generator.RESERVED_KEYWORDS
# What may follow AS without being a name: types, and FOR SYSTEM_TIME AS OF.
_NO_NAMES: Final = frozenset({"array", "interval", "of", "range", "struct"})
_TEMPLATE: Final = frozenset(
    {TokenType.L_BRACE, TokenType.R_BRACE, TokenType.BLOCK_START, TokenType.BLOCK_END}
)
_UNITS: Final = frozenset(
    f"{unit}{s}"
    for unit in ("YEAR", "QUARTER", "MONTH", "WEEK", "DAY", "HOUR", "MINUTE", "SECOND")
    for s in ("", "S")
)
# Functions of other databases, and BigQuery's for the same.
_FUNCTIONS: Final = {
    "COUNT_IF": "COUNTIF",
    "DATEADD": "DATE_ADD",
    "DATEDIFF": "DATE_DIFF",
    "IFF": "IF",
    "LISTAGG": "STRING_AGG",
    "LEN": "LENGTH",
    "TO_DATE": "PARSE_DATE",
}
# What statements may read: the set-up makes it, and functions have rights on it.
_KNOWN: Final = frozenset(
    {export.VIEW, STREAM_FEATURES, *(table.name for table in tables.TABLES)}
)


def spellings(tokens: Sequence[Token]) -> Iterator[tuple[int, str]]:
    """Yield line and message of what BigQuery spells otherwise, by the words alone."""
    for token in tokens:
        if token.token_type in _TEMPLATE:
            # Nothing else of a template can be told apart.
            yield (
                token.line,
                f"no template is filled in, so {token.text} cannot stand here: "
                "parameters are written @name",
            )
            return
    for token, after in itertools.pairwise(tokens):
        text = after.text
        if token.token_type is TokenType.ALIAS and _is_reserved(after):
            yield (
                after.line,
                f"{text} is a word of SQL: as a name it is written `{text}`",
            )
        elif token.token_type is TokenType.INTERVAL and _has_unit(after):
            yield (
                after.line,
                f"INTERVAL '{text}' is no SQL of BigQuery's: the unit stands outside, "
                "as in INTERVAL 30 DAY",
            )
        elif after.token_type is TokenType.L_PAREN and (
            known := _FUNCTIONS.get(token.text.upper())
        ):
            yield token.line, f"BigQuery has no function {token.text}: take {known}"
    for token in tokens:
        if token.token_type is TokenType.DCOLON:
            yield token.line, "BigQuery has no ::, but CAST(… AS …)"
        elif token.token_type in (TokenType.COLON, TokenType.PLACEHOLDER):
            yield token.line, f"parameters are written @name, not with {token.text}"


def foreign_tables(query: exp.Expr) -> Iterator[tuple[int, str]]:
    """Yield line and message of tables that no run can read."""
    named = {cte.alias.lower() for cte in query.find_all(exp.CTE)}
    aliases = {
        source.alias_or_name.lower()
        for source in query.find_all(exp.Table, exp.Subquery, exp.Unnest)
    }
    for table in query.find_all(exp.Table):
        first = (table.catalog or table.db).lower()
        # An array of a row, as in FROM days AS d, d.visits.
        is_of_row = bool(first) and first in aliases
        is_named = not first and table.name.lower() in named
        if not isinstance(table.this, exp.Identifier) or is_of_row or is_named:
            continue
        if not first and table.name in _KNOWN:
            continue
        if "*" in table.name or "INFORMATION_SCHEMA" in table.sql().upper():
            continue
        name = ".".join(part.name for part in table.parts)
        yield (
            table.this.meta["line"],
            f"reads {name}, which the functions have no right to: events of the export "
            f"are in {export.VIEW}, and docs/tables.md has what else there is",
        )


def _is_reserved(token: Token) -> bool:
    word = token.text.lower()
    is_quoted = token.token_type in (TokenType.IDENTIFIER, TokenType.STRING)
    return word in _RESERVED and word not in _NO_NAMES and not is_quoted


def _has_unit(token: Token) -> bool:
    words = token.text.upper().split()
    return token.token_type is TokenType.STRING and bool(_UNITS & {*words})
