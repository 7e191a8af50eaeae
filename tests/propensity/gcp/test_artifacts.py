"""
The bucket, specified against the emulator: objects written once, read verified, changed
by compare-and-set.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from propensity.errors import (
    AccessDenied,
    Conflict,
)
from propensity.gcp.artifacts import Artifacts, Stored
from tests.support.proxy import Proxy


@pytest.fixture
def artifacts(emulated) -> Artifacts:
    return emulated.artifacts


@pytest.fixture
def through(emulated) -> Iterator[Callable[..., Artifacts]]:
    """Open the bucket behind a proxy with a rule."""
    with contextlib.ExitStack() as stack, pytest.MonkeyPatch.context() as patch:

        def open_through(rule: Callable[..., object]) -> Artifacts:
            proxy = stack.enter_context(Proxy(emulated.stack.url("storage"), rule))
            patch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
            settings = replace(emulated.settings, deadline_s=20)
            return stack.enter_context(contextlib.closing(Artifacts.open(settings)))

        yield open_through


class TestCreate:
    def test_a_create_knows_its_own_write_again(self, through):
        """Where the answer to a write is lost, the retry finds its own bytes."""
        lost = []

        def lose_one(request):
            if request.method == "POST" and not lost:
                lost.append(request)
                return Proxy.LOST
            return None

        artifacts = through(lose_one)
        generation = artifacts.create("lease.json", b"mine")

        assert len(lost) == 1
        assert artifacts.read("lease.json") == Stored(b"mine", generation)

    def test_a_create_needs_no_right_to_overwrite(self, artifacts, through):
        """Cloud Storage takes an overwrite for a deletion: where there is an object the
        refusal is a conflict, as with all rights, or the writer's own bytes."""

        def refuse(request):
            lacks = "delete" if b"taken" in request.body else "create"
            text = f"someone does not have storage.objects.{lacks} access"
            answer = json.dumps({"error": {"code": 403, "message": text}}).encode()
            return (403, answer) if request.method == "POST" else None

        artifacts.create("taken.json", b"first")
        taken = artifacts.read("taken.json")
        narrow = through(refuse)

        assert narrow.create("taken.json", b"first") == taken.generation
        with pytest.raises(Conflict, match=r"taken\.json"):
            narrow.create("taken.json", b"second")
        with pytest.raises(AccessDenied, match=r"storage\.objects\.delete"):
            narrow.replace("taken.json", b"second", taken)
        with pytest.raises(AccessDenied, match=r"storage\.objects\.create"):
            narrow.create("elsewhere.json", b"mine")
