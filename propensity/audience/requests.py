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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from functools import cache
from itertools import chain, groupby
from operator import itemgetter
from typing import Any

from propensity.audience.destinations.destination import (
    ADD,
    REMOVE,
    Destination,
    Request,
    Sent,
)
from propensity.audience.members import Audience, Member, pages_of_batches
from propensity.clock import Clock
from propensity.registry.deployment import Deployment
from propensity.schema import ROWS_AT_ONCE
from propensity.statements import statement
from propensity.tables.audiences import AUDIENCE_REQUESTS, Logged, Recipient

PENDING = "pending"
ACCEPTED = "accepted"
REJECTED = "rejected"
HELD_OUT = "in the control group by now, and not sent"
MAYBE_ARRIVED = "not sent again, but an earlier try may have arrived"

# Users of a row at most, which has 10 MB: ids may have a thousand letters.
USERS_OF_A_ROW = 5_000


# What the users of a request have in common, one of whom waits.
SHARED = ("request", "was_refused", "may_have_arrived", "barred")


class RequestLog:
    """
    The requests of an audience's as-of date to a destination.

    Attributes:
        earlier: Keys of requests that an earlier delivery left pending: it may have
            sent them. None for all, until this delivery has looked.
    """

    def __init__(
        self,
        deployment: Deployment,
        audience: Audience,
        destination: Destination,
        clock: Clock,
    ) -> None:
        self.deployment = deployment
        self.audience = audience
        self.destination = destination
        self.clock = clock
        self.earlier: set[str] | None = None
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
        destination = self.destination
        known_by = destination.known_by
        yield from self._grouped(
            REMOVE,
            "requests_to_remove",
            {
                "can_remove": REMOVE in destination.actions,
                "has_addresses": bool(known_by),
            },
            known_by=_written(known_by),
        )
        best_first = ""
        if destination.requests_of_a_file:
            best_first = self.audience.order
        if ADD in destination.actions:
            given = {"best_first": best_first, "held_out": HELD_OUT}
            yield from self._grouped(ADD, "requests_to_add", given)

    def _grouped(
        self, action: str, name: str, parameters: Mapping[str, object], **parts: str
    ) -> Iterator[Request]:
        """Yield requests of users whose rows come one after the other."""
        source = self.audience.source
        given = {**source.parameters, **self.key, "action": action, **parameters}
        sql = source.statement(name, **parts)
        batches = self.deployment.warehouse.batches(sql, given)
        rows = chain.from_iterable(pages_of_batches(batches))
        for shared, together in groupby(rows, itemgetter(*SHARED)):
            key, was_refused, may_have_arrived, barred = shared
            for members in _batches(together, self.destination.batch):
                is_earlier = bool(key)
                if self.earlier is not None:
                    is_earlier = key in self.earlier
                yield Request(
                    self.audience,
                    self.destination.name,
                    action,
                    members,
                    form=self.destination.form,
                    recorded_as=key,
                    was_refused=was_refused,
                    may_have_arrived=may_have_arrived or is_earlier,
                    barred=barred,
                )

    # -- rows

    def record(self, request: Request, status: str, reason: str | None = None) -> None:
        """Record all users of a request, with one status."""
        self._add(request, request.members, status, reason=reason)

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
                reason=reason,
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
        about = itemgetter("as_of", "action", "request", "receipt", "may_have_arrived")
        for settled, group in groupby(rows, about):
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


def reason_not_sent(request: Request, reason: str) -> str:
    """Return why users are not sent, unless an addition of theirs may have arrived."""
    if request.action == ADD and request.may_have_arrived:
        return MAYBE_ARRIVED
    return reason


def _batches(rows: Iterable[dict[str, Any]], size: int) -> Iterator[list[Member]]:
    batch = list[Member]()
    for row in rows:
        for name in SHARED:
            del row[name]
        batch.append(Member(**row))
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


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
