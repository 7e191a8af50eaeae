"""Dead letters, specified: back to where they failed, and gone only then."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import grpc
import pytest
from google.cloud import pubsub_v1
from google.pubsub_v1.types import DeadLetterPolicy

from commands.cli import main
from local.stack import topics
from offline.replay import dead_letters
from offline.replay.dead_letters import ORIGIN, SUBSCRIPTION, returned
from propensity.settings import Settings
from tests.offline.replay.conftest import Bus, opened
from tests.proxy import GrpcProxy


@pytest.fixture
def own_project(environment, monkeypatch) -> Iterator[Bus]:
    """Pub/Sub in a project of the test's own, with the topics of a deployment."""
    project = f"replay-{uuid.uuid4().hex[:10]}"
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", project)
    topics.create(project, environment["PUBSUB_EMULATOR_HOST"], endpoints={})
    bus = opened(project)
    yield bus
    bus.publisher.stop()
    bus.publisher.transport.close()
    bus.subscriber.close()


class Unsteady(GrpcProxy):
    """
    Pub/Sub that fails calls of a method, by their number.

    ``rule`` takes the number, from 0, and returns the status that the call fails with,
    None to let it through. With ``is_late`` it fails behind Pub/Sub: what was asked has
    been done, and the answer is lost.
    """

    def __init__(
        self,
        upstream: str,
        method: str,
        rule: Callable[[int], grpc.StatusCode | None],
        *,
        is_late: bool = False,
    ) -> None:
        super().__init__({"/google.pubsub.v1.": upstream})
        self._method, self._rule, self._is_late = method, rule, is_late
        self._numbers = itertools.count()

    def serve(
        self, method: str, sent: Iterator[bytes], context: Any
    ) -> Iterator[bytes]:
        """Answer as Pub/Sub does, or fail."""
        fails_with = None
        if method.endswith(self._method):
            fails_with = self._rule(next(self._numbers))
        if fails_with is None:
            yield from super().serve(method, sent, context)
            return
        if self._is_late:
            for _ in self.call(method, sent, context):
                pass
        context.abort(fails_with, "injected")


def first(count: int, status: grpc.StatusCode) -> Callable[[int], Any]:
    """Let the first calls fail."""
    return lambda number: status if number < count else None


def replay(*options: str, wait: int = 1) -> int:
    return main(["replay", "dead-letters", "--wait", f"{wait}", *options])


def replay_by(unsteady: Unsteady) -> int:
    """Replay by a Pub/Sub that fails."""
    with unsteady, pytest.MonkeyPatch.context() as changed:
        changed.setenv("PUBSUB_EMULATOR_HOST", unsteady.address)
        return replay()


