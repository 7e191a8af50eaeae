"""
load_model, specified: the shipped model serves where nothing does, and only there.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from offline import load_model
from propensity import usecases
from propensity.errors import ArtifactError, Conflict, SchemaError
from propensity.gcp.artifacts import sha256
from propensity.learning.card import CARD, MODEL
from propensity.registry import records, serving
from propensity.registry.versions import Registry, pickled
from propensity.tables.models import TRAINING_METADATA
from tests.propensity.registry.versions import Malicious, promote
from tests.support.deployment import Deployment

USE_CASE = usecases.load("first_day_churn")


def objects(deployment: Deployment) -> list[str]:
    return deployment.artifacts.names("models/")


@pytest.fixture(scope="module")
def shared(new_deployment) -> Deployment:
    return new_deployment(PROPENSITY_USE_CASE=USE_CASE.name)


@pytest.fixture
def deployment(shared) -> Iterator[Deployment]:
    """A deployment of the stream with nothing that serves."""
    yield shared
    shared.empty([TRAINING_METADATA])


@pytest.fixture
def altered(tmp_path) -> Callable[..., Path]:
    """Copy the shipped model with a file, or entries of a JSON file, changed."""

    def make(name: str, data: bytes = b"", **entries: Any) -> Path:
        folder = tmp_path / USE_CASE.name
        shipped = load_model.MODELS / USE_CASE.name
        shutil.copytree(shipped, folder, dirs_exist_ok=True)
        if entries:
            whole = json.loads((folder / name).read_text()) | entries
            data = json.dumps(whole).encode()
        (folder / name).write_bytes(data)
        about = json.loads((folder / load_model.METADATA).read_text())
        if entries and name in about["files"]:
            about["files"][name]["sha256"] = sha256(data)
            (folder / load_model.METADATA).write_text(json.dumps(about))
        return tmp_path

    return make


def test_a_load_makes_the_shipped_model_live_once(deployment, capsys):
    """As version 0, stored, recorded, promoted and loaded like any other; and older
    than any stream that it may serve, so that a rerun of a past week finds it, and not
    a model that has seen what came of the week. A second load changes nothing, a dry
    run writes nothing, and of a use case without such a model this says so."""
    answers = []
    kept = []
    for how in (["--dry-run"], [], []):
        assert deployment.command("load", "model", "--json", *how) == 0
        answers.append(json.loads(capsys.readouterr().out))
        kept.append((objects(deployment), deployment.versions()))
    [row] = deployment.versions()
    champion = deployment.registry.champion()

    assert kept[0] == ([], [])
    assert kept[1] == kept[2]
    assert [answer["is_new"] for answer in answers] == [False, True, False]
    assert (champion.version, champion.epoch, champion.previous) == (0, 0, None)
    assert champion.model_sha256 == row["model_sha256"]
    assert row["promoted"] is True
    assert row["verdict"].startswith("shipped")
    assert str(row["as_of"]) == "2025-01-01"
    assert f"models/{USE_CASE.name}/0/report.html" in objects(deployment)
    metadata = records.recorded(deployment.warehouse, USE_CASE.name, 0)
    found = serving.loaded(
        deployment.registry, USE_CASE, metadata, settings=deployment.settings
    )
    assert found.version == 0
    other = ("load", "model", "--use-case", "ga4_purchase")
    assert deployment.command(*other) == 1
    assert "no shipped model for ga4_purchase" in capsys.readouterr().err


def test_a_load_needs_no_recorded_version(deployment):
    """With the bucket lost and the record kept, version 0 is not stored under the
    record of another model."""
    deployment.load_model()
    deployment.warehouse.execute(
        "UPDATE ma_model_training_metadata_runs SET model_sha256 = 'other' WHERE TRUE"
    )
    deployment.empty_bucket()
    outcome = deployment.load_model()
    rows = deployment.versions()

    assert outcome.version == 1
    assert [row["model_version"] for row in rows] == [0, 1]
    assert deployment.registry.champion().model_sha256 == rows[1]["model_sha256"]


def test_a_load_that_is_cut_off_is_not_live(deployment, monkeypatch):
    """Its row does not say "promoted"; the next load's does."""
    monkeypatch.setattr(Registry, "promote", lambda *_, **__: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        deployment.load_model()
    [row] = deployment.versions()
    assert row["promoted"] is None
    assert row["verdict"].startswith("interrupted before it was recorded")

    monkeypatch.undo()
    assert deployment.load_model().version == 1
    assert [row["promoted"] for row in deployment.versions()] == [None, True]


def test_a_promotion_keeps_a_champion_of_meanwhile(deployment, monkeypatch):
    """The slower one is told, and its row does not say that it was promoted."""
    publish = Registry.publish

    def then_another(registry: Registry, *given: Any) -> Any:
        done = publish(registry, *given)
        promote(registry, 7)
        return done

    monkeypatch.setattr(Registry, "publish", then_another)
    with pytest.raises(Conflict):
        deployment.load_model()
    [row] = deployment.versions()

    assert deployment.registry.champion().version == 7
    assert (row["model_version"], row["promoted"]) == (0, None)


def test_a_shipped_model_of_other_bytes_is_refused(deployment, altered, tmp_path):
    """A file that is not the one shipped is not even unpickled, and nothing is
    written."""
    evil = pickled(Malicious(tmp_path / "was_here"))
    with pytest.raises(ArtifactError, match=MODEL):
        deployment.load_model(altered(MODEL, evil))

    assert not (tmp_path / "was_here").exists()
    assert (objects(deployment), deployment.versions()) == ([], [])


def test_a_shipped_model_of_other_features_or_libraries_is_refused(deployment, altered):
    """Features that the use case no longer has, or has anew, are named; a pickle of
    another scikit-learn is not loaded."""
    features = dict(USE_CASE.features) | {"shoe_size": "number"}
    with pytest.raises(SchemaError, match="shoe_size"):
        deployment.load_model(altered(CARD, features=features))
    libraries = {"scikit-learn": "0.1"}
    with pytest.raises(ArtifactError, match=r"0\.1"):
        deployment.load_model(altered(load_model.METADATA, libraries=libraries))
