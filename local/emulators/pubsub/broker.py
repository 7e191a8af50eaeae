"""Topics and subscriptions by name, and what is published from one to the other."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterable

from google.pubsub_v1 import types

from local.emulators.pubsub.messages import (
    EMPTY,
    Proto,
    RefusedError,
    copy_of,
    seconds_of,
    timestamp,
)
from local.emulators.pubsub.push import Endpoint, Pusher
from local.emulators.pubsub.subscription import (
    DEADLINES_S,
    MAX_BYTES,
    MAX_MESSAGES,
    Delivery,
    Subscription,
    acknowledge,
    extend,
)

DELETED_TOPIC = "_deleted-topic_"
RETENTION_S = range(600, 31 * 86_400 + 1)
DEFAULT_RETENTION_S = 7 * 86_400
BACKOFFS_S = (10, 600)
DELIVERY_ATTEMPTS = range(5, 101)


class Broker:
    """
    Topics and subscriptions by name, and what is published from one to the other.

    A method without a docstring is the RPC of its name, request to response.
    """

    def __init__(self) -> None:
        self._topics: dict[str, Proto] = {}
        self._subscriptions: dict[str, Subscription] = {}
        self._pushers: dict[str, Pusher] = {}
        # A consumer may know messages by their ids for longer than this process lives.
        self._message_ids = itertools.count(time.time_ns() // 1_000)

    def create_topic(self, request: Proto) -> Proto:
        check_name(request.name, "topics")
        if request.name in self._topics:
            raise RefusedError("Topic already exists", "ALREADY_EXISTS")
        refuse(request, "schema_settings", "ingestion_data_source_settings")
        self._topics[request.name] = request
        return request

    def get_topic(self, request: Proto) -> Proto:
        return self._topic(request.topic)

    def delete_topic(self, request: Proto) -> Proto:
        for subscription in self._subscribers(self._topic(request.topic).name):
            subscription.config.topic = DELETED_TOPIC
        del self._topics[request.topic]
        return EMPTY

    def list_topics(self, request: Proto) -> Proto:
        names = [name for name in self._topics if is_in(request.project, name)]
        topics = [self._topics[name] for name in sorted(names)]
        return types.ListTopicsResponse.pb()(topics=topics)

    def publish(self, request: Proto) -> Proto:
        self._topic(request.topic)
        if not request.messages:
            raise RefusedError("No messages to publish")
        if len(request.messages) > MAX_MESSAGES:
            raise RefusedError("Too many messages to publish")
        if not all(message.data or message.attributes for message in request.messages):
            raise RefusedError("Some messages are empty")
        if request.ByteSize() > MAX_BYTES:
            raise RefusedError(f"More than {MAX_BYTES} bytes to publish")
        ids = self._deliver(request.topic, request.messages)
        return types.PublishResponse.pb()(message_ids=ids)

    def create_subscription(self, request: Proto) -> Proto:
        check_name(request.topic, "topics")
        check_name(request.name, "subscriptions")
        if request.name in self._subscriptions:
            raise RefusedError("Subscription already exists", "ALREADY_EXISTS")
        if request.topic not in self._topics:
            raise RefusedError("Subscription topic does not exist", "NOT_FOUND")
        self._complete(request)
        subscription = Subscription(request, self._bury)
        self._subscriptions[request.name] = subscription
        self._push(subscription)
        return request

    def get_subscription(self, request: Proto) -> Proto:
        return self.subscription(request.subscription).config

    def update_subscription(self, request: Proto) -> Proto:
        subscription = self.subscription(request.subscription.name)
        fields = {field.name for field in subscription.config.DESCRIPTOR.fields}
        config = copy_of(subscription.config)
        mutable = fields - {"name", "topic", "filter"}
        merge(config, request.subscription, request.update_mask, mutable)
        return self._configure(subscription, config)

    def modify_push_config(self, request: Proto) -> Proto:
        subscription = self.subscription(request.subscription)
        config = copy_of(subscription.config)
        config.push_config.CopyFrom(request.push_config)
        self._configure(subscription, config)
        return EMPTY

    def delete_subscription(self, request: Proto) -> Proto:
        subscription = self.subscription(request.subscription)
        del self._subscriptions[request.subscription]
        subscription.config.push_config.Clear()
        self._push(subscription)
        subscription.delete()
        return EMPTY

    def acknowledge(self, request: Proto) -> Proto:
        subscription = self.subscription(request.subscription)
        if not request.ack_ids:
            raise RefusedError("No ack ids specified.")
        acknowledge(subscription, request.ack_ids)
        return EMPTY

    def modify_ack_deadline(self, request: Proto) -> Proto:
        subscription = self.subscription(request.subscription)
        if not request.ack_ids:
            raise RefusedError("No ack ids specified")
        seconds = [request.ack_deadline_seconds] * len(request.ack_ids)
        extend(subscription, request.ack_ids, seconds)
        return EMPTY

    def subscription(self, name: str) -> Subscription:
        """Return the subscription of a name."""
        check_name(name, "subscriptions")
        if name not in self._subscriptions:
            raise RefusedError("Subscription does not exist", "NOT_FOUND")
        return self._subscriptions[name]

    def _topic(self, name: str) -> Proto:
        check_name(name, "topics")
        if name not in self._topics:
            raise RefusedError("Topic not found", "NOT_FOUND")
        return self._topics[name]

    def _subscribers(self, topic: str) -> list[Subscription]:
        every = self._subscriptions.values()
        return [
            subscription for subscription in every if subscription.config.topic == topic
        ]

    def _deliver(self, topic: str, messages: Iterable[Proto]) -> list[str]:
        """Give messages ids and a time, and each to every subscription of a topic."""
        milliseconds = time.time_ns() // 1_000_000
        # Copies: a message that came in a request keeps the whole request in memory.
        published = [copy_of(message) for message in messages]
        for message in published:
            message.message_id = str(next(self._message_ids))
            message.publish_time.FromMilliseconds(milliseconds)
        for subscription in self._subscribers(topic):
            subscription.offer(published)
        return [message.message_id for message in published]

    def _bury(self, config: Proto, delivery: Delivery) -> bool:
        """Publish a message that failed too often to its dead-letter topic."""
        policy = config.dead_letter_policy
        is_limited = config.HasField("dead_letter_policy")
        if not is_limited or delivery.attempts < policy.max_delivery_attempts:
            return False
        if policy.dead_letter_topic not in self._topics:
            # It goes on being delivered: nothing is lost for want of a topic.
            return False
        _, project, _, name = config.name.split("/")
        letter = copy_of(delivery.message)
        prefix = "CloudPubSubDeadLetterSource"
        letter.attributes[f"{prefix}DeliveryCount"] = str(delivery.attempts)
        letter.attributes[f"{prefix}Subscription"] = name
        letter.attributes[f"{prefix}SubscriptionProject"] = project
        letter.attributes[f"{prefix}TopicPublishTime"] = timestamp(letter.publish_time)
        self._deliver(policy.dead_letter_topic, [letter])
        return True

    def _configure(self, subscription: Subscription, config: Proto) -> Proto:
        self._complete(config)
        subscription.config = config
        self._push(subscription)
        subscription.wake()
        return config

    def _push(self, subscription: Subscription) -> None:
        """Push to the endpoint that a subscription has now, if any."""
        config = subscription.config
        if pusher := self._pushers.pop(config.name, None):
            pusher.close()
        if config.push_config.push_endpoint:
            endpoint = Endpoint.of(config.push_config.push_endpoint)
            self._pushers[config.name] = Pusher(subscription, endpoint)

    def _complete(self, config: Proto) -> None:
        """Check a subscription's configuration, and fill in what it leaves open."""
        refuse(config, "bigquery_config", "cloud_storage_config", "message_transforms")
        refuse(config, "enable_message_ordering", "enable_exactly_once_delivery")
        refuse(config, "detached", "filter")
        refuse(config.push_config, "no_wrapper")
        config.push_config.SetInParent()
        if config.push_config.push_endpoint:
            Endpoint.of(config.push_config.push_endpoint)
        if not 0 <= config.ack_deadline_seconds < DEADLINES_S.stop:
            raise RefusedError("ack_deadline_secs out of bounds")
        config.ack_deadline_seconds = config.ack_deadline_seconds or DEADLINES_S.start
        if not config.HasField("message_retention_duration"):
            config.message_retention_duration.FromSeconds(DEFAULT_RETENTION_S)
        if config.message_retention_duration.seconds not in RETENTION_S:
            raise RefusedError("message_retention_duration out of bounds")
        if config.HasField("dead_letter_policy"):
            policy = config.dead_letter_policy
            if policy.dead_letter_topic not in self._topics:
                raise RefusedError("Dead letter topic not found", "NOT_FOUND")
            if not policy.max_delivery_attempts:
                policy.max_delivery_attempts = DELIVERY_ATTEMPTS.start
            if policy.max_delivery_attempts not in DELIVERY_ATTEMPTS:
                message = "max_delivery_attempts must be between 5 and 100"
                raise RefusedError(message, "OUT_OF_RANGE")
        if config.HasField("retry_policy"):
            policy, (shortest, longest) = config.retry_policy, BACKOFFS_S
            if not policy.HasField("minimum_backoff"):
                policy.minimum_backoff.FromSeconds(shortest)
            if not policy.HasField("maximum_backoff"):
                policy.maximum_backoff.FromSeconds(longest)
            bounds = (policy.minimum_backoff, policy.maximum_backoff)
            if not 0 <= seconds_of(bounds[0]) <= seconds_of(bounds[1]) <= longest:
                raise RefusedError(
                    f"minimum_backoff and maximum_backoff must be 0s to {longest}s, "
                    "the first no longer than the second"
                )


def check_name(name: str, kind: str) -> None:
    """Refuse what cannot be a resource's name."""
    pattern = rf"projects/[^/]+/{kind}/(?!goog)[A-Za-z][\w.~+%-]{{2,254}}"
    if not re.fullmatch(pattern, name, re.ASCII):
        raise RefusedError(f"Invalid [{kind}] name: (name={name})")


def is_in(project: str, name: str) -> bool:
    """Whether a resource is one of a project's."""
    return name.startswith(f"{project}/")


def refuse(resource: Proto, *fields: str) -> None:
    """Refuse a resource with a field that would have to be ignored."""
    for field, _ in resource.ListFields():
        if field.name in fields:
            message = f"The local emulator has no {field.name}"
            raise RefusedError(message, "UNIMPLEMENTED")


def merge(resource: Proto, update: Proto, mask: Proto, mutable: set[str]) -> None:
    """Replace the fields that an update names."""
    if not mask.paths:
        raise RefusedError("The update_mask must be set, with a non-empty paths list.")
    for path in mask.paths:
        if path not in mutable:
            raise RefusedError(f"Invalid update_mask: {path} cannot be updated.")
    mask.MergeMessage(update, resource, True, True)
