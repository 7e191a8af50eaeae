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
from typing import Any

import pytest

from offline import promote
from propensity.errors import (
    ArtifactError,
    RequestError,
    UnknownVersion,
)
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


class TestCommands:
    def test_commands_change_what_serves(self, deployment, capsys):
        """Each does what it says, tells it, and tells everybody else."""
        first = record(deployment)
        second = record(deployment)
        states = []
        with announced(deployment) as pulled:
            for command in (
                ("promote", str(first)),
                ("pin", str(second)),
                ("rollback",),
                ("pin", "--off"),
                ("rollback",),
            ):
                assert deployment.command(*command, "--use-case", STREAMED) == 0
                champion = deployment.registry.champion()
                states.append((champion.version, champion.pinned, champion.epoch))
            published = pulled(5)

        assert states == [
            (first, False, 1),
            (second, True, 2),
            (first, True, 3),
            (first, False, 4),
            (0, False, 5),
        ]
        assert [
            (each["version"], each["pinned"], each["epoch"]) for each in published
        ] == states
        actions = [each["action"] for each in published]
        assert actions == ["promote", "pin", "rollback", "unpin", "rollback"]
        assert {each["use_case"] for each in published} == {STREAMED}
        assert published[0]["attributes"] == {"use_case": STREAMED, "action": "promote"}
        assert all(datetime.fromisoformat(each["at"]).tzinfo for each in published)
        assert "Training may promote again" in capsys.readouterr().out

    def test_going_back_names_the_version_of_predictions(self, deployment):
        """
        Defect: lookups and audiences kept the bad version's probabilities, unsaid.

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
        call = f'{{"use_case": "{STREAMED}", "force": true}}'
        assert f"deploy/call.sh predictions '{call}'" in note
        assert not any("publish" in other for other in notes)

    def test_commands_that_find_their_work_done_change_nothing(
        self, deployment, capsys
    ):
        """And nobody is told of it."""
        before = deployment.registry.champion()
        with announced(deployment) as pulled:
            for command in (("promote", "0"), ("pin", "--off")):
                assert deployment.command(*command) == 0
            assert deployment.registry.champion() == before
            deployment.command("pin", "0")
            assert [message["action"] for message in pulled(1)] == ["pin"]

        assert capsys.readouterr().out.count("Nothing was changed") == 2

    def test_commands_stand_when_nobody_can_be_told(self, deployment, capsys):
        """A topic that is missing is said, and the functions follow all the same."""
        topic = deployment.topic("model-updates")
        del deployment.ground.topics.messages[topic]

        assert deployment.command("pin", "0") == 0
        assert deployment.registry.champion().pinned
        output = capsys.readouterr()
        assert "Not announced" in output.out
        assert topic in output.err


class TestVersions:
    @pytest.mark.parametrize("action", ["promote", "pin"])
    def test_versions_that_were_refused_at_first_need_force(self, deployment, action):
        """Training did not let it serve; a person may, who says so. One that lost to a
        champion was compared, and is known to be worth something."""
        lost = record(deployment, promoted=False, verdict="worse", compared_version=0)
        assert change(deployment, action, version=lost)["version"] == lost
        version = record(deployment, promoted=False, verdict="not shown to be better")

        with pytest.raises(RequestError, match="not shown to be better.*--force"):
            change(deployment, action, version=version)
        assert deployment.registry.champion().version == lost

        change(deployment, action, version=version, force=True)

        assert deployment.registry.champion().version == version
        # A live version need not be forced again.
        assert change(deployment, action, version=version)["is_changed"] is False

    @pytest.mark.parametrize("action", ["promote", "pin"])
    @pytest.mark.parametrize(
        ("changed", "error"),
        [
            (None, UnknownVersion),
            ({"model_sha256": "0" * 64}, ArtifactError),
        ],
        ids=str,
    )
    def test_versions_that_cannot_serve_are_refused(
        self, deployment, action, changed, error
    ):
        """They are loaded before anything changes; a dry run says so as well, and
        changes nothing of one that can serve."""
        version = 2**64 if changed is None else record(deployment, **changed)
        before = deployment.registry.champion()
        for is_dry in (True, False):
            with pytest.raises(error):
                change(deployment, action, version=version, is_dry=is_dry)
        change(deployment, action, version=record(deployment), is_dry=True)

        assert deployment.registry.champion() == before

    def test_versions_that_served_before_must_still_be_sound(self, deployment):
        """A roll back to a version whose files were altered is refused."""
        change(deployment, "promote", version=record(deployment))
        before = deployment.registry.champion()
        name = f"models/{STREAMED}/0/model.joblib"
        deployment.artifacts.overwrite(name, b"other")
        with pytest.raises(ArtifactError):
            change(deployment, "rollback")

        assert deployment.registry.champion() == before

    def test_versions_are_needed_to_roll_back(self, deployment, capsys):
        """The first that serves has none before it."""
        assert deployment.command("rollback") == 1
        assert "Name one: `propensity promote VERSION`" in capsys.readouterr().err

    def test_versions_are_listed_with_their_metrics(self, deployment, capsys):
        """Newest first, with what serves and what is pinned."""
        first = record(deployment)
        second = record(deployment)
        change(deployment, "pin", version=first)
        assert deployment.command("versions", "--use-case", STREAMED, "--json") == 0
        listed = json.loads(capsys.readouterr().out)
        [row] = deployment.rows(
            "SELECT roc_auc FROM ma_model_training_metadata WHERE model_version = 0"
        )

        champion = listed["champion"]
        assert (champion["version"], champion["pinned"]) == (first, True)
        assert champion["earlier"] == [0]
        serving = [(one["model_version"], one["serves"]) for one in listed["versions"]]
        assert serving == [(second, ""), (first, "pinned"), (0, "")]
        assert listed["versions"][-1]["roc_auc"] == row["roc_auc"]


def test_a_shipped_model_is_announced_too(deployment):
    """Defect: the first version that serves came without a message."""
    deployment.registry.artifacts.delete(f"models/{STREAMED}/champion.json")
    with announced(deployment) as pulled:
        assert deployment.command("load", "model") == 0
        [message] = pulled(1)

    assert (message["action"], message["version"]) == ("promote", 1)
