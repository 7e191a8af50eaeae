"""The deployment that the tests of commands work in."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.deployment import Deployment


@pytest.fixture(scope="session")
def new_deployment() -> Callable[..., Deployment]:
    """Make a deployment that nobody else uses, with all tables, and settings."""

    def make(**extra: str) -> Deployment:
        deployment = Deployment(PROPENSITY_GA4_DATASET="", **extra)
        deployment.prepare()
        return deployment

    return make


@pytest.fixture(scope="session")
def prepared(new_deployment) -> Deployment:
    """A deployment that tests of several commands write to, each its own tables."""
    return new_deployment()
