"""
The plan of an audience: which effect it can prove, and from which uplift it pays.

The power is the textbook's, of two proportions, with the boundary of the verdict in the
place of a single look's (``uplift``), and less what the probabilities explain, as the
verdict is adjusted for them. ``planned`` reads what is published; all else is pure.

Source:
    Fleiss, Levin and Paik, "Statistical Methods for Rates and Proportions", 3rd ed.,
    2003, section 4.3: unequal groups, without the correction for continuity.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from math import ceil, inf, sqrt
from typing import Any

import pyarrow as pa

from propensity.audience.control import BROWSER, audiences_of_users, user_column
from propensity.audience.declared import (
    Declared,
    DeclaredAudience,
    audience_names,
)
from propensity.audience.destinations.destination import Destination
from propensity.audience.members import EFFECT, PROBABILITY, Audience
from propensity.audience.stopping import listed
from propensity.measures.intervals import POWER
from propensity.measures.metrics import ratio, tenths
from propensity.measures.statistic import Statistic
from propensity.measures.uplift import LAST, LOOKS, WEEK, errors_at, progress_at
from propensity.models.encoding import floats_of
from propensity.registry.deployment import Deployment
from propensity.statements import statement
from propensity.tables.audiences import Decile, Plan, Power

# Weeks of new members that a plan looks ahead, if it is not over before.
WEEKS = (1, 4, 13, LOOKS)
# Who is new is known of so many weeks before, and how many a week of the recent ones.
KNOWN_WEEKS = 13
RECENT_WEEKS = 4
# Members who are so much likelier than the others, or less, were hardly chosen.
HARDLY = 1.2


def members_needed(
    rate: float,
    uplift: float,
    *,
    share: float,
    errors: float = LAST,
    explained: float = 0.0,
) -> float:
    """
    Return how many members show an effect in 80% of cases; infinity for none.

    Args:
        rate: Share of the control group that converts.
        uplift: The effect, relative to the rate; below 0 for one that harms.
        share: Of the members, in the control group.
        errors: How many standard errors the interval reaches; as at the planned end.
        explained: Share of the variance that the probabilities explain.
    """
    treated = rate * (1 + uplift)
    if not (0 < rate < 1 and 0 <= treated <= 1 and uplift and 0 < share < 1):
        return inf
    pooled = treated * (1 - share) + rate * share
    without_effect = sqrt(pooled * (1 - pooled) * (1 / (1 - share) + 1 / share))
    with_effect = sqrt(
        treated * (1 - treated) / (1 - share) + rate * (1 - rate) / share
    )
    reached = errors * without_effect + POWER * with_effect
    return (1 - explained) * (reached / (treated - rate)) ** 2


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


def smallest_uplift(
    rate: float,
    members: float,
    *,
    share: float,
    errors: float = LAST,
    explained: float = 0.0,
) -> float | None:
    """Return the smallest uplift that so many members show in 80% of cases, if any."""

    def is_shown(uplift: float) -> bool:
        needed = members_needed(
            rate, uplift, share=share, errors=errors, explained=explained
        )
        return needed <= members

    low = 0.0
    high = 1 / rate - 1 if rate else 0.0
    if not is_shown(high):
        return None
    while high - low > 1e-6 * high:
        middle = (low + high) / 2
        if is_shown(middle):
            high = middle
        else:
            low = middle
    return high


def power(
    rate: float,
    members: int,
    *,
    new_a_week: float | None,
    share: float,
    planned_weeks: int = LOOKS,
    explained: float = 0.0,
) -> list[Power]:
    """
    Return what an audience that begins today can show after 1, 4, 13 and 52 weeks.

    Where it is not known how many users a week become members for the first time, only
    the first week is known.
    """
    rows = []
    for weeks in sorted({min(weeks, planned_weeks) for weeks in WEEKS}):
        count = float(members)
        if weeks > 1:
            if new_a_week is None:
                break
            count += (weeks - 1) * new_a_week
        smallest = smallest_uplift(
            rate,
            count,
            share=share,
            errors=errors_at(weeks / planned_weeks),
            explained=explained,
        )
        row = Power(weeks=weeks, members=round(count), smallest_lift=smallest)
        rows.append(row)
    return rows


def explained_by(chances: Statistic) -> float:
    """Return the share of the variance of conversions that probabilities explain."""
    if not chances.users:
        return 0.0
    chance = chances.mean * (1 - chances.mean)
    return chances.variance / chance if chance > 0 else 0.0


def weeks_left(rows: Sequence[Mapping[str, Any]]) -> int | None:
    """
    Return how many more weeks an open verdict takes, if the effect is as it looks.

    Rows are of one audience, oldest first. It is 0 if users suffice and only their
    outcomes are not final; None if it takes more than the planned length.
    """
    newest = rows[-1]
    before = rows[-1 - RECENT_WEEKS :][0]
    users = _users(newest)
    control = newest["control_users"]
    uplift = newest["conversion_lift"]
    converted = newest["control_conversions"]
    if uplift is None or not users > control > 0:
        return None
    explained = newest["variance_explained"]
    days = (newest["week"] - before["week"]).days
    new_a_week = 7 * (users - _users(before)) / days if days else 0.0
    for weeks in range(LOOKS):
        progress = progress_at(
            newest["week"] + weeks * WEEK,
            first=rows[0]["week"],
            until=newest["planned_until"],
        )
        needed = members_needed(
            converted / control,
            uplift,
            share=control / users,
            errors=errors_at(progress),
            explained=0.0 if explained is None else explained,
        )
        if needed <= users + weeks * new_a_week:
            return weeks
        if progress >= 1:
            break
    return None


def _users(row: Mapping[str, Any]) -> int:
    return int(row["treated_users"]) + int(row["control_users"])


def deciles(
    scores: pa.Table, *, cost: float | None, margin: float | None
) -> list[Decile]:
    """
    Return ten equal parts of users; those of equal scores are divided.

    Args:
        scores: Rows of ``audience_values.sql``, the best first.
    """
    if not len(scores):
        return []
    of_users = floats_of(scores["users"])
    users = tenths(of_users, of_users).tolist()
    conversions = tenths(of_users, floats_of(scores["conversions"])).tolist()
    value = None
    if scores["value"].null_count < len(scores):
        value = tenths(of_users, floats_of(scores["value"])).tolist()
    rows = []
    for index, count in enumerate(users):
        expected = None if value is None else value[index]
        costs = None if cost is None else cost * count
        pays_from = None
        if expected is not None and costs is not None and margin is not None:
            pays_from = ratio(costs, margin * expected)
        row = Decile(
            decile=index + 1,
            users=count,
            conversions=conversions[index],
            value=expected,
            cost=costs,
            pays_from=pays_from,
        )
        rows.append(row)
    return rows


def planned(
    deployment: Deployment, named: DeclaredAudience, audience: Audience
) -> Plan:
    """Return the plan of an audience before it is sent."""
    declared = named.declared
    sums = audience.sums
    chances = sums.chances
    parameters = {
        **named.parameters(deployment.use_case, deployment.settings, audience.as_of),
        "order": audience.order,
    }
    sql = named.statement("audience_values", deployment.use_case)
    scores = deployment.warehouse.table(sql, parameters)
    scores = scores.sort_by([("score", "descending")])
    new_a_week = None
    if len(scores):
        eligible = round(float(floats_of(scores["users"]).sum()))
        new_a_week = _new_a_week(deployment, named, audience, eligible=eligible)
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
    margin = declared.margin
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
        margin=margin,
        until=declared.until,
        declared_order=declared.order,
        used_order=audience.order,
        order_reason=audience.order_reason if audience.order_reason else None,
        explored=sums.explored,
        added_conversions=sums.added_conversions,
        added_value=sums.added_value,
        power=weeks,
        deciles=deciles(scores, cost=declared.cost_per_contact, margin=margin),
    )


def _new_a_week(
    deployment: Deployment,
    named: DeclaredAudience,
    audience: Audience,
    *,
    eligible: int,
) -> float | None:
    """
    Return how many users a week become members for the first time.

    As if each publication since had as many members as today's, or, by a threshold,
    those who reach it; None with one publication. So many are eligible today.
    """
    least = named.declared.threshold
    places = audience.sums.members if least is None else eligible
    rows = deployment.rows(
        "audience_newcomers",
        audience=named.name,
        order=audience.order,
        who=named.declared.who,
        least=0.0 if least is None else least,
        places=places,
        eligible=eligible,
        tie_key=audience.control.tie_key,
        since=audience.as_of - KNOWN_WEEKS * WEEK,
        recent=audience.as_of - RECENT_WEEKS * WEEK,
        as_of=audience.as_of,
    )
    for row in rows:
        if row["weeks"] and row["users_now"]:
            new_a_week: float = row["newcomers"] / row["weeks"]
            # The audience's own statement lets only a part of all users be members.
            return new_a_week * eligible / float(row["users_now"])
    return None


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
    is_of_browsers = user_column(deployment.settings, use_case) == BROWSER
    if is_of_browsers and destination.gets_ids_alone:
        yield (
            f"Users are browsers (PROPENSITY_USER_COLUMN is {BROWSER}), and "
            f"{destination.name} gets nothing but their ids. If it knows people, for "
            "example by their e-mail addresses, it can't find them: see "
            "docs/audiences.md#who-is-a-user"
        )
    declared = named.declared
    if declared.order == EFFECT and not declared.explored:
        yield (
            "explore is not set, so only the users who are likeliest to buy were ever "
            "contacted: how the others react can't be known, and an order by effect "
            'guesses it. Set explore = "5%".'
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
    is_new = not audience.is_stored and audience.last_size is None
    files = audience_names(use_case) + [named.group]
    for listing in listed(deployment):
        name = listing.audience
        is_there = listing.destination == destination.name
        if is_new and is_there and name not in files:
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
    for name, of_use_case, other in audiences:
        until = other.declared.until
        is_over = until is not None and until < as_of
        if other.group == named.group or is_over:
            continue
        case_name = of_use_case.name
        is_own = case_name == use_case.name
        if not named.leaves_out(other.name, case_name, is_own=is_own):
            others[name] = f"{case_name}/{other.name}"
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
