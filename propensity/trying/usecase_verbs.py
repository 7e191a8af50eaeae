"""The command that writes a use case; a clone hangs others onto its group."""

from __future__ import annotations

from typing import Any

import click

from propensity.cli.answers import Group, example
from propensity.cli.options import DRY_RUN, Count

DAYS = Count(min=1)


@click.group(cls=Group, epilog=example("propensity usecase new shop_signup"))
def usecase() -> None:
    """Write a new use case, and check it, in a clone of the project."""


@usecase.command(
    epilog=example("propensity usecase new shop_signup --label-event sign_up")
)
@click.argument("name", help="Lower-case letters, digits and underscores.")
@click.option(
    "--label",
    type=click.Choice(["event", "churn"]),
    default="event",
    help="Predict that an event comes, or (churn) that none does.",
)
@click.option(
    "--label-event", metavar="EVENT", help="Event to predict.  [default: purchase]"
)
@click.option(
    "--lookback-days", type=DAYS, default=30, help="Days of events that features read."
)
@click.option(
    "--horizon-days",
    type=DAYS,
    default=7,
    help="Days within which the event is predicted.",
)
@click.option(
    "--source",
    metavar="TABLE",
    help="Also read a table of your own, [project.]dataset.table.",
)
@click.option(
    "--events",
    metavar="TABLE",
    help="Read events of your own instead of the GA4 export, [project.]dataset.table.",
)
@click.option("--user", metavar="COLUMN", help="Its column with the user's id.")
@click.option("--time", metavar="COLUMN", help="Its column with the time.")
@click.option(
    "--event-name", metavar="COLUMN", help="Its column with the kind of event."
)
@click.option("--amount", metavar="COLUMN", help="Its column with the amount.")
@DRY_RUN
def new(
    *,
    events: str | None,
    user: str | None,
    time: str | None,
    event_name: str | None,
    amount: str | None,
    **others: Any,
) -> Any:
    """
    Write the folder of a new use case, for the GA4 export or a table of events.

    Its files are in usecases/NAME. They run unchanged; comments show what you can
    change.
    """
    from propensity.errors import RequestError
    from propensity.trying.new_use_case import write_use_case
    from propensity.usecases.declaration import Events

    table = None
    if events and user and time:
        table = Events(
            table=events, user_id=user, time=time, name=event_name, amount=amount
        )
    elif events or user or time or event_name or amount:
        raise click.UsageError("a table of events needs --events, --user and --time")
    try:
        return write_use_case(events=table, **others)
    except RequestError as error:
        raise click.UsageError(error.message) from None
