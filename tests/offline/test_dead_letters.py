"""Dead letters, specified: back to where they failed, and gone only then."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pyarrow as pa
import pytest

from commands.cli import main
from offline import dead_letters
from offline.dead_letters import SUBSCRIPTION
from offline.doctor import checks
from offline.doctor.checks import Examination
from propensity.settings import DEAD_LETTERS, ENRICHED, EVENTS
from propensity.streaming.events import dead_letters as stream
from propensity.streaming.events import rows as accepting
from propensity.streaming.events.messages import Message
from propensity.tables import stream as tables
from tests.offline.letters import bury, create, receive, subscription
from tests.support.deployment import Deployment, entered
from tests.support.events import DEPLOYED

NOW = datetime.now(UTC)
EVER = ("--from", "2020-01-01", "--to", "2030-01-01")


@pytest.fixture
def deployment(emulated, monkeypatch) -> Iterator[Deployment]:
    """Topics of the test's own, each with a subscription to read it by."""
    monkeypatch.setattr(dead_letters, "PULL_S", 2.0)
    deployment = emulated
    deployment.extra = {"PROPENSITY_TOPIC_PREFIX": deployment.name}
    for topic in (EVENTS, ENRICHED, DEAD_LETTERS):
        create(deployment, topic)
    with entered(deployment.environment):
        yield deployment


@pytest.fixture
def stored(deployment) -> None:
    """Messages that were refused and are stored, one of them twice."""
    sent = [
        Message(b'{"user_id":1}', "m-1", {"event_id": "e-1", "use_case": "x"}),
        Message(b'{"amount":1.10}', "m-2", {}, "2026-11-20T11:59:59.123456789Z"),
        Message(b"{}", "m-3", {}),
        Message(b"\xff\x00", "m-4", {}),
    ]
    refused = accepting.accept(sent, DEPLOYED, None, received_at=NOW).refused
    deployment.warehouse.create(tables.DEAD_LETTERS)
    for chosen in (refused, {0: refused[0]}):
        rows = stream.dead_letters(sent, chosen, received_at=NOW, kinds=DEPLOYED.kinds)
        deployment.warehouse.write(tables.DEAD_LETTERS, pa.Table.from_batches([rows]))


def replay(*options: str) -> int:
    return main(["dead-letters", "replay", *options])


def test_failed_messages_go_back_to_where_they_failed(deployment, capsys):
    """As they were, less what Pub/Sub added, each to its topic; then they are gone from
    the subscription. Of a subscription of somebody else's nobody knows where they
    belong: they stay. On a dry run they are counted alone."""
    event = {"event_id": "e-1", "use_case": "first_day_churn"}
    at_events = f"{deployment.name}-events-stream-features"
    bury(deployment, b'{"a":1}', failed_at=at_events, **event)
    bury(deployment, b"broken", failed_at=at_events)
    at_scores = f"{deployment.name}-enriched-score-stream"
    bury(deployment, b'{"event_id":"e-2"}', failed_at=at_scores)
    bury(deployment, b"by hand")
    bury(deployment, b"theirs", failed_at="somebody-s")
    for how in (["--dry-run"], []):
        assert replay(*how) == 1
        printed = capsys.readouterr().out
        assert f"{deployment.name}-events 3" in printed
        assert "unknown subscription somebody-s" in printed

    by_data = dict(receive(deployment, EVENTS, 3))
    assert by_data.pop(b'{"a":1}') == event
    assert by_data.pop(b"broken").keys() == {"event_id"}
    assert by_data.pop(b"by hand").keys() == {"event_id"}
    assert by_data == {}
    assert receive(deployment, ENRICHED, 1) == [(b'{"event_id":"e-2"}', {})]
    assert [data for data, _ in receive(deployment, SUBSCRIPTION, 1)] == [b"theirs"]


def test_failed_messages_are_kept_until_published(deployment, capsys):
    """Where nothing can be published nothing is acknowledged; all of it is there for
    the next time."""
    bury(deployment, b"1")
    bury(deployment, b"2")
    topic = deployment.path(deployment.topic(EVENTS))
    deployment.publisher.delete_topic(topic=topic)

    assert replay() == 1
    assert "events" in capsys.readouterr().err
    deployment.subscriber.delete_subscription(
        subscription=subscription(deployment, EVENTS)
    )
    create(deployment, EVENTS)
    assert replay() == 0
    assert {data for data, _ in receive(deployment, EVENTS, 2)} == {b"1", b"2"}


def test_refused_messages_come_back_as_they_were(deployment, stored, capsys):
    """Payload and attributes, byte for byte, each once, of those that were received
    in a period; a dry run sends none. What had no identity but its message id has
    that one still. What was not kept is not sent, and said. They are counted, each
    once, beside those that wait in the subscription, until they are sent."""
    assert replay("--refused", "--from", "2020-01-01", "--to", "2020-01-02") == 0
    assert replay("--refused", *EVER, "--dry-run") == 1
    bury(deployment, b"1")
    before = dead_letters.letters(deployment.settings, now=NOW)
    capsys.readouterr()
    status = replay("--refused", *EVER)

    messages = []
    for data, attributes in receive(deployment, EVENTS, 3):
        messages.append((data, sorted(attributes.items())))
    assert sorted(messages) == [
        (b'{"amount":1.10}', [("event_id", "m-2")]),
        (b'{"user_id":1}', [("event_id", "e-1"), ("use_case", "x")]),
        (b"{}", [("event_id", "m-3")]),
    ]
    assert status == 1
    assert "its payload was not kept 1" in capsys.readouterr().out
    assert before["refused"]["wrong_encoding"] == 1
    assert sum(before["refused"].values()) == 4
    assert before["waiting"] == 1


def test_the_doctors_advice_about_refused_messages_ends_its_finding(deployment, stored):
    """Otherwise who does as it says is told the same for a week, and sends twice."""
    exam = Examination(
        settings=deployment.settings,
        warehouse=deployment.warehouse,
        artifacts=deployment.artifacts,
        now=NOW,
        use_cases=[],
    )
    [finding] = checks.check_dead_letters(exam)
    _, line, _ = finding.advice.split("`")
    main(line.split()[1:])

    assert [*checks.check_dead_letters(exam)] == []
    assert len(receive(deployment, EVENTS, 3)) == 3
