"""
Which version serves, specified: promoted, pinned, rolled back, and never two at once.
"""

from __future__ import annotations

import contextlib
import json
import uuid
from functools import cache

import pytest
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from hypothesis import given, settings
from hypothesis import strategies as st

from propensity.errors import (
    ArtifactError,
    Conflict,
    NoChampion,
    OldEpoch,
    Pinned,
    RequestError,
)
from propensity.gcp.artifacts import Artifacts
from propensity.registry.champion import EARLIER, LARGEST_EPOCH, Champion
from propensity.registry.versions import Registry
from tests.propensity.registry.versions import (
    NOW,
    RACERS,
    SHA,
    at_once,
    overwrite,
    pin,
    promote,
    roll_back,
)


@cache
def storage_client(url: str, project: str) -> storage.Client:
    """A client, and the bucket of the tests that make many registries."""
    client = storage.Client(
        project=project,
        credentials=AnonymousCredentials(),
        client_options=ClientOptions(api_endpoint=url),
    )
    client.create_bucket("epochs")
    return client


class TestChampion:
    def test_is_missing_at_first(self, registry):
        """Nothing serves before something was promoted."""
        assert registry.find_champion() is None
        with pytest.raises(NoChampion, match="ga4_purchase"):
            registry.champion()

    def test_moves_forward_and_back(self, registry):
        """Each promotion names the one before, so that a roll back is a promotion."""
        first = registry.promote(0, model_sha256=SHA, at=NOW, instead_of=None)
        second = registry.promote(3, model_sha256=SHA, at=NOW, instead_of=0)
        back = registry.promote(second.previous, model_sha256=SHA, at=NOW, instead_of=3)

        assert [champion.version for champion in (first, second, back)] == [0, 3, 0]
        assert [champion.epoch for champion in (first, second, back)] == [0, 1, 2]
        assert [champion.previous for champion in (first, second, back)] == [None, 0, 3]
        assert registry.champion() == back

    def test_is_promoted_once(self, registry):
        """Promoting what serves changes nothing."""
        first = registry.promote(0, model_sha256=SHA, at=NOW, instead_of=None)

        assert registry.promote(0, model_sha256=SHA, at=NOW, instead_of=9) == first

    def test_is_not_taken_from_whom_one_was_not_compared_with(self, registry):
        """A challenger of the champion before last is refused; the champion stays."""
        registry.promote(0, model_sha256=SHA, at=NOW, instead_of=None)
        champion = registry.promote(1, model_sha256=SHA, at=NOW, instead_of=0)

        with pytest.raises(Conflict, match="version 1 and no longer 0"):
            registry.promote(2, model_sha256=SHA, at=NOW, instead_of=0)

        assert registry.champion() == champion

    def test_is_one_of_many_that_race(self, registry):
        """Of sixteen promotions at once one wins, and the pointer is whole."""
        winners = []

        def promote(version: int) -> None:
            with contextlib.suppress(Conflict):
                registry.promote(version, model_sha256=SHA, at=NOW, instead_of=None)
                winners.append(version)

        at_once(promote)

        assert winners == [registry.champion().version]
        assert registry.champion().epoch == 0

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "not JSON"),
            ("\x00", "not JSON"),
            ("[]", "not a JSON object"),
            ("{}", "lacks version, epoch"),
            ('{"version": 1}', "lacks epoch, model_sha256, promoted_"),
        ],
    )
    def test_that_is_damaged_is_an_artifact_error(self, registry, text, message):
        """It names the pointer, and the fields that it lacks."""
        overwrite(registry, registry.pointer, text.encode())

        with pytest.raises(ArtifactError, match=rf"champion\.json.*{message}"):
            registry.champion()

    def test_of_a_later_deploy_is_read(self, registry):
        """What that may have added means nothing."""
        champion = promote(registry, 0)
        later = json.dumps({**vars(champion), "later": 1}).encode()
        overwrite(registry, registry.pointer, later)

        assert registry.champion() == champion

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
        """Each field of it is what it should be."""
        damaged = json.dumps({**vars(promote(registry, 0)), **damage}).encode()
        overwrite(registry, registry.pointer, damaged)

        with pytest.raises(ArtifactError, match="names no version"):
            registry.champion()

    def test_is_read_only_when_it_has_changed(self, registry):
        """Who knows its generation is told that nothing has changed, and nothing
        more; where there is none, that is told."""
        assert registry.champion_since(0) == (None, 0)
        first = registry.promote(0, model_sha256=SHA, at=NOW, instead_of=None)
        champion, generation = registry.champion_since(0)

        assert champion == first
        assert registry.champion_since(generation) is None
        second = registry.promote(1, model_sha256=SHA, at=NOW, instead_of=0)
        champion, newer = registry.champion_since(generation)
        assert champion == second
        registry.artifacts.delete(registry.pointer)
        assert registry.champion_since(newer) == (None, 0)


class TestPromotionByHand:
    def test_remembers_only_so_many(self, registry):
        """The pointer stays small."""
        for version in range(EARLIER + 3):
            last = promote(registry, version)

        assert last.earlier == tuple(range(EARLIER + 1, 1, -1))

    def test_of_many_at_once_are_all_made(self, registry):
        """None is lost: each is one epoch."""
        champions = at_once(lambda version: promote(registry, version))

        epochs = sorted(champion.epoch for champion in champions)
        assert epochs == list(range(RACERS))
        assert registry.champion().epoch == RACERS - 1


