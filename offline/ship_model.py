"""
Make the model that is shipped with the use case of the generated gaming operator.

    python -m offline.ship_model
    python -m offline.ship_model --users 2000 --out /tmp/first_day_churn

Generates players, stores their events in the emulators as the stream stores them, and
trains on them as 00-ModelTraining does: the same statements, candidates, calibration
and holdout in time. Writes model, preprocessor and card, and in metadata.json what they
were made of, what they achieved, and their checksums. ``offline/load_model.py`` loads
them.

To be run again when the features of usecase.toml or the version of scikit-learn change.
The same arguments and libraries give the same model, byte for byte.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
from google.auth.credentials import AnonymousCredentials
from google.cloud.storage import Client as StorageClient
from sklearn.metrics import roc_auc_score

from local.processes import LocalError, free_ports
from local.stack import EMULATOR_PORTS, Stack, State
from local.synthesize_games import USE_CASE, Games, postcodes
from offline import load_postcodes
from offline.load_model import CARD, FILES, METADATA, MODELS
from propensity import tables, usecases
from propensity.edges.artifacts import Artifacts, sha256
from propensity.edges.warehouse import Warehouse
from propensity.errors import ArtifactError, PropensityError
from propensity.events import reading
from propensity.events.catalogue import Catalogue
from propensity.events.messages import Message
from propensity.events.postcodes import PostcodeIndex
from propensity.events.rows import Rules
from propensity.learning import modelcard, training
from propensity.learning.training import Trained, Verdict
from propensity.registry.versions import Registry
from propensity.runs import steps
from propensity.runs.endpoint import Run
from propensity.settings import Settings
from propensity.statements import statement

# Other players than those of the demo and the tests, and earlier ones: a model must not
# be younger than what it is to score.
SEED = 2025
END = datetime(2025, 1, 1, tzinfo=UTC)
USERS = 8_000
MAXIMUM_EVENTS = 200

# All files together: they are part of the source.
MAXIMUM_BYTES = 1_000_000

BATCH = 20_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    options = parse(arguments)
    try:
        games = Games(
            seed=options.seed,
            users=options.users,
            maximum_events=options.maximum_events,
            days=options.days,
            end=END,
        )
        with tempfile.TemporaryDirectory() as folder:
            ports = dict(zip(EMULATOR_PORTS, free_ports(4), strict=True))
            state = State("ship", Path(folder))
            with Stack(state, ports=ports, functions=(), say=say) as stack:
                settings = Settings.from_environment(stack.environment)
                with contextlib.ExitStack() as clients:
                    warehouse = Warehouse.open(settings)
                    clients.callback(warehouse.close)
                    artifacts = artifacts_of(stack, settings)
                    clients.callback(artifacts.close)
                    made = shipped(
                        warehouse, artifacts, settings, games, at=datetime.now(UTC)
                    )
        write(made, options.out)
    except (LocalError, PropensityError, OSError, ValueError) as error:
        print(f"ship_model: {error}", file=sys.stderr)
        return 1
    print(told(made, options.out))
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m offline.ship_model",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--users", type=int, default=USERS)
    parser.add_argument("--maximum-events", type=int, default=MAXIMUM_EVENTS)
    parser.add_argument("--days", type=int, default=Games.days)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--out", type=Path, default=MODELS / USE_CASE, metavar="FOLDER")
    return parser.parse_args(arguments)


def say(text: str) -> None:
    """Say how far it is."""
    print(f"· {text}", file=sys.stderr)


def artifacts_of(stack: Stack, settings: Settings) -> Artifacts:
    """Return the emulated bucket, whatever this program's own environment names."""
    client = StorageClient(
        project=settings.project,
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
        client_options={"api_endpoint": stack.url("storage")},
    )
    bucket = client.bucket(settings.required("bucket"))
    return Artifacts(bucket, deadline_s=float(settings.retry_deadline_s))


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
        ArtifactError: The files are too large to be shipped.
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
    rows = steps.training_rows(run)
    trained = training.train(
        rows, use_case, run.timeframe, preprocessor=None, settings=settings
    )
    verdict = Verdict(
        promoted=True,
        reason=f"shipped: trained on {games.users:,} generated users",
    )
    card = modelcard.card(
        use_case,
        trained,
        verdict,
        version=0,
        rows=rows,
        as_of=run.as_of,
        data_until=None,
        settle_days=run.timeframe.settle_days,
        chosen=use_case.chosen(run.settings),
        trained_at=at,
        bytes_billed=0,
    )
    made = modelcard.files(card, trained, rows)
    files = {name: made[name][0] for name in FILES}
    about = {
        "use_case": use_case.name,
        "command": _command(games),
        "generator": _arguments(games),
        "parameters": use_case.chosen(settings),
        "figures": figures(trained, games),
        "seconds": round(run.elapsed_s(), 1),
        "libraries": modelcard.libraries(),
        "files": {
            name: {"sha256": sha256(data), "bytes": len(data)}
            for name, data in files.items()
        },
    }
    files[METADATA] = json.dumps(about, indent=1).encode() + b"\n"
    return checked(files)


