"""Statuses of errors, which clients read."""

from __future__ import annotations

import re

# DuckDB's words for a column, a table or a field that a statement names in vain.
MISSING = (
    r'Referenced table "(?P<name>[^"]+)" not found',
    r"Referenced update column (?P<name>\S+) not found",
    r'does not have a column (?:named|with name) "(?P<name>[^"]+)"',
    r'Could not find key "(?P<name>[^"]+)" in struct',
)
# The lines of local-bigquery that this replaces, by module.
REPLACES = {
    "local_bigquery.errors": (
        "STATUSES = {",
        "DUCKDB_ERRORS = [",
    ),
}


def tell_errors_apart() -> None:
    """Have an error inside the emulator not be retried, and a wrong name be one."""
    from local_bigquery import errors

    errors.STATUSES["dontRetry"] = (501, "UNIMPLEMENTED")
    for words in MISSING:
        errors.DUCKDB_ERRORS.append(
            (re.compile(words), "invalidQuery", "Unrecognized name: {name}")
        )
