"""
The view ``ga_events`` of the GA4 export, with the values that use cases name.

The export holds what a site sends with its events in two lists, ``event_params`` and
``user_properties``. A use case names those that its statements read, with a type, and
each becomes a column of the view. A column that a query does not select costs it
nothing, so what one use case names is free for the others.

Pure: whoever creates the view, or compares it with what is there, takes its text here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from propensity.errors import UseCaseError
from propensity.statements import statement
from propensity.tables import Column
from propensity.usecases.declaration import VALUES

VIEW = "ga_events"

# Where the columns that use cases name stand in the view.
_NAMED = "  -- columns that use cases name\n"

# Statement that reads a value as a type, and what GA4 sends a value as.
_READERS = {
    "STRING": "export_string",
    "INT64": "export_int64",
    "NUMERIC": "export_numeric",
    "FLOAT64": "export_float64",
}
_FIELDS = {
    "key": "STRING",
    "value.string_value": "STRING",
    "value.int_value": "INT64",
    "value.float_value": "FLOAT64",
    "value.double_value": "FLOAT64",
}


@dataclass(frozen=True, order=True)
class Value:
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


def merged(named: Mapping[str, Sequence[Value]]) -> tuple[Value, ...]:
    """
    Return the values of all use cases, each once, in the order of their columns.

    Args:
        named: Values by use case.

    Raises:
        UseCaseError: Two use cases want one column, and not the same one.
    """
    found: dict[str, tuple[str, Value]] = {}
    for use_case, values in named.items():
        for value in values:
            other, earlier = found.setdefault(value.column.lower(), (use_case, value))
            if earlier != value:
                raise UseCaseError(
                    f"use case {use_case} names {value.key} of {value.record} as "
                    f"{value.type}, and {other} names {earlier.key} as {earlier.type}: "
                    "the view has one column for both. Name it alike in both, and cast "
                    "in the statement"
                )
    return tuple(sorted(value for _, value in found.values()))


def text(
    dataset: str, *, values: Iterable[Value] = (), conditions: Iterable[str] = ()
) -> str:
    """
    Return the text of the view.

    Args:
        dataset: Project and dataset of the export.
        values: Of all use cases: names that ``declaration`` has let through.
        conditions: Appended to those of the view, each a line of ``AND``.
    """
    view = statement(VIEW).replace(_NAMED, "".join(map(_selected, values)))
    for name in ("events_*", "INFORMATION_SCHEMA.TABLES"):
        view = view.replace(f"`{name}`", f"`{dataset}.{name}`")
    return "\n".join(part.rstrip("\n") for part in (view, *conditions)) + "\n"


def missing(view: str, values: Iterable[Value]) -> list[str]:
    """Return the columns of values that the text of a view has not."""
    return [one.column for one in values if _selected(one) not in view]


def columns(values: Iterable[Value]) -> list[Column]:
    """Return the columns of the view that hold values."""
    return [
        Column(
            one.column,
            one.type,
            f"{'Parameter' if one.record == 'event_params' else 'Property'} {one.key}",
        )
        for one in values
    ]


def read_columns(values: Iterable[Value]) -> dict[str, str]:
    """Return the columns of the export that values are read from, with their types."""
    records = {one.record for one in values}
    return {
        f"{record}.{field}": kind
        for record in sorted(records)
        for field, kind in _FIELDS.items()
    }


def _selected(value: Value) -> str:
    """Return the view's column of a value."""
    sql = statement(_READERS[value.type])
    lines = [line for line in sql.splitlines() if not line.startswith("--")]
    written = "\n".join(lines) + "\n"
    return (
        written.replace("`record`", value.record)
        .replace("`key`", f"'{value.key}'")
        .replace("`column`", value.column)
    )
