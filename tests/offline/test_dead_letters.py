"""Dead letters, specified: back to where they failed, and gone only then."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from google.api_core.exceptions import DeadlineExceeded

from commands.cli import main
from offline import dead_letters
from offline.dead_letters import ORIGIN, SUBSCRIPTION
from propensity.events import dead_letters as stream
from propensity.events import rows as accepting
from propensity.events.messages import Message
from propensity.settings import DEAD_LETTERS, ENRICHED, EVENTS
from propensity.tables import stream as tables
from tests.support.deployment import Deployment, entered
from tests.support.events import DEPLOYED

NOW = datetime.now(UTC)
EVER = ("--from", "2020-01-01", "--to", "2030-01-01")


def subscription(deployment: Deployment, name: str) -> str:
    return f"projects/{deployment.project}/subscriptions/{deployment.topic(name)}"


def create(deployment: Deployment, topic: str) -> None:
    deployment.create_topic(deployment.topic(topic))
    name = SUBSCRIPTION if topic == DEAD_LETTERS else topic
    deployment.subscriber.create_subscription(
        name=subscription(deployment, name),
        topic=deployment.path(deployment.topic(topic)),
    )


def bury(
    deployment: Deployment, data: bytes, *, failed_at: str = "", **own: str
) -> None:
    """Publish a dead letter, as Pub/Sub does for a subscription."""
    added = {ORIGIN: failed_at, f"{dead_letters.ADDED}SourceDeliveryCount": "5"}
    attributes = {**own, **(added if failed_at else {})}
    topic = deployment.topic(DEAD_LETTERS)
    deployment.publish(topic, [{"data": data, "attributes": attributes}])


def receive(
    deployment: Deployment, name: str, count: int
) -> list[tuple[bytes, dict[str, str]]]:
    """So many messages or, where they do not come, fewer; and no more follow."""
    found: dict[str, tuple[bytes, dict[str, str]]] = {}
    while pulled := come(deployment, name, within=10.0 if len(found) < count else 1.2):
        for one in pulled:
            message = one.message
            found[message.message_id] = (message.data, dict(message.attributes))
    return list(found.values())


def come(deployment: Deployment, name: str, *, within: float) -> list[Any]:
    """Pull, and acknowledge nothing."""
    with contextlib.suppress(DeadlineExceeded):
        answer = deployment.subscriber.pull(
            subscription=subscription(deployment, name),
            max_messages=1000,
            retry=None,
            timeout=within,
        )
        return list(answer.received_messages)
    return []


@pytest.fixture
def deployment(deployment, monkeypatch) -> Iterator[Deployment]:
    """Topics of the test's own, each with a subscription to read it by."""
    monkeypatch.setattr(dead_letters, "PULL_S", 2.0)
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


class TestFailedTooOften:
    def test_failed_messages_go_back_to_where_they_failed(self, deployment, capsys):
        """As they were, less what Pub/Sub added, each to its topic; then they are
        gone from the subscription."""
        event = {"event_id": "e-1", "use_case": "first_day_churn"}
        at_events = f"{deployment.name}-events-stream-features"
        bury(deployment, b'{"a":1}', failed_at=at_events, **event)
        bury(deployment, b"broken", failed_at=at_events)
        at_scores = f"{deployment.name}-enriched-score-stream"
        bury(deployment, b'{"event_id":"e-2"}', failed_at=at_scores)
        bury(deployment, b"by hand")
        assert replay() == 0

        by_data = dict(receive(deployment, EVENTS, 3))
        assert by_data.pop(b'{"a":1}') == event
        assert by_data.pop(b"broken").keys() == {"event_id"}
        assert by_data.pop(b"by hand").keys() == {"event_id"}
        assert by_data == {}
        assert receive(deployment, ENRICHED, 1) == [(b'{"event_id":"e-2"}', {})]
        assert receive(deployment, SUBSCRIPTION, 0) == []
        assert f"{deployment.name}-events 3" in capsys.readouterr().out

    def test_failed_messages_are_kept_until_published(self, deployment, capsys):
        """Where nothing can be published nothing is acknowledged; all of it is there
        for the next time."""
        bury(deployment, b"1")
        bury(deployment, b"2")
        deployment.publisher.delete_topic(
            topic=deployment.path(deployment.topic(EVENTS))
        )

        assert replay() == 1
        assert "events" in capsys.readouterr().err
        deployment.subscriber.delete_subscription(
            subscription=subscription(deployment, EVENTS)
        )
        create(deployment, EVENTS)
        assert replay() == 0
        assert {data for data, _ in receive(deployment, EVENTS, 2)} == {b"1", b"2"}

    def test_failed_messages_of_another_subscription_stay(self, deployment, capsys):
        """Nobody knows where they belong."""
        bury(deployment, b"mine", failed_at="somebody-s")

        assert replay() == 1
        assert "unknown subscription somebody-s" in capsys.readouterr().out
        assert [data for data, _ in receive(deployment, SUBSCRIPTION, 1)] == [b"mine"]

    def test_failed_messages_are_counted_on_a_dry_run(self, deployment, capsys):
        """None is sent and none acknowledged."""
        bury(deployment, b"1")

        assert replay("--dry-run") == 0
        assert "events 1" in capsys.readouterr().out
        assert receive(deployment, EVENTS, 0) == []
        assert len(receive(deployment, SUBSCRIPTION, 1)) == 1


