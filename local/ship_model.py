"""
Make the model that is shipped with the use case of the generated gaming operator.

    python -m local.ship_model

Generates players, stores their events in the emulators as the stream stores them, and
has 00-ModelTraining train on them. Keeps model, preprocessor and card, and in
metadata.json what they were made of, and their checksums.
``offline/load_model.py`` loads them.

Run it again when the features of usecase.toml or the version of scikit-learn change.
The same players and libraries give the same model.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from local.demos.calls import call
from local.generators.games import USE_CASE, Games, postcodes
from local.generators.streams import attributes_of, encode
from local.stack import temporary
from local.stack.state import FUNCTIONS
from offline import load_postcodes
from offline.load_model import FILES, METADATA, MODELS
from propensity import usecases, whole_files
from propensity.cli.progress import say, showing
from propensity.errors import ArtifactError
from propensity.gcp.artifacts import sha256
from propensity.gcp.warehouse import Warehouse
from propensity.learning.card import CARD
from propensity.settings import Settings
from propensity.statements import statement
from propensity.streaming.events.messages import Message
from propensity.streaming.events.postcodes import PostcodeIndex
from propensity.streaming.events.rows import accept, stored_rows
from propensity.streaming.events.types import Catalogue
from propensity.tables.stream import STREAM_EVENTS

# Other players than those of the demo and the tests, and earlier ones: a model must not
# be younger than what it is to score.
END = datetime(2025, 1, 1, tzinfo=UTC)
GAMES = Games(seed=2025, users=8_000, maximum_events=200, end=END)


def make(games: Games, folder: Path) -> dict[str, Any]:
    """
    Make the model in a local state of its own, write its files, and return its
    metadata.
    """
    began = time.monotonic()
    [training] = [
        function for function in FUNCTIONS if function.target == "model_training"
    ]
    with temporary.emulators(training) as stack:
        settings = Settings.from_environment(stack.environment)
        say(f"storing the events of {games.users:,} players …")
        with closing(Warehouse.open(settings)) as warehouse:
            store(warehouse, games)
        as_of = games.end.astimezone(UTC).date().isoformat()
        answer = call(stack, "model_training", {"use_case": USE_CASE, "as_of": as_of})
        files = {}
        for name in FILES:
            files[name] = (stack.bucket_folder / answer["objects"][name]).read_bytes()
    card = json.loads(files[CARD])
    card["verdict"]["reason"] = f"shipped: trained on {games.users:,} generated users"
    files[CARD] = json.dumps(card, indent=1).encode()
    about = {
        "use_case": USE_CASE,
        "command": "python -m local.ship_model",
        "generator": {**dataclasses.asdict(games), "end": games.end.isoformat()},
        "seconds": round(time.monotonic() - began, 1),
        "libraries": card["libraries"],
        "files": {
            name: {"sha256": sha256(data), "bytes": len(data)}
            for name, data in files.items()
        },
    }
    # Last the one with the checksums of the others.
    files[METADATA] = json.dumps(about, indent=1).encode() + b"\n"
    for name, data in files.items():
        whole_files.write_whole(folder / name, data)
    return about


def store(warehouse: Warehouse, games: Games) -> None:
    """Store postcodes and events as the stream would have, each event once."""
    since = games.end - timedelta(days=games.days)
    load_postcodes.load(warehouse, postcodes(), loaded_on=since.date())
    index = PostcodeIndex(warehouse.table(statement("postcodes")))
    catalogue = Catalogue([usecases.load(USE_CASE)])
    lateness = timedelta(days=warehouse.settings.maximum_lateness_days)
    messages = [
        Message(encode(event), str(number), attributes_of(event))
        for number, event in enumerate(games.events())
    ]
    accepted = accept(messages, catalogue, index, received_at=games.end)
    if accepted.refused:
        raise ArtifactError(f"generated events are refused: {accepted.refused}")
    at = games.end
    events = accepted.events
    rows = stored_rows(STREAM_EVENTS, events, received_at=at, lateness=lateness)
    warehouse.write(STREAM_EVENTS, pa.Table.from_batches([rows]))


def main() -> None:
    """Make the model that is shipped."""
    folder = MODELS / USE_CASE
    with showing(sys.stderr):
        about = make(GAMES, folder)
    print(f"Made in {about['seconds']} s, and written to {folder}")


if __name__ == "__main__":
    main()
