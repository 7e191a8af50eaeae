"""Topics and subscriptions by name, and the messages between them."""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from google.pubsub_v1 import types

from local.emulators.pubsub.messages import (
    EMPTY,
    Delivery,
    Proto,
    RefusedError,
    timestamp,
)
from local.emulators.pubsub.push import Pusher, check_endpoint

MAX_MESSAGES = 1_000
MAX_BYTES = 10_000_000
MAX_DEADLINE_S = 600
DEFAULT_DEADLINE_S = 10
DEFAULT_ATTEMPTS = 5
DEFAULT_BACKOFF_S = (10, 600)
# A failed push waits so long unless there is a retry policy.
PUSH_RETRY_S = 0.1
DELETED_TOPIC = "_deleted-topic_"
# What would have to be ignored.
UNSERVED = (
    "bigquery_config", "cloud_storage_config", "message_transforms", "filter",
    "enable_message_ordering", "enable_exactly_once_delivery", "detached",
    "schema_settings", "ingestion_data_source_settings", "no_wrapper",
)  # fmt: skip


class Subscription:
    """
    The messages of one subscription: ready, leased to a consumer, or backing off.

    Args:
        config: The subscription as its API describes it, complete.
        bury: Told of a delivery that failed; whether it became a dead letter.
    """

    def __init__(self, config: Proto, bury: Callable[[Proto, Delivery], bool]) -> None:
        self.config = config
        self.ready: deque[Delivery] = deque()
        self.watchers: list[Callable[[], None]] = []
        self.is_deleted = False
        self._bury = bury
        self._leases: dict[int, tuple[Delivery, asyncio.TimerHandle]] = {}
        # An ack id from before a restart must not acknowledge another message.
        self._numbers = itertools.count(time.time_ns())
        self._loop = asyncio.get_running_loop()

    def offer(self, deliveries: Iterable[Delivery]) -> None:
        """Add messages, and wake whoever waits for them."""
        self.ready.extend(deliveries)
        self.wake()

    def wake(self) -> None:
        """Call the watchers."""
        for watcher in list(self.watchers):
            watcher()

    def take(self, limit: int) -> Iterator[tuple[int, Delivery]]:
        """Lease messages that are ready until their deadline, with their numbers."""
        size = 0
        while self.ready and limit > 0 and size < MAX_BYTES:
            delivery, limit = self.ready.popleft(), limit - 1
            delivery.attempts += 1
            size += delivery.message.ByteSize()
            number = next(self._numbers)
            seconds = self.config.ack_deadline_seconds
            self._leases[number] = (delivery, self._timer(seconds, number))
            yield number, delivery

    def acknowledge(self, number: int) -> Delivery | None:
        """End a lease, and be done with its message; None if it had ended already."""
        delivery, timer = self._leases.pop(number, (None, None))
        if timer is not None:
            timer.cancel()
        return delivery

    def nack(self, number: int) -> None:
        """End a lease without success: its message is buried or delivered again."""
        delivery = self.acknowledge(number)
        if delivery is not None and not self._bury(self.config, delivery):
            pause_s = self._backoff_s(delivery.attempts)
            self._loop.call_later(pause_s, self._return, delivery)

    def extend(self, number: int, seconds: int) -> None:
        """Let a lease end so many seconds from now; zero is a nack."""
        if seconds == 0:
            self.nack(number)
        elif number in self._leases:
            delivery, timer = self._leases[number]
            timer.cancel()
            self._leases[number] = (delivery, self._timer(seconds, number))

    def delete(self) -> None:
        """End every lease and forget all messages."""
        self.is_deleted = True
        for number in list(self._leases):
            self.acknowledge(number)
        self.ready.clear()
        self.wake()

    def _timer(self, seconds: int, number: int) -> asyncio.TimerHandle:
        return self._loop.call_later(seconds, self.nack, number)

    def _return(self, delivery: Delivery) -> None:
        if not self.is_deleted:
            self.offer([delivery])

    def _backoff_s(self, attempts: int) -> float:
        if not self.config.HasField("retry_policy"):
            return PUSH_RETRY_S if self.config.push_config.push_endpoint else 0.0
        policy = self.config.retry_policy
        shortest, longest = map(
            _seconds, (policy.minimum_backoff, policy.maximum_backoff)
        )
        # The exponent is bounded: floats end at some thousand attempts.
        return float(min(shortest * 2.0 ** min(attempts - 1, 60), longest))


