"""
The bucket, specified against the emulator: objects written once, read verified, changed
by compare-and-set.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from local.processes import HOST, free_ports
from propensity.errors import (
    AccessDenied,
    ArtifactError,
    Conflict,
    PropensityError,
    Unavailable,
)
from propensity.gcp.artifacts import Artifacts, Stored, sha256
from propensity.settings import Settings
from tests.proxy import Proxy

RACERS = 16


@pytest.fixture
def through(environment) -> Iterator[Callable[..., Artifacts]]:
    """Open the bucket at another address, with a deadline of so many seconds."""
    with contextlib.ExitStack() as stack, pytest.MonkeyPatch.context() as patch:

        def open_through(url: str, deadline_s: int = 5, **changed: Any) -> Artifacts:
            patch.setenv("STORAGE_EMULATOR_HOST", url)
            settings = Settings.from_environment()
            bucket = Artifacts.open(replace(settings, deadline_s=deadline_s, **changed))
            stack.callback(bucket.close)
            return bucket

        yield open_through


class TestCreate:
    def test_writes_once(self, artifacts):
        """A second writer of the same name is told that it lost; the first stays."""
        generation = artifacts.create("a/b.json", b"first")

        with pytest.raises(Conflict, match=r"a/b\.json"):
            artifacts.create("a/b.json", b"second")

        assert artifacts.read("a/b.json") == Stored(b"first", generation)

    def test_knows_its_own_write_again(self, storage_emulator, through):
        """Where the answer to a write is lost, the retry finds its own bytes."""
        lost = []

        def lose_one(request):
            if request.method == "POST" and not lost:
                lost.append(request)
                return Proxy.LOST
            return None

        with Proxy(storage_emulator.url, lose_one) as proxy:
            artifacts = through(proxy.url)
            generation = artifacts.create("lease.json", b"mine")

            assert len(lost) == 1
            assert artifacts.read("lease.json") == Stored(b"mine", generation)


def refusal(permission: str) -> tuple[int, bytes]:
    """Cloud Storage's answer to who lacks a permission."""
    text = (
        f"someone does not have {permission} access to the Google Cloud Storage "
        f"object. Permission '{permission}' denied on resource (or it may not exist)."
    )
    return 403, json.dumps({"error": {"code": 403, "message": text}}).encode()


class TestWhoMayCreateAndNotOverwrite:
    """Cloud Storage takes an overwrite for a deletion."""

    @pytest.fixture
    def taken(self, artifacts) -> int:
        """Generation of an object that is there."""
        return artifacts.create("taken.json", b"first")

    @pytest.fixture
    def narrow(self, storage_emulator, through, taken) -> Iterator[Artifacts]:
        def rule(request):
            if request.method == "POST" and b"taken" in request.body:
                return refusal("storage.objects.delete")
            if request.method == "POST" and b"elsewhere" in request.body:
                return refusal("storage.objects.create")
            return None

        with Proxy(storage_emulator.url, rule) as proxy:
            yield through(proxy.url)

    def test_learns_that_somebody_else_was_first(self, artifacts, narrow):
        """Where there is an object the refusal is a conflict, as with all rights."""
        with pytest.raises(Conflict, match=r"taken\.json"):
            narrow.create("taken.json", b"second")

        assert artifacts.read("taken.json").data == b"first"

    def test_knows_its_own_write_again(self, narrow, taken):
        assert narrow.create("taken.json", b"first") == taken

    def test_is_refused_where_it_is_no_conflict(self, narrow, taken):
        """What may not be created at all, and a pointer that is there."""
        with pytest.raises(AccessDenied, match=r"storage\.objects\.create"):
            narrow.create("elsewhere.json", b"mine")
        with pytest.raises(AccessDenied, match=r"storage\.objects\.delete"):
            narrow.replace("taken.json", b"second", generation=taken)


