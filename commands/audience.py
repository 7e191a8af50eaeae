"""Audiences: who is treated, who is held out, and what became of them."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any

import click

from commands.answers import Exit, answering, say
from commands.flags import COUNT, Whole, day, flag, option, together, use_case


def name(text: str) -> str:
    from propensity.ids import NAME

    if not NAME.fullmatch(text):
        raise click.BadParameter(
            f"{text!r} is not a name: lower-case letters, digits, underscores"
        )
    return text


def amount(text: str) -> Decimal:
    try:
        given = Decimal(text)
    except InvalidOperation:
        given = Decimal(-1)
    if not (given.is_finite() and given >= 0):
        raise click.BadParameter(f"{text!r} is not an amount of 0 or more")
    return given


def share(text: str) -> float:
    try:
        given = float(text.removesuffix("%")) / 100
    except ValueError:
        given = -1.0
    if not (text.endswith("%") and 0 <= given <= 0.9):
        raise click.BadParameter(f"{text!r} is not a share from 0% to 90%")
    return given


RULES = ("top", "deciles", "threshold", "budget")

# Who is in an audience, and where it goes.
_of_audience = together(
    click.argument("audience", type=name),
    option("--top", "The N users with the highest probabilities.", type=COUNT),
    option("--deciles", "Users in the N highest deciles.", type=Whole(1, 10)),
    option(
        *("--threshold", "Users with this probability or more."),
        type=click.FloatRange(0, 1),
        metavar="P",
    ),
    option(
        *("--budget", "As many as this pays for; held-out users cost nothing."),
        type=amount,
    ),
    option("--cost-per-user", "Cost of a treated user.", type=amount),
    option(
        *("--control", "Share that is held out for comparison, 0% to 90%."),
        type=share,
        default="10%",
    ),
    option(
        *("--control-group", "group"),
        "Audiences with the same control group hold out the same users (default: the "
        "audience's name).",
        type=name,
    ),
    option(
        *("--as-of", "until"),
        "The newest publication up to this date (default: today).",
        type=day,
    ),
    option(
        *("--to", "The word bucket, or the TOML file of a destination."),
        metavar="DESTINATION",
        required=True,
    ),
    use_case(),
)


def _plan(**chosen: Any) -> Any:
    from offline.audience.selection import Plan, Rule

    values = {name: chosen.pop(name) for name in RULES}
    given = [(name, value) for name, value in values.items() if value is not None]
    cost = chosen.pop("cost_per_user")
    if len(given) != 1:
        raise click.UsageError("give one of --top, --deciles, --threshold and --budget")
    if values["budget"] is not None and not cost:
        raise click.UsageError("--budget needs --cost-per-user, above 0")
    return Plan(rule=Rule(*given[0], cost), **chosen)


@click.group
def audience() -> None:
    """
    Send the best users somewhere, and hold some out.

    An audience is made of the newest publication of probabilities, and is chosen once
    for its date: a second command finds the same members. A share of them is held out,
    the same users every week, so that 03-ModelEvaluation can say whether acting helped.
    Suppressed users are in no audience. Members are chosen by one of --top, --deciles,
    --threshold and --budget.
    """


@audience.command
@_of_audience
@answering
def preview(**chosen: Any) -> Any:
    """
    Say what a delivery would do.

    Counts members, those held out, requests and cost. Sends nothing and stores no
    member.
    """
    from offline.audience import run

    return run.preview(_plan(**chosen))


@audience.command
@_of_audience
@flag(
    *("--allow-empty", "may_be_empty"),
    "If nobody is in the audience, remove everyone added earlier.",
)
@answering
def send(**chosen: Any) -> Any:
    """
    Store an audience and send its treated users.

    Users who have left the audience are removed first, where the destination can do
    that, and then all others are added. What becomes of each is in the table
    ma_audience_ledger: sent is accepted plus rejected, with a reason. It can be
    interrupted or killed at any point and run again: it goes on from the ledger, and
    what is sent again has the same key.

    Fails where the receiver takes nothing more; what it has taken is recorded.
    """
    from offline.audience import run

    done = run.send(_plan(**chosen))
    if done["failure"]:
        say(
            f"propensity audience: {done['failure']}. {done['pending']:,} users are "
            "pending: run the same command again to go on"
        )
    return done, Exit.FAILED if done["failure"] else Exit.DONE


@audience.command
@click.argument("audience", type=name)
@use_case()
@answering
def ledger(*, audience: str, use_case: str | None) -> Any:
    """
    Print what became of an audience's users.

    By date, destination and action: how many are pending, accepted and rejected, and
    why.
    """
    from offline.audience.ledger import account
    from offline.deployment import opened

    with opened(use_case) as deployment:
        return account(deployment, audience)
