"""
The daily compaction of the stream: tiles, users, exports of closed days, the watermark.

A run goes in steps and keeps its progress after each. Where it dies or runs out of
time, the next run goes on; a step that runs twice changes nothing the second time. The
view of the features is exact at any moment.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from propensity import tables
from propensity.errors import PropensityError, Unfinished
from propensity.registry.leases import LEASE_MINUTES, Lease
from propensity.registry.versions import Registry
from propensity.runs.watermark import (
    EPOCH,
    Step,
    read_watermark,
    write_watermark,
)
from propensity.statements import statement
from propensity.timeframe import midnight

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from propensity.edges.artifacts import Artifacts
    from propensity.edges.warehouse import Warehouse
    from propensity.runs.run import Run
    from propensity.settings import Settings

VIEW = "stream_features"
SCOPE = "stream"
FOREVER = datetime(9999, 12, 31, tzinfo=UTC)
DAY = timedelta(days=1)

# A row gets its time before it is appended. Rows still on their way when a run begins
# are younger than this: no request to the function takes as long.
IN_FLIGHT = timedelta(minutes=15)

# Cloud Scheduler gives an attempt no more. A run begins no step that might take longer:
# with a query's ten minutes it begins none after 20 minutes.
ATTEMPT_S = 1_800.0

# The most that one statement covers: a week of arrivals, half a year of tiles, a week
# of exports. At 20 million events a day a week of arrivals is 24 GB in the counted
# columns, a month of tiles 22 GB, and the export of a day takes some 30 s.
DAYS_AT_ONCE = 7
MONTHS_AT_ONCE = 6

# By exported table: the statement that lists the days with new rows, and the statement
# that selects the rows of some days.
EXPORTED = {
    "stream_events": ("stream_events_days", "export_stream_events"),
    "inference_log": ("inference_log_days", "export_inference_log"),
}

# Placeholders in statements, for values that cannot be parameters.
TARGET = "gs://bucket/folder/"
SOME_DAY = "DATE '1970-01-01'"


def view_of(warehouse: Warehouse, watermark: datetime) -> str:
    """
    Return the text of the view that reads events from a watermark on.

    Events since the watermark are of its month or later, less the days that an event
    may be late. So BigQuery reads the tiles of about two months.
    """
    settings = warehouse.settings
    day, moment = f"{watermark:%Y-%m-%d}", f"{watermark:%Y-%m-%d %H:%M:%S.%f}+00:00"
    lateness = timedelta(days=settings.maximum_lateness_days)
    earliest = max(EPOCH + lateness, watermark) - lateness
    month = max(_month(earliest.date()), first_kept_month(settings, watermark.date()))
    place = f"{settings.project}.{settings.dataset}"
    return (
        statement(VIEW)
        # A view has no default dataset to find its tables in.
        .replace("`stream_", f"`{place}.stream_")
        .replace(f"received_on >= {SOME_DAY}", f"received_on >= DATE '{day}'")
        .replace(f"event_date >= {SOME_DAY}", f"event_date >= DATE '{month}'")
        .replace(f"month >= {SOME_DAY}", f"month >= DATE '{month}'")
        .replace("TIMESTAMP '1970-01-01 00:00:00+00:00'", f"TIMESTAMP '{moment}'")
    )


def _month(day: date) -> date:
    return day.replace(day=1)


def first_kept_month(settings: Settings, today: date) -> date:
    """Return the first month whose tiles are kept, 1970 where all are."""
    days = tables.retention(settings.retention_days).get(
        tables.STREAM_FEATURES_DAILY.name, 0
    )
    if not days or today - EPOCH.date() <= days * DAY:
        return EPOCH.date()
    last_expired = today - days * DAY
    return _month(_month(last_expired) + 31 * DAY)


def prepare_view(warehouse: Warehouse, artifacts: Artifacts) -> None:
    """Create the view of the features, or replace its text with this version's."""
    warehouse.replace_view(VIEW, view_of(warehouse, read_watermark(artifacts).moment))


def compact(run: Run) -> dict[str, Any]:
    """
    Bring tiles, users and exports up to date, and move the watermark.

    A forced run looks at all events from the first on: it rebuilds the users, counts
    events that tiles lack, and exports every closed day again.

    Raises:
        Unfinished: The run had no time for everything; the next goes on.
        RunInProgress: Another run is under way, whatever its as-of date.
        Conflict: Another run has taken this one's place; nothing is lost.
    """
    with alone(
        run.registry,
        run_id=run.run_id,
        began_at=run.began_at,
        minutes=LEASE_MINUTES,
        clock=run.now,
        threads=run.threads,
    ) as lease:
        return _Compaction(run, lease).run_steps()


