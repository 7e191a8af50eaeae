"""Tests that are coroutines, each in an event loop of its own; an empty registry."""

from __future__ import annotations

import asyncio
import inspect

import pytest

from propensity.gcp.artifacts import Artifacts
from propensity.registry.versions import Registry


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine; None leaves a function to pytest."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


@pytest.fixture
def artifacts(deployment) -> Artifacts:
    """A bucket with nothing in it."""
    return deployment.artifacts


@pytest.fixture
def registry(deployment) -> Registry:
    """The registry of a use case, with nothing in it."""
    return deployment.registry
