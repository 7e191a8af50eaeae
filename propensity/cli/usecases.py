"""The commands of use cases: write, check or list them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click
from click.core import ParameterSource

from propensity.cli.answers import Group, example
from propensity.cli.options import DRY_RUN, Count, Folder, check_folder

DAYS = Count(min=1)


@click.group(cls=Group, epilog=example("propensity usecase list"))
def usecase() -> None:
    """Write a new use case, check one, or list them."""


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
@click.option(
    "--counts", metavar="EVENTS", default="", help="Kinds that features count: a,b."
)
@click.option(
    "--like",
    metavar="USE_CASE",
    help="Use the files of this use case, for another GA4 property or event.",
)
@click.option(
    "--ga4-dataset",
    metavar="DATASET",
    help="Export of the other property, [project.]dataset.",
)
@click.option(
    "--utc-offset-hours",
    type=Count(min=-12, max=14),
    default=0,
    help="Hours that its time zone is ahead of UTC, in summer.",
)
@click.option("--currency", metavar="CODE", help="Its currency, such as GBP.")
@click.option(
    "--user-column",
    type=click.Choice(["user_pseudo_id", "user_id", "person"]),
    help="What its users are.",
)
@DRY_RUN
def new(
    *,
    name: str,
    label_event: str | None,
    is_dry: bool,
    like: str | None,
    ga4_dataset: str | None,
    utc_offset_hours: int,
    currency: str | None,
    user_column: str | None,
    **own: Any,
) -> Any:
    """
    Write the folder of a new use case, for the GA4 export or a table of events.

    Its files are in usecases/NAME. They run unchanged; comments show what
    you can change. With --like, the folder has one file, which says how the use case
    differs from the other one.
    """
    from propensity.errors import RequestError
    from propensity.usecases import new as program

    differences: dict[str, Any] = {
        "ga4_dataset": ga4_dataset,
        "utc_offset_hours": utc_offset_hours,
        "currency": currency,
        "user_column": user_column,
    }
    both: dict[str, Any] = {
        "name": name,
        "label_event": label_event,
        "is_dry": is_dry,
    }
    try:
        if like:
            _refuse(own, "--like takes no --{}: edit the new file")
            return program.write_instance(like=like, **both, **differences)
        _refuse(differences, "--{} needs --like, the use case to copy")
        return program.write_use_case(**both, **_with_events(**own))
    except RequestError as error:
        raise click.UsageError(error.message) from None


def _refuse(options: Iterable[str], problem: str) -> None:
    """Refuse options that the command line names."""
    context = click.get_current_context()
    for option in sorted(options):
        if context.get_parameter_source(option) is ParameterSource.COMMANDLINE:
            raise click.UsageError(problem.format(option.replace("_", "-")))


def _with_events(
    *,
    events: str | None,
    user: str | None,
    time: str | None,
    event_name: str | None,
    amount: str | None,
    counts: str,
    **others: Any,
) -> dict[str, Any]:
    """Return the options of a folder of its own, with its table of events as one."""
    from propensity.usecases.declaration import Events

    table = None
    if events and user and time:
        table = Events(
            table=events, user_id=user, time=time, name=event_name, amount=amount
        )
    elif events or user or time or event_name or amount:
        raise click.UsageError("a table of events needs --events, --user and --time")
    counted = [name.strip() for name in counts.split(",") if name.strip()]
    return {**others, "events": table, "counts": counted}


@usecase.command(epilog=example("propensity usecase check shop_signup"))
@click.argument("name", type=Folder(), help="Name of the use case's folder.")
def check(*, name: str) -> Any:
    """
    Check the files and SQL of a use case, and its leakage.

    It needs a clone of the project, which has Google's own analyzer of SQL.
    """
    from propensity.cli.errors import CommandError

    check_folder(name)
    raise CommandError(
        "usecase check needs a clone of the project, which has Google's own analyzer "
        "of SQL",
        hint=f"Run in one: make setup && .venv/bin/propensity usecase check {name}",
    )


@usecase.command("list", epilog=example("propensity usecase list"))
def list_usecases() -> Any:
    """List the use cases, with what each predicts, or what is wrong in its folder."""
    from propensity import usecases
    from propensity.errors import UseCaseError

    rows = []
    for name in usecases.names():
        title = ""
        fault = ""
        try:
            title = usecases.load(name).title
        except UseCaseError as error:
            fault = error.message
        rows.append({"use_case": name, "title": title, "fault": fault})
    return {"use_cases": rows}
