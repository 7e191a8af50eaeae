"""Messages that failed, as Pub/Sub hands them over, and what a subscription gets."""

from __future__ import annotations

from google.api_core.exceptions import DeadlineExceeded

from offline import dead_letters
from offline.dead_letters import ORIGIN, SUBSCRIPTION
from propensity.settings import DEAD_LETTERS
from tests.support.deployment import Deployment

Message = tuple[bytes, dict[str, str]]


def subscription(deployment: Deployment, name: str) -> str:
    return f"projects/{deployment.project}/subscriptions/{deployment.topic(name)}"


def create(deployment: Deployment, topic: str) -> None:
    """Create a topic, with a subscription to read it by."""
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


def receive(deployment: Deployment, name: str, count: int) -> list[Message]:
    """So many messages or, where they do not come, fewer; and no more follow."""
    found: dict[str, Message] = {}
    while True:
        within = 10.0 if len(found) < count else 1.2
        try:
            answer = deployment.subscriber.pull(
                subscription=subscription(deployment, name),
                max_messages=1000,
                retry=None,
                timeout=within,
            )
        except DeadlineExceeded:
            return list(found.values())
        for received in answer.received_messages:
            message = received.message
            found[message.message_id] = (message.data, dict(message.attributes))
        if not answer.received_messages:
            return list(found.values())
