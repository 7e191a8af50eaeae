"""Use cases: write a new one, check one, and give one another preprocessor."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from commands.answers import Exit, command
from commands.flags import DRY_RUN, argument, option, use_case


@command(
    argument("NAME"),
    option("--label-event EVENT", "Event to predict.", default="purchase"),
    option("--lookback-days N", "Days of events that features read.", default=30),
    option("--horizon-days N", "Days within which the event is predicted.", default=7),
    option("--source TABLE", "Also read a table of your own, [project.]dataset.table."),
    DRY_RUN,
)
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


@command(argument("NAME"))
def check_usecase(*, name: str) -> Any:
    """
    Check the files and SQL of a use case, and its leakage.

    Reads its files, fits each candidate to made-up rows, and reads its statements by
    Google's own analyzer. Then runs features and labels on an emulated BigQuery, on
    made-up events with and without those that they may not see: the rows must be the
    same. Fails if something is wrong.
    """
    from local import sandbox
    from local.progress import announced, showing
    from offline.usecases import check

    with showing(sys.stderr):
        report = check.check(name, sandbox.opened, step=announced)
    if not report.problems:
        print("Nothing is wrong.")
    return asdict(report), Exit.FAILED if report.problems else Exit.DONE


@command(
    option("--from FILE", "Python file that defines preprocessor(use_case).", "file"),
    option("--default", "Put the use case's default back.", "is_default"),
    *(use_case(), DRY_RUN),
)
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
        raise click.UsageError("give either --from FILE or --default")
    from offline.build_preprocessor import run

    return run(file, **chosen)
