"""
What the digest of the GA4 export has, beside what the export has: what has to be read.

``digest`` reads it. Here nothing is changed, and the lists of tables are free.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from propensity import suppression, usecases
from propensity.ga4.shards import KINDS, end_of, kinds_read, local_days, tables_of_days
from propensity.ga4.view import consent_of, events_view, with_refusals
from propensity.pages.words import plural
from propensity.settings import Settings
from propensity.statements import statement
from propensity.tables.export_names import VIEW
from propensity.timeframe import DAY
from propensity.usecases.exports import of_export
from propensity.usecases.prices import TIB, price_of

if TYPE_CHECKING:
    from propensity.gcp.warehouse import Warehouse
    from propensity.usecases import UseCase

# So many new days, and no more than the digest has, are what an export brings between
# two runs. More are a first reading.
UNASKED_DAYS = 14
# Analytics writes the table of a day anew for three days after it, in any time zone.
SETTLED = timedelta(days=5)
# Events whose rows are kept, beside those that use cases predict.
SHOP_EVENTS = frozenset({"purchase", "refund"})
# Days are kept so much longer than trainings reach back: weeks are evaluated late, and
# runs of earlier dates repeated.
SLACK = timedelta(weeks=26)
# Before the statement of a day whose visits are gone: orders are read further back.
ORDERS_OF = "orders of "


@dataclass(frozen=True, kw_only=True)
class ExportTable:
    """The table of a day of the export: the one that the view reads."""

    name: str
    day: date
    modified: datetime
    size_bytes: int
    row_count: int


@dataclass(frozen=True, kw_only=True)
class Rules:
    """
    How days are digested.

    Attributes:
        source: The view, or what stands for it where refusals are asked for.
        statement: SHA-256 of the statement and the view.
        consent: The conditions that the view asks for, with spaces between.
        event_names: Events whose rows are kept.
    """

    source: str = VIEW
    statement: str
    consent: str
    event_names: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class DigestedTable:
    """What the digest says of a day: its table as it was, and the rules."""

    export_day: date
    source_modified: datetime
    size_bytes: int
    row_count: int | None
    statement: str
    consent: str
    event_names: Sequence[str]

    @property
    def has_orders_alone(self) -> bool:
        """Whether its visits are gone."""
        return self.statement.startswith(ORDERS_OF)

    def follows(self, rules: Rules) -> bool:
        """Return whether these rules would digest the day in the same way."""
        return (
            self.statement == rules.statement
            and self.consent == rules.consent
            and rules.event_names.issubset(self.event_names)
        )


class Need(StrEnum):
    """Why a day has to be read."""

    NEW = "the digest lacks it"
    CHANGED = "Analytics has changed it by itself"
    AGAIN = "it was read, and rules or an old table have changed"


@dataclass(frozen=True, kw_only=True)
class State:
    """
    The export beside its digest.

    Attributes:
        tables: By day, the oldest first.
        digested: By day.
        settled: The newest day that Analytics changes no more.
        visits_from: The first day whose visits are read. Of earlier ones orders are.
        utc_offset_hours: Of the property.
    """

    rules: Rules
    tables: Mapping[date, ExportTable]
    digested: Mapping[date, DigestedTable]
    settled: date
    visits_from: date
    utc_offset_hours: int

    @property
    def gone(self) -> set[date]:
        """Digested days that the export has no more."""
        return set(self.digested) - set(self.tables)

    @property
    def withdrawn(self) -> list[date]:
        """Days with events that lack a consent which is asked for by now."""
        asked = set(self.rules.consent.split())
        days = []
        for day, digested in sorted(self.digested.items()):
            if not asked.issubset(digested.consent.split()):
                days.append(day)
        return days

    def need(self, table: ExportTable) -> Need | None:
        """Return why the day of a table has to be read; None where it need not be."""
        digested = self.digested.get(table.day)
        if digested is None:
            return Need.NEW
        rules = self.rules
        if digested.has_orders_alone and table.day < self.visits_from:
            rules = replace(rules, statement=f"{ORDERS_OF}{rules.statement}")
        if not digested.follows(rules):
            return Need.AGAIN
        if table.modified == digested.source_modified:
            return None
        was_whole = digested.source_modified >= self._end_of(table.day)
        if was_whole and table.day > self.settled:
            # What Analytics changes until the day is settled is read then.
            return None
        if table.modified.date() < table.day + SETTLED:
            return Need.CHANGED
        # Labels, an expiry or a policy also change the time of a table, years later.
        is_same_size = table.size_bytes == digested.size_bytes
        if is_same_size and table.row_count == digested.row_count:
            return None
        return Need.AGAIN

    def due(self, first: date, last: date) -> list[ExportTable]:
        """Return the tables of days to digest, of those from ``first`` to ``last``."""
        tables = []
        for day, table in self.tables.items():
            if first <= day <= last and self.need(table):
                tables.append(table)
        return tables

    def within_reach(self, settings: Settings) -> list[ExportTable]:
        """Return the tables of all whole days to digest that a training may read."""
        due = self.due(self.oldest(settings), date.max)
        return [table for table in due if table.modified >= self._end_of(table.day)]

    def oldest(self, settings: Settings) -> date:
        """Return the first day that trainings may read: the digest keeps no older."""
        return max(self.tables, default=date.max) - reach(settings)

    def unusual(self, due: Sequence[ExportTable]) -> list[ExportTable]:
        """
        Return the days to which a person agrees before they are read for much money.

        They are those of a first reading, and those that were digested and that
        Analytics has not changed.
        """
        again = [table for table in due if self.need(table) == Need.AGAIN]
        new = [table for table in due if self.need(table) == Need.NEW]
        is_first = len(new) > min(UNASKED_DAYS, len(self.digested))
        return again + new if is_first else again

    def _end_of(self, day: date) -> datetime:
        return end_of(day, utc_offset_hours=self.utc_offset_hours)


def read_state(warehouse: Warehouse, *, today: date) -> State:
    """Ask for the tables of the export, and for what the digest has of them."""
    view = warehouse.view_text(VIEW)
    return state_of(warehouse, view, read_export_tables(warehouse, view), today=today)


def state_of(
    warehouse: Warehouse, view: str, tables: Mapping[date, ExportTable], *, today: date
) -> State:
    """As ``read_state``, of a view and tables that were read."""
    settings = warehouse.settings
    rules = rules_of(settings, view)
    digested = read_digested_days(warehouse)
    if usecases.wrong_names():
        # Otherwise the days would be read again once the folder is right.
        before = [day.event_names for day in digested.values()]
        rules = replace(rules, event_names=rules.event_names.union(*before))
    return State(
        rules=rules,
        tables=tables,
        digested=digested,
        settled=settled_day(settings, today=today),
        visits_from=visits_from(settings, newest=max(tables, default=date.max)),
        utc_offset_hours=settings.property_utc_offset_hours,
    )


def settled_day(settings: Settings, *, today: date) -> date:
    """
    Return the newest day that is settled: it is read once more if it has changed.

    It is the last day of the newest week that may be final, and three days old or four,
    by the property's time zone: a week becomes final with the rows that it keeps.
    """
    until = today - timedelta(days=settings.settle_days)
    _, last = local_days(
        until - DAY, until, utc_offset_hours=settings.property_utc_offset_hours
    )
    return last


def read_export_tables(warehouse: Warehouse, view: str) -> dict[date, ExportTable]:
    """Return the tables of the export that the view shows, the oldest first."""
    listing = f"`{warehouse.settings.export}.__TABLES__`"
    rows = warehouse.rows(statement("export_tables", tables=listing))
    by_name = {row["name"]: row for row in rows}
    # A kind of tables that is newer than the set-up is not in the view.
    kinds = kinds_read(view)
    names = tables_of_days(by_name, kinds=kinds if kinds else KINDS)
    return {day: ExportTable(day=day, **by_name[name]) for day, name in names.items()}


def read_digested_days(warehouse: Warehouse) -> dict[date, DigestedTable]:
    """Return what the digest says of its days."""
    rows = warehouse.rows(statement("digested_days"))
    return {row["export_day"]: DigestedTable(**row) for row in rows}


def rules_of(settings: Settings, view: str) -> Rules:
    """
    Return how days are digested.

    The columns of the view that use cases name are no part of it, nor are comments: no
    day is read again because of them.
    """
    view_text = events_view(settings.export, require="false", values=())
    lines = []
    for line in f"{statement('digest_days')}{view_text}".splitlines():
        if not line.strip().startswith("--"):
            lines.append(line)
    return Rules(
        source=with_refusals(view),
        statement=hashlib.sha256("\n".join(lines).encode()).hexdigest(),
        consent=" ".join(sorted(consent_of(view))),
        event_names=event_names(readers(settings), settings),
    )


def readers(settings: Settings) -> list[UseCase]:
    use_cases = of_export(settings)
    return [use_case for use_case in use_cases if use_case.reads_digest]


def event_names(use_cases: Iterable[UseCase], settings: Settings) -> frozenset[str]:
    """Return the events of which the digest keeps rows for its readers."""
    names = set(SHOP_EVENTS)
    for use_case in use_cases:
        for name, value in use_case.statement_parameters(settings).items():
            if name.endswith("_event"):
                names.add(str(value))
    return frozenset(names)


def reach(settings: Settings) -> timedelta:
    """Return how far back a training of any use case reads, with some slack."""
    today = date(2000, 1, 1)
    days = [today]
    for use_case in readers(settings):
        days.append(use_case.first_day(_oldest_trained(use_case, settings, today)))
    return today - min(days) + SLACK


def visits_from(settings: Settings, *, newest: date) -> date:
    """
    Return the first day whose visits a training of any use case reads, or an audience
    of the newest day, with some slack. It moves once a month.
    """
    days = [newest]
    for use_case in readers(settings):
        oldest = _oldest_trained(use_case, settings, newest)
        days.append(use_case.first_visit_day(oldest))
        days.append(use_case.first_day(newest))
    return (min(days) - SLACK).replace(day=1)


def _oldest_trained(use_case: UseCase, settings: Settings, today: date) -> date:
    return use_case.timeframe(settings).oldest_matured(
        today=today, at_most=settings.training_snapshots
    )


def price_of_days(tables: Sequence[ExportTable], settings: Settings) -> str:
    """Return how many days of the export there are to read, and for how much."""
    size = sum(table.size_bytes for table in tables) / TIB
    price = size * price_of(settings.location)
    return (
        f"{plural(len(tables), 'day')} of the export to read, at most {size:.2f} TiB, "
        f"about {price:.0f} USD on demand"
    )


def reader_names(settings: Settings) -> list[str]:
    """Return the names of the use cases that read the digest of an export, or may."""
    right = [use_case.name for use_case in readers(settings)]
    names = usecases.wrong_names() + right
    return names if names else [suppression.EVERYWHERE]
