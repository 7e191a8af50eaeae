"""
The edge to Cloud Storage, specified against the emulator: written once, read verified,
changed by compare-and-set.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from google.auth.exceptions import RefreshError

from local.processes import HOST, free_ports
from propensity.errors import (
    AccessDenied,
    ArtifactError,
    Conflict,
    PropensityError,
    Unavailable,
)
from propensity.gcp.artifacts import UNCHANGED, Artifacts, Stored, sha256
from propensity.settings import Settings
from tests.proxy import Proxy

RACERS = 16


@pytest.fixture
def opened(environment, monkeypatch) -> Iterator[Callable[..., Artifacts]]:
    """Open the bucket with some settings changed, until the test ends."""
    with contextlib.ExitStack() as stack:

        def open_with(**changed: str) -> Artifacts:
            for name, value in changed.items():
                monkeypatch.setenv(name, value)
            bucket = Artifacts.open(Settings.from_environment())
            stack.callback(bucket.close)
            return bucket

        yield open_with


@pytest.fixture
def artifacts(opened) -> Artifacts:
    """The bucket."""
    return opened()


@pytest.fixture
def through(opened):
    """Open the bucket through a proxy, with a deadline of so many seconds."""

    def open_through(proxy: Proxy, deadline_s: int = 5) -> Artifacts:
        return opened(
            STORAGE_EMULATOR_HOST=proxy.url,
            PROPENSITY_DEADLINE_S=str(deadline_s),
        )

    return open_through


class TestCreate:
    def test_writes_once(self, artifacts):
        """A second writer of the same name is told that it lost; the first stays."""
        generation = artifacts.create("a/b.json", b"first")

        with pytest.raises(Conflict, match="a/b.json"):
            artifacts.create("a/b.json", b"second")

        assert artifacts.read("a/b.json") == Stored(b"first", generation)

    def test_lets_one_of_many_win(self, artifacts):
        """Of racing writers exactly one creates the object."""
        barrier = threading.Barrier(RACERS)

        def write(number: int) -> int | None:
            barrier.wait()
            try:
                artifacts.create("race", str(number).encode())
            except Conflict:
                return None
            return number

        with ThreadPoolExecutor(RACERS) as pool:
            [winner] = [
                number
                for number in pool.map(write, range(RACERS))
                if number is not None
            ]

        assert artifacts.read("race").data == str(winner).encode()

    def test_knows_its_own_write_again(self, storage_emulator, through):
        """Where the answer to a write is lost, the retry finds its own bytes."""
        lost = []

        def lose_one(request):
            if request.method == "POST" and not lost:
                lost.append(request)
                return Proxy.LOST
            return None

        with Proxy(storage_emulator.url, lose_one) as proxy:
            artifacts = through(proxy)
            generation = artifacts.create("lease.json", b"mine")

            assert len(lost) == 1
            assert artifacts.read("lease.json") == Stored(b"mine", generation)


class TestCreateOnly:
    """With the right to create objects, without that to overwrite, and perhaps read."""

    @staticmethod
    def refusing(may_read: bool):
        """Answer as Cloud Storage does: an overwrite takes the right to delete."""

        def rule(request):
            if request.method == "GET" and not may_read:
                return refusal("storage.objects.get")
            if request.method == "POST" and b"taken" in request.body:
                return refusal("storage.objects.delete")
            if request.method == "POST" and b"elsewhere" in request.body:
                return refusal("storage.objects.create")
            return None

        return rule

    def test_learns_that_somebody_else_was_first(
        self, artifacts, storage_emulator, through
    ):
        """Where there is an object the refusal is a conflict, as with all rights."""
        artifacts.create("taken.json", b"first")

        with (
            Proxy(storage_emulator.url, self.refusing(may_read=True)) as proxy,
            pytest.raises(Conflict, match="taken.json"),
        ):
            through(proxy).create("taken.json", b"second")

        assert artifacts.read("taken.json").data == b"first"

    def test_knows_its_own_write_again(self, artifacts, storage_emulator, through):
        """Who may read finds the bytes that were written, and has succeeded."""
        generation = artifacts.create("taken.json", b"mine")

        with Proxy(storage_emulator.url, self.refusing(may_read=True)) as proxy:
            assert through(proxy).create("taken.json", b"mine") == generation

    @pytest.mark.parametrize(
        ("name", "may_read"),
        [("taken.json", True), ("elsewhere.json", True), ("elsewhere.json", False)],
    )
    def test_is_refused_where_there_is_no_object(
        self, artifacts, storage_emulator, through, name, may_read
    ):
        """What may not be created at all is no conflict: the refusal is told."""
        with (
            Proxy(storage_emulator.url, self.refusing(may_read)) as proxy,
            pytest.raises(PropensityError, match="refuses") as raised,
        ):
            through(proxy).create(name, b"mine")

        assert not isinstance(raised.value, Conflict)
        assert artifacts.find(name) is None

    def test_is_refused_to_replace(self, artifacts, storage_emulator, through):
        """A pointer that is there is overwritten by who may, or the refusal is told."""
        first = artifacts.create("taken.json", b"first")

        with (
            Proxy(storage_emulator.url, self.refusing(may_read=True)) as proxy,
            pytest.raises(PropensityError, match=r"storage\.objects\.delete") as raised,
        ):
            through(proxy).replace("taken.json", b"second", generation=first)

        assert not isinstance(raised.value, Conflict)


def refusal(permission: str) -> tuple[int, bytes]:
    """Cloud Storage's answer to who lacks a permission."""
    text = (
        f"someone does not have {permission} access to the Google Cloud Storage "
        f"object. Permission '{permission}' denied on resource (or it may not exist)."
    )
    return 403, json.dumps({"error": {"code": 403, "message": text}}).encode()


