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
from propensity.events import messages as stream
from propensity.events import rows as accepting
from propensity.events.messages import Message
from propensity.settings import DEAD_LETTERS, ENRICHED, EVENTS
from propensity.tables import every as tables
from tests.deployment import Deployment, entered
from tests.events import DEPLOYED

NOW = datetime.now(UTC)
EVER = ("--from", "2020-01-01", "--to", "2030-01-01")


class Bus(Deployment):
    """Topics under a prefix of their own, each with a subscription to read it by."""

    def subscription(self, name: str) -> str:
        return f"projects/{self.project}/subscriptions/{self.topic(name)}"

    def create(self, topic: str) -> None:
        self.create_topic(self.topic(topic))
        name = SUBSCRIPTION if topic == DEAD_LETTERS else topic
        self.subscriber.create_subscription(
            name=self.subscription(name), topic=self.path(self.topic(topic))
        )

    def bury(self, data: bytes, *, failed_at: str = "", **own: str) -> None:
        """Publish a dead letter, as Pub/Sub does for a subscription."""
        added = {ORIGIN: failed_at, f"{dead_letters.ADDED}SourceDeliveryCount": "5"}
        attributes = {**own, **(added if failed_at else {})}
        topic = self.topic(DEAD_LETTERS)
        self.publish(topic, [{"data": data, "attributes": attributes}])

    def receive(self, name: str, count: int) -> list[tuple[bytes, dict[str, str]]]:
        """So many messages or, where they do not come, fewer; and no more follow."""
        found: dict[str, tuple[bytes, dict[str, str]]] = {}
        while pulled := self.come(name, within=10.0 if len(found) < count else 1.2):
            for one in pulled:
                message = one.message
                found[message.message_id] = (message.data, dict(message.attributes))
        return list(found.values())

    def come(self, name: str, *, within: float) -> list[Any]:
        """Pull, and acknowledge nothing."""
        with contextlib.suppress(DeadlineExceeded):
            answer = self.subscriber.pull(
                subscription=self.subscription(name),
                max_messages=1000,
                retry=None,
                timeout=within,
            )
            return list(answer.received_messages)
        return []


@pytest.fixture
def bus(emulators, monkeypatch) -> Iterator[Bus]:
    """Topics and subscriptions of a deployment of the test's own."""
    monkeypatch.setattr(dead_letters, "PULL_S", 2.0)
    with contextlib.closing(Bus(emulators)) as bus:
        bus.extra = {"PROPENSITY_TOPIC_PREFIX": bus.name}
        for topic in (EVENTS, ENRICHED, DEAD_LETTERS):
            bus.create(topic)
        with entered(bus.environment):
            yield bus


@pytest.fixture
def stored(bus) -> None:
    """Messages that were refused and are stored, one of them twice."""
    sent = [
        Message(b'{"user_id":1}', "m-1", {"event_id": "e-1", "from": "shop"}),
        Message(b'{"x":1.10}', "m-2", {}, "2026-11-20T11:59:59.123456789Z"),
        Message(b"{}", "m-3", {}),
        Message(b"\xff\x00", "m-4", {}),
    ]
    refused = accepting.accept(sent, DEPLOYED, None, received_at=NOW).refused
    bus.warehouse.create(tables.DEAD_LETTERS)
    for chosen in (refused, {0: refused[0]}):
        rows = stream.dead_letters(sent, chosen, received_at=NOW, personal={})
        bus.warehouse.write(tables.DEAD_LETTERS, pa.Table.from_batches([rows]))


def replay(*options: str) -> int:
    return main(["dead-letters", "replay", *options])


