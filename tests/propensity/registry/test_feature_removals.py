"""
Users taken out of kept features, specified against the storage emulator.
"""

from __future__ import annotations

import pyarrow as pa
import pytest

from propensity.edges.artifacts import Artifacts
from propensity.errors import Conflict
from propensity.registry import feature_removals, feature_sets
from tests.propensity.registry.test_feature_sets import (
    find_manifest,
    place_with_versions,
    rows,
    store,
)

# Fixtures.
__all__ = ["place_with_versions"]


def users_of(artifacts: Artifacts) -> list[str | None]:
    """The users of all parts in their order, whose checksums are held."""
    manifest = find_manifest(artifacts)
    assert manifest is not None
    parts = [feature_sets.read(artifacts, part) for part in manifest.parts]
    return pa.chunked_array([part["user_id"] for part in parts]).to_pylist()


class TestRemoval:
    def test_leaves_blank_rows_and_no_older_generation(
        self, artifacts, place_with_versions
    ):
        """Of three parts two have such users; the rows of others keep their places."""
        manifest = store(artifacts, rows(25))
        folder = manifest.name.rpartition("/")[0] + "/"
        feature_removals.remove_users(artifacts, folder, ["u3", "u24", "nobody"])

        expected = [None if n in (3, 24) else f"u{n}" for n in range(25)]
        assert users_of(artifacts) == expected
        parts = [
            entry
            for entry in artifacts.generations(folder)
            if entry.name.endswith(".parquet")
        ]
        assert [entry.is_live for entry in parts] == [True] * 3

    @pytest.mark.parametrize("times", [1, feature_sets.TRIES])
    def test_goes_on_where_others_write_the_same_part(
        self, artifacts, monkeypatch, times
    ):
        """As often as it may; then it fails, and nothing is published."""
        manifest = store(artifacts, rows(5))
        folder = manifest.name.rpartition("/")[0] + "/"
        replace_part, lost = feature_removals.replace_part, []

        def contended(*arguments):
            if len(lost) < times:
                lost.append(arguments)
                raise Conflict("written meanwhile")
            replace_part(*arguments)

        monkeypatch.setattr(feature_removals, "replace_part", contended)
        if times == feature_sets.TRIES:
            with pytest.raises(Conflict, match="again and again"):
                feature_removals.remove_users(artifacts, folder, ["u3"])
            return
        feature_removals.remove_users(artifacts, folder, ["u3"])

        assert users_of(artifacts) == ["u0", "u1", "u2", None, "u4"]