class TestFiles:
    def test_are_uploaded_and_downloaded(self, artifacts, tmp_path):
        """Of any size, also in several pieces."""
        path, copy = tmp_path / "file", tmp_path / "copy"
        path.write_bytes(b"x" * 9_000_000 + b"y")
        artifacts.create_from("large", path)
        artifacts.download("large", copy)

        assert copy.read_bytes() == path.read_bytes()

    def test_are_written_once(self, artifacts, tmp_path):
        """An object that exists stays as it is."""
        artifacts.create("name", b"one")
        (tmp_path / "file").write_bytes(b"two")

        with pytest.raises(Conflict):
            artifacts.create_from("name", tmp_path / "file")
        assert artifacts.read("name").data == b"one"

    def test_that_are_not_there_are_an_error(self, artifacts, tmp_path):
        """With the address."""
        with pytest.raises(ArtifactError, match="gs://.*/gone does not exist"):
            artifacts.download("gone", tmp_path / "file")

    @pytest.mark.parametrize(
        ("status", "error"), [(403, AccessDenied), (500, Unavailable)]
    )
    def test_tell_refusals_from_failures(
        self, storage_emulator, through, status, error, tmp_path
    ):
        """As every other call does."""
        (tmp_path / "file").write_bytes(b"one")
        with Proxy(
            storage_emulator.url,
            lambda request: status if "upload" in request.path else None,
        ) as proxy:
            bucket = through(proxy, deadline_s=1)
            with pytest.raises(error):
                bucket.create_from("name", tmp_path / "file")


