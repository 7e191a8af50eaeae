"""Audiences: who is contacted, the control group, and the delivery of each user."""

from __future__ import annotations

import os
from typing import Any

import click

from commands.answers import Exit, Group, example, say
from commands.options import Function, amount, day, name, share, use_case

RULES = ("top", "deciles", "threshold", "budget")
_NAME = click.argument("audience", type=name, help="Name of the audience.")


@click.group(
    cls=Group,
    epilog=example("propensity audience send winback --top 5000 --to crm.toml"),
)
def audience() -> None:
    """
    Send top users to a destination, and keep a control group.

    An audience is made of the newest publication of probabilities, and is chosen once
    for its date: a second command finds the same members. A share of them is held out,
    the same users every week, so that 03-ModelEvaluation can say whether acting helped.
    Suppressed users are in no audience. Members are chosen by one of --top, --deciles,
    --threshold and --budget.
    """


def of_audience(function: Function) -> Function:
    """Add the options that say who is in an audience, and where it goes."""
    options = (
        _NAME,
        click.option(
            "--top",
            type=click.IntRange(min=1),
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
            type=amount,
            help="As many as this pays for; the control group costs nothing.",
        ),
        click.option("--cost-per-user", type=amount, help="Cost of a contacted user."),
        click.option(
            "--control", type=share, default="10%", help="Control group, 0% to 90%."
        ),
        click.option(
            "--control-group",
            "group",
            type=name,
            metavar="GROUP",
            show_default="AUDIENCE",
            help="Audiences of one group have the same control users.",
        ),
        click.option(
            "--as-of",
            "until",
            type=day,
            show_default="today",
            help="Newest publication up to this day.",
        ),
        click.option(
            "--to",
            required=True,
            metavar="DESTINATION",
            help="`bucket`, or the TOML file of a destination.",
        ),
        use_case(),
    )
    for option in reversed(options):
        function = option(function)
    return function


def _plan(**arguments: Any) -> Any:
    from propensity.audience.selection import Plan, Rule

    values = {rule: arguments.pop(rule) for rule in RULES}
    given = [(rule, value) for rule, value in values.items() if value is not None]
    cost = arguments.pop("cost_per_user")
    if len(given) != 1:
        raise click.UsageError(
            "say how many users to choose: use exactly one of --top, --deciles, "
            "--threshold and --budget"
        )
    if values["budget"] is not None and not cost:
        raise click.UsageError("--budget needs --cost-per-user, above 0")
    return Plan(rule=Rule(*given[0], cost), **arguments)


def _watched(requests: Any) -> Any:
    """Show how many users are done, on a terminal."""
    from tqdm import tqdm

    users = sum(len(request.members) for request in requests)
    # None draws the bar on a terminal only.
    with tqdm(total=users, unit=" users", disable=None) as bar:
        for request in requests:
            yield request
            bar.update(len(request.members))


@audience.command(
    epilog=example("propensity audience preview winback --top 5000 --to crm.toml")
)
@of_audience
def preview(**arguments: Any) -> Any:
    """
    Show what `send` would do, without sending anything.

    Counts members, those held out, requests and cost. Sends nothing and stores no
    member.
    """
    from propensity.audience import run
    from propensity.registry.deployment import opened

    use_case, plan = arguments.pop("use_case"), _plan(**arguments)
    with opened(use_case) as deployment:
        return run.preview(deployment, plan, os.environ)


@audience.command(
    epilog=example("propensity audience send winback --top 5000 --to crm.toml")
)
@of_audience
@click.option(
    "--allow-empty",
    "may_be_empty",
    is_flag=True,
    help="If nobody is in the audience, remove everyone added earlier.",
)
def send(**arguments: Any) -> Any:
    """
    Store an audience and send its treated users.

    Users who have left the audience are removed first, where the destination can do
    that, and then all others are added. What becomes of each is in the table
    ma_audience_ledger: sent is accepted plus rejected, with a reason. It can be
    interrupted or killed at any point and run again: it goes on from the ledger, and
    what is sent again has the same key.

    Fails where the receiver takes nothing more; what it has taken is recorded.
    """
    from propensity.audience import run
    from propensity.registry.deployment import opened

    use_case, plan = arguments.pop("use_case"), _plan(**arguments)
    with opened(use_case) as deployment:
        done = run.send(deployment, plan, os.environ, watched=_watched)
    if done["failure"]:
        say(
            f"propensity audience: {done['failure']}. {done['pending']:,} users are "
            "pending: run the same command again to go on"
        )
    return done, Exit.FAILED if done["failure"] else Exit.DONE


@audience.command(epilog=example("propensity audience ledger winback"))
@_NAME
@use_case()
def ledger(**arguments: Any) -> Any:
    """
    Print what became of an audience's users.

    By date, destination and action: how many are pending, accepted and rejected, and
    why.
    """
    from propensity.audience.delivery import account
    from propensity.registry.deployment import opened

    with opened(arguments.pop("use_case")) as deployment:
        return account(deployment, **arguments)
