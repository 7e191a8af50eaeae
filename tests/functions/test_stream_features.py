"""stream_features over HTTP: what is pushed, stored, refused and published on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from local.generators.games import FAULTS, Games
from local.generators.streams import encode
from propensity.errors import Unavailable
from propensity.streaming.events.dead_letters import redacted
from propensity.tables.stream import (
    DEAD_LETTERS,
    POSTCODE_INDEX,
    STREAM_EVENTS,
    TRUTH_EVENTS,
)
from tests.functions.instances import Served, failing, serving
from tests.functions.streaming import a_site, eventually, streamed_features
from tests.support.deployment import Deployment
from tests.support.events import CATALOGUE, bet, registration, truth
from tests.support.rows import append_rows

PUBLISHED_AT = datetime(2026, 7, 1, 12, 0, 1, 234_000, UTC)


@pytest.fixture(scope="module")
def site() -> Deployment:
    """Tables and topics of these tests; each has users of its own."""
    site = a_site()
    code = {"postcode": "AB101AB", "socioeconomic_idx": 6.0, "is_outward": False}
    row = code | {"loaded_on": datetime.now(UTC).date()}
    append_rows(site.warehouse, POSTCODE_INDEX, [row])
    return site


@pytest.fixture(scope="module")
def stream(site) -> Iterator[Served]:
    with serving("stream_features", site.environment) as function:
        yield function


def letters_of(site: Deployment, message_id: str) -> list[dict[str, Any]]:
    return site.rows("SELECT * FROM dead_letters WHERE message_id = @id", id=message_id)


@pytest.mark.parametrize("name", FAULTS)
def test_what_can_never_be_an_event_is_a_dead_letter(site, stream, name):
    """Stored as it came, but for what it says of a person, with the reason, and
    acknowledged."""
    event = [*Games(users=3).events()][-1]
    broken = FAULTS[name](event)
    data = broken if isinstance(broken, bytes) else encode(broken)
    answer = stream.post(data, message_id=f"broken {name}")

    body = answer.json()
    [letter] = letters_of(site, f"broken {name}")
    assert answer.status_code == 200
    assert (body["outcome"], body["reason"]) == ("dead_letter", name)
    assert (letter["reason"], letter["field"]) == (name, body["field"])
    kept = None if name == "too_large" else redacted(data, CATALOGUE.kinds)
    assert letter["raw"] == kept
    assert letter["raw_size"] == len(data)
    assert letter["published_at"] == PUBLISHED_AT


def test_an_event_is_published_with_the_enrichment(site, stream, user):
    """Consumers get the event as it came, with index, age, id and use case."""
    event = registration(user_id=user, event_id=..., use_case=..., extra={"a": [1]})
    with site.pulled("enriched") as pull:
        stream.post(event, message_id=f"message of {user}")
        [message] = pull(1)

    own = {"event_id": f"message of {user}", "use_case": "first_day_churn"}
    added = {**own, "socioeconomic_idx": 6.0, "age": 35}
    assert json.loads(message.data) == event | added
    assert dict(message.attributes) == own | {"event_type": "new_registration"}


@pytest.mark.parametrize(
    ("event", "table"),
    [
        (bet(), STREAM_EVENTS),
        (truth(), TRUTH_EVENTS),
        (bet(event_type="unheard_of"), DEAD_LETTERS),
    ],
    ids=["event", "truth", "dead letter"],
)
def test_an_instance_acknowledges_nothing_that_is_not_stored(
    site, stream, user, event, table
):
    """While its table takes no rows it comes again; a dead letter does, too."""
    name = "transaction_id" if "transaction_id" in event else "user_id"
    event = event | {name: user}
    with failing(table, Unavailable("injected")):
        refused = stream.post(event, message_id=user)
    again = stream.post(event, message_id=user)

    assert (refused.status_code, refused.json()["retryable"]) == (503, True)
    assert again.status_code == 200
    key = {TRUTH_EVENTS: "event_id", DEAD_LETTERS: "message_id"}.get(table, "user_id")
    stored = site.rows(f"SELECT * FROM {table.stored} WHERE {key} = @user", user=user)
    assert len(stored) == 1


def test_an_instance_acknowledges_nothing_that_is_not_published(site, stream, user):
    """Without its topic an event is stored, but not done with until it is there."""
    topic = site.topic("enriched")
    site.ground.topics.delete(topic)
    try:
        refused = stream.post(bet(user_id=user))
    finally:
        site.create_topic(topic)
    with site.pulled("enriched") as pull:
        eventually(
            lambda: stream.post(bet(user_id=user)).status_code == 200, "it is there"
        )
        [message] = pull(1)

    assert (refused.status_code, refused.json()["error"]) == (500, "missing_table")
    assert json.loads(message.data)["user_id"] == user
    assert streamed_features(site)[user]["bet_count"] == 1