class TestReplace:
    def test_loses_no_update(self, artifacts):
        """Writers that each add one to a list, again when they lost, are all in it."""
        artifacts.create("counter", b"[]")

        def add(number: int) -> None:
            while True:
                stored = artifacts.read("counter")
                more = json.dumps([*json.loads(stored.data), number]).encode()
                try:
                    artifacts.replace("counter", more, generation=stored.generation)
                except Conflict:
                    continue
                return

        with ThreadPoolExecutor(RACERS) as pool:
            list(pool.map(add, range(RACERS)))

        assert len(json.loads(artifacts.read("counter").data)) == RACERS

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

    def test_reads_what_has_changed(self, storage_emulator, through):
        """Who knows the newest generation gets no bytes; an older one, or none, gets
        the object; where it is gone, that is told."""
        with Proxy(storage_emulator.url) as proxy:
            artifacts = through(proxy)
            first = artifacts.create("pointer", b"1")
            assert artifacts.find_newer("pointer", than=0) == Stored(b"1", first)
            assert artifacts.find_newer("pointer", than=first) is UNCHANGED
            assert f"ifGenerationNotMatch={first}" in proxy.asked[-1].path
            second = artifacts.replace("pointer", b"2", generation=first)
            assert artifacts.find_newer("pointer", than=first) == Stored(b"2", second)
            artifacts.delete("pointer")

            assert artifacts.find_newer("pointer", than=second) is None
            assert artifacts.find_newer("pointer", than=0) is None

    def test_verifies_bytes(self, artifacts):
        """Bytes that are not those recorded are not returned."""
        artifacts.create("model", b"model")

        assert artifacts.read_verified("model", checksum=sha256(b"model")) == b"model"
        with pytest.raises(ArtifactError, match="not what was recorded"):
            artifacts.read_verified("model", checksum=sha256(b"other"))

    def test_refuses_bytes_that_are_damaged(self, artifacts, emulators, environment):
        """However they are read, bytes that are not those of their checksum are an
        error of the artifact."""
        generation = artifacts.create("model", b"model")
        [live] = artifacts.generations("model")
        bucket = emulators.state.folder / "storage" / environment["PROPENSITY_BUCKET"]
        (bucket / "model").write_bytes(b"modem")

        for read in (
            lambda: artifacts.find("model"),
            lambda: artifacts.read("model"),
            lambda: artifacts.find_newer("model", than=generation - 1),
            lambda: artifacts.read_verified("model", checksum=sha256(b"model")),
            lambda: artifacts.read_generation(live),
        ):
            with pytest.raises(
                ArtifactError, match="/model are not those of the check"
            ):
                read()

    def test_lists_names_under_a_prefix(self, artifacts):
        """Names come sorted, and those of the prefix only."""
        for name in ("m/2/x", "m/10/x", "n/1"):
            artifacts.create(name, b"")

        assert artifacts.names("m/") == ["m/10/x", "m/2/x"]
        assert artifacts.uri("n/1").endswith("/n/1")


class TestFailures:
    def test_say_that_the_bucket_is_missing(self, opened):
        """A bucket that nobody made is named."""
        artifacts = opened(PROPENSITY_BUCKET="nobody-made-this")

        with pytest.raises(PropensityError, match="nobody-made-this"):
            artifacts.create("a", b"")

    def test_are_retryable_where_nobody_listens(self, opened):
        """A closed port is 503 within the deadline, and the message names it."""
        [port] = free_ports(1)
        artifacts = opened(
            STORAGE_EMULATOR_HOST=f"http://{HOST}:{port}",
            PROPENSITY_DEADLINE_S="1",
        )

        with pytest.raises(Unavailable) as caught:
            artifacts.find("a")

        assert (
            f"Nothing listens at http://{HOST}:{port} (STORAGE_EMULATOR_HOST)"
            in caught.value.message
        )

    @pytest.mark.parametrize("status", [500, 503])
    def test_are_retryable_while_the_service_fails(
        self, storage_emulator, through, status
    ):
        """Tried until the deadline, then 503: the caller may try again. A service that
        is down has not said that nothing changed."""
        with Proxy(storage_emulator.url, lambda _: status) as proxy:
            artifacts = through(proxy, deadline_s=1)

            with pytest.raises(Unavailable):
                artifacts.find_newer("a", than=1)

            assert proxy.asked

    def test_of_the_account_are_retryable(self, opened, monkeypatch):
        """While the metadata server fails there is no token; a retry may get one."""
        artifacts = opened()

        def refresh(*_: object, **__: object) -> None:
            raise RefreshError("no metadata server")

        monkeypatch.setattr(artifacts._bucket.client._http, "request", refresh)

        with pytest.raises(Unavailable, match="Cloud Storage was not asked"):
            artifacts.find("a")

    def test_of_permission_are_not_retryable(self, storage_emulator, through):
        """403 is a matter for a person."""
        with (
            Proxy(
                storage_emulator.url, lambda request: 403 if request.number else 503
            ) as proxy,
            pytest.raises(PropensityError, match="refuses") as caught,
        ):
            through(proxy).find("a")

        assert caught.value.retryable is False

    def test_that_pass_are_not_seen(self, storage_emulator, through):
        """One failure is retried, and the answer is what it would have been."""
        with Proxy(
            storage_emulator.url, lambda request: 503 if request.number == 0 else None
        ) as proxy:
            assert through(proxy).find("a") is None
            assert len(proxy.asked) >= 2
