"""
The delivery of an audience: the requests that are left, sent one after the other.

Users who are no members any more are removed first, where the destination can; then all
treated members are added. It may be killed at any point: the next goes on from the
ledger.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from tqdm import tqdm

from offline.audience.ledger import ACCEPTED, PENDING, Ledger
from offline.audience.members import Audience
from offline.audience.posting import ADD, REMOVE, Destination, Refused, Request
from offline.audience.selection import Member
from propensity.errors import PropensityError, RequestError
from propensity.privacy.suppression import Suppressed

# Users who are recorded at once: after a kill at most so many are sent again.
RECORDED_AT = 1_000
# So many users refused in a row end a delivery: its file is at fault.
REFUSED_IN_A_ROW = 10


def requests_left(
    audience: Audience, destination: Destination, ledger: Ledger
) -> list[Request]:
    """
    Return the requests that were not answered yet, removals first.

    Those that are pending in the ledger have the users, and so the key, that they had.
    """
    recorded = ledger.recorded()
    known = {member.user_id: member for member in audience.members}
    # New requests have no key yet.
    groups = defaultdict[tuple[str, str], list[Member]](list)
    for (action, user), (status, key) in recorded.items():
        # Who is suppressed since is added no more.
        if status == PENDING and (action == REMOVE or user in known):
            groups[action, key].append(known.get(user) or Member(user))
    wanted = {ADD: audience.treated}
    if REMOVE in destination.actions:
        kept = {member.user_id for member in audience.treated}
        wanted[REMOVE] = [Member(user) for user in ledger.listed() if user not in kept]
    for action, members in wanted.items():
        new = [one for one in members if (action, one.user_id) not in recorded]
        groups[action, ""] = sorted(new, key=lambda member: member.user_id)
    size = destination.batch
    requests = [
        Request(audience, destination.name, action, members[at : at + size], key)
        for (action, key), members in groups.items()
        for at in range(0, len(members), size)
    ]
    return sorted(requests, key=lambda request: request.action == ADD)


def users_of(requests: Sequence[Request], action: str) -> int:
    """Return how many users are to be added or removed."""
    return sum(len(one.members) for one in requests if one.action == action)


def deliver(
    requests: Sequence[Request],
    destination: Destination,
    ledger: Ledger,
    *,
    suppressed: Callable[[], Suppressed],
    refresh_s: float,
    monotonic: Callable[[], float],
) -> dict[str, Any]:
    """
    Send requests; return what became of their users, and what ended it early.

    Args:
        suppressed: Reads the list of suppressed users, who are not added: again
            whenever the ledger is written, since a delivery may take days.
        refresh_s: The ledger is written at least so often.
        monotonic: Returns seconds that only grow.
    """
    for request in requests:
        if request.key != request.recorded_as:
            ledger.record(request, PENDING)
    ledger.flush()
    left, failure, refused = sum(len(one.members) for one in requests), "", 0
    # By action, how many users were rejected for a reason; accepted for none.
    outcomes = {ADD: Counter[str](), REMOVE: Counter[str]()}
    listed, read_at = suppressed(), monotonic()
    # None draws the bar on a terminal only.
    bar = tqdm(total=left, unit=" users", disable=None)
    try:
        for planned in requests:
            is_old = monotonic() - read_at >= refresh_s
            if is_old or len(ledger.rows) >= RECORDED_AT:
                ledger.flush()
                listed, read_at = suppressed(), monotonic()
            request = _without(listed, planned)
            try:
                reasons = destination.send(request) if request.members else {}
                refused = 0
            except Refused as refusal:
                refused += 1
                if len(request.members) > 1 or refused == REFUSED_IN_A_ROW:
                    raise RequestError(
                        f"{destination.name} refused a request of "
                        f"{len(request.members)} users ({refusal}), who are still "
                        "pending. Correct the destination's file; if single users are "
                        "at fault, batch = 1 finds them"
                    ) from refusal
                reasons = {request.members[0].user_id: str(refusal)}
            ledger.record(request, ACCEPTED, reasons)
            outcomes[request.action].update(
                reasons.get(member.user_id, "") for member in request.members
            )
            left -= len(planned.members)
            bar.update(len(planned.members))
    except PropensityError as error:
        failure = error.message
    finally:
        # Also after Ctrl-C: what was answered is recorded.
        bar.close()
        try:
            ledger.flush()
        except PropensityError as error:
            failure = failure or error.message
    return {
        "tallies": {
            action: {
                "sent": reasons.total(),
                "accepted": reasons[""],
                "rejected": {reason: n for reason, n in reasons.items() if reason},
            }
            for action, reasons in outcomes.items()
        },
        "pending": left + len(ledger.rows),
        "failure": failure,
    }


def _without(suppressed: Suppressed, request: Request) -> Request:
    """Return a request without suppressed users, but those who are to be removed."""
    if request.action == REMOVE:
        return request
    members = [
        member
        for member in request.members
        if not suppressed.covers(member.user_id, request.audience.use_case)
    ]
    return replace(request, members=members)
