"""Use cases: check one, replace a preprocessor; ``trying`` has the others."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from propensity.cli.answers import Exit, command, example, tell
from propensity.cli.options import DRY_RUN, FILE, known_use_case, use_case
from propensity.trying.usecase_verbs import usecase


@usecase.command(epilog=example("propensity usecase check shop_signup"))
@click.argument("name", help="Name of the use case.")
def check(*, name: str) -> Any:
    """
    Check the files and SQL of a use case, and its leakage.

    Fits each candidate to generated rows, checks each SQL file with Google's own
    analyzer, then runs features and labels on generated events, with and without events
    of the future, and reports every column that changes, and rows that Google's own
    evaluator has otherwise.
    """
    known_use_case(name)
    from local.ground import sandbox
    from offline.usecases import check as program
    from propensity.cli.progress import announced

    report = program.check_use_case(name, sandbox.opened, step=announced)
    if not report.problems:
        tell("Nothing is wrong.")
    return asdict(report), Exit.FAILED if report.problems else Exit.DONE


@command("propensity build-preprocessor --from my_preprocessor.py")
@click.option(
    "--from",
    "file",
    type=FILE,
    metavar="FILE",
    help="Python file that defines preprocessor(use_case).",
)
@click.option(
    "--default", "is_default", is_flag=True, help="Go back to the use case's default."
)
@use_case()
@DRY_RUN
def build_preprocessor(*, file: Path | None, is_default: bool, **arguments: Any) -> Any:
    """
    Check and upload a preprocessor of your own.

    The file defines preprocessor(use_case), which returns an unfitted scikit-learn
    ColumnTransformer over the columns named in use_case.features. It is pickled, so it
    may use packages that the functions have, but nothing defined in the file itself.
    """
    if (file is None) != is_default:
        raise click.UsageError("give either --from FILE or --default")
    from offline.build_preprocessor import run

    return run(file, **arguments)
