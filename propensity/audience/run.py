"""
The preview of an audience, its delivery and its end, one at a time.

An end is a delivery of nobody, as of a date after all others: who is on the list of a
destination is taken off by the same course, so what is pending is sent again with its
key. The audience's file may be gone; the destination's is needed.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, timedelta

from propensity import errors
from propensity.audience import declared, receivers, stop_file, stopping
from propensity.audience.declared import Declared, DeclaredAudience
from propensity.audience.delivery import Delivery, DeliveryResult, Watched
from propensity.audience.destinations.destination import (
    ADD,
    REMOVE,
    Destination,
    Refused,
    Request,
    Unanswered,
)
from propensity.audience.destinations.kinds import ByHand, Secret, opened
from propensity.audience.members import find_or_choose, nobody, store
from propensity.audience.plan import known_newcomers, needed, planned, warnings_of
from propensity.audience.requests import RequestLog
from propensity.audience.stopping import Listed, listed
from propensity.clock import SYSTEM, Clock
from propensity.errors import RequestError
from propensity.gcp.session import Session, session_of
from propensity.ids import USER
from propensity.registry.deployment import Deployment
from propensity.registry.leases import leased
from propensity.tables.audiences import AUDIENCE_PLANS
from propensity.timeframe import DAY

# Older predictions send no one: the week's own are late.
FRESH = timedelta(days=7)


def preview(
    deployment: Deployment,
    named: DeclaredAudience,
    secret: Secret,
    *,
    until: date | None = None,
    validate: bool = False,
    clock: Clock = SYSTEM,
) -> dict[str, object]:
    """
    Return what a delivery would do, and the plan, as ``planned`` has it.

    Nothing is written, but for the key of control groups.

    Args:
        until: The newest publication up to this date counts; None for today.
        validate: Whether the receiver is asked if it would take the first request; of
            those that can say so without taking it.
    """
    with session_of(deployment.warehouse) as session:
        log = _opened(
            deployment,
            session,
            named,
            secret,
            until=until,
            clock=clock,
            is_planned=True,
        )
        users = Counter[str]()
        requests = 0
        for due in log.find_due():
            if not due["barred"]:
                users[due["action"]] += due["users"]
                requests += due["requests"]
        validated = None
        if validate and requests:
            validated = _validated(log.destination, next(log.requests()))
        plan = planned(session, named.declared, log.audience)
    audience = log.audience
    sums = audience.sums
    if log.destination.requests_of_a_file:
        requests = math.ceil(requests / log.destination.requests_of_a_file)
    cost = named.declared.cost
    columns = plan.columns()
    del columns["planned_at"], columns["control_key"]
    warnings = warnings_of(deployment, named, audience, log.destination, plan=plan)
    return {
        **log.about,
        "members_before": audience.last_size,
        "selection": audience.selection,
        "is_stored": audience.is_stored,
        "treated": sums.treated,
        "outcome": deployment.use_case.outcome,
        "expected": round(sums.expected, 1),
        "suppressed": sums.left_out,
        "sent_before": sums.treated - users[ADD],
        "to_remove": users[REMOVE],
        "requests": requests,
        "cost": None if cost is None else cost * sums.treated,
        "validated": validated,
        "warnings": list(warnings),
        "is_stopped": stop_file.read(deployment.artifacts).covers(
            deployment.use_case.name, named.name
        ),
        "members_needed": needed(audience, plan, named.declared),
        **columns,
    }


def _validated(destination: Destination, request: Request) -> str:
    """Return in a word what a receiver says of a request."""
    try:
        destination.validate(request)
    except Unanswered as unanswered:
        return str(unanswered)
    except Refused as refusal:
        return f"refused: {refusal}"
    return "yes"


def send(
    deployment: Deployment,
    named: DeclaredAudience,
    secret: Secret,
    *,
    until: date | None = None,
    may_be_empty: bool = False,
    scheduled_on: date | None = None,
    lists: Sequence[Listed] | None = None,
    ends_at: float = math.inf,
    watched: Watched | None = None,
    clock: Clock = SYSTEM,
) -> DeliveryResult:
    """
    Store the members of an audience, and send those who are treated.

    Args:
        may_be_empty: Whether an empty audience takes users of earlier dates off the
            list.
        scheduled_on: The day on which the clock sends it; None where a person does.
        lists: Who is on lists, as the run has read it; read here where None.
        ends_at: As of ``Delivery``; the next delivery goes on.
    """
    with (
        _alone(deployment, named.name, clock) as check,
        session_of(deployment.warehouse) as session,
    ):
        log = _opened(
            deployment, session, named, secret, until=until, clock=clock, lists=lists
        )
        audience = log.audience
        if scheduled_on:
            _check_unattended(log, scheduled_on)
        if not audience.is_stored:
            can_remove = REMOVE in log.destination.actions
            if not (audience.sums.members or (may_be_empty and can_remove)):
                advice = f"{log.destination.name} cannot remove users who were added"
                if can_remove:
                    advice = "If you mean it, --allow-empty removes who was added"
                raise RequestError(
                    f"the audience is empty for {audience.as_of}: {audience.selection}",
                    hint=advice,
                    field="audience",
                )
            newcomers = known_newcomers(deployment, audience)
            plan = planned(session, named.declared, audience, newcomers=newcomers)
            check()
            # First what the control group is drawn by: no member is there without it.
            deployment.warehouse.write(AUDIENCE_PLANS, [plan])
            store(session, audience)
        return Delivery(log, check=check, ends_at=ends_at).run(watched)


def end(
    deployment: Deployment,
    listing: Listed,
    secret: Secret,
    *,
    is_by_hand: bool = False,
    ends_at: float = math.inf,
    watched: Watched | None = None,
    clock: Clock = SYSTEM,
) -> DeliveryResult:
    """Take the users of an audience off a list, or record that a person did it."""
    name = listing.audience
    with (
        _alone(deployment, name, clock, is_sent=not is_by_hand) as check,
        session_of(deployment.warehouse) as session,
    ):
        destination: Destination = ByHand(listing.destination)
        if not is_by_hand:
            destination = _opened_to_remove(deployment, listing, secret)
        as_of = _ending_date(deployment, name)
        audience = nobody(deployment, session, name, as_of, clock.now())
        log = RequestLog(deployment, session, audience, destination, clock)
        return Delivery(log, check=check, ends_at=ends_at).run(watched)


@contextmanager
def _alone(
    deployment: Deployment, audience: str, clock: Clock, *, is_sent: bool = True
) -> Iterator[Callable[[], None]]:
    """
    Let no other delivery of an audience begin; yield what is asked before each request.

    A person may have stopped what ``is_sent`` to a receiver.
    """
    name = deployment.use_case.name
    kind = f"audience-{audience}"
    with leased(deployment.artifacts, name, kind, clock=clock.now) as lease:

        def check() -> None:
            lease.check()
            if is_sent:
                stopping.check(deployment, audience)

        check()
        yield check


def _opened(
    deployment: Deployment,
    session: Session,
    named: DeclaredAudience,
    secret: Secret,
    *,
    until: date | None,
    clock: Clock,
    is_planned: bool = False,
    lists: Sequence[Listed] | None = None,
) -> RequestLog:
    now = clock.now()
    audience = find_or_choose(
        deployment, session, named, until=until, now=now, is_planned=is_planned
    )
    destination = opened(
        named, deployment, secret, columns=audience.columns, clock=clock
    )
    if audience.control.by != USER:
        destination.take_for_address(audience.control.by)
    # Nobody would take users off the list of an earlier destination.
    for listing in listed(deployment) if lists is None else lists:
        if listing.audience != named.name or listing.destination == destination.name:
            continue
        _check_sends(deployment, listing)
        raise RequestError(
            f"{listing}, and nobody would take them off, because the audience now goes "
            f"to {destination.name}",
            hint="Restore the former name or destination, or take them off first: "
            f"propensity audience end {named.name} --destination "
            f"'{listing.destination}'",
            field="destination",
        )
    return RequestLog(deployment, session, audience, destination, clock)


def _check_unattended(log: RequestLog, day: date) -> None:
    """Stop a delivery by the clock that a person must look at."""
    deployment = log.deployment
    audience = log.audience
    name = audience.name
    as_of = audience.as_of
    if as_of <= day - FRESH:
        raise errors.AudienceWaits(
            f"{name} waits: the newest predictions are of {as_of}, a week or more "
            f"before {day}. Once 01-Predictions has published newer ones, the next "
            "call sends it"
        )
    champion = deployment.registry.champion()
    version = audience.model_version
    if champion and version not in [champion.version] + list(champion.earlier):
        request = json.dumps({"use_case": audience.use_case, "force": True})
        raise errors.AudienceWaits(
            f"{name} waits: the predictions of {as_of} are of version {version}, which "
            "was rolled back. To predict again: deploy/call.sh predictions "
            f"'{request}'"
        )
    words = f"{name} --use-case {audience.use_case}"
    by_hand = f"look at `propensity audience preview {words}`, then send this date "
    by_hand += f"yourself: propensity audience send {words}"
    destination = log.destination.name
    # Of files alone nobody need look.
    if deployment.settings.sends == "yes" and destination not in audience.sent_to:
        raise errors.AudienceStopped(
            f"{name} was never sent to {destination}, and a person sends the first "
            f"date: {by_hand}"
        )
    size = audience.sums.members
    before = audience.last_size
    if audience.is_stored or before is None:
        return
    if size > 2 * before or 2 * size < before:
        raise errors.AudienceStopped(
            f"{name} has {size:,} members, and had {before:,} as of the date before: "
            f"more than twice or less than half as many are not sent. {by_hand}"
        )


def _check_sends(deployment: Deployment, listing: Listed) -> None:
    """Raise SendingStopped where the deployment sends nothing: users on a list wait."""
    if deployment.settings.sends == "no":
        raise errors.SendingStopped(
            f"{listing}, and this deployment does not send (PROPENSITY_SENDS is no)",
            hint="To go on, set PROPENSITY_SENDS=yes and deploy",
            detail={"on_lists": listing.users},
        )


# -- the end --------------------------------------------------------------------------


def _ending_date(deployment: Deployment, audience: str) -> date:
    """Return the date of an ending that was interrupted, or the first one without."""
    # The newest date comes first.
    rows = deployment.rows("audience_deliveries", audience=audience)
    newest: date = rows[0]["as_of"]
    last = [row for row in rows if row["as_of"] == newest]
    is_ending = all(row["action"] == REMOVE for row in last)
    is_open = any(row["status"] in ("pending", "waiting") for row in last)
    return newest if is_ending and is_open else newest + DAY


def _opened_to_remove(
    deployment: Deployment, listing: Listed, secret: Secret
) -> Destination:
    """Open the destination that has a list."""
    name = listing.audience
    folder = declared.folder_of(deployment.use_case)
    file = None
    for name_of_file, entries in receivers.destinations(deployment.use_case):
        if entries.get("name") == listing.destination:
            file = name_of_file
    _check_sends(deployment, listing)
    # The columns that users on the list were sent with.
    columns = set[str]()
    of_list = {"audience": name, "destination": listing.destination}
    for row in deployment.rows("list_columns", **of_list):
        if row["attributes"] is not None:
            columns.update(json.loads(row["attributes"]))
    destination: Destination | None = None
    if file is not None:
        named = DeclaredAudience(name, folder, Declared(destination=file, top=1))
        destination = opened(named, deployment, secret, columns=sorted(columns))
    if destination is None or REMOVE not in destination.actions:
        raise RequestError(
            f"{listing}, and no file in audiences/destinations has this name and "
            "[remove]",
            hint="Restore or correct the file. Or remove the users there yourself, "
            f"then record it: propensity audience end {name} --destination "
            f"'{listing.destination}' --removed-by-hand",
            field="destination",
        )
    return destination
