"""
The registry, specified against the storage emulator: versions, champion, leases.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from propensity.edges.artifacts import Artifacts
from propensity.errors import (
    ArtifactError,
    Conflict,
    NoChampion,
    OldEpoch,
    Pinned,
    RequestError,
    RunInProgress,
)
from propensity.registry.champion import ANYTHING, EARLIER, LARGEST_EPOCH, Champion
from propensity.registry.leases import Finished, Lease
from propensity.registry.versions import Registry, pickled, unpickled
from propensity.settings import Settings
from propensity.waiting.threads import DaemonThreads

NOW = datetime(2026, 3, 2, 6, tzinfo=UTC)
AS_OF = date(2026, 3, 2)
HOUR = timedelta(hours=1)
SHA = "0" * 64
RACERS = 16


@pytest.fixture
def registry(environment) -> Iterator[Registry]:
    """The registry of a use case, with nothing in it."""
    artifacts = Artifacts.open(Settings.from_environment())
    yield Registry(artifacts, "ga4_purchase")
    artifacts.close()


def overwrite(registry: Registry, name: str, data: bytes) -> None:
    """Write an object as somebody would who can write to the bucket."""
    found = registry.artifacts.find(name)
    registry.artifacts.replace(name, data, generation=found.generation if found else 0)


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


class Malicious:
    """Creates a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self):
        return (Path.touch, (self.file,))


class TestVersions:
    def test_count_from_zero(self, registry):
        """Each claim is the next number."""
        claimed = [registry.claim(run_id=f"r{n}", at=NOW) for n in range(3)]

        assert claimed == [0, 1, 2]
        assert registry.versions() == [0, 1, 2]

    def test_are_claimed_once(self, registry):
        """Sixteen trainers at once get sixteen versions."""
        barrier = threading.Barrier(RACERS)

        def claim(number: int) -> int:
            barrier.wait()
            return registry.claim(run_id=f"r{number}", at=NOW)

        with ThreadPoolExecutor(RACERS) as pool:
            assert sorted(pool.map(claim, range(RACERS))) == list(range(RACERS))

    def test_are_not_reused(self, registry):
        """A version whose training died is passed over; so is what is no version."""
        registry.claim(run_id="died", at=NOW)
        registry.artifacts.create("models/ga4_purchase/7/claim.json", b"{}")
        registry.artifacts.create("models/ga4_purchase/notes.txt", b"")

        assert registry.claim(run_id="next", at=NOW) == 8

    def test_are_written_once(self, registry):
        """Nothing under a version is ever rewritten."""
        registry.publish(0, {"card.json": (b"{}", "application/json")})

        with pytest.raises(Conflict):
            registry.publish(0, {"card.json": (b"[]", "application/json")})

    def test_of_use_cases_are_apart(self, registry):
        """Another use case counts its own."""
        registry.claim(run_id="r", at=NOW)
        other = Registry(registry.artifacts, "first_day_churn")

        assert other.claim(run_id="r", at=NOW) == 0


