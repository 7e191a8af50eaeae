"""The Pub/Sub emulator, by what the unmodified clients and push endpoints see."""

from __future__ import annotations

import base64
import contextlib
import json
import random
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import pubsub_v1
from google.pubsub_v1 import types

from local.receiver import Receiver
from tests.functions.streaming import eventually

PATIENCE_S = 15
OK = 204
ERROR = 500


@dataclass(frozen=True)
class Push:
    """One request that an endpoint was sent."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    time: float

    @property
    def text(self) -> str:
        return base64.b64decode(self.body["message"].get("data", "")).decode()


class Endpoint(Receiver):
    """
    A web server that notes what it is sent, and answers as it is told.

    Args:
        status: Given a push, returns a status, or None to hang up without one.
    """

    def __init__(self, status: Callable[[Push], int | None] = lambda _: OK) -> None:
        super().__init__()
        # All pushes come at once.
        self._server.socket.listen(256)
        self.pushes: list[Push] = []
        self._status = status

    def answer(self, _: str, path: str, headers: Any, body: bytes) -> Any:
        push = Push(path, dict(headers), json.loads(body), time.monotonic())
        self.pushes.append(push)
        status = self._status(push)
        return status and (status, {}, {"error": "as told"})

    def wait_for(self, count: int) -> list[Push]:
        """Wait until so many pushes have come, and return all."""
        eventually(lambda: len(self.pushes) >= count)
        return list(self.pushes)


@dataclass(frozen=True)
class Emulator:
    """The emulator's clients, and short ways to do the usual."""

    publisher: pubsub_v1.PublisherClient
    subscriber: pubsub_v1.SubscriberClient

    def topic(self) -> str:
        """Make a topic, in a project of its own."""
        unique = uuid.uuid4().hex[:10]
        return self.publisher.create_topic(name=f"projects/p-{unique}/topics/new").name

    def subscription(self, topic: str, name: str = "all", **settings: Any) -> str:
        """Make a subscription in the topic's project."""
        full_name = f"projects/{topic.split('/')[1]}/subscriptions/{name}"
        request = {"name": full_name, "topic": topic, **settings}
        return self.subscriber.create_subscription(request=request).name

    def publish(self, topic: str, *texts: str, **attributes: str) -> list[str]:
        """Publish, and return the ids once they are known."""
        futures = [
            self.publisher.publish(topic, text.encode(), **attributes) for text in texts
        ]
        return [future.result(PATIENCE_S) for future in futures]

    def pull(
        self, subscription: str, count: int = 1, *, patience_s: float = PATIENCE_S
    ) -> list[Any]:
        """Pull until so many messages have come, or a time has passed."""
        received: list[Any] = []
        deadline = time.monotonic() + patience_s
        while len(received) < count and (left := deadline - time.monotonic()) > 0:
            with contextlib.suppress(exceptions.DeadlineExceeded):
                answer = self.subscriber.pull(
                    subscription=subscription, max_messages=9, timeout=left, retry=None
                )
                received += answer.received_messages
        return received


@pytest.fixture(scope="module")
def emulator(emulators) -> Iterator[Emulator]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PUBSUB_EMULATOR_HOST", emulators.address("pubsub"))
        publisher = pubsub_v1.PublisherClient()
        subscriber = pubsub_v1.SubscriberClient()
    yield Emulator(publisher, subscriber)
    publisher.stop()
    publisher.transport.close()
    subscriber.close()


@pytest.fixture
def topic(emulator) -> str:
    """A topic in a project of its own."""
    return emulator.topic()


