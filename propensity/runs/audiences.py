"""
The steps of 05-Audiences: every audience of a use case that is due is sent.

One that cannot be sent stops no other. What another call may mend, such as predictions
that are late or a receiver that is down, is tried again by the scheduler for a while.
All else, and that after the while, is for a person: its log line raises an alert.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from propensity.audience import declared
from propensity.audience.run import send
from propensity.errors import (
    AudienceStopped,
    AudienceWaits,
    PropensityError,
    Unavailable,
)
from propensity.gcp import secrets
from propensity.registry.deployment import Deployment

if TYPE_CHECKING:
    from propensity.audience.delivery import Request
    from propensity.runs.run import Run

# For so long the scheduler's calls try again: its last one is later than that.
PATIENCE = timedelta(minutes=150)
# The scheduler waits for 30 minutes. Its next call continues a longer delivery.
LONGEST_S = 25 * 60
COUNTS = ("sent", "accepted", "rejected", "pending")


def send_due(run: Run) -> dict[str, Any]:
    """
    Send the audiences of the run's use case that are due on its date.

    Returns:
        An entry for each audience, and their sums: sent is accepted plus rejected.

    Raises:
        AudienceWaits: One could not be sent yet; the next call goes on.
        AudienceStopped: One was not sent, and a person must look at it.
    """
    waited = run.now() - (run.lease and run.lease.waiting_since or run.now())
    entries, waits, failed = [], False, []
    for name in declared.names(run.use_case):
        try:
            entry = _sent(run, name)
        except PropensityError as error:
            entry = _failure(name, error.code, error.message)
            entry["is_retryable"] = error.retryable
        may_wait = entry.pop("is_retryable", False) and waited < PATIENCE
        if message := entry.get("message"):
            failed.append(f"{name}: {message}")
            severity = "WARNING" if may_wait else "ERROR"
            run.log(severity, message, audience=name, outcome=entry["outcome"])
        waits = waits or may_wait
        entries.append(entry)
    sums = {count: sum(one.get(count, 0) for one in entries) for count in COUNTS}
    answer = {"audiences": entries, **sums}
    if failed:
        raise (AudienceWaits if waits else AudienceStopped)(
            f"{len(failed)} of {len(entries)} audiences were not sent whole. "
            + "; ".join(failed),
            detail=answer,
        )
    return answer


def _sent(run: Run, name: str) -> dict[str, Any]:
    """Send an audience if it is due; return its entry of the answer."""
    named = declared.load(run.use_case, name)
    until, day = named.declared.until, run.as_of
    if until and day > until:
        return {"audience": name, "outcome": "ended"}
    if declared.WEEKDAYS[day.weekday()] not in named.declared.days and not run.force:
        return {"audience": name, "outcome": "not_due"}
    deployment = Deployment(
        settings=run.settings,
        warehouse=run.warehouse,
        artifacts=run.registry.artifacts,
        use_case=run.use_case,
    )
    done = send(
        deployment,
        named,
        secrets.reader(run.settings),
        until=day,
        scheduled_on=day,
        watched=lambda requests: _in_time(run, requests),
        clock=run.clock,
    )
    tallies: Mapping[str, Any] = done["tallies"]
    counts = {
        "sent": sum(one["sent"] for one in tallies.values()),
        "accepted": sum(one["accepted"] for one in tallies.values()),
        "rejected": sum(sum(one["rejected"].values()) for one in tallies.values()),
        "pending": done["pending"],
    }
    entry = {"audience": name, "outcome": "sent"}
    if done["failure"]:
        entry = _failure(name, "interrupted", done["failure"])
    described = ("destination", "members", "held_out", "is_retryable")
    own = {key: done[key] for key in described}
    return {**entry, "prediction_as_of": f"{done['as_of']}", **own, **counts}


def _in_time(run: Run, requests: Sequence[Request]) -> Iterator[Request]:
    for request in requests:
        if run.elapsed_s() > LONGEST_S:
            raise Unavailable("the delivery takes long, and the next call continues it")
        yield request


def _failure(name: str, outcome: str, message: str) -> dict[str, Any]:
    return {"audience": name, "outcome": outcome, "message": message}
