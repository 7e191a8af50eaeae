"""
An experiment in words: whom to contact, what that is worth, and what is missing.

Nobody is to be contacted whom it harms, or at a loss. The order by effect is offered
only if it adds more than that by probability beyond chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from propensity.learning import effects
from propensity.measures.intervals import Difference, in_columns
from propensity.pages.words import about
from propensity.trying.first_look.arms import SHARE, Arm, UserGroup


@dataclass(frozen=True, kw_only=True)
class Advice:
    """
    Whom to contact.

    Attributes:
        code: As JSON has it.
        sentence: For terminal and page.
        order: The column that a list is in the order of; None where nobody is listed.
        groups: Of whom alone it is; () for users of any group.
        list_of: Whom it has.
        colour: The class of its box on a page.
    """

    code: str
    sentence: str
    order: Literal["effect", "expected"] | None = None
    groups: Sequence[UserGroup] = ()
    list_of: str = "nobody"
    colour: Literal["good", "open", "wait"] = "wait"

    @property
    def needs_person(self) -> bool:
        """Whether somebody has to decide what the experiment leaves open."""
        return self.colour == "open"

    @classmethod
    def of(cls, arm: Arm) -> Advice:
        """Say whom to contact, and why."""
        if arm.is_at_a_loss:
            return _at_a_loss(arm)
        if arm.effect.is_above():
            return _of_what_adds(arm)
        if arm.effect.is_below():
            return _of_what_harms(arm)
        return _of_what_is_undecided(arm)


def _at_a_loss(arm: Arm) -> Advice:
    sentence = "Do not contact at this cost: it does not pay."
    if arm.effect.is_below():
        sentence = "Do not contact everybody: contacting does harm, and does not pay."
    return Advice(code="at_a_loss", sentence=sentence)


def _of_what_adds(arm: Arm) -> Advice:
    if arm.is_open:
        sentence = f"Contact by effect: {_more_by_effect(arm)}."
        return _by_effect(sentence, colour="good")
    order = "it is undecided whether an order by effect adds more"
    missing = f" {_users_missing(arm, arm.gain)}"
    if arm.gain.is_below():
        order = "an order by effect adds less"
        missing = ""
    return Advice(
        code="by_probability",
        sentence=f"Contact by probability: {order}, {_compared(arm)}.{missing}",
        order="expected",
        list_of="everybody, the most probable first",
        colour="good",
    )


def _of_what_harms(arm: Arm) -> Advice:
    sentence = "Do not contact everybody: contacting does harm"
    if not arm.helped:
        sentence += ", and helps no group beyond chance. Contact nobody."
        return Advice(code="nobody", sentence=sentence)
    return _by_groups(f"{sentence}.", arm.helped, colour="wait")


def _of_what_is_undecided(arm: Arm) -> Advice:
    sentence = "It is undecided whether contacting everybody adds anything."
    if arm.helped and not arm.is_open:
        return _by_groups(f"{sentence} It helps a group.", arm.helped, colour="open")
    if arm.decided:
        sentence += f" It is decided for {_listed(arm.decided, 'and')}."
    if arm.is_open:
        sentence += f" If you contact, contact by effect: {_more_by_effect(arm)}."
        return _by_effect(sentence, colour="open")
    return Advice(
        code="undecided",
        sentence=f"{sentence} {_users_missing(arm, arm.effect)}",
        colour="open",
    )


def _by_effect(sentence: str, *, colour: Literal["good", "open"]) -> Advice:
    return Advice(
        code="by_effect",
        sentence=sentence,
        order="effect",
        list_of="users to whom contacting adds something, the most first",
        colour=colour,
    )


def _by_groups(
    sentence: str, groups: Sequence[UserGroup], *, colour: Literal["open", "wait"]
) -> Advice:
    names = " or ".join(group.title for group in groups)
    return Advice(
        code="groups",
        sentence=f"{sentence} Contact only {_listed(groups)}.",
        order="effect",
        groups=groups,
        list_of=f"users of {names} to whom contacting adds something",
        colour=colour,
    )


def _more_by_effect(arm: Arm) -> str:
    return f"it adds more than an order by probability, {_compared(arm)}"


def _compared(arm: Arm) -> str:
    more = arm.gain.times(100).format("+.2f")
    return f"on average over all shares {more} for each 100 users"


def _listed(groups: Sequence[UserGroup], between: str = "or") -> str:
    named = [f"{group.title} ({per_100(group.added)})" for group in groups]
    return f" {between} ".join(named)


def _users_missing(arm: Arm, gain: Difference) -> str:
    needed = effects.users_needed(gain, len(arm.experiment))
    if needed is None:
        return "Repeat the experiment with other users to decide it."
    missing = effects.missing(needed, len(arm.experiment))
    return f"About {missing:,} more users would decide it."


def per_100(added: Difference) -> str:
    """Write what contacting a user adds, for each 100 users."""
    return added.times(100).format(".2f")


def headline(arm: Arm) -> str:
    """Say what a treatment adds, and to whom."""
    shown = arm.effect.times(100).format("+.1f")
    said = f"{arm.name}: {shown} {arm.outcome} for each 100 users"
    if not arm.is_decided:
        said += ", which may be chance"
    if arm.most_and_least is None:
        return said
    most, least = arm.most_and_least
    return (
        f"{said}; most for {most.title} ({100 * most.added.estimate:.1f} against "
        f"{100 * least.added.estimate:.1f})"
    )


def worth(arm: Arm) -> str:
    """Say how much more contacting the best 30% adds by effect, for 100 users."""
    more = arm.effects.gain_at(SHARE, arm.effects.expected)
    than_random = arm.effects.gain_at(SHARE)
    sentence = (
        f"contacting the best {SHARE:.0%} by effect adds "
        f"{more.times(100).format('+.2f')} compared with probability, and "
        f"{than_random.times(100).format('+.2f')} compared with chance."
    )
    if more.is_above() or more.is_below():
        return sentence
    return f"{sentence} {_users_missing(arm, more)}"


def earned(arm: Arm) -> str:
    """Say what contacting cost and left; "" where nobody has said what it costs."""
    profit = arm.profit
    if profit is None or arm.cost is None:
        return ""
    ends = ""
    if profit.low is not None and profit.high is not None:
        ends = f" (95% interval {about(profit.low)} to {about(profit.high)})"
    pays = "whether it pays is undecided"
    if profit.is_above():
        pays = "it pays"
    elif profit.is_below():
        pays = "it does not pay"
    return (
        f"contacting {arm.contacted:,} users cost {about(arm.cost)} and left a profit "
        f"of {about(profit.estimate)}{ends}: {pays}"
    )


def lines(arm: Arm, control: str) -> list[str]:
    """Return what is printed of a treatment and the control group."""
    outcome = arm.experiment.outcome
    mean = outcome[~arm.experiment.is_contacted].mean()
    reacting = "none beyond chance"
    if arm.most_and_least is not None:
        most, least = arm.most_and_least
        reacting = (
            f"{most.feature}: {per_100(most.added)} for {most.name}, "
            f"{per_100(least.added)} for {least.name}"
        )
    written = [
        f"Groups   {arm.contacted:,} users of {arm.name}, "
        f"{len(outcome) - arm.contacted:,} of {control}",
        f"Effect   contacting adds {per_100(arm.effect)} of {arm.outcome} for each "
        f"100 users; the control group has {100 * mean:,.2f}",
        f"Orders   the top {SHARE:.0%} add "
        f"{arm.at_share(arm.effects.effect):.2f} by effect, "
        f"{arm.at_share(arm.effects.expected):.2f} by probability, "
        f"{SHARE * 100 * arm.effect.estimate:.2f} at random",
        f"Worth    {worth(arm)}",
        f"Reacting {reacting}",
    ]
    profit = earned(arm)
    if profit:
        written.append(f"Profit   {profit}")
    return written + [f"Use      {Advice.of(arm).sentence}"]


def plain(arm: Arm) -> dict[str, object]:
    """Return the numbers of a treatment, per user, and its advice, for JSON."""
    advice = Advice.of(arm)
    did = "undecided"
    if arm.is_decided:
        did = "adds" if arm.effect.is_above() else "harms"
    by_probability = arm.effects.gain_at(SHARE, arm.effects.expected)
    return {
        "treatment": arm.name,
        "outcome": arm.outcome,
        "users": len(arm.experiment),
        "contacted": arm.contacted,
        **in_columns("effect", arm.effect),
        **in_columns("gain", arm.gain),
        "top_30_by_effect": arm.at_share(arm.effects.effect) / 100,
        "top_30_by_probability": arm.at_share(arm.effects.expected) / 100,
        "top_30_at_random": SHARE * arm.effect.estimate,
        **in_columns("top_30_gain", by_probability),
        **in_columns("top_30_gain_over_random", arm.effects.gain_at(SHARE)),
        "did": did,
        "advice": advice.code,
        "needs_person": advice.needs_person,
        "by_effect": arm.is_open,
        "verdict": advice.sentence,
        **in_columns("profit", arm.profit),
        "reacting": list(arm.reacting),
    }
