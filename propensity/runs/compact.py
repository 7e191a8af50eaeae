"""
The daily compaction of the stream: tiles, users, exports of closed days, the watermark.

A run goes in steps, and what is done is kept after each: the first step that a run has
no time for, or that it dies in, is the next run's first. Nothing depends on where that
is, since a step that is done twice changes nothing the second time. The view of the
features is exact before, between and after.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from propensity import tables
from propensity.errors import PropensityError, Unfinished
from propensity.registry.leases import Lease
from propensity.registry.versions import Registry
from propensity.runs.watermark import (
    EPOCH,
    Step,
    Watermark,
    read_watermark,
    write_watermark,
)
from propensity.statements import statement

if TYPE_CHECKING:
    from propensity.edges.artifacts import Artifacts
    from propensity.edges.warehouse import Warehouse
    from propensity.runs.run import Run
    from propensity.settings import Settings

VIEW = "stream_features"
SCOPE = "stream"
FOREVER = datetime(9999, 12, 31, tzinfo=UTC)
DAY = timedelta(days=1)

# A row's time is taken before it is appended. What is still on its way when a run
# begins is younger than this: no request to the function takes as long.
IN_FLIGHT = timedelta(minutes=15)

# Cloud Scheduler gives an attempt no more. A run begins no step that might last beyond:
# at PROPENSITY_QUERY_TIMEOUT_S of 600 s it begins none after 20 minutes.
ATTEMPT_S = 1_800.0

# What one statement takes on: a week of arrivals, half a year of tiles, a week of days
# to be exported. At 20 million events a day a week of arrivals is 24 GB of the columns
# that are counted, a month of tiles 22 GB, and a day to be exported some 30 s.
DAYS_AT_ONCE = 7
MONTHS_AT_ONCE = 6

# Of each exported table: the statement that lists the days that it has got rows of, and
# the one that chooses the rows of some days.
EXPORTED = {
    "stream_events": ("stream_events_days", "export_stream_events"),
    "inference_log": ("inference_log_days", "export_inference_log"),
}

# What stands in a statement where a run puts what no parameter can be.
TARGET = "gs://bucket/folder/"
SOME_DAY = "DATE '1970-01-01'"


def view_of(warehouse: Warehouse, watermark: datetime) -> str:
    """
    Return the text of the view that reads events from a watermark on.

    What came since is of no earlier month than the watermark's, less the days that an
    event may be late, so that BigQuery reads the tiles of two months or so.
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
    """
    Create the view of the features, or give it the text of this version.

    Where an earlier version has compacted, what the view reads of users is made first.
    """
    watermark = read_watermark(artifacts)
    if watermark.moment > EPOCH and watermark.users_since is None:
        rebuilt = _rebuilt(warehouse, watermark, at=watermark.moment)
        write_watermark(artifacts, rebuilt)
    warehouse.replace_view(VIEW, view_of(warehouse, watermark.moment))


def _rebuilt(warehouse: Warehouse, watermark: Watermark, *, at: datetime) -> Watermark:
    """Make ``stream_users`` anew, and return a watermark that says so."""
    first = first_kept_month(warehouse.settings, at.date())
    warehouse.execute(statement("rebuild_users"), {"first_month": first, "now": at})
    return replace(watermark, users_since=first)


def compact(run: Run) -> dict[str, Any]:
    """
    Bring tiles, users and exports up to date, and move the watermark.

    Forced, a run looks at all events from the first one on: it makes the users anew,
    counts what a tile has missed, and exports every closed day again.

    Raises:
        Unfinished: There was more to do than one run has time for; the next goes on.
        RunInProgress: Another run is under way, whatever its as-of date.
        Conflict: Another run has taken this one's place; nothing is lost.
    """
    with alone(
        run.registry,
        run_id=run.run_id,
        began_at=run.began_at,
        minutes=run.settings.lease_minutes,
        clock=run.now,
    ) as lease:
        return _Work(run, lease).done()


