"""
The log of requests: what was sent to a destination of an audience, and what it said.

A request is a row with its users and its key, appended before it is sent and after it
is answered: pending, then accepted or rejected, in several rows where its users are not
of one kind. Rows are only added. ``ma_audience_ledger`` is a view of the newest of each
user, and ``ma_audience_lists`` of who is, or may be, on a list.

What is pending is sent again: with the users and the key that it had, so that the
receiver knows it, less those who may not be sent by now: each of them gets a row of
why. With other users, or another form of the destination's file, it has another key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import cache
from itertools import chain, groupby
from typing import Any

from propensity.audience.destination import ADD, REMOVE, Destination, Request, Sent
from propensity.audience.members import Audience, Member, pages_of_batches
from propensity.clock import Clock
from propensity.registry.deployment import Deployment
from propensity.schema import ROWS_AT_ONCE
from propensity.statements import statement
from propensity.tables.audiences import AUDIENCE_REQUESTS, Logged, Recipient

PENDING = "pending"
ACCEPTED = "accepted"
REJECTED = "rejected"
SUPPRESSED = "suppressed, and not sent"
MAYBE_ARRIVED = "not sent again, but an earlier try may have arrived"
HELD_OUT = "in the control group by now, and not sent"
LEFT = "not in the audience's SQL any more, and not sent"
NO_REMOVAL = "its file has no [remove] any more; remove the user there yourself"
NO_ADDRESS = "its address is not stored any more; remove the user there yourself"

# Users of a row at most, which has 10 MB: ids may have a thousand letters.
USERS_OF_A_ROW = 5_000


@dataclass(frozen=True, slots=True)
class Waiting:
    """
    What the users of a request have in common, one of whom waits.

    Attributes:
        key: Under which the log has them; empty where it does not.
        was_refused, may_have_arrived, barred: As of ``Request``.
    """

    key: str
    was_refused: bool
    may_have_arrived: bool
    barred: str


class RequestLog:
    """
    The requests of an audience's as-of date to a destination.

    Attributes:
        fresh: Keys of requests that this delivery has recorded: no earlier one can have
            sent them.
    """

    def __init__(
        self,
        deployment: Deployment,
        audience: Audience,
        destination: Destination,
        clock: Clock,
        *,
        newly_held_out: Callable[[], Collection[str]] = frozenset,
    ) -> None:
        """
        Args:
            newly_held_out: Returns members to be treated whom the control group has by
                now.
        """
        self.deployment = deployment
        self.audience = audience
        self.destination = destination
        self.clock = clock
        self.newly_held_out = newly_held_out
        self.fresh = set[str]()
        self._rows = list[Logged]()
        self._users = 0

    @property
    def key(self) -> dict[str, object]:
        """What all its rows have in common."""
        return {**self.audience.key, "destination": self.destination.name}

    @property
    def about(self) -> dict[str, object]:
        """Its audience and destination, with the numbers of members."""
        sums = self.audience.sums
        return {**self.key, "members": sums.members, "held_out": sums.control_members}

    def requests(self) -> Iterator[Request]:
        """
        Yield the requests that are not answered yet: removals first, refused ones last.

        New ones have no key in the log yet. Nobody of those with ``barred`` may be
        sent.
        """
        actions = self.destination.actions
        yield from self._grouped(REMOVE, self._to_remove(can_remove=REMOVE in actions))
        if ADD in actions:
            yield from self._grouped(ADD, self._to_add())

    def _grouped(
        self, action: str, users: Iterable[tuple[Waiting, Member]]
    ) -> Iterator[Request]:
        """Yield requests of users who come one after the other."""
        members = list[Member]()
        before = Waiting("", False, False, "")
        for waiting, member in users:
            is_full = len(members) == self.destination.batch
            if members and (is_full or waiting != before):
                yield self._request(action, before, members)
                members = []
            before = waiting
            members.append(member)
        if members:
            yield self._request(action, before, members)

    def _request(
        self, action: str, waiting: Waiting, members: Sequence[Member]
    ) -> Request:
        key = waiting.key
        return Request(
            self.audience,
            self.destination.name,
            action,
            members,
            form=self.destination.form,
            recorded_as=key,
            was_refused=waiting.was_refused,
            # What an earlier delivery left pending it may have sent.
            may_have_arrived=waiting.may_have_arrived
            or bool(key)
            and key not in self.fresh,
            barred=waiting.barred,
        )

    def _to_add(self) -> Iterator[tuple[Waiting, Member]]:
        is_file = bool(self.destination.requests_of_a_file)
        best_first = self.audience.order if is_file else ""
        parameters = {"action": ADD, "best_first": best_first}
        for row in self._read("requests_to_add", parameters):
            key = row.pop("request")
            was_refused = row.pop("was_refused")
            may_have_arrived = row.pop("may_have_arrived")
            is_treated = row.pop("is_treated")
            is_newly_held_out = row.pop("is_newly_held_out")
            barred = ""
            if is_treated:
                # Of additions the id alone tells one from the other.
                row["address"] = None
            elif may_have_arrived or key and key not in self.fresh:
                barred = MAYBE_ARRIVED
            else:
                barred = HELD_OUT if is_newly_held_out else LEFT
            waiting = Waiting(key, was_refused, may_have_arrived, barred)
            yield waiting, Member(**row)

    def _to_remove(self, *, can_remove: bool) -> Iterator[tuple[Waiting, Member]]:
        """Yield who has left, or is on the list by another address than today's."""
        known_by = self.destination.known_by
        parts = {"known_by": _written(known_by)}
        for row in self._read("requests_to_remove", {"action": REMOVE}, **parts):
            key = row.pop("request")
            was_refused = row.pop("was_refused")
            may_have_arrived = row.pop("may_have_arrived")
            member = Member(**row)
            if not key and not can_remove:
                continue
            barred = ""
            if not can_remove:
                # It would be sent as an addition.
                barred = NO_REMOVAL
            elif known_by and member.attributes is None:
                barred = NO_ADDRESS
            yield Waiting(key, was_refused, may_have_arrived, barred), member

    def _read(
        self, name: str, parameters: Mapping[str, object], **parts: str
    ) -> Iterator[dict[str, Any]]:
        """Yield rows about the audience's members."""
        source = self.audience.source
        given = {**source.parameters, **self.key, **parameters}
        sql = source.statement(name, **parts)
        batches = self.deployment.warehouse.batches(sql, given)
        return chain.from_iterable(pages_of_batches(batches))

    # -- rows

    def record(self, request: Request, status: str, reason: str | None = None) -> None:
        """Record all users of a request, with one status."""
        self._add(request, request.members, status, reason=reason)
        if status == PENDING:
            self.fresh.add(request.key)

    def reject(self, request: Request) -> None:
        """Record the users of a request of whom nobody may be sent."""
        is_maybe = request.may_have_arrived or request.barred == MAYBE_ARRIVED
        self.record(
            replace(request, may_have_arrived=is_maybe), REJECTED, request.barred
        )

    def record_sent(self, request: Request, sent: Sent, *, at: datetime) -> None:
        """
        Record what a receiver says of a request's users.

        Args:
            at: When the request was sent. A delivery that slept since, and was taken
                over, so says nothing newer than the other one.
        """
        groups = dict[tuple[str | None, bool], list[Member]]()
        for member in request.members:
            kind = sent.rejected.get(member.key), member.key in sent.unsure
            groups.setdefault(kind, []).append(member)
        status = PENDING if sent.receipt else ACCEPTED
        for (reason, is_unsure), members in groups.items():
            self._add(
                replace(
                    request, may_have_arrived=request.may_have_arrived or is_unsure
                ),
                members,
                status if reason is None else REJECTED,
                reason=sent.note if reason is None else reason,
                receipt=sent.receipt,
                at=at,
            )

    def record_written(self, keys: Sequence[str]) -> None:
        """Record that a file has all users of requests; their rows are in the log."""
        parameters = {**self.key, "requests": list(keys), "at": self.clock.now()}
        sql = statement("requests_written")
        self.deployment.warehouse.execute(sql, parameters)

    def _add(
        self,
        request: Request,
        members: Sequence[Member],
        status: str,
        *,
        reason: str | None = None,
        receipt: str | None = None,
        at: datetime | None = None,
        as_of: date | None = None,
        key: str = "",
    ) -> None:
        """
        Add rows of some users of a request.

        Args:
            at: Now, unless it is given.
            as_of: Of the audience, unless it is given.
            key: The request's own, unless it is given.
        """
        known_by = self.destination.known_by
        recipients = list[Recipient]()
        for member in members:
            address = member.address
            if address is None:
                address = fingerprint(member, known_by)
            recipients.append(Recipient(user_id=member.user_id, address=address))
        for start in range(0, len(recipients), USERS_OF_A_ROW):
            row = Logged(
                use_case=self.audience.use_case,
                audience=self.audience.name,
                as_of=self.audience.as_of if as_of is None else as_of,
                destination=self.destination.name,
                action=request.action,
                request=key if key else request.key,
                status=status,
                reason=reason,
                may_have_arrived=request.may_have_arrived,
                receipt=receipt,
                recorded_at=self.clock.now() if at is None else at,
                recipients=recipients[start : start + USERS_OF_A_ROW],
            )
            self._rows.append(row)
        self._users += len(recipients)

    def flush(self, *, at_least: int = 1) -> None:
        """Write what waits, all of it or nothing, once it has so many users."""
        if self._users >= at_least:
            self.deployment.warehouse.append(AUDIENCE_REQUESTS, self._rows)
            self._rows.clear()
            self._users = 0

    # -- what the destination says

    def settle(self) -> int:
        """
        Record what the destination says now of users whom it has since an earlier time.

        Returns:
            How many users it still says nothing of, as of all dates.
        """
        sql = statement("requests_with_receipt")
        batches = self.deployment.warehouse.batches(sql, self.key)
        rows = chain.from_iterable(pages_of_batches(batches))
        outcome_of = cache(self.destination.outcome)
        waiting = 0
        for settled, group in groupby(rows, _about_receipt):
            as_of, action, key, receipt, may_have_arrived = settled
            members = [Member(row["user_id"], address=row["address"]) for row in group]
            outcome = outcome_of(receipt)
            if outcome is None:
                waiting += len(members)
                continue
            # Who of a removal in part is on the list still, nobody knows.
            is_partial_removal = outcome.is_partial and action == REMOVE
            is_accepted = outcome.is_accepted and not is_partial_removal
            request = Request(
                self.audience,
                self.destination.name,
                action,
                members,
                may_have_arrived=may_have_arrived or is_partial_removal,
            )
            self._add(
                request,
                members,
                ACCEPTED if is_accepted else REJECTED,
                reason=outcome.reason,
                receipt=receipt,
                as_of=as_of,
                key=key,
            )
            self.flush(at_least=ROWS_AT_ONCE)
        self.flush()
        return waiting

    def taken(self) -> set[str]:
        """Return the actions of which the destination has taken a request."""
        sql = statement("requests_taken")
        rows = self.deployment.warehouse.rows(sql, self.key)
        return {row["action"] for row in rows}


def _about_receipt(row: Mapping[str, Any]) -> tuple[Any, ...]:
    names = ("as_of", "action", "request", "receipt", "may_have_arrived")
    return tuple(row[name] for name in names)


def fingerprint(member: Member, known_by: Sequence[str]) -> str | None:
    """
    Return what tells a user's address from the earlier ones, and reveals none.

    Args:
        known_by: Columns by which a destination knows a user; without any a user has
            no address.
    """
    if not known_by or member.attributes is None:
        return None
    parts = [member.user_id]
    for column in known_by:
        parts.append(member.known_by(column))
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _written(known_by: Sequence[str]) -> str:
    """Return what a destination knows a user by, as an expression of SQL."""
    if not known_by:
        return "user_id"
    values = []
    for column in known_by:
        path = json.dumps(column, ensure_ascii=False)
        values.append(f"LOWER(TRIM(IFNULL(JSON_VALUE(attributes, '$.{path}'), '')))")
    together = ", ' ', ".join(values)
    return f"IF(attributes IS NULL, NULL, CONCAT({together}))"
