"""
promote, specified: a person says what serves, of versions that are proven sound.

The shipped model is loaded once; other versions are recorded with its files.
"""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from google.api_core.exceptions import AlreadyExists

from commands.cli import main
from offline import load_model, promote
from propensity import usecases
from propensity.errors import (
    ArtifactError,
    Conflict,
    NoChampion,
    RequestError,
    SchemaError,
    UnknownVersion,
)
from propensity.registry.champion import Champion
from propensity.registry.versions import Registry
from tests.emptied import Objects
from tests.functions.conftest import entered
from tests.functions.streaming import USE_CASE, Site, new_site
from tests.propensity.registry import versions

AT = datetime(2026, 3, 2, 6, tzinfo=UTC)


# The card of a version that was trained on other features.
CHANGED_CARD = json.dumps(
    {
        "features": {"age": "number"},
        "statement_parameters": dict(usecases.load(USE_CASE).parameters),
        "files": {},
    }
)


class Place:
    """A site whose version 0 is the shipped model, and serves."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.topic = site.topic("model-updates")
        self.environment = dict(site.environment)
        site.create_topic(self.topic)
        self.subscription = site.subscribe(self.topic)
        self.registry = Registry(site.artifacts, USE_CASE)
        load_model.load(site.warehouse, site.artifacts, site.settings)
        self._objects = Objects(site.artifacts)

    def put_back(self) -> None:
        """Have version 0 alone, which serves, and the topic with nothing in it."""
        self._objects.put_back()
        self.site.warehouse.execute(
            "DELETE FROM ma_model_training_metadata_runs WHERE model_version != 0"
        )
        with contextlib.suppress(AlreadyExists):
            self.site.create_topic(self.topic)
        self.site.unsubscribe(self.subscription)
        self.subscription = self.site.subscribe(self.topic)

    def record(self, **changed: Any) -> int:
        """Record another version with the shipped model's files, or with others."""
        version = self.registry.claim(run_id=uuid.uuid4().hex, at=AT)
        values = {"model_version": version, **changed}
        replaced = ", ".join(f"@{name} AS {name}" for name in values)
        self.site.warehouse.execute(
            "INSERT INTO ma_model_training_metadata_runs "
            f"SELECT * REPLACE ({replaced}) FROM ma_model_training_metadata "
            "WHERE model_version = 0",
            values,
        )
        return version

    def run(self, *arguments: str) -> int:
        with entered(self.environment):
            return main(arguments)

    def change(self, action: str, **arguments: Any) -> dict[str, Any]:
        with entered(self.environment):
            return promote.run(action, use_case=USE_CASE, **arguments)

    @property
    def champion(self) -> Champion:
        return self.registry.champion()

    def published(self, count: int) -> list[dict[str, Any]]:
        """Return this many messages that were published since last asked."""
        messages = self.site.pull(self.subscription, count)
        return [
            {**json.loads(message.data), "attributes": dict(message.attributes)}
            for message in messages
        ]


@pytest.fixture(scope="module")
def shared(emulators) -> Iterator[Place]:
    with new_site(emulators) as site:
        yield Place(site)


@pytest.fixture
def place(shared) -> Iterator[Place]:
    yield shared
    shared.put_back()


class TestForce:
    @pytest.mark.parametrize("action", ["promote", "pin"])
    def test_takes_a_first_version_that_is_no_better_than_chance(self, place, action):
        """Training did not let it serve; a person may, who says so."""
        version = place.record(promoted=False, verdict="not shown to be better")

        with pytest.raises(RequestError, match="not shown to be better.*--force"):
            place.change(action, version=version)
        assert place.champion.version == 0

        place.change(action, version=version, force=True)

        assert place.champion.version == version
        # What serves need not be forced again.
        assert place.change(action, version=version)["is_changed"] is False

    def test_is_not_needed_for_a_challenger_that_lost(self, place):
        """It was compared with a champion, and is known to be worth something."""
        lost = place.record(promoted=False, verdict="worse", compared_version=0)

        assert place.change("promote", version=lost)["version"] == lost


