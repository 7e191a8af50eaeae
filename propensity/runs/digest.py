"""
The digest of the GA4 export: each of its days is read once, and kept as rows of users.

Statements read ``ga_user_days`` and ``ga_conversions`` in the place of the export: its
nested parameters are most of what BigQuery would bill. Before a run reads, it asks for
the list of the export's tables, which is free, and digests the days that are missing or
were changed since. One run does so at a time. Each statement replaces its days whole:
what was broken off is continued by the next run.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from propensity import ga4, usecases
from propensity.errors import RunInProgress
from propensity.pages.words import plural
from propensity.registry.leases import Lease, leased
from propensity.statements import statement
from propensity.tables.export import VIEW

if TYPE_CHECKING:
    from propensity.gcp.artifacts import Artifacts
    from propensity.gcp.warehouse import Warehouse
    from propensity.runs.run import Run
    from propensity.settings import Settings

# Of the lease, which all use cases of an export share; its suffix follows.
SCOPE = "ga4_export"
KIND = "digest"
# A run waits for another one that digests: longer than the lease of one that died.
WAIT = timedelta(minutes=6)
LOOK_AGAIN_S = 15
# What one statement reads at most, besides half of what it may bill.
DAYS_AT_ONCE = 31
# Events whose rows are kept, beside those that use cases predict.
SHOP_EVENTS = frozenset({"purchase", "refund"})
# Days are kept so much longer than trainings reach back: weeks are evaluated late, and
# runs of earlier dates repeated.
SLACK = timedelta(weeks=26)

GIB = 1024**3


@dataclass(frozen=True, kw_only=True)
class ExportTable:
    """The table of a day of the export: the one that the view reads."""

    name: str
    day: date
    modified: datetime
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class Rules:
    """
    How days are digested.

    Attributes:
        statement: SHA-256 of the statement and the view.
        consent: What the view asks for, as ``ga4.consent_of``.
        event_names: Events whose rows are kept.
    """

    statement: str
    consent: frozenset[str]
    event_names: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class DigestedTable:
    """What the digest says of a day."""

    modified: datetime
    rules: Rules

    def holds(self, table: ExportTable, rules: Rules) -> bool:
        """Return whether the day need not be read again."""
        return (
            self.modified == table.modified
            and self.rules.statement == rules.statement
            and self.rules.consent == rules.consent
            and self.rules.event_names >= rules.event_names
        )


@dataclass(frozen=True, kw_only=True)
class State:
    """
    The export beside its digest.

    Attributes:
        tables: By day, the oldest first.
        digested: By day.
    """

    rules: Rules
    tables: Mapping[date, ExportTable]
    digested: Mapping[date, DigestedTable]

    @cached_property
    def gone(self) -> list[date]:
        """Digested days that the export has no more."""
        return sorted(set(self.digested) - set(self.tables))

    @cached_property
    def withdrawn(self) -> list[date]:
        """Days with events that lack a consent which is asked for by now."""
        return [
            day
            for day, digested in sorted(self.digested.items())
            if not self.rules.consent <= digested.rules.consent
        ]

    def due(self, first: date, last: date) -> list[ExportTable]:
        """Return the tables of days to digest, of those from ``first`` to ``last``."""
        tables = []
        for day, table in self.tables.items():
            digested = self.digested.get(day)
            holds = digested is not None and digested.holds(table, self.rules)
            if first <= day <= last and not holds:
                tables.append(table)
        return tables

    def outlived(self, reach: timedelta) -> list[date]:
        """Return digested days that are older than what trainings reach back to."""
        if not self.tables:
            return []
        oldest = max(self.tables) - reach
        return [day for day in sorted(self.digested) if day < oldest]


def state_of(warehouse: Warehouse) -> State:
    """
    Ask for the tables of the export, and for what the digest has of them.

    Raises:
        MissingTable: There is no view, or no digest: set-up has not run.
    """
    view = warehouse.view_text(VIEW)
    return State(
        rules=rules_of(warehouse.settings, view),
        tables=tables_of(warehouse, view),
        digested=digested_of(warehouse),
    )


def tables_of(warehouse: Warehouse, view: str) -> dict[date, ExportTable]:
    """Return the tables of the export that the view shows, the oldest first."""
    listing = f"`{warehouse.settings.export}.__TABLES__`"
    rows = warehouse.rows(statement("export_tables", tables=listing))
    by_name = {row["table_id"]: row for row in rows}
    # A kind of tables that is newer than the set-up is not in the view.
    kinds = ga4.kinds_read(view)
    names = ga4.tables_of_days(by_name, kinds=kinds if kinds else ga4.KINDS)
    tables = {}
    for day, name in names.items():
        row = by_name[name]
        tables[day] = ExportTable(
            name=name, day=day, modified=row["modified"], size_bytes=row["size_bytes"]
        )
    return tables


def digested_of(warehouse: Warehouse) -> dict[date, DigestedTable]:
    """Return what the digest says of its days."""
    digested = {}
    for row in warehouse.rows(statement("digested_days")):
        rules = Rules(
            statement=row["statement"],
            consent=frozenset(row["consent"].split()),
            event_names=frozenset(row["event_names"]),
        )
        digested[row["export_day"]] = DigestedTable(
            modified=row["source_modified"], rules=rules
        )
    return digested


def rules_of(settings: Settings, view: str) -> Rules:
    """
    Return how days are digested.

    The columns of the view that use cases name are no part of it, nor are comments: no
    day is read again because of them.
    """
    shown = ga4.events_view(settings.export, require="false", values=())
    lines = []
    for line in f"{statement('digest_days')}{shown}".splitlines():
        if not line.strip().startswith("--"):
            lines.append(line)
    names = set(SHOP_EVENTS)
    for use_case in usecases.of_export(settings):
        if use_case.reads_digest:
            for name, value in use_case.statement_parameters(settings).items():
                if name.endswith("_event"):
                    names.add(str(value))
    return Rules(
        statement=hashlib.sha256("\n".join(lines).encode()).hexdigest(),
        consent=ga4.consent_of(view),
        event_names=frozenset(names),
    )


def reach(settings: Settings) -> timedelta:
    """Return how far back a training of any use case reads, with some slack."""
    today = date(2000, 1, 1)
    spans = [timedelta(0)]
    for use_case in usecases.of_export(settings):
        if use_case.reads_digest:
            timeframe = use_case.timeframe(settings)
            weeks = settings.training_snapshots - 1
            oldest = timeframe.newest_matured(today=today) - weeks * timeframe.stride
            spans.append(today - use_case.first_day(oldest))
    return max(spans) + SLACK


def alone(
    artifacts: Artifacts, settings: Settings, *, clock: Callable[[], datetime]
) -> contextlib.AbstractContextManager[Lease]:
    """
    Let nobody else change the digest of the settings' export for a block.

    Raises:
        RunInProgress: Another run is changing it.
    """
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

    Args:
        view: The text of the view.
        tables: As ``tables_of``.
        oldest: The first date that rows are computed for.
        last: The last day of the export that is read.

    Raises:
        RunInProgress: Another run has been digesting for some minutes.
        Conflict: This one was too slow, and another one digests.
    """
    if not run.use_case.reads_digest:
        return
    first = run.use_case.first_day(oldest)
    state = State(
        rules=rules_of(run.settings, view),
        tables=tables,
        digested=digested_of(run.warehouse),
    )
    if not (state.due(first, last) or state.gone or state.withdrawn):
        return
    ends = run.now() + WAIT
    while True:
        try:
            with alone(run.artifacts, run.settings, clock=run.now) as lease:
                # Another run may just have done it.
                digested = digested_of(run.warehouse)
                _digest(run, lease, replace(state, digested=digested), first, last)
            return
        except RunInProgress:
            if run.now() >= ends:
                raise
            run.clock.sleep(LOOK_AGAIN_S)


