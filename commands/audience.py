"""Audiences: who is treated, who is held out, and what became of them."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any

import click

from commands import flags
from commands.answers import Exit, say, show


def _name(text: str) -> str:
    from propensity.ids import NAME

    if not NAME.fullmatch(text):
        raise ValueError(
            f"{text!r} is not a name: lower-case letters, digits, underscores"
        )
    return text


def _money(text: str) -> Decimal:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal(-1)
    if not (amount.is_finite() and amount >= 0):
        raise ValueError(f"{text!r} is not an amount of 0 or more")
    return amount


def _share(text: str) -> float:
    try:
        share = float(text.removesuffix("%")) / 100
    except ValueError:
        share = -1.0
    if not (text.endswith("%") and 0 <= share <= 0.9):
        raise ValueError(f"{text!r} is not a share from 0% to 90%")
    return share


NAME = flags.Read("NAME", _name)
MONEY = flags.Read("AMOUNT", _money)

# Who is in an audience, and where it goes.
_of_audience = flags.together(
    click.argument("audience", type=NAME),
    click.option(
        "--top",
        type=flags.COUNT,
        metavar="N",
        help="The N users with the highest probabilities.",
    ),
    click.option(
        "--deciles",
        type=click.IntRange(1, 10),
        metavar="N",
        help="Users in the N highest deciles.",
    ),
    click.option(
        "--threshold",
        type=click.FloatRange(0, 1),
        metavar="P",
        help="Users with this probability or more.",
    ),
    click.option(
        "--budget",
        type=MONEY,
        help="As many as this pays for; held-out users cost nothing.",
    ),
    click.option("--cost-per-user", type=MONEY, help="Cost of a treated user."),
    click.option(
        "--control",
        type=flags.Read("SHARE", _share),
        default="10%",
        show_default=True,
        help="Share that is held out for comparison, 0% to 90%.",
    ),
    click.option(
        "--control-group",
        "group",
        type=NAME,
        help="Audiences with the same control group hold out the same users "
        "(default: the audience's name).",
    ),
    click.option(
        "--as-of",
        "until",
        type=flags.DAY,
        help="The newest publication up to this date (default: today).",
    ),
    click.option(
        "--to",
        required=True,
        metavar="DESTINATION",
        help="The word bucket, or the TOML file of a destination.",
    ),
    flags.use_case(),
    flags.as_json,
)


def _plan(*, as_json: bool, **chosen: Any) -> Any:
    from offline.audience.selection import Plan, Rule

    names = ("top", "deciles", "threshold", "budget", "cost_per_user")
    try:
        rule = Rule(**{name: chosen.pop(name) for name in names})
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    return Plan(rule=rule, is_quiet=as_json, **chosen)


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
def preview(*, as_json: bool, **chosen: Any) -> None:
    """
    Say what a delivery would do.

    Counts members, those held out, those who can be reached, requests and cost. Sends
    nothing and stores no member.
    """
    from offline.audience import run

    show(run.preview(_plan(as_json=as_json, **chosen)), as_json=as_json)


@audience.command
@_of_audience
@click.option(
    "--allow-empty",
    "may_be_empty",
    is_flag=True,
    help="If nobody is in the audience, remove everyone added earlier.",
)
def send(*, as_json: bool, **chosen: Any) -> int:
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

    delivery = run.send(_plan(as_json=as_json, **chosen))
    show(delivery.fields(), as_json=as_json)
    if delivery.failure:
        say(
            f"propensity audience: {delivery.failure}. {delivery.pending:,} users are "
            "pending: run the same command again to go on"
        )
    return Exit.DONE if delivery.is_complete else Exit.FAILED


@audience.command
@click.argument("audience", type=NAME)
@flags.use_case()
@flags.as_json
def ledger(*, audience: str, use_case: str | None, as_json: bool) -> None:
    """
    Print what became of an audience's users.

    By date, destination and action: how many are pending, accepted and rejected, and
    why.
    """
    from offline.audience.ledger import account
    from offline.deployment import opened

    with opened(use_case) as deployment:
        found = account(deployment, audience)
    show(found, as_json=as_json)
