"""The Pub/Sub emulator, by what the unmodified clients and push endpoints see."""

from __future__ import annotations

import base64
import json
from collections import Counter
from typing import Any

from google.pubsub_v1 import types

from local.receiver import Receiver
from tests.support.emulated import Emulated


def text_of(push: dict[str, Any]) -> str:
    return base64.b64decode(push["message"]["data"]).decode()


class Endpoint(Receiver):
    """A web server that takes each push but one."""

    def __init__(self) -> None:
        super().__init__()
        self.pushes: list[dict[str, Any]] = []

    def take(self, method: str, path: str, headers: Any, body: bytes) -> Any:
        self.pushes.append(json.loads(body))
        is_bad = text_of(self.pushes[-1]) == "bad"
        return 500 if is_bad else 204, {}, {}


def subscribe(site: Emulated, topic: str, name: str, **settings: Any) -> str:
    path = f"projects/{site.project}/subscriptions/{site.topic(name)}"
    request = {"name": path, "topic": site.path(site.topic(topic)), **settings}
    return str(site.subscriber.create_subscription(request=request).name)


def pulled(site: Emulated, subscription: str) -> Any:
    """Wait for one message, and return it."""
    asked = {"subscription": subscription, "max_messages": 1}
    [received] = site.subscriber.pull(request=asked, timeout=15).received_messages
    return received


def test_dead_letters_are_made_of_failed_pushes(emulated):
    """Its neighbours are delivered; the envelope counts the attempts, and the letter
    says where it comes from, and comes again until it is acknowledged."""
    for topic in ("dead", "events"):
        emulated.create_topic(emulated.topic(topic))
    letters = subscribe(emulated, "dead", "letters", ack_deadline_seconds=1)
    dead = emulated.path(emulated.topic("dead"))
    policy = types.DeadLetterPolicy(dead_letter_topic=dead, max_delivery_attempts=5)
    with Endpoint() as endpoint:
        push = {"push_config": {"push_endpoint": endpoint.url}}
        subscribe(emulated, "events", "work", **push, dead_letter_policy=policy)
        sent = [
            {"data": data, "attributes": {"use_case": "x"}}
            for data in (b"good", b"bad", b"fine")
        ]
        emulated.publish(emulated.topic("events"), sent)
        letter = pulled(emulated, letters)
        again = pulled(emulated, letters)
        ids = [again.ack_id]
        emulated.subscriber.acknowledge(subscription=letters, ack_ids=ids)
    bad = [push for push in endpoint.pushes if text_of(push) == "bad"]

    source = "CloudPubSubDeadLetterSource"
    attributes = dict(letter.message.attributes)
    assert letter.message.data == again.message.data == b"bad"
    assert attributes.pop(f"{source}TopicPublishTime").endswith("Z")
    assert attributes == {
        "use_case": "x",
        f"{source}DeliveryCount": "5",
        f"{source}Subscription": emulated.topic("work"),
        f"{source}SubscriptionProject": emulated.project,
    }
    pushed = Counter(map(text_of, endpoint.pushes))
    assert pushed == {"good": 1, "bad": 5, "fine": 1}
    assert [push["deliveryAttempt"] for push in bad] == [1, 2, 3, 4, 5]
    assert {*bad[0]["message"]} == {
        "attributes", "data", "messageId", "message_id", "publishTime", "publish_time",
    }  # fmt: skip