class TestFailedTooOften:
    def test_messages_that_failed_too_often_go_back_to_where_they_failed(
        self, bus, capsys
    ):
        """As they were, less what Pub/Sub added, each to its topic; then they are
        gone from the subscription."""
        event = {"event_id": "e-1", "use_case": "first_day_churn"}
        at_events = f"{bus.name}-events-stream-features"
        bus.bury(b'{"a":1}', failed_at=at_events, **event)
        bus.bury(b"broken", failed_at=at_events)
        at_scores = f"{bus.name}-enriched-score-stream"
        bus.bury(b'{"event_id":"e-2"}', failed_at=at_scores)
        bus.bury(b"by hand")
        assert replay() == 0

        by_data = dict(bus.receive(EVENTS, 3))
        assert by_data.pop(b'{"a":1}') == event
        assert by_data.pop(b"broken").keys() == {"event_id"}
        assert by_data.pop(b"by hand").keys() == {"event_id"}
        assert by_data == {}
        assert bus.receive(ENRICHED, 1) == [(b'{"event_id":"e-2"}', {})]
        assert bus.receive(SUBSCRIPTION, 0) == []
        assert f"{bus.name}-events 3" in capsys.readouterr().out

    def test_messages_that_failed_too_often_are_kept_until_they_are_published(
        self, bus, capsys
    ):
        """Where nothing can be published nothing is acknowledged; all of it is there
        for the next time."""
        bus.bury(b"1")
        bus.bury(b"2")
        bus.publisher.delete_topic(topic=bus.path(bus.topic(EVENTS)))

        assert replay() == 1
        assert "events" in capsys.readouterr().err
        bus.subscriber.delete_subscription(subscription=bus.subscription(EVENTS))
        bus.create(EVENTS)
        assert replay() == 0
        assert {data for data, _ in bus.receive(EVENTS, 2)} == {b"1", b"2"}

    def test_messages_that_failed_too_often_of_an_unknown_subscription_stay(
        self, bus, capsys
    ):
        """Nobody knows where they belong."""
        bus.bury(b"mine", failed_at="somebody-s")

        assert replay() == 1
        assert "unknown subscription somebody-s" in capsys.readouterr().out
        assert [data for data, _ in bus.receive(SUBSCRIPTION, 1)] == [b"mine"]

    def test_messages_that_failed_too_often_are_only_counted_on_a_dry_run(
        self, bus, capsys
    ):
        """None is sent and none acknowledged."""
        bus.bury(b"1")

        assert replay("--dry-run") == 0
        assert "events 1" in capsys.readouterr().out
        assert bus.receive(EVENTS, 0) == []
        assert len(bus.receive(SUBSCRIPTION, 1)) == 1


def test_a_replay_goes_on_when_messages_come_again_that_it_holds(bus, monkeypatch):
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
    answer = dead_letters.replay(bus.settings)

    assert answer["left_out"] == {"from the unknown subscription else": 2}


class TestRefused:
    def test_refused_messages_come_back_as_they_were(self, bus, stored, capsys):
        """Payload and attributes, byte for byte, each once. What had no identity but
        its message id has that one still. What was not kept is not sent, and said."""
        status = replay("--refused", *EVER)

        messages = {
            (data, *sorted(attributes.items()))
            for data, attributes in bus.receive(EVENTS, 3)
        }
        assert messages == {
            (b'{"user_id":1}', ("event_id", "e-1"), ("from", "shop")),
            (b'{"x":1.10}', ("event_id", "m-2")),
            (b"{}", ("event_id", "m-3")),
        }
        assert status == 1
        assert "its payload was not kept 1" in capsys.readouterr().out

    def test_refused_messages_are_those_of_a_period(self, bus, stored):
        """By the time of receipt; a dry run sends none."""
        assert replay("--refused", "--from", "2020-01-01", "--to", "2020-01-02") == 0
        assert replay("--refused", *EVER, "--dry-run") == 1

        assert bus.receive(EVENTS, 0) == []

    def test_refused_messages_are_counted_by_reason(self, bus, stored, capsys):
        """Each message once, beside those that wait in the subscription."""
        bus.bury(b"1")
        assert main(["dead-letters", "list", "--json"]) == 0
        found = json.loads(capsys.readouterr().out)

        assert sum(row["messages"] for row in found["refused"]) == 4
        assert {row["reason"] for row in found["refused"]} >= {"wrong_encoding"}
        assert found["waiting"] == 1
        assert len(bus.receive(SUBSCRIPTION, 1)) == 1

    def test_names_that_a_producer_makes_up_are_rows_of_a_list_up_to_a_limit(
        self, stored, monkeypatch, capsys
    ):
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
