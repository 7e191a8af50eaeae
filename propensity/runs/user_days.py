"""
The features of a run, from user-day sums of the GA4 export where they are kept.

A day of the export is summed up once. A run sums up the days that are new or that
Analytics has written anew, which the state of a table shows without a query, and adds
up all days of the window from ``export_user_days``: the same rows as from the export,
for the bytes of ten days in the place of sixty.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from propensity import tables
from propensity.errors import AccessDenied, Conflict, MissingTable
from propensity.freshness import Shards
from propensity.privacy import suppression
from propensity.runs.export import check_consent
from propensity.statements import statement
from propensity.timeframe import DAY
from propensity.usecases import EXPORT_VIEW

if TYPE_CHECKING:
    import pyarrow as pa

    from propensity.runs.run import Run

# The use case's statement that reads the sums; one without it reads the export.
INCREMENTAL = "incremental_features"

# Field of the log and the answer: days of the export that were summed up.
_DAYS_READ = "export_days_read"

# Ids in one statement; BigQuery's limit for all parameters is 10 MB.
REMOVED_AT_ONCE = 10_000

# How often days are summed up before a run gives up.
TRIES = 3

# The state of a table that may have any rows: its day is summed up each time.
UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Summed:
    """
    The days of a window: what the export has now, and what was summed up.

    Attributes:
        states: The state of each day's table in the export, now; UNKNOWN may be any.
        kept: The state that each day's table had when the day was summed up.
    """

    states: Mapping[date, str]
    kept: Mapping[date, str]

    def changed(self, *, all_of_them: bool) -> list[tuple[date, date]]:
        """
        Return the days to sum up, as first and last of each row of consecutive days.

        Args:
            all_of_them: Whether unchanged days are to be summed up, too.
        """
        spans: list[tuple[date, date]] = []
        is_open = False
        for day in sorted({*self.states, *self.kept}):
            state = self.states.get(day, UNKNOWN)
            is_same = state != UNKNOWN and state == self.kept.get(day)
            if is_same and not all_of_them:
                is_open = False
                continue
            spans.append((spans.pop()[0] if is_open else day, day))
            is_open = True
        return spans


def features(run: Run) -> Iterator[pa.RecordBatch]:
    """
    Yield the features of every user as of the run's date, suppressed users left out.

    What a suppressed user has in the sums is removed once all rows are read.

    Raises:
        SettingsError, SchemaError, MissingTable: As ``check_consent``.
        Conflict, QueryTooExpensive, Unavailable: As named.
    """
    check_consent(run)
    listed = suppression.Followed(run.warehouse, clock=run.clock.monotonic)
    name, parameters = source(run)
    left_out: set[str] = set()
    for batch in run.warehouse.batches(run.use_case.statement(name), parameters):
        yield listed.now().without(batch, run.use_case.name, left_out=left_out)
    if name == INCREMENTAL:
        forget(run, left_out)


def forget(run: Run, user_ids: Collection[str]) -> None:
    """Remove suppressed users from the sums of the run's days."""
    every = sorted(user_ids)
    for start in range(0, len(every), REMOVED_AT_ONCE):
        run.warehouse.execute(
            statement("forget_user_days"),
            {
                "use_case": run.use_case.name,
                "first_shard": _shards(run)[0],
                "user_ids": every[start : start + REMOVED_AT_ONCE],
            },
        )


def answer(run: Run) -> dict[str, int]:
    """Return what the answer of a run says: how many days of the export it read."""
    return {_DAYS_READ: run.log_fields[_DAYS_READ]} if were_read(run) else {}


def were_read(run: Run) -> bool:
    """Tell whether the features of a run came from sums, and not from the export."""
    return _DAYS_READ in run.log_fields


def source(run: Run) -> tuple[str, Mapping[str, Any]]:
    """
    Return the name of the statement that gives the features, with its parameters.

    Where it is ``INCREMENTAL``, days that have changed are summed up first.
    """
    window = run.use_case.window(run.settings, [run.as_of])
    if not _are_kept(run):
        return "features", window
    first, last = _shards(run)
    window |= {
        "use_case": run.use_case.name,
        "first_shard": first,
        "last_shard": last,
    }
    try:
        _sum_up(run, window)
    except (MissingTable, AccessDenied) as error:
        # An older deployment, whose set-up has not run since.
        run.warn(f"user-day sums not used: {error}")
        return "features", window
    return INCREMENTAL, window


