"""
The delivery of an audience: requests that are not answered yet are sent, one by one.

Users who are no members any more are removed first, where the destination can; then all
treated members are added. All requests are in the log before the first is sent
(``requests``), so a delivery that was killed goes on where it was.

A destination sends a request once. Here is decided whether and when it is sent again:
before each try the list of suppressed users, the lease, whether somebody has stopped it
and the time are looked at.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import chain, islice

from propensity import suppression
from propensity.audience.declared import check_name
from propensity.audience.destinations.destination import (
    ADD,
    REMOVE,
    Refused,
    Request,
    Stopped,
    Unanswered,
)
from propensity.audience.members import Member, no_members
from propensity.audience.requests import (
    HELD_OUT,
    MAYBE_ARRIVED,
    PENDING,
    REJECTED,
    RequestLog,
)
from propensity.audience.result import results, sentence
from propensity.errors import PropensityError, RequestError, Unavailable
from propensity.pages.words import plural
from propensity.registry.deployment import Deployment

SUPPRESSED = "suppressed, and not sent"
# Ten users refused in a row end a delivery, because its file must be at fault.
REFUSED_IN_A_ROW = 10
# How often a request is sent that is not answered; pauses double.
TRIES = 8
FIRST_PAUSE_S = 0.5
# A terminal shows a receiver's words of so many answers.
SHOWN_ANSWERS = 5
# A receiver may ask for a pause of this length.
LONGEST_PAUSE_S = 900.0


# Hands over requests of so many users one by one, such as to a bar of progress.
Watched = Callable[[Iterable[Request], int], Iterable[Request]]


def account(deployment: Deployment, audience: str) -> dict[str, object]:
    """
    Return what the ledger has of an audience: members, and users by their status; and
    what contacting them brought, once outcomes are known.
    """
    name = deployment.use_case.name
    members = deployment.rows("audience_selections", audience=audience)
    if not members:
        check_name(deployment.use_case, audience)
        raise no_members(deployment, audience)
    users = deployment.rows("audience_deliveries", audience=audience)
    answer: dict[str, object] = {
        "use_case": name,
        "audience": audience,
        "members": [dict(row.items()) for row in members],
        "users": [dict(row.items()) for row in users],
    }
    result = results(deployment, until=date.max).get(audience)
    if result:
        answer["brought"] = result.columns()
        answer["says"] = sentence(result, deployment.use_case.currency)
    return answer


@dataclass
class DeliveryResult:
    """
    What a delivery did: users sent are those accepted and those rejected.

    Attributes:
        pending: Of how many users it is not known yet what became.
        reasons: By action, how many were rejected for a reason, or accepted for none.
        failure: What ended the delivery early.
    """

    about: Mapping[str, object]
    pending: int = 0
    reasons: Mapping[str, Counter[str]] = field(
        default_factory=lambda: {ADD: Counter(), REMOVE: Counter()}
    )
    failure: PropensityError | None = None
    words: list[str] = field(default_factory=list)

    @property
    def sent(self) -> int:
        return sum(reasons.total() for reasons in self.reasons.values())

    @property
    def accepted(self) -> int:
        return sum(reasons[""] for reasons in self.reasons.values())

    @property
    def rejected(self) -> int:
        return self.sent - self.accepted

    def count(self, users: int, action: str, reason: str) -> None:
        self.reasons[action][reason] += users
        self.pending -= users

    def hear(self, words: Iterable[str]) -> None:
        for said in words:
            if said and said not in self.words and len(self.words) < SHOWN_ANSWERS:
                self.words.append(said)

    def answer(self) -> dict[str, object]:
        """Return it for a person: ``tallies`` by action, and why it ended early."""
        tallies = dict[str, object]()
        for action, reasons in self.reasons.items():
            rejected = dict(reasons)
            accepted = rejected.pop("", 0)
            counts = {"sent": reasons.total(), "accepted": accepted}
            tallies[action] = {**counts, "rejected": rejected}
        failure = self.failure.message if self.failure else ""
        ended = {"pending": self.pending, "failure": failure}
        return {**self.about, "tallies": tallies, **ended}


class Delivery:
    """
    A delivery of an audience: requests are sent until each of them is answered.

    What became of a request is recorded before the next one is sent: after a kill one
    request alone may be sent again.

    A request that is refused is sent again in halves, until the users at fault are
    alone: so a user costs two requests for each halving. The halves are recorded before
    they are sent, as all requests are.
    """

    def __init__(
        self, log: RequestLog, *, check: Callable[[], object], ends_at: float = math.inf
    ) -> None:
        """
        Args:
            check: Raises PropensityError once nothing may be sent any more, as without
                the lease.
            ends_at: Until when requests may be sent, by the monotonic clock.
        """
        self._log = log
        self._check = check
        self._ends_at = ends_at
        self._done = DeliveryResult(log.about)
        self._clock = log.clock
        self._due_at = -math.inf
        self._suppressed = suppression.NOBODY
        self._held_out = frozenset[str]()
        self._read_at = -math.inf
        # Actions of which a request was sent, and the receiver has taken one: in this
        # delivery, or in an earlier one of this date.
        self._tried = set[str]()
        self._taken = set[str]()
        self._taken_before = set[str]()
        # By action, requests of one user that were refused since the last one that was
        # taken, with the reasons: users or the file may be at fault.
        self._refused = defaultdict[str, list[tuple[Request, str]]](list)

    def run(self, watched: Watched | None = None) -> DeliveryResult:
        """Send the requests that are left; return what became of their users."""
        waiting = self._log.settle()
        self._open()
        requests = self._log.requests()
        if watched:
            requests = iter(watched(requests, self._done.pending))
        try:
            if self._log.destination.requests_of_a_file:
                self._write(requests)
            for request in requests:
                parts = [request]
                while parts:
                    parts += self._send(parts.pop())
            for action, refused in self._refused.items():
                if refused and action not in self._taken:
                    self._stop(action)
            self._settle()
        except PropensityError as error:
            self._done.failure = error
        self._done.pending += waiting
        return self._done

    def _open(self) -> None:
        """Have all requests in the log, before the first is sent."""
        due = self._log.find_due()
        self._check()
        if due:
            self._log.open()
        for row in due:
            self._done.pending += row["users"]
            if row["is_taken"]:
                self._taken_before.add(row["action"])
            if row["barred"]:
                self._done.count(row["users"], row["action"], row["barred"])

    def _write(self, requests: Iterator[Request]) -> None:
        """Write files, each with the users of so many requests, and record them."""
        destination = self._log.destination
        for first in requests:
            rest = islice(requests, destination.requests_of_a_file - 1)
            written = Counter[str]()
            pages = self._pages(chain([first], rest), written)
            destination.write(first, pages)
            # Where there is such a file, it was not read to its end.
            for _ in pages:
                pass
            self._check()
            if written:
                self._log.record_written(list(written))
                self._done.count(written.total(), ADD, "")

    def _pages(
        self, requests: Iterable[Request], written: Counter[str]
    ) -> Iterator[Sequence[Member]]:
        """Yield users of requests who may be sent; count them by the request's key."""
        for request in requests:
            allowed = self._allowed(request)
            self._check()
            if not allowed.members:
                continue
            if allowed.key != request.key:
                self._log.record(PENDING, (allowed, None))
            written[allowed.key] += len(allowed.members)
            yield allowed.members

    def _send(self, request: Request) -> list[Request]:
        """Send a request until it is answered; return what is to be sent instead."""
        tries = 0
        may_be_known = self._may_be_known(request)
        while True:
            request = self._allowed(request)
            if not request.members:
                return []
            self._check()
            began_at = self._clock.now()
            try:
                sent = self._log.destination.send(request)
                break
            except Refused as refusal:
                self._done.hear([refusal.words])
                return self._refuse(request, str(refusal))
            except Stopped as stop:
                self._done.hear([stop.words])
                # Nobody is refused: it may have arrived, and is sent again.
                stopped = replace(request, may_have_arrived=True)
                self._log.record(PENDING, (stopped, stop.reason))
                raise stop.error from None
            except Unanswered as unanswered:
                tries += 1
                request = replace(request, may_have_arrived=True)
                self._wait(unanswered, tries)
        self._done.hear(sent.words)
        if len(sent.rejected) < len(request.members) and not may_be_known:
            self._taken.add(request.action)
        self._log.record_sent(request, sent, at=began_at)
        # What became of the others is said later.
        keys = sent.rejected if sent.receipt else request.keys
        for key in keys:
            self._done.count(1, request.action, sent.rejected.get(key, ""))
        self._settle()
        return []

    def _may_be_known(self, request: Request) -> bool:
        """
        Return whether a receiver may have taken a request of a call before this one.

        It is the first of its action, which was under way, or one that has a reason. An
        answer by its key is that of then, and says nothing of the file as it is now.
        """
        is_first = request.action not in self._tried
        self._tried.add(request.action)
        return request.may_have_arrived and (is_first or request.reason != "")

    def _allowed(self, request: Request) -> Request:
        """
        Return a request, once it may be sent, without those who may not be added.

        Who is suppressed or held out by now is read as often as functions read it,
        since a delivery may take days. Everybody may be taken off a list.
        """
        log = self._log
        self._pause(max(0.0, self._due_at - self._clock.monotonic()))
        rate = log.destination.rate
        if rate:
            self._due_at = self._clock.monotonic() + 1 / rate
        refresh_s = log.deployment.settings.refresh_s
        if request.action == REMOVE:
            return request
        if self._clock.monotonic() - self._read_at >= refresh_s:
            self._suppressed = suppression.read_suppressed(log.deployment.warehouse)
            self._held_out |= log.newly_held_out()
            self._read_at = self._clock.monotonic()
        kept = list[Member]()
        dropped = defaultdict[str, list[Member]](list)
        use_case = request.audience.use_case
        for member in request.members:
            if self._suppressed.covers(member.user_id, use_case):
                dropped[SUPPRESSED].append(member)
            elif member.user_id in self._held_out:
                dropped[HELD_OUT].append(member)
            else:
                kept.append(member)
        rejected = list[tuple[Request, str]]()
        for reason, members in dropped.items():
            why = MAYBE_ARRIVED if request.may_have_arrived else reason
            rejected.append((log.part(request, members), why))
        self._reject(rejected)
        return log.part(request, kept) if dropped else request

    def _pause(self, seconds: float) -> None:
        """Wait; raise Unavailable if the delivery would take too long."""
        if self._clock.monotonic() + seconds > self._ends_at:
            raise Unavailable("the delivery takes long, and the next call continues it")
        self._clock.sleep(seconds)

    def _wait(self, unanswered: Unanswered, tries: int) -> None:
        """Wait for the next try; raise Unavailable if that was the last."""
        if tries == TRIES:
            raise Unavailable(
                f"{unanswered.receiver} failed {tries} times, most recently with "
                f"{unanswered.reason}. Progress is saved",
                hint="Run the same command again to continue",
            ) from unanswered
        pause_s = unanswered.pause_s
        if not pause_s:
            pause_s = FIRST_PAUSE_S * 2 ** (tries - 1)
        self._pause(min(pause_s, LONGEST_PAUSE_S))

    def _refuse(self, request: Request, reason: str) -> list[Request]:
        """Return the halves of a refused request; none of a single user."""
        middle = len(request.members) // 2
        if middle:
            last = self._log.part(request, request.members[middle:])
            first = self._log.part(request, request.members[:middle])
            self._log.record(PENDING, (last, None), (first, None))
            return [last, first]
        was_refused = request.reason == reason
        if was_refused and request.action in self._taken | self._taken_before:
            # By an earlier delivery, which has told that the file may be at fault.
            self._reject([(request, reason)])
            return []
        refused = self._refused[request.action]
        refused.append((request, reason))
        if len(refused) == REFUSED_IN_A_ROW:
            self._stop(request.action)
        return []

    def _settle(self) -> None:
        """Reject refused users where the receiver takes others."""
        for action in self._taken:
            self._reject(self._refused.pop(action, []))

    def _reject(self, rejected: Sequence[tuple[Request, str]]) -> None:
        """Record users who are not sent again, with the reasons."""
        if rejected:
            # Another delivery may have sent them since.
            self._check()
        self._log.record(REJECTED, *rejected)
        for request, reason in rejected:
            self._done.count(len(request.members), request.action, reason)

    def _stop(self, action: str) -> None:
        """Raise RequestError; the users stay pending, as the file may be at fault."""
        refused = self._refused[action]
        self._log.record(PENDING, *refused)
        users = plural(len(refused), "user")
        raise RequestError(
            f"{self._log.destination.name} rejected {users} and accepted nobody "
            "since, so they stay pending",
            hint="Correct the destination's file; if these users are wrong, the next "
            "delivery continues with the others",
        )