def checked(files: dict[str, bytes]) -> dict[str, bytes]:
    """Return the files, or raise ArtifactError where they are too large to ship."""
    if (size := sum(map(len, files.values()))) > MAXIMUM_BYTES:
        raise ArtifactError(
            f"the files have {size:,} bytes, more than the {MAXIMUM_BYTES:,} that are "
            "shipped: the model is too large. Try other players"
        )
    return files


def store(warehouse: Warehouse, settings: Settings, games: Games) -> None:
    """Store postcodes and events as the stream would have, each event once."""
    load_postcodes.load(warehouse, postcodes(), loaded_on=games.first_date)
    index = PostcodeIndex.of(warehouse.table(statement("postcodes")))
    catalogue = Catalogue([usecases.load(USE_CASE)])
    rules = Rules(
        maximum_bytes=settings.maximum_event_bytes,
        clock_skew=timedelta(seconds=settings.maximum_clock_skew_s),
        lateness=timedelta(days=settings.maximum_lateness_days),
        keeps_personal=False,
    )
    messages = [
        Message(data, str(number), attributes)
        for number, (data, attributes) in enumerate(games.payloads())
    ]
    batches = []
    for first in range(0, len(messages), BATCH):
        found = reading.accept(
            messages[first : first + BATCH],
            catalogue,
            index,
            received_at=games.end,
            rules=rules,
        )
        if found.refused:
            raise ArtifactError(f"generated events are refused: {found.reasons}")
        batches.append(found.rows)
    warehouse.append(
        tables.STREAM_EVENTS,
        pa.Table.from_batches(batches),
        job_id=f"ship-{uuid.uuid4().hex}",
    )


def figures(trained: Trained, games: Games) -> dict[str, Any]:
    """
    Return what the model achieved on the users held out, and what was possible.

    The generator knows every user's true probability; that of the same users is the
    best ranking there is.
    """
    truth = games.true_probabilities()
    users = trained.holdout.rows["user_id"].to_pylist()
    possible = roc_auc_score(trained.holdout.label, [truth[user] for user in users])
    quality = trained.quality
    told = ("roc_auc", "roc_auc_low", "roc_auc_high", "pr_auc", "brier", "log_loss")
    return {
        "algorithm": trained.chosen.name,
        "users": len(trained.holdout),
        "base_rate": quality["base_rate"],
        **{name: quality[name] for name in told},
        "calibration_error": quality["calibration_error"],
        "optimum_roc_auc": float(possible),
        "baselines": dict(trained.baselines),
    }


def _arguments(games: Games) -> dict[str, Any]:
    names = ("seed", "users", "churn_rate", "days", "maximum_events")
    return {
        **{name: getattr(games, name) for name in names},
        "end": games.end.isoformat(),
    }


def _command(games: Games) -> str:
    return (
        f"python -m offline.ship_model --users {games.users} --maximum-events "
        f"{games.maximum_events} --days {games.days} --seed {games.seed}"
    )


def write(files: Mapping[str, bytes], folder: Path) -> None:
    """Write files; the one with the checksums last, so that half of them is refused."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*FILES, METADATA):
        (folder / name).write_bytes(files[name])


def told(files: Mapping[str, bytes], folder: Path) -> str:
    """Say what was made."""
    about, card = json.loads(files[METADATA]), json.loads(files[CARD])
    found = about["figures"]
    sizes = ", ".join(f"{name} {len(data):,}" for name, data in files.items())
    baseline, area = next(iter(found["baselines"].items()))
    return (
        f"{found['algorithm']}, calibration {card['calibration']}, trained on "
        f"{card['rows']['train']:,} users, tested on {found['users']:,} later ones:\n"
        f"ROC AUC {found['roc_auc']:.4f} ({found['roc_auc_low']:.4f} to "
        f"{found['roc_auc_high']:.4f}); {found['optimum_roc_auc']:.4f} is possible, "
        f"{baseline} gives {area:.4f}\n"
        f"Written to {folder} (bytes: {sizes})"
    )


if __name__ == "__main__":
    sys.exit(main())