def _are_kept(run: Run) -> bool:
    """Tell whether sums of all days of the window are kept, and none has expired."""
    if not (
        run.settings.incremental_features and run.use_case.has_statement(INCREMENTAL)
    ):
        return False
    [table] = [
        table
        for table in tables.retained(run.settings.retention_days)
        if table.name == tables.EXPORT_USER_DAYS.name
    ]
    oldest = run.began_at.date() - timedelta(days=table.expiration_days)
    return not table.expiration_days or _shards(run)[0] > oldest


def _shards(run: Run) -> tuple[date, date]:
    """Return the first and the last day of the export with events of the window."""
    return run.as_of - timedelta(days=run.use_case.lookback_days) - DAY, run.as_of


def _sum_up(run: Run, window: Mapping[str, Any]) -> None:
    """Sum up the days that have changed; all of them if asked, and once a month."""
    definition = _definition(run)
    rows = _summed_days(run, window)
    # Once a month all days are summed up: a change that no state has shown ends there.
    month = run.began_at.date().replace(day=1)
    is_due = any(row["summed_at"].date() < month for row in rows)
    # The states are read before the rows, so that the next run sees a change between.
    summed = Summed(
        states=_states(run, window["first_shard"], window["last_shard"]),
        kept={
            row["shard"]: row["source"] if row["definition"] == definition else ""
            for row in rows
        }
        | dict.fromkeys(_twice(rows), ""),
    )
    spans = summed.changed(all_of_them=run.full or is_due)
    run.log_fields[_DAYS_READ] = 0
    for _ in range(TRIES):
        for span in spans:
            _sum_up_days(run, window, span, states=summed.states, definition=definition)
        # BigQuery does not keep apart two statements that only insert. The other one
        # is of a run of another date, or still runs although its run has failed.
        twice = _twice(_summed_days(run, window)) if spans else ()
        if not twice:
            return
        spans = Summed(
            states={day: summed.states.get(day, UNKNOWN) for day in twice}, kept={}
        ).changed(all_of_them=True)
    raise Conflict("another run sums up the same days of the export again and again")


def _summed_days(run: Run, window: Mapping[str, Any]) -> Sequence[Any]:
    """Return a row for each day that was summed up."""
    names = ("first_shard", "last_shard")
    return run.warehouse.rows(
        statement("summed_days"),
        {"prefix": _prefix(run), **{name: window[name] for name in names}},
    )


def _twice(rows: Sequence[Any]) -> list[date]:
    """Return the days that were summed up twice, so that each event counts twice."""
    counts = Counter(row["shard"] for row in rows)
    return [day for day, count in counts.items() if count > 1]


def _sum_up_days(
    run: Run,
    window: Mapping[str, Any],
    span: tuple[date, date],
    *,
    states: Mapping[date, str],
    definition: str,
) -> None:
    """Sum up the days of a span by one statement, in the place of what is there."""
    first, last = span
    about = [f"{day} {state}" for day, state in states.items() if first <= day <= last]
    run.warehouse.execute(
        run.use_case.statement("sum_user_days"),
        {
            **window,
            "first_shard": first,
            "last_shard": last,
            "first_suffix": f"{first:%Y%m%d}",
            "last_suffix": f"{last:%Y%m%d}",
            "states": about or [""],
            "definition": definition,
            "summed_at": run.began_at,
        },
    )
    run.log_fields[_DAYS_READ] += len(about)


def _states(run: Run, first: date, last: date) -> dict[date, str]:
    """Return the state of each day's table that the view reads, UNKNOWN for none."""
    export = run.settings.export
    shards = Shards.of(run.warehouse.table_names(export))
    return {
        day: run.warehouse.table_state(
            export,
            f"events_{'' if day in shards.daily else 'intraday_'}{day:%Y%m%d}",
        )
        or UNKNOWN
        for day in sorted(shards.days)
        if first <= day <= last
    }


def _definition(run: Run) -> str:
    """Return a hash of all that sums depend on but events: consent, SQL, settings."""
    parts = (
        run.settings.export,
        run.warehouse.view_text(EXPORT_VIEW),
        run.use_case.statement("sum_user_days"),
        repr(sorted(run.use_case.chosen(run.settings).items())),
    )
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    return f"{_prefix(run)}{digest}"


def _prefix(run: Run) -> str:
    return f"{run.use_case.name}:"
