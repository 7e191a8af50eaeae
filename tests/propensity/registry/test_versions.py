"""
Versions, specified: written once, verified, loaded; and which of them is live:
promoted, pinned, rolled back, never two at once.
"""

from __future__ import annotations

import functools
from concurrent.futures import ThreadPoolExecutor

import pytest
from sklearn.preprocessing import StandardScaler

from propensity.errors import ArtifactError, Conflict
from propensity.registry.versions import (
    Record,
    RecordedCard,
    RecordedFile,
    Registry,
    pickled,
    unpickled,
)
from tests.propensity.registry.versions import (
    NOW,
    SHA,
    Malicious,
    after_the_next_find,
    overwrite,
    promote,
)


class TestVersions:
    def test_versions_are_claimed_once(self, registry):
        """
        Sixteen trainers at once get sixteen versions, from 0 on, and one that died
        keeps its own; another use case counts its own.

        A version whose objects were deleted is not claimed again: it would have two
        records, and functions would go by the first.
        """
        with ThreadPoolExecutor(16) as pool:
            claims = [
                pool.submit(registry.claim, run_id=f"r{n}", at=NOW) for n in range(16)
            ]
        other = Registry(registry.artifacts, "first_day_churn")

        assert sorted(claim.result() for claim in claims) == list(range(16))
        assert other.claim(run_id="r", at=NOW) == 0
        assert other.claim(run_id="r", at=NOW, recorded=11) == 12


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

    def test_artifacts_of_a_version_are_those_of_its_record(self, registry):
        files = {name: (pickled(name), "") for name in ("model", "preprocessor")}
        objects = registry.publish(0, files).objects
        record = Record(
            model_version=0,
            card=RecordedCard(files={"value": RecordedFile(objects["model"], SHA)}),
            preprocessor_object=objects["preprocessor"],
            preprocessor_sha256=SHA,
        )

        with pytest.raises(ArtifactError, match="/0/preprocessor has changed since"):
            registry.load(record)
        with pytest.raises(ArtifactError, match="/0/model has changed since"):
            registry.load_value(record)

    def test_artifacts_that_cannot_be_read_are_a_clear_error(self):
        """Bytes that other library versions wrote, for one."""
        with pytest.raises(ArtifactError, match="libraries"):
            unpickled(b"cno_such_module\nThing\n.")


def roll_back(registry):
    return registry.roll_back(registry.champion(), model_sha256=SHA, at=NOW)


@pytest.mark.parametrize("damage", ["[]", '{"version": "0 OR TRUE", "epoch": 0}'])
def test_a_damaged_pointer_is_an_artifact_error(registry, damage):
    assert registry.champion() is None
    overwrite(registry, registry.pointer, damage.encode())

    with pytest.raises(ArtifactError, match=r"champion\.json"):
        registry.champion()


class TestPromotion:
    def test_a_promotion_moves_the_pointer_once(self, registry):
        """Each names those before, and is an epoch; promoting what serves changes
        nothing."""
        first = promote(registry, 0)
        second = promote(registry, 3)

        assert promote(registry, 3) == second == registry.champion()
        assert [first.version, second.version] == [0, 3]
        assert [first.epoch, second.epoch] == [0, 1]
        assert [first.previous, second.previous] == [None, 0]

    def test_a_promotion_is_refused_where_another_was_compared_with(self, registry):
        """A challenger of the champion before last is refused, also if the champion
        was only pinned since; the champion stays."""
        first = promote(registry, 0)
        champion = promote(registry, 0, pinned=True)

        for before in (None, first):
            with pytest.raises(Conflict, match="has changed meanwhile"):
                promote(registry, 2, instead_of=before)

        assert registry.champion() == champion

    def test_a_promotion_does_not_undo_one_that_came_between(
        self, registry, monkeypatch
    ):
        other = functools.partial(promote, registry, 1, instead_of=None)
        after_the_next_find(monkeypatch, other)
        with pytest.raises(Conflict):
            promote(registry, 2, instead_of=None)

        assert (registry.champion().version, registry.champion().epoch) == (1, 0)


@pytest.mark.parametrize("promoted", [(0, 1, 2), (0, 1, 2, 1, 2), (0, 2, 1, 2)])
def test_a_roll_back_goes_one_further_back_each_time(registry, promoted):
    """As if the last version had never served, however often it did: a second one
    does not bring back what was rolled back, and the first version is the end."""
    for version in promoted:
        promote(registry, version)
    once = roll_back(registry)
    twice = roll_back(registry)

    assert (once.version, once.previous, once.epoch) == (1, 0, len(promoted))
    assert (twice.version, twice.previous) == (0, None)
    assert promote(registry, 2).earlier == (0,)


def test_a_pin_stays_until_it_is_taken_off(registry):
    """A person may change what is pinned."""
    promote(registry, 0)
    pinned = promote(registry, 1, pinned=True)

    assert (pinned.version, pinned.pinned, pinned.previous) == (1, True, 0)
    assert promote(registry, 1, pinned=True) == pinned
    assert promote(registry, 2).pinned
    assert roll_back(registry).pinned
    assert not registry.unpin(registry.champion()).pinned
    assert not promote(registry, 3).pinned
