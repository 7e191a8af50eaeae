"""
Versions beside the champion, specified: a shadow, one that is named, an older pointer.
"""

from __future__ import annotations

import json
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor

import pytest

from propensity.errors import ArtifactError, PropensityError, UnknownVersion
from propensity.registry.loading import Serving
from propensity.registry.serving import KEPT_VERSIONS, REFUSED_S
from tests.propensity.registry.serving import (
    NOW,
    USE_CASE,
    after_a_while,
    place,
    probabilities,
    shared,
)

# Fixtures.
__all__ = ["place", "shared"]


class TestShadow:
    def test_scores_beside_the_champion(self, place):
        """Both are there in one value; the end of a shadow is followed as well."""
        place.enthrone()
        champions = place.champions()
        first = champions.state(USE_CASE)
        version = place.publish(labels=(1, 1, 0, 0))
        place.registry.shadow(version)
        both = after_a_while(place, champions)
        place.registry.unshadow()
        alone = after_a_while(place, champions)

        assert (first.shadow, alone.shadow) == (None, None)
        assert both.champion is first.champion is alone.champion
        assert both.shadow.version == version
        assert [one.epoch for one in (first, both, alone)] == [0, 1, 2]

    def test_becomes_the_champion_as_it_is(self, place):
        """A shadow that is promoted need not be loaded again, and shadows nobody."""
        place.enthrone()
        version = place.publish()
        place.registry.shadow(version)
        champions = place.champions()
        before = champions.state(USE_CASE)
        reads = place.asked_of(place.model(version))
        place.promote(version)
        after = after_a_while(place, champions)

        assert after.champion is before.shadow
        assert after.shadow is None
        assert place.asked_of(place.model(version)) == reads

    def test_that_is_corrupt_stops_nobody(self, place):
        """The champion serves and none scores beside it; it is told once, and tried
        again, also by an instance that has just begun."""
        told: list[PropensityError] = []
        place.enthrone()
        version = place.publish()
        right = place.corrupt(version)
        place.registry.shadow(version)
        champions = place.champions(tell=told.append)
        first = champions.state(USE_CASE)
        again = after_a_while(place, champions)

        assert first.champion.version == again.champion.version == 0
        assert (first.shadow, again.shadow, again.refused) == (None, None, None)
        [error] = told
        assert "version 1 is refused as shadow" in error.message
        place.overwrite(place.model(version), right)
        assert after_a_while(place, champions).shadow.version == version


class TestVersion:
    def test_is_any_that_was_recorded(self, place):
        """Also one that never served; asked for again, it is still loaded."""
        place.enthrone()
        version = place.publish(labels=(1, 1, 0, 0))
        champions = place.champions()
        found = champions.version(USE_CASE, version)

        assert [round(one) for one in probabilities(found)] == [1, 1, 0, 0]
        assert champions.version(USE_CASE, version) is found
        assert champions.find_loaded(USE_CASE, version) is found

    def test_that_serves_is_that_very_one(self, place):
        """Champion and shadow are not loaded a second time."""
        place.enthrone()
        shadow = place.publish()
        place.registry.shadow(shadow)
        champions = place.champions()
        state = champions.state(USE_CASE)

        assert champions.version(USE_CASE, 0) is state.champion
        assert champions.version(USE_CASE, shadow) is state.shadow

    def test_that_was_kept_serves_as_it_is(self, place):
        """A version that was asked for and is then promoted is not loaded again."""
        place.enthrone()
        champions = place.champions()
        champions.state(USE_CASE)
        version = place.publish()
        found = champions.version(USE_CASE, version)
        place.promote(version)

        assert after_a_while(place, champions).champion is found

    @pytest.mark.parametrize("number", [7, -1, 2**63, 10**30])
    def test_that_was_never_recorded_is_unknown(self, place, number):
        """A clear 404 that names the field, and no try of BigQuery's patience."""
        place.publish()

        with pytest.raises(UnknownVersion, match=f"version {number} .* never") as error:
            place.champions().version(USE_CASE, number)

        assert (error.value.status, error.value.field) == (404, "version")

    def test_that_is_refused_keeps_no_request_in_memory(self, place):
        """One error that all requests raise would have them all in its traceback, and
        the bytes that were not those of the version."""
        champions, version = place.champions(), place.publish()
        place.corrupt(version)

        def frames() -> int:
            try:
                champions.version(USE_CASE, version)
            except ArtifactError as error:
                return len([*traceback.walk_tb(error.__traceback__)])
            return 0

        _, second, *others = [frames() for _ in range(5)]

        assert second > 0
        assert {*others} == {second}

    def test_that_is_unknown_is_not_asked_for_at_each_call(self, place):
        """What is missing is remembered for a moment; then it may have been recorded
        meanwhile."""
        champions = place.champions()
        with pytest.raises(UnknownVersion) as first:
            champions.version(USE_CASE, 0)
        assert place.publish() == 0
        for ask in (champions.version, champions.find_loaded):
            with pytest.raises(UnknownVersion) as again:
                ask(USE_CASE, 0)
            assert again.value.body() == first.value.body()
        place.clock.advance(REFUSED_S)

        assert champions.find_loaded(USE_CASE, 0) is None
        assert champions.version(USE_CASE, 0).version == 0

    def test_that_is_corrupt_is_refused(self, place):
        """Its bytes are verified like a champion's."""
        place.enthrone()
        version = place.publish()
        place.corrupt(version)

        with pytest.raises(ArtifactError, match="not what was recorded"):
            place.champions().version(USE_CASE, version)

    def test_is_forgotten_when_others_are_asked_for(self, place):
        """Only the few that were asked for last are kept."""
        for _ in range(KEPT_VERSIONS + 1):
            place.publish()
        champions = place.champions()
        for number in range(KEPT_VERSIONS):
            champions.version(USE_CASE, number)
        champions.version(USE_CASE, 0)
        champions.version(USE_CASE, KEPT_VERSIONS)
        kept = [
            number
            for number in range(KEPT_VERSIONS + 1)
            if champions.find_loaded(USE_CASE, number) is not None
        ]

        assert kept == [0, 2, 3, 4]

    def test_is_loaded_once_by_many(self, place):
        """Sixteen threads at once wait for one load."""
        version = place.publish()
        champions = place.champions()
        barrier = threading.Barrier(16)
        place.proxy.asked.clear()

        def ask(_: int) -> Serving:
            barrier.wait()
            return champions.version(USE_CASE, version)

        with ThreadPoolExecutor(16) as pool:
            found = list(pool.map(ask, range(16)))

        assert len({id(one) for one in found}) == 1
        assert place.asked_of(place.model(version)) == 1


class TestPointerOfAnEarlierDeploy:
    def test_is_followed(self, place):
        """One without pin, shadow and earlier versions serves, and falls back to its
        previous version."""
        place.enthrone()
        place.enthrone()
        old = {
            "version": 1,
            "epoch": 1,
            "model_sha256": "0" * 64,
            "promoted_at": NOW.isoformat(),
            "previous": 0,
        }
        pointer = f"models/{USE_CASE.name}/champion.json"
        place.overwrite(pointer, json.dumps(old).encode())

        assert place.champions().state(USE_CASE).champion.version == 1
        place.corrupt(1)
        assert place.champions().state(USE_CASE).champion.version == 0
