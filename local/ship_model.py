"""
Make the model that is shipped with the use case of the generated gaming operator.

    python -m local.ship_model

Generates players, stores their events in the emulators as the stream stores them, and
trains on them as 00-ModelTraining does. Writes model, preprocessor and card, and in
metadata.json what they were made of, what they achieved, and their checksums.
``offline/load_model.py`` loads them.

Run it again when the features of usecase.toml or the version of scikit-learn change.
The same players and libraries give the same model.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import uuid
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from local import sandbox
from local.generators.games import USE_CASE, Games
from local.generators.players import postcodes
from local.progress import say, showing
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
END = datetime(2025, 1, 1, tzinfo=UTC)
GAMES = Games(seed=2025, users=8_000, maximum_events=200, end=END)
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
    with sandbox.emulators() as stack:
        settings = Settings.from_environment(stack.environment)
        bucket = stack.objects().bucket(settings.required("bucket"))
        with (
            closing(Warehouse.open(settings)) as warehouse,
            closing(Artifacts(bucket, settings)) as artifacts,
        ):
            say(f"storing the events of {games.users:,} players …")
            store(warehouse, games)
            say("training …")
            run = Run(
                function="shipModel",
                run_id=uuid.uuid4().hex,
                settings=settings,
                use_case=usecases.load(USE_CASE),
                as_of=games.end.astimezone(UTC).date(),
                force=False,
                began_at=datetime.now(UTC),
                warehouse=warehouse,
                registry=Registry(artifacts, USE_CASE),
            )
            files, figures = trained(run, games)
    about = {
        "use_case": USE_CASE,
        "command": "python -m local.ship_model",
        "generator": {**dataclasses.asdict(games), "end": games.end.isoformat()},
        "parameters": run.use_case.chosen(settings),
        "figures": figures,
        "seconds": round(run.elapsed_s(), 1),
        "libraries": libraries(),
        "files": {
            name: {"sha256": sha256(data), "bytes": len(data)}
            for name, data in files.items()
        },
    }
    # Last the one with the checksums of the others.
    files[METADATA] = json.dumps(about, indent=1).encode() + b"\n"
    for name, data in files.items():
        whole_files.write(folder / name, data)
    return about


def trained(run: Run, games: Games) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Train on what is stored, and return the files by name, and metrics."""
    rows = train.training_rows(run)
    timeframe, settings, use_case = run.timeframe, run.settings, run.use_case
    model = fit.train(
        learning_rows.of_users(rows, use_case, timeframe, settings=settings),
        use_case,
        preprocessor=None,
        settings=settings,
    )
    reason = f"shipped: trained on {games.users:,} generated users"
    card = cards.card(
        use_case,
        model,
        Verdict(promoted=True, reason=reason),
        version=0,
        rows=rows,
        as_of=run.as_of,
        data_until=None,
        settle_days=timeframe.settle_days,
        chosen=use_case.chosen(settings),
        trained_at=run.began_at,
        bytes_billed=0,
    )
    stored, metrics = cards.files(card, model, rows), model.holdout.metrics.columns()
    figures = {
        "algorithm": model.chosen.name,
        "users": len(model.holdout.rows),
        **{name: metrics[name] for name in FIGURES},
        "baseline_roc_auc": model.holdout.baseline_roc_auc,
    }
    return {name: stored[name][0] for name in FILES}, figures


def store(warehouse: Warehouse, games: Games) -> None:
    """Store postcodes and events as the stream would have, each event once."""
    load_postcodes.load(warehouse, postcodes(), loaded_on=games.first_date)
    index = PostcodeIndex(warehouse.table(statement("postcodes")))
    catalogue = Catalogue([usecases.load(USE_CASE)])
    lateness = timedelta(days=warehouse.settings.maximum_lateness_days)
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


def main() -> None:
    """Make the model that is shipped, and print what it achieves."""
    folder = MODELS / USE_CASE
    with showing(sys.stderr):
        about = make(GAMES, folder)
    print(json.dumps(about["figures"], indent=1), f"\nWritten to {folder}")


if __name__ == "__main__":
    main()
