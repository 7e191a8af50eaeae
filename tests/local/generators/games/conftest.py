"""
Generated streams: a small one, which most tests read, and the full one, which is read
for what is said of rates and learning.
"""

from __future__ import annotations

import pytest

from local.generators.delivery import Delivery
from local.generators.games.games import Games
from local.generators.games.messages import Event
from tests.local.generators.games.players import by_user, small


@pytest.fixture(scope="module")
def games() -> Games:
    return small()


@pytest.fixture(scope="module")
def events(games) -> list[Event]:
    return list(games.events())


@pytest.fixture(scope="module")
def full() -> Games:
    return Games()


@pytest.fixture(scope="module")
def stream(full) -> list[Event]:
    """Every event of the full stream."""
    return list(full.events())


@pytest.fixture(scope="module")
def players(stream) -> dict[str, list[Event]]:
    """The full stream, user by user."""
    return by_user(stream)


@pytest.fixture(scope="module")
def registrations(players) -> list[Event]:
    return [events[0] for events in players.values()]


@pytest.fixture(scope="module")
def sent(games) -> list[Delivery]:
    return games.deliveries()