class TestLoad:
    @pytest.fixture
    def metadata(self, registry):
        rows = np.array([[0.0], [1.0], [2.0], [3.0]])
        preprocessor = StandardScaler().fit(rows)
        model = LogisticRegression().fit(preprocessor.transform(rows), [0, 0, 1, 1])
        published = registry.publish(
            0,
            {
                "model.joblib": (pickled(model), ""),
                "preprocessor.joblib": (pickled(preprocessor), ""),
            },
        )
        return {
            f"{part}_{what}": values[f"{part}.joblib"]
            for part in ("model", "preprocessor")
            for what, values in (
                ("object", published.objects),
                ("sha256", published.checksums),
            )
        }

    def test_returns_what_was_published(self, registry, metadata):
        """Preprocessor and model come back, and predict."""
        preprocessor, model = registry.load(metadata)

        assert model.predict(preprocessor.transform([[0.0], [3.0]])).tolist() == [0, 1]

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

    def test_refuses_swapped_objects(self, registry, metadata):
        """A true model in the place of the true preprocessor is not it."""
        model = registry.artifacts.read(metadata["model_object"]).data
        overwrite(registry, metadata["preprocessor_object"], model)

        with pytest.raises(ArtifactError):
            registry.load(metadata)

    def test_says_what_is_missing(self, registry, metadata):
        """An object that is gone is named."""
        missing = {**metadata, "model_object": "models/ga4_purchase/0/gone.joblib"}

        with pytest.raises(ArtifactError, match=r"gone\.joblib"):
            registry.load(missing)

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
    def test_of_what_cannot_be_read_is_an_artifact_error(self, registry, data):
        """Bytes that other library versions wrote are a clear error, not a crash."""
        with pytest.raises(ArtifactError, match="libraries"):
            unpickled(data)


class TestPreprocessors:
    def test_are_stored_under_their_checksum(self, registry):
        """Uploading the same twice is uploading it once."""
        name, checksum = registry.upload_preprocessor(StandardScaler())

        assert registry.upload_preprocessor(StandardScaler()) == (name, checksum)
        assert checksum in name
        found = registry.preprocessor({"object": name, "sha256": checksum})
        assert isinstance(found, StandardScaler)

    def test_run_no_code_of_tampered_bytes(self, registry, tmp_path):
        """An uploaded preprocessor is verified like a model."""
        name, checksum = registry.upload_preprocessor(StandardScaler())
        overwrite(registry, name, pickled(Malicious(tmp_path / "was_here")))

        with pytest.raises(ArtifactError):
            registry.preprocessor({"object": name, "sha256": checksum})

        assert not (tmp_path / "was_here").exists()


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

        assert [one.version for one in (first, second, back)] == [0, 3, 0]
        assert [one.epoch for one in (first, second, back)] == [0, 1, 2]
        assert [one.previous for one in (first, second, back)] == [None, 0, 3]
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
        barrier = threading.Barrier(RACERS)

        def promote(version: int) -> int | None:
            barrier.wait()
            try:
                registry.promote(version, model_sha256=SHA, at=NOW, instead_of=None)
            except Conflict:
                return None
            return version

        with ThreadPoolExecutor(RACERS) as pool:
            won = [one for one in pool.map(promote, range(RACERS)) if one is not None]

        assert won == [registry.champion().version]
        assert registry.champion().epoch == 0

    @pytest.mark.parametrize(
        "text",
        ["", "[]", "{}", '{"version": 1}', "\x00"],
    )
    def test_that_is_no_champion_is_an_artifact_error(self, registry, text):
        """A damaged pointer is a clear error."""
        overwrite(registry, "models/ga4_purchase/champion.json", text.encode())

        with pytest.raises(ArtifactError, match=r"champion\.json"):
            registry.champion()

    def test_names_a_number(self, registry):
        """A pointer to something that is no version is refused."""
        champion = registry.promote(0, model_sha256=SHA, at=NOW, instead_of=None)
        forged = {**vars(champion), "version": "0 OR TRUE"}
        overwrite(
            registry, "models/ga4_purchase/champion.json", json.dumps(forged).encode()
        )

        with pytest.raises(ArtifactError, match="names no version"):
            registry.champion()

    def test_of_an_earlier_deploy_is_read(self, registry):
        """A pointer without pin, shadow and earlier versions is one with none; what a
        later deploy may have added means nothing."""
        old = {
            "version": 3,
            "epoch": 5,
            "model_sha256": SHA,
            "promoted_at": NOW.isoformat(),
            "previous": 1,
        }
        pointer = "models/ga4_purchase/champion.json"
        overwrite(registry, pointer, json.dumps(old).encode())
        found = registry.champion()
        overwrite(registry, pointer, json.dumps({**old, "later": 1}).encode())

        assert (found.pinned, found.shadow, found.earlier) == (False, None, (1,))
        assert registry.champion() == found

    @pytest.mark.parametrize(
        "damage",
        [
            {"epoch": True},
            {"version": -1},
            {"pinned": "yes"},
            {"shadow": "1"},
            {"previous": 1.5},
            {"earlier": 7},
            {"earlier": ["x"]},
        ],
    )
    def test_that_says_nonsense_is_an_artifact_error(self, registry, damage):
        """Each field of it is what it should be."""
        champion = registry.promote(0, model_sha256=SHA, at=NOW, instead_of=None)
        overwrite(
            registry,
            "models/ga4_purchase/champion.json",
            json.dumps({**vars(champion), **damage}).encode(),
        )

        with pytest.raises(ArtifactError):
            registry.champion()

    def test_is_read_only_when_it_has_changed(self, registry):
        """Who knows its generation is told that nothing has changed, and nothing
        more; where there is none, that is told."""
        assert registry.champion_since(0) == (None, 0)
        first = registry.promote(0, model_sha256=SHA, at=NOW, instead_of=None)
        found, generation = registry.champion_since(0)

        assert found == first
        assert registry.champion_since(generation) is None
        second = registry.promote(1, model_sha256=SHA, at=NOW, instead_of=0)
        found, newer = registry.champion_since(generation)
        assert found == second
        registry.artifacts.delete("models/ga4_purchase/champion.json")
        assert registry.champion_since(newer) == (None, 0)


