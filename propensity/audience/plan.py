"""
The plan of an audience: which effect it can prove, and from which uplift it pays.

The power is the textbook's, of two proportions, with the boundary of the verdict in the
place of a single look's (``boundary``), and less what the probabilities explain, as the
verdict is adjusted for them. ``planned`` reads what is published; all else is pure.

Source:
    Fleiss, Levin and Paik, "Statistical Methods for Rates and Proportions", 3rd ed.,
    2003, section 4.3: unequal groups, without the correction for continuity.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from math import ceil, inf, sqrt
from typing import Any

from propensity.audience.boundary import LAST, LOOKS, WEEK, errors_at, progress_at
from propensity.audience.declared import Declared, DeclaredAudience
from propensity.audience.members import Audience
from propensity.measures.intervals import POWER
from propensity.measures.metrics import ratio, tenths
from propensity.measures.statistic import Statistic
from propensity.models.encoding import Floats, floats_of
from propensity.registry.deployment import Deployment
from propensity.tables.audiences import Decile, Plan, Power

# Weeks of new members that a plan looks ahead, if it is not over before.
WEEKS = (1, 4, 13, LOOKS)
# Who is new is known of so many weeks before, and how many a week of the recent ones.
KNOWN_WEEKS = 13
RECENT_WEEKS = 4


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
    """
    Return how many members show the effect hoped for, or twice as many conversions.

    None where no number does.
    """
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
    """
    Return the smallest uplift that so many members show in 80% of cases.

    Returns:
        None if they could not even show an effect where all convert.
    """

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

    Args:
        rate: Share of the members who are expected to convert anyway.
        members: Of the first week.
        new_a_week: Users a week who become members for the first time; None if that is
            not known, so that only the first week is.
        planned_weeks: After which the audience ends.
        explained: Share of the variance that the probabilities explain.
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
    """
    Return the share of the variance of conversions that probabilities explain.

    It is theirs in relation to that of conversions, if they are what they say.
    """
    if not chances.users:
        return 0.0
    chance = chances.mean * (1 - chances.mean)
    return chances.variance / chance if chance > 0 else 0.0


def weeks_left(rows: Sequence[Mapping[str, Any]]) -> int | None:
    """
    Return how many more weeks an open verdict takes, if the effect is as it looks.

    Args:
        rows: Of ``ma_audience_lift``, of one audience, oldest first.

    Returns:
        0 if users suffice and only their outcomes are not final; None if it takes more
        than the planned length of the audience, or no new users arrive.
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


@dataclass(frozen=True)
class Ranked:
    """
    The users of a publication by their distinct scores, the best ones first.

    Attributes:
        users: How many have a score, (groups,).
        conversions: How many of these are expected to convert.
        value: What they are expected to pay; None without amounts.
    """

    users: Floats
    conversions: Floats
    value: Floats | None = None

    def deciles(self, *, cost: float | None, margin: float | None) -> list[Decile]:
        """
        Return ten equal parts of the users; equal scores are divided in proportion.
        """
        users = tenths(self.users, self.users).tolist()
        conversions = tenths(self.users, self.conversions).tolist()
        value = None if self.value is None else tenths(self.users, self.value)
        rows = []
        for index, count in enumerate(users):
            expected = None if value is None else float(value[index])
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
    ranked = _ranked(deployment, named, audience)
    new_a_week = None
    if ranked:
        eligible = round(float(ranked.users.sum()))
        new_a_week = _new_a_week(deployment, named, audience, eligible=eligible)
    weeks = power(
        chances.mean if sums.members else 0.0,
        sums.members,
        new_a_week=new_a_week,
        share=audience.control.share,
        planned_weeks=_planned_weeks(audience.as_of, declared.until),
        explained=explained_by(chances),
    )
    cost = declared.cost_per_contact
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
        deciles=ranked.deciles(cost=cost, margin=margin) if ranked else [],
    )


def _planned_weeks(as_of: date, until: date | None) -> int:
    """Return how many weeks an audience lasts that begins today."""
    if until is None:
        return LOOKS
    return max((until - as_of) // WEEK, 0) + 1


def _ranked(
    deployment: Deployment, named: DeclaredAudience, audience: Audience
) -> Ranked | None:
    """Return all who may be members, by their scores; None if there are none."""
    use_case = deployment.use_case
    parameters = {
        **named.parameters(use_case, deployment.settings, audience.as_of),
        "order": audience.order,
    }
    sql = named.statement("audience_values", use_case)
    rows = deployment.warehouse.table(sql, parameters)
    if not len(rows):
        return None
    rows = rows.sort_by([("score", "descending")])
    is_valued = rows["value"].null_count < len(rows)
    return Ranked(
        users=floats_of(rows["users"]),
        conversions=floats_of(rows["conversions"]),
        value=floats_of(rows["value"]) if is_valued else None,
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
    those who reach it; None with one publication.

    Args:
        eligible: How many users may be members today.
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
