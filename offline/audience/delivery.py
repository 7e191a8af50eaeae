"""
The delivery of an audience: the requests that are left, and what became of each user.

Users who are no members any more are removed first, where the destination can; then all
treated members are added. It may be killed at any point: the next goes on from the
ledger.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tqdm import tqdm

from offline.audience.ledger import ACCEPTED, PENDING, Ledger
from offline.audience.members import Audience
from offline.audience.posting import ADD, REMOVE, Destination, Refused, Request
from offline.audience.selection import Member
from propensity.errors import PropensityError, RequestError
from propensity.privacy.suppression import Suppressed

# So many users refused in a row end a delivery: its file is at fault.
REFUSED_IN_A_ROW = 10


@dataclass(frozen=True, kw_only=True)
class Work:
    """
    What is left to do.

    Attributes:
        before: Users whom earlier deliveries of this date have sent.
        old: Requests that are pending, as an earlier delivery recorded them.
        new: Requests that are not recorded yet.
    """

    before: int
    old: list[Request]
    new: list[Request]

    @property
    def requests(self) -> list[Request]:
        """All of them: removals before anybody is added."""
        return sorted(self.old + self.new, key=lambda request: request.action == ADD)

    def users(self, action: str) -> int:
        """Return how many users are to be added or removed."""
        return sum(len(one.members) for one in self.requests if one.action == action)


def work_of(audience: Audience, destination: Destination, ledger: Ledger) -> Work:
    """Return what is left to do of a delivery."""
    recorded = ledger.recorded()
    known = {member.user_id: member for member in audience.members}
    pending: dict[tuple[str, str], list[Member]] = {}
    for (action, user), (status, request) in recorded.items():
        # Who is suppressed since is added no more.
        if status == PENDING and (action == REMOVE or user in known):
            member = known.get(user) or Member(user)
            pending.setdefault((action, request), []).append(member)
    fresh = {REMOVE: list[Member](), ADD: audience.treated}
    if REMOVE in destination.actions:
        kept = {member.user_id for member in audience.treated}
        fresh[REMOVE] = [Member(user) for user in ledger.listed() if user not in kept]

    def requests(action: str, members: Sequence[Member]) -> list[Request]:
        ordered = sorted(members, key=lambda member: member.user_id)
        size = destination.batch
        return [
            Request(audience, destination.name, action, ordered[at : at + size])
            for at in range(0, len(ordered), size)
        ]

    old, new = list[Request](), list[Request]()
    for (action, _), members in pending.items():
        old += requests(action, members)
    for action, members in fresh.items():
        new += requests(
            action, [one for one in members if (action, one.user_id) not in recorded]
        )
    done = [status for status, _ in recorded.values() if status != PENDING]
    return Work(before=len(done), old=old, new=new)


def deliver(
    work: Work,
    destination: Destination,
    ledger: Ledger,
    *,
    suppressed: Callable[[], Suppressed],
) -> dict[str, Any]:
    """
    Send what is left; return what became of it, and what ended it early.

    Args:
        suppressed: Returns the list of suppressed users, who are not added; a delivery
            may take days.
    """
    for request in work.new:
        ledger.record(request, PENDING, {})
    ledger.flush()
    left, failure, refused = work.users(REMOVE) + work.users(ADD), "", 0
    # By action, how many users were rejected for a reason; accepted for none.
    outcomes = {ADD: Counter[str](), REMOVE: Counter[str]()}
    # None draws the bar on a terminal only.
    bar = tqdm(total=left, unit=" users", disable=None)
    try:
        for planned in work.requests:
            request = _without(suppressed(), planned)
            try:
                reasons = destination.send(request) if request.members else {}
                refused = 0
            except Refused as refusal:
                refused += 1
                _check_refusal(request, refusal, refused)
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
        "before": work.before,
        "pending": left,
        "failure": failure,
        "is_complete": not failure,
    }


def _check_refusal(request: Request, refusal: Refused, in_a_row: int) -> None:
    """Raise RequestError unless a refusal is about a single user."""
    if len(request.members) > 1 or in_a_row == REFUSED_IN_A_ROW:
        raise RequestError(
            f"{request.destination} refused a request of {len(request.members)} users "
            f"({refusal}), who are still pending. Correct the destination's file; if "
            "single users are at fault, batch = 1 finds them",
            field="to",
        )


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
