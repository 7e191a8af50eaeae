"""Audiences: who is treated, who is held out, and what became of them."""

from __future__ import annotations

from typing import Any

import click

from commands.answers import Exit, command, say
from commands.flags import argument, option, use_case

RULES = ("top", "deciles", "threshold", "budget")
# Who is in an audience, and where it goes.
_OF_AUDIENCE = (
    argument("AUDIENCE"),
    option("--top N", "The N users with the highest probabilities."),
    option(
        "--deciles N", "Users in the N highest deciles.", type=click.IntRange(1, 10)
    ),
    option("--threshold P", "Users with this probability or more."),
    option("--budget AMOUNT", "As many as this pays for; held-out users cost nothing."),
    option("--cost-per-user AMOUNT", "Cost of a treated user."),
    option("--control SHARE", "Share that is held out, 0% to 90%.", default="10%"),
    option(
        "--control-group GROUP",
        "Audiences of one group hold out the same users (default: AUDIENCE).",
        "group",
    ),
    option(
        "--as-of DAY", "Newest publication up to this day (default: today).", "until"
    ),
    option(
        "--to DESTINATION",
        "The word bucket, or the TOML file of a destination.",
        required=True,
    ),
    use_case(),
)


def _plan(**chosen: Any) -> Any:
    from propensity.audience.selection import Plan, Rule

    values = {name: chosen.pop(name) for name in RULES}
    given = [(name, value) for name, value in values.items() if value is not None]
    cost = chosen.pop("cost_per_user")
    if len(given) != 1:
        raise click.UsageError(
            "say how many users to choose: use exactly one of --top, --deciles, "
            "--threshold and --budget"
        )
    if values["budget"] is not None and not cost:
        raise click.UsageError("--budget needs --cost-per-user, above 0")
    return Plan(rule=Rule(*given[0], cost), **chosen)


def _watched(requests: Any) -> Any:
    """Show how many users are done, on a terminal."""
    from tqdm import tqdm

    users = sum(len(one.members) for one in requests)
    # None draws the bar on a terminal only.
    with tqdm(total=users, unit=" users", disable=None) as bar:
        for request in requests:
            yield request
            bar.update(len(request.members))


@command(*_OF_AUDIENCE)
def preview(**chosen: Any) -> Any:
    """
    Show what `send` would do, without sending anything.

    Counts members, those held out, requests and cost. Sends nothing and stores no
    member.
    """
    import os

    from propensity.audience import run
    from propensity.registry.deployment import opened

    use_case, plan = chosen.pop("use_case"), _plan(**chosen)
    with opened(use_case) as deployment:
        return run.preview(deployment, plan, os.environ)


@command(
    *_OF_AUDIENCE,
    option(
        "--allow-empty",
        "If nobody is in the audience, remove everyone added earlier.",
        "may_be_empty",
    ),
)
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
    import os

    from propensity.audience import run
    from propensity.registry.deployment import opened

    use_case, plan = chosen.pop("use_case"), _plan(**chosen)
    with opened(use_case) as deployment:
        done = run.send(deployment, plan, os.environ, watched=_watched)
    if done["failure"]:
        say(
            f"propensity audience: {done['failure']}. {done['pending']:,} users are "
            "pending: run the same command again to go on"
        )
    return done, Exit.FAILED if done["failure"] else Exit.DONE


@command(argument("AUDIENCE"), use_case())
def ledger(**chosen: Any) -> Any:
    """
    Print what became of an audience's users.

    By date, destination and action: how many are pending, accepted and rejected, and
    why.
    """
    from propensity.audience.delivery import account
    from propensity.registry.deployment import opened

    with opened(chosen.pop("use_case")) as deployment:
        return account(deployment, **chosen)


audience = click.Group(
    "audience",
    commands=[preview, send, ledger],
    help="""
    Send top users to a destination, and keep a control group.

    An audience is made of the newest publication of probabilities, and is chosen once
    for its date: a second command finds the same members. A share of them is held out,
    the same users every week, so that 03-ModelEvaluation can say whether acting helped.
    Suppressed users are in no audience. Members are chosen by one of --top, --deciles,
    --threshold and --budget.
    """,
)
