"""
Reading of objects without Google's client, specified against the emulator.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from google.auth.exceptions import GoogleAuthError, RefreshError

from propensity.edges.artifacts import Artifacts
from propensity.edges.objects import UNCHANGED, Objects, Stored
from propensity.errors import (
    AccessDenied,
    ArtifactError,
    Conflict,
    PropensityError,
    Unavailable,
)
from propensity.settings import Settings
from tests.proxy import Proxy


@pytest.fixture
def objects(environment) -> Objects:
    return Objects.open(Settings.from_environment())


def through(proxy: Proxy, environment) -> Objects:
    """A reader behind a proxy."""
    return Objects.open(
        Settings.from_environment({**environment, "STORAGE_EMULATOR_HOST": proxy.url})
    )


class TestObjects:
    def test_reads_what_has_changed_and_no_more(self, artifacts, objects):
        """An object, then nothing while it is the same, then the new one, then none."""
        name = "a folder/ü.json"
        first = artifacts.create(name, b"one")
        assert objects.find_newer(name) == Stored(b"one", first)
        assert objects.find_newer(name, than=first) is UNCHANGED
        artifacts.replace(name, b"two", generation=first)
        assert objects.find_newer(name, than=first).data == b"two"
        artifacts.delete(name)
        assert objects.find_newer(name, than=first) is None

    def test_reads_ranges(self, artifacts, objects):
        """From the first byte on, from any other, and the whole of a large object."""
        data = bytes(range(256)) * 20_000
        artifacts.create("large", data)

        assert objects.read("large", size=len(data)) == data
        assert objects.read("large", size=7, first=300) == data[300:307]

    @pytest.mark.parametrize(("size", "first"), [(1, 3), (4, 0), (2, 2)])
    def test_refuses_bytes_that_are_not_there(self, artifacts, objects, size, first):
        """An object that is shorter than its reader knows is damaged."""
        artifacts.create("short", b"abc")

        with pytest.raises(ArtifactError):
            objects.read("short", size=size, first=first)

    def test_refuses_an_object_that_is_not_there(self, objects):
        """With its address."""
        with pytest.raises(ArtifactError, match="gs://.*/gone does not exist"):
            objects.read("gone", size=1)

    @pytest.mark.parametrize(
        ("status", "error"),
        [
            (403, AccessDenied),
            (401, AccessDenied),
            (503, Unavailable),
            (400, PropensityError),
            (410, PropensityError),
            (412, PropensityError),
            # Without a generation it is not Cloud Storage that answers.
            (200, Unavailable),
        ],
    )
    def test_tells_refusals_from_failures(self, environment, status, error):
        """A missing right has a remedy, an outage passes; all are errors of ours."""
        with Proxy(environment["STORAGE_EMULATOR_HOST"], lambda _: status) as proxy:
            objects = through(proxy, environment)

            with pytest.raises(error) as raised:
                objects.find_newer("any")
            assert type(raised.value) is error

    def test_says_that_there_are_no_credentials(self):
        """An error of Google's library that urllib3 does not know is an outage."""

        class Credentials:
            def request(self, *_, **__):
                raise RefreshError("no metadata server")

        objects = Objects(Credentials(), "b", host="", failures=(GoogleAuthError,))
        with pytest.raises(Unavailable) as caught:
            objects.find_newer("any")

        assert "Storage was not asked" in caught.value.message
        assert "no metadata server" in caught.value.message

    def test_tries_again_what_may_pass(self, artifacts, environment):
        """One 503 is not noticed."""
        artifacts.create("name", b"one")
        with Proxy(
            environment["STORAGE_EMULATOR_HOST"],
            lambda request: None if request.number else 503,
        ) as proxy:
            assert through(proxy, environment).find_newer("name").data == b"one"

    def test_says_that_nobody_answers(self, environment):
        """No server is Unavailable, as an outage is; the message says who was asked."""
        settings = Settings.from_environment(
            {**environment, "STORAGE_EMULATOR_HOST": "http://127.0.0.1:9"}
        )
        objects = Objects.open(settings)
        with pytest.raises(Unavailable) as caught:
            objects.find_newer("any")

        assert "http://127.0.0.1:9 (STORAGE_EMULATOR_HOST)" in caught.value.message


class TestStreamedCreate:
    def test_writes_parts_of_any_size(self, artifacts):
        """More than one piece of an upload, of which one is in memory at a time."""
        parts = [b"x" * 3_000_000, b"", b"y" * 9_000_000, b"z"]
        artifacts.create_from("large", iter(parts))

        assert artifacts.read("large").data == b"".join(parts)

    def test_leaves_no_object_where_a_part_fails(self, artifacts):
        """A builder that fails half-way has written nothing."""

        def parts() -> Iterator[bytes]:
            yield b"x" * 9_000_000
            raise ValueError("half-way")

        with pytest.raises(ValueError, match="half-way"):
            artifacts.create_from("large", parts())
        assert artifacts.find("large") is None

    def test_writes_once(self, artifacts):
        """An object that exists stays as it is."""
        artifacts.create("name", b"one")

        with pytest.raises(Conflict):
            artifacts.create_from("name", [b"two"])
        assert artifacts.read("name").data == b"one"

    @pytest.mark.parametrize(
        ("status", "error"), [(403, AccessDenied), (500, Unavailable)]
    )
    def test_tells_refusals_from_failures(self, environment, status, error):
        """As every other call does."""
        with (
            Proxy(
                environment["STORAGE_EMULATOR_HOST"],
                lambda request: status if "upload" in request.path else None,
            ) as proxy,
            pytest.MonkeyPatch.context() as patch,
        ):
            patch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
            patch.setenv("PROPENSITY_RETRY_DEADLINE_S", "1")
            opened = Artifacts.open(Settings.from_environment())
            with pytest.raises(error):
                opened.create_from("name", [b"one"])
            opened.close()
