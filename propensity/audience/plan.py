"""
The plan of an audience: which effect it can prove, and from which uplift it pays.

``planned`` reads what is published; ``measures.power`` says what that can prove.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from math import ceil, inf

from propensity.audience.declared import (
    Declared,
    DeclaredAudience,
    audience_names,
    audiences_of_users,
)
from propensity.audience.destinations.destination import Destination
from propensity.audience.members import PROBABILITY, Audience
from propensity.audience.stopping import listed
from propensity.gcp.session import Session
from propensity.measures.looks import LOOKS, RECENT_WEEKS, WEEK, members_needed
from propensity.measures.power import explained_by, power
from propensity.registry.deployment import Deployment
from propensity.statements import statement
from propensity.tables.audiences import Decile, Plan
from propensity.usecases.use_case import BROWSER

# Who is new is known of so many weeks before.
KNOWN_WEEKS = 13
# Members who are so much likelier than the others, or less, were hardly chosen.
HARDLY = 1.2


def needed(audience: Audience, plan: Plan, declared: Declared) -> int | None:
    """Return how many members show the effect hoped for, or twice the conversions."""
    chances = audience.sums.chances
    count = members_needed(
        chances.mean if chances.users else 0.0,
        1.0 if declared.effect is None else declared.effect,
        share=plan.control_share,
        explained=explained_by(chances),
    )
    return None if count == inf else ceil(count)


def known_newcomers(deployment: Deployment, audience: Audience) -> float | None:
    """
    Return how many new members a week brings, by a plan of the same week and rule.

    To count them again all scores of thirteen weeks would be read, each day.
    """
    before = audience.chosen_alike
    if before is None or before.isocalendar()[:2] != audience.as_of.isocalendar()[:2]:
        return None
    key = {"audience": audience.name, "as_of": before}
    newcomers: float | None = None
    for row in deployment.rows("audience_newcomers", **key):
        newcomers = row["new_members_a_week"]
    return newcomers


def planned(
    session: Session,
    declared: Declared,
    audience: Audience,
    *,
    newcomers: float | None = None,
) -> Plan:
    """
    Return the plan of an audience before it is sent, whose members a session has.

    Args:
        newcomers: New members a week; counted here where None.
    """
    since = audience.as_of
    if newcomers is None:
        since -= KNOWN_WEEKS * WEEK
    sums = audience.sums
    chances = sums.chances
    asked = {
        "use_case": audience.use_case,
        "audience": audience.name,
        "who": declared.who,
        "least": declared.threshold,
        "places": sums.members if declared.threshold is None else None,
        "tie_key": audience.control.tie_key,
        "since": since,
        "recent": audience.as_of - RECENT_WEEKS * WEEK,
        "as_of": audience.as_of,
        "cost": declared.cost_per_contact,
        "margin": declared.margin,
    }
    [row] = session.rows(statement("audience_plan", order=audience.order), asked)
    new_a_week = row["new_members_a_week"] if newcomers is None else newcomers
    planned_weeks = LOOKS
    if declared.until:
        planned_weeks = max((declared.until - audience.as_of) // WEEK, 0) + 1
    weeks = power(
        chances.mean if sums.members else 0.0,
        sums.members,
        new_a_week=new_a_week,
        share=audience.control.share,
        planned_weeks=planned_weeks,
        explained=explained_by(chances),
    )
    return Plan(
        use_case=audience.use_case,
        audience=audience.name,
        as_of=audience.as_of,
        planned_at=audience.chosen_at,
        control_group=audience.control.group,
        control_share=audience.control.share,
        control_by=audience.control.by,
        control_key=audience.control.fingerprint,
        new_members_a_week=new_a_week,
        cost_per_contact=declared.cost,
        margin=declared.margin,
        until=declared.until,
        declared_order=declared.order,
        used_order=audience.order,
        explored=sums.explored,
        power=weeks,
        deciles=[Decile(**decile) for decile in row["deciles"]],
    )


# -- what a person should know before an audience is sent ----------------------------


def warnings_of(
    deployment: Deployment,
    named: DeclaredAudience,
    audience: Audience,
    destination: Destination,
    *,
    plan: Plan,
) -> Iterator[str]:
    """Yield what may be meant otherwise."""
    top = named.declared.top
    chosen = audience.sums.members + audience.sums.left_out
    asked = "have a prediction"
    if named.sql_file.is_file():
        asked = f"are in {named.sql_file.name}"
    elif named.declared.who != "all":
        asked = f"are {named.declared.who}"
    if top and chosen < top:
        yield (
            f"top = {top}, but only {chosen:,} users {asked}, so all of these are in "
            "the audience."
        )
    yield from _unranked(audience, plan)
    use_case = deployment.use_case
    is_of_browsers = use_case.user_column(deployment.settings) == BROWSER
    if is_of_browsers and destination.gets_ids_alone:
        yield (
            f"Users are browsers (PROPENSITY_USER_COLUMN is {BROWSER}), and "
            f"{destination.name} gets nothing but their ids. If it knows people, for "
            "example by their e-mail addresses, it can't find them: see "
            "docs/audiences.md#who-is-a-user"
        )
    others = _other_groups(deployment, named, audience.as_of)
    if others:
        names = ", ".join(others)
        literals = ", ".join(f"'{each}'" for each in others.values())
        left_out = statement("without_members", audiences=literals)
        yield (
            f"This audience may contact the control group of {names}, which makes that "
            "result wrong. Give all the same control_group, control and control_by. "
            f"If they can't be the same, leave out the members of {names}, for example "
            f"by this {named.sql_file.name}:\n\n{left_out}"
        )
    if audience.is_stored or audience.last_size is not None:
        return
    files = audience_names(use_case) + [named.group]
    for listing in listed(deployment):
        name = listing.audience
        if listing.destination == destination.name and name not in files:
            yield (
                f"{name} has no file any more, and has users at {destination.name}. If "
                f"this is {name} by another name, it would contact the control group "
                f'of {name}: set control_group = "{name}", or the one that it had.'
            )


def _other_groups(
    deployment: Deployment, named: DeclaredAudience, as_of: date
) -> dict[str, str]:
    """
    Return the audiences, not ended, that draw another control group of the same users.

    They are by what to call them, each as ``use_case/name``.
    """
    others = {}
    use_case = deployment.use_case
    audiences = audiences_of_users(deployment.settings, use_case)
    for name, other_case, other in audiences:
        until = other.declared.until
        is_over = until is not None and until < as_of
        if other.group == named.group or is_over:
            continue
        is_own = other_case.name == use_case.name
        if not named.leaves_out(other.name, other_case.name, is_own=is_own):
            others[name] = f"{other_case.name}/{other.name}"
    return others


def _unranked(audience: Audience, plan: Plan) -> Iterator[str]:
    """Yield that the members are hardly better than the others who may be members."""
    users = round(sum(decile.users for decile in plan.deciles))
    chances = audience.sums.chances
    others = users - audience.sums.members
    if audience.order != PROBABILITY or not audience.sums.members or others < 1:
        return
    expected = chances.total
    rate = chances.mean
    of_all = sum(decile.conversions for decile in plan.deciles)
    rate_of_others = max(of_all - expected, 0.0) / others
    if rate < HARDLY * rate_of_others:
        yield (
            f"The model can't rank these: {100 * rate:.2f}% of the members are "
            f"expected to convert, and {100 * rate_of_others:.2f}% of the {others:,} "
            "others who may be members. Take all of them, or those who should pay "
            'most: order = "expected_value".'
        )
