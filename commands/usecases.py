"""Use cases: write a new one, check one, and give one another preprocessor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from commands.answers import Exit, apart, show
from commands.flags import COUNT, FILE, F, as_json, dry_run, option, use_case


def _days(name: str, text: str, default: int) -> Callable[[F], F]:
    return option(
        name, text, type=COUNT, metavar="N", default=default, show_default=True
    )


@click.command("new-usecase")
@click.argument("name")
@option("--label-event", "Event to predict.", default="purchase", show_default=True)
@_days("--lookback-days", "Days of events that features read.", 30)
@_days("--horizon-days", "Days within which the event is predicted.", 7)
@option(
    "--source",
    "A table of your own to read as well, as dataset.table or project.dataset.table.",
    default="",
    metavar="TABLE",
)
@dry_run("Show the files, and write none.")
@as_json
def new_usecase(*, as_json: bool, **chosen: Any) -> None:
    """
    Write the folder of a new use case.

    On the GA4 export: usecase.toml, features.sql, labels.sql and days.sql in
    propensity/usecases/NAME, which run as they are and say what can be changed. NAME is
    lower-case letters, digits and underscores.
    """
    from offline.usecases import new
    from propensity.errors import RequestError

    try:
        folder = new.write(**chosen)
    except RequestError as error:
        raise click.UsageError(error.message) from None
    show(folder, as_json=as_json)


@click.command("check-usecase")
@click.argument("name")
@as_json
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


@click.command("build-preprocessor")
@option(
    *("--from", "file"),
    "Python file that defines preprocessor(use_case).",
    type=FILE,
    metavar="FILE",
)
@option(*("--default", "is_default"), "Put the use case's default back.", is_flag=True)
@use_case()
@dry_run("Check, and upload nothing.")
@as_json
def build_preprocessor(
    *, file: Path | None, is_default: bool, as_json: bool, **chosen: Any
) -> None:
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

    # The file may print.
    with apart(as_json=as_json):
        outcome = program.run(file, **chosen)
    show(outcome, as_json=as_json)
