"""
The plan of an audience, from what is published: what it may bring, and can prove.
"""

from __future__ import annotations

from datetime import timedelta

from propensity.audience.declared import Named
from propensity.audience.members import Audience
from propensity.audience.plan import (
    RECENT_WEEKS,
    WEEKS,
    Ranked,
    power,
    share_needed,
)
from propensity.models.encoding import numbers_of
from propensity.registry.deployment import Deployment
from propensity.statements import statement
from propensity.tables.audiences import Plan

WEEK = timedelta(days=7)
# Verdicts that say how much contacting adds.
DECIDED = ("helps", "harms")


def planned(deployment: Deployment, named: Named, audience: Audience) -> Plan:
    """Return what is known of an audience before it is sent."""
    declared, members = named.declared, audience.members
    rate = sum(one.probability or 0.0 for one in members) / max(len(members), 1)
    new_a_week = _new_a_week(deployment, named, audience)
    weeks = power(
        rate, len(members), new_a_week=new_a_week, share=audience.control.share
    )
    share = None
    if declared.effect is not None and len(weeks) == len(WEEKS):
        share = share_needed(rate, declared.effect, weeks[-1].members)
    ranked = _ranked(deployment, named, audience)
    lift = _measured_lift(deployment, audience)
    cost, margin = declared.cost_per_contact, declared.margin
    recommended = None
    if ranked and lift is not None and cost and margin:
        recommended = ranked.best_number(lift=lift, cost=cost, margin=margin)
    return Plan(
        **audience.key,
        planned_at=audience.chosen_at,
        new_members_a_week=new_a_week,
        control_share_needed=share,
        measured_lift=lift,
        recommended_users=recommended,
        power=weeks,
        deciles=ranked.deciles(cost=cost, margin=margin) if ranked else [],
    )


def _ranked(deployment: Deployment, named: Named, audience: Audience) -> Ranked | None:
    """Return all who may be members, by their scores; None where nobody may."""
    use_case, as_of = deployment.use_case, audience.as_of
    window = use_case.window(deployment.settings, [as_of])
    order = {"as_of": as_of, "order": named.declared.order}
    sql = named.statement("audience_values", use_case)
    rows = deployment.warehouse.table(sql, {**window, **order})
    if not len(rows):
        return None
    is_valued = rows["value"].null_count < len(rows)
    return Ranked(
        numbers_of(rows["score"]),
        users=numbers_of(rows["users"]),
        conversions=numbers_of(rows["conversions"]),
        value=numbers_of(rows["value"]) if is_valued else None,
    )


def _new_a_week(
    deployment: Deployment, named: Named, audience: Audience
) -> float | None:
    """
    Return how many users a week become members for the first time in 13 weeks.

    As if all publications since had chosen members from the lowest score of today's,
    and as large a part of those who reach it; None with one publication.
    """
    scores = [getattr(one, named.declared.order) or 0.0 for one in audience.members]
    rows = deployment.rows(
        statement("audience_newcomers"),
        order=named.declared.order,
        least=min(scores, default=0.0),
        since=audience.as_of - max(WEEKS) * WEEK,
        recent=audience.as_of - RECENT_WEEKS * WEEK,
        as_of=audience.as_of,
    )
    for row in rows:
        if row["weeks"] and row["users_now"]:
            new_a_week: float = row["newcomers"] / row["weeks"]
            return new_a_week * len(scores) / float(row["users_now"])
    return None


def _measured_lift(deployment: Deployment, audience: Audience) -> float | None:
    """Return the newest decided lift of an audience, relative to its control group."""
    rows = deployment.rows(
        statement("audience_lifts"),
        since=audience.as_of - timedelta(days=400),
        until=audience.as_of,
    )
    lifts: list[float | None] = [
        row["conversion_lift"]
        for row in rows
        if row["audience"] == audience.name and row["verdict"] in DECIDED
    ]
    return lifts[-1] if lifts else None
