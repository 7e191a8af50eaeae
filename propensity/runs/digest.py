"""
The digest of the GA4 export: each of its days is read once, and kept as rows of users.

Statements read ``ga_user_days`` and ``ga_conversions`` in the place of the export: its
nested parameters are most of what BigQuery would bill. Before a run reads, it asks for
the list of the export's tables, which is free, and digests the days that are missing or
were changed since. One run does so at a time. Each statement replaces its days whole:
what was broken off is continued by the next run. Suppressed users go out of the days
before these count as digested.

New days are read unasked, and so are those that Analytics has changed by itself. To a
first reading, or to reading others again, a person has to agree where that costs much.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING

from propensity import suppression, usecases
from propensity.errors import DigestNotAgreed, DigestUnfinished
from propensity.ga4.shards import KINDS, end_of, kinds_read, local_days, tables_of_days
from propensity.ga4.view import consent_of, events_view, with_refusals
from propensity.pages.words import plural
from propensity.registry.leases import Lease, leased
from propensity.settings import GIB, Settings
from propensity.statements import statement
from propensity.tables.export_names import VIEW
from propensity.timeframe import DAY
from propensity.usecases.exports import of_export
from propensity.usecases.prices import TIB, price_of

if TYPE_CHECKING:
    from propensity.gcp.artifacts import Artifacts
    from propensity.gcp.warehouse import Warehouse
    from propensity.runs.run import Run
    from propensity.suppression import Suppressed
    from propensity.usecases import UseCase

# Of the lease, which all use cases of an export share; its suffix follows.
SCOPE = "ga4_export"
KIND = "digest"
# So many new days, and no more than the digest has, are what an export brings between
# two runs. More are a first reading.
UNASKED_DAYS = 14
# What one statement reads at most, besides half of what it may bill.
DAYS_AT_ONCE = 31
# Ids of one statement, as of ``propensity forget``.
IDS_AT_ONCE = 1_000
# A function has an hour, and the statement that has begun has to end in it.
RUN_AT_MOST = timedelta(minutes=50)
# Analytics writes the table of a day anew for three days after it, in any time zone.
SETTLED = timedelta(days=5)
# Events whose rows are kept, beside those that use cases predict.
SHOP_EVENTS = frozenset({"purchase", "refund"})
# Days are kept so much longer than trainings reach back: weeks are evaluated late, and
# runs of earlier dates repeated.
SLACK = timedelta(weeks=26)
# Of a day that has to be read again, as the statement that digested it.
NOT_WHOLE = ""
# Before that statement where visits of a day are gone: orders are read further back.
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
        event_names=event_names(_readers(settings), settings),
    )


def _readers(settings: Settings) -> list[UseCase]:
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
    for use_case in _readers(settings):
        days.append(use_case.first_day(_oldest_trained(use_case, settings, today)))
    return today - min(days) + SLACK


def visits_from(settings: Settings, *, newest: date) -> date:
    """
    Return the first day whose visits a training of any use case reads, or an audience
    of the newest day, with some slack. It moves once a month.
    """
    days = [newest]
    for use_case in _readers(settings):
        oldest = _oldest_trained(use_case, settings, newest)
        days.append(use_case.first_visit_day(oldest))
        days.append(use_case.first_day(newest))
    return (min(days) - SLACK).replace(day=1)


def _oldest_trained(use_case: UseCase, settings: Settings, today: date) -> date:
    timeframe = use_case.timeframe(settings)
    weeks = settings.training_snapshots - 1
    return timeframe.newest_matured(today=today) - weeks * timeframe.stride


def alone(
    artifacts: Artifacts, settings: Settings, *, clock: Callable[[], datetime]
) -> AbstractContextManager[Lease]:
    """Let nobody else change the digest of the settings' export for a block."""
    return leased(artifacts, SCOPE + settings.export_suffix, KIND, clock=clock)