class TestCommands:
    def test_change_what_serves(self, place, capsys):
        """Each does what it says, tells it, and tells everybody else."""
        first, second = place.record(), place.record()
        states = []
        for command in (
            ("promote", str(first)),
            ("pin", str(second)),
            ("rollback",),
            ("pin", "--off"),
            ("rollback",),
        ):
            assert place.run(*command, "--use-case", USE_CASE) == 0
            champion = place.champion
            states.append((champion.version, champion.pinned, champion.epoch))
        published = place.published(5)

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
        assert [each["action"] for each in published] == [
            "promote", "pin", "rollback", "unpin", "rollback",
        ]  # fmt: skip
        assert {each["use_case"] for each in published} == {USE_CASE}
        assert published[0]["attributes"] == {"use_case": USE_CASE, "action": "promote"}
        assert all(datetime.fromisoformat(each["at"]).tzinfo for each in published)
        assert "training may promote again" in capsys.readouterr().out

    def test_that_find_their_work_done_change_nothing(self, place, capsys):
        """And nobody is told of it."""
        before = place.champion
        for command in (("promote", "0"), ("pin", "--off")):
            assert place.run(*command) == 0

        assert place.champion == before
        assert capsys.readouterr().out.count("nothing was changed") == 2
        place.run("pin", "0")
        assert [message["action"] for message in place.published(1)] == ["pin"]

    def test_that_another_has_done_meanwhile_change_nothing(self, place, monkeypatch):
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

    def test_that_are_tried_write_nothing(self, place, capsys):
        """A dry run checks and tells what would be; of what is refused it says that."""
        version, before = place.record(), place.champion
        corrupt = place.record(model_sha256="0" * 64)
        assert place.run("promote", str(version), "--dry-run") == 0
        output = capsys.readouterr().out
        assert place.run("promote", str(corrupt), "--dry-run") == 1

        assert f"version {version} is sound, and would serve" in output
        assert "not what was recorded" in capsys.readouterr().err
        assert place.champion == before

    def test_stand_when_nobody_can_be_told(self, place, capsys):
        """A topic that is missing is said, and the functions follow all the same."""
        place.site.publisher.delete_topic(topic=place.site.path(place.topic))

        assert place.run("pin", "0") == 0
        assert place.champion.pinned
        output = capsys.readouterr()
        assert "not published" in output.out
        [line] = [
            json.loads(line) for line in output.err.splitlines() if line[:1] == "{"
        ]
        assert line["severity"] == "WARNING"
        assert place.topic in line["message"]


class TestVersions:
    @pytest.mark.parametrize(("action", "version"), [("promote", 2**64), ("pin", 7)])
    def test_that_were_never_recorded_are_unknown(self, place, action, version):
        """A number that training gave to nothing serves nothing."""
        before = place.champion
        with pytest.raises(UnknownVersion, match=f"version {version} of"):
            place.change(action, version=version)

        assert place.champion == before

    @pytest.mark.parametrize(
        ("action", "changed", "error"),
        [
            ("promote", {"model_sha256": "0" * 64}, ArtifactError),
            ("promote", {"model_object": "models/gone.joblib"}, ArtifactError),
            ("promote", {"card": CHANGED_CARD}, SchemaError),
            ("pin", {"model_sha256": "0" * 64}, ArtifactError),
        ],
    )
    def test_that_cannot_serve_are_refused(self, place, action, changed, error):
        """They are loaded before anything changes."""
        version, before = place.record(**changed), place.champion
        with pytest.raises(error):
            place.change(action, version=version)

        assert place.champion == before

    def test_that_served_before_must_still_be_sound(self, place):
        """A roll back to a version whose files were altered is refused."""
        place.change("promote", version=place.record())
        before = place.champion
        artifacts, model = place.site.artifacts, f"models/{USE_CASE}/0/model.joblib"
        artifacts.overwrite(model, b"other")
        with pytest.raises(ArtifactError):
            place.change("rollback")

        assert place.champion == before

    def test_are_needed_to_roll_back(self, place, capsys):
        """The first that serves has none before it."""
        assert place.run("rollback") == 1
        assert "Name one: promote VERSION" in capsys.readouterr().err
        with pytest.raises(NoChampion):
            place.change("rollback")


class TestList:
    def test_has_the_versions_with_their_metrics(self, place, capsys):
        """Newest first, with what serves and what is pinned."""
        first, second = place.record(), place.record()
        place.change("pin", version=first)
        assert place.run("versions", "--use-case", USE_CASE, "--json") == 0
        listed = json.loads(capsys.readouterr().out)
        [row] = place.site.rows(
            "SELECT roc_auc FROM ma_model_training_metadata WHERE model_version = 0"
        )

        assert (listed["champion"]["version"], listed["champion"]["pinned"]) == (
            first,
            True,
        )
        assert listed["champion"]["earlier"] == [0]
        assert [
            (one["model_version"], one["serves"]) for one in listed["versions"]
        ] == [
            (second, ""),
            (first, "pinned"),
            (0, ""),
        ]
        assert listed["versions"][-1]["roc_auc"] == row["roc_auc"]
        assert place.run("versions", "--use-case", USE_CASE) == 0
        assert "pinned" in capsys.readouterr().out


class TestMessage:
    def test_is_published_of_a_shipped_model_too(self, place):
        """Defect: the first version that serves came without one."""
        place.registry.artifacts.delete(f"models/{USE_CASE}/champion.json")
        assert place.run("load", "model") == 0
        [message] = place.published(1)

        assert (message["action"], message["version"]) == ("promote", 1)