class Broker:
    """A method without a docstring is the RPC of its name, request to response."""

    def __init__(self) -> None:
        self._topics: dict[str, Proto] = {}
        self._subscriptions: dict[str, Subscription] = {}
        self._pushers: dict[str, Pusher] = {}
        # A consumer may know messages by their ids for longer than this process lives.
        self._message_ids = itertools.count(time.time_ns() // 1_000)

    def create_topic(self, request: Proto) -> Proto:
        _check_name(request.name, "topics")
        if request.name in self._topics:
            raise RefusedError("Topic already exists", "ALREADY_EXISTS")
        _check_served(request)
        self._topics[request.name] = request
        return request

    def get_topic(self, request: Proto) -> Proto:
        return self._topic(request.topic)

    def list_topics(self, request: Proto) -> Proto:
        names = sorted(self._topics)
        topics = [self._topics[n] for n in names if n.startswith(f"{request.project}/")]
        return types.ListTopicsResponse.pb()(topics=topics)

    def delete_topic(self, request: Proto) -> Proto:
        for subscription in self._subscribers(self._topic(request.topic).name):
            subscription.config.topic = DELETED_TOPIC
        del self._topics[request.topic]
        return EMPTY

    def publish(self, request: Proto) -> Proto:
        self._topic(request.topic)
        if not 0 < len(request.messages) <= MAX_MESSAGES:
            raise RefusedError(f"Publish 1 to {MAX_MESSAGES} messages")
        if not all(message.data or message.attributes for message in request.messages):
            raise RefusedError("Some messages are empty")
        if request.ByteSize() > MAX_BYTES:
            raise RefusedError(f"More than {MAX_BYTES} bytes to publish")
        ids = self._deliver(request.topic, request.messages)
        return types.PublishResponse.pb()(message_ids=ids)

    def create_subscription(self, request: Proto) -> Proto:
        _check_name(request.name, "subscriptions")
        if request.name in self._subscriptions:
            raise RefusedError("Subscription already exists", "ALREADY_EXISTS")
        self._topic(request.topic)
        self._complete(request)
        subscription = Subscription(request, self._bury)
        self._subscriptions[request.name] = subscription
        self._push(subscription)
        return request

    def get_subscription(self, request: Proto) -> Proto:
        return self.subscription(request.subscription).config

    def update_subscription(self, request: Proto) -> Proto:
        subscription = self.subscription(request.subscription.name)
        config = _copy(subscription.config)
        for path in request.update_mask.paths:
            if path in ("name", "topic", "filter"):
                raise RefusedError(f"{path} cannot be updated.")
        request.update_mask.MergeMessage(request.subscription, config, True, True)
        self._configure(subscription, config)
        return config

    def delete_subscription(self, request: Proto) -> Proto:
        subscription = self.subscription(request.subscription)
        del self._subscriptions[request.subscription]
        subscription.config.push_config.Clear()
        self._push(subscription)
        subscription.delete()
        return EMPTY

    def acknowledge(self, request: Proto) -> Proto:
        subscription = self.subscription(request.subscription)
        for number in _numbers(subscription, request.ack_ids):
            subscription.acknowledge(number)
        return EMPTY

    def modify_ack_deadline(self, request: Proto) -> Proto:
        subscription = self.subscription(request.subscription)
        if not 0 <= request.ack_deadline_seconds <= MAX_DEADLINE_S:
            raise RefusedError(f"Ack deadline must be 0 to {MAX_DEADLINE_S} seconds")
        for number in _numbers(subscription, request.ack_ids):
            subscription.extend(number, request.ack_deadline_seconds)
        return EMPTY

    async def pull(self, request: Proto, wait_s: float) -> Proto:
        """Return messages as soon as there are any, none after ``wait_s`` without."""
        subscription = self.subscription(request.subscription)
        name, config = request.subscription, subscription.config
        if not request.max_messages:
            raise RefusedError("No max_messages specified")
        if config.push_config.push_endpoint:
            message = f"Subscription is a push subscription: (resource={name})"
            raise RefusedError(message, "FAILED_PRECONDITION")
        news = asyncio.Event()
        subscription.watchers.append(news.set)
        try:
            if not subscription.ready and not request.return_immediately:
                async with asyncio.timeout(wait_s):
                    while not subscription.ready and not subscription.is_deleted:
                        news.clear()
                        await news.wait()
        except TimeoutError:
            pass
        finally:
            subscription.watchers.remove(news.set)
        is_limited = config.HasField("dead_letter_policy")
        received = [
            types.ReceivedMessage.pb()(
                ack_id=f"{name}:{number}",
                message=delivery.message,
                delivery_attempt=delivery.attempts if is_limited else 0,
            )
            for number, delivery in subscription.take(
                min(request.max_messages, MAX_MESSAGES)
            )
        ]
        return types.PullResponse.pb()(received_messages=received)

    def subscription(self, name: str) -> Subscription:
        """Return the subscription of a name."""
        _check_name(name, "subscriptions")
        if name not in self._subscriptions:
            raise RefusedError("Subscription does not exist", "NOT_FOUND")
        return self._subscriptions[name]

    def _topic(self, name: str) -> Proto:
        _check_name(name, "topics")
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
        published = [_copy(message) for message in messages]
        for message in published:
            message.message_id = str(next(self._message_ids))
            message.publish_time.FromMilliseconds(milliseconds)
        for subscription in self._subscribers(topic):
            subscription.offer(map(Delivery, published))
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
        letter = _copy(delivery.message)
        prefix = "CloudPubSubDeadLetterSource"
        letter.attributes[f"{prefix}DeliveryCount"] = str(delivery.attempts)
        letter.attributes[f"{prefix}Subscription"] = name
        letter.attributes[f"{prefix}SubscriptionProject"] = project
        letter.attributes[f"{prefix}TopicPublishTime"] = timestamp(letter.publish_time)
        self._deliver(policy.dead_letter_topic, [letter])
        return True

    def _configure(self, subscription: Subscription, config: Proto) -> None:
        self._complete(config)
        subscription.config = config
        self._push(subscription)
        subscription.wake()

    def _push(self, subscription: Subscription) -> None:
        """Push to the endpoint that a subscription has now, if any."""
        config = subscription.config
        if pusher := self._pushers.pop(config.name, None):
            pusher.close()
        if config.push_config.push_endpoint:
            self._pushers[config.name] = Pusher(subscription)

    def _complete(self, config: Proto) -> None:
        """Check a subscription's configuration, and fill in what it leaves open."""
        _check_served(config)
        _check_served(config.push_config)
        config.push_config.SetInParent()
        if config.push_config.push_endpoint:
            check_endpoint(config.push_config.push_endpoint)
        if not 0 <= config.ack_deadline_seconds <= MAX_DEADLINE_S:
            raise RefusedError("ack_deadline_secs out of bounds")
        config.ack_deadline_seconds = config.ack_deadline_seconds or DEFAULT_DEADLINE_S
        if config.HasField("dead_letter_policy"):
            policy = config.dead_letter_policy
            if policy.dead_letter_topic not in self._topics:
                raise RefusedError("Dead letter topic not found", "NOT_FOUND")
            attempts = policy.max_delivery_attempts or DEFAULT_ATTEMPTS
            policy.max_delivery_attempts = attempts
        if config.HasField("retry_policy"):
            for name, seconds in zip(
                ("minimum_backoff", "maximum_backoff"), DEFAULT_BACKOFF_S, strict=True
            ):
                if not config.retry_policy.HasField(name):
                    getattr(config.retry_policy, name).FromSeconds(seconds)


def _copy(proto: Proto) -> Proto:
    copy = type(proto)()
    copy.CopyFrom(proto)
    return copy


def _seconds(duration: Proto) -> float:
    return float(duration.seconds + duration.nanos / 1e9)


def _numbers(subscription: Subscription, ack_ids: Iterable[str]) -> list[int]:
    """Return the numbers of the leases that ack ids stand for."""
    numbers = []
    for ack_id in ack_ids:
        name, _, number = ack_id.rpartition(":")
        if name != subscription.config.name or not number.isdecimal():
            raise RefusedError(f"Invalid ack id (ack_id={ack_id})")
        numbers.append(int(number))
    return numbers


def _check_name(name: str, kind: str) -> None:
    """Refuse what cannot be a resource's name."""
    pattern = rf"projects/[^/]+/{kind}/(?!goog)[A-Za-z][\w.~+%-]{{2,254}}"
    if not re.fullmatch(pattern, name, re.ASCII):
        raise RefusedError(f"Invalid [{kind}] name: (name={name})")


def _check_served(resource: Proto) -> None:
    """Refuse a resource with a field that would have to be ignored."""
    for field, _ in resource.ListFields():
        if field.name in UNSERVED:
            message = f"The local emulator has no {field.name}"
            raise RefusedError(message, "UNIMPLEMENTED")
