"""Audiences: who is contacted, who is the control group, and what became of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from commands.answers import Exit, Group, example, say
from commands.options import day, name, use_case

if TYPE_CHECKING:
    from propensity.audience.declared import Named
    from propensity.registry.deployment import Deployment

_NAME = click.argument("audience", type=name, help="Name of the audience.")
_AS_OF = click.option(
    "--as-of",
    "until",
    type=day,
    show_default="today",
    help="Newest publication up to this day.",
)


@click.group(cls=Group, epilog=example("propensity audience send winback"))
def audience() -> None:
    """
    Send top users to a destination, and keep a control group.

    An audience is a file, audiences/NAME.toml in the folder of a use case. Its members
    are chosen from the newest publication of probabilities, once for its date: a second
    command finds the same members. A share of them is the control group, the same users
    every week, so that 03-ModelEvaluation can say whether acting helped. Suppressed
    users are in no audience.
    """


@contextlib.contextmanager
def _declared(
    audience: str, use_case: str | None
) -> Iterator[tuple[Deployment, Named, Any]]:
    """Open a deployment, a declared audience, and the reader of secrets."""
    from propensity.audience.declared import load
    from propensity.gcp import secrets
    from propensity.registry.deployment import opened

    with opened(use_case) as deployment:
        named = load(deployment.use_case, audience)
        yield deployment, named, secrets.reader(deployment.settings)


def _watched(requests: Any) -> Any:
    """Show how many users are done, on a terminal."""
    from tqdm import tqdm

    users = sum(len(one.members) for one in requests)
    # None draws the bar on a terminal only.
    with tqdm(total=users, unit=" users", disable=None) as bar:
        for request in requests:
            yield request
            bar.update(len(request.members))


@audience.command(epilog=example("propensity audience preview winback"))
@_NAME
@_AS_OF
@click.option(
    "--validate", is_flag=True, help="Let Google check the first request, too."
)
@use_case()
def preview(audience: str, use_case: str | None, **chosen: Any) -> Any:
    """
    Show what `send` would do, without sending anything.

    Counts members, the control group, requests and cost. Says what the users of each
    decile may bring and from which lift contacting them pays, and which effect the
    audience can prove after 1, 4 and 13 weeks. Sends nothing and stores no member.
    """
    from propensity.audience import run

    with _declared(audience, use_case) as (deployment, named, secret):
        return run.preview(deployment, named, secret, **chosen)


@audience.command(epilog=example("propensity audience send winback"))
@_NAME
@_AS_OF
@click.option(
    "--allow-empty",
    "may_be_empty",
    is_flag=True,
    help="If nobody is in the audience, remove everyone added earlier.",
)
@use_case()
def send(audience: str, use_case: str | None, **chosen: Any) -> Any:
    """
    Store the members of an audience, and send those not in the control group.

    Users who have left the audience are removed first, where the destination can do
    that, and then all others are added. What becomes of each is in the table
    ma_audience_ledger: sent is accepted plus rejected, with a reason. It can be
    interrupted or killed at any point and run again: it goes on from the ledger, and
    what is sent again has the same key.

    The first date of an audience is sent by this command; 05-Audiences sends later
    dates by its schedule. Fails where the receiver takes nothing more.
    """
    from propensity.audience import run

    with _declared(audience, use_case) as (deployment, named, secret):
        done = run.send(deployment, named, secret, watched=_watched, **chosen)
    del done["is_retryable"]
    if done["failure"]:
        say(
            f"propensity audience: {done['failure']}. {done['pending']:,} users are "
            "pending: run the same command again to go on"
        )
    return done, Exit.FAILED if done["failure"] else Exit.DONE


@audience.command(epilog=example("propensity audience ledger winback"))
@_NAME
@use_case()
def ledger(audience: str, use_case: str | None) -> Any:
    """
    Print what became of an audience's users.

    By date, destination and action: how many are pending, accepted and rejected, and
    why.
    """
    from propensity.audience.delivery import account
    from propensity.registry.deployment import opened

    with opened(use_case) as deployment:
        return account(deployment, audience)
