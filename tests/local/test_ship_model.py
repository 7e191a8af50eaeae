"""The shipped model: what is written can be loaded, and can be made again."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from local import ship_model
from local.generators.games import Games
from offline import load_model
from propensity.learning.card import MODEL, PREPROCESSOR

GAMES = Games(seed=8, users=900, maximum_events=12, end=ship_model.END)
MODELS = (MODEL, PREPROCESSOR)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """The folder of a small model."""
    folder = tmp_path_factory.mktemp("models")
    ship_model.make(GAMES, folder / ship_model.USE_CASE)
    return folder


@pytest.mark.long
def test_a_shipped_model_that_was_made_anew_can_be_loaded(made, deployment):
    deployment.prepare()
    outcome = deployment.load_model(made)

    assert (outcome.version, outcome.is_new) == (0, True)


def test_the_model_that_is_shipped_is_of_the_players_named():
    games = {**asdict(ship_model.GAMES), "end": ship_model.END.isoformat()}
    shipped = load_model.read(ship_model.USE_CASE, load_model.MODELS)

    assert shipped.about["generator"] == games
