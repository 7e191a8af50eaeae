"""
The delivery of an audience, and the ledger that it goes on from.

Users who are no members any more are removed first, where the destination can; then all
treated members are added. Users are recorded as pending, with the request that they are
in, before anything is sent. A delivery that was killed sends the requests that are
still pending again: each has the users and the key that it had, so the receiver knows
it. Rows are only added; ``ma_audience_ledger`` is a view of the newest of each user.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property

from msgspec import structs

from propensity import suppression
from propensity.audience.members import Audience, Member
from propensity.clock import Clock
from propensity.errors import PropensityError, RequestError
from propensity.registry.deployment import Deployment
from propensity.statements import statement
from propensity.suppression import Suppressed
from propensity.tables.audiences import AUDIENCE_LEDGER, Delivery

ADD, REMOVE = "add", "remove"
PENDING, ACCEPTED, REJECTED = "pending", "accepted", "rejected"
SUPPRESSED = "suppressed, and not sent"
# Ten users refused in a row end a delivery, because its file must be at fault.
REFUSED_IN_A_ROW = 10


class Later(dict[str, str]):
    """
    Reasons of the users who were rejected; of the others the receiver says later what
    became of them, if it is asked with the receipt.
    """

    def __init__(self, rejected: Mapping[str, str], receipt: str) -> None:
        super().__init__(rejected)
        self.receipt = receipt


@dataclass(frozen=True)
class Outcome:
    """What became of the users of a receipt, and a note for the log."""

    is_accepted: bool
    reason: str | None = None


class Refused(Exception):
    """The receiver will never take this request; the message is its reason."""


@dataclass(frozen=True)
class Request:
    """
    Users who are sent at once, to be added to a list or removed from it.

    Attributes:
        recorded_as: The key under which the ledger has these users as pending.
    """

    audience: Audience
    destination: str
    action: str
    members: Sequence[Member]
    recorded_as: str = ""

    @property
    def users(self) -> list[str]:
        """The ids of its users, in order."""
        return [member.user_id for member in self.members]

    @cached_property
    def key(self) -> str:
        """The idempotency key: the same for the same users, however often sent."""
        named = map(str, self.audience.key.values())
        parts = (*named, self.action, self.destination, self.users)
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


class Destination(ABC):
    """
    A receiver of users.

    Attributes:
        name: In the ledger.
        batch: Users in a request, at most.
        actions: ``add``, and ``remove`` where it can take users off its list.
    """

    name: str
    batch: int
    actions: Sequence[str] = (ADD,)

    @abstractmethod
    def send(self, request: Request) -> Mapping[str, str]:
        """
        Send users; return the reason of each who was rejected, maybe as ``Later``.

        Raises:
            Refused: All of them, for one reason.
            Unavailable: The outcome is not known; the same request may be sent again.
        """

    def validate(self, requests: Sequence[Request]) -> None:
        """Ask whether the first request would be taken; raises Refused if not."""
        raise RequestError(
            f"{self.name} cannot check requests without executing them",
            hint="Leave --validate out",
            field="validate",
        )

    def outcome(self, receipt: str) -> Outcome | None:
        """Return what became of the users of a receipt; None if that is still open."""
        return None


# Hands over requests one by one, such as to a bar of progress.
Watched = Callable[[Sequence[Request]], Iterable[Request]]


@dataclass(frozen=True)
class Ledger:
    """
    The rows of an audience's as-of date and a destination.

    Attributes:
        rows: Rows that wait to be written.
    """

    deployment: Deployment
    audience: Audience
    destination: Destination
    clock: Clock
    rows: list[Delivery] = field(default_factory=list)

    @property
    def key(self) -> dict[str, object]:
        """What all its rows have in common."""
        return {**self.audience.key, "destination": self.destination.name}

    @property
    def about(self) -> dict[str, object]:
        """Its audience and destination, with the numbers of members."""
        members, treated = len(self.audience.members), len(self.audience.treated)
        return {**self.key, "members": members, "held_out": members - treated}

    def recorded(self) -> list[Delivery]:
        """
        Return the row of each action and user, in the order of requests.

        Of earlier dates there are those alone of whom the destination has yet to say
        what became: they have a receipt, and are pending.
        """
        sql = statement("audience_recorded")
        rows = self.deployment.warehouse.table(sql, self.key)
        return [Delivery.of(row) for row in rows.to_pylist()]

    def listed(self) -> list[Member]:
        """Return who was added as of an earlier date, and not removed since."""
        sql = statement("audience_listed")
        rows = self.deployment.warehouse.table(sql, self.key)
        return [Member(**row) for row in rows.to_pylist()]

    def record(
        self, request: Request, status: str, reasons: Mapping[str, str] | None = None
    ) -> None:
        """Record a request's users, rejected where there is a reason for a user."""
        receipt, now = None, self.clock.now()
        if isinstance(reasons, Later):
            status, receipt = PENDING, reasons.receipt
        for member in request.members:
            reason = reasons.get(member.user_id) if reasons else None
            row = Delivery(
                use_case=self.audience.use_case,
                audience=self.audience.name,
                as_of=self.audience.as_of,
                destination=self.destination.name,
                action=request.action,
                user_id=member.user_id,
                request=request.key,
                status=status if reason is None else REJECTED,
                reason=reason,
                receipt=receipt,
                recorded_at=now,
            )
            self.rows.append(row)

    def record_suppressed(self, request: Request) -> None:
        """Record users who are not sent, because they were suppressed meanwhile."""
        self.record(request, REJECTED, dict.fromkeys(request.users, SUPPRESSED))

    def settle(self, recorded: Sequence[Delivery]) -> int:
        """
        Record what the destination says now of users whom it has since an earlier time.

        Returns:
            How many users it still says nothing of, as of all dates.
        """
        outcome_of, waiting = cache(self.destination.outcome), 0
        for row in recorded:
            if row.status != PENDING or row.receipt is None:
                continue
            outcome = outcome_of(row.receipt)
            if outcome is None:
                waiting += 1
                continue
            status = ACCEPTED if outcome.is_accepted else REJECTED
            known = {"reason": outcome.reason, "recorded_at": self.clock.now()}
            self.rows.append(structs.replace(row, status=status, **known))
        self.flush()
        return waiting

    def flush(self) -> None:
        """Write what waits: all of it or nothing."""
        if self.rows:
            self.deployment.warehouse.write(AUDIENCE_LEDGER, self.rows)
            self.rows.clear()


