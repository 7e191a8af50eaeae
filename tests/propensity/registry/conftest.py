"""The fixtures of this room."""

from __future__ import annotations

import pytest

from propensity.registry.versions import Registry


@pytest.fixture
def registry(artifacts) -> Registry:
    """The registry of a use case, with nothing in it."""
    return Registry(artifacts, "ga4_purchase")
