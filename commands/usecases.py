"""Use cases: write a new one, check one, and give one another preprocessor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from commands.answers import Exit, answering
from commands.flags import COUNT, FILE, dry_run, flag, option, use_case


@click.command("new-usecase")
@click.argument("name")
@option("--label-event", "Event to predict.", default="purchase")
@option("--lookback-days", "Days of events that features read.", type=COUNT, default=30)
@option(
    *("--horizon-days", "Days within which the event is predicted."),
    type=COUNT,
    default=7,
)
@option(
    "--source",
    "A table of your own to read as well, as dataset.table or project.dataset.table.",
    metavar="TABLE",
    default="",
)
@dry_run("Show the files, and write none.")
@answering
def new_usecase(**chosen: Any) -> Any:
    """
    Write the folder of a new use case.

    On the GA4 export: usecase.toml, features.sql, labels.sql and days.sql in
    propensity/usecases/NAME, which run as they are and say what can be changed. NAME is
    lower-case letters, digits and underscores.
    """
    from offline.usecases import new
    from propensity.errors import RequestError

    try:
        return new.write(**chosen)
    except RequestError as error:
        raise click.UsageError(error.message) from None


@click.command("check-usecase")
@click.argument("name")
@answering
def check_usecase(*, name: str) -> Any:
    """
    Say what is wrong with a use case, and where.

    Reads its files, fits each candidate to made-up rows, and reads its statements by
    Google's own analyzer. Then runs features and labels on an emulated BigQuery, on
    made-up events with and without those that they may not see: the rows must be the
    same. Fails if something is wrong.
    """
    from local import sandbox
    from offline.usecases import check

    report = check.check(name, sandbox.opened)
    return report, Exit.FAILED if report.problems else Exit.DONE


@click.command("build-preprocessor")
@option(
    *("--from", "file", "Python file that defines preprocessor(use_case)."),
    type=FILE,
    metavar="FILE",
)
@flag("--default", "is_default", "Put the use case's default back.")
@use_case()
@dry_run("Check, and upload nothing.")
@answering
def build_preprocessor(*, file: Path | None, is_default: bool, **chosen: Any) -> Any:
    """
    Check and upload a preprocessor of your own.

    The file defines preprocessor(use_case), which returns an unfitted scikit-learn
    ColumnTransformer over the columns named in use_case.features. It is pickled, so it
    may use what the functions have installed, but nothing defined in the file itself.
    Training fits a clone of it on its training rows only. One of --from and --default
    is needed.
    """
    if (file is None) != is_default:
        raise click.UsageError("give one of --from FILE and --default")
    from offline import build_preprocessor as program

    return program.run(file, **chosen)
