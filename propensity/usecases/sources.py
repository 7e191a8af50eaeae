"""
Sources: tables of the user's own, such as a CRM's, that ``features.sql`` reads.

A use case declares them in ``usecase.toml``. Its ``features.sql`` reads each by its
name, as a table with one row per as-of date and user: the newest that was known before
the as-of date. That join is written here, once: whoever writes ``features.sql``, no row
of a later moment reaches a feature. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from propensity.statements import statement
from propensity.usecases.declaration import (
    SOURCE_TABLE,
    Column,
    SourceType,
)


class Source(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    A table of the user's own.

    Attributes:
        table: ``project.dataset.table``, or ``dataset.table`` of the deployment's.
        user_id: Its column that names the user, as the use case's statements do.
        valid_from: Its column that says when a row became known.
        columns: Types of the columns to read, by name.
        plans: Those with moments that are known ahead, such as the end of a contract.
    """

    table: str
    user_id: Column
    valid_from: Column
    columns: Mapping[Column, SourceType]
    plans: Sequence[str] = ()

    @property
    def types(self) -> dict[str, str]:
        """Types of its columns that are read, as declared."""
        keys = {self.user_id: "STRING", self.valid_from: "TIMESTAMP"}
        return {**keys, **self.columns}

    def place(self, project: str) -> tuple[str, str, str]:
        """Return project, dataset and name of its table."""
        match = SOURCE_TABLE.fullmatch(self.table)
        assert match is not None, self.table
        return match[1] or project, match[2], match[3]

    def text(self) -> str:
        """Return the SQL of one row per as-of date, in ``@as_ofs``, and user."""
        others = (f"`{name}`" for name in self.types if name != self.user_id)
        sql = statement("source_as_of")
        for name, value in (
            ("`source_columns`", ", ".join(others)),
            ("source_table", self.table),
            ("source_user", self.user_id),
            ("source_valid_from", self.valid_from),
        ):
            sql = sql.replace(name, value)
        return sql


def around(sources: Mapping[str, Source]) -> tuple[str, str]:
    """Return what stands before and after a statement, so that it can read sources."""
    if not sources:
        return "", ""
    named = ",\n".join(
        f"  {name} AS (\n{one.text()}  )" for name, one in sources.items()
    )
    return f"WITH\n{named}\nSELECT\n  *\nFROM\n  (\n", "\n  )\n"
