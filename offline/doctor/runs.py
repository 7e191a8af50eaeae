"""The last run of each kind: whether it began in time, and ended."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from typing import Any

from deploy import functions
from offline.doctor.checks import Examination, Finding
from propensity import errors
from propensity.errors import ArtifactError, ExportLate
from propensity.gcp.artifacts import Artifacts, instant_of, object_of

# Leases of what the schedule calls, by target.
KINDS = {
    "model_training": "train",
    "predictions": "predict",
    "model_evaluation": "evaluate",
    "audiences": "audiences",
    "compact_features": "compact",
}
_LEASE = re.compile(r"runs/([^/]+)/([^/]+)/(\d{4}-\d\d-\d\d)\.json")


def check_runs(exam: Examination) -> Iterator[Finding]:
    """Yield runs that did not begin in time, or did not end."""
    newest = newest_runs(exam.artifacts)
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
            if as_of := newest.get((name, kind)):
                lease = _lease(exam.artifacts, f"runs/{name}/{kind}/{as_of}.json")
                yield from _check_ended(exam, f"{who} for {as_of}", lease)
                if not exam.is_local:
                    yield from _check_overdue(exam, who, as_of, schedule.cron)
            # A use case with a shipped model need not be trained.
            elif name == exam.settings.use_case and not exam.is_local:
                advice = "call it once (deploy/call.sh), and run its scheduler.sh"
                yield Finding(f"{who} has never run", advice)


def _check_ended(
    exam: Examination, run: str, lease: Mapping[str, Any]
) -> Iterator[Finding]:
    state, error = lease.get("state"), str(lease.get("error") or "no reason")
    # A lease has the name of the class, docs/operate.md goes by the code.
    code = getattr(getattr(errors, error, None), "code", "")
    log = f"see the log of {run.partition(' ')[0]} of that run"
    minutes, since = exam.settings.export_wait_minutes, lease.get("waiting_since")
    waits_from = instant_of(exam.now - timedelta(minutes=minutes))
    # One that failed for another reason may have waited before.
    waits = code == ExportLate.code and str(since or "") > waits_from
    if state == "running" and str(lease.get("expires_at", "")) < instant_of(exam.now):
        yield Finding(f"{run} is stuck: it began and did not end", log)
    elif state == "failed" and waits:
        yield Finding(
            f"{run} waits for the export, whose newest day is overdue",
            f"call it again, as the schedule does: {minutes} minutes after the first "
            "call it continues without that day",
        )
    elif state == "failed":
        advice = f"docs/operate.md#{code} says what to do" if code else log
        yield Finding(f"{run} failed: {code or error}", advice)
    elif state not in ("running", "done"):
        advice = "delete its object under runs/ in the bucket; until then no run begins"
        yield Finding(f"{run}: its lease is damaged", advice)


def _check_overdue(
    exam: Examination, who: str, as_of: date, cron: str
) -> Iterator[Finding]:
    _, _, day, _, weekday = cron.split()
    period = 31 if day != "*" else 7 if weekday != "*" else 1
    if exam.now.date() - as_of > timedelta(days=period):
        yield Finding(
            f"{who} is overdue: it should run every {period} days, and the last run "
            f"was for {as_of}",
            "look in Cloud Scheduler at its job and at the last answer",
        )


def newest_runs(artifacts: Artifacts) -> dict[tuple[str, str], date]:
    """Return the newest as-of date of each use case and kind of run."""
    newest: dict[tuple[str, str], date] = {}
    for name in sorted(artifacts.names("runs/")):
        if match := _LEASE.fullmatch(name):
            scope, kind, day = match.groups()
            # Something else than a run wrote other names.
            with contextlib.suppress(ValueError):
                newest[scope, kind] = date.fromisoformat(day)
    return newest


def _lease(artifacts: Artifacts, name: str) -> Mapping[str, Any]:
    """Return what a lease says; nothing if it is damaged."""
    try:
        return object_of(artifacts.read(name), name)
    except ArtifactError:
        return {}