def bring_up_to_date(
    run: Run,
    view: str,
    tables: Mapping[date, ExportTable],
    *,
    oldest: date,
    last: date,
) -> None:
    """
    Digest the days that a run reads, where the export has others than the digest.

    Raises:
        RunInProgress: Another run digests; this one is called again.
        DigestNotAgreed: A first reading, or to read days again, would cost much; or
            most are gone.
        DigestUnfinished: There was no time for all days.
    """
    if not run.use_case.reads_digest:
        return
    first = run.use_case.first_day(oldest)
    state = state_of(run.warehouse, view, tables, today=run.now().date())
    visited = min(state.visits_from, run.use_case.first_visit_day(oldest))
    state = replace(state, visits_from=visited)
    if not (state.due(first, last) or state.gone or state.withdrawn):
        return
    with alone(run.artifacts, run.settings, clock=run.now) as lease:
        # Another run may just have done it.
        digested = read_digested_days(run.warehouse)
        _digest(run, lease, replace(state, digested=digested), first, last)


def _digest(run: Run, lease: Lease, state: State, first: date, last: date) -> None:
    if 2 * len(state.gone) > len(state.digested):
        raise DigestNotAgreed(
            f"the export has {len(state.gone)} days no more, of "
            f"{plural(len(state.digested), 'day')} in the digest. These stay, and "
            "nothing was read",
            hint="If they were deleted on purpose, run `deploy/operate.sh deployment "
            "digest --yes`, which removes them here too; else restore their tables",
        )
    superfluous = state.gone
    if not usecases.wrong_names():
        # How far back a use case reads whose folder is wrong is not known.
        oldest = min(first, state.oldest(run.settings))
        superfluous |= {day for day in state.digested if day < oldest}
        remove_visits(run.warehouse, state)
    remove_days(run.warehouse, superfluous)
    withdraw_days(run.warehouse, state)
    tables = state.due(first, last)
    unusual = state.unusual(tables)
    if sum(table.size_bytes for table in unusual) > run.settings.maximum_bytes_billed:
        why = "Nobody has agreed to so many new days"
        if all(table.day in state.digested for table in unusual):
            why = "They were digested with other settings or by another release"
        price = price_of_days(state.within_reach(run.settings), run.settings)
        raise DigestNotAgreed(
            f"{price}. {why}, so nothing was read",
            hint="If that is intended, run `deploy/operate.sh deployment digest --yes`,"
            " which has 23 hours; if it ends before, run it again",
        )
    digest_tables(
        run.warehouse,
        lease,
        state,
        tables,
        run_id=run.run_id,
        log=partial(run.log, "INFO"),
        has_time=lambda: run.now() < run.began_at + RUN_AT_MOST,
    )


def price_of_days(tables: Sequence[ExportTable], settings: Settings) -> str:
    """Return how many days of the export there are to read, and for how much."""
    size = sum(table.size_bytes for table in tables) / TIB
    price = size * price_of(settings.location)
    return (
        f"{plural(len(tables), 'day')} of the export to read, at most {size:.2f} TiB, "
        f"about {price:.0f} USD on demand"
    )


def digest_tables(
    warehouse: Warehouse,
    lease: Lease,
    state: State,
    tables: Sequence[ExportTable],
    *,
    run_id: str,
    log: Callable[[str], object],
    has_time: Callable[[], bool] = lambda: True,
) -> None:
    """Digest days of the export, under its lease, without suppressed users."""
    if not tables:
        return
    days = plural(len(tables), "day")
    size = sum(table.size_bytes for table in tables) / GIB
    log(f"{days} of the export to digest, at most {size:,.1f} GiB")
    n_done = 0
    at_most = warehouse.settings.maximum_bytes_billed // 2
    for group in _groups(state.tables, tables, at_most=at_most):
        if not has_time():
            raise DigestUnfinished(
                f"digested {n_done} of {days} of the export, at most {size:,.1f} GiB "
                "in all",
                hint="Call again, which continues; or read all days at once: "
                "`deploy/operate.sh deployment digest --yes` has 23 hours",
            )
        lease.check()
        suppressed = suppression.read_suppressed(warehouse)
        rules = state.rules
        if suppressed:
            rules = replace(rules, statement=NOT_WHOLE)
        replace_days(warehouse, group, rules, run_id=run_id)
        if suppressed:
            leave_out(warehouse, group, suppressed, state.rules)
        n_done += len(group)
        log(f"digested {n_done} of {days}")


