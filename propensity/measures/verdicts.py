"""
Verdicts on contacting users: helps, harms or open; or why there is none.

Rows and answers store a verdict's code; readers get the object of ``verdict_of``, which
has its words for each place, so that nobody compares a text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# Amounts are skewed: of fewer buyers in a group, an interval of money misses too often.
MINIMUM_BUYERS = 40


@dataclass(frozen=True, kw_only=True)
class UpliftVerdict:
    """
    What can be said of contacting users.

    Attributes:
        code: As it is stored.
        page: On pages, after the name of an audience and a colon.
        terminal: A sentence after the figures; ``did`` stands for what buyers did.
        headline: Of a folder's page, with ``contacted`` for the users.
        folder: As ``terminal``, where lists are added each week.
        finding: Its word in ``findings.toml`` if it needs a person; else empty.
        problem: What a person is told, after the name of an audience.
        is_undecided: Whether more users or outcomes may decide it.
        colour: Of its box on a page.
    """

    code: str
    page: str
    terminal: str
    headline: str
    folder: str
    finding: str = ""
    problem: str = ""
    is_undecided: bool = False
    colour: Literal["good", "wait", "open"] = "open"


HELPS = UpliftVerdict(
    code="helps",
    page="contacting helps",
    terminal="That is more than chance.",
    headline="Contacting {contacted} brought buyers",
    folder="That is more than chance.",
    colour="good",
)
HARMS = UpliftVerdict(
    code="harms",
    page="contacting does harm",
    terminal="That is a loss beyond chance.",
    headline="Contacting {contacted} cost buyers",
    folder="That is a loss beyond chance.",
    finding="harms",
    problem="does harm",
    colour="wait",
)
OPEN = UpliftVerdict(
    code="open",
    page="too early to say",
    terminal="That may be chance: contact more users, or hold out more of them.",
    headline="Too early to say what contacting {contacted} brought",
    folder="That may be chance: wait for more lists.",
    is_undecided=True,
)
TOO_FEW = UpliftVerdict(
    code="too_few",
    page="too few conversions to say",
    terminal="Fewer than 10 of them {did}, which is too few to say.",
    headline="Too early to say what contacting {contacted} brought",
    folder="Fewer than 10 of them {did}, which is too few to say.",
    is_undecided=True,
)
NO_CONTROL = UpliftVerdict(
    code="no_control",
    page="no group to compare with",
    terminal="Nobody is held out, so that nothing can be said of the effect.",
    headline="What contacting {contacted} brought can't be known",
    folder="Nobody is held out, so that nothing can be said of the effect.",
)
# The sizes of the groups can't be chance.
LOST = UpliftVerdict(
    code="sample_ratio",
    page="users got lost, so it can't be used",
    terminal="The groups' sizes can't be chance: rows of the list got lost on the way, "
    "so nothing can be said. Read the whole list back.",
    headline="What contacting {contacted} brought can't be known",
    folder="The groups' sizes can't be chance, so that nothing can be said of these "
    "lists. Begin another folder.",
    finding="lost_users",
    problem="lost users on the way",
    colour="wait",
)
VERDICTS = {each.code: each for each in (HELPS, HARMS, OPEN, TOO_FEW, NO_CONTROL, LOST)}


def verdict_of(code: str | None) -> UpliftVerdict:
    """Return the verdict with a stored code; none and an unknown one are open."""
    return OPEN if code is None else VERDICTS.get(code, OPEN)
