"""
What a ``usecase.toml`` may say: the types of its entries, and the SQL that some become.

``usecases.UseCase`` has the entries. msgspec reads them, and names the first that is
unknown, missing or of another type.

A use case can read tables of the user's own: sources, such as a CRM's, and events in
place of the export. Its ``features.sql`` reads each source by its name, as a table with
one row per as-of date and user: the newest that was known before the as-of date. That
join is written here, once: whatever ``features.sql`` says, no row of a later moment
reaches a feature. All its statements read the events by the name ``events``: features
those before each as-of date, labels those of the horizon as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Literal, NamedTuple

from msgspec import Meta, Struct

from propensity import statements
from propensity.errors import UseCaseError
from propensity.ids import NAME, NAME_RULE
from propensity.learning.task import Candidate, Text
from propensity.schema import MOMENTS
from propensity.settings import EXPORT, PREDICTION_DAYS, Settings
from propensity.statements import Line, statement

# Entries of [events] that describe no event type are moved to this name.
OWN_EVENTS = "[events]"
# Stands around a statement that reads tables of the user's own.
READING = "reading_own_tables"
# Dates that a training reads at most.
_SNAPSHOTS = Settings.training_snapshots

# Kinds of the fields of an event; ``events.toml`` says what each means.
EventKind = Literal[
    "text",
    "text or null",
    "personal",
    "birth date",
    "amount",
    "number",
    "label",
    "identity",
    "numeral",
    "instant",
    "truth",
    "truth time",
]

# Tables of usecase.toml that name values of the export, and the prefix of the columns
# of ``ga_events`` that hold them: parameters and properties may have the same names.
VALUES = {"event_params": "param_", "user_properties": "property_"}
# Types of these columns.
ValueType = Literal["STRING", "INT64", "NUMERIC"]

# Types of columns of a source.
SourceType = Literal[
    "STRING", "INT64", "FLOAT64", "NUMERIC", "BOOL", "TIMESTAMP", "DATETIME", "DATE"
]
TABLE_FORM = "project.dataset.table or dataset.table"
SOURCE_TABLE = re.compile(r"(?:([a-z0-9.:-]+)\.)?([A-Za-z0-9_]+)\.([A-Za-z0-9_-]+)")

# A use case that states no budget has this one.
BUDGET = "10%"

# Outcomes of a longer horizon are predicted weekly where a file doesn't say otherwise:
# a day changes little of them, and a prediction reads half a year.
WEEKLY_ABOVE_DAYS = 28

# A lookback or horizon has at most ten years, more than GA4 has existed for.
MAXIMUM_DAYS = 3_650

Days = Annotated[int, Meta(ge=1, le=MAXIMUM_DAYS)]
DaysOrNone = Annotated[int, Meta(ge=0, le=MAXIMUM_DAYS)]
PredictionDays = Annotated[
    str,
    Meta(
        pattern=rf"^(?:{PREDICTION_DAYS})\Z",
        description='"daily", or days of the week, for example "MON,THU"',
    ),
]
Probability = Annotated[float, Meta(ge=0, le=1)]
Currency = Annotated[
    str, Meta(pattern=r"^[A-Z]{3}\Z", description="three capitals, for example EUR")
]
# A use case's folder, an event type and a source are named like this.
Name = Annotated[str, Meta(pattern=rf"^{NAME.pattern}\Z", description=NAME_RULE)]
# A column of BigQuery, or a parameter of a statement.
Column = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}\Z",
        description="letters, digits and underscores; a view can rename a column",
    ),
]
# Google's rule for the names of parameters and properties:
# https://support.google.com/analytics/answer/13316687, event naming rules
Key = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,39}\Z",
        description="40 letters, digits and underscores",
    ),
]


class Candidates(Struct, frozen=True):
    """The candidates of a file that need not be a use case's."""

    candidates: Sequence[Candidate]