def promote(registry: Registry, version: int, **options: Any) -> Champion:
    """Promote by hand."""
    return registry.promote(
        version, **{"model_sha256": SHA, "at": NOW, "instead_of": ANYTHING, **options}
    )


def roll_back(registry: Registry, to: int, **options: Any) -> Champion:
    return registry.roll_back(to, model_sha256=SHA, at=NOW, **options)


def pin(registry: Registry, version: int, **options: Any) -> Champion:
    return registry.pin(version, model_sha256=SHA, at=NOW, **options)


class TestPromotionByHand:
    def test_takes_the_place_of_whatever_serves(self, registry):
        """It is compared with nothing, and raises the epoch by one."""
        promoted = [promote(registry, version) for version in (4, 2, 7)]

        assert [one.version for one in promoted] == [4, 2, 7]
        assert [one.epoch for one in promoted] == [0, 1, 2]
        assert [one.previous for one in promoted] == [None, 4, 2]
        assert promoted[-1].earlier == (2, 4)

    def test_remembers_only_so_many(self, registry):
        """The pointer stays small."""
        for version in range(EARLIER + 3):
            last = promote(registry, version)

        assert last.earlier == tuple(range(EARLIER + 1, 1, -1))

    def test_of_many_at_once_are_all_made(self, registry):
        """None is lost: each is one epoch."""
        barrier = threading.Barrier(RACERS)

        def race(version: int) -> int:
            barrier.wait()
            return promote(registry, version).epoch

        with ThreadPoolExecutor(RACERS) as pool:
            epochs = sorted(pool.map(race, range(RACERS)))

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

    def test_by_two_at_once_is_one(self, registry):
        """Both meant the same version, and get it."""
        for version in (0, 1, 2):
            promote(registry, version)
        once = roll_back(registry, 1)

        assert roll_back(registry, 1) == once

    def test_is_to_the_version_before(self, registry):
        """To another one is a promotion."""
        for version in (0, 1, 2):
            promote(registry, version)

        with pytest.raises(Conflict, match="version 1 served, and not 0"):
            roll_back(registry, 0)

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


