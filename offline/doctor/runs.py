"""The last run of each kind: whether it came when it was due, and ended."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import date, datetime, timedelta

from deploy import functions
from offline.doctor.examination import Examination
from propensity import errors
from propensity.errors import ArtifactError, ExportLate
from propensity.gcp.artifacts import Artifacts
from propensity.timeframe import midnight

# Leases of what the schedule calls, by target.
KINDS = {
    "model_training": "train",
    "predictions": "predict",
    "model_evaluation": "evaluate",
    "compact_features": "compact",
}
_LEASE = re.compile(r"runs/([^/]+)/([^/]+)/(\d{4}-\d\d-\d\d)\.json")
# A run's as-of date, and what its lease says of it.
Lease = tuple[date, Mapping[str, str]]


def check_runs(exam: Examination) -> None:
    """Whether the last run of each kind came when it was due, and ended."""
    leases = newest_leases(exam.artifacts)
    for function in functions.load():
        schedule, kind = function.schedule, KINDS.get(function.target)
        if schedule is None or kind is None:
            continue
        names = [
            one.name
            for one in exam.use_cases
            if not (schedule.skips and getattr(one, schedule.skips))
        ]
        for name in names if schedule.per_use_case else ["stream"]:
            who = f"{function.target} of {name}"
            if lease := leases.get((name, kind)):
                _check_ended(exam, who, lease)
                if not exam.is_local:
                    _check_came(exam, who, lease[0], schedule.cron)
            # A use case with a shipped model need not be trained.
            elif name == exam.settings.use_case and not exam.is_local:
                exam.error(f"{who} has never run", "call it once, and run scheduler.sh")


def _check_ended(exam: Examination, who: str, lease: Lease) -> None:
    as_of, note = lease
    state, error = note.get("state"), note.get("error", "")
    # A lease has the name of the class, docs/operate.md goes by the code.
    code = getattr(getattr(errors, error, None), "code", "")
    log = f"see the log of {who.partition(' ')[0]} of that run"
    if state == "running" and note.get("expires_at", "") < exam.now.isoformat():
        exam.error(f"{who} for {as_of} is stuck: it never ended", log)
    elif state == "failed" and code == ExportLate.code:
        exam.warn(
            f"{who} for {as_of} waits for the newest day of the export",
            "Cloud Scheduler calls it again; after a while it goes on without that day",
        )
    elif state == "failed":
        advice = f"docs/operate.md says what to do about {code}" if code else log
        exam.error(f"{who} for {as_of} failed: {code or error or 'no reason'}", advice)
    elif state not in ("running", "done"):
        exam.error(
            f"{who}: the lease of {as_of} is damaged",
            "delete its object under runs/ in the bucket: no run begins before",
        )


def _check_came(exam: Examination, who: str, as_of: date, cron: str) -> None:
    _, _, day, _, weekday = cron.split()
    period = 31 if day != "*" else 7 if weekday != "*" else 1
    if exam.now.date() - as_of > timedelta(days=period):
        exam.error(
            f"{who} was missed: it is due every {period} days, and the last run is "
            f"that of {as_of}",
            "see in Cloud Scheduler whether its job is there, and what it was answered",
        )


def newest_leases(artifacts: Artifacts) -> dict[tuple[str, str], Lease]:
    """Return the newest lease of each use case and kind of run; empty if damaged."""
    newest: dict[tuple[str, str], str] = {}
    for name in artifacts.names("runs/"):
        if match := _LEASE.fullmatch(name):
            scope, kind, day = match.groups()
            newest[scope, kind] = max(newest.get((scope, kind), ""), day)
    leases = {}
    for (scope, kind), day in newest.items():
        try:
            note = json.loads(artifacts.read(f"runs/{scope}/{kind}/{day}.json").data)
        except (ArtifactError, ValueError):
            note = {}
        leases[scope, kind] = date.fromisoformat(day), note
    return leases


def moment_of_play(artifacts: Artifacts, use_case: str, now: datetime) -> datetime:
    """
    Return the moment that a local run has come to.

    Data may be of another year: it is the day of the last run, and now where that was
    today.
    """
    leases = newest_leases(artifacts).items()
    days = [as_of for (scope, _), (as_of, _) in leases if scope == use_case]
    newest = max(days, default=now.date())
    return midnight(newest) if newest < now.date() else now
