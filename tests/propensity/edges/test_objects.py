"""
Reading of objects without Google's client, specified against the emulator.
"""

from __future__ import annotations

import pytest
from google.auth.exceptions import GoogleAuthError, RefreshError

from propensity.edges.objects import UNCHANGED, Objects, Stored
from propensity.errors import (
    AccessDenied,
    ArtifactError,
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
