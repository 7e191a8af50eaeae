"""A dataset with an empty table of scores, and rows for it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from propensity.gcp.warehouse import Warehouse
from propensity.settings import Settings
from tests.propensity.gcp.staging import SCORES


@pytest.fixture(scope="module")
def settings(module_workplace) -> Settings:
    """The settings of the workplace of one module."""
    return Settings.from_environment(module_workplace.environment)


@pytest.fixture(scope="module")
def warehouse(settings) -> Iterator[Warehouse]:
    """A dataset with an empty table of scores."""
    opened = Warehouse.open(settings)
    opened.create(SCORES)
    yield opened
    opened.close()


@pytest.fixture
def opened(settings) -> Iterator[Callable[..., Warehouse]]:
    """Open the dataset with some settings changed, until the test ends."""
    with contextlib.ExitStack() as stack:

        def open_with(**changed: object) -> Warehouse:
            changed_warehouse = Warehouse.open(replace(settings, **changed))
            stack.callback(changed_warehouse.close)
            return changed_warehouse

        yield open_with
