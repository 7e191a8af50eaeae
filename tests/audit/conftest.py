"""One world for all sequences, each of which begins with empty tables."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from tests.audit.faults import Faults
from tests.audit.receiver import Receiver
from tests.audit.world import START, World
from tests.support.clocks import ManualClock
from tests.support.deployment import KEY
from tests.support.in_process import InProcess


@pytest.fixture(scope="module", autouse=True)
def one_draw() -> None:
    """A world draws by itself."""


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Iterator[World]:
    """A deployment whose machine has the world's clock, and a receiver."""
    folder = tmp_path_factory.mktemp("use-cases")
    clock = ManualClock(START)
    deployment = InProcess(
        PROPENSITY_GA4_DATASET="analytics_1",
        PROPENSITY_USE_CASES=str(folder),
        PROPENSITY_SUPPRESSION_KEY=KEY,
    )
    with (
        Receiver(clock) as receiver,
        deployment.installed(),
        pytest.MonkeyPatch.context() as patch,
    ):
        clock.install(patch)
        faults = Faults(receiver.url)
        faults.install(patch)
        world = World(deployment, folder, clock, receiver, faults)
        clock.awake = world.stay_awake
        patch.setattr(secrets, "token_hex", world.token)
        yield world
