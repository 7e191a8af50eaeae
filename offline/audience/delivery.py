"""
The delivery of an audience: requests that are sent, and what became of each user.

Users who are no members any more are removed first, where the destination can; then all
treated members are added. Adds and removals are never in one request, and no add is
sent before the last removal is answered.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from tqdm import tqdm

from offline.audience.destinations.base import ADD, REMOVE, Destination, Request
from offline.audience.ledger import Ledger, Part, Tally
from offline.audience.members import Audience
from offline.audience.posting import Refused, Stopped
from offline.audience.selection import Member
from propensity.errors import PropensityError, RequestError
from propensity.pages.words import plural
from propensity.privacy.suppression import Suppressed
from propensity.waiting.threads import DaemonThreads

INTERRUPTED = "interrupted"

# A request of so many users who are all refused is a mistake of the request.
_SUSPICIOUS = 10
# So many rejected users in a row end a delivery, also where each user is a request, as
# for Analytics. A receiver that takes one user of ten does that by chance once in
# 40,000 times.
_REFUSED_IN_A_ROW = 100


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """
    What a delivery did.

    Attributes:
        tallies: Users who were sent, by action.
        before: Users in the ledger from earlier deliveries.
        left: Users who were not sent yet.
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
    is_complete: bool
    failure: str = ""

    def fields(self) -> dict[str, Any]:
        """Return all of it for a program."""
        return vars(self) | {
            "tallies": {name: tally.fields() for name, tally in self.tallies.items()}
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
        if not self.is_complete:
            lines.append(
                f"not complete: {self.left:,} not sent yet; "
                "the same command goes on from here"
            )
        return "\n".join(lines)


def deliver(
    audience: Audience,
    *,
    use_case: str,
    destination: Destination,
    ledger: Ledger,
    suppressed: Callable[[], Suppressed],
    threads: DaemonThreads,
    is_quiet: bool = False,
) -> Delivery:
    """
    Send an audience to a destination, on from where its ledger ends.

    A failure ends it, once the requests that are under way are answered and recorded;
    the delivery has its message.

    Args:
        destination: Says how many requests it takes at once.
        suppressed: Returns the list of suppressed users, who are not added; a delivery
            may take days.

    Raises:
        MissingTable, Unavailable: The ledger cannot be read, or its last rows not
            written.
    """
    recorded = ledger.recorded()
    work = {
        REMOVE: removals(audience, destination, ledger),
        ADD: audience.treated,
    }
    failure = ""
    left_out = 0
    total = sum(
        (action, member.user_id) not in recorded
        for action, members in work.items()
        for member in members
    )
    streak = Streak(destination.name)
    with (
        tqdm(
            total=total,
            desc=audience.name,
            unit=" users",
            disable=True if is_quiet else None,
        ) as bar,
        threads.pool(destination.at_once, "audience") as pool,
    ):

        def record(answer: _Answer) -> None:
            ledger.add(answer.parts)
            bar.update(len(answer.request.members))
            answer.check(destination)
            streak.extend(answer.refused, sent=answer.sent)

        def allowed(action: str, members: list[Member]) -> list[Member]:
            nonlocal left_out
            if action != ADD:
                return members
            listed = suppressed()
            kept = [m for m in members if not listed.covers(m.user_id, use_case)]
            left_out += len(members) - len(kept)
            return kept

        try:
            for action, members in work.items():
                requests = (
                    Request(
                        use_case=use_case,
                        audience=audience.name,
                        as_of=audience.as_of,
                        action=action,
                        members=left,
                        destination=destination.name,
                        chosen_at=audience.chosen_at,
                    )
                    for chunk in unrecorded(action, members, destination, recorded)
                    if (left := allowed(action, chunk))
                )
                _send(requests, destination, pool, record)
        except Stopped:
            failure = INTERRUPTED
        except PropensityError as error:
            failure = error.message
        except Exception:  # nobody foresaw it; who was sent is recorded all the same
            with contextlib.suppress(PropensityError):
                ledger.flush()
            raise
    if failure:
        with contextlib.suppress(PropensityError):
            ledger.flush()
    else:
        ledger.flush()
    return Delivery(
        use_case=use_case,
        audience=audience.name,
        as_of=audience.as_of,
        destination=destination.name,
        members=len(audience.members),
        held_out=len(audience.members) - len(audience.treated),
        tallies=ledger.tallies,
        before=len(recorded),
        left=total - left_out - sum(tally.sent for tally in ledger.tallies.values()),
        is_complete=not failure,
        failure=failure,
    )


def removals(
    audience: Audience, destination: Destination, ledger: Ledger
) -> list[Member]:
    """
    Return the users who are on the destination's list and may be no more: they are not
    treated any more, or have taken back what the destination needs.
    """
    if REMOVE not in destination.actions:
        return []
    listed = ledger.listed()
    if not listed:
        return []
    left_out = destination.problems(ADD, audience.treated)
    kept = {member.user_id for member in audience.treated} - left_out.keys()
    return [Member(user) for user in listed if user not in kept]


@dataclass(frozen=True, kw_only=True)
class _Answer:
    """
    A request that was answered.

    Attributes:
        unfit: Users who could not be sent, with reasons.
        sent_parts: Requests that reached the receiver, with the users it rejected.
    """

    request: Request
    unfit: Mapping[str, str]
    sent_parts: Sequence[Part]

    @property
    def parts(self) -> Sequence[Part]:
        """All of its users, as the ledger takes them."""
        members = [m for m in self.request.members if m.user_id in self.unfit]
        return [(replace(self.request, members=members), self.unfit), *self.sent_parts]

    @property
    def refused(self) -> Mapping[str, str]:
        """Users whom the receiver rejected, with reasons."""
        return rejected_of(self.sent_parts)

    @property
    def sent(self) -> int:
        """Number of users who were sent to the receiver."""
        return len(self.request.members) - len(self.unfit)

    def check(self, destination: Destination) -> None:
        """Raise RequestError where a receiver rejects everybody."""
        if len(self.refused) == self.sent >= _SUSPICIOUS:
            raise RequestError(
                f"{destination.name} rejected all {self.sent} users of a request "
                f"({next(iter(self.refused.values()))}): nothing more was sent",
                field="to",
            )


class Streak:
    """Users whom a receiver has rejected since it last accepted one."""

    def __init__(self, destination: str) -> None:
        self._destination = destination
        self._reasons: Counter[str] = Counter()

    def extend(self, refused: Mapping[str, str], *, sent: int) -> None:
        """
        Add the answer to a request; raise RequestError once the streak is too long.

        Args:
            refused: Users whom the receiver rejected, with reasons, which may name the
                user: so they need not be the same.
            sent: Number of users who were sent to the receiver.
        """
        if len(refused) < sent:
            self._reasons.clear()
            return
        self._reasons.update(refused.values())
        if (count := self._reasons.total()) >= _REFUSED_IN_A_ROW:
            [(reason, _)] = self._reasons.most_common(1)
            raise RequestError(
                f"{self._destination} rejected {count} users in a row ({reason}): "
                "nothing more was sent",
                field="to",
            )


def unrecorded(
    action: str,
    members: Sequence[Member],
    destination: Destination,
    recorded: set[tuple[str, str]],
) -> Iterator[list[Member]]:
    """
    Yield the users of each request who are not in the ledger.

    The same users are always in one request, and in the ledger all or none of them: so
    a request that is sent again has the key that it had. A user who is not a member any
    more leaves a gap; those without a place, who are taken off, move up.
    """

    def number(placed: tuple[int, Member]) -> int:
        at, member = placed
        return (at if member.place is None else member.place) // destination.batch

    for _, chunk in itertools.groupby(enumerate(members), key=number):
        if left := [m for _, m in chunk if (action, m.user_id) not in recorded]:
            yield left


def _send(
    requests: Iterable[Request],
    destination: Destination,
    pool: Executor,
    record: Callable[[_Answer], None],
) -> None:
    """
    Send requests, as many at once as the destination takes; record what is answered.

    After a failure no other is sent. It is raised once those under way are recorded.
    """
    left = iter(requests)
    failures: list[Exception] = []
    under_way: set[Future[_Answer]] = set()
    while True:
        while not failures and len(under_way) < destination.at_once:
            try:
                if (request := next(left, None)) is None:
                    break
                under_way.add(pool.submit(_answered, request, destination))
            except Exception as error:  # such as: nobody can tell who is suppressed
                failures.append(error)
        if not under_way:
            break
        answered, under_way = wait(under_way, return_when=FIRST_COMPLETED)
        for future in answered:
            try:
                record(future.result())
            except Exception as error:  # whatever it is, others were sent
                failures.append(error)
    if failures:
        raise failures[0]


def _answered(request: Request, destination: Destination) -> _Answer:
    """Send a request; return what became of each of its users."""
    unfit = destination.problems(request.action, request.members)
    fit = [member for member in request.members if member.user_id not in unfit]
    fitting = replace(request, members=fit)
    parts = as_taken(fitting, destination, Streak(destination.name)) if fit else []
    return _Answer(request=request, unfit=unfit, sent_parts=parts)


def as_taken(request: Request, destination: Destination, streak: Streak) -> list[Part]:
    """
    Send users, by halves where they are refused as a whole; return the requests.

    Raises:
        RequestError: One user after the other is refused: the request is at fault.
    """
    members = request.members
    try:
        rejected = destination.send(request)
    except Refused as refusal:
        if len(members) == 1:
            alone = {members[0].user_id: str(refusal)}
            streak.extend(alone, sent=1)
            return [(request, alone)]
        half = len(members) // 2
        return [
            *as_taken(replace(request, members=members[:half]), destination, streak),
            *as_taken(replace(request, members=members[half:]), destination, streak),
        ]
    streak.extend({}, sent=len(members))
    return [(request, rejected)]


def rejected_of(parts: Sequence[Part]) -> dict[str, str]:
    """Return the rejected users of some requests, with reasons."""
    return {user: why for _, rejected in parts for user, why in rejected.items()}
