"""
The preview of an audience, and its delivery: one at a time.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from math import ceil
from typing import Any

from offline.audience.bucket import opened
from offline.audience.delivery import Delivery, deliver, work_of
from offline.audience.ledger import PENDING, SQL, Ledger
from offline.audience.members import Audience, find_or_choose, store
from offline.audience.posting import ADD, REMOVE, Destination
from offline.audience.selection import Plan
from offline.deployment import Deployment
from offline.deployment import opened as deployed
from propensity.clock import SYSTEM, Clock
from propensity.errors import RequestError, RunInProgress
from propensity.privacy import suppression
from propensity.registry.leases import LEASE_MINUTES, Leases
from propensity.statements import statement


def preview(plan: Plan, *, clock: Clock = SYSTEM) -> dict[str, Any]:
    """
    Return what a delivery would do. Writes nothing, but for the key of control groups.

    Raises:
        RequestError, SettingsError, MissingTable, Unavailable: As named.
    """
    with deployed(plan.use_case) as deployment:
        destination = opened(plan.to, deployment, audience=plan.audience)
        audience = find_or_choose(deployment, plan, now=clock.now())
        ledger = _ledger(deployment, audience, destination, clock)
        recorded = ledger.recorded()
        unreachable = Counter(destination.problems(audience.treated).values())
        reachable = len(audience.treated) - unreachable.total()
        removed = len(work_of(audience, destination, ledger)[REMOVE])
        cost = plan.rule.cost_per_user
        return {
            "use_case": audience.use_case,
            "audience": audience.name,
            "as_of": audience.as_of,
            "destination": destination.name,
            "selection": audience.selection,
            "is_stored": audience.is_stored,
            "members": len(audience.members),
            "held_out": len(audience.members) - len(audience.treated),
            "treated": len(audience.treated),
            "outcome": deployment.use_case.outcome,
            "expected": round(sum(m.probability or 0 for m in audience.treated), 1),
            "suppressed": audience.suppressed,
            "sent_before": sum((ADD, m.user_id) in recorded for m in audience.treated),
            "to_remove": removed,
            "reachable": reachable,
            "unreachable": dict(unreachable),
            "requests": sum(ceil(n / destination.batch) for n in (removed, reachable)),
            "cost": None if cost is None else cost * reachable,
        }


def send(plan: Plan, *, clock: Clock = SYSTEM) -> Delivery:
    """
    Store the members of an audience, and send those who are treated.

    A failure ends it, once the requests under way are answered and recorded; the
    delivery has its message. So does Ctrl-C, which is raised.

    Raises:
        RunInProgress: Another delivery of the audience is under way.
        RequestError, SettingsError, MissingTable, Unavailable: Nothing was sent.
    """
    with deployed(plan.use_case) as deployment:
        destination = opened(plan.to, deployment, audience=plan.audience)
        # Before the lease, which a command that cannot do anything need not take.
        find_or_choose(deployment, plan, now=clock.now())
        with _alone(deployment, plan.audience, clock):
            audience = find_or_choose(deployment, plan, now=clock.now())
            if not audience.is_stored:
                _check_not_empty(plan, audience, destination)
                if audience.members:
                    store(deployment, audience)
            ledger = _ledger(deployment, audience, destination, clock)
            _check_is_newest(deployment, audience, destination, ledger)
            return deliver(
                audience,
                destination,
                ledger,
                suppressed=suppression.Followed(
                    deployment.warehouse, clock=clock.monotonic
                ).now,
                is_quiet=plan.is_quiet,
            )


@contextlib.contextmanager
def _alone(deployment: Deployment, audience: str, clock: Clock) -> Iterator[None]:
    """Keep a lease of an audience's deliveries, whatever their date, for a block."""
    leases = Leases(deployment.artifacts, deployment.use_case.name)
    try:
        with leases.alone(f"audience-{audience}", clock=clock.now):
            yield
    except RunInProgress as error:
        raise RunInProgress(
            f"another delivery of {audience} is under way, or was killed just now: "
            f"wait until it ends, or for {LEASE_MINUTES} minutes if it was killed"
        ) from error


def _check_is_newest(
    deployment: Deployment,
    audience: Audience,
    destination: Destination,
    ledger: Ledger,
) -> None:
    """
    Raise RequestError where users are left to be sent, and a newer date was sent.

    They would be put back on a list from which they may have been taken since.
    """
    recorded = ledger.recorded()
    done = {key for key, (status, _) in recorded.items() if status != PENDING}
    if all((ADD, member.user_id) in done for member in audience.treated):
        return
    rows = deployment.rows(
        statement("audience_deliveries", own=SQL), audience=audience.name
    )
    newer = [row["as_of"] for row in rows if row["destination"] == destination.name]
    if newer and max(newer) > audience.as_of:
        raise RequestError(
            f"{audience.name} as of {max(newer)} was sent to {destination.name} "
            f"already: the older one of {audience.as_of} would put back users who have "
            "left since",
            field="as_of",
        )


def _check_not_empty(plan: Plan, audience: Audience, destination: Destination) -> None:
    can_remove = REMOVE in destination.actions
    if audience.members or (plan.may_be_empty and can_remove):
        return
    advice = f"{destination.name} cannot remove those added earlier"
    if can_remove:
        advice = "If that is intended, --allow-empty removes everyone added earlier"
    raise RequestError(
        f"no user of {audience.as_of} is in the audience: {audience.selection}. "
        f"{advice}",
        field="audience",
    )


def _ledger(
    deployment: Deployment, audience: Audience, destination: Destination, clock: Clock
) -> Ledger:
    where = {
        "use_case": audience.use_case,
        "audience": audience.name,
        "as_of": audience.as_of,
        "destination": destination.name,
    }
    return Ledger(deployment.warehouse, where, now=clock.now)
