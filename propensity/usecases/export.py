"""
The view ``ga_events`` of the GA4 export, with the values that use cases name.

The export holds the values that a site sends with its events in two lists,
``event_params`` and ``user_properties``. A use case names those that its statements
read, with a type, and each becomes a column of the view.

Pure: set-up and the doctor, which create and compare the view, take its text here.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from propensity.errors import UseCaseError
from propensity.schema import Column
from propensity.statements import statement
from propensity.usecases.declaration import VALUES

VIEW = "ga_events"

# How names of the export's tables begin, by kind. Of a day the first kind counts.
DAILY = "daily"
PREFIXES = {
    DAILY: "events_",
    "fresh": "events_fresh_",
    "intraday": "events_intraday_",
    "fresh_intraday": "events_fresh_intraday_",
}
KINDS = (*PREFIXES,)

# The table of a day.
SHARD = re.compile(r"(events_(?:fresh_)?(?:intraday_)?)([0-9]{8})")

# The statement that reads a value as a type.
_READERS = {
    "STRING": "export_string",
    "INT64": "export_int64",
    "NUMERIC": "export_numeric",
}

# The line of the view that these columns replace.
_NAMED = "  -- columns that use cases name\n"


class Value(NamedTuple):
    """
    An event parameter or user property that a use case names.

    ``record`` is ``event_params`` or ``user_properties``, ``key`` GA4's name of the
    value, and ``type`` the column's.
    """

    record: str
    key: str
    type: str

    @property
    def column(self) -> str:
        """Name of its column in the view."""
        return VALUES[self.record] + self.key


def merged(values: Iterable[Value]) -> list[Value]:
    """
    Return the values of several use cases, each once.

    Raises:
        UseCaseError: Two give a column different types or spellings.
    """
    by_column: dict[str, Value] = {}
    for value in values:
        other = by_column.setdefault(value.column.lower(), value)
        if other != value:
            raise UseCaseError(
                f"two use cases name {value.record}.{value.key} as {value.type} and "
                f"{other.key} as {other.type}: they share a column. Name it alike in "
                "both, and cast in the statement"
            )
    return sorted(by_column.values())


def text(
    dataset: str,
    *,
    kinds: Sequence[str] = (DAILY,),
    values: Iterable[Value] = (),
    conditions: Iterable[str] = (),
) -> str:
    """
    Return the text of the view.

    Args:
        dataset: Project and dataset of the export.
        kinds: Of the tables that it has, of KINDS: BigQuery refuses a wildcard that
            matches none.
        values: Of all use cases; ``declaration`` has checked their names.
        conditions: Lines beginning with ``AND``, which go to the end of the view.
    """
    view = statement(VIEW).replace(_NAMED, "".join(map(_selected, values)))
    view = "\n".join(part.rstrip("\n") for part in (view, *conditions)) + "\n"
    parts: list[str] = []
    for kind in kinds:
        shards = statement("ga_events_shards")
        if earlier := KINDS[: KINDS.index(kind)]:
            names = "|".join(PREFIXES[one] for one in earlier)
            shards += statement("ga_events_earlier").replace("earlier_kinds", names)
        shards = textwrap.indent(shards, "    ")
        shards = shards.replace("`shards_2*`", f"`{dataset}.{PREFIXES[kind]}2*`")
        parts.append(view.replace("`shards` AS e", f"(\n{shards}  ) AS e"))
    tables = "INFORMATION_SCHEMA.TABLES"
    return "UNION ALL\n".join(parts).replace(f"`{tables}`", f"`{dataset}.{tables}`")


def kinds_of(names: Iterable[str]) -> list[str]:
    """Return the kinds of tables that are there, in the order in which they count."""
    found = {match[1] for match in map(SHARD.fullmatch, names) if match}
    return [kind for kind in KINDS if PREFIXES[kind] in found]


def kinds_read(view: str) -> list[str]:
    """Return the kinds of tables that the text of a view reads."""
    return [kind for kind, name in PREFIXES.items() if f".{name}2*`" in view]


def missing(view: str, values: Iterable[Value]) -> list[str]:
    """Return the columns of values that the text of a view lacks."""
    return [value.column for value in values if _selected(value) not in view]


def columns(values: Iterable[Value]) -> list[Column]:
    """Return the columns of the view that hold values."""
    return [
        Column(value.column, value.type, f"{value.key} of {value.record}")
        for value in values
    ]


def _selected(value: Value) -> str:
    """Return the SQL of a value's column in the view."""
    return (
        statement("export_value")
        .replace("`value`", statement(_READERS[value.type]).rstrip())
        .replace("`record`", value.record)
        .replace("`key`", f"'{value.key}'")
        .replace("`column`", value.column)
    )