class TestFiles:
    def test_are_uploaded_once_and_downloaded(self, artifacts, tmp_path):
        """Of any size, also in several pieces."""
        path, copy = tmp_path / "file", tmp_path / "copy"
        path.write_bytes(b"x" * 9_000_000 + b"y")
        artifacts.create_from("large", path)
        artifacts.download("large", copy)

        assert copy.read_bytes() == path.read_bytes()
        with pytest.raises(Conflict):
            artifacts.create_from("large", copy)
        with pytest.raises(ArtifactError, match=r"gs://.*/gone does not exist"):
            artifacts.download("gone", copy)


class TestReplace:
    @pytest.mark.parametrize("generation", [0, 1, 10**15])
    def test_refuses_another_generation(self, artifacts, generation):
        """Absent, older or made up: what is not the newest generation loses."""
        first = artifacts.create("pointer", b"1")
        artifacts.replace("pointer", b"2", generation=first)

        with pytest.raises(Conflict):
            artifacts.replace("pointer", b"3", generation=generation or first)

        assert artifacts.read("pointer").data == b"2"


class TestRead:
    def test_finds_nothing_where_there_is_nothing(self, artifacts):
        """An object that does not exist is None to find, an error to read."""
        assert artifacts.find("nothing") is None
        with pytest.raises(ArtifactError, match="nothing does not exist"):
            artifacts.read("nothing")

    def test_verifies_bytes(self, artifacts):
        """Bytes that are not those recorded are not returned."""
        artifacts.create("model", b"model")

        assert artifacts.read_verified("model", checksum=sha256(b"model")) == b"model"
        with pytest.raises(ArtifactError, match="not what was recorded"):
            artifacts.read_verified("model", checksum=sha256(b"other"))

    def test_refuses_bytes_that_are_damaged(self, artifacts, emulators, environment):
        """Bytes that are not those of their checksum are an error of the artifact."""
        artifacts.create("model", b"model")
        [live] = artifacts.generations("model")
        bucket = emulators.state.folder / "storage" / environment["PROPENSITY_BUCKET"]
        (bucket / "model").write_bytes(b"modem")

        for read in (
            lambda: artifacts.find("model"),
            lambda: artifacts.find("model", generation=live.generation),
        ):
            with pytest.raises(ArtifactError, match="/model are not those of the"):
                read()


class TestFailures:
    def test_name_a_bucket_that_nobody_made(self, storage_emulator, through):
        artifacts = through(storage_emulator.url, bucket="nobody-made-this")

        with pytest.raises(PropensityError, match="nobody-made-this"):
            artifacts.create("a", b"")

    def test_are_retryable_where_nobody_listens(self, through):
        """A closed port is 503 within the deadline, and the message names it."""
        [port] = free_ports(1)
        url = f"http://{HOST}:{port}"
        artifacts = through(url, deadline_s=1)

        with pytest.raises(Unavailable, match=rf"{url} \(STORAGE_EMULATOR_HOST\)"):
            artifacts.find("a")

    @pytest.mark.parametrize(
        ("status", "error"), [(403, AccessDenied), (500, Unavailable)]
    )
    def test_tell_refusals_from_outages(
        self, storage_emulator, through, status, error, tmp_path
    ):
        """Outages are repeated until the deadline; a right is a matter for a person."""
        (tmp_path / "file").write_bytes(b"one")
        with Proxy(storage_emulator.url, lambda _: status) as proxy:
            bucket = through(proxy.url, deadline_s=1)
            for call in (
                lambda: bucket.find("a"),
                lambda: bucket.create_from("a", tmp_path / "file"),
            ):
                with pytest.raises(error):
                    call()

    def test_that_pass_are_not_seen(self, storage_emulator, through):
        """One failure is retried, and the answer is what it would have been."""
        with Proxy(
            storage_emulator.url, lambda request: 503 if request.number == 0 else None
        ) as proxy:
            assert through(proxy.url).find("a") is None
            assert len(proxy.asked) >= 2