@contextlib.contextmanager
def alone(
    registry: Registry,
    *,
    run_id: str,
    began_at: datetime,
    minutes: int,
    clock: Callable[[], datetime],
) -> Iterator[Lease]:
    """
    Hold the lease that all compactions share.

    A run's own is that of its as-of date. Of two statements that each insert the tile
    of a new day BigQuery would take both, since an insert conflicts with nothing.

    Args:
        registry: Of the scope SCOPE.
        run_id: The run's own.
        began_at: When it began.
        minutes: For how long a run that died keeps others out.
        clock: Says what time it is, in UTC.
    """
    lease = registry.begin(
        "compact",
        EPOCH.date(),
        run_id=run_id,
        now=began_at,
        duration=timedelta(minutes=minutes),
        again=True,
    )
    assert isinstance(lease, Lease)  # asked for again, so that it is not done
    try:
        with registry.kept(lease, clock=clock):
            yield lease
    finally:
        # What happened in the block is the news, not this; the lease ends by itself.
        with contextlib.suppress(PropensityError):
            registry.finish(lease, {}, at=clock())


class _Work:
    """One run: how far the compaction is, and what the run has done to it."""

    def __init__(self, run: Run, lease: Lease) -> None:
        self.run = run
        self.lease = lease
        self.artifacts = run.registry.artifacts
        self.watermark = read_watermark(self.artifacts)
        self.days: set[date] = set()
        self.tiles = 0
        self.exported = dict.fromkeys(EXPORTED, 0)
        self._ends_at = run.clock.monotonic() + ATTEMPT_S - run.settings.query_timeout_s
        self._taken = 0
        self._has_looked = False

    def done(self) -> dict[str, Any]:
        """Do all that there is to do, and return what that was."""
        try:
            self._begin()
            self._count_all()
            self._export_all()
        finally:
            self.run.log_fields.update(rows_out=self.tiles)
        return {
            "days": sorted(self.days),
            "tiles": self.tiles,
            "exported_days": self.exported,
            "watermark": self.watermark.moment.isoformat(),
        }

    def _begin(self) -> None:
        """See to it that users are those of the tiles, where they may not be."""
        run = self.run
        begins_forced = run.force and not self.watermark.is_forced
        if begins_forced:
            # What an earlier run has left is among what this one does.
            self.watermark = replace(self.watermark, steps=(), is_forced=True)
        first = first_kept_month(run.settings, run.began_at.date())
        if begins_forced or self.watermark.users_since != first:
            self._take()
            self.watermark = _rebuilt(run.warehouse, self.watermark, at=run.began_at)
            if not self.watermark.steps:
                self._look(EPOCH if begins_forced else self.watermark.moment)
            self._keep()

    # Counting

    def _count_all(self) -> None:
        if self.watermark.steps and not self._has_looked:
            # A run before this one was cut off.
            self._count()
        if not self._has_looked:
            self._look(self.watermark.moment)
        self._count()

    def _look(self, since: datetime) -> None:
        """Find out what is to be counted and exported of what came since a moment."""
        self._has_looked = True
        settings = self.run.settings
        parameters = {"since": since, "since_day": since.date()}
        found = self.run.warehouse.rows(statement("stream_events_days"), parameters)
        scored = self.run.warehouse.rows(
            statement("inference_log_days"),
            {**parameters, "lateness_days": settings.maximum_lateness_days},
        )
        touched = {
            "stream_events": {row["day"] for row in found if not row["is_late"]},
            "inference_log": {row["day"] for row in scored},
        }
        self.days.update(row["day"] for row in found)
        self.watermark = replace(
            self.watermark,
            steps=steps_of(
                [(row["received_on"], row["day"]) for row in found],
                since=since,
                first_month=first_kept_month(settings, self.run.began_at.date()),
            ),
            target=max(self.watermark.moment, self.run.began_at - IN_FLIGHT),
            open_days={
                table: sorted({*self.watermark.open_days.get(table, ()), *days})
                for table, days in touched.items()
            },
        )

    def _count(self) -> None:
        """Take the steps that there are, and move the watermark behind them."""
        while self.watermark.steps:
            step, *left = self.watermark.steps
            self._take()
            [row] = self.run.warehouse.rows(
                statement("compact_days"),
                {
                    "since": step.since,
                    "since_day": step.since.date(),
                    "until": step.until,
                    "until_day": (step.until - timedelta(microseconds=1)).date(),
                    "months": list(step.months),
                    "now": self.run.began_at,
                },
            )
            self.tiles += row["tiles"]
            self.watermark = replace(self.watermark, steps=left)
            if left:
                self._move(min(left[0].since, self.watermark.target))
        self._move(self.watermark.target, is_last=True)

    def _move(self, moment: datetime, *, is_last: bool = False) -> None:
        """Move the watermark, the view with it, and keep what is done."""
        if is_last or moment > self.watermark.moment:
            moment = max(self.watermark.moment, moment)
            self.watermark = replace(self.watermark, moment=moment)
            self.run.registry.check(self.lease)
            text = view_of(self.run.warehouse, moment)
            self.run.warehouse.replace_view(VIEW, text)
        self._keep()

    # Exporting

    def _export_all(self) -> None:
        for table in EXPORTED:
            while days := self._closed(table)[:DAYS_AT_ONCE]:
                some = [day for day in days if day - days[0] < DAYS_AT_ONCE * DAY]
                self._take()
                export(self.run, self.lease, table, some)
                self.exported[table] += len(some)
                self._drop(table, some)
        if self.watermark.is_forced:
            self.watermark = replace(self.watermark, is_forced=False)
            self._keep()

    def _closed(self, table: str) -> list[date]:
        open_days = self.watermark.open_days.get(table, ())
        return sorted(day for day in open_days if day < self.run.as_of)

    def _drop(self, table: str, days: Collection[date]) -> None:
        """Keep that days are exported."""
        open_days = dict(self.watermark.open_days)
        open_days[table] = [day for day in open_days[table] if day not in days]
        self.watermark = replace(self.watermark, open_days=open_days)
        self._keep()

    # Steps

    def _take(self) -> None:
        """
        Begin a step, if there is time for it.

        The first always is: however little time there is, every run gets further.

        Raises:
            Unfinished: There is none.
        """
        if self._taken and self.run.clock.monotonic() >= self._ends_at:
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
        self._taken += 1

    def _keep(self) -> None:
        self.run.registry.check(self.lease)
        self.watermark = write_watermark(self.artifacts, self.watermark)