def test_dead_letters_are_made_of_failed_pushes(emulator, topic):
    """Its neighbours are delivered; the envelope counts the attempts, and the letter
    says where it comes from."""
    dead = emulator.topic()
    letters = emulator.subscription(dead, ack_deadline_seconds=1)
    with Endpoint(lambda push: ERROR if push.text == "bad" else OK) as endpoint:
        policy = types.DeadLetterPolicy(dead_letter_topic=dead, max_delivery_attempts=5)
        to = {"push_endpoint": endpoint.url}
        emulator.subscription(topic, "work", push_config=to, dead_letter_policy=policy)
        emulator.publish(topic, "good", "bad", "fine", use_case="x")
        [letter] = emulator.pull(letters)
        [again] = emulator.pull(letters)
        ids = [again.ack_id]
        emulator.subscriber.acknowledge(subscription=letters, ack_ids=ids)
    bad = [push for push in endpoint.pushes if push.text == "bad"]

    source = "CloudPubSubDeadLetterSource"
    attributes = dict(letter.message.attributes)
    assert letter.message.data == again.message.data == b"bad"
    assert attributes.pop(f"{source}TopicPublishTime").endswith("Z")
    assert attributes == {
        "use_case": "x",
        f"{source}DeliveryCount": "5",
        f"{source}Subscription": "work",
        f"{source}SubscriptionProject": topic.split("/")[1],
    }
    texts = Counter(push.text for push in endpoint.pushes)
    assert texts == {"good": 1, "bad": 5, "fine": 1}
    assert [push.body["deliveryAttempt"] for push in bad] == [1, 2, 3, 4, 5]


class TestPushes:
    def test_pushes_post_the_envelope_of_pubsub(self, emulator, topic):
        with Endpoint() as endpoint:
            to = {"push_endpoint": f"{endpoint.url}/events?a=b"}
            subscription = emulator.subscription(topic, push_config=to)
            [message_id] = emulator.publish(topic, "Köln", use_case="x")
            [push] = endpoint.wait_for(1)

        published = push.body["message"]["publishTime"]
        assert push.path == "/events?a=b"
        assert push.headers["Content-Type"] == "application/json"
        assert push.body == {
            "message": {
                "attributes": {"use_case": "x"},
                "data": base64.b64encode("Köln".encode()).decode(),
                "messageId": message_id,
                "message_id": message_id,
                "publishTime": published,
                "publish_time": published,
            },
            "subscription": subscription,
        }
        assert datetime.fromisoformat(published).tzinfo is not None

    def test_pushes_lose_nothing(self, emulator, topic):
        """Errors, resets and silence at random: each message is accepted once."""
        chance = random.Random(7)
        accepted: Counter[str] = Counter()

        def answer(push: Push) -> int | None:
            status = chance.choices([OK, ERROR, None], [8, 1, 1])[0]
            accepted[push.text] += status == OK
            return status

        texts = [str(number) for number in range(1_000)]
        with Endpoint(answer) as endpoint:
            emulator.subscription(topic, push_config={"push_endpoint": endpoint.url})
            emulator.publish(topic, *texts)
            eventually(lambda: accepted.total() >= len(texts))
            time.sleep(0.3)

        assert accepted == Counter(texts)


class TestStreamingPull:
    """``subscriber.subscribe(…)``, as consumers of ``scores`` call it."""

    def test_a_subscriber_gets_every_message(self, emulator, topic):
        subscription = emulator.subscription(topic)
        texts = [f"m{number}" for number in range(60)]
        emulator.publish(topic, *texts[:30])
        got = Counter[str]()
        held = []

        def take(message):
            got[message.data.decode()] += 1
            held.append(message)

        flow = pubsub_v1.types.FlowControl(max_messages=5)
        future = emulator.subscriber.subscribe(subscription, take, flow_control=flow)
        eventually(lambda: len(held) == 5)
        time.sleep(0.3)
        assert len(held) == 5

        emulator.publish(topic, *texts[30:])
        while sum(got.values()) < 60 or held:
            if held:
                held.pop().ack()
            time.sleep(0.001)
        future.cancel()
        future.result(PATIENCE_S)

        assert got == Counter(texts)
        assert emulator.pull(subscription, patience_s=1.5) == []