def test_a_replay_goes_on_when_messages_come_again_that_it_holds(
    deployment, monkeypatch
):
    """A letter that nobody can send is not acknowledged, and comes again after its
    lease, while others still wait."""
    pulled = iter([["1"], ["1"], ["2"], []])

    class Client:
        def pull(self, **_: object) -> SimpleNamespace:
            messages = [
                SimpleNamespace(
                    ack_id=f"ack {one}",
                    message=SimpleNamespace(
                        message_id=one, data=b"{}", attributes={ORIGIN: "else"}
                    ),
                )
                for one in next(pulled)
            ]
            return SimpleNamespace(received_messages=messages)

        def modify_ack_deadline(self, **_: object) -> None:
            pass

    monkeypatch.setattr(
        dead_letters, "open_client", lambda *_: contextlib.nullcontext(Client())
    )
    answer = dead_letters.replay(deployment.settings)

    assert answer["left_out"] == {"from the unknown subscription else": 2}


class TestRefused:
    def test_refused_messages_come_back_as_they_were(self, deployment, stored, capsys):
        """Payload and attributes, byte for byte, each once. What had no identity but
        its message id has that one still. What was not kept is not sent, and said."""
        status = replay("--refused", *EVER)

        messages = {
            (data, *sorted(attributes.items()))
            for data, attributes in receive(deployment, EVENTS, 3)
        }
        assert messages == {
            (b'{"user_id":1}', ("event_id", "e-1"), ("use_case", "x")),
            (b'{"amount":1.10}', ("event_id", "m-2")),
            (b"{}", ("event_id", "m-3")),
        }
        assert status == 1
        assert "its payload was not kept 1" in capsys.readouterr().out

    def test_refused_messages_are_those_of_a_period(self, deployment, stored):
        """By the time of receipt; a dry run sends none."""
        assert replay("--refused", "--from", "2020-01-01", "--to", "2020-01-02") == 0
        assert replay("--refused", *EVER, "--dry-run") == 1

        assert receive(deployment, EVENTS, 0) == []

    def test_refused_messages_are_counted_by_reason(self, deployment, stored, capsys):
        """Each message once, beside those that wait in the subscription."""
        bury(deployment, b"1")
        assert main(["dead-letters", "list", "--json"]) == 0
        found = json.loads(capsys.readouterr().out)

        assert sum(row["messages"] for row in found["refused"]) == 4
        assert {row["reason"] for row in found["refused"]} >= {"wrong_encoding"}
        assert found["waiting"] == 1
        assert len(receive(deployment, SUBSCRIPTION, 1)) == 1

    def test_made_up_names_are_rows_up_to_a_limit(self, stored, monkeypatch, capsys):
        monkeypatch.setattr(dead_letters, "LISTED", 1)
        assert main(["dead-letters", "list", "--json"]) == 0
        [_, other] = json.loads(capsys.readouterr().out)["refused"]

        assert (other["reason"], other["messages"]) == ("other", 1)

    def test_refused_messages_wait_nowhere_without_the_stream(
        self, stored, monkeypatch, capsys
    ):
        """A deployment of 00 to 03 alone has no subscription."""
        monkeypatch.setenv("PROPENSITY_TOPIC_PREFIX", "nostream")

        assert main(["dead-letters", "list", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["waiting"] == 0