class TestPin:
    def test_keeps_training_from_promoting(self, registry):
        """A challenger is refused, and that is told apart from a lost race."""
        promote(registry, 0)
        pinned = pin(registry, 0)
        with pytest.raises(Pinned, match="version 1 was not promoted"):
            registry.promote(1, model_sha256=SHA, at=NOW, instead_of=0)
        assert registry.champion() == pinned
        registry.unpin()

        promoted = registry.promote(1, model_sha256=SHA, at=NOW, instead_of=0)
        assert (promoted.version, promoted.pinned) == (1, False)

    def test_lets_a_version_serve(self, registry):
        """One that does not serve yet is promoted by it."""
        promote(registry, 0)
        pinned = pin(registry, 1)

        assert (pinned.version, pinned.pinned, pinned.previous) == (1, True, 0)
        assert pin(registry, 1) == pinned

    def test_stays_when_another_is_promoted_by_hand(self, registry):
        """A person may change what is pinned, training may not."""
        pin(registry, 0)

        assert promote(registry, 1).pinned
        assert roll_back(registry, 0).pinned

    def test_is_no_end_of_a_shadow(self, registry):
        """Only a version that becomes the champion is no shadow any more."""
        promote(registry, 0)
        registry.shadow(2)

        assert pin(registry, 1).shadow == 2
        assert pin(registry, 2).shadow is None


class TestShadow:
    def test_is_beside_the_champion(self, registry):
        """It changes nothing of what serves, and ends when it is told to."""
        promote(registry, 0)
        shadowed = registry.shadow(1)

        assert (shadowed.version, shadowed.shadow, shadowed.epoch) == (0, 1, 1)
        assert registry.shadow(1) == shadowed
        assert registry.unshadow().shadow is None

    def test_is_another_version_than_the_champion(self, registry):
        """A champion would only score twice."""
        promote(registry, 0)

        assert registry.shadow(0).shadow is None

    @pytest.mark.parametrize(
        "command", [Registry.unpin, Registry.unshadow, lambda one: one.shadow(1)]
    )
    def test_needs_something_that_serves(self, registry, command):
        """Where nothing was promoted none of it means anything."""
        with pytest.raises(NoChampion):
            command(registry)


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
        st.sampled_from(["promote", "pin", "shadow", "unpin", "unshadow", "challenge"]),
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

    @settings(max_examples=10, deadline=None)
    @given(
        commands=st.lists(
            st.tuples(st.sampled_from(["promote", "pin"]), VERSIONS),
            min_size=1,
            max_size=6,
        ),
        data=st.data(),
    )
    def test_of_commands_decide_and_not_their_order(self, emulators, commands, data):
        """The same messages in two orders, some of them twice, leave the same version
        champion, at the same epoch."""
        numbered = [(*one, 10 * place) for place, one in enumerate(commands, 1)]
        ends = []
        for _ in range(2):
            registry = Registry(self.bucket(emulators), f"u{uuid.uuid4().hex[:10]}")
            promote(registry, 0)
            repeated = numbered + data.draw(st.lists(st.sampled_from(numbered)))
            for action, version, epoch in data.draw(st.permutations(repeated)):
                with contextlib.suppress(OldEpoch):
                    self.command(registry, action, version, epoch)
            ends.append((registry.champion().version, registry.champion().epoch))

        assert ends == [(numbered[-1][1], numbered[-1][2])] * 2

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
            "shadow": lambda: registry.shadow(version, epoch=epoch),
            "unpin": lambda: registry.unpin(epoch=epoch),
            "unshadow": lambda: registry.unshadow(epoch=epoch),
        }[action]()

    def assert_holds(self, champion: Champion, action: str, version: int) -> None:
        """Check that a command has been followed."""
        assert {
            "promote": champion.version == version,
            "pin": champion.version == version and champion.pinned,
            "shadow": version in {champion.shadow, champion.version},
            "unpin": not champion.pinned,
            "unshadow": champion.shadow is None,
        }[action]