def _groups(
    all_tables: Mapping[date, ExportTable],
    due: Sequence[ExportTable],
    *,
    at_most: int,
) -> Iterator[list[ExportTable]]:
    """
    Yield the tables of each statement: neighbours, so that constants prune all others.
    """
    days = {table.day for table in due}
    group = list[ExportTable]()
    size = 0
    for day, table in all_tables.items():
        is_full = len(group) == DAYS_AT_ONCE or size + table.size_bytes > at_most
        if group and (day not in days or is_full):
            yield group
            group = []
            size = 0
        if day in days:
            group.append(table)
            size += table.size_bytes
    if group:
        yield group


def replace_days(
    warehouse: Warehouse, tables: Sequence[ExportTable], rules: Rules, *, run_id: str
) -> None:
    """
    Digest days anew, all of them or none.

    Args:
        tables: Of all days that the export has from the first one to the last.
    """
    days = [table.day for table in tables]
    parameters = {
        **_span(days),
        "first_suffix": f"{days[0]:%Y%m%d}",
        "last_suffix": f"{days[-1]:%Y%m%d}",
        "event_names": sorted(rules.event_names),
        "days": days,
        "modified": [table.modified for table in tables],
        "sizes": [table.size_bytes for table in tables],
        "row_counts": [table.row_count for table in tables],
        "statement": rules.statement,
        "consent": rules.consent,
        "run_id": run_id,
    }
    warehouse.execute(statement("digest_days", ga_events=rules.source), parameters)


def leave_out(
    warehouse: Warehouse,
    tables: Sequence[ExportTable],
    suppressed: Suppressed,
    rules: Rules,
) -> None:
    """
    Take suppressed users out of days that were just digested, which then are whole.

    Whoever is suppressed for some of the use cases of the export stays: the digest is
    one for all of them.
    """
    span = _span([table.day for table in tables])
    user_ids = suppressed_in(warehouse, suppressed, span)
    for first in range(0, len(user_ids), IDS_AT_ONCE):
        piece = {"user_ids": user_ids[first : first + IDS_AT_ONCE]}
        warehouse.execute(statement("leave_out_suppressed"), {**span, **piece})
    whole = {"statement": rules.statement}
    warehouse.execute(statement("note_whole_days"), {**span, **whole})


def suppressed_in(
    warehouse: Warehouse, suppressed: Suppressed, span: Mapping[str, object]
) -> list[str]:
    """
    Return the browsers and logins of days of the digest that are suppressed for each
    use case that reads it.
    """
    names = readers_of(warehouse.settings)
    user_ids = list[str]()
    for batch in warehouse.batches(statement("digested_ids"), span):
        for user_id in batch["user_id"].to_pylist():
            if all(suppressed.covers(user_id, name) for name in names):
                user_ids.append(user_id)
    return user_ids


def readers_of(settings: Settings) -> list[str]:
    """Return the names of the use cases that read the digest of an export, or may."""
    right = [use_case.name for use_case in _readers(settings)]
    names = usecases.wrong_names() + right
    return names if names else [suppression.EVERYWHERE]


def remove_days(warehouse: Warehouse, days: Collection[date]) -> None:
    """Remove days from the digest, where there are any."""
    if days:
        parameters = {**_span(days), "days": sorted(days)}
        warehouse.execute(statement("remove_digested_days"), parameters)


def remove_visits(warehouse: Warehouse, state: State) -> None:
    """Remove visits that nobody reads from the digest, and note that they are gone."""
    for day, digested in state.digested.items():
        if day < state.visits_from and not digested.has_orders_alone:
            old = {"visits_from": state.visits_from, "mark": ORDERS_OF}
            warehouse.execute(statement("remove_old_visits"), old)
            return


def doubt_days(warehouse: Warehouse, days: Collection[date]) -> None:
    """Have days from the first to the last be read again; their rows stay so long."""
    if days:
        doubted = {**_span(days), "statement": NOT_WHOLE}
        warehouse.execute(statement("note_whole_days"), doubted)


def withdraw_days(warehouse: Warehouse, state: State) -> None:
    """
    Remove the rows of days with events that lack a consent which is asked for by now.

    It stays known that they were digested: to read them again is no first reading.
    """
    days = state.withdrawn
    if days:
        withdrawn = {**_span(days), "days": days, "consent": state.rules.consent}
        warehouse.execute(statement("withdraw_digested_days"), withdrawn)


def _span(days: Collection[date]) -> dict[str, object]:
    return {"first_day": min(days), "last_day": max(days)}
