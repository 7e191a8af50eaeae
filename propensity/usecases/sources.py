"""
Sources: tables of the user's own, such as a CRM's, that ``features.sql`` reads.

A use case declares them in ``usecase.toml``. Its ``features.sql`` reads each by its
name, as a table with one row per as-of date and user: the newest that was known before
the as-of date. That join is written here, once: whoever writes ``features.sql``, no row
of a later moment reaches a feature. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from propensity.statements import statement

# The statement that reads sources.
READER = "features"
# Of the moment when a row became known.
MOMENTS = ("TIMESTAMP", "DATETIME", "DATE")
TYPES = ("STRING", "INT64", "FLOAT64", "NUMERIC", "BOOL", *MOMENTS)

NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_TABLE = re.compile(r"(?:([a-z0-9.:-]+)\.)?([A-Za-z0-9_]+)\.([A-Za-z0-9_-]+)")
# What else a statement reads by name.
_TAKEN = re.compile(
    r"(ma|stream)_.*|ga_events|postcode_index|inference_log|truth_events|dead_letters"
    "|suppressed_users"
)

HISTORY = (
    "Keep a history: let a scheduled query append the table each day to one of your "
    "own, with CURRENT_TIMESTAMP() AS valid_from, and name that table and column here "
    "instead of snapshot. It can be trained on once it goes back as far as a training"
)


@dataclass(frozen=True, kw_only=True)
class Source:
    """
    A table of the user's own.

    Attributes:
        table: ``project.dataset.table``, or ``dataset.table`` of the deployment's.
        user_id: Its column that names the user, as the use case's statements do.
        valid_from: Its column that says when a row became known; empty for a table
            that is only as it is now, which no training can read.
        columns: Types of the columns to read, by name; empty for all of them.
        plans: Those with moments that are known ahead, such as the end of a contract.
        moment: The type of ``valid_from``, of ``MOMENTS``.
    """

    name: str
    table: str
    user_id: str
    valid_from: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    plans: Sequence[str] = ()
    moment: str = "TIMESTAMP"

    @property
    def types(self) -> dict[str, str]:
        """Types of its columns that are read, as far as they are declared."""
        moment = {self.valid_from: self.moment} if self.valid_from else {}
        return {self.user_id: "STRING", **moment, **self.columns}

    def place(self, project: str) -> tuple[str, str, str]:
        """Return project, dataset and name of its table."""
        match = _TABLE.fullmatch(self.table)
        assert match is not None, self.table
        return match[1] or project, match[2], match[3]

    def text(self) -> str:
        """Return the SQL of one row per as-of date, in ``@as_ofs``, and user."""
        others = (f"`{name}`" for name in self.types if name != self.user_id)
        columns = ", ".join(others) if self.columns else f"* EXCEPT (`{self.user_id}`)"
        sql = statement("source_as_of")
        if not self.valid_from:
            sql = re.sub(r".*source_valid_from.*\n", "", sql)
        for name, value in (
            ("`source_columns`", columns),
            ("source_table", self.table),
            ("source_user", self.user_id),
            ("source_valid_from", self.valid_from),
            ("`source_moment`", self.moment),
        ):
            sql = sql.replace(name, value)
        return sql


def of(entries: Mapping[str, Any]) -> tuple[Source, ...]:
    """Return the sources of the entries of a ``usecase.toml`` that is right."""
    return tuple(
        Source(
            name=name,
            moment=entry.get("columns", {}).get(entry.get("valid_from"), "TIMESTAMP"),
            **{key: value for key, value in entry.items() if key != "snapshot"},
        )
        for name, entry in entries.items()
    )


def around(sources: Sequence[Source]) -> tuple[str, str]:
    """Return what stands before and after a statement, so that it can read sources."""
    if not sources:
        return "", ""
    named = ",\n".join(f"  {one.name} AS (\n{one.text()}  )" for one in sources)
    return f"WITH\n{named}\nSELECT\n  *\nFROM\n  (\n", "\n  )\n"


def is_table(value: object) -> bool:
    """Tell whether a value can be the address of a table."""
    return _TABLE.fullmatch(str(value)) is not None


def rules(config: Mapping[str, Any]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield path and message of mistakes in sources whose entries are right alone."""
    for name, entry in config.get("sources", {}).items():
        at = ("sources", name)
        columns = entry.get("columns", {})
        moment = entry.get("valid_from", "")
        if _TAKEN.fullmatch(name):
            yield at, f"{name!r} is the name of a table of the deployment"
        if config.get("stream", {}).get("scored"):
            yield at, "features of events are their own fields: no source is read"
        if entry.get("snapshot", False) is not (not moment):
            missing = "valid_from, the column that says when a row became known"
            yield (*at, "table"), f"a source has either {missing}, or snapshot = true"
        if "as_of" in (entry["user_id"], moment, *columns):
            yield at, "'as_of' can be no column of a source"
        if columns.get(moment, MOMENTS[0]) not in MOMENTS:
            known = ", ".join(MOMENTS)
            yield (*at, "columns", moment), f"{moment}, a moment, is one of {known}"
        if not {*entry.get("plans", ())} <= {*columns}:
            yield (*at, "plans"), f"plans are some of its columns, not {entry['plans']}"
