"""
The delivery of an audience, and the ledger that it goes on from.

Users who are no members any more are removed first, where the destination can; then all
treated members are added. Users are recorded as pending, with the request that they are
in, before anything is sent. A delivery that was killed sends the requests that are
still pending again: each has the users and the key that it had, so the receiver knows
it. Rows are only added; ``ma_audience_ledger`` is a view of the newest of each user.

A destination sends a request once. Here is decided whether and when it is sent again:
before each try the list of suppressed users, the lease, whether somebody has stopped it
and the time are looked at.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import cache

from msgspec import structs

from propensity import suppression
from propensity.audience.destination import (
    ADD,
    REMOVE,
    Destination,
    Refused,
    Request,
    Sent,
    Stopped,
    Unanswered,
)
from propensity.audience.forms import SHOWN_ANSWERS
from propensity.audience.lists import Entry, fingerprint
from propensity.audience.members import Audience, Member
from propensity.audience.result import results, sentence
from propensity.clock import Clock
from propensity.errors import PropensityError, RequestError, Unavailable
from propensity.pages.words import plural
from propensity.registry.deployment import Deployment
from propensity.schema import ROWS_AT_ONCE, rows_of
from propensity.statements import statement
from propensity.tables.audiences import AUDIENCE_LEDGER, Delivery

PENDING = "pending"
ACCEPTED = "accepted"
REJECTED = "rejected"
SUPPRESSED = "suppressed, and not sent"
MAYBE_ARRIVED = "not sent again, but an earlier try may have arrived"
HELD_OUT = "in the control group by now, and not sent"
NO_REMOVAL = "its file has no [remove] any more; remove the user there yourself"
NO_ADDRESS = "its address is not stored any more; remove the user there yourself"
# Ten users refused in a row end a delivery, because its file must be at fault.
REFUSED_IN_A_ROW = 10
# How often a request is sent that is not answered; pauses double.
TRIES = 8
FIRST_PAUSE_S = 0.5
# A receiver may ask for a pause of this length.
LONGEST_PAUSE_S = 900.0


# Hands over requests one by one, such as to a bar of progress.
Watched = Callable[[Sequence[Request]], Iterable[Request]]


@dataclass(frozen=True)
class Ledger:
    """
    The rows of an audience's as-of date and a destination.

    Attributes:
        newly_held_out: Returns members to be treated whom the control group has by now.
        rows: Rows that wait to be written.
    """

    deployment: Deployment
    audience: Audience
    destination: Destination
    clock: Clock
    newly_held_out: Callable[[], Collection[str]] = frozenset
    rows: list[Delivery] = field(default_factory=list)

    @property
    def key(self) -> dict[str, object]:
        """What all its rows have in common."""
        return {**self.audience.key, "destination": self.destination.name}

    @property
    def about(self) -> dict[str, object]:
        """Its audience and destination, with the numbers of members."""
        members = len(self.audience.members)
        treated = len(self.audience.treated)
        return {**self.key, "members": members, "held_out": members - treated}

    def recorded(self) -> list[Delivery]:
        """
        Return the row of each action and user, in the order of requests.

        Of earlier dates there are those alone of whom the destination has yet to say
        what became: they have a receipt, and are pending.
        """
        sql = statement("audience_recorded")
        rows = self.deployment.warehouse.table(sql, self.key)
        return [Delivery.of(row) for row in rows_of(rows)]

    def listed(self) -> list[Entry]:
        """Return who was added as of an earlier date, and not removed since."""
        sql = statement("audience_listed")
        rows = self.deployment.warehouse.table(sql, self.key)
        return [Entry(**row) for row in rows_of(rows)]

    def record(self, request: Request, status: str, reason: str | None = None) -> None:
        """Record a request's users, all with one status."""
        for member in request.members:
            self._add(request, member, status, reason=reason)

    def reject(self, action: str, member: Member, reason: str) -> None:
        """Record a user who may not be sent."""
        name = self.destination.name
        is_maybe = reason == MAYBE_ARRIVED
        request = Request(
            self.audience, name, action, [member], may_have_arrived=is_maybe
        )
        self.record(request, REJECTED, reason)

    def record_sent(self, request: Request, sent: Sent, *, at: datetime) -> None:
        """
        Record what a receiver says of a request's users.

        Args:
            at: When the request was sent. A delivery that slept since, and was taken
                over, so says nothing newer than the other one.
        """
        status = PENDING if sent.receipt else ACCEPTED
        for member in request.members:
            reason = sent.rejected.get(member.key)
            is_rejected = reason is not None
            self._add(
                request,
                member,
                REJECTED if is_rejected else status,
                reason=reason if is_rejected else sent.note,
                receipt=sent.receipt,
                at=at,
                may_have_arrived=member.key in sent.unsure,
            )

    def _add(
        self,
        request: Request,
        member: Member,
        status: str,
        *,
        reason: str | None = None,
        receipt: str | None = None,
        at: datetime | None = None,
        may_have_arrived: bool = False,
    ) -> None:
        if at is None:
            at = self.clock.now()
        if isinstance(member, Entry):
            address = member.address
        else:
            address = fingerprint(member, self.destination.known_by)
        row = Delivery(
            use_case=self.audience.use_case,
            audience=self.audience.name,
            as_of=self.audience.as_of,
            destination=self.destination.name,
            action=request.action,
            user_id=member.user_id,
            address=address,
            request=request.key,
            status=status,
            reason=reason,
            may_have_arrived=request.may_have_arrived or may_have_arrived,
            receipt=receipt,
            recorded_at=at,
        )
        self.rows.append(row)

    def settle(self, recorded: Sequence[Delivery]) -> int:
        """
        Record what the destination says now of users whom it has since an earlier time.

        Returns:
            How many users it still says nothing of, as of all dates.
        """
        outcome_of = cache(self.destination.outcome)
        waiting = 0
        for row in recorded:
            if row.status != PENDING or row.receipt is None:
                continue
            outcome = outcome_of(row.receipt)
            if outcome is None:
                waiting += 1
                continue
            # Who of a removal in part is on the list still, nobody knows.
            is_partial_removal = outcome.is_partial and row.action == REMOVE
            is_accepted = outcome.is_accepted and not is_partial_removal
            settled = structs.replace(
                row,
                status=ACCEPTED if is_accepted else REJECTED,
                reason=outcome.reason,
                may_have_arrived=row.may_have_arrived or is_partial_removal,
                recorded_at=self.clock.now(),
            )
            self.rows.append(settled)
        self.flush()
        return waiting

    def flush(self) -> None:
        """Write what waits: all of it or nothing."""
        if self.rows:
            self.deployment.warehouse.append(AUDIENCE_LEDGER, self.rows)
            self.rows.clear()


