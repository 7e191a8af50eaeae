"""Versions, specified against the storage emulator: written once, verified, loaded."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from propensity.errors import ArtifactError, Conflict
from propensity.registry.versions import Registry, pickled, unpickled
from tests.propensity.registry.versions import (
    NOW,
    RACERS,
    Malicious,
    at_once,
    overwrite,
)


class TestVersions:
    def test_are_claimed_once(self, registry):
        """Sixteen trainers at once get sixteen versions, from 0 on; another use case
        counts its own."""
        versions = at_once(lambda n: registry.claim(run_id=f"r{n}", at=NOW))
        other = Registry(registry.artifacts, "first_day_churn")

        assert sorted(versions) == list(range(RACERS))
        assert other.claim(run_id="r", at=NOW) == 0

    def test_are_not_reused(self, registry):
        """A version whose training died is passed over.

        Defect: a version whose objects were deleted was claimed again, and had two
        records; functions went by the first and refused its model."""
        registry.claim(run_id="died", at=NOW)

        assert registry.claim(run_id="next", at=NOW) == 1
        assert registry.claim(run_id="r", at=NOW, recorded=11) == 12

    def test_are_written_once(self, registry):
        """Nothing under a version is ever rewritten."""
        registry.publish(0, {"card.json": (b"{}", "application/json")})

        with pytest.raises(Conflict):
            registry.publish(0, {"card.json": (b"[]", "application/json")})


class TestLoad:
    @pytest.fixture
    def metadata(self, registry):
        rows = np.array([[0.0], [1.0], [2.0], [3.0]])
        preprocessor = StandardScaler().fit(rows)
        model = LogisticRegression().fit(preprocessor.transform(rows), [0, 0, 1, 1])
        parts = {"model": model, "preprocessor": preprocessor}
        published = registry.publish(
            0, {f"{part}.joblib": (pickled(one), "") for part, one in parts.items()}
        )
        return {
            **{f"{p}_object": published.objects[f"{p}.joblib"] for p in parts},
            **{f"{p}_sha256": published.checksums[f"{p}.joblib"] for p in parts},
        }

    def test_returns_what_was_published(self, registry, metadata):
        """Preprocessor and model come back, and predict; what is gone is named."""
        preprocessor, model = registry.load(metadata)
        missing = {**metadata, "model_object": "models/ga4_purchase/0/gone.joblib"}

        assert model.predict(preprocessor.transform([[0.0], [3.0]])).tolist() == [0, 1]
        with pytest.raises(ArtifactError, match=r"gone\.joblib"):
            registry.load(missing)

    @pytest.mark.parametrize("part", ["model", "preprocessor"])
    def test_runs_no_code_of_tampered_bytes(self, registry, metadata, part, tmp_path):
        """Whoever can write to the bucket runs no code: refused before unpickling."""
        file = tmp_path / "was_here"
        evil = pickled(Malicious(file))
        unpickled(evil)
        assert file.exists(), "the pickle is harmless, and proves nothing"
        file.unlink()
        overwrite(registry, metadata[f"{part}_object"], evil)

        with pytest.raises(ArtifactError, match="not what was recorded"):
            registry.load(metadata)

        assert not file.exists()

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"not a pickle",
            pickled(list(range(999)))[:-50],
            b"cno_such_module\nThing\n.",
        ],
        ids=["empty", "text", "cut", "of a library that is not here"],
    )
    def test_of_what_cannot_be_read_is_an_artifact_error(self, data):
        """Bytes that other library versions wrote are a clear error, not a crash."""
        with pytest.raises(ArtifactError, match="libraries"):
            unpickled(data)

    def test_verifies_an_uploaded_preprocessor_like_a_model(self, registry, tmp_path):
        """It is stored under its checksum: the same twice is once."""
        name, checksum = registry.upload_preprocessor(StandardScaler())
        again = registry.upload_preprocessor(StandardScaler())
        read = registry.verified(name, checksum)
        overwrite(registry, name, pickled(Malicious(tmp_path / "was_here")))

        assert again == (name, checksum)
        assert checksum in name
        assert isinstance(read, StandardScaler)
        with pytest.raises(ArtifactError):
            registry.verified(name, checksum)
        assert not (tmp_path / "was_here").exists()
