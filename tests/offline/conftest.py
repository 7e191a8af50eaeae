"""The deployment that the tests of commands work in."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.support.deployment import Deployment
from tests.support.emulated import Emulated


@pytest.fixture(scope="session")
def new_deployment(emulators) -> Iterator[Callable[..., Deployment]]:
    """Make a deployment that nobody else uses, with settings."""
    made: list[Deployment] = []

    def make(**extra: str) -> Deployment:
        made.append(Emulated(emulators, PROPENSITY_GA4_DATASET="", **extra))
        made[-1].prepare()
        return made[-1]

    yield make
    for deployment in made:
        deployment.close()


@pytest.fixture(scope="session")
def prepared(new_deployment) -> Deployment:
    """A deployment that tests of several commands write to, each its own tables."""
    return new_deployment()
