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


@click.command("ship-model")
@click.option(
    "--users",
    type=flags.whole(1, 1_000_000),
    default=8_000,
    show_default=True,
    help="Players.",
)
@click.option(
    "--maximum-events",
    type=flags.whole(1, 10_000),
    default=200,
    show_default=True,
    help="Events of a player, at most.",
)
@click.option(
    "--days",
    type=flags.whole(2, 3_650),
    default=84,
    show_default=True,
    help="Days of registrations.",
)
@click.option(
    "--seed", type=flags.whole(0), default=2025, show_default=True, help="Of chance."
)
@click.option(
    "--out",
    "folder",
    type=flags.FILE,
    metavar="FOLDER",
    help="Where it is written (default: offline/models/first_day_churn).",
)
@flags.as_json
def ship_model(*, folder: Path | None, as_json: bool, **chosen: Any) -> None:
    """
    Make the model that is shipped with first_day_churn.

    Generates players, stores their events in emulators of its own, and trains on them
    as 00-ModelTraining does. To be run again when the features of usecase.toml or the
    version of scikit-learn change. The same options and libraries give the same model,
    byte for byte.
    """
    from local import ship_model as program

    model = program.run(folder=folder or program.FOLDER, **chosen)
    show(model, as_json=as_json)
