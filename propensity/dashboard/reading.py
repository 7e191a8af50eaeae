"""The statements of the dashboard, each bounded by dates, and their rows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from importlib import resources
from typing import Any

from propensity.errors import MissingTable
from propensity.gcp.warehouse import Warehouse
from propensity.pages.words import cleaned
from propensity.statements import statement

Row = Mapping[str, Any]
_PARAMETER = re.compile(r"(?P<comment>--.*)|@(?P<name>\w+)")

SQL = resources.files(__package__)
# The statements of this folder, with their titles on the page of SQL.
TITLES = {
    "evaluations": "Evaluated weeks",
    "versions": "Model versions",
    "publications": "Publications",
    "drift": "Drift",
    "dead_letters": "Dead letters, by reason",
    "audiences": "Members of audiences",
    "plans": "Plans of audiences",
    "deliveries": "Deliveries of audiences",
    "lift": "Contacted users and control group",
    "programme": "All audiences of a control group",
}
# Days of dead letters, and of linked reports of fraud.
NEWEST_DAYS = 7
# Weeks that a page shows, unless somebody asks for others.
WEEKS = 26
# A champion may be older than the weeks that are shown.
TRAININGS = timedelta(days=400)


@dataclass(frozen=True, kw_only=True)
class Window:
    """
    The time that the dashboard shows.

    Attributes:
        as_of: The day by which runs are late.
        weeks: Number of weeks before it.
        until: The last day; after ``as_of`` where past weeks were played today.
    """

    as_of: date
    weeks: int
    until: date

    @classmethod
    def up_to(cls, as_of: date) -> Window:
        """Return the usual weeks before a day."""
        return cls(as_of=as_of, weeks=WEEKS, until=as_of)

    def parameters(self, name: str) -> dict[str, date]:
        """Return the first and the last day that a statement reads."""
        since = self.as_of - timedelta(weeks=self.weeks)
        if name == "dead_letters":
            since = self.until - timedelta(days=NEWEST_DAYS - 1)
        elif name == "versions":
            since -= TRAININGS
        return {"since": since, "until": self.until}


@dataclass(frozen=True, kw_only=True)
class QueryResult:
    """
    The result of a statement.

    Attributes:
        text: The statement with its parameters as values: it runs in any console.
        rows: Empty where a table is missing, as ``missing`` says.
    """

    name: str
    text: str
    rows: Sequence[Row] = ()
    missing: str = ""


def readings_of(warehouse: Warehouse, window: Window) -> dict[str, QueryResult]:
    """
    Run the statements; those of a missing table have no rows.

    Returns:
        Readings by name.

    Raises:
        PropensityError: BigQuery did not answer, or refuses.
    """
    readings = {}
    for name in TITLES:
        sql = statement(name, folder=SQL)
        parameters = window.parameters(name)
        rows: Sequence[Row] = ()
        missing = ""
        try:
            rows = list(map(page_row, warehouse.table(sql, parameters).to_pylist()))
        except MissingTable as error:
            missing = error.message
        readings[name] = QueryResult(
            name=name,
            text=runnable(sql, parameters, warehouse),
            rows=rows,
            missing=missing,
        )
    return readings


def page_row(row: Row) -> Row:
    """Return a row with texts that can stand in a page, and with amounts as floats."""
    return {
        name: float(value) if isinstance(value, Decimal) else cleaned(value)
        for name, value in row.items()
    }


def runnable(sql: str, parameters: Mapping[str, date], warehouse: Warehouse) -> str:
    """
    Return a statement with its parameters as values, for people to run: nothing here
    runs it.

    Source:
        https://cloud.google.com/bigquery/docs/reference/system-variables: a script
        may set the dataset of the names without one.
    """

    def value(match: re.Match[str]) -> str:
        if match["comment"]:
            return match["comment"]
        return f"DATE '{parameters[match['name']]}'"

    body = _PARAMETER.sub(value, sql)
    settings = warehouse.settings
    return (
        f"SET @@dataset_project_id = '{settings.project}';\n"
        f"SET @@dataset_id = '{settings.dataset}';\n{body.rstrip()};\n"
    )
