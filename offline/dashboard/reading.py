"""The statements of the dashboard, each bounded by dates, and the rows of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from importlib import resources
from operator import attrgetter
from typing import Any

from offline.dashboard.filled import filled
from propensity.errors import MissingTable
from propensity.gcp.warehouse import Warehouse
from propensity.statements import statement
from propensity.timeframe import midnight

Row = Mapping[str, Any]

DAY = timedelta(days=1)

# The stream is shown by hour of so many days.
STREAM_DAYS = 7
# A champion may be older than the weeks that are shown.
_TRAININGS = timedelta(days=400)


@dataclass(frozen=True, kw_only=True)
class Window:
    """
    The time that the dashboard shows.

    Attributes:
        as_of: The day of the newest possible runs; by it something is late.
        weeks: Number of weeks that are shown before it.
        now: The last moment of the stream; a demo's stream runs later than its weeks.
        is_past: Whether the day is over, and not today.
    """

    as_of: date
    weeks: int
    now: datetime
    is_past: bool = False

    @property
    def days(self) -> Mapping[str, date]:
        """First and last day of weekly figures."""
        # Midnight is the end of the day before it.
        until = max(self.as_of, (self.now - timedelta(microseconds=1)).date())
        return {"since": self.as_of - timedelta(weeks=self.weeks), "until": until}

    @property
    def trainings(self) -> Mapping[str, date]:
        """First and last day of trainings."""
        return {**self.days, "since": self.days["since"] - _TRAININGS}

    @property
    def hours(self) -> Mapping[str, datetime | date]:
        """First and last moment of the stream, whole hours, and their days."""
        until = self.now.astimezone(UTC)
        since = midnight(until.date() - (STREAM_DAYS - 1) * DAY)
        days = {"since_day": since.date(), "until_day": until.date()}
        return {"since": since, "until": until, **days}


@dataclass(frozen=True)
class Source:
    """A statement: its file, what it gives in words, and its parameters."""

    file: str
    title: str
    parameters: Callable[[Window], Mapping[str, Any]]

    @property
    def name(self) -> str:
        """Its name in the pages."""
        return self.file.removeprefix("dashboard_")

    @property
    def text(self) -> str:
        """The statement as it is in its file."""
        return statement(self.file, own=resources.files(__package__))


_DAYS, _HOURS = attrgetter("days"), attrgetter("hours")

SOURCES = (
    Source("dashboard_evaluations", "Figures of evaluated weeks", parameters=_DAYS),
    Source("dashboard_versions", "Model versions", parameters=attrgetter("trainings")),
    Source("dashboard_publications", "Publications", parameters=_DAYS),
    Source("dashboard_drift", "Drift", parameters=_DAYS),
    Source(
        "dashboard_scores",
        "Probabilities of publications",
        parameters=lambda window: {
            **window.days,
            "since": max(window.days["since"], window.as_of - 5 * 7 * DAY),
        },
    ),
    Source("dashboard_stream", "Events that came, by hour", parameters=_HOURS),
    Source("dashboard_latency", "Scores of events, by hour", parameters=_HOURS),
    Source(
        "dashboard_dead_letters", "Dead letters, by hour and reason", parameters=_HOURS
    ),
    Source(
        "dashboard_alerts",
        "Alerts by version",
        parameters=lambda window: {
            **window.hours,
            "trained_since": window.trainings["since"],
        },
    ),
    Source("dashboard_audiences", "Members of audiences", parameters=_DAYS),
    Source("dashboard_deliveries", "Users in the ledger", parameters=_DAYS),
    Source("dashboard_lift", "Treated users against those held out", parameters=_DAYS),
)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """
    The result of a statement.

    Attributes:
        text: The statement with its parameters as values.
        rows: Empty where the statement could not be run; ``missing`` says why.
        bytes_billed: Bytes of the statement; a dry run has the bytes of its scan.
    """

    name: str
    title: str
    text: str
    rows: Sequence[Row] = ()
    missing: str = ""
    bytes_billed: int = 0


Readings = Mapping[str, Reading]


def by_use_case(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Return rows by the name of their use case, each in their order."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(str(row["use_case"]), []).append(row)
    return groups


def total(rows: Iterable[Row], column: str) -> int:
    """Add up a column of whole numbers; null is nothing."""
    return sum(row[column] or 0 for row in rows)


def read(
    warehouse: Warehouse, window: Window, *, is_dry: bool = False
) -> Iterator[Reading]:
    """
    Run the statements one after the other; a table that is missing has no rows.

    Raises:
        PropensityError: BigQuery did not answer, or refuses.
    """
    settings = warehouse.settings
    for source in SOURCES:
        sql, parameters = source.text, source.parameters(window)
        text = filled(
            sql, parameters, project=settings.project, dataset=settings.dataset
        )
        before = warehouse.bytes_billed
        rows: Sequence[Row] = ()
        missing, scanned = "", 0
        try:
            if is_dry:
                scanned = warehouse.dry_run(sql, parameters)
            else:
                rows = warehouse.table(sql, parameters).to_pylist()
        except MissingTable as error:
            missing = error.message
        yield Reading(
            name=source.name,
            title=source.title,
            text=text,
            rows=rows,
            missing=missing,
            bytes_billed=scanned if is_dry else warehouse.bytes_billed - before,
        )
