"""Scheduled runs: whether each came when it was due, and what it published."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import cache, partial
from importlib import resources
from typing import Any

from deploy import functions
from offline.doctor.examination import Examination, has_stream
from offline.doctor.leases import CODES, LEASES, Lease, last_due, newest_leases
from offline.doctor.report import WARNING
from propensity import tables
from propensity.errors import ExportLate, PropensityError
from propensity.registry.index import find_pointer
from propensity.runs import compact
from propensity.statements import statement
from propensity.usecases import UseCase

SQL = resources.files(__package__)

# A scheduled run may take this long with all its attempts, and be in another time zone.
RUN_LATE = timedelta(hours=6)

# Leases of what the schedule calls, by target.
KINDS = {
    "model_training": "train",
    "predictions": "predict",
    "model_evaluation": "evaluate",
    "compact_features": "compact",
}

# For each kind that publishes: column of newest_runs.sql, table, and the function.
PUBLISHED = {
    "predict": ("predicted", tables.PUBLICATIONS, "01-Predictions"),
    "evaluate": ("evaluated", tables.EVALUATION, "03-ModelEvaluation"),
}

# How long before its run an evaluated week may begin.
EVALUATED = timedelta(days=120)

Row = Mapping[str, Any]
Leases = Mapping[tuple[str, str], Sequence[Lease]]
# Returns the row of newest_runs.sql of a use case.
Newest = Callable[[str], Row]


def check_runs(exam: Examination) -> None:
    """Whether the scheduled runs ran, ended well, and published."""
    leases = newest_leases(exam)

    @cache
    def newest(use_case: str) -> Row:
        return _newest(exam, leases, use_case)

    for function in functions.load():
        schedule, kind = function.schedule, KINDS.get(function.target)
        if schedule is None or kind is None:
            continue
        if schedule.per_use_case:
            for use_case in exam.use_cases:
                if not (schedule.skips and getattr(use_case, schedule.skips)):
                    runs = leases.get((use_case.name, kind), [])
                    who = f"{function.target} of {use_case.name}"
                    # A use case with a shipped model need not be trained.
                    if runs or exam.is_scheduled(use_case):
                        published = partial(_published, exam, newest, use_case, kind)
                        call = exam.call_of(function.target, use_case)
                        _check_kind(
                            exam, who, schedule.cron, runs, published, call=call
                        )
        elif ("stream", kind) in leases or has_stream(exam):
            runs = leases.get(("stream", kind), [])
            cron, counted = schedule.cron, partial(_compacted, exam)
            call = exam.call(function.target)
            _check_kind(exam, function.target, cron, runs, counted, call=call)
    for use_case in exam.use_cases:
        _check_published(exam, newest, use_case, leases)
        _check_index(exam, newest, use_case, leases.get((use_case.name, "predict"), []))


def _check_kind(
    exam: Examination,
    who: str,
    cron: str,
    leases: Sequence[Lease],
    published: Callable[[date], date | None],
    *,
    call: str,
) -> None:
    """
    Look at the runs of one kind.

    Args:
        who: The function, and the use case where it has one.
        leases: Newest first.
        published: Returns the newest date since a given date whose results are in the
            tables. A lease alone does not say it: a repeat overwrites the lease.
    """
    now = exam.now.isoformat(timespec="microseconds")
    for lease in leases:
        if lease.state == "running" and lease.expires_at < now:
            exam.error(
                f"{who} for {lease.as_of} is stuck: it never ended, and its lease did "
                f"at {lease.expires_at[:16]}",
                "the function was cut short: see its log for memory and timeout; the "
                "next run takes over",
            )
    dated = [lease for lease in leases if lease.as_of != compact.EPOCH.date()]
    if not dated:
        exam.lack(
            f"{who} has never run",
            "call it once, and run scheduler.sh",
            locally=call,
            severity=WARNING,
        )
        return
    newest = dated[0]
    known = [
        lease.as_of
        for lease in dated
        if lease.state == "done"
        or (lease.state == "running" and lease.expires_at >= now)
    ]
    if newest.as_of not in known:
        # Leases are reported even if the tables can not be read.
        with contextlib.suppress(PropensityError):
            left = published(dated[-1].as_of)
            known += [left] if left else []
    succeeded = max(known, default=None)
    if newest.state == "failed":
        is_repeat = succeeded is not None and succeeded >= newest.as_of
        _tell_failure(exam, who, newest, is_repeat=is_repeat)
    if newest.state == "damaged":
        exam.error(
            f"{who}: the lease of {newest.as_of} is damaged",
            f"delete {newest.name} in the bucket: no run for that date begins before",
        )
    due = last_due(cron, exam.now - RUN_LATE, exam.zone)
    if newest.as_of < due.astimezone(UTC).date():
        exam.lack(
            f"{who} was last run for {newest.as_of}; no schedule runs it here"
            if exam.addresses
            else f"{who} was missed: it was due on {due:%Y-%m-%d %H:%M}, and the last "
            f"that succeeded is {succeeded or 'none'}",
            "see in Cloud Scheduler whether its job is there, not paused, and what it "
            "was answered; then call the function",
            locally=call,
        )


def _tell_failure(
    exam: Examination, who: str, lease: Lease, *, is_repeat: bool
) -> None:
    code = CODES.get(lease.error)
    if code == ExportLate.code:
        exam.warn(
            f"{who} for {lease.as_of} waits for the newest day of the export",
            "Cloud Scheduler calls it again; after PROPENSITY_EXPORT_WAIT_MINUTES it "
            "goes on without that day, and with force at once",
        )
        return
    why = code or lease.error or "no reason is given"
    log = f"see the log of {who.partition(' ')[0]} of that run"
    advice = (
        f"docs/operate.md says what to do about {code}; its log line has the message"
        if code
        else f"{log}: it is an error that the project does not expect"
    )
    if is_repeat:
        exam.warn(
            f"{who} for {lease.as_of} failed: {why}; what a run for that date has left "
            "before is there",
            advice,
        )
    else:
        exam.error(f"{who} for {lease.as_of} failed: {why}", advice)


def _published(
    exam: Examination, newest: Newest, use_case: UseCase, kind: str, _: date
) -> date | None:
    """Return the newest date that a use case's tables have a run of."""
    if kind == "train":
        rows = exam.warehouse.rows(
            statement("recorded_versions", own=SQL),
            {"use_case": use_case.name, "at_most": LEASES},
        )
        # Version 0 came with the code, and no run has trained it.
        trained = (row["as_of"] for row in rows if row["model_version"])
        return max(trained, default=None)
    day: date | None = newest(use_case.name)[PUBLISHED[kind][0]]
    return day