def account(deployment: Deployment, audience: str) -> dict[str, object]:
    """
    Return what the ledger has of an audience: members, and users by their status; and
    what contacting them brought, once outcomes are known.

    Raises:
        RequestError: There is no audience of this name.
    """
    name = deployment.use_case.name
    members = deployment.rows("audience_selections", audience=audience)
    if not members:
        raise RequestError(f"{name} has no audience {audience!r}", field="audience")
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


def requests_left(ledger: Ledger, recorded: Sequence[Delivery]) -> list[Request]:
    """
    Return the requests that were not answered yet: removals first, refused users last.

    Those that are pending in the ledger have the users, and so the key, that they had.
    """
    audience = ledger.audience
    destination = ledger.destination
    treated = {member.user_id: member for member in audience.treated}
    listed = ledger.listed() if REMOVE in destination.actions else []
    removable = {entry.key: entry for entry in listed}
    done = set[tuple[str, str]]()
    leaving = list[tuple[Entry, str]]()
    # New requests have no key yet.
    groups = defaultdict[tuple[str, str], list[Member]](list)
    for row in recorded:
        action = row.action
        user = row.user_id
        key = row.request
        if row.as_of != audience.as_of:
            continue
        entry = Entry(user, address=row.address)
        done.add((action, entry.key if action == REMOVE else user))
        if row.status != PENDING or row.receipt:
            continue
        if action not in destination.actions:
            # It would be sent as an addition.
            ledger.reject(action, entry, NO_REMOVAL)
        elif action == REMOVE:
            leaving.append((removable.get(entry.key, entry), key))
        elif user in treated:
            groups[action, key].append(treated[user])
        else:
            # Who is not read any more is suppressed or not in the SQL; or is held out
            # by now.
            ledger.reject(action, entry, MAYBE_ARRIVED)
    for member in sorted(audience.members, key=lambda member: member.user_id):
        if (ADD, member.user_id) in done:
            continue
        if member.user_id in treated:
            groups[ADD, ""].append(member)
        elif member.user_id in audience.held_out:
            ledger.reject(ADD, member, HELD_OUT)
    for entry in _leaving(listed, audience.treated, destination.known_by):
        if (REMOVE, entry.key) not in done:
            leaving.append((entry, ""))
    for entry, key in leaving:
        if destination.known_by and entry.attributes is None:
            ledger.reject(REMOVE, entry, NO_ADDRESS)
        else:
            groups[REMOVE, key].append(entry)
    refused = {row.request for row in recorded if row.status == PENDING and row.reason}
    requests = _requests_of(ledger, groups, refused)
    # Rows come in any order, and ten who are refused in a row end a delivery: in the
    # order of their users, requests meet the same ones in a row as the last time.
    requests.sort(key=lambda request: (request.was_refused, request.members[0].key))
    return sorted(requests, key=lambda request: request.action == ADD)