@contextlib.contextmanager
def alone(
    registry: Registry,
    *,
    run_id: str,
    began_at: datetime,
    minutes: int,
    clock: Callable[[], datetime],
    threads: Executor,
) -> Iterator[Lease]:
    """
    Hold the lease that all compactions share.

    A run also has the lease of its as-of date, which two dates do not share. BigQuery
    would accept two statements that both insert the tile of a new day, since inserts
    do not conflict.

    Args:
        registry: Of the scope SCOPE.
        run_id: The run's own.
        began_at: When it began.
        minutes: How long a run that died keeps others out.
        clock: Returns the time in UTC.
        threads: For the renewals of the lease.
    """
    lease = registry.begin(
        "compact",
        EPOCH.date(),
        run_id=run_id,
        now=began_at,
        duration=timedelta(minutes=minutes),
        again=True,
    )
    assert isinstance(lease, Lease)  # ``again``: never Finished
    try:
        with registry.kept(lease, clock=clock, threads=threads):
            yield lease
    finally:
        # An error of the block matters more than this one; the lease expires anyway.
        with contextlib.suppress(PropensityError):
            registry.finish(lease, {}, at=clock())


class _Compaction:
    """A run of the compaction: its progress and its counts."""

    def __init__(self, run: Run, lease: Lease) -> None:
        self._run = run
        self._lease = lease
        self.artifacts = run.registry.artifacts
        self.watermark = read_watermark(self.artifacts)
        self.days: set[date] = set()
        self.tiles = 0
        self.exported = dict.fromkeys(EXPORTED, 0)
        self._ends_at = run.clock.monotonic() + ATTEMPT_S - run.settings.query_timeout_s
        self._steps_begun = 0
        self._has_looked = False

    def run_steps(self) -> dict[str, Any]:
        """Do all steps, and return the answer of the run."""
        try:
            self._begin()
            self._count_all()
            self._export_all()
        finally:
            self._run.log_fields.update(rows_out=self.tiles)
        return {
            "days": sorted(self.days),
            "tiles": self.tiles,
            "exported_days": self.exported,
            "watermark": self.watermark.moment.isoformat(),
        }

    def _begin(self) -> None:
        """Rebuild the users if they may differ from the tiles."""
        run = self._run
        begins_forced = run.force and not self.watermark.is_forced
        if begins_forced:
            # This run covers the steps that an earlier run has left.
            self.watermark = replace(self.watermark, steps=(), is_forced=True)
        first = first_kept_month(run.settings, run.began_at.date())
        if begins_forced or self.watermark.users_since != first:
            self._begin_step()
            run.warehouse.execute(
                statement("rebuild_users"), {"first_month": first, "now": run.began_at}
            )
            self.watermark = replace(self.watermark, users_since=first)
            if not self.watermark.steps:
                self._look(EPOCH if begins_forced else self.watermark.moment)
            self._store()

    # Counting

    def _count_all(self) -> None:
        if self.watermark.steps and not self._has_looked:
            # An earlier run was interrupted.
            self._count()
        if not self._has_looked:
            self._look(self.watermark.moment)
        self._count()

    def _look(self, since: datetime) -> None:
        """Plan the counting and the exports of the events since a moment."""
        self._has_looked = True
        settings = self._run.settings
        parameters = {"since": since, "since_day": since.date()}
        arrivals = self._run.warehouse.rows(statement("stream_events_days"), parameters)
        scores = self._run.warehouse.rows(
            statement("inference_log_days"),
            {**parameters, "lateness_days": settings.maximum_lateness_days},
        )
        touched = {
            "stream_events": {row["day"] for row in arrivals if not row["is_late"]},
            "inference_log": {row["day"] for row in scores},
        }
        self.days.update(row["day"] for row in arrivals)
        self.watermark = replace(
            self.watermark,
            steps=steps_of(
                [(row["received_on"], row["day"]) for row in arrivals],
                since=since,
                first_month=first_kept_month(settings, self._run.began_at.date()),
            ),
            target=max(self.watermark.moment, self._run.began_at - IN_FLIGHT),
            open_days={
                table: sorted({*self.watermark.open_days.get(table, ()), *days})
                for table, days in touched.items()
            },
        )

    def _count(self) -> None:
        """Do the planned steps, and move the watermark behind them."""
        while self.watermark.steps:
            step, *left = self.watermark.steps
            self._begin_step()
            [row] = self._run.warehouse.rows(
                statement("compact_days"),
                {
                    "since": step.since,
                    "since_day": step.since.date(),
                    "until": step.until,
                    "until_day": (step.until - timedelta(microseconds=1)).date(),
                    "months": list(step.months),
                    "now": self._run.began_at,
                },
            )
            self.tiles += row["tiles"]
            self.watermark = replace(self.watermark, steps=left)
            if left:
                self._move(min(left[0].since, self.watermark.target))
        self._move(self.watermark.target, is_last=True)

    def _move(self, moment: datetime, *, is_last: bool = False) -> None:
        """Move the watermark and the view, and store the progress."""
        if is_last or moment > self.watermark.moment:
            moment = max(self.watermark.moment, moment)
            self.watermark = replace(self.watermark, moment=moment)
            self._run.registry.check(self._lease)
            text = view_of(self._run.warehouse, moment)
            self._run.warehouse.replace_view(VIEW, text)
        self._store()

    # Exporting

    def _export_all(self) -> None:
        for table in EXPORTED:
            while days := self._closed(table)[:DAYS_AT_ONCE]:
                some = [day for day in days if day - days[0] < DAYS_AT_ONCE * DAY]
                self._begin_step()
                export(self._run, table, some)
                self.exported[table] += len(some)
                self._drop(table, some)
        if self.watermark.is_forced:
            self.watermark = replace(self.watermark, is_forced=False)
            self._store()

    def _closed(self, table: str) -> list[date]:
        open_days = self.watermark.open_days.get(table, ())
        return sorted(day for day in open_days if day < self._run.as_of)

    def _drop(self, table: str, days: Collection[date]) -> None:
        """Store that days are exported."""
        open_days = dict(self.watermark.open_days)
        open_days[table] = [day for day in open_days[table] if day not in days]
        self.watermark = replace(self.watermark, open_days=open_days)
        self._store()

    # Steps

    def _begin_step(self) -> None:
        """
        Count a step, if there is time for it and the lease is still this run's.

        There is always time for the first, so that every run makes progress.

        Raises:
            Unfinished: There is no time left.
            Conflict: Another run has taken this one's place.
        """
        if self._steps_begun and self._run.clock.monotonic() >= self._ends_at:
            left = {table: len(self._closed(table)) for table in EXPORTED}
            raise Unfinished(
                f"stopped in time, with {len(self.watermark.steps)} steps of counting "
                f"and {sum(left.values())} days to export left: what is done is kept, "
                "and the next run, or the retry of this one, goes on",
                detail={
                    "tiles": self.tiles,
                    "exported_days": self.exported,
                    "watermark": self.watermark.moment.isoformat(),
                    "steps_left": len(self.watermark.steps),
                    "days_left": left,
                },
            )
        self._run.registry.check(self._lease)
        self._steps_begun += 1

    def _store(self) -> None:
        self._run.registry.check(self._lease)
        self.watermark = write_watermark(self.artifacts, self.watermark)


