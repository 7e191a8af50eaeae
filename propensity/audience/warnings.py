"""What a person should know before an audience is sent, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from propensity.audience.declared import DeclaredAudience
from propensity.audience.destination import Destination
from propensity.audience.members import EFFECT, Audience

# The column of GA4 by which users are browsers.
BROWSER = "user_pseudo_id"


def warnings_of(
    named: DeclaredAudience,
    audience: Audience,
    destination: Destination,
    *,
    user_column: str | None,
    others: Sequence[str] = (),
    renamed: Sequence[str] = (),
) -> Iterator[str]:
    """
    Yield what may be meant otherwise.

    Args:
        user_column: The column of GA4 that names a user; None in events of one's own.
        others: Audiences of the use case that draw another control group.
        renamed: Audiences whose file is gone, and who have users at the destination.
    """
    top = named.declared.top
    chosen = len(audience.members) + audience.suppressed
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
        yield (
            f"This audience may contact the control group of {', '.join(others)}, "
            "which makes that result wrong. Give them one control_group: see "
            "docs/audiences-reference.md#the-control-group"
        )
    for name in renamed:
        if named.group != name:
            yield (
                f"{name} has no file any more, and has users at {destination.name}. If "
                f"this is {name} by another name, it would contact the control group "
                f'of {name}: set control_group = "{name}", or the one that it had.'
            )