def steps_of(
    touched: Sequence[tuple[date, date]], *, since: datetime, first_month: date
) -> list[Step]:
    """
    Return what is to be counted, in steps of a bounded size.

    Args:
        touched: Day of arrival and day of events, of everything that came.
        since: The moment since which it did.
        first_month: The first month whose tiles are kept.
    """
    weeks: list[tuple[date, set[date]]] = []
    for arrived, day in sorted(touched):
        if not weeks or arrived - weeks[-1][0] >= DAYS_AT_ONCE * DAY:
            weeks.append((arrived, set()))
        if _month(day) >= first_month:
            weeks[-1][1].add(_month(day))
    # A week lasts until the next begins: what is on its way may be of a day in between.
    begins = [_midnight(arrived) for arrived, _ in weeks]
    begins[:1] = [since][: len(weeks)]
    ends = [*begins[1:], FOREVER]
    return [
        Step(begin, end, sorted(months)[place : place + MONTHS_AT_ONCE])
        for begin, end, (_, months) in zip(begins, ends, weeks, strict=False)
        for place in range(0, len(months), MONTHS_AT_ONCE)
    ]


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def export(run: Run, lease: Lease, table: str, days: Sequence[date]) -> None:
    """
    Write days of a table to the bucket as Parquet, each as a whole.

    One job reads the rows once and writes them day by day: BigQuery does not export to
    a folder for each value of a column. A day's files are written under the run's own
    name, then those of earlier runs go: a reader finds a day complete at any time, for
    a moment perhaps twice.

    Args:
        run: Which.
        lease: The compaction's.
        table: A table of EXPORTED.
        days: Of events, sorted; all within a week.
    """
    run.registry.check(lease)
    bucket, artifacts = run.settings.required("bucket"), run.registry.artifacts
    lateness = run.settings.maximum_lateness_days
    folders = {day: f"exports/{table}/date={day}/" for day in days}
    before = [name for folder in folders.values() for name in artifacts.names(folder)]
    exports = (
        # Bucket, date and run are of letters, digits and dashes.
        statement("export_day")
        .replace(TARGET, f"gs://{bucket}/{folder}run={run.run_id}/")
        .replace(SOME_DAY, f"DATE '{day}'")
        for day, folder in folders.items()
    )
    run.warehouse.execute(
        statement(EXPORTED[table][1]) + "".join(exports),
        {
            "days": list(days),
            # By a clock that is wrong, up to a day before it happened.
            "earliest": days[0] - DAY,
            "latest": days[-1] + lateness * DAY,
            "lateness_days": lateness,
        },
    )
    for name in before:
        artifacts.delete(name)