def account(deployment: Deployment, audience: str) -> dict[str, object]:
    """
    Return what the ledger has of an audience: members, and users by their status.

    Raises:
        RequestError: There is no audience of this name.
    """
    name, found = deployment.use_case.name, dict[str, object]()
    statements = {"members": "audience_selections", "users": "audience_deliveries"}
    for key, file in statements.items():
        rows = deployment.rows(file, audience=audience)
        found[key] = [dict(row.items()) for row in rows]
    if not found["members"]:
        raise RequestError(f"{name} has no audience {audience!r}", field="audience")
    return {"use_case": name, "audience": audience, **found}


def requests_left(ledger: Ledger, recorded: Sequence[Delivery]) -> list[Request]:
    """
    Return the requests that were not answered yet, removals first.

    Those that are pending in the ledger have the users, and so the key, that they had.
    """
    audience, destination = ledger.audience, ledger.destination
    known = {member.user_id: member for member in audience.members}
    listed = ledger.listed() if REMOVE in destination.actions else []
    removable = {member.user_id: member for member in listed}
    done = set[tuple[str, str]]()
    # New requests have no key yet.
    groups = defaultdict[tuple[str, str], list[Member]](list)
    for row in recorded:
        action, user, key = row.action, row.user_id, row.request
        if row.as_of != audience.as_of:
            continue
        done.add((action, user))
        if row.status != PENDING or row.receipt:
            continue
        if action == REMOVE:
            groups[action, key].append(removable.get(user) or Member(user))
        elif user in known:
            groups[action, key].append(known[user])
        else:
            # A member who is not read any more was suppressed since.
            ledger.record_suppressed(
                Request(audience, destination.name, action, [Member(user)], key)
            )
    for member in sorted(audience.treated, key=lambda one: one.user_id):
        removable.pop(member.user_id, None)
        if (ADD, member.user_id) not in done:
            groups[ADD, ""].append(member)
    for user in sorted(removable):
        if (REMOVE, user) not in done:
            groups[REMOVE, ""].append(removable[user])
    requests, size = list[Request](), destination.batch
    for (action, key), members in groups.items():
        for at in range(0, len(members), size):
            some = members[at : at + size]
            requests.append(Request(audience, destination.name, action, some, key))
    return sorted(requests, key=lambda request: request.action == ADD)


