"""The leases of runs: what ran when, and how it ended."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from offline.doctor.examination import DAY, Examination
from propensity import errors
from propensity.errors import ArtifactError, PropensityError
from propensity.timeframe import midnight

# Leases of a kind that are looked at: the newest, and some before it.
LEASES = 5
# The date of the lease that all compactions share: it may be stuck as well.
SHARED = "1970-01-01"
_LEASE = re.compile(
    r"runs/(?P<scope>[^/]+)/(?P<kind>[^/]+)/(?P<as_of>\d{4}-\d\d-\d\d)\.json"
)

# By the name of its class, as a lease has it: the word that docs/operate.md goes by.
CODES = {
    name: error.code
    for name, error in vars(errors).items()
    if isinstance(error, type) and issubclass(error, PropensityError)
}


@dataclass(frozen=True, kw_only=True)
class Lease:
    """
    The lease of a run.

    ``published_until`` is the date that the run went on as of; it is before ``as_of``
    where the export was late.
    """

    name: str
    as_of: date
    state: str
    published_until: date
    expires_at: str = ""
    error: str = ""


def newest_leases(exam: Examination) -> dict[tuple[str, str], list[Lease]]:
    """Return the newest leases of each use case and kind, newest first."""
    days: dict[tuple[str, str], list[str]] = {}
    for name in exam.artifacts.names("runs/"):
        if match := _LEASE.fullmatch(name):
            days.setdefault((match["scope"], match["kind"]), []).append(match["as_of"])
    leases = {}
    for (scope, kind), listed in days.items():
        newest = {*sorted(listed)[-LEASES:], *(day for day in listed if day == SHARED)}
        read = (_lease(exam, f"runs/{scope}/{kind}", day) for day in newest)
        leases[scope, kind] = sorted(
            (lease for lease in read if lease is not None),
            key=lambda lease: lease.as_of,
            reverse=True,
        )
    return leases


def _lease(exam: Examination, folder: str, day: str) -> Lease | None:
    """Return the lease of a day; None where it was deleted meanwhile."""
    name = f"{folder}/{day}.json"
    try:
        stored = exam.artifacts.find(name)
        if stored is None:
            return None
        note = json.loads(stored.data)
    except (ArtifactError, ValueError):
        note = None
    if not isinstance(note, dict):
        note = {}
    as_of = date.fromisoformat(day)
    return Lease(
        name=name,
        as_of=as_of,
        state=str(note.get("state", "damaged")),
        published_until=min(as_of, _data_until(note) or as_of),
        expires_at=str(note.get("expires_at", "")),
        error=str(note.get("error", "")),
    )


def _data_until(note: dict[str, Any]) -> date | None:
    """Return the last date of the data that a run read; None if its lease has none."""
    answer = note.get("answer")
    day = answer.get("data_until") if isinstance(answer, dict) else None
    try:
        return date.fromisoformat(day) if isinstance(day, str) else None
    except ValueError:
        return None


def last_due(cron: str, now: datetime, zone: ZoneInfo) -> datetime:
    """
    Return the last moment at which a schedule came due.

    Args:
        cron: Minute, hour, day of month, any month, day of week; each a number or *,
            minute and hour a number.

    Raises:
        ValueError: The schedule is of another form.
    """
    minute, hour, day, month, weekday = cron.split()
    if month != "*" or not (minute.isdigit() and hour.isdigit()):
        raise ValueError(f"{cron!r} is not a schedule that the doctor can read")
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


def moment_of_play(exam: Examination) -> datetime:
    """
    Return the moment that a local run has come to.

    Locally nobody runs anything by the clock, and data may be of another year: it is
    the day of the last run, and now where that was today.
    """
    days = [
        leases[0].as_of
        for (scope, _), leases in newest_leases(exam).items()
        if scope == exam.settings.use_case
    ]
    newest = max(days, default=exam.now.date())
    return midnight(newest) if newest < exam.now.date() else exam.now
