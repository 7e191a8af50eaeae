"""A site of stream_features with postcodes, and an instance that takes its events."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from propensity.tables import every as tables
from tests.functions.instances import Instance
from tests.functions.streaming import Site, new_site
from tests.rows import append_rows

POSTCODES = {"AB101AB": (6.0, False), "AB10": (4.5, True)}


def load_postcodes(site: Site) -> None:
    """Fill the postcode table."""
    today = datetime.now(UTC).date()
    rows = [
        {
            "postcode": code,
            "socioeconomic_idx": index,
            "is_outward": is_outward,
            "loaded_on": today,
        }
        for code, (index, is_outward) in POSTCODES.items()
    ]
    append_rows(site.warehouse, tables.POSTCODE_INDEX, rows)


@pytest.fixture(scope="module")
def site(emulators) -> Iterator[Site]:
    """Tables and topics of these tests; each has users of its own."""
    with new_site(emulators) as site:
        load_postcodes(site)
        yield site


@pytest.fixture(scope="module")
def instance(site, tmp_path_factory) -> Iterator[Instance]:
    """The function as it is deployed."""
    home = tmp_path_factory.mktemp("stream_features")
    with Instance("stream_features", site.environment, home) as started:
        yield started


@pytest.fixture
def user() -> str:
    """A user of one test alone."""
    return f"user-{uuid.uuid4().hex[:8]}"


def stored(site: Site, user: str, table: str = "stream_events") -> list[dict[str, Any]]:
    """Return the rows of a user, in the order that they were received."""
    return site.rows(
        f"SELECT * FROM {table} WHERE user_id = @user ORDER BY received_at", user=user
    )


def buried(site: Site, message_id: str) -> list[dict[str, Any]]:
    """Return the dead letters of a message."""
    return site.rows("SELECT * FROM dead_letters WHERE message_id = @id", id=message_id)