class TestRollBack:
    def test_goes_one_further_back_each_time(self, registry):
        """As if the last version had never served: a second one does not bring back
        what was rolled back, and the first version is the end."""
        for version in (0, 1, 2):
            promote(registry, version)
        once = roll_back(registry, 1)
        twice = roll_back(registry, 0)

        assert (once.version, once.previous, once.epoch) == (1, 0, 3)
        assert (twice.version, twice.previous, twice.epoch) == (0, None, 4)
        with pytest.raises(NoChampion, match="none to roll back to"):
            roll_back(registry, 2)
        assert registry.champion() == twice

    def test_does_not_come_to_an_earlier_turn_of_what_was_rolled_back(self, registry):
        """A version that was promoted again is as bad as it was the first time."""
        for version in (0, 1, 2, 1, 2):
            promote(registry, version)
        once = roll_back(registry, 1)
        twice = roll_back(registry, 0)

        assert (once.version, once.previous) == (1, 0)
        assert (twice.version, twice.previous) == (0, None)

    def test_by_two_at_once_is_one(self, registry):
        """Both meant the same version, and get it."""
        for version in (0, 1, 2):
            promote(registry, version)
        once = roll_back(registry, 1)

        assert roll_back(registry, 1) == once

    def test_is_to_the_version_before(self, registry):
        """To another one is a promotion; who asked for it learns what has changed.

        Defect: beside a training it ended with what had served, and no word of why."""
        for version in (0, 1, 2):
            promote(registry, version)

        with pytest.raises(Conflict, match="1 served, and not 0: .* changed meanwhile"):
            roll_back(registry, 0)
        assert registry.champion().version == 2

    def test_may_be_followed_by_a_promotion(self, registry):
        """What comes after goes back to the version that a roll back let serve."""
        for version in (0, 1):
            promote(registry, version)
        roll_back(registry, 0)
        third = registry.promote(2, model_sha256=SHA, at=NOW, instead_of=0)

        assert third.earlier == (0,)

    def test_needs_something_that_serves(self, registry):
        """Where nothing was promoted there is nothing to go back from."""
        with pytest.raises(NoChampion):
            roll_back(registry, 0)


class TestEpochs:
    def test_that_are_not_above_the_present_one_change_nothing(self, registry):
        """A command that is old, or comes twice, is told so."""
        first = promote(registry, 0, epoch=5)
        for epoch in (0, 4, 5):
            with pytest.raises(OldEpoch, match="epoch 5"):
                promote(registry, 1, epoch=epoch)
        assert registry.champion() == first
        assert promote(registry, 1, epoch=9).epoch == 9

    def test_go_on_from_the_present_one(self, registry):
        """A command without one takes the next."""
        promote(registry, 0, epoch=5)

        assert promote(registry, 1).epoch == 6

    def test_rise_though_nothing_else_changes(self, registry):
        """A command that finds its work done still makes older ones too late."""
        promote(registry, 0)

        assert promote(registry, 0, epoch=7).epoch == 7
        with pytest.raises(OldEpoch):
            pin(registry, 3, epoch=6)

    @pytest.mark.parametrize("epoch", [-1, LARGEST_EPOCH + 1])
    def test_are_numbers_with_room_above(self, registry, epoch):
        """An absurd one does not end all commands to come."""
        with pytest.raises(RequestError) as error:
            promote(registry, 0, epoch=epoch)

        assert error.value.field == "epoch"

    VERSIONS = st.integers(0, 4)
    COMMANDS = st.tuples(
        st.sampled_from(["promote", "pin", "unpin", "challenge"]),
        VERSIONS,
        st.one_of(st.none(), st.integers(0, 60)),
    )

    @settings(max_examples=10, deadline=None)
    @given(commands=st.lists(COMMANDS, max_size=8), data=st.data())
    def test_of_commands_in_any_order_end_at_the_highest(
        self, emulators, commands, data
    ):
        """
        Whatever order control messages come in, the one of the highest epoch decides.

        Commands without an epoch and trainings come between; the epoch never falls.
        """
        artifacts = self.bucket(emulators)
        registry = Registry(artifacts, f"u{uuid.uuid4().hex[:10]}")
        promote(registry, 0)
        highest, last = 0, None
        for action, version, epoch in data.draw(st.permutations(commands)):
            before = registry.champion()
            try:
                self.command(registry, action, version, epoch)
            except (OldEpoch, Pinned, Conflict):
                assert registry.champion() == before
            after = registry.champion()

            assert after.epoch >= before.epoch
            assert after == before or after.epoch > before.epoch
            if epoch is not None and action != "challenge" and epoch > before.epoch:
                assert after.epoch == epoch
                highest, last = epoch, (action, version)
            if last is not None and after.epoch == highest:
                self.assert_holds(after, *last)
        for action, version, epoch in commands:
            if epoch is not None and action != "challenge":
                with pytest.raises(OldEpoch):
                    self.command(registry, action, version, epoch)

    def bucket(self, emulators) -> Artifacts:
        """A bucket for all examples: each has a use case of its own."""
        client = storage_client(emulators.url("storage"), emulators.options.project)
        return Artifacts(client.bucket("epochs"), deadline_s=30)

    def command(
        self, registry: Registry, action: str, version: int, epoch: int | None
    ) -> Champion:
        if action == "challenge":
            return registry.promote(
                version,
                model_sha256=SHA,
                at=NOW,
                instead_of=registry.champion().version,
            )
        return {
            "promote": lambda: promote(registry, version, epoch=epoch),
            "pin": lambda: pin(registry, version, epoch=epoch),
            "unpin": lambda: registry.unpin(epoch=epoch),
        }[action]()

    def assert_holds(self, champion: Champion, action: str, version: int) -> None:
        """Check that a command has been followed."""
        assert {
            "promote": champion.version == version,
            "pin": champion.version == version and champion.pinned,
            "unpin": not champion.pinned,
        }[action]
