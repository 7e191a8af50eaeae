"""The last scheduled run of each kind: whether it came when it was due, and ended."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from deploy import functions
from offline.doctor.report import Examination
from propensity import errors
from propensity.errors import ArtifactError, ExportLate, PropensityError
from propensity.gcp.artifacts import Artifacts
from propensity.timeframe import midnight

DAY = timedelta(days=1)
# A scheduled run may take this long with all its attempts, and be in another time zone.
RUN_LATE = timedelta(hours=6)
# Leases of what the schedule calls, by target.
KINDS = {
    "model_training": "train",
    "predictions": "predict",
    "model_evaluation": "evaluate",
    "compact_features": "compact",
}
_LEASE = re.compile(r"runs/([^/]+)/([^/]+)/(\d{4}-\d\d-\d\d)\.json")
# By the name of its class, as a lease has it: the word that docs/operate.md goes by.
CODES = {
    name: error.code
    for name, error in vars(errors).items()
    if isinstance(error, type) and issubclass(error, PropensityError)
}


@dataclass(frozen=True, kw_only=True)
class Lease:
    """The lease of a run: its date, its state, and why it failed."""

    as_of: date
    state: str
    expires_at: str = ""
    error: str = ""


def check_runs(exam: Examination) -> None:
    """Whether the last scheduled run of each kind came when it was due, and ended."""
    leases = newest_leases(exam.artifacts)
    for function in functions.load():
        schedule, kind = function.schedule, KINDS.get(function.target)
        if schedule is None or kind is None:
            continue
        if not schedule.per_use_case:
            # Without a stream nothing is compacted.
            if lease := leases.get(("stream", kind)):
                call = exam.call(function.target)
                _check_run(exam, function.target, schedule.cron, lease, call)
            continue
        for use_case in exam.use_cases:
            if schedule.skips and getattr(use_case, schedule.skips):
                continue
            who = f"{function.target} of {use_case.name}"
            call = exam.call(function.target, use_case)
            lease = leases.get((use_case.name, kind))
            if lease is not None:
                _check_run(exam, who, schedule.cron, lease, call)
            # A use case with a shipped model need not be trained.
            elif use_case.name == exam.settings.use_case:
                advice = "call it once, and run scheduler.sh"
                exam.lack(f"{who} has never run", advice, locally=call)


def _check_run(exam: Examination, who: str, cron: str, lease: Lease, call: str) -> None:
    if lease.state == "running" and lease.expires_at < exam.now.isoformat():
        exam.error(
            f"{who} for {lease.as_of} is stuck: it never ended, and its lease did at "
            f"{lease.expires_at[:16]}",
            "the function was cut short: see its log for memory and timeout; the next "
            "run takes over",
        )
    elif lease.state == "failed" and CODES.get(lease.error) == ExportLate.code:
        exam.warn(
            f"{who} for {lease.as_of} waits for the newest day of the export",
            "Cloud Scheduler calls it again; after a while it goes on without that day",
        )
    elif lease.state == "failed":
        code = CODES.get(lease.error)
        exam.error(
            f"{who} for {lease.as_of} failed: {code or lease.error or 'no reason'}",
            f"docs/operate.md says what to do about {code}; its log has the message"
            if code
            else f"see the log of {who.partition(' ')[0]} of that run",
        )
    elif lease.state not in ("running", "done"):
        exam.error(
            f"{who}: the lease of {lease.as_of} is damaged",
            "delete its object under runs/ in the bucket: no run begins before",
        )
    due = last_due(cron, exam.now - RUN_LATE, exam.zone)
    if lease.as_of < due.astimezone(UTC).date() and lease.as_of != date(1970, 1, 1):
        exam.lack(
            f"{who} was missed: it was due on {due:%Y-%m-%d %H:%M}, and the last run "
            f"is that of {lease.as_of}",
            "see in Cloud Scheduler whether its job is there, not paused, and what it "
            "was answered; then call the function",
            locally=call,
        )


def newest_leases(artifacts: Artifacts) -> dict[tuple[str, str], Lease]:
    """Return the newest lease of each use case and kind of run."""
    newest: dict[tuple[str, str], str] = {}
    for name in artifacts.names("runs/"):
        if match := _LEASE.fullmatch(name):
            scope, kind, day = match.groups()
            newest[scope, kind] = max(newest.get((scope, kind), ""), day)
    leases = {}
    for (scope, kind), day in newest.items():
        try:
            note = json.loads(artifacts.read(f"runs/{scope}/{kind}/{day}.json").data)
            state = str(note["state"])
        except (ArtifactError, ValueError, KeyError, TypeError):
            note, state = {}, "damaged"
        leases[scope, kind] = Lease(
            as_of=date.fromisoformat(day),
            state=state,
            expires_at=str(note.get("expires_at", "")),
            error=str(note.get("error", "")),
        )
    return leases


def last_due(cron: str, now: datetime, zone: ZoneInfo) -> datetime:
    """
    Return the last moment at which a schedule came due.

    Args:
        cron: Minute, hour, day of month, any month, day of week; each a number or *,
            minute and hour a number.
    """
    minute, hour, day, _, weekday = cron.split()
    local = now.astimezone(zone)
    for back in range(400):
        on = local.date() - back * DAY
        moment = datetime(
            on.year, on.month, on.day, int(hour), int(minute), tzinfo=zone
        )
        is_day = day in ("*", str(on.day))
        is_weekday = weekday == "*" or int(weekday) % 7 == on.isoweekday() % 7
        if is_day and is_weekday and moment <= local:
            return moment
    raise ValueError(f"{cron!r} never comes due")


def moment_of_play(artifacts: Artifacts, use_case: str, now: datetime) -> datetime:
    """
    Return the moment that a local run has come to.

    Data may be of another year: it is the day of the last run, and now where that was
    today.
    """
    leases = newest_leases(artifacts).items()
    days = [lease.as_of for (scope, _), lease in leases if scope == use_case]
    newest = max(days, default=now.date())
    return midnight(newest) if newest < now.date() else now
