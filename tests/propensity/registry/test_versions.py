"""The registry, specified against the storage emulator: versions, pins, leases."""

from __future__ import annotations

import contextlib
import time
from datetime import UTC, date, datetime, timedelta
from functools import partial

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from propensity.concurrency import DaemonThreads
from propensity.errors import (
    ArtifactError,
    Conflict,
    NoChampion,
    Pinned,
    RunInProgress,
    Unavailable,
)
from propensity.gcp.artifacts import Artifacts
from propensity.registry.leases import Finished, Lease
from propensity.registry.versions import Registry, pickled, unpickled
from tests.propensity.registry.versions import (
    NOW,
    RACERS,
    SHA,
    Malicious,
    at_once,
    overwrite,
    pin,
    promote,
    roll_back,
)

AS_OF = date(2026, 3, 2)
HOUR = timedelta(hours=1)


class TestVersions:
    def test_are_claimed_once(self, registry):
        """Sixteen trainers at once get sixteen versions, from 0 on."""
        versions = at_once(lambda n: registry.claim(run_id=f"r{n}", at=NOW))

        assert sorted(versions) == registry.versions() == list(range(RACERS))

    def test_are_not_reused(self, registry):
        """A version whose training died is passed over; so is what is no version."""
        registry.claim(run_id="died", at=NOW)
        registry.artifacts.create("models/ga4_purchase/7/claim.json", b"{}")
        registry.artifacts.create("models/ga4_purchase/notes.txt", b"")

        assert registry.claim(run_id="next", at=NOW) == 8

    def test_are_not_reused_where_only_their_record_is_left(self, registry):
        """Defect: a version whose objects were deleted was claimed again, and had two
        records; functions went by the first and refused its model."""
        assert registry.claim(run_id="r", at=NOW, recorded=4) == 5
        assert registry.claim(run_id="r", at=NOW, recorded=4) == 6

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
        preprocessor = registry.verified(name, checksum)
        assert isinstance(preprocessor, StandardScaler)

    def test_run_no_code_of_tampered_bytes(self, registry, tmp_path):
        """An uploaded preprocessor is verified like a model."""
        name, checksum = registry.upload_preprocessor(StandardScaler())
        overwrite(registry, name, pickled(Malicious(tmp_path / "was_here")))

        with pytest.raises(ArtifactError):
            registry.verified(name, checksum)

        assert not (tmp_path / "was_here").exists()


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


class TestUnpin:
    def test_needs_something_that_serves(self, registry):
        """Where nothing was promoted it means nothing."""
        with pytest.raises(NoChampion):
            registry.unpin()


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
        leases = []

        def begin(number: int) -> None:
            with contextlib.suppress(RunInProgress):
                leases.append(self.begin(registry, f"r{number}"))

        at_once(begin)

        assert len(leases) == 1

    def test_are_taken_over_when_they_end(self, registry):
        """A run that died blocks until then; if it lives, it publishes nothing.

        Defect: a run that was too slow was told that somebody else had written an
        object, as if there had been an intruder.
        """
        old = self.begin(registry)
        new = self.begin(registry, "two", now=NOW + HOUR)

        registry.check(new)
        too_slow = "taken over: this run was too slow"
        with pytest.raises(Conflict, match=f"{too_slow}, and publishes nothing"):
            registry.check(old)
        with pytest.raises(Conflict, match=too_slow):
            registry.renew(old, now=NOW + HOUR)
        with pytest.raises(Conflict, match=too_slow):
            registry.finish(old, {"by": "old"}, at=NOW + HOUR)
        with pytest.raises(Conflict, match=too_slow):
            registry.release(old, error="late", at=NOW + HOUR)
        registry.check(new)
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

    def test_outlive_a_renewal_whose_answer_was_lost(self, registry):
        """It was written, and the run does not know: the lease is still its own."""

        def renew_unheard() -> None:
            registry.artifacts.replace(
                lease.name,
                lease.running(until=NOW + 2 * HOUR),
                generation=registry.artifacts.read(lease.name).generation,
            )

        lease = self.begin(registry)
        renew_unheard()
        registry.check(lease)
        registry.renew(lease, now=NOW)
        renew_unheard()
        registry.finish(lease, {"by": "one"}, at=NOW)

        assert self.begin(registry, "two").answer == {"by": "one"}
        with pytest.raises(Conflict):
            registry.release(lease, error="late", at=NOW)

    def test_answer_for_a_finished_run(self, registry):
        """The retry of a finished run gets its answer, unless it is to run again."""
        registry.finish(self.begin(registry), {"model_version": 4}, at=NOW)

        finished = self.begin(registry, "two")
        again = self.begin(registry, "three", again=True)

        assert finished == Finished({"model_version": 4}, "one")
        assert isinstance(again, Lease)

    def test_are_free_after_a_failure(self, registry):
        """The next run need not wait for the end of a lease whose run failed."""
        registry.release(self.begin(registry), error="Unavailable", at=NOW)

        assert isinstance(self.begin(registry, "two"), Lease)

    def test_whose_beginning_was_not_answered_are_free(self, registry, monkeypatch):
        """Defect: it had been written, so that each try within five minutes was told
        that a run was under way."""
        replace, unheard = Artifacts.replace, ["lost"]

        def replaced(*arguments, **named):
            generation = replace(*arguments, **named)
            if unheard:
                raise Unavailable(unheard.pop())
            return generation

        monkeypatch.setattr(Artifacts, "replace", replaced)
        with pytest.raises(Unavailable, match="lost"):
            self.begin(registry)

        assert isinstance(self.begin(registry, "two"), Lease)

    def test_that_were_damaged_are_taken(self, registry):
        """A lease that says nothing holds nobody up."""
        overwrite(registry, f"runs/ga4_purchase/train/{AS_OF}.json", b"{}")

        assert isinstance(self.begin(registry), Lease)