def steps_of(
    touched: Sequence[tuple[date, date]], *, since: datetime, first_month: date
) -> list[Step]:
    """
    Plan the counting, in steps of bounded size.

    Args:
        touched: Pairs of day of arrival and day of event, of all new events.
        since: The moment since which they came.
        first_month: The first month whose tiles are kept.
    """
    weeks: list[tuple[date, set[date]]] = []
    for arrived, day in sorted(touched):
        if not weeks or arrived - weeks[-1][0] >= DAYS_AT_ONCE * DAY:
            weeks.append((arrived, set()))
        if _month(day) >= first_month:
            weeks[-1][1].add(_month(day))
    # A week lasts until the next begins: events on their way may be of a day between.
    begins = [midnight(arrived) for arrived, _ in weeks]
    begins[:1] = [since][: len(weeks)]
    ends = [*begins[1:], FOREVER]
    return [
        Step(begin, end, sorted(months)[place : place + MONTHS_AT_ONCE])
        for begin, end, (_, months) in zip(begins, ends, weeks, strict=False)
        for place in range(0, len(months), MONTHS_AT_ONCE)
    ]


def export(run: Run, table: str, days: Sequence[date]) -> None:
    """
    Write days of a table to the bucket as Parquet, each as a whole.

    One job reads the rows once and writes them day by day: BigQuery cannot export to a
    folder for each value of a column. The run writes a day's files under its own name,
    then deletes those of earlier runs. So a reader finds a day complete at any time,
    and perhaps twice for a moment.

    Args:
        table: A table of EXPORTED.
        days: Of events, sorted; all within a week.
    """
    bucket, artifacts = run.settings.required("bucket"), run.registry.artifacts
    lateness = run.settings.maximum_lateness_days
    folders = {day: f"exports/{table}/date={day}/" for day in days}
    before = [name for folder in folders.values() for name in artifacts.names(folder)]
    exports = (
        # Bucket, date and run have letters, digits and dashes only.
        statement("export_day")
        .replace(TARGET, f"gs://{bucket}/{folder}run={run.run_id}/")
        .replace(SOME_DAY, f"DATE '{day}'")
        for day, folder in folders.items()
    )
    run.warehouse.execute(
        statement(EXPORTED[table][1]) + "".join(exports),
        {
            "days": list(days),
            # A wrong clock may give an event up to a day before it happened.
            "earliest": days[0] - DAY,
            "latest": days[-1] + lateness * DAY,
            "lateness_days": lateness,
        },
    )
    for name in before:
        artifacts.delete(name)
