"""
Tables of the user's own: sources, such as a CRM's, and events in place of the export.

A use case declares them in ``usecase.toml``. Its ``features.sql`` reads each source by
its name, as a table with one row per as-of date and user: the newest that was known
before the as-of date. That join is written here, once: whoever writes
``features.sql``, no row of a later moment reaches a feature. All its statements read
the events by the name ``events``: features those before each as-of date, labels those
of the horizon as well. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from propensity.statements import statement
from propensity.usecases.declaration import (
    MOMENTS,
    SOURCE_TABLE,
    Column,
    SourceType,
)


class OwnTable(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table: ``project.dataset.table``, or ``dataset.table`` of the deployment's."""

    table: str

    def place(self, project: str) -> tuple[str, str, str]:
        """Return project, dataset and name of the table."""
        match = SOURCE_TABLE.fullmatch(self.table)
        assert match is not None, self.table
        return match[1] or project, match[2], match[3]


class Source(OwnTable, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    A table that features read.

    Attributes:
        user_id: Its column that names the user, as the use case's statements do.
        valid_from: Its column that says when a row became known.
        columns: Types of the columns to read, by name.
        plans: Those with moments that are known ahead, such as the end of a contract.
    """

    user_id: Column
    valid_from: Column
    columns: Mapping[Column, SourceType]
    plans: Sequence[str] = ()

    @property
    def types(self) -> dict[str, str]:
        """Types of its columns that are read, as declared."""
        keys = {self.user_id: "STRING", self.valid_from: "TIMESTAMP"}
        return {**keys, **self.columns}

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


class Events(OwnTable, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    A table of events, which a use case reads in place of the export.

    Attributes:
        user_id, time: Its columns that say who and when.
        name: That with the kind of the event; None for one kind.
        amount: That with the money of the event; None for none.
    """

    user_id: Column
    time: Column
    name: Column | None = None
    amount: Column | None = None

    @property
    def types(self) -> dict[str, str]:
        """Types of its columns, as files and made-up rows have them."""
        types = {self.user_id: "STRING", self.time: "TIMESTAMP"}
        types |= {self.name: "STRING"} if self.name else {}
        return types | ({self.amount: "NUMERIC"} if self.amount else {})

    def text(self, statement_name: str, *, horizon_days: int) -> str:
        """Return the SQL of the events that a statement of the use case may read."""
        # Days of the source say which as-of dates there can be, and so have none.
        is_of_days = statement_name == "days"
        sql = statement("own_events" if is_of_days else "own_events_as_of")
        after = 0 if statement_name == "features" else horizon_days
        for name, value in (
            ("`events_table`", f"`{self.table}`"),
            ("`events_user`", f"`{self.user_id}`"),
            ("`events_time`", f"`{self.time}`"),
            ("`events_name`", f"CAST({_column(self.name)} AS STRING)"),
            ("`events_amount`", f"SAFE_CAST({_column(self.amount)} AS NUMERIC)"),
            ("`days_after`", str(after)),
        ):
            sql = sql.replace(name, value)
        return sql

    def problems(self, types: Mapping[str, str]) -> Iterator[str]:
        """
        Yield what is wrong with the columns of the table.

        Args:
            types: Types in BigQuery by name.
        """
        there = {name.lower(): kind for name, kind in types.items()}
        for entry, allowed in _ALLOWED.items():
            column = getattr(self, entry)
            if not column or there.get(column.lower()) in allowed:
                continue
            kind = there.get(column.lower(), f"missing among {', '.join(types)}")
            yield (
                f"{self.table}: column {column}, the {entry} of [events], is {kind}, "
                f"but must be {' or '.join(allowed)}. Cast it in another table, and "
                "name that one"
            )


# Types of columns by entry of [events].
_ALLOWED = {
    "user_id": ("STRING", "INT64"),
    "time": MOMENTS,
    "name": ("STRING", "INT64"),
    "amount": ("NUMERIC", "INT64", "FLOAT64", "BIGNUMERIC"),
}


def _column(name: str | None) -> str:
    return f"`{name}`" if name else "NULL"


def around(tables: Mapping[str, str]) -> tuple[str, str]:
    """
    Return what stands before and after a statement, so that it can read tables.

    Args:
        tables: The SQL of each, by the name that the statement calls it.
    """
    if not tables:
        return "", ""
    named = ",\n".join(f"  {name} AS (\n{sql}  )" for name, sql in tables.items())
    return f"WITH\n{named}\nSELECT\n  *\nFROM\n  (\n", "\n  )\n"
