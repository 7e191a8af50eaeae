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

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import date, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from propensity import suppression, usecases
from propensity.errors import DigestNotAgreed, DigestUnfinished
from propensity.pages.words import plural
from propensity.registry.leases import Lease, leased
from propensity.runs.digest_state import (
    ORDERS_OF,
    ExportTable,
    Rules,
    State,
    price_of_days,
    read_digested_days,
    reader_names,
    state_of,
)
from propensity.settings import GIB, Settings
from propensity.statements import statement

if TYPE_CHECKING:
    from propensity.gcp.artifacts import Artifacts
    from propensity.gcp.warehouse import Warehouse
    from propensity.runs.run import Run
    from propensity.suppression import Suppressed

# Of the lease, which all use cases of an export share; its suffix follows.
SCOPE = "ga4_export"
KIND = "digest"
# What one statement reads at most, besides half of what it may bill.
DAYS_AT_ONCE = 31
# Ids of one statement, as of ``propensity forget``.
IDS_AT_ONCE = 1_000
# A function has an hour, and the statement that has begun has to end in it.
RUN_AT_MOST = timedelta(minutes=50)
# Of a day that has to be read again, as the statement that digested it.
NOT_WHOLE = ""


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
    names = reader_names(warehouse.settings)
    user_ids = list[str]()
    for batch in warehouse.batches(statement("digested_ids"), span):
        for user_id in batch["user_id"].to_pylist():
            if all(suppressed.covers(user_id, name) for name in names):
                user_ids.append(user_id)
    return user_ids


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