def _requests_of(
    ledger: Ledger,
    groups: Mapping[tuple[str, str], Sequence[Member]],
    refused: Collection[str],
) -> list[Request]:
    """Return requests of members, by action and the key that the ledger has."""
    requests = list[Request]()
    destination = ledger.destination
    size = destination.batch
    for (action, key), members in groups.items():
        for start in range(0, len(members), size):
            request = Request(
                ledger.audience,
                destination.name,
                action,
                members[start : start + size],
                form=destination.form,
                recorded_as=key,
                was_refused=key in refused,
                # What an earlier delivery left pending it may have sent.
                may_have_arrived=bool(key),
            )
            requests.append(request)
    return requests


def _leaving(
    listed: Sequence[Entry], treated: Sequence[Member], known_by: Sequence[str]
) -> list[Entry]:
    """
    Return who is taken off a list, in order: who has left, or has another address.

    Otherwise the earlier address would stay on the list for good.

    Args:
        known_by: Columns by which the destination knows a user.
    """
    staying = {member.user_id: member for member in treated}
    leaving = []
    for entry in listed:
        now = staying.get(entry.user_id, Member(entry.user_id))
        is_known = entry.attributes is not None
        has_changed = any(
            entry.known_by(name) != now.known_by(name) for name in known_by
        )
        if entry.user_id not in staying or is_known and has_changed:
            leaving.append(entry)
    return sorted(leaving, key=lambda entry: entry.key)


def users_of(requests: Sequence[Request], action: str) -> int:
    """Return how many users are to be added or removed."""
    return sum(len(item.members) for item in requests if item.action == action)


