"""
ship_model, specified: what it writes can be loaded, and can be made again.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from local import ship_model
from local.errors import LocalError
from local.generators.games.games import Games
from offline import load_model
from propensity import usecases
from propensity.errors import ArtifactError
from propensity.gcp.artifacts import Artifacts
from propensity.gcp.warehouse import Warehouse
from propensity.runs import setup
from propensity.settings import Settings
from tests.functions.conftest import entered

USE_CASE = usecases.load("first_day_churn")
ARGUMENTS = ["--users", "900", "--maximum-events", "12", "--seed", "8"]
GAMES = Games(seed=8, users=900, maximum_events=12, end=ship_model.END)
NOW = datetime(2026, 3, 2, tzinfo=UTC)
MODELS = (load_model.MODEL, load_model.PREPROCESSOR)


class Place:
    """A deployment of the stream, without an event."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.settings = Settings.from_environment(
            {**environment, "PROPENSITY_GA4_DATASET": ""}
        )
        self.warehouse = Warehouse.open(self.settings)
        with entered(environment):
            self.artifacts = Artifacts.open(self.settings)
        setup.prepare(self.warehouse, self.artifacts, self.settings)

    def shipped(self, games: Games) -> dict[str, bytes]:
        return ship_model.shipped(
            self.warehouse, self.artifacts, self.settings, games, at=NOW
        )


@pytest.fixture(scope="module")
def place(module_workplace) -> Iterator[Place]:
    model = Place(dict(module_workplace.environment))
    yield model
    model.warehouse.close()
    model.artifacts.close()


@pytest.fixture(scope="module")
def files(place) -> dict[str, bytes]:
    """The files of a small model."""
    return place.shipped(GAMES)


@pytest.fixture(scope="module")
def about(files) -> dict[str, Any]:
    return dict(json.loads(files[load_model.METADATA]))


class TestFiles:
    def test_can_be_loaded(self, place, files, tmp_path):
        """By load_model, which finds them sound, and lets them serve."""
        ship_model.write(files, tmp_path / USE_CASE.name)
        outcome = load_model.load(
            place.warehouse, place.artifacts, place.settings, folder=tmp_path
        )

        assert (outcome.version, outcome.is_new) == (0, True)

    def test_are_those_before_where_the_disk_is_full(self, tmp_path, monkeypatch):
        """Defect: some were new, one was cut off, and no model could be loaded."""
        names = (*load_model.FILES, load_model.METADATA)
        ship_model.write(dict.fromkeys(names, b"old"), tmp_path)
        write = Path.write_bytes

        def full(path: Path, data: bytes) -> int:
            if path.name == load_model.CARD:
                write(path, data[:1])
                raise OSError(errno.ENOSPC, "No space left on device")
            return write(path, data)

        monkeypatch.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match="No space left"):
            ship_model.write(dict.fromkeys(names, b"new"), tmp_path)

        assert {path.name for path in tmp_path.iterdir()} == {*names}
        assert {path.read_bytes() for path in tmp_path.iterdir()} == {b"old"}

    def test_say_how_they_were_made(self, about):
        """The command, all that the generator was given, libraries and figures."""
        figures = about["figures"]

        assert about["command"].split()[3:] == [
            *ARGUMENTS[:4], "--days", "84", *ARGUMENTS[4:],
        ]  # fmt: skip
        assert Games(
            **{**about["generator"], "end": datetime.fromisoformat("2025-01-01T00:00Z")}
        ) == GAMES  # fmt: skip
        assert about["parameters"] == {"first_day_hours": 24, "label_known_days": 7}
        assert about["libraries"]["scikit-learn"]
        # Some seventy users held out: a standard deviation of 0.05.
        assert 0.65 < figures["roc_auc"] <= 1
        assert figures["optimum_roc_auc"] > figures["roc_auc"] - 0.1
        assert figures["baseline_roc_auc"] < figures["optimum_roc_auc"]

    def test_too_large_are_not_shipped(self, files):
        """They would be part of the source for good."""
        large = {**files, load_model.MODEL: bytes(ship_model.MAXIMUM_BYTES)}

        with pytest.raises(ArtifactError, match="more than the 1,000,000"):
            ship_model.checked(large)


class TestPlace:
    def test_that_is_no_folder_is_said_before_the_training(self, tmp_path, capsys):
        """Defect: it was said after it."""
        file = tmp_path / "file"
        file.touch()
        arguments = [*ARGUMENTS, "--out", str(file / "model")]

        with pytest.raises(LocalError, match="Not a directory"):
            ship_model.main(arguments)
        assert "training" not in capsys.readouterr().err

    def test_is_left_as_it_was(self, tmp_path):
        """Nothing is made, not even the folder, before there is a model."""
        ship_model.check_place(tmp_path / "a" / "model")

        assert not [*tmp_path.iterdir()]


@pytest.mark.long
class TestCommand:
    def test_makes_the_same_model_again(self, files, tmp_path, capsys):
        """In emulators of its own, to the byte; it says what that is worth."""
        folder = tmp_path / USE_CASE.name

        ship_model.main([*ARGUMENTS, "--out", str(folder)])
        model = load_model.read(USE_CASE.name, tmp_path)
        assert {name: model.files[name] for name in MODELS} == {
            name: files[name] for name in MODELS
        }
        output = capsys.readouterr().out
        assert "ROC AUC" in output
        assert "is possible" in output

    def test_by_default_makes_the_model_that_is_shipped(self):
        """The metadata of the shipped files name the defaults."""
        about = load_model.read(USE_CASE.name).about

        assert load_model.MODELS / USE_CASE.name == ship_model.FOLDER
        assert about["generator"] == {
            "seed": ship_model.SEED,
            "users": ship_model.USERS,
            "churn_rate": Games.churn_rate,
            "days": Games.days,
            "maximum_events": ship_model.MAXIMUM_EVENTS,
            "end": ship_model.END.isoformat(),
        }
