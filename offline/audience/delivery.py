"""
The delivery of an audience: requests that are sent, and what became of each user.

Users who are no members any more are removed first, where the destination can; then all
treated members are added. It may be killed at any point: the next goes on from the
ledger.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from tqdm import tqdm

from offline.audience.ledger import PENDING, Ledger, Recorded, Tally
from offline.audience.members import Audience
from offline.audience.posting import Refused
from offline.audience.requests import (
    ADD,
    REMOVE,
    Destination,
    Request,
    requests_of,
)
from offline.audience.selection import Member
from propensity.errors import PropensityError, RequestError
from propensity.pages.words import plural
from propensity.privacy.suppression import Suppressed

# So many users rejected in a row end a delivery: the request is at fault, or the list.
REJECTED_IN_A_ROW = 100

Part = tuple[Request, Mapping[str, str]]


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """
    What a delivery did.

    Attributes:
        tallies: Users who were sent, by action.
        before: Users whom earlier deliveries of this date have sent.
        left: Users who are pending.
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
    left: int
    failure: str = ""

    @property
    def is_complete(self) -> bool:
        """Whether everybody was sent."""
        return not self.failure

    def fields(self) -> dict[str, Any]:
        """Return all of it for a program."""
        return vars(self) | {
            "is_complete": self.is_complete,
            "tallies": {name: tally.fields() for name, tally in self.tallies.items()},
        }

    def __str__(self) -> str:
        lines = [
            f"{self.audience} of {self.use_case}, as of {self.as_of}, to "
            f"{self.destination}: {plural(self.members, 'member')}, "
            f"{self.held_out:,} held out"
        ]
        for name, tally in self.tallies.items():
            if tally.sent:
                lines.append(
                    f"{name:<6}  {tally.sent:,} sent = {tally.accepted:,} accepted + "
                    f"{tally.rejected.total():,} rejected"
                )
            lines += [
                f"        {count:,} {reason}"
                for reason, count in tally.rejected.most_common(10)
            ]
        if self.before:
            lines.append(f"{self.before:,} were sent before")
        if self.failure:
            lines.append(
                f"Not complete: {self.left:,} are pending. Run the same command again "
                "to go on."
            )
        return "\n".join(lines)


def deliver(
    audience: Audience,
    *,
    use_case: str,
    destination: Destination,
    ledger: Ledger,
    recorded: Recorded,
    suppressed: Callable[[], Suppressed],
    is_quiet: bool = False,
) -> Delivery:
    """
    Send an audience to a destination, on from where its ledger ends.

    An error ends it, once the requests under way are answered and recorded; the
    delivery has its message. So does Ctrl-C, which is raised.

    Args:
        recorded: What the ledger has of it.
        suppressed: Returns the list of suppressed users, who are not added; a delivery
            may take days.

    Raises:
        MissingTable, Unavailable: The ledger cannot be read or written.
    """

    left_out = 0

    def allowed(request: Request) -> Request | None:
        nonlocal left_out
        if request.action == REMOVE:
            return request
        listed = suppressed()
        members = [
            member
            for member in request.members
            if not listed.covers(member.user_id, use_case)
        ]
        left_out += len(request.members) - len(members)
        return replace(request, members=members) if members else None

    requests = _requests(audience, use_case, destination, ledger, recorded)
    total = sum(len(request.members) for request in requests)
    failure = ""
    with tqdm(
        total=total,
        desc=audience.name,
        unit=" users",
        disable=True if is_quiet else None,
    ) as bar:
        try:
            # All removals are answered before anybody is added.
            for action in (REMOVE, ADD):
                some = [request for request in requests if request.action == action]
                _send(some, destination, ledger, allowed, bar)
        except PropensityError as error:
            failure = error.message
    return Delivery(
        use_case=use_case,
        audience=audience.name,
        as_of=audience.as_of,
        destination=destination.name,
        members=len(audience.members),
        held_out=len(audience.members) - len(audience.treated),
        tallies=ledger.tallies,
        before=sum(status != PENDING for status, _ in recorded.values()),
        left=total - left_out - sum(tally.sent for tally in ledger.tallies.values()),
        failure=failure,
    )


def work_of(
    audience: Audience, destination: Destination, ledger: Ledger
) -> dict[str, list[Member]]:
    """Return who is to be removed and who is to be added."""
    work = {REMOVE: [], ADD: audience.treated}
    if REMOVE in destination.actions:
        # Also who has taken back what the destination needs.
        unfit = destination.problems(audience.treated)
        kept = {member.user_id for member in audience.treated} - unfit.keys()
        work[REMOVE] = [Member(user) for user in ledger.listed() if user not in kept]
    return work


def _requests(
    audience: Audience,
    use_case: str,
    destination: Destination,
    ledger: Ledger,
    recorded: Recorded,
) -> list[Request]:
    """Return the requests that are pending, with the new ones, which are recorded."""
    same = Request(
        use_case=use_case,
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
    new = [
        request
        for action, members in work_of(audience, destination, ledger).items()
        for request in requests_of(
            replace(same, action=action),
            [m for m in members if (action, m.user_id) not in recorded],
            destination.batch,
        )
    ]
    ledger.plan(new)
    return old + new


def _send(
    requests: Sequence[Request],
    destination: Destination,
    ledger: Ledger,
    allowed: Callable[[Request], Request | None],
    bar: Any,
) -> None:
    """
    Send requests, as many at once as the destination takes; record what is answered.

    After an error no other is sent; it is raised once those under way are recorded.
    """
    streak: Counter[str] = Counter()
    left = iter(requests)
    answered: set[Future[list[Part]]] = set()
    under_way: set[Future[list[Part]]] = set()

    def record(future: Future[list[Part]]) -> None:
        for request, rejected in future.result():
            ledger.record(request, rejected)
            bar.update(len(request.members))

    with ThreadPoolExecutor(destination.at_once) as pool:
        try:
            while True:
                while len(under_way) < destination.at_once and (
                    request := next(left, None)
                ):
                    if fit := allowed(request):
                        under_way.add(pool.submit(_sent, fit, destination, streak))
                if not under_way:
                    break
                answered, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                while answered:
                    record(answered.pop())
        finally:
            # Also after Ctrl-C: what was taken is recorded.
            for future in wait(answered | under_way).done:
                with contextlib.suppress(Exception):
                    record(future)
            ledger.flush()


def _sent(
    request: Request, destination: Destination, streak: Counter[str]
) -> list[Part]:
    """Send a request; return what was taken and rejected of it, in parts."""
    unfit = destination.problems(request.members)
    fit = [member for member in request.members if member.user_id not in unfit]
    parts: list[Part] = []
    if unfit:
        left = [member for member in request.members if member.user_id in unfit]
        parts.append((replace(request, members=left), unfit))
    return [*parts, *_taken(replace(request, members=fit), destination, streak)]


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
