"""
Which version serves, specified: promoted, pinned, rolled back, and never two at once.
"""

from __future__ import annotations

import contextlib
import json

import pytest

from propensity.errors import (
    ArtifactError,
    Conflict,
    NoChampion,
    OldEpoch,
    Pinned,
)
from propensity.registry.champion import EARLIER
from tests.propensity.registry.versions import (
    RACERS,
    at_once,
    overwrite,
    pin,
    promote,
    roll_back,
)


class TestPointer:
    def test_is_missing_at_first(self, registry):
        """Nothing serves before something was promoted; there is nothing to change."""
        assert registry.find_champion() is None
        for change in (registry.champion, registry.unpin):
            with pytest.raises(NoChampion, match="ga4_purchase"):
                change()
        with pytest.raises(NoChampion):
            roll_back(registry, 0)

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 1}'])
    def test_that_is_damaged_is_an_artifact_error(self, registry, text):
        """It names the pointer."""
        overwrite(registry, registry.pointer, text.encode())

        with pytest.raises(ArtifactError, match=r"champion\.json"):
            registry.champion()

    @pytest.mark.parametrize(
        "damage",
        [
            {"epoch": True},
            {"version": -1},
            {"version": "0 OR TRUE"},
            {"pinned": "yes"},
            {"earlier": 7},
            {"earlier": ["x"]},
        ],
    )
    def test_that_says_nonsense_is_an_artifact_error(self, registry, damage):
        """Each field of it is what it should be; one of a later deploy is ignored."""
        champion = promote(registry, 0)
        content = {**vars(champion), "later": 1}
        overwrite(registry, registry.pointer, json.dumps(content).encode())
        assert registry.champion() == champion
        overwrite(registry, registry.pointer, json.dumps(content | damage).encode())

        with pytest.raises(ArtifactError, match="no champion pointer"):
            registry.champion()


class TestPromotion:
    def test_moves_the_pointer_once(self, registry):
        """Each names the one before; promoting what serves changes nothing."""
        first = promote(registry, 0, instead_of=None)
        second = promote(registry, 3, instead_of=0)

        assert promote(registry, 3, instead_of=9) == second
        assert [first.version, second.version] == [0, 3]
        assert [first.epoch, second.epoch] == [0, 1]
        assert [first.previous, second.previous] == [None, 0]
        assert registry.champion() == second

    def test_is_refused_where_another_was_compared_with(self, registry):
        """A challenger of the champion before last is refused; the champion stays."""
        promote(registry, 0)
        champion = promote(registry, 1)

        with pytest.raises(Conflict, match="version 1 and no longer 0"):
            promote(registry, 2, instead_of=0)

        assert registry.champion() == champion

    def test_is_one_of_many_trainings_that_race(self, registry):
        """Of sixteen promotions at once one wins, and the pointer is whole."""
        winners = []

        def challenge(version: int) -> None:
            with contextlib.suppress(Conflict):
                promote(registry, version, instead_of=None)
                winners.append(version)

        at_once(challenge)

        assert winners == [registry.champion().version]
        assert registry.champion().epoch == 0

    def test_by_hand_of_many_at_once_are_all_made(self, registry):
        """None is lost: each is one epoch. The pointer stays small."""
        champions = at_once(lambda version: promote(registry, version))

        epochs = sorted(champion.epoch for champion in champions)
        assert epochs == list(range(RACERS))
        assert len(registry.champion().earlier) == EARLIER


class TestRollBack:
    @pytest.mark.parametrize("promoted", [(0, 1, 2), (0, 1, 2, 1, 2)])
    def test_goes_one_further_back_each_time(self, registry, promoted):
        """As if the last version had never served, however often it did: a second one
        does not bring back what was rolled back, and the first version is the end."""
        for version in promoted:
            promote(registry, version)
        once = roll_back(registry, 1)
        again = roll_back(registry, 1)
        twice = roll_back(registry, 0)

        assert (once.version, once.previous, once.epoch) == (1, 0, len(promoted))
        assert again == once, "two at once meant the same version"
        assert (twice.version, twice.previous) == (0, None)
        with pytest.raises(NoChampion, match="none to roll back to"):
            roll_back(registry, 2)
        assert promote(registry, 2, instead_of=0).earlier == (0,)

    def test_is_to_the_version_before(self, registry):
        """Who asked for another one learns what has changed.

        Defect: beside a training it ended with what had served, and no word of why."""
        for version in (0, 1, 2):
            promote(registry, version)

        with pytest.raises(Conflict, match="1 served, and not 0: .* changed meanwhile"):
            roll_back(registry, 0)
        assert registry.champion().version == 2


class TestPin:
    def test_keeps_training_from_promoting(self, registry):
        """A challenger is refused, and that is told apart from a lost race."""
        promote(registry, 0)
        pinned = pin(registry, 0)
        with pytest.raises(Pinned, match="version 1 was not promoted"):
            promote(registry, 1, instead_of=0)
        assert registry.champion() == pinned
        registry.unpin()

        assert not promote(registry, 1, instead_of=0).pinned

    def test_lets_a_version_serve_and_stays_by_hand(self, registry):
        """A person may change what is pinned, training may not."""
        promote(registry, 0)
        pinned = pin(registry, 1)

        assert (pinned.version, pinned.pinned, pinned.previous) == (1, True, 0)
        assert pin(registry, 1) == pinned
        assert promote(registry, 2).pinned
        assert roll_back(registry, 1).pinned


class TestEpochs:
    def test_that_are_not_above_the_present_one_change_nothing(self, registry):
        """A command that is old, or comes twice, is told so; one without an epoch
        takes the next."""
        first = promote(registry, 0, epoch=5)
        for epoch in (0, 4, 5):
            with pytest.raises(OldEpoch, match="epoch 5"):
                promote(registry, 1, epoch=epoch)
        assert registry.champion() == first
        assert promote(registry, 1, epoch=9).epoch == 9
        assert promote(registry, 2).epoch == 10

    def test_rise_though_nothing_else_changes(self, registry):
        """A command that finds its work done still makes older ones too late."""
        promote(registry, 0)

        assert promote(registry, 0, epoch=7).epoch == 7
        with pytest.raises(OldEpoch):
            pin(registry, 3, epoch=6)