class TestLeases:
    def begin(self, registry, run_id="one", *, now=NOW, again=False):
        return registry.begin(
            "train", AS_OF, run_id=run_id, now=now, duration=HOUR, again=again
        )

    def test_keep_others_out_while_they_last(self, registry):
        """A second run of the same is told to wait, and may be tried again."""
        self.begin(registry)

        with pytest.raises(RunInProgress, match="under way") as caught:
            self.begin(registry, "two", now=NOW + HOUR - timedelta(microseconds=1))

        assert caught.value.retryable
        assert caught.value.status == 409

    def test_of_other_runs_are_others(self, registry):
        """Another kind or as-of date does not wait."""
        self.begin(registry)
        for kind, as_of in (("predict", AS_OF), ("train", AS_OF + timedelta(days=1))):
            lease = registry.begin(
                kind, as_of, run_id="two", now=NOW, duration=HOUR, again=False
            )
            assert isinstance(lease, Lease)

    def test_are_won_by_one(self, registry):
        """Of sixteen that begin at once, one runs."""
        barrier = threading.Barrier(RACERS)

        def begin(number: int) -> bool:
            barrier.wait()
            try:
                self.begin(registry, f"r{number}")
            except RunInProgress:
                return False
            return True

        with ThreadPoolExecutor(RACERS) as pool:
            assert sum(pool.map(begin, range(RACERS))) == 1

    def test_are_taken_over_when_they_end(self, registry):
        """A run that died blocks until then; if it lives, it publishes nothing."""
        old = self.begin(registry)
        new = self.begin(registry, "two", now=NOW + HOUR)

        registry.check(new)
        with pytest.raises(Conflict, match="publishes nothing"):
            registry.check(old)
        with pytest.raises(Conflict):
            registry.finish(old, {"by": "old"}, at=NOW + HOUR)
        with pytest.raises(Conflict):
            registry.release(old, error="late", at=NOW + HOUR)
        registry.finish(new, {"by": "new"}, at=NOW + HOUR)
        assert self.begin(registry, "three").answer == {"by": "new"}

    def test_last_as_long_as_the_run_works(self, registry):
        """A lease that is kept outlives its duration; one that died ends with it."""
        now = datetime.now(UTC)
        short = timedelta(seconds=0.5)
        begun = registry.begin(
            "train", AS_OF, run_id="one", now=now, duration=short, again=False
        )
        with registry.kept(
            begun, clock=partial(datetime.now, UTC), threads=DaemonThreads()
        ):
            time.sleep(1.5)
            with pytest.raises(RunInProgress):
                self.begin(registry, "two", now=datetime.now(UTC))
            registry.check(begun)
        time.sleep(0.6)

        assert isinstance(self.begin(registry, "two", now=datetime.now(UTC)), Lease)
        with pytest.raises(Conflict):
            registry.check(begun)

    def test_that_were_taken_are_not_renewed(self, registry):
        """Who was too slow does not get the lease back."""
        old = self.begin(registry)
        new = self.begin(registry, "two", now=NOW + HOUR)

        with pytest.raises(Conflict):
            registry.renew(old, now=NOW + HOUR)
        registry.check(new)

    def test_answer_for_a_finished_run(self, registry):
        """The retry of a finished run gets its answer, unless it is to run again."""
        registry.finish(self.begin(registry), {"model_version": 4}, at=NOW)

        found = self.begin(registry, "two")
        again = self.begin(registry, "three", again=True)

        assert found == Finished({"model_version": 4}, "one")
        assert isinstance(again, Lease)

    def test_are_free_after_a_failure(self, registry):
        """The next run need not wait for the end of a lease whose run failed."""
        registry.release(self.begin(registry), error="Unavailable", at=NOW)

        assert isinstance(self.begin(registry, "two"), Lease)

    def test_that_were_damaged_are_taken(self, registry):
        """A lease that says nothing holds nobody up."""
        overwrite(registry, f"runs/ga4_purchase/train/{AS_OF}.json", b"{}")

        assert isinstance(self.begin(registry), Lease)
