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
from google.api_core.exceptions import AlreadyExists

from offline import load_model, promote
from propensity.errors import (
    ArtifactError,
    Conflict,
    RequestError,
    UnknownVersion,
)
from propensity.registry.versions import Champion
from tests.deployment import STREAMED, Deployment, entered
from tests.emptied import Objects
from tests.functions.streaming import new_site
from tests.propensity.registry import versions

AT = datetime(2026, 3, 2, 6, tzinfo=UTC)


class Place(Deployment):
    """A site whose version 0 is the shipped model, and serves."""

    def load(self) -> None:
        self.create_topic(self.topic("model-updates"))
        load_model.load(self.warehouse, self.artifacts, self.settings)
        self.objects = Objects(self.artifacts)

    def put_back(self) -> None:
        """Have version 0 alone, which serves, and the topic with nothing in it."""
        self.objects.put_back()
        self.warehouse.execute(
            "DELETE FROM ma_model_training_metadata_runs WHERE model_version != 0"
        )
        with contextlib.suppress(AlreadyExists):
            self.create_topic(self.topic("model-updates"))

    def record(self, **changed: Any) -> int:
        """Record another version with the shipped model's files, or with others."""
        version = self.registry.claim(run_id=uuid.uuid4().hex, at=AT)
        values = {"model_version": version, **changed}
        replaced = ", ".join(f"@{name} AS {name}" for name in values)
        self.warehouse.execute(
            "INSERT INTO ma_model_training_metadata_runs "
            f"SELECT * REPLACE ({replaced}) FROM ma_model_training_metadata "
            "WHERE model_version = 0",
            values,
        )
        return version

    def change(self, action: str, **arguments: Any) -> dict[str, Any]:
        with entered(self.environment):
            return promote.run(action, use_case=STREAMED, **arguments)

    @property
    def champion(self) -> Champion:
        return self.registry.champion()

    @contextlib.contextmanager
    def announced(self) -> Iterator[Callable[[int], list[dict[str, Any]]]]:
        """The messages that are published from now on."""
        with self.pulled("model-updates") as pulled:
            yield lambda count: [
                {**json.loads(message.data), "attributes": dict(message.attributes)}
                for message in pulled(count)
            ]


@pytest.fixture(scope="module")
def shared(emulators) -> Iterator[Place]:
    with new_site(emulators, kind=Place) as place:
        place.load()
        yield place


@pytest.fixture
def place(shared) -> Iterator[Place]:
    yield shared
    shared.put_back()


class TestCommands:
    def test_commands_change_what_serves(self, place, capsys):
        """Each does what it says, tells it, and tells everybody else."""
        first, second = place.record(), place.record()
        states = []
        with place.announced() as pulled:
            for command in (
                ("promote", str(first)),
                ("pin", str(second)),
                ("rollback",),
                ("pin", "--off"),
                ("rollback",),
            ):
                assert place.command(*command, "--use-case", STREAMED) == 0
                champion = place.champion
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
        assert "training may promote again" in capsys.readouterr().out

    def test_commands_that_find_their_work_done_change_nothing(self, place, capsys):
        """And nobody is told of it."""
        before = place.champion
        with place.announced() as pulled:
            for command in (("promote", "0"), ("pin", "--off")):
                assert place.command(*command) == 0
            assert place.champion == before
            place.command("pin", "0")
            assert [message["action"] for message in pulled(1)] == ["pin"]

        assert capsys.readouterr().out.count("nothing was changed") == 2

    def test_commands_that_another_has_done_meanwhile_change_nothing(
        self, place, monkeypatch
    ):
        """Defect: of two equal commands at once both said that they had changed what
        serves, and both published it. The slower one is told."""
        version, verified = place.record(), promote.verified

        def then_pinned(*arguments: Any) -> Any:
            serving = verified(*arguments)
            versions.promote(place.registry, version, pinned=True)
            return serving

        monkeypatch.setattr(promote, "verified", then_pinned)
        with pytest.raises(Conflict, match="changed meanwhile"):
            place.change("promote", version=version)

        assert (place.champion.version, place.champion.pinned) == (version, True)

    def test_commands_that_are_tried_write_nothing(self, place, capsys):
        version, before = place.record(), place.champion
        assert place.command("promote", str(version), "--dry-run") == 0

        output = capsys.readouterr().out
        assert f"version {version} can go live" in output
        assert place.champion == before

    def test_commands_stand_when_nobody_can_be_told(self, place, capsys):
        """A topic that is missing is said, and the functions follow all the same."""
        topic = place.topic("model-updates")
        place.publisher.delete_topic(topic=place.path(topic))

        assert place.command("pin", "0") == 0
        assert place.champion.pinned
        output = capsys.readouterr()
        assert "not announced" in output.out
        assert topic in output.err


class TestVersions:
    @pytest.mark.parametrize("action", ["promote", "pin"])
    def test_versions_that_were_refused_at_first_need_force(self, place, action):
        """Training did not let it serve; a person may, who says so."""
        version = place.record(promoted=False, verdict="not shown to be better")

        with pytest.raises(RequestError, match="not shown to be better.*--force"):
            place.change(action, version=version)
        assert place.champion.version == 0

        place.change(action, version=version, force=True)

        assert place.champion.version == version
        # A live version need not be forced again.
        assert place.change(action, version=version)["is_changed"] is False

    def test_versions_that_lost_to_a_champion_need_no_force(self, place):
        """They were compared, and are known to be worth something."""
        lost = place.record(promoted=False, verdict="worse", compared_version=0)

        assert place.change("promote", version=lost)["version"] == lost

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
        self, place, action, changed, error
    ):
        """They are loaded before anything changes; a dry run says so as well."""
        version = 2**64 if changed is None else place.record(**changed)
        before = place.champion
        for is_dry in (True, False):
            with pytest.raises(error):
                place.change(action, version=version, is_dry=is_dry)

        assert place.champion == before

    def test_versions_that_served_before_must_still_be_sound(self, place):
        """A roll back to a version whose files were altered is refused."""
        place.change("promote", version=place.record())
        before = place.champion
        name = f"models/{STREAMED}/0/model.joblib"
        place.artifacts.overwrite(name, b"other")
        with pytest.raises(ArtifactError):
            place.change("rollback")

        assert place.champion == before

    def test_versions_are_needed_to_roll_back(self, place, capsys):
        """The first that serves has none before it."""
        assert place.command("rollback") == 1
        assert "Name one: `propensity promote VERSION`" in capsys.readouterr().err

    def test_versions_are_listed_with_their_metrics(self, place, capsys):
        """Newest first, with what serves and what is pinned."""
        first, second = place.record(), place.record()
        place.change("pin", version=first)
        assert place.command("versions", "--use-case", STREAMED, "--json") == 0
        listed = json.loads(capsys.readouterr().out)
        [row] = place.rows(
            "SELECT roc_auc FROM ma_model_training_metadata WHERE model_version = 0"
        )

        champion = listed["champion"]
        assert (champion["version"], champion["pinned"]) == (first, True)
        assert champion["earlier"] == [0]
        serving = [(one["model_version"], one["serves"]) for one in listed["versions"]]
        assert serving == [(second, ""), (first, "pinned"), (0, "")]
        assert listed["versions"][-1]["roc_auc"] == row["roc_auc"]


def test_a_shipped_model_is_announced_too(place):
    """Defect: the first version that serves came without a message."""
    place.registry.artifacts.delete(f"models/{STREAMED}/champion.json")
    with place.announced() as pulled:
        assert place.command("load", "model") == 0
        [message] = pulled(1)

    assert (message["action"], message["version"]) == ("promote", 1)
