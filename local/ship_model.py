"""
Make the model that is shipped with the use case of the generated gaming operator.

Generates players, stores their events in the emulators as the stream stores them, and
trains on them as 00-ModelTraining does. Writes model, preprocessor and card, and in
metadata.json what they were made of, what they achieved, and their checksums.
``offline/load_model.py`` loads them.

Run it again when the features of usecase.toml or the version of scikit-learn change.
The same arguments and libraries give the same model.
"""

from __future__ import annotations

import argparse
import json
import sys
import uuid
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from local import sandbox
from local.generators.games import USE_CASE, Games
from local.generators.players import postcodes
from offline import load_postcodes, whole_files
from offline.load_model import FILES, METADATA, MODELS
from propensity import usecases
from propensity.errors import ArtifactError
from propensity.events.enrichment import PostcodeIndex
from propensity.events.messages import Message
from propensity.events.rows import accept, rows_of
from propensity.events.types import Catalogue
from propensity.gcp.artifacts import Artifacts, sha256
from propensity.gcp.warehouse import Warehouse
from propensity.learning import card as cards
from propensity.learning import fit
from propensity.learning import rows as learning_rows
from propensity.learning.gate import Verdict
from propensity.registry.versions import Registry, libraries
from propensity.runs import train
from propensity.runs.run import Run
from propensity.settings import Settings
from propensity.statements import statement
from propensity.tables.stream import STREAM_EVENTS

# Other players than those of the demo and the tests, and earlier ones: a model must not
# be younger than what it is to score.
SEED = 2025
END = datetime(2025, 1, 1, tzinfo=UTC)
USERS = 8_000
MAXIMUM_EVENTS = 200
FOLDER = MODELS / USE_CASE
FIGURES = (
    *("base_rate", "roc_auc", "roc_auc_low", "roc_auc_high", "pr_auc", "brier"),
    *("log_loss", "calibration_error"),
)


def make(games: Games, folder: Path) -> dict[str, Any]:
    """
    Make the model in emulators of its own, and write its files.

    Returns:
        What metadata.json has.

    Raises:
        OSError: The files cannot be written.
        NotEnoughData: There are too few players to train and to test.
    """
    with sandbox.emulators(say=say) as stack:
        settings = Settings.from_environment(stack.environment)
        bucket = stack.objects().bucket(settings.required("bucket"))
        with (
            closing(Warehouse.open(settings)) as warehouse,
            closing(Artifacts(bucket, settings)) as artifacts,
        ):
            now = datetime.now(UTC)
            files = shipped(warehouse, artifacts, settings, games, at=now)
    write(files, folder)
    about: dict[str, Any] = json.loads(files[METADATA])
    return about


def say(text: str) -> None:
    """Print progress, apart from the answer."""
    print(f"· {text}", file=sys.stderr)


def shipped(
    warehouse: Warehouse,
    artifacts: Artifacts,
    settings: Settings,
    games: Games,
    *,
    at: datetime,
) -> dict[str, bytes]:
    """
    Train on generated players, and return the files by name.

    Args:
        warehouse: Its dataset has the tables, and no event.
        artifacts: Of its bucket, to which nothing is written.
        settings: Of that dataset.
        games: The players.
        at: Now; the version is dated by it.

    Raises:
        NotEnoughData: There are too few players to train and to test.
    """
    use_case = usecases.load(USE_CASE)
    say(f"storing the events of {games.users:,} players …")
    store(warehouse, settings, games)
    say("training …")
    run = Run(
        function="shipModel",
        run_id=uuid.uuid4().hex,
        settings=settings,
        use_case=use_case,
        as_of=games.end.astimezone(UTC).date(),
        force=False,
        began_at=at,
        warehouse=warehouse,
        registry=Registry(artifacts, use_case.name),
    )
    rows = train.training_rows(run)
    trained = fit.train(
        learning_rows.of_users(rows, use_case, run.timeframe, settings=settings),
        use_case,
        preprocessor=None,
        settings=settings,
    )
    reason = f"shipped: trained on {games.users:,} generated users"
    card = cards.card(
        use_case,
        trained,
        Verdict(promoted=True, reason=reason),
        version=0,
        rows=rows,
        as_of=run.as_of,
        data_until=None,
        settle_days=run.timeframe.settle_days,
        chosen=use_case.chosen(run.settings),
        trained_at=at,
        bytes_billed=0,
    )
    stored = cards.files(card, trained, rows)
    files = {name: stored[name][0] for name in FILES}
    names = ("seed", "users", "churn_rate", "days", "maximum_events")
    metrics = trained.holdout.metrics.columns()
    about = {
        "use_case": use_case.name,
        "command": (
            f"python -m local.ship_model --users {games.users} --maximum-events "
            f"{games.maximum_events} --days {games.days} --seed {games.seed}"
        ),
        "generator": {
            **{name: getattr(games, name) for name in names},
            "end": games.end.isoformat(),
        },
        "parameters": use_case.chosen(settings),
        "figures": {
            "algorithm": trained.chosen.name,
            "users": len(trained.holdout.rows),
            **{name: metrics[name] for name in FIGURES},
            "baseline_roc_auc": trained.holdout.baseline_roc_auc,
        },
        "seconds": round(run.elapsed_s(), 1),
        "libraries": libraries(),
        "files": {
            name: {"sha256": sha256(data), "bytes": len(data)}
            for name, data in files.items()
        },
    }
    return {**files, METADATA: json.dumps(about, indent=1).encode() + b"\n"}


def store(warehouse: Warehouse, settings: Settings, games: Games) -> None:
    """Store postcodes and events as the stream would have, each event once."""
    load_postcodes.load(warehouse, postcodes(), loaded_on=games.first_date)
    index = PostcodeIndex(warehouse.table(statement("postcodes")))
    catalogue = Catalogue([usecases.load(USE_CASE)])
    lateness = timedelta(days=settings.maximum_lateness_days)
    messages = [
        Message(data, str(number), attributes)
        for number, (data, attributes) in enumerate(games.payloads())
    ]
    accepted = accept(messages, catalogue, index, received_at=games.end)
    if accepted.refused:
        raise ArtifactError(f"generated events are refused: {accepted.refused}")
    rows = rows_of(
        STREAM_EVENTS, accepted.events, received_at=games.end, lateness=lateness
    )
    warehouse.write(STREAM_EVENTS, pa.Table.from_batches([rows]))


def write(files: Mapping[str, bytes], folder: Path) -> None:
    """Write files, and last the one with the checksums of the others."""
    for name in (*FILES, METADATA):
        whole_files.write(folder / name, files[name])


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the model that is shipped, and print what it achieves."""
    parser = argparse.ArgumentParser(prog="python -m local.ship_model")
    parser.add_argument("--users", type=int, default=USERS)
    parser.add_argument("--maximum-events", type=int, default=MAXIMUM_EVENTS)
    parser.add_argument("--days", type=int, default=Games.days)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--out", type=Path, default=FOLDER)
    options = vars(parser.parse_args(arguments))
    folder = options.pop("out")
    about = make(Games(**options, end=END), folder)
    print(json.dumps(about["figures"], indent=1), f"\nWritten to {folder}")


if __name__ == "__main__":
    main()