def _digest(run: Run, lease: Lease, state: State, first: date, last: date) -> None:
    """Digest days under the lease of the export."""
    superfluous = set(state.gone).union(state.withdrawn)
    for day in state.outlived(reach(run.settings)):
        if not first <= day <= last:
            superfluous.add(day)
    remove_days(run.warehouse, superfluous)
    tables = state.due(first, last)
    if not tables:
        return
    size = sum(table.size_bytes for table in tables)
    run.log(
        "INFO",
        f"{plural(len(tables), 'day')} of the export to digest, at most "
        f"{size / GIB:,.1f} GiB: {_reasons(state, tables)}",
    )
    n_done = 0
    at_most = run.settings.maximum_bytes_billed // 2
    for group in _groups(state.tables, tables, at_most=at_most):
        lease.check()
        replace_days(run.warehouse, group, state.rules, run_id=run.run_id)
        n_done += len(group)
        run.log("INFO", f"digested {n_done} of {plural(len(tables), 'day')}")


def _reasons(state: State, tables: Sequence[ExportTable]) -> str:
    """Say why days are digested, with how many there are of each reason."""
    new = 0
    changed = 0
    for table in tables:
        digested = state.digested.get(table.day)
        if digested is None:
            new += 1
        elif digested.modified != table.modified:
            changed += 1
    others = len(tables) - new - changed
    reasons = []
    if new:
        reasons.append(f"{new} new")
    if changed:
        reasons.append(f"{changed} changed")
    if others:
        reasons.append(f"{others} digested with other settings or by another release")
    return ", ".join(reasons)


def _groups(
    all_tables: Mapping[date, ExportTable],
    due: Sequence[ExportTable],
    *,
    at_most: int,
) -> Iterator[list[ExportTable]]:
    """
    Yield the tables of each statement: neighbours, so that constants prune all others.

    Args:
        all_tables: Of the export, by day, the oldest first.
        at_most: Bytes of a statement; a larger table has one alone.
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
        "first_suffix": f"{days[0]:%Y%m%d}",
        "last_suffix": f"{days[-1]:%Y%m%d}",
        "event_names": sorted(rules.event_names),
        "first_day": days[0],
        "last_day": days[-1],
        "days": days,
        "modified": [table.modified for table in tables],
        "sizes": [table.size_bytes for table in tables],
        "statement": rules.statement,
        "consent": " ".join(sorted(rules.consent)),
        "run_id": run_id,
    }
    warehouse.execute(statement("digest_days"), parameters)


def remove_days(warehouse: Warehouse, days: Collection[date]) -> None:
    """Remove days from the digest, where there are any."""
    if days:
        parameters = {
            "days": sorted(days),
            "first_day": min(days),
            "last_day": max(days),
        }
        warehouse.execute(statement("remove_digested_days"), parameters)