def _newest(exam: Examination, leases: Leases, use_case: str) -> Row:
    """Return what a use case, which has leases of such runs, has published last."""
    oldest = min(
        lease.as_of for kind in PUBLISHED for lease in leases.get((use_case, kind), ())
    )
    [row] = exam.warehouse.rows(
        statement("newest_runs", own=SQL),
        # A week that is evaluated begins before its run.
        {"use_case": use_case, "since": oldest - EVALUATED},
    )
    return dict(row.items())


def _compacted(exam: Examination, since: date) -> date | None:
    """Return the day of the last compaction since one."""
    counted_until, _ = compact.last_compaction(exam.warehouse)
    began = (counted_until + compact.IN_FLIGHT).date()
    return began if began >= since else None


def _check_published(
    exam: Examination, newest: Newest, use_case: UseCase, leases: Leases
) -> None:
    """
    Compare the publications of runs with the rows in the tables.

    If the export was late, 01 has published as of an earlier date. The weeks of 03 are
    counted from there, and may have been evaluated before: no row is expected of it.
    """
    for kind, (column, table, folder) in PUBLISHED.items():
        completed = [
            lease
            for lease in leases.get((use_case.name, kind), ())
            if lease.state == "done"
            and (kind == "predict" or lease.published_until == lease.as_of)
        ]
        if not completed:
            continue
        last = max(completed, key=lambda lease: lease.published_until)
        there = newest(use_case.name)[column]
        if there is None or there < last.published_until:
            exam.error(
                f"{use_case.name}: the run of {last.as_of} is done, and "
                f"{table.name} ends with {there or 'nothing'}",
                "rows were deleted, or PROPENSITY_DATASET was changed: restore the "
                f"table, or run {folder} again with that as_of",
            )


def _check_index(
    exam: Examination, newest: Newest, use_case: UseCase, leases: Sequence[Lease]
) -> None:
    """
    Compare the index that lookups read with the newest publication.

    A run publishes both. Code from before there were indexes publishes the table alone,
    and lookups cannot see that: they read no table where there is an index.
    """
    if not leases or any(lease.state == "running" for lease in leases):
        return
    pointer = find_pointer(exam.artifacts, use_case.name)
    if pointer is None:
        return
    index = pointer.published_at
    table = newest(use_case.name)["scored_at"]
    if table is not None and datetime.fromisoformat(index) < table:
        exam.warn(
            f"{use_case.name}: lookups answer from an index of {index[:16]}, and "
            f"{tables.PUBLICATIONS.name} has probabilities of "
            f"{table.isoformat()[:16]}",
            "run 01-Predictions of this version again, which publishes both",
        )
