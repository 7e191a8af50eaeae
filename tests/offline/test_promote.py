"""
promote, specified: a person says what serves, of versions that are proven sound.

The shipped model is loaded once; other versions are recorded with its files.
"""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from offline import promote
from propensity.errors import ArtifactError, RequestError, UnknownVersion
from propensity.tables.models import PUBLICATIONS, SCORES
from tests.support.deployment import STREAMED, Deployment, entered
from tests.support.rows import publish

AT = datetime(2026, 3, 2, 6, tzinfo=UTC)


def record(deployment: Deployment, **changed: Any) -> int:
    """Record another version with the shipped model's files, or with others."""
    version = deployment.registry.claim(run_id=uuid.uuid4().hex, at=AT)
    values = {"model_version": version, **changed}
    replaced = ", ".join(f"@{name} AS {name}" for name in values)
    deployment.warehouse.execute(
        "INSERT INTO ma_model_training_metadata_runs "
        f"SELECT * REPLACE ({replaced}) FROM ma_model_training_metadata "
        "WHERE model_version = 0",
        values,
    )
    return version


def change(deployment: Deployment, action: str, **arguments: Any) -> dict[str, Any]:
    with entered(deployment.environment):
        return promote.run(action, use_case=STREAMED, **arguments)


@contextlib.contextmanager
def announced(
    deployment: Deployment,
) -> Iterator[Callable[[int], list[dict[str, Any]]]]:
    """The messages that are published from now on."""
    with deployment.pulled("model-updates") as pulled:
        yield lambda count: [
            {**json.loads(message.data), "attributes": dict(message.attributes)}
            for message in pulled(count)
        ]


@pytest.fixture(scope="module")
def shared(new_deployment) -> Deployment:
    deployment = new_deployment(PROPENSITY_USE_CASE=STREAMED)
    deployment.extra = {
        **deployment.extra,
        "PROPENSITY_TOPIC_PREFIX": deployment.name,
    }
    deployment.create_topic(deployment.topic("model-updates"))
    deployment.load_model()
    return deployment


@pytest.fixture
def deployment(shared) -> Iterator[Deployment]:
    """Version 0 is the shipped model, and serves; the topic has nothing in it."""
    with shared.putting_objects_back():
        yield shared
    shared.warehouse.execute(
        "DELETE FROM ma_model_training_metadata_runs WHERE model_version != 0"
    )
    shared.create_topic(shared.topic("model-updates"))


