"""Versions, specified against the storage emulator: written once, verified, loaded."""

from __future__ import annotations

import pytest
from sklearn.preprocessing import StandardScaler

from propensity.errors import ArtifactError, Conflict
from propensity.registry.versions import Record, Registry, pickled, unpickled
from tests.propensity.registry.versions import NOW, RACERS, Malicious, at_once


class TestVersions:
    def test_versions_are_claimed_once(self, registry):
        """Sixteen trainers at once get sixteen versions, from 0 on, and one that died
        keeps its own; another use case counts its own.

        Defect: a version whose objects were deleted was claimed again, and had two
        records; functions went by the first and refused its model."""
        versions = at_once(lambda n: registry.claim(run_id=f"r{n}", at=NOW))
        other = Registry(registry.artifacts, "first_day_churn")

        assert sorted(versions) == list(range(RACERS))
        assert other.claim(run_id="r", at=NOW) == 0
        assert other.claim(run_id="r", at=NOW, recorded=11) == 12

    def test_versions_are_written_once(self, registry):
        """Nothing under a version is ever rewritten."""
        registry.publish(0, {"card.json": (b"{}", "application/json")})

        with pytest.raises(Conflict):
            registry.publish(0, {"card.json": (b"[]", "application/json")})


class TestArtifacts:
    def test_artifacts_are_verified_before_they_are_unpickled(self, registry, tmp_path):
        """Whoever can write to the bucket runs no code."""
        name, checksum = registry.upload_preprocessor(StandardScaler())
        assert registry.upload_preprocessor(StandardScaler()) == (name, checksum)
        assert isinstance(registry.verified(name, checksum), StandardScaler)
        file = tmp_path / "was_here"
        evil = pickled(Malicious(file))
        unpickled(evil)
        assert file.exists(), "the pickle is harmless, and proves nothing"
        file.unlink()
        registry.artifacts.overwrite(name, evil)

        with pytest.raises(ArtifactError, match="has changed since it was recorded"):
            registry.verified(name, checksum)
        assert not file.exists()

    @pytest.mark.parametrize("part", ["model", "preprocessor", "value"])
    def test_artifacts_of_a_version_are_those_of_its_record(self, registry, part):
        """Each of them."""
        named = {
            name: (pickled(name), "") for name in ("model", "preprocessor", "value")
        }
        published = registry.publish(0, named)
        sha256s = {**published.checksums, part: "0" * 64}
        value = {"object": published.objects["value"], "sha256": sha256s["value"]}
        record = Record(
            model_version=0,
            card={"files": {"value": value}},
            model_object=published.objects["model"],
            model_sha256=sha256s["model"],
            preprocessor_object=published.objects["preprocessor"],
            preprocessor_sha256=sha256s["preprocessor"],
        )
        load = registry.load_value if part == "value" else registry.load

        with pytest.raises(
            ArtifactError, match=f"/0/{part} has changed since it was recorded"
        ):
            load(record)

    @pytest.mark.parametrize(
        "data",
        [b"", pickled(list(range(999)))[:-50], b"cno_such_module\nThing\n."],
        ids=["empty", "cut", "of a library that is not here"],
    )
    def test_artifacts_that_cannot_be_read_are_a_clear_error(self, data):
        """Bytes that other library versions wrote, for one."""
        with pytest.raises(ArtifactError, match="libraries"):
            unpickled(data)
