"""The Pub/Sub emulator, by what the unmodified clients and push endpoints see."""

from __future__ import annotations

import base64
import json
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from google.cloud import pubsub_v1
from google.pubsub_v1 import types

from local.receiver import Receiver

OK = 204
ERROR = 500


def text_of(push: dict[str, Any]) -> str:
    return base64.b64decode(push["message"]["data"]).decode()


class Endpoint(Receiver):
    """A web server that answers each push with a status, or hangs up at None."""

    def __init__(self, status: Callable[[str], int | None]) -> None:
        super().__init__()
        # All pushes come at once.
        self._server.socket.listen(256)
        self.pushes: list[dict[str, Any]] = []
        self._status = status

    def answer(self, _: str, path: str, headers: Any, body: bytes) -> Any:
        self.pushes.append(json.loads(body))
        status = self._status(text_of(self.pushes[-1]))
        return status and (status, {}, {"error": "as told"})


class Emulator:
    """The emulator's clients, in a project of a test's own."""

    def __init__(self, address: str) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PUBSUB_EMULATOR_HOST", address)
            self.publisher = pubsub_v1.PublisherClient()
            self.subscriber = pubsub_v1.SubscriberClient()
        self.project = f"p-{uuid.uuid4().hex[:10]}"

    def topic(self, name: str) -> str:
        path = f"projects/{self.project}/topics/{name}"
        return self.publisher.create_topic(name=path).name

    def subscription(self, topic: str, name: str, **settings: Any) -> str:
        path = f"projects/{self.project}/subscriptions/{name}"
        request = {"name": path, "topic": topic, **settings}
        return self.subscriber.create_subscription(request=request).name

    def publish(self, topic: str, *texts: str) -> None:
        futures = []
        for text in texts:
            futures.append(self.publisher.publish(topic, text.encode(), use_case="x"))
        for future in futures:
            future.result(15)

    def pull(self, subscription: str) -> Any:
        """Wait for one message, and return it."""
        answer = self.subscriber.pull(
            subscription=subscription, max_messages=1, timeout=15
        )
        [received] = answer.received_messages
        return received


@pytest.fixture
def emulator(emulators) -> Iterator[Emulator]:
    emulator = Emulator(emulators.address("pubsub"))
    yield emulator
    emulator.publisher.stop()
    emulator.publisher.transport.close()
    emulator.subscriber.close()


def test_dead_letters_are_made_of_failed_pushes(emulator):
    """Its neighbours are delivered; the envelope counts the attempts, and the letter
    says where it comes from, and comes again until it is acknowledged."""
    dead = emulator.topic("dead")
    letters = emulator.subscription(dead, "letters", ack_deadline_seconds=1)
    topic = emulator.topic("events")
    with Endpoint(lambda text: ERROR if text == "bad" else OK) as endpoint:
        policy = types.DeadLetterPolicy(dead_letter_topic=dead, max_delivery_attempts=5)
        to = {"push_endpoint": endpoint.url}
        emulator.subscription(topic, "work", push_config=to, dead_letter_policy=policy)
        emulator.publish(topic, "good", "bad", "fine")
        letter = emulator.pull(letters)
        again = emulator.pull(letters)
        ids = [again.ack_id]
        emulator.subscriber.acknowledge(subscription=letters, ack_ids=ids)
    bad = [push for push in endpoint.pushes if text_of(push) == "bad"]

    source = "CloudPubSubDeadLetterSource"
    attributes = dict(letter.message.attributes)
    assert letter.message.data == again.message.data == b"bad"
    assert attributes.pop(f"{source}TopicPublishTime").endswith("Z")
    assert attributes == {
        "use_case": "x",
        f"{source}DeliveryCount": "5",
        f"{source}Subscription": "work",
        f"{source}SubscriptionProject": emulator.project,
    }
    pushed = Counter(map(text_of, endpoint.pushes))
    assert pushed == {"good": 1, "bad": 5, "fine": 1}
    assert [push["deliveryAttempt"] for push in bad] == [1, 2, 3, 4, 5]
    assert {*bad[0]["message"]} == {
        "attributes", "data", "messageId", "message_id", "publishTime", "publish_time",
    }  # fmt: skip
