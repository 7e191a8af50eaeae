"""Use cases: write a new one, check one, list them, and replace a preprocessor."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from commands.answers import Command, Exit, Group, example
from commands.options import DRY_RUN, FILE, Count, use_case

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
    "--label-event",
    metavar="EVENT",
    help="Event to predict.  [default: purchase]",
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
@DRY_RUN
def new(
    *,
    events: str | None,
    user: str | None,
    time: str | None,
    event_name: str | None,
    amount: str | None,
    counts: str,
    **arguments: Any,
) -> Any:
    """
    Write the folder of a new use case, for the GA4 export or a table of events.

    Its files are in usecases/NAME. They run unchanged; comments show what
    you can change.
    """
    from offline.usecases import new as program
    from propensity.errors import RequestError
    from propensity.usecases.declaration import Events

    own = None
    if events and user and time:
        own = Events(
            table=events, user_id=user, time=time, name=event_name, amount=amount
        )
    elif events or user or time or event_name or amount:
        raise click.UsageError("a table of events needs --events, --user and --time")
    named = [one.strip() for one in counts.split(",") if one.strip()]
    try:
        return program.write(events=own, counts=named, **arguments)
    except RequestError as error:
        raise click.UsageError(error.message) from None


@usecase.command(epilog=example("propensity usecase check shop_signup"))
@click.argument("name", help="Name of the use case, which is its folder's.")
def check(*, name: str) -> Any:
    """
    Check the files and SQL of a use case, and its leakage.

    Fits each candidate to generated rows, checks each SQL file with Google's own
    analyzer, then runs features and labels on generated events, with and without those
    that they may not see: the rows must be the same.
    """
    from local import sandbox
    from local.progress import announced
    from offline.usecases import check as program

    report = program.check(name, sandbox.opened, step=announced)
    if not report.problems:
        print("Nothing is wrong.")
    return asdict(report), Exit.FAILED if report.problems else Exit.DONE


@usecase.command("list", epilog=example("propensity usecase list"))
def list_usecases() -> Any:
    """List the use cases, with what each predicts."""
    from propensity import usecases

    rows = []
    for name in usecases.names():
        declared = usecases.load(name)
        rows.append({"use_case": name, "title": declared.title})
    return {"use_cases": rows}


@click.command(
    "build-preprocessor",
    cls=Command,
    epilog=example("propensity build-preprocessor --from my_preprocessor.py"),
)
@click.option(
    "--from",
    "file",
    type=FILE,
    metavar="FILE",
    help="Python file that defines preprocessor(use_case).",
)
@click.option(
    "--default", "is_default", is_flag=True, help="Put the use case's default back."
)
@use_case()
@DRY_RUN
def build_preprocessor(*, file: Path | None, is_default: bool, **arguments: Any) -> Any:
    """
    Check and upload a preprocessor of your own.

    The file defines preprocessor(use_case), which returns an unfitted scikit-learn
    ColumnTransformer over the columns named in use_case.features. It is pickled, so it
    may use what the functions have installed, but nothing defined in the file itself.
    """
    if (file is None) != is_default:
        raise click.UsageError("give either --from FILE or --default")
    from offline.build_preprocessor import run

    return run(file, **arguments)