def users_of(requests: Sequence[Request], action: str) -> int:
    """Return how many users are to be added or removed."""
    return sum(len(one.members) for one in requests if one.action == action)


@dataclass
class Done:
    """
    What a delivery did: users sent are those accepted and those rejected.

    Attributes:
        about: Of which audience, as ``Ledger.about`` has it.
        pending: Of how many users it is not known yet what became.
        reasons: By action, how many were rejected for a reason, or accepted for none.
        failure: What ended the delivery early.
    """

    about: Mapping[str, object]
    pending: int
    reasons: Mapping[str, Counter[str]] = field(
        default_factory=lambda: {ADD: Counter(), REMOVE: Counter()}
    )
    failure: PropensityError | None = None

    @property
    def sent(self) -> int:
        """Users whose outcome is known."""
        return sum(reasons.total() for reasons in self.reasons.values())

    @property
    def accepted(self) -> int:
        """Users whom the receiver has taken."""
        return sum(reasons[""] for reasons in self.reasons.values())

    @property
    def rejected(self) -> int:
        """Users whom the receiver will not take."""
        return self.sent - self.accepted

    def count(self, request: Request, rejected: Mapping[str, str]) -> None:
        """Count the users of a request; of those sent ``Later`` the rejected ones."""
        known = [*rejected] if isinstance(rejected, Later) else request.users
        self.reasons[request.action].update(rejected.get(user, "") for user in known)
        self.pending -= len(known)

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


def deliver(
    requests: Sequence[Request], ledger: Ledger, *, watched: Watched = iter
) -> Done:
    """
    Send requests; return what became of their users, and what ended it early.

    What became of a request is recorded before the next one is sent: after a kill one
    request alone may be sent again. Suppressed users are not added. Their list is read
    again as often as functions read it: a delivery may take days.

    A request that is refused is sent again in halves, until the users at fault are
    alone: so a user costs two requests for each halving. The halves are recorded before
    they are sent, as all requests are.
    """
    warehouse, monotonic = ledger.deployment.warehouse, ledger.clock.monotonic
    refresh_s = ledger.deployment.settings.refresh_s
    for request in requests:
        if request.key != request.recorded_as:
            ledger.record(request, PENDING)
    ledger.flush()
    planned_users = sum(len(request.members) for request in requests)
    done, refused = Done(ledger.about, planned_users), 0
    listed, read_at = suppression.read(warehouse), monotonic()
    try:
        for planned in watched(requests):
            waiting = [planned]
            while waiting:
                if monotonic() - read_at >= refresh_s:
                    listed, read_at = suppression.read(warehouse), monotonic()
                request, dropped = _parted(listed, waiting.pop())
                ledger.record_suppressed(dropped)
                done.pending -= len(dropped.members)
                rejected: Mapping[str, str] = {}
                try:
                    if request.members:
                        rejected = ledger.destination.send(request)
                    refused = 0
                except Refused as refusal:
                    if len(request.members) > 1:
                        waiting += _halves(request, ledger)
                        continue
                    refused += 1
                    if refused == REFUSED_IN_A_ROW:
                        raise RequestError(
                            f"{request.destination} rejected {refused} users one after "
                            "the other",
                            hint="Correct the destination's file; if these users are "
                            "wrong, the next delivery continues with the others. The "
                            f"last answer: {refusal}",
                        ) from refusal
                    rejected = {request.members[0].user_id: str(refusal)}
                ledger.record(request, ACCEPTED, rejected)
                done.count(request, rejected)
                ledger.flush()
    except PropensityError as error:
        done.failure = error
    done.pending += len(ledger.rows)
    return done


def _halves(request: Request, ledger: Ledger) -> list[Request]:
    """Record the halves of a request as pending; return them, the first one last."""
    middle = len(request.members) // 2
    halves = []
    for part in (request.members[middle:], request.members[:middle]):
        halves.append(replace(request, members=part))
        ledger.record(halves[-1], PENDING)
    ledger.flush()
    return halves


def _parted(suppressed: Suppressed, request: Request) -> tuple[Request, Request]:
    """Return a request without suppressed users, and one of them; all are removed."""
    kept, dropped = list[Member](), list[Member]()
    for member in request.members:
        is_covered = suppressed.covers(member.user_id, request.audience.use_case)
        (dropped if is_covered and request.action == ADD else kept).append(member)
    return replace(request, members=kept), replace(request, members=dropped)
