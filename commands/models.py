"""Models and preprocessors that a person makes or loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from commands import flags
from commands.answers import apart, show

STREAMED = "first_day_churn"


@click.command("load-model")
@flags.use_case(STREAMED)
@flags.dry_run("Verify and check, and write nothing.")
@flags.as_json
def load_model(*, use_case: str, is_dry: bool, as_json: bool) -> None:
    """
    Load the model that is shipped with a use case.

    Where nothing serves yet, so that a stream is scored from its first day on. The
    model becomes a version like any other: stored in the bucket, recorded in
    ma_model_training_metadata, and champion. The first training that is not worse on
    what the stream has collected replaces it.
    """
    from offline import load_model as program

    show(program.run(use_case, is_dry=is_dry), as_json=as_json)


@click.command("build-preprocessor")
@click.option(
    "--from",
    "file",
    type=flags.FILE,
    metavar="FILE",
    help="Python file that defines preprocessor(use_case).",
)
@click.option(
    "--default", "is_default", is_flag=True, help="Put the use case's default back."
)
@flags.use_case()
@flags.dry_run("Check, and upload nothing.")
@flags.as_json
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
        raise click.UsageError("one of --from FILE and --default is needed")
    from offline import build_preprocessor as program

    # The file may print.
    with apart(as_json=as_json):
        outcome = program.run(file, **chosen)
    show(outcome, as_json=as_json)
