"""
The nightly compaction of the stream: sums of users' days, Parquet files of closed days.

A run computes the days anew that got events since the last run, each from all of its
events, and writes in the same transaction up to when events are counted. So it may die
at any point and be called as often as one likes; the view of the features adds what
arrived since, and is exact at any moment.

Daily, it also logs the ages of live versions and of the newest runs, for the alerts: a
run that is paused, or never called, logs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from msgspec import Struct

from propensity import usecases
from propensity.errors import AudienceStopped
from propensity.gcp.artifacts import content_of
from propensity.registry.leases import read_lease
from propensity.registry.versions import Registry
from propensity.runs.late import AGES
from propensity.statements import statement
from propensity.tables import every as tables
from propensity.tables.stream import STREAM_EVENTS
from propensity.timeframe import DAY

if TYPE_CHECKING:
    from propensity.gcp.artifacts import Artifacts
    from propensity.runs.run import Run

# All compactions share this lease, and forgetting a user takes it as well.
SCOPE = "stream"
KIND = "compact"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# A row gets its time before it is appended. Rows still on their way when a run begins
# are younger than this: no request to the function takes as long.
IN_FLIGHT = timedelta(minutes=15)

# Days that one statement exports: at 20 million events a day each takes some 30 s.
DAYS_AT_ONCE = 7

# Two statements list the days of an exported table, and select their rows.
EXPORTED = {
    "stream_events": ("stream_events_days", "export_stream_events"),
    "inference_log": ("inference_log_days", "export_inference_log"),
}


def compact(run: Run) -> dict[str, object]:
    """
    Bring sums and exports up to date.

    A forced run counts all events again, and exports every closed day again.
    """
    retention = tables.retention(run.settings.retention_days)
    touched = set[date]()
    exported = dict[str, int]()
    since = EPOCH
    closed_before = EPOCH.date()
    last = run.warehouse.rows(statement("last_compaction"))
    if last and not run.overrides.compacts_again:
        since = last[0]["counted_until"]
        closed_before = last[0]["closed_before"]
    for table, (days_of, _) in EXPORTED.items():
        rows = run.warehouse.rows(
            statement(days_of),
            {
                # A wrong clock may give an event up to a day before it happened.
                "since_day": min(since.date(), closed_before) - DAY,
                "lateness_days": run.settings.maximum_lateness_days,
            },
        )
        closed = list[date]()
        for row in rows:
            day = row["day"]
            is_touched = row["newest"] >= since
            if is_touched and table == STREAM_EVENTS.name:
                touched.add(day)
            is_closed = day < run.as_of and not row["is_late"]
            if is_closed and (is_touched or day >= closed_before):
                closed.append(day)
        exported[table] = len(closed)
        while closed:
            week = [day for day in closed if day - closed[0] < DAYS_AT_ONCE * DAY]
            run.check_lease()
            export(run, table, week)
            closed = closed[len(week) :]
    counted_until = max(since, run.began_at - IN_FLIGHT)
    days = sorted(touched)
    kept_days = retention.get(STREAM_EVENTS.name, 0)
    tiles = _count(run, days, counted_until=counted_until, kept_days=kept_days)
    return {
        "days": days,
        "tiles": tiles,
        "exported_days": exported,
        "watermark": counted_until.isoformat(),
    }


def _count(
    run: Run, days: Sequence[date], *, counted_until: datetime, kept_days: int
) -> int:
    """
    Compute the sums of days anew; return how many there are.

    Args:
        kept_days: Days that events are kept, 0 for ever.
    """
    # The sums of a day whose events have expired can not be computed anew: what comes
    # of it so late is in no feature.
    first = run.as_of - kept_days * DAY + 2 * DAY if kept_days else EPOCH.date()
    counted = [day for day in days if day >= first]
    run.check_lease()
    [row] = run.warehouse.rows(
        statement("compact_days"),
        {
            "days": counted,
            "months": sorted({day.replace(day=1) for day in counted}),
            "earliest": counted[0] - DAY if counted else run.as_of,
            "counted_until": counted_until,
            "closed_before": run.as_of,
            "now": run.began_at,
        },
    )
    return int(row["tiles"])


def export(run: Run, table: str, days: Sequence[date]) -> None:
    """
    Write days of a table to the bucket as Parquet, each as a whole.

    One job reads the rows once and writes them day by day. The run writes a day's files
    under its own name, then deletes those of earlier runs: a reader finds a day
    complete at any time, and perhaps twice for a moment.
    """
    bucket = run.settings.required("bucket")
    artifacts = run.artifacts
    lateness = run.settings.maximum_lateness_days
    before: list[str] = []
    exports = [statement(EXPORTED[table][1])]
    for day in days:
        folder = f"exports/{table}/date={day}/"
        before += artifacts.names(folder)
        # Bucket, date and run have letters, digits and dashes only.
        target = f"gs://{bucket}/{folder}run={run.run_id}/"
        exports.append(statement("export_day", target=target, day=f"DATE '{day}'"))
    run.warehouse.execute(
        ";\n".join(exports),
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


# -- ages -----------------------------------------------------------------------------


def log_ages(run: Run) -> None:
    """Log a line for each use case that has a champion or a run; it bills nothing."""
    for name in usecases.names():
        ages = ages_of(run.artifacts, name, today=run.as_of)
        if ages:
            run.log("INFO", f"ages of {name}", use_case=name, **ages)


class _Card(Struct):
    """What the compaction reads of ``card.json``."""

    as_of: date


def ages_of(artifacts: Artifacts, use_case: str, *, today: date) -> dict[str, int]:
    """
    Return ages in days by the names of their log fields.

    They count from the as-of dates of the newest runs that succeeded, or stopped for a
    person, and of the training that made the champion. A run that never happened has no
    age.
    """
    ages = {}
    champion = Registry(artifacts, use_case).champion()
    if champion is not None:
        name = f"models/{use_case}/{champion.version}/card.json"
        card = content_of(artifacts.read(name), _Card, name=name)
        ages["champion_age_days"] = (today - card.as_of).days
    for kind, field in AGES.items():
        names = artifacts.names(f"runs/{use_case}/{kind}/")
        for name in sorted(names, reverse=True):
            _, file = read_lease(artifacts, name)
            # Of a run that stops for a person an alert has told already.
            if file.state == "done" or file.error == AudienceStopped.__name__:
                day = name.rpartition("/")[2].removesuffix(".json")
                ages[field] = (today - date.fromisoformat(day)).days
                break
    return ages