def test_commands_change_what_serves(deployment, capsys):
    """Each does what it says, tells it, and tells everybody else. One that finds its
    work done changes nothing, and tells nobody."""
    first = record(deployment)
    second = record(deployment)
    commands = f"promote {first},promote {first},pin {second},rollback,pin --off"
    with announced(deployment) as pulled:
        for command in f"{commands},pin --off,rollback".split(","):
            words = (*command.split(), "--use-case", STREAMED)
            assert deployment.command(*words) == 0
        published = pulled(5)

    champion = deployment.registry.champion()
    assert (champion.version, champion.epoch) == (0, 5)
    told = [(one["action"], one["version"], one["pinned"]) for one in published]
    assert told == [
        ("promote", first, False),
        ("pin", second, True),
        ("rollback", first, True),
        ("unpin", first, False),
        ("rollback", 0, False),
    ]
    assert [one["epoch"] for one in published] == [1, 2, 3, 4, 5]
    assert published[0]["attributes"] == {"use_case": STREAMED, "action": "promote"}
    assert published[0]["use_case"] == STREAMED
    assert datetime.fromisoformat(published[0]["at"]).tzinfo
    printed = capsys.readouterr().out
    assert printed.count("Nothing was changed") == 2
    assert "Training may promote again" in printed
    assert deployment.command("versions", "--use-case", STREAMED, "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed["champion"]["version"] == 0
    serving = [(one["model_version"], one["serves"]) for one in listed["versions"]]
    assert serving == [(second, ""), (first, ""), (0, "yes")]


def test_going_back_names_the_version_of_predictions(deployment):
    """
    Lookups and audiences have the bad version's probabilities until then.

    Nothing is said once the version that is live has published.
    """
    for table in (SCORES, PUBLICATIONS):
        deployment.warehouse.create(table)
    bad = record(deployment)
    change(deployment, "promote", version=bad)
    day = datetime.now(UTC).date()
    publish(deployment.warehouse, day, {"ana": 0.5}, version=bad, use_case=STREAMED)
    [note] = [n for n in change(deployment, "rollback")["notes"] if "publish" in n]
    change(deployment, "promote", version=bad)
    publish(deployment.warehouse, day, {"ana": 0.5}, version=0, use_case=STREAMED)
    notes = change(deployment, "rollback")["notes"]

    assert f"still of version {bad}" in note
    assert f"deploy/call.sh predictions '{AGAIN}'" in note
    assert not any("publish" in other for other in notes)


def test_going_back_publishes_the_version_again(deployment, tmp_path, monkeypatch):
    """Where it is asked to, and once the version is live; not on a dry run. If
    01-Predictions fails, the version stays live, and the error says what to run."""
    calls = called(tmp_path, monkeypatch, status=0)
    change(deployment, "promote", version=record(deployment))
    change(deployment, "rollback", publishes=True, is_dry=True)
    assert not calls.exists()
    change(deployment, "rollback", publishes=True)
    assert calls.read_text() == f"predictions {AGAIN}\n"

    called(tmp_path, monkeypatch, status=1)
    change(deployment, "promote", version=record(deployment))
    with pytest.raises(RequestError, match="predictions were not published"):
        change(deployment, "rollback", publishes=True)
    assert deployment.registry.champion().version == 0


AGAIN = f'{{"use_case": "{STREAMED}", "force": true}}'


def called(folder: Path, monkeypatch, *, status: int) -> Path:
    """Let another script be deploy/call.sh; return the file with its calls."""
    calls = folder / "calls"
    script = folder / "deploy" / "call.sh"
    script.parent.mkdir(exist_ok=True)
    script.write_text(f'#!/bin/sh\necho "$@" >> {calls}\nexit {status}\n')
    script.chmod(0o755)
    monkeypatch.setattr(promote, "ROOT", folder)
    return calls


def test_a_command_stands_when_nobody_can_be_told(deployment, capsys):
    """A topic that is missing is said, and the functions follow all the same. The
    first version that serves has none before it."""
    del deployment.ground.topics.messages[deployment.topic("model-updates")]

    assert deployment.command("pin", "0") == 0
    assert deployment.registry.champion().pinned
    assert "Not announced" in capsys.readouterr().out
    assert deployment.command("rollback") == 1
    assert "Name one: `propensity promote VERSION`" in capsys.readouterr().err


def test_a_version_that_was_refused_at_first_needs_force(deployment):
    """Training did not let it serve; a person may, who says so. One that lost to a
    champion was compared, and is known to be worth something."""
    lost = record(deployment, promoted=False, verdict="worse", compared_version=0)
    assert change(deployment, "pin", version=lost)["version"] == lost
    version = record(deployment, promoted=False, verdict="not shown to be better")
    with pytest.raises(RequestError, match="not shown to be better.*--force"):
        change(deployment, "pin", version=version)
    assert deployment.registry.champion().version == lost

    change(deployment, "pin", version=version, force=True)
    assert deployment.registry.champion().version == version


def test_a_version_that_cannot_serve_is_refused(deployment):
    """It is loaded before anything changes, also on a dry run, which changes nothing
    of one that can serve; and so is the one to go back to."""
    altered = record(deployment, model_sha256="0" * 64)
    for version, error in ((2**64, UnknownVersion), (altered, ArtifactError)):
        for is_dry in (True, False):
            with pytest.raises(error):
                change(deployment, "promote", version=version, is_dry=is_dry)
    change(deployment, "promote", version=record(deployment), is_dry=True)
    assert deployment.registry.champion().version == 0

    change(deployment, "promote", version=record(deployment))
    before = deployment.registry.champion()
    name = f"models/{STREAMED}/0/model.joblib"
    deployment.artifacts.overwrite(name, b"other")
    with pytest.raises(ArtifactError):
        change(deployment, "rollback")
    assert deployment.registry.champion() == before


def test_a_shipped_model_is_announced_too(deployment):
    """Though it is the first version that is live."""
    deployment.registry.artifacts.delete(f"models/{STREAMED}/champion.json")
    with announced(deployment) as pulled:
        assert deployment.command("load", "model") == 0
        [message] = pulled(1)

    assert (message["action"], message["version"]) == ("promote", 1)
