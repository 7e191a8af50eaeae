"""What a person should know before an audience is sent, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from propensity.audience.declared import DeclaredAudience
from propensity.audience.destination import Destination
from propensity.audience.members import EFFECT, PROBABILITY, Audience
from propensity.statements import statement
from propensity.tables.audiences import Plan

# The column of GA4 by which users are browsers.
BROWSER = "user_pseudo_id"
# Members who are so much likelier than the others, or less, were hardly chosen.
HARDLY = 1.2


def warnings_of(
    named: DeclaredAudience,
    audience: Audience,
    destination: Destination,
    *,
    user_column: str | None,
    plan: Plan,
    others: Sequence[str] = (),
    renamed: Sequence[str] = (),
) -> Iterator[str]:
    """
    Yield what may be meant otherwise.

    Args:
        user_column: The column of GA4 that names a user; None in events of one's own.
        plan: As of ``planned``.
        others: Audiences of the use case that draw another control group, and are not
            left out by the audience's own statement.
        renamed: Audiences whose file is gone, and who have users at the destination.
    """
    top = named.declared.top
    chosen = audience.sums.members + audience.sums.left_out
    asked = ""
    if named.sql_file.is_file():
        asked = f"in {named.sql_file.name}"
    elif named.declared.who != "all":
        asked = named.declared.who
    if top and chosen < top and asked:
        yield (
            f"top = {top}, but only {chosen:,} users are {asked}, so all of these are "
            "in the audience."
        )
    elif top and top > audience.users:
        yield (
            f"top = {top}, but only {audience.users:,} users have a prediction, so "
            "everybody is in the audience."
        )
    yield from _unranked(audience, plan)
    is_of_browsers = user_column == BROWSER and not destination.columns_sent
    if destination.knows_people and is_of_browsers:
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
    if others:
        names = ", ".join(others)
        left_out = statement(
            "without_members",
            use_case=f"'{audience.use_case}'",
            audiences=", ".join(f"'{other}'" for other in others),
        )
        yield (
            f"This audience may contact the control group of {names}, which makes that "
            "result wrong. Give all the same control_group, control and control_by. "
            f"If they can't be the same, leave out the members of {names}, for example "
            f"by this {named.sql_file.name}:\n\n{left_out}"
        )
    for name in renamed:
        if named.group != name:
            yield (
                f"{name} has no file any more, and has users at {destination.name}. If "
                f"this is {name} by another name, it would contact the control group "
                f'of {name}: set control_group = "{name}", or the one that it had.'
            )


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
