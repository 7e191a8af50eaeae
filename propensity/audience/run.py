"""
The preview of an audience, and its delivery: one at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from propensity.audience.delivery import (
    ADD,
    REMOVE,
    Destination,
    Ledger,
    Watched,
    deliver,
    requests_left,
    users_of,
)
from propensity.audience.destinations import opened
from propensity.audience.members import Audience, find_or_choose, store
from propensity.audience.selection import Plan
from propensity.clock import SYSTEM, Clock
from propensity.errors import RequestError
from propensity.registry.deployment import Deployment
from propensity.registry.leases import leased


def preview(
    deployment: Deployment,
    plan: Plan,
    environment: Mapping[str, str],
    *,
    clock: Clock = SYSTEM,
) -> dict[str, Any]:
    """
    Return what a delivery would do. Writes nothing, but for the key of control groups.

    Raises:
        RequestError, SettingsError, MissingTable, Unavailable: As named.
    """
    audience, destination, ledger = _prepared(deployment, plan, environment, clock)
    requests = requests_left(audience, destination, ledger)
    cost, treated = plan.rule.cost_per_user, audience.treated
    return {
        **_described(audience, destination),
        "selection": audience.selection,
        "is_stored": audience.is_stored,
        "treated": len(treated),
        "outcome": deployment.use_case.outcome,
        "expected": round(sum(member.probability or 0 for member in treated), 1),
        "suppressed": audience.suppressed,
        "sent_before": len(treated) - users_of(requests, ADD),
        "to_remove": users_of(requests, REMOVE),
        "requests": len(requests),
        "cost": None if cost is None else cost * len(treated),
    }


def send(
    deployment: Deployment,
    plan: Plan,
    environment: Mapping[str, str],
    *,
    watched: Watched = iter,
    clock: Clock = SYSTEM,
) -> dict[str, Any]:
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
    kind, name = f"audience-{plan.audience}", deployment.use_case.name
    with leased(deployment.artifacts, name, kind, clock=clock.now):
        audience, destination, ledger = _prepared(deployment, plan, environment, clock)
        if not audience.is_stored:
            _check_not_empty(plan, audience, destination)
            store(deployment, audience)
        requests = requests_left(audience, destination, ledger)
        done = deliver(requests, destination, ledger, watched=watched)
    return {**_described(audience, destination), **done}


def _prepared(
    deployment: Deployment, plan: Plan, environment: Mapping[str, str], clock: Clock
) -> tuple[Audience, Destination, Ledger]:
    destination = opened(
        plan.to, deployment, audience=plan.audience, environment=environment
    )
    audience = find_or_choose(deployment, plan, now=clock.now())
    where = {**audience.key, "destination": destination.name}
    return audience, destination, Ledger(deployment, where, clock)


def _described(audience: Audience, destination: Destination) -> dict[str, Any]:
    return {
        **audience.key,
        "destination": destination.name,
        "members": len(audience.members),
        "held_out": len(audience.members) - len(audience.treated),
    }


def _check_not_empty(plan: Plan, audience: Audience, destination: Destination) -> None:
    can_remove = REMOVE in destination.actions
    if not (audience.members or (plan.may_be_empty and can_remove)):
        advice = f"{destination.name} cannot remove the users added earlier"
        if can_remove:
            advice = "If that is intended, --allow-empty removes everyone added earlier"
        raise RequestError(
            f"the audience is empty for {audience.as_of}: {audience.selection}",
            hint=advice,
            field="audience",
        )
