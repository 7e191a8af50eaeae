"""
The preview of an audience, and its delivery: one at a time.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from offline.audience.bucket import opened
from offline.audience.delivery import deliver, work_of
from offline.audience.ledger import SQL, Ledger
from offline.audience.members import Audience, find_or_choose, store
from offline.audience.posting import ADD, REMOVE, Destination
from offline.audience.selection import Plan
from offline.deployment import Deployment
from offline.deployment import opened as deployed
from propensity.clock import SYSTEM, Clock
from propensity.errors import RequestError
from propensity.privacy import suppression
from propensity.privacy.suppression import Suppressed
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
        ledger = Ledger(deployment.warehouse, audience, destination.name, now=clock.now)
        work = work_of(audience, destination, ledger)
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
            "sent_before": len(audience.treated) - work.users(ADD),
            "to_remove": work.users(REMOVE),
            "requests": len(work.requests),
            "cost": None if cost is None else cost * len(audience.treated),
        }


def send(plan: Plan, *, clock: Clock = SYSTEM) -> dict[str, Any]:
    """
    Store the members of an audience, and send those who are treated.

    Returns:
        What was done. ``failure`` says why it ended early, ``pending`` how many users
        are not sent yet, and ``tallies`` what became of the others, by action: those
        sent are those accepted and those rejected. ``before`` counts users whom
        earlier deliveries of this date have sent.

    Raises:
        RunInProgress: Another delivery of the audience is under way.
        RequestError, SettingsError, MissingTable, Unavailable: Nothing was sent.
    """
    with deployed(plan.use_case) as deployment:
        destination = opened(plan.to, deployment, audience=plan.audience)
        with deployment.registry.alone(f"audience-{plan.audience}", clock=clock.now):
            audience = find_or_choose(deployment, plan, now=clock.now())
            if not audience.is_stored:
                _check_not_empty(plan, audience, destination)
                if audience.members:
                    store(deployment, audience)
            ledger = Ledger(
                deployment.warehouse, audience, destination.name, now=clock.now
            )
            work = work_of(audience, destination, ledger)
            if work.users(ADD):
                _check_is_newest(deployment, audience, destination.name)
            period_s = deployment.settings.refresh_s

            @lru_cache(maxsize=1)
            def listed(_: int) -> Suppressed:
                return suppression.read(deployment.warehouse)

            done = deliver(
                work,
                destination,
                ledger,
                suppressed=lambda: listed(int(clock.monotonic() // period_s)),
            )
    return {
        "use_case": audience.use_case,
        "audience": audience.name,
        "as_of": audience.as_of,
        "destination": destination.name,
        "members": len(audience.members),
        "held_out": len(audience.members) - len(audience.treated),
        **done,
    }


def _check_is_newest(
    deployment: Deployment, audience: Audience, destination: str
) -> None:
    """
    Raise RequestError where a newer date was sent.

    Users would be put back on a list from which they may have been taken since.
    """
    rows = deployment.rows(
        statement("audience_deliveries", own=SQL), audience=audience.name
    )
    newer = [row["as_of"] for row in rows if row["destination"] == destination]
    if newer and max(newer) > audience.as_of:
        raise RequestError(
            f"{audience.name} as of {max(newer)} was sent to {destination} already: "
            f"the older one of {audience.as_of} would put back users who have left "
            "since",
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
