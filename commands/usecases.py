"""Use cases: write a new one, and check one."""

from __future__ import annotations

import click

from commands import flags
from commands.answers import apart, show
from commands.exits import Exit


@click.command("new-usecase")
@click.argument("name")
@click.option(
    "--label-event", default="purchase", show_default=True, help="Event to predict."
)
@click.option(
    "--lookback-days",
    type=flags.whole(1),
    default=30,
    show_default=True,
    help="Days of events that features read.",
)
@click.option(
    "--horizon-days",
    type=flags.whole(1),
    default=7,
    show_default=True,
    help="Days within which the event is predicted.",
)
@click.option(
    "--source",
    default="",
    metavar="TABLE",
    help="A table of your own to read as well, as dataset.table or "
    "project.dataset.table.",
)
@flags.dry_run("Show the files, and write none.")
@flags.as_json
def new_usecase(
    *,
    name: str,
    label_event: str,
    lookback_days: int,
    horizon_days: int,
    source: str,
    is_dry: bool,
    as_json: bool,
) -> None:
    """
    Write the folder of a new use case.

    On the GA4 export: usecase.toml, features.sql, labels.sql and days.sql in
    propensity/usecases/NAME, which run as they are and say what can be changed. NAME is
    lower-case letters, digits and underscores.
    """
    from offline.usecases import new
    from propensity.errors import RequestError

    try:
        folder = new.write(
            name,
            label_event=label_event,
            lookback_days=lookback_days,
            horizon_days=horizon_days,
            source=source,
            is_dry=is_dry,
        )
    except RequestError as error:
        raise click.UsageError(error.message) from None
    show(folder, as_json=as_json)


@click.command("check-usecase")
@click.argument("name")
@flags.as_json
def check_usecase(*, name: str, as_json: bool) -> int:
    """
    Say what is wrong with a use case, by file and line.

    Reads its files, and its statements by Google's own analyzer. Then runs features.sql
    as of a day on an emulated BigQuery, on made-up events and on those of them before
    that day: the rows must be the same. Fails if something is wrong.
    """
    from local import sandbox
    from offline.usecases import check

    with apart(as_json=as_json):
        report = check.check(name, sandbox.opened)
    show(report, as_json=as_json)
    return Exit.FAILED if report.problems else Exit.DONE
