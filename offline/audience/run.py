"""
The preview of an audience, and its delivery: one at a time.
"""

from __future__ import annotations

from typing import Any

from offline.audience.bucket import opened
from offline.audience.delivery import SQL, Ledger, deliver, requests_left, users_of
from offline.audience.members import Audience, find_or_choose, store
from offline.audience.posting import ADD, REMOVE, Destination
from offline.audience.selection import Plan
from offline.deployment import Deployment
from offline.deployment import opened as deployed
from propensity.clock import SYSTEM, Clock
from propensity.errors import RequestError
from propensity.privacy import suppression
from propensity.registry.leases import leased
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
        _check_is_newest(deployment, audience, destination)
        ledger = _ledger(deployment, audience, destination, clock)
        requests = requests_left(audience, destination, ledger)
        outcome = deployment.use_case.outcome
    cost, treated = plan.rule.cost_per_user, audience.treated
    return {
        **_described(audience, destination),
        "selection": audience.selection,
        "is_stored": audience.is_stored,
        "treated": len(treated),
        "outcome": outcome,
        "expected": round(sum(member.probability or 0 for member in treated), 1),
        "suppressed": audience.suppressed,
        "sent_before": len(treated) - users_of(requests, ADD),
        "to_remove": users_of(requests, REMOVE),
        "requests": len(requests),
        "cost": None if cost is None else cost * len(treated),
    }


def send(plan: Plan, *, clock: Clock = SYSTEM) -> dict[str, Any]:
    """
    Store the members of an audience, and send those who are treated.

    Returns:
        What was done. ``failure`` says why it ended early, ``pending`` how many users
        are not sent yet, and ``tallies`` what became of the others, by action: those
        sent are those accepted and those rejected.

    Raises:
        RunInProgress: Another delivery of the audience is under way.
        RequestError, SettingsError, MissingTable, Unavailable: Nothing was sent.
    """
    with deployed(plan.use_case) as deployment:
        destination = opened(plan.to, deployment, audience=plan.audience)
        kind, name = f"audience-{plan.audience}", deployment.use_case.name
        with leased(deployment.artifacts, name, kind, clock=clock.now):
            audience = find_or_choose(deployment, plan, now=clock.now())
            _check_is_newest(deployment, audience, destination)
            if not audience.is_stored:
                _check_not_empty(plan, audience, destination)
                if audience.members:
                    store(deployment, audience)
            ledger = _ledger(deployment, audience, destination, clock)
            done = deliver(
                requests_left(audience, destination, ledger),
                destination,
                ledger,
                suppressed=lambda: suppression.read(deployment.warehouse),
                refresh_s=deployment.settings.refresh_s,
                monotonic=clock.monotonic,
            )
    return {**_described(audience, destination), **done}


def _ledger(
    deployment: Deployment, audience: Audience, destination: Destination, clock: Clock
) -> Ledger:
    where = {**audience.key, "destination": destination.name}
    return Ledger(deployment.warehouse, where, now=clock.now)


def _described(audience: Audience, destination: Destination) -> dict[str, Any]:
    return {
        **audience.key,
        "destination": destination.name,
        "members": len(audience.members),
        "held_out": len(audience.members) - len(audience.treated),
    }


def _check_is_newest(
    deployment: Deployment, audience: Audience, destination: Destination
) -> None:
    """Raise RequestError where a newer date was sent, be it one without members."""
    sql = statement("audience_deliveries", own=SQL)
    for row in deployment.rows(sql, audience=audience.name):
        if row["destination"] == destination.name and row["as_of"] > audience.as_of:
            raise RequestError(
                f"{audience.name} as of {row['as_of']} was sent to {destination.name} "
                f"already: an older date, as {audience.as_of}, would put back users "
                "who have left since",
                field="as_of",
            )


def _check_not_empty(plan: Plan, audience: Audience, destination: Destination) -> None:
    can_remove = REMOVE in destination.actions
    if not (audience.members or (plan.may_be_empty and can_remove)):
        advice = f"{destination.name} cannot remove those added earlier"
        if can_remove:
            advice = "If that is intended, --allow-empty removes everyone added earlier"
        raise RequestError(
            f"no user of {audience.as_of} is in the audience: {audience.selection}. "
            f"{advice}",
            field="audience",
        )
