"""
The steps of 05-Audiences: every audience of a use case that is due is sent.

One that cannot be sent stops no other. What another call may mend, such as predictions
that are late or a receiver that is down, is tried again by the scheduler for a while.
All else, and that after the while, is for a person: its log line raises an alert.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date, timedelta

from propensity import errors
from propensity.audience import declared
from propensity.audience.delivery import DeliveryResult
from propensity.audience.run import end, send
from propensity.audience.stopping import Listed, listed
from propensity.gcp import secrets
from propensity.runs.run import Answer, Run
from propensity.tables.audiences import AUDIENCE_REQUESTS
from propensity.timeframe import DAY, WEEKDAYS

# The scheduler's last call comes after 190 minutes (05-Audiences/scheduler.sh), so that
# a wait ends with an error.
PATIENCE = timedelta(minutes=150)
# How long before it expires a record of users on a list is told of.
WARNING = timedelta(days=30)
# The scheduler waits for 30 minutes. Its next call continues a longer delivery.
LONGEST_S = 25 * 60
ABOUT = ("destination", "members", "held_out")
COUNTS = ("sent", "accepted", "rejected", "pending")


def send_due(run: Run) -> Answer:
    """
    Send the audiences of the run's use case that are due on its date.

    Returns:
        An entry for each audience, and their sums: sent is accepted plus rejected.

    Raises:
        AudienceWaits: One could not be sent yet; the next call goes on.
        AudienceStopped: One was not sent, and a person must look at it.
    """
    ends_at = run.clock.monotonic() + LONGEST_S
    waited = timedelta()
    if run.lease and run.lease.waiting_since:
        waited = run.now() - run.lease.waiting_since
    entries = list[dict[str, object]]()
    failed = list[str]()
    waits = False
    sums = Counter(dict.fromkeys(COUNTS, 0))
    # The longest waiting first: a call may have no time for the last ones.
    lists = listed(run)
    newest = {listing.audience: listing.as_of for listing in lists}
    may_have_sent = False
    names = declared.audience_names(run.use_case)
    for name in sorted(names, key=lambda name: newest.get(name, date.min)):
        outcome = "sent"
        done = None
        failure = None
        try:
            outcome, done = _sent(run, name, lists, ends_at)
        except errors.PropensityError as error:
            outcome = error.code
            failure = error
        if outcome != "not_due":
            may_have_sent = True
        if done and done.failure:
            outcome = "interrupted"
            failure = done.failure
        entry: dict[str, object] = {"audience": name, "outcome": outcome}
        if isinstance(failure, errors.SendingStopped):
            # A person has stopped it, and nobody need be told.
            entry["outcome"] = failure.code
            entry["message"] = failure.message
            entry["waiting"] = failure.detail
            run.log("INFO", failure.message, audience=name, outcome=failure.code)
        elif failure:
            entry["message"] = failure.message
            failed.append(f"{name}: {failure.message}")
            may_wait = failure.retryable and waited < PATIENCE
            if may_wait:
                waits = True
            severity = "WARNING" if may_wait else "ERROR"
            run.log(severity, failure.message, audience=name, outcome=outcome)
        if done:
            counted = {name: getattr(done, name) for name in COUNTS}
            sums.update(counted)
            entry["prediction_as_of"] = f"{done.about['as_of']}"
            entry |= {key: done.about[key] for key in ABOUT} | counted
        entries.append(entry)
    if run.as_of.weekday() == WEEKDAYS.index("monday"):
        if may_have_sent:
            lists = listed(run)
        entries += _abandoned(run, lists)
    answer = {"audiences": entries, **sums}
    if failed:
        raise (errors.AudienceWaits if waits else errors.AudienceStopped)(
            "audiences were not sent whole. " + "; ".join(failed),
            detail=answer,
        )
    return answer


def _sent(
    run: Run, name: str, lists: Sequence[Listed], ends_at: float
) -> tuple[str, DeliveryResult | None]:
    """Send an audience if it is due; return the outcome, and what was done."""
    audience = declared.load_audience(run.use_case, name)
    until = audience.declared.until
    day = run.as_of
    weekday = WEEKDAYS[day.weekday()]
    is_due = weekday in audience.declared.days or run.overrides.sends_today
    if until and day > until:
        of_audience = [listing for listing in lists if listing.audience == name]
        return "ended", _ended(run, of_audience, until, ends_at) if is_due else None
    if not is_due:
        return "not_due", None
    done = send(
        run,
        audience,
        secrets.reader(run.settings),
        until=day,
        scheduled_on=day,
        lists=lists,
        ends_at=ends_at,
        clock=run.clock,
    )
    return "sent", done


def _ended(
    run: Run, lists: Sequence[Listed], until: date, ends_at: float
) -> DeliveryResult | None:
    """Take the users of an audience that is over off its list, if there are any."""
    if not lists:
        return None
    try:
        return end(
            run,
            lists[0],
            secrets.reader(run.settings),
            ends_at=ends_at,
            clock=run.clock,
        )
    except errors.RequestError as error:
        if run.as_of > until + 7 * DAY:
            return None
        raise errors.AudienceStopped(error.problem, hint=error.hint) from error


def _abandoned(run: Run, lists: Sequence[Listed]) -> list[dict[str, object]]:
    """
    Return entries for lists from which nobody takes users off.

    Their audience has no file any more, or was not sent for so long that the record of
    who is on the list is about to expire. The log has a line that raises the alert.
    """
    names = declared.audience_names(run.use_case)
    # A person who has set how long it is kept may keep it for ever.
    may_end = AUDIENCE_REQUESTS.stored not in run.settings.retention_days
    entries = list[dict[str, object]]()
    for listing in lists:
        ends = listing.as_of + AUDIENCE_REQUESTS.expiration_days * DAY
        why = f"audiences/{listing.audience}.toml is gone"
        if listing.audience in names:
            if not may_end or run.as_of < ends - WARNING:
                continue
            why = f"the record of them ends on {ends}"
        message = (
            f"{listing}, but {why}. "
            f"Take them off: propensity audience end {listing.audience}"
        )
        stopped = errors.AudienceStopped.code
        run.log("ERROR", message, audience=listing.audience, outcome=stopped)
        name = listing.audience
        entries.append({"audience": name, "outcome": "abandoned", "message": message})
    return entries