def bury(bus: Bus, count: int = 3) -> set[bytes]:
    """Publish dead letters, and return their data."""
    letters = [b"%d" % number for number in range(count)]
    for data in letters:
        bus.publish("dead-letters", data)
    return set(letters)


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
                ack_ids=[delivery.ack_id for delivery in pulled],
                ack_deadline_seconds=0,
            )
            failures += len(pulled)
        bus.subscriber.delete_subscription(subscription=path)

    def waiting(self, bus: Bus, count: int) -> int:
        """How many dead letters can be pulled: so many, or fewer where they do not
        come, and no more follow."""
        ids: set[str] = set()
        while len(ids) < count and (pulled := bus.pull(SUBSCRIPTION)):
            ids |= {delivery.message.message_id for delivery in pulled}
        pulled = bus.pull(SUBSCRIPTION, within=1.2)
        return len(ids | {delivery.message.message_id for delivery in pulled})

    def test_go_back_to_where_they_failed(self, own_project, capsys):
        """As they were, less what Pub/Sub added, each to its topic; then they are
        gone from the subscription."""
        bus = own_project
        event = {"event_id": "e-1", "use_case": "first_day_churn"}
        self.fail(bus, "events-stream-features", [(b'{"a":1}', event), (b"broken", {})])
        self.fail(bus, "enriched-score-stream", [(b'{"event_id":"e-2"}', {})])
        for name in ("events", "enriched"):
            bus.topic(name)
        status = replay()

        by_data = {
            message.data: message.attributes for message in bus.receive("events", 2)
        }
        output = capsys.readouterr().out
        assert status == 0
        assert by_data.pop(b'{"a":1}') == event
        assert by_data.pop(b"broken").keys() == {"event_id"}
        assert by_data == {}
        assert [
            (message.data, message.attributes) for message in bus.receive("enriched", 1)
        ] == [(b'{"event_id":"e-2"}', {})]
        assert self.waiting(bus, 0) == 0
        assert "3 messages sent" in output

    def test_are_kept_until_they_are_published(self, own_project, capsys):
        """Where nothing can be published nothing is acknowledged; all of it is there
        for the next time."""
        bus = own_project
        letters = bury(bus)
        status = replay("--topic", "no-such")

        output = capsys.readouterr()
        assert status == 1
        assert "does not find topic no-such" in output.err
        assert "0 messages sent" in output.out
        bus.topic("events")
        # What is given back comes again after a second.
        assert replay(wait=3) == 0
        assert {message.data for message in bus.receive("events", 3)} == letters

    def test_of_an_unknown_subscription_stay(self, own_project, capsys):
        """Nobody knows where they belong, until a topic is named."""
        bus = own_project
        bus.publish("dead-letters", b"mine", **{ORIGIN: "somebody-s"})
        bus.topic("events")
        bus.topic("scores")

        assert replay() == 1
        assert "1 left out: of somebody-s" in capsys.readouterr().out
        assert replay("--topic", "scores") == 0
        assert [message.data for message in bus.receive("scores", 1)] == [b"mine"]
        assert bus.pull("events", within=1.2) == []

    def test_are_only_counted_on_a_dry_run(self, own_project, capsys):
        """None is sent and none acknowledged."""
        bus = own_project
        bury(bus)
        bus.topic("events")

        assert replay("--dry-run") == 0
        assert "3 messages would be sent" in capsys.readouterr().out
        assert bus.pull("events", within=1.2) == []
        assert self.waiting(bus, 3) == 3

    def test_may_be_some_of_them(self, own_project, capsys):
        """A limit leaves the others where they are."""
        bus = own_project
        bury(bus, 5)
        bus.topic("events")

        assert replay("--limit", "2") == 0
        assert len(bus.receive("events", 2)) == 2
        assert "There may be more. Run the same again." in capsys.readouterr().out
        assert self.waiting(bus, 3) == 3

    @pytest.mark.parametrize("method", ["Pull", "Acknowledge"])
    @pytest.mark.parametrize(
        "status",
        [
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            grpc.StatusCode.INTERNAL,
        ],
    )
    def test_are_all_sent_where_pub_sub_refuses_now_and_then(
        self, own_project, monkeypatch, method, status
    ):
        """A request that may succeed later is repeated, and the replay goes on."""
        bus = own_project
        monkeypatch.setattr(dead_letters, "LEASED_S", 1.0)
        letters = bury(bus)
        bus.topic("events")
        refuses = first(2, status)

        assert replay_by(Unsteady(bus.host, f"Subscriber/{method}", refuses)) == 0
        assert {message.data for message in bus.receive("events", 3)} == letters
        assert self.waiting(bus, 0) == 0

    @pytest.mark.long
    def test_of_a_lost_answer_are_waited_for(self, own_project, monkeypatch, capsys):
        """Pub/Sub holds them for a minute; a replay that ended before would leave them
        behind, and say that all was done."""
        bus = own_project
        bus.publish("dead-letters", b"mine")
        bus.topic("events")
        monkeypatch.setattr(dead_letters, "LEASED_S", 14.0)
        bus.subscriber.update_subscription(
            request={
                "subscription": {
                    "name": bus.path(SUBSCRIPTION),
                    "ack_deadline_seconds": 10,
                },
                "update_mask": {"paths": ["ack_deadline_seconds"]},
            }
        )
        lost = first(1, grpc.StatusCode.UNAVAILABLE)
        late = Unsteady(bus.host, "Subscriber/Pull", lost, is_late=True)

        assert replay_by(late) == 0
        assert "1 messages sent" in capsys.readouterr().out
        assert [message.data for message in bus.receive("events", 1)] == [b"mine"]

    def test_of_a_subscription_that_stays_away_are_left(
        self, own_project, monkeypatch, capsys
    ):
        """It ends with the error after PROPENSITY_DEADLINE_S, and says that there
        may be more."""
        bus = own_project
        monkeypatch.setenv("PROPENSITY_DEADLINE_S", "2")
        bus.publish("dead-letters", b"mine")
        always = first(10**6, grpc.StatusCode.UNAVAILABLE)

        assert replay_by(Unsteady(bus.host, "Subscriber/Pull", always)) == 1
        output = capsys.readouterr()
        assert (
            "Pub/Sub did not answer for subscription dead-letters-replay" in output.err
        )
        assert "There may be more. Run the same again." in output.out
        assert self.waiting(bus, 1) == 1

    def test_that_another_replay_holds_are_spoken_of(self, own_project, capsys):
        """They cannot be seen. So a replay that ends within their minute does not say
        that there are none."""
        bus = own_project
        bus.publish("dead-letters", b"mine")
        assert bus.pull(SUBSCRIPTION)

        assert replay() == 0
        output = capsys.readouterr().out
        assert "0 messages sent" in output
        assert (
            "Letters that an interrupted replay holds come again after 60 s; --wait 70 "
            "waits for them."
        ) in output

    def test_keep_their_identity_when_they_come_twice(self):
        """One that was sent and could not be acknowledged is sent again as the same
        event, whether or not it had an id of its own."""
        settings = Settings(project="p")
        for data in (b'{"event_id":"e"}', b"{}", b"broken"):
            first, second = (
                returned(
                    pubsub_v1.types.PubsubMessage(data=data, message_id="7"),
                    settings,
                    topic=None,
                )
                for _ in range(2)
            )
            assert first == second
            assert b"event_id" in data or first.attributes == {"event_id": "7"}

    def test_need_their_subscription(self, environment, monkeypatch, capsys):
        """One that is not set up is named."""
        monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", f"replay-{uuid.uuid4().hex[:10]}")

        assert replay() == 1
        assert "dead-letters-replay" in capsys.readouterr().err
