"""
Which version serves, specified: promoted, pinned, rolled back, and never two at once.
"""

from __future__ import annotations

import contextlib
import json

import pytest
from msgspec.structs import asdict

from propensity.errors import ArtifactError, Conflict
from propensity.registry.versions import EARLIER
from tests.propensity.registry.versions import NOW, SHA, at_once, overwrite, promote


def roll_back(registry):
    return registry.roll_back(registry.champion(), model_sha256=SHA, at=NOW)


@pytest.mark.parametrize(
    "damage",
    [
        *("", "[]", "{}", '{"version": 0, "epoch": 0}', b'"\xff"'),
        *({"epoch": True}, {"version": -1}, {"version": "0 OR TRUE"}),
        *({"pinned": "yes"}, {"earlier": 7}, {"earlier": ["x"]}),
    ],
)
def test_a_damaged_pointer_is_an_artifact_error(registry, damage):
    """Where there is none, nothing serves. Each field of it is what it should be; one
    of a later deploy is ignored."""
    assert registry.champion() is None
    champion = promote(registry, 0)
    content = {**asdict(champion), "later": 1}
    overwrite(registry, registry.pointer, json.dumps(content).encode())
    assert registry.champion() == champion
    text = json.dumps(content | damage) if isinstance(damage, dict) else damage
    overwrite(
        registry, registry.pointer, text if isinstance(text, bytes) else text.encode()
    )

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
        for version in range(4, 20):
            champion = promote(registry, version)
        assert len(champion.earlier) == EARLIER

    def test_a_promotion_is_refused_where_another_was_compared_with(self, registry):
        """A challenger of the champion before last is refused, also if the champion
        was only pinned since; the champion stays."""
        first = promote(registry, 0)
        champion = promote(registry, 0, pinned=True)

        for before in (None, first):
            with pytest.raises(Conflict, match="has changed meanwhile"):
                promote(registry, 2, instead_of=before)

        assert registry.champion() == champion

    def test_a_promotion_is_one_of_many_that_race(self, registry):
        """Of sixteen promotions at once one wins, and the pointer is whole."""
        winners = []

        def challenge(version: int) -> None:
            with contextlib.suppress(Conflict):
                promote(registry, version, instead_of=None)
                winners.append(version)

        at_once(challenge)

        assert winners == [registry.champion().version]
        assert registry.champion().epoch == 0


class TestRollBack:
    @pytest.mark.parametrize("promoted", [(0, 1, 2), (0, 1, 2, 1, 2), (0, 2, 1, 2)])
    def test_a_roll_back_goes_one_further_back_each_time(self, registry, promoted):
        """As if the last version had never served, however often it did: a second one
        does not bring back what was rolled back, and the first version is the end."""
        for version in promoted:
            promote(registry, version)
        once = roll_back(registry)
        twice = roll_back(registry)

        assert (once.version, once.previous, once.epoch) == (1, 0, len(promoted))
        assert (twice.version, twice.previous) == (0, None)
        assert promote(registry, 2).earlier == (0,)


class TestPin:
    def test_a_pin_stays_until_it_is_taken_off(self, registry):
        """A person may change what is pinned."""
        promote(registry, 0)
        pinned = promote(registry, 1, pinned=True)

        assert (pinned.version, pinned.pinned, pinned.previous) == (1, True, 0)
        assert promote(registry, 1, pinned=True) == pinned
        assert promote(registry, 2).pinned
        assert roll_back(registry).pinned
        assert not registry.unpin(registry.champion()).pinned
        assert not promote(registry, 3).pinned
