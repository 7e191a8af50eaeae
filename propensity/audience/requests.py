"""
The log of requests: what was sent to a destination of an audience, and what it said.

A request is a row with its users and its key, appended before it is sent and after it
is answered: pending, then accepted or rejected, in several rows where its users are not
of one kind. Rows are only added. ``ma_audience_ledger`` is a view of the newest of each
user, and ``ma_audience_lists`` of who is, or may be, on a list.

Who is due is found once, by one statement, into the table ``due`` of a session: with
the request that each is in. What is pending comes out as it is, so that the receiver
knows it. Where its users or the form of the destination's file have changed, who may
not be sent by now gets a row of why, and the rest is opened anew, by another key.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
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
from propensity.audience.members import Audience, Member, pages_of_batches, text_of
from propensity.clock import Clock
from propensity.gcp.session import Session
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


# What the rows of a request's users have in common.
SHARED = ("action", "request", "reason", "may_have_arrived")


class RequestLog:
    """The requests of an audience's as-of date to a destination."""

    def __init__(
        self,
        deployment: Deployment,
        session: Session,
        audience: Audience,
        destination: Destination,
        clock: Clock,
    ) -> None:
        self.deployment = deployment
        self.audience = audience
        self.destination = destination
        self.clock = clock
        self._session = session

    @property
    def key(self) -> dict[str, object]:
        """What all its rows have in common."""
        return {**self.audience.key, "destination": self.destination.name}

    @property
    def about(self) -> dict[str, object]:
        """Its audience and destination, with the numbers of members."""
        sums = self.audience.sums
        return {**self.key, "members": sums.members, "held_out": sums.control_members}

    def find_due(self) -> list[Any]:
        """
        Have the session's table of who is due.

        Returns:
            Rows of how many ``users`` are due in how many ``requests``, by ``action``
            and why they are ``barred``, if they are; and whether the destination has
            taken a request of the action (``is_taken``).
        """
        destination = self.destination
        known_by = destination.known_by
        is_file = destination.requests_of_a_file > 0
        sql = statement(
            "requests_due",
            known_by=_written(known_by),
            best_first=self.audience.order if is_file else "NULL",
        )
        given = {
            **self.key,
            "suppressed": self.audience.suppressed,
            "can_remove": REMOVE in destination.actions,
            "has_addresses": bool(known_by),
            "batch": destination.batch,
            "adding": self._key_begins(ADD),
            "removing": self._key_begins(REMOVE),
            "held_out": HELD_OUT,
            "may_have_arrived": MAYBE_ARRIVED,
        }
        return self._session.rows(sql, given)

    def newly_held_out(self) -> frozenset[str]:
        """Return who was to be treated, and has got into the control group since."""
        group = {"control_group": self.audience.control.group}
        rows = self._session.table(statement("audience_newly_held_out"), group)
        return frozenset(rows["user_id"].to_pylist())

    def open(self) -> None:
        """Add the rows of who is due: of requests, and of why users are in none."""
        given = {
            **self.key,
            "at": self.clock.now(),
            "users_of_a_row": USERS_OF_A_ROW,
        }
        self._session.execute(statement("requests_open"), given)

    def requests(self) -> Iterator[Request]:
        """Yield the requests that are due: removals first, refused ones last."""
        batches = self._session.batches(statement("requests_opened"))
        rows = chain.from_iterable(pages_of_batches(batches))
        for shared, together in groupby(rows, itemgetter(*SHARED)):
            action, key, reason, may_have_arrived = shared
            yield Request(
                self.audience,
                action,
                [_member(row) for row in together],
                key=key,
                reason=reason,
                may_have_arrived=may_have_arrived,
            )

    def part(self, request: Request, members: Sequence[Member]) -> Request:
        """Return a request of some of the users of another."""
        keys = [json.dumps(member.key, ensure_ascii=False) for member in members]
        content = f"{self._key_begins(request.action)}{', '.join(keys)}]]"
        key = hashlib.sha256(content.encode()).hexdigest()[:32]
        return replace(request, members=members, key=key, reason="")

    def _key_begins(self, action: str) -> str:
        """
        Return what is hashed into a key before the users: a list in JSON.

        With another form the content is another one, which receivers refuse under a key
        that they know.
        """
        parts = [str(value) for value in self.audience.key.values()]
        parts += [action, self.destination.name, self.destination.form]
        return f"{json.dumps(parts, ensure_ascii=False)[:-1]}, ["

    # -- rows

    def record(self, status: str, *requests: tuple[Request, str | None]) -> None:
        """Record all users of requests, each with a reason: all of them or none."""
        rows = list[Logged]()
        for request, reason in requests:
            rows += self._rows(request, status, reason)
        self._append(rows)

    def _rows(
        self,
        request: Request,
        status: str,
        reason: str | None,
        *,
        receipt: str | None = None,
        at: datetime | None = None,
        as_of: date | None = None,
    ) -> Iterator[Logged]:
        """
        Yield the rows of a request.

        Args:
            at: Now, unless it is given.
            as_of: Of the audience, unless it is given.
        """
        recipients = list[Recipient]()
        for member in request.members:
            recipients.append(Recipient(user_id=member.user_id, address=member.address))
        for start in range(0, len(recipients), USERS_OF_A_ROW):
            yield Logged(
                use_case=self.audience.use_case,
                audience=self.audience.name,
                as_of=self.audience.as_of if as_of is None else as_of,
                destination=self.destination.name,
                action=request.action,
                request=request.key,
                status=status,
                reason=reason,
                may_have_arrived=request.may_have_arrived,
                receipt=receipt,
                recorded_at=self.clock.now() if at is None else at,
                recipients=recipients[start : start + USERS_OF_A_ROW],
            )

    def _append(self, rows: Sequence[Logged]) -> None:
        if rows:
            self.deployment.warehouse.append(AUDIENCE_REQUESTS, rows)

    def record_sent(self, request: Request, sent: Sent, *, at: datetime) -> None:
        """
        Record what a receiver says of a request's users.

        Args:
            at: When the request was sent. A delivery that slept since, and was taken
                over, so says nothing newer than the other one.
        """
        rows = list[Logged]()
        groups = defaultdict[tuple[str | None, bool], list[Member]](list)
        for member in request.members:
            is_unsure = member.key in sent.unsure
            groups[sent.rejected.get(member.key), is_unsure].append(member)
        for (reason, is_unsure), members in groups.items():
            said = replace(
                request,
                members=members,
                may_have_arrived=request.may_have_arrived or is_unsure,
            )
            status = REJECTED
            if reason is None:
                status = PENDING if sent.receipt else ACCEPTED
            rows += self._rows(said, status, reason, receipt=sent.receipt, at=at)
        self._append(rows)

    def record_written(self, keys: Sequence[str]) -> None:
        """Record that a file has all users of requests; their rows are in the log."""
        parameters = {**self.key, "requests": list(keys), "at": self.clock.now()}
        sql = statement("requests_written")
        self.deployment.warehouse.execute(sql, parameters)

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
        settled = list[Logged]()
        waiting = 0
        about = itemgetter("as_of", "action", "request", "receipt", "may_have_arrived")
        for shared, group in groupby(rows, about):
            as_of, action, key, receipt, may_have_arrived = shared
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
                action,
                members,
                key=key,
                may_have_arrived=may_have_arrived or is_partial_removal,
            )
            status = ACCEPTED if is_accepted else REJECTED
            settled += self._rows(
                request, status, outcome.reason, receipt=receipt, as_of=as_of
            )
            if sum(len(row.recipients) for row in settled) >= ROWS_AT_ONCE:
                self._append(settled)
                settled.clear()
        self._append(settled)
        return waiting


def _member(row: dict[str, Any]) -> Member:
    values = {name: row[name] for name in row if name not in SHARED}
    return Member(**values)


def _written(known_by: Sequence[str]) -> str:
    """Return what a destination knows a user by, as an expression of SQL."""
    if not known_by:
        return "user_id"
    together = ", ' ', ".join(f"LOWER(TRIM({text_of(name)}))" for name in known_by)
    return f"IF(attributes IS NULL, NULL, CONCAT({together}))"