@dataclass
class DeliveryResult:
    """
    What a delivery did: users sent are those accepted and those rejected.

    Attributes:
        about: Of which audience, as ``Ledger.about`` has it.
        pending: Of how many users it is not known yet what became.
        reasons: By action, how many were rejected for a reason, or accepted for none.
        failure: What ended the delivery early.
        words: Of the receiver, as of ``Sent``: some, each once.
    """

    about: Mapping[str, object]
    pending: int
    reasons: Mapping[str, Counter[str]] = field(
        default_factory=lambda: {ADD: Counter(), REMOVE: Counter()}
    )
    failure: PropensityError | None = None
    words: list[str] = field(default_factory=list)

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

    def count(self, request: Request, sent: Sent) -> None:
        """Count the users of a request of whom it is known what became."""
        keys = sent.rejected if sent.receipt else request.keys
        for key in keys:
            self.reasons[request.action][sent.rejected.get(key, "")] += 1
        self.pending -= len(keys)

    def hear(self, words: Iterable[str]) -> None:
        """Keep some of a receiver's words, to show them."""
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


def deliver(
    ledger: Ledger,
    recorded: Sequence[Delivery],
    *,
    check: Callable[[], object],
    ends_at: float = math.inf,
    watched: Watched = iter,
) -> DeliveryResult:
    """
    Send the requests that are left; return what became of their users.

    What became of a request is recorded before the next one is sent: after a kill one
    request alone may be sent again.

    A request that is refused is sent again in halves, until the users at fault are
    alone: so a user costs two requests for each halving. The halves are recorded before
    they are sent, as all requests are.

    Args:
        recorded: What the ledger has.
        check: Raises PropensityError once nothing may be sent any more, as without the
            lease.
        ends_at: Until when requests may be sent, by the monotonic clock.
        watched: Hands over the requests, such as to a bar of progress.
    """
    requests = requests_left(ledger, recorded)
    done = DeliveryResult(
        ledger.about, users_of(requests, ADD) + users_of(requests, REMOVE)
    )
    for row in ledger.rows:
        # Who may not be sent any more is rejected.
        reason = "" if row.reason is None else row.reason
        done.reasons[row.action][reason] += 1
    for request in requests:
        if request.key != request.recorded_as:
            ledger.record(request, PENDING)
        if len(ledger.rows) >= ROWS_AT_ONCE:
            ledger.flush()
    ledger.flush()
    course = Course(ledger, check, done, ends_at)
    for row in recorded:
        has_taken = row.status == ACCEPTED or row.receipt is not None
        if has_taken and row.as_of == ledger.audience.as_of:
            course.taken.add(row.action)
    try:
        for planned in watched(requests):
            course.run(planned)
        course.end()
    except PropensityError as error:
        done.failure = error
    return done


