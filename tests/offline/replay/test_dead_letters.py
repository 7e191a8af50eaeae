"""Dead letters, specified: back to where they failed, and gone only then."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence

import pytest
from google.cloud import pubsub_v1
from google.pubsub_v1.types import DeadLetterPolicy

from commands.cli import main
from local.stack import topics
from offline.replay.dead_letters import ORIGIN, SUBSCRIPTION, returned
from propensity.settings import Settings
from tests.offline.replay.conftest import Bus, opened


@pytest.fixture
def own_project(environment, monkeypatch) -> Iterator[Bus]:
    """Pub/Sub in a project of the test's own, with the topics of a deployment."""
    project = f"replay-{uuid.uuid4().hex[:10]}"
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", project)
    topics.create(project, environment["PUBSUB_EMULATOR_HOST"], endpoints={})
    found = opened(project)
    yield found
    found.publisher.stop()
    found.publisher.transport.close()
    found.subscriber.close()


class TestDeadLetters:
    SOURCES: Mapping[str, str] = {
        "events-stream-features": "events",
        "enriched-score-stream": "enriched",
    }

    def fail(
        self, bus: Bus, subscription: str, sent: Sequence[tuple[bytes, dict]]
    ) -> None:
        """Let messages fail until Pub/Sub gives them up."""
        path = bus.path(subscription)
        topic = f"projects/{bus.project}/topics"
        bus.subscriber.create_subscription(
            request={
                "name": path,
                "topic": f"{topic}/{self.SOURCES[subscription]}",
                "dead_letter_policy": DeadLetterPolicy(
                    dead_letter_topic=f"{topic}/dead-letters", max_delivery_attempts=5
                ),
            }
        )
        for data, attributes in sent:
            bus.publish(self.SOURCES[subscription], data, **attributes)
        failures = 0
        while failures < 5 * len(sent):
            pulled = bus.pull(subscription)
            bus.subscriber.modify_ack_deadline(
                subscription=path,
                ack_ids=[one.ack_id for one in pulled],
                ack_deadline_seconds=0,
            )
            failures += len(pulled)
        bus.subscriber.delete_subscription(subscription=path)

    def waiting(self, bus: Bus, count: int) -> int:
        """How many dead letters can be pulled: so many, or fewer where they do not
        come, and no more follow."""
        ids: set[str] = set()
        while len(ids) < count and (pulled := bus.pull(SUBSCRIPTION)):
            ids |= {one.message.message_id for one in pulled}
        pulled = bus.pull(SUBSCRIPTION, within=1.2)
        return len(ids | {one.message.message_id for one in pulled})

    def test_go_back_to_where_they_failed(self, own_project, capsys):
        """As they were, less what Pub/Sub added, each to its topic; then they are
        gone from the subscription."""
        bus = own_project
        event = {"event_id": "e-1", "use_case": "first_day_churn"}
        self.fail(bus, "events-stream-features", [(b'{"a":1}', event), (b"broken", {})])
        self.fail(bus, "enriched-score-stream", [(b'{"event_id":"e-2"}', {})])
        for name in ("events", "enriched"):
            bus.topic(name)
        status = main(["replay", "dead-letters", "--wait", "1"])

        found = {one.data: one.attributes for one in bus.taken("events", 2)}
        told = capsys.readouterr().out
        assert status == 0
        assert found.pop(b'{"a":1}') == event
        assert found.pop(b"broken").keys() == {"event_id"}
        assert found == {}
        assert [(one.data, one.attributes) for one in bus.taken("enriched", 1)] == [
            (b'{"event_id":"e-2"}', {})
        ]
        assert self.waiting(bus, 0) == 0
        assert "3 messages sent" in told

    def test_are_kept_until_they_are_published(self, own_project, capsys):
        """Where nothing can be published nothing is acknowledged; all of it is there
        for the next time."""
        bus = own_project
        for number in range(3):
            bus.publish("dead-letters", b"%d" % number)
        status = main(["replay", "dead-letters", "--wait", "1", "--topic", "no-such"])

        said = capsys.readouterr()
        assert status == 1
        assert "does not find topic no-such" in said.err
        assert "0 messages sent" in said.out
        bus.topic("events")
        # What is given back comes again after a second.
        assert main(["replay", "dead-letters", "--wait", "3"]) == 0
        assert {one.data for one in bus.taken("events", 3)} == {b"0", b"1", b"2"}

    def test_of_an_unknown_subscription_stay(self, own_project, capsys):
        """Nobody knows where they belong, until a topic is named."""
        bus = own_project
        bus.publish("dead-letters", b"mine", **{ORIGIN: "somebody-s"})
        bus.topic("events")
        bus.topic("scores")

        assert main(["replay", "dead-letters", "--wait", "1"]) == 1
        assert "1 left out: of somebody-s" in capsys.readouterr().out
        assert main(["replay", "dead-letters", "--wait", "1", "--topic", "scores"]) == 0
        assert [one.data for one in bus.taken("scores", 1)] == [b"mine"]
        assert bus.pull("events", within=1.2) == []

    def test_are_only_counted_on_a_dry_run(self, own_project, capsys):
        """None is sent and none acknowledged."""
        bus = own_project
        for number in range(3):
            bus.publish("dead-letters", b"%d" % number)
        bus.topic("events")
        status = main(["replay", "dead-letters", "--wait", "1", "--dry-run"])

        assert status == 0
        assert "3 messages would be sent" in capsys.readouterr().out
        assert bus.pull("events", within=1.2) == []
        assert self.waiting(bus, 3) == 3

    def test_may_be_some_of_them(self, own_project, capsys):
        """A limit leaves the others where they are."""
        bus = own_project
        for number in range(5):
            bus.publish("dead-letters", b"%d" % number)
        bus.topic("events")
        status = main(["replay", "dead-letters", "--limit", "2"])

        assert status == 0
        assert len(bus.taken("events", 2)) == 2
        assert "There may be more. Run the same again." in capsys.readouterr().out
        assert self.waiting(bus, 3) == 3

    def test_keep_their_identity_when_they_come_twice(self):
        """One that was sent and could not be acknowledged is sent again as the same
        event, whether or not it had an id of its own."""
        settings = Settings(project="p")
        for data in (b'{"event_id":"e"}', b"{}", b"broken"):
            one, other = (
                returned(
                    pubsub_v1.types.PubsubMessage(data=data, message_id="7"),
                    settings,
                    topic=None,
                )
                for _ in range(2)
            )
            assert one == other
            assert b"event_id" in data or one.attributes == {"event_id": "7"}

    def test_need_their_subscription(self, environment, monkeypatch, capsys):
        """One that is not set up is named."""
        monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", f"replay-{uuid.uuid4().hex[:10]}")

        assert main(["replay", "dead-letters", "--wait", "1"]) == 1
        assert "dead-letters-replay" in capsys.readouterr().err
