"""The shipped model: what is written can be loaded, and can be made again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from local import ship_model
from local.generators.games import Games
from offline import load_model
from propensity import usecases
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
Place = tuple[Warehouse, Artifacts, Settings]


@pytest.fixture(scope="module")
def place(module_workplace) -> Iterator[Place]:
    """A deployment of the stream, without an event."""
    environment = dict(module_workplace.environment)
    settings = Settings.from_environment({**environment, "PROPENSITY_GA4_DATASET": ""})
    warehouse = Warehouse.open(settings)
    with entered(environment):
        artifacts = Artifacts.open(settings)
    setup.prepare(warehouse, settings)
    yield warehouse, artifacts, settings
    warehouse.close()
    artifacts.close()


@pytest.fixture(scope="module")
def files(place) -> dict[str, bytes]:
    """The files of a small model."""
    return ship_model.shipped(*place, GAMES, at=NOW)


class TestFiles:
    def test_can_be_loaded_and_serve(self, place, files, tmp_path):
        ship_model.write(files, tmp_path / USE_CASE.name)
        outcome = load_model.load(*place, folder=tmp_path)

        assert (outcome.version, outcome.is_new) == (0, True)

    def test_say_how_they_were_made(self, files):
        """The command, all that the generator was given, libraries and figures."""
        about = json.loads(files[load_model.METADATA])
        figures = about["figures"]

        assert about["command"].endswith(
            "--users 900 --maximum-events 12 --days 84 --seed 8"
        )
        end = datetime.fromisoformat(about["generator"]["end"])
        assert Games(**{**about["generator"], "end": end}) == GAMES
        assert about["libraries"]["scikit-learn"]
        # Some seventy users held out: a standard deviation of 0.05.
        assert 0.65 < figures["roc_auc"] <= 1
        assert figures["baseline_roc_auc"] < figures["roc_auc"]

    def test_that_are_shipped_are_those_of_the_defaults(self):
        about = load_model.read(USE_CASE.name).about

        assert about["generator"] == {
            "seed": ship_model.SEED,
            "users": ship_model.USERS,
            "churn_rate": Games.churn_rate,
            "days": Games.days,
            "maximum_events": ship_model.MAXIMUM_EVENTS,
            "end": ship_model.END.isoformat(),
        }


@pytest.mark.long
def test_the_command_makes_the_same_model_again(files, tmp_path, capsys):
    """In emulators of its own, to the byte; it prints what that is worth."""
    ship_model.main([*ARGUMENTS, "--out", str(tmp_path / USE_CASE.name)])
    model = load_model.read(USE_CASE.name, tmp_path)

    assert {name: model.files[name] for name in MODELS} == {
        name: files[name] for name in MODELS
    }
    assert "roc_auc" in capsys.readouterr().out