class Course:
    """
    The course of a delivery: requests are sent until each of them is answered.

    Attributes:
        taken: Actions of which the receiver has taken a request of this date.
    """

    def __init__(
        self,
        ledger: Ledger,
        check: Callable[[], object],
        done: DeliveryResult,
        ends_at: float,
    ) -> None:
        self.taken = set[str]()
        self._ledger = ledger
        self._check = check
        self._done = done
        self._clock = ledger.clock
        self._ends_at = ends_at
        self._due_at = -math.inf
        self._suppressed = suppression.NOBODY
        self._held_out: Collection[str] = ()
        self._read_at = -math.inf
        # By action, requests of one user that were refused since the last one that was
        # taken, with the reasons: users or the file may be at fault.
        self._refused = defaultdict[str, list[tuple[Request, str]]](list)

    def run(self, planned: Request) -> None:
        """
        Send a request, maybe in parts, and record what became of its users.

        Raises:
            RequestError: The receiver refuses everybody.
            Conflict: Another delivery has taken over.
            Unavailable: The receiver does not answer, or the time is over.
            PropensityError: The receiver will take nothing.
        """
        waiting = [planned]
        while waiting:
            waiting += self._send(waiting.pop())

    def end(self) -> None:
        """
        Record the users who were refused last.

        Raises:
            RequestError: The receiver has taken nobody.
        """
        for action, refused in self._refused.items():
            if refused and action not in self.taken:
                self._stop(action)
        self._settle()

    def _send(self, request: Request) -> list[Request]:
        """Send a request until it is answered; return what is to be sent instead."""
        tries = 0
        while True:
            request = self._allowed(request)
            if not request.members:
                return []
            self._check()
            began_at = self._clock.now()
            try:
                sent = self._ledger.destination.send(request)
                break
            except Refused as refusal:
                self._done.hear([refusal.words])
                return self._refuse(request, str(refusal))
            except Stopped as stop:
                self._done.hear([stop.words])
                # Nobody is refused: it may have arrived, and is sent again.
                stopped = replace(request, may_have_arrived=True)
                self._ledger.record(stopped, PENDING, stop.reason)
                self._ledger.flush()
                raise stop.error from None
            except Unanswered as unanswered:
                tries += 1
                request = replace(request, may_have_arrived=True)
                self._wait(unanswered, tries)
        self._done.hear(sent.words)
        self.taken.add(request.action)
        self._ledger.record_sent(request, sent, at=began_at)
        self._ledger.flush()
        self._done.count(request, sent)
        self._settle()
        return []

    def _allowed(self, request: Request) -> Request:
        """
        Return a request, once it may be sent, without those who may not be added.

        Who is suppressed or held out by now is read as often as functions read it,
        since a delivery may take days. Everybody may be taken off a list.
        """
        ledger = self._ledger
        self._pause(max(0.0, self._due_at - self._clock.monotonic()))
        rate = ledger.destination.rate
        if rate:
            self._due_at = self._clock.monotonic() + 1 / rate
        refresh_s = ledger.deployment.settings.refresh_s
        if self._clock.monotonic() - self._read_at >= refresh_s:
            self._suppressed = suppression.read(ledger.deployment.warehouse)
            self._held_out = ledger.newly_held_out()
            self._read_at = self._clock.monotonic()
        if request.action == REMOVE:
            return request
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
        for reason, members in dropped.items():
            words = MAYBE_ARRIVED if request.may_have_arrived else reason
            self._reject(replace(request, members=members), words)
        return replace(request, members=kept)

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
        """Return the halves of a refused request; a single user stays pending."""
        middle = len(request.members) // 2
        if middle:
            last = replace(request, members=request.members[middle:])
            first = replace(request, members=request.members[:middle])
            self._ledger.record(last, PENDING)
            self._ledger.record(first, PENDING)
            self._ledger.flush()
            return [last, first]
        refused = self._refused[request.action]
        refused.append((request, reason))
        if request.was_refused and request.action in self.taken:
            # All others were tried before this user.
            self._settle()
        elif len(refused) == REFUSED_IN_A_ROW:
            self._stop(request.action)
        return []

    def _settle(self) -> None:
        """Record what waits, and refused users where the receiver takes others."""
        settled = list[tuple[Request, str]]()
        for action in self.taken:
            settled += self._refused.pop(action, [])
        if settled:
            # Another delivery may have sent them since.
            self._check()
        for request, reason in settled:
            self._ledger.record(request, REJECTED, reason)
        self._ledger.flush()
        for request, reason in settled:
            self._done.count(request, Sent(dict.fromkeys(request.keys, reason)))

    def _reject(self, request: Request, reason: str) -> None:
        self._check()
        self._ledger.record(request, REJECTED, reason)
        self._ledger.flush()
        self._done.count(request, Sent(dict.fromkeys(request.keys, reason)))

    def _stop(self, action: str) -> None:
        """Raise RequestError; the users stay pending, as the file may be at fault."""
        refused = self._refused[action]
        for request, reason in refused:
            self._ledger.record(request, PENDING, reason)
        self._ledger.flush()
        users = plural(len(refused), "user")
        raise RequestError(
            f"{self._ledger.destination.name} rejected {users} and accepted nobody "
            "since, so they stay pending",
            hint="Correct the destination's file; if these users are wrong, the next "
            "delivery continues with the others",
        )
