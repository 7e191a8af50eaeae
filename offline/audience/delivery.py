"""
The delivery of an audience: requests that are sent, and what became of each user.

Users who are no members any more are removed first, where the destination can; then all
treated members are added. It may be killed at any point: the next goes on from the
ledger.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from tqdm import tqdm

from offline.audience.ledger import PENDING, Ledger, Recorded, Tally
from offline.audience.members import Audience
from offline.audience.posting import ADD, REMOVE, Destination, Refused, Request
from offline.audience.selection import Member
from propensity.errors import PropensityError, RequestError
from propensity.privacy.suppression import Suppressed

# So many users rejected in a row end a delivery: the request is at fault, or the list.
REJECTED_IN_A_ROW = 100

# Users who were answered, with the reasons of those who were rejected.
Part = tuple[Request, Mapping[str, str]]


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """
    What a delivery did.

    Attributes:
        tallies: Users who were sent, by action.
        before: Users whom earlier deliveries of this date have sent.
        pending: Users who are not sent yet.
        failure: Why it ended early; empty if it did not.
    """

    use_case: str
    audience: str
    as_of: date
    destination: str
    members: int
    held_out: int
    tallies: Mapping[str, Tally]
    before: int
    pending: int
    failure: str = ""

    @property
    def is_complete(self) -> bool:
        """Whether everybody was sent."""
        return not self.failure

    def fields(self) -> dict[str, Any]:
        """Return all of it, to be shown."""
        tallies = {
            name: {"sent": tally.sent, **vars(tally)}
            for name, tally in self.tallies.items()
        }
        return vars(self) | {"is_complete": self.is_complete, "tallies": tallies}


def deliver(
    audience: Audience,
    destination: Destination,
    ledger: Ledger,
    *,
    suppressed: Callable[[], Suppressed],
    is_quiet: bool = False,
) -> Delivery:
    """
    Send an audience to a destination, on from where its ledger ends.

    An error ends it, once the requests under way are answered and recorded; the
    delivery has its message. So does Ctrl-C, which is raised.

    Args:
        suppressed: Returns the list of suppressed users, who are not added; a delivery
            may take days.

    Raises:
        MissingTable, Unavailable: The ledger cannot be read or written.
    """
    recorded = ledger.recorded()
    requests = _requests(audience, destination, ledger, recorded)
    total = sum(len(request.members) for request in requests)
    streak: Counter[str] = Counter()
    failure, left_out = "", 0
    # None draws the bar on a terminal only.
    quiet = True if is_quiet else None
    try:
        with (
            ledger,
            tqdm(total=total, desc=audience.name, unit=" users", disable=quiet) as bar,
        ):
            for group in _groups(requests, destination.at_once):
                listed = suppressed()
                fit = [_without(listed, request) for request in group]
                left_out += _users(group) - _users(fit)
                _send(fit, destination, ledger, streak)
                bar.update(_users(fit))
    except PropensityError as error:
        failure = error.message
    sent = sum(tally.sent for tally in ledger.tallies.values())
    return Delivery(
        use_case=audience.use_case,
        audience=audience.name,
        as_of=audience.as_of,
        destination=destination.name,
        members=len(audience.members),
        held_out=len(audience.members) - len(audience.treated),
        tallies=ledger.tallies,
        before=sum(status != PENDING for status, _ in recorded.values()),
        pending=total - left_out - sent,
        failure=failure,
    )


def work_of(
    audience: Audience, destination: Destination, ledger: Ledger
) -> dict[str, list[Member]]:
    """Return who is to be removed and who is to be added."""
    work = {REMOVE: [], ADD: audience.treated}
    if REMOVE in destination.actions:
        kept = {member.user_id for member in audience.treated}
        work[REMOVE] = [Member(user) for user in ledger.listed() if user not in kept]
    return work


def _requests(
    audience: Audience, destination: Destination, ledger: Ledger, recorded: Recorded
) -> list[Request]:
    """Return the requests that are pending, with the new ones, which are recorded."""
    same = Request(
        use_case=audience.use_case,
        audience=audience.name,
        as_of=audience.as_of,
        action=ADD,
        members=[],
        destination=destination.name,
        chosen_at=audience.chosen_at,
    )
    known = {member.user_id: member for member in audience.members}
    pending: dict[tuple[str, str], list[Member]] = {}
    for (action, user), (status, request) in recorded.items():
        if status == PENDING:
            member = known.get(user) or Member(user)
            pending.setdefault((action, request), []).append(member)
    old = [replace(same, action=a, members=users) for (a, _), users in pending.items()]
    new = []
    for action, members in work_of(audience, destination, ledger).items():
        left = [m for m in members if (action, m.user_id) not in recorded]
        left.sort(key=lambda member: member.user_id)
        new += [
            replace(same, action=action, members=left[at : at + destination.batch])
            for at in range(0, len(left), destination.batch)
        ]
    ledger.plan(new)
    return old + new


def _groups(requests: Sequence[Request], at_once: int) -> Iterator[list[Request]]:
    """Yield requests that are sent together: all removals before anybody is added."""
    for action in (REMOVE, ADD):
        some = [request for request in requests if request.action == action]
        for start in range(0, len(some), at_once):
            yield some[start : start + at_once]


def _users(requests: Sequence[Request]) -> int:
    return sum(len(request.members) for request in requests)


def _without(suppressed: Suppressed, request: Request) -> Request:
    """Return a request without suppressed users, but those who are to be removed."""
    if request.action == REMOVE:
        return request
    members = [
        member
        for member in request.members
        if not suppressed.covers(member.user_id, request.use_case)
    ]
    return replace(request, members=members)


def _send(
    requests: Sequence[Request],
    destination: Destination,
    ledger: Ledger,
    streak: Counter[str],
) -> None:
    """Send requests together; record what is answered, then raise what failed."""
    with ThreadPoolExecutor(len(requests)) as pool:
        futures = [pool.submit(_sent, r, destination, streak) for r in requests]
        try:
            wait(futures)
        finally:
            # Also after Ctrl-C: what was taken is recorded.
            wait(futures)
            for future in futures:
                if future.exception() is None:
                    for request, rejected in future.result():
                        ledger.record(request, rejected)
    for future in futures:
        future.result()


def _sent(
    request: Request, destination: Destination, streak: Counter[str]
) -> list[Part]:
    """Send a request; return what was taken and rejected of it, in parts."""
    unfit = destination.problems(request.members)
    fit = [member for member in request.members if member.user_id not in unfit]
    left = [member for member in request.members if member.user_id in unfit]
    parts = _taken(replace(request, members=fit), destination, streak)
    return [(replace(request, members=left), unfit), *parts] if left else parts


def _taken(
    request: Request, destination: Destination, streak: Counter[str]
) -> list[Part]:
    """
    Send users; by halves where they are refused as a whole.

    Raises:
        RequestError: One user after the other was rejected, here and before. A receiver
            that takes one user of ten does that by chance once in 40,000 times.
    """
    members = request.members
    if not members:
        return []
    try:
        rejected = destination.send(request)
    except Refused as refusal:
        if len(members) > 1:
            half = len(members) // 2
            return [
                part
                for some in (members[:half], members[half:])
                for part in _taken(replace(request, members=some), destination, streak)
            ]
        rejected = {members[0].user_id: str(refusal)}
    if len(rejected) < len(members):
        streak.clear()
    else:
        streak.update(rejected.values())
    if (count := streak.total()) >= REJECTED_IN_A_ROW:
        [(reason, _)] = streak.most_common(1)
        raise RequestError(
            f"{destination.name} rejected {count} users in a row ({reason}): nothing "
            "more was sent",
            field="to",
        )
    return [(request, rejected)]