class Telling(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    How people are told of a feature that tells the chosen from the others.

    Attributes:
        phrase: What it is called, as "Last visit"; empty for the feature's name.
        unit: "days", "days ago" or "count", which have edges of their own, or what
            numbers are of, such as USD.
    """

    phrase: str = ""
    unit: str = ""


class Property(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    A GA4 property, whose export is read in the place of the deployment's.

    Attributes:
        ga4_dataset, utc_offset_hours: As the settings ``ga4_dataset`` and
            ``property_utc_offset_hours``.
    """

    ga4_dataset: Annotated[
        str,
        Meta(
            pattern=rf"^(?:{EXPORT})\Z",
            description="a dataset name, for example my-project.analytics_123456",
        ),
    ]
    utc_offset_hours: Annotated[int, Meta(ge=-12, le=14)] = 0


class Stream(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    The events of the stream that a use case takes.

    Attributes:
        events: Their types.
        scored: Types whose own fields are the features: a row is then an event, and not
            a user.
        elapsed: The feature with the hours since a user's ``scored_from``; empty where
            ``stream_rows`` has no such time.
        amount: The feature with the money that a missed event costs; empty for none.
    """

    events: Sequence[str] = ()
    scored: Sequence[str] = ()
    elapsed: Text = ""
    amount: Text = ""


def tell_events_apart(entries: dict[str, object]) -> None:
    """Move what [events] says of a table: the types of events in it are tables, too."""
    types = entries.get("events")
    if isinstance(types, dict):
        table = {
            key: value for key, value in types.items() if not isinstance(value, dict)
        }
        if table:
            entries[OWN_EVENTS] = table
            entries["events"] = {key: types[key] for key in types.keys() - table.keys()}


def wrong_stride(stride: int, horizon: int) -> Iterator[str]:
    """Say that so many days apart no training has dates enough; 0 is the horizon."""
    # The first outcome must end before the last snapshot but one.
    fewest = -(-horizon // (_SNAPSHOTS - 2))
    if 0 < stride < fewest:
        yield (
            f"stride_days is {stride}: the {_SNAPSHOTS} snapshots of a training would "
            f"lie too close together for outcomes of {horizon} days; use {fewest} or "
            "more"
        )


# -- values of the export -------------------------------------------------------------


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


# -- tables of the user's own ---------------------------------------------------------


class OwnTable(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table: ``project.dataset.table``, or ``dataset.table`` of the deployment's."""

    table: str

    def place(self, project: str) -> tuple[str, str, str]:
        """Return project, dataset and name of the table."""
        match = SOURCE_TABLE.fullmatch(self.table)
        assert match is not None, self.table
        named_project = match[1] if match[1] else project
        return named_project, match[2], match[3]


class OwnSource(OwnTable, frozen=True, kw_only=True, forbid_unknown_fields=True):
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
        return statement(
            "source_as_of",
            source_columns=", ".join(others),
            source_table=f"`{self.table}`",
            source_user=f"`{self.user_id}`",
            source_valid_from=f"`{self.valid_from}`",
        )


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
        if statement_name == "days":
            return self._rows("own_events")
        after = 0 if statement_name == "features" else horizon_days
        return self._rows(
            "own_events_as_of", days_before="@lookback_days", days_after=str(after)
        )

    def history(self) -> str:
        """Return the SQL of the events of the whole history before a date."""
        return self._rows(
            "own_events_as_of",
            first_day="@first_history_day",
            days_before="@history_days",
            days_after="0",
        )

    def _rows(self, name: str, *, first_day: str = "@earliest", **days: str) -> str:
        return statement(
            name,
            events_table=f"`{self.table}`",
            events_user=f"`{self.user_id}`",
            events_time=f"`{self.time}`",
            events_name=f"CAST({_column(self.name)} AS STRING)",
            events_amount=f"SAFE_CAST({_column(self.amount)} AS NUMERIC)",
            events_from=first_day,
            **days,
        )

    def problems(self, types: Mapping[str, str]) -> Iterator[str]:
        """
        Yield the faults of the table's columns.

        Args:
            types: Types in BigQuery by name.
        """
        kind_by_name = {name.lower(): kind for name, kind in types.items()}
        for entry, allowed in _ALLOWED.items():
            column = getattr(self, entry)
            if not column or kind_by_name.get(column.lower()) in allowed:
                continue
            kind = kind_by_name.get(column.lower(), f"missing among {', '.join(types)}")
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


def reading(lines: Sequence[Line], tables: Mapping[str, str]) -> Sequence[Line]:
    """
    Return the lines of a statement that can read tables of the user's own.

    Args:
        tables: The SQL of each, by the name that the statement calls it.
    """
    if not tables:
        return lines
    texts = []
    for name, sql in tables.items():
        texts.append(statement("own_table", table_name=name, table_rows=sql))
    return statements.lines_of(READING, own_tables=",".join(texts), own_statement=lines)
