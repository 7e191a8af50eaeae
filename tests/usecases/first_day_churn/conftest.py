"""Sites of players: of every trap, of a generated stream, and an empty one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest

from local.stack.stack import Stack
from propensity.tables import every as tables
from tests.conftest import new_workplace
from tests.deployment import OF_A_STREAM
from tests.emptied import empty_tables
from tests.usecases.first_day_churn.players import (
    GAMES,
    MIDNIGHT,
    Row,
    Stream,
    accepted,
    large_amounts,
    traps,
)


@pytest.fixture(scope="module")
def opened(emulators: Stack) -> Iterator[Callable[[], Stream]]:
    """Open a stream with the tables that the use case's statements read; ``prepare``
    makes the rest."""
    with contextlib.ExitStack() as stack:

        def make() -> Stream:
            stream = Stream(new_workplace(emulators), **OF_A_STREAM)
            stream.extra = {"PROPENSITY_TOPIC_PREFIX": stream.name, **stream.extra}
            stack.callback(stream.close)
            stream.warehouse.create(tables.STREAM_EVENTS)
            stream.warehouse.create(tables.STREAM_FEATURES_DAILY)
            return stream

        yield make


@pytest.fixture(scope="module")
def spare(opened) -> Stream:
    """A stream that tests have one after the other."""
    stream = opened()
    stream.warehouse.create(tables.STREAM_COMPACTIONS)
    return stream


@pytest.fixture
def empty(spare) -> Stream:
    """The same, without a row."""
    stored = (tables.STREAM_EVENTS, tables.STREAM_FEATURES_DAILY)
    empty_tables(spare.warehouse, stored)
    return spare


@pytest.fixture(scope="module")
def trapped(opened) -> Stream:
    """Everybody's events, each as it came."""
    place = opened()
    place.store(
        *(accepted([row], received_at=received) for row, received in traps()),
        accepted(large_amounts(), received_at=MIDNIGHT),
    )
    return place


@pytest.fixture(scope="module")
def features(trapped) -> dict[str, Row]:
    """Everybody's features at the as-of date."""
    return trapped.first_days()


@pytest.fixture(scope="module")
def generated(opened) -> Stream:
    """A small generated stream, all of it stored."""
    place = opened()
    place.add(*GAMES.events(), received_at=MIDNIGHT)
    return place
