"""Topics and subscriptions by name, and the messages between them."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from google.pubsub_v1 import types

# A message of protobuf without proto-plus around it, which costs several times as much.
Proto = Any
# ``google.protobuf.Empty``, encoded.
EMPTY = b""
MAX_MESSAGES = 1_000
# Messages at once on a stream, so that a response stays below the limit of a request.
STREAMED_MESSAGES = 100
MAX_BYTES = 10_000_000
MIN_DEADLINE_S = 10
MAX_DEADLINE_S = 600
DEFAULT_DEADLINE_S = 10
# What a subscription may ask for, and nobody keeps here.
UNKEPT = ("filter", "enable_message_ordering", "enable_exactly_once_delivery")
# A failed push waits so long unless there is a retry policy.
PUSH_RETRY_S = 0.1
# A pull that finds nothing answers this long before its client gives up.
PULL_MARGIN_S = 1.0


class RefusedError(Exception):
    """A request that is answered with an error. Knows its gRPC status, by name."""

    def __init__(self, message: str, status: str = "INVALID_ARGUMENT") -> None:
        super().__init__(message)
        self.status = status


@dataclass(slots=True, eq=False)
class Delivery:
    """A message for one subscription, and how often it has been delivered."""

    message: Proto
    attempts: int = 0


def timestamp(moment: Proto) -> str:
    """Return a time as Pub/Sub writes it: UTC, in milliseconds."""
    date_and_time = datetime.fromtimestamp(moment.seconds, UTC).isoformat()[:19]
    return f"{date_and_time}.{moment.nanos // 1_000_000:03d}Z"


class Subscription:
    """The messages of one subscription: ready, leased to a consumer, or backing off."""

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
        """Add messages, and wake the pulls that wait for them."""
        if not self.is_deleted:
            self.ready.extend(deliveries)
        for watcher in list(self.watchers):
            watcher()

    def take(self, limit: int) -> Iterator[tuple[int, Delivery]]:
        """Lease messages that are ready until their deadline, with their numbers."""
        while self.ready and limit > 0:
            delivery = self.ready.popleft()
            limit = limit - 1
            delivery.attempts += 1
            number = next(self._numbers)
            self._lease(number, delivery, self.config.ack_deadline_seconds)
            yield number, delivery

    def _lease(self, number: int, delivery: Delivery, seconds: int) -> None:
        timer = self._loop.call_later(seconds, self.nack, number)
        self._leases[number] = delivery, timer

    def is_leased(self, number: int) -> bool:
        """Return whether a message is still with its consumer."""
        return number in self._leases

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
            self._loop.call_later(pause_s, self.offer, [delivery])

    def extend(self, number: int, seconds: int) -> None:
        """Let a lease end so many seconds from now; zero is a nack."""
        if seconds == 0:
            self.nack(number)
        elif delivery := self.acknowledge(number):
            self._lease(number, delivery, seconds)

    def delete(self) -> None:
        """End every lease and forget all messages."""
        self.is_deleted = True
        for number in list(self._leases):
            self.acknowledge(number)
        self.ready.clear()
        self.offer([])

    def _backoff_s(self, attempts: int) -> float:
        if not self.config.HasField("retry_policy"):
            return PUSH_RETRY_S if self.config.push_config.push_endpoint else 0.0
        policy = self.config.retry_policy
        # The exponent is bounded: floats end at some thousand attempts.
        pause_ms = policy.minimum_backoff.ToMilliseconds() * 2.0 ** min(
            attempts - 1, 60
        )
        return float(min(pause_ms, policy.maximum_backoff.ToMilliseconds()) / 1_000)


class Broker:
    """A public method is the RPC of its name, request to response."""

    def __init__(self, push: Callable[[Subscription], Any]) -> None:
        """``push`` begins to push a subscription's messages, until it is closed."""
        self._push = push
        self._topics: dict[str, Proto] = {}
        self._subscriptions: dict[str, Subscription] = {}
        self._pushers: dict[str, Any] = {}
        # A consumer may know messages by their ids for longer than this process lives.
        self._message_ids = itertools.count(time.time_ns() // 1_000)

    def create_topic(self, request: Proto) -> Proto:
        if request.name in self._topics:
            raise RefusedError("Topic already exists", "ALREADY_EXISTS")
        self._topics[request.name] = request
        return request

    def list_topics(self, request: Proto) -> Proto:
        prefix = f"{request.project}/topics/"
        topics = [
            topic for name, topic in self._topics.items() if name.startswith(prefix)
        ]
        return types.ListTopicsResponse.pb()(topics=topics)

    def delete_topic(self, request: Proto) -> Proto:
        self._check_topic(request.topic)
        for subscription in self._subscribers(request.topic):
            subscription.config.topic = "_deleted-topic_"
        del self._topics[request.topic]
        return EMPTY

    def publish(self, request: Proto) -> Proto:
        self._check_topic(request.topic)
        if len(request.messages) > MAX_MESSAGES or request.ByteSize() > MAX_BYTES:
            raise RefusedError(f"More than {MAX_MESSAGES} messages, {MAX_BYTES} bytes")
        ids = self._deliver(request.topic, request.messages)
        return types.PublishResponse.pb()(message_ids=ids)

    def create_subscription(self, request: Proto) -> Proto:
        if request.name in self._subscriptions:
            raise RefusedError("Subscription already exists", "ALREADY_EXISTS")
        self._check_topic(request.topic)
        if request.HasField("dead_letter_policy"):
            self._check_topic(request.dead_letter_policy.dead_letter_topic)
        for wanted in UNKEPT:
            if getattr(request, wanted):
                message = f"{wanted} is not there on this machine"
                raise RefusedError(message, "UNIMPLEMENTED")
        request.push_config.SetInParent()
        if not request.ack_deadline_seconds:
            request.ack_deadline_seconds = DEFAULT_DEADLINE_S
        if not MIN_DEADLINE_S <= request.ack_deadline_seconds <= MAX_DEADLINE_S:
            raise RefusedError("ack_deadline_seconds must be between 10 and 600")
        subscription = Subscription(request, self._bury)
        self._subscriptions[request.name] = subscription
        if request.push_config.push_endpoint:
            self._pushers[request.name] = self._push(subscription)
        return request

    def delete_subscription(self, request: Proto) -> Proto:
        subscription = self._subscription(request.subscription)
        del self._subscriptions[request.subscription]
        if pusher := self._pushers.pop(request.subscription, None):
            pusher.close()
        subscription.delete()
        return EMPTY

    def acknowledge(self, request: Proto) -> Proto:
        subscription = self._subscription(request.subscription)
        for number in _numbers(subscription, request.ack_ids):
            subscription.acknowledge(number)
        # A stream that waits for this may go on.
        subscription.offer([])
        return EMPTY

    def modify_ack_deadline(self, request: Proto) -> Proto:
        subscription = self._subscription(request.subscription)
        for number in _numbers(subscription, request.ack_ids):
            subscription.extend(number, request.ack_deadline_seconds)
        return EMPTY

    async def pull(self, request: Proto, remaining_s: float | None) -> Proto:
        """Return messages as soon as there are any, none once time is nearly over."""
        subscription = self._pulled(request.subscription)
        news = asyncio.Event()
        subscription.watchers.append(news.set)
        if not remaining_s:
            remaining_s = MAX_DEADLINE_S
        try:
            async with asyncio.timeout(remaining_s - PULL_MARGIN_S):
                while not (subscription.ready or subscription.is_deleted):
                    news.clear()
                    await news.wait()
        except TimeoutError:
            pass
        finally:
            subscription.watchers.remove(news.set)
        limit = min(request.max_messages, MAX_MESSAGES)
        received = [
            _received(subscription, *lease) for lease in subscription.take(limit)
        ]
        return types.PullResponse.pb()(received_messages=received)

    async def streaming_pull(
        self, requests: AsyncIterator[Proto]
    ) -> AsyncIterator[Proto]:
        """Yield messages as they come, as many at a time as the client can hold."""
        first = await anext(requests)
        subscription = self._pulled(first.subscription)
        # Below one there is no limit.
        limit = first.max_outstanding_messages
        maximum = limit if limit > 0 else MAX_MESSAGES
        deadline_s = first.stream_ack_deadline_seconds
        if not deadline_s:
            deadline_s = DEFAULT_DEADLINE_S
        held: set[int] = set()  # numbers of leases
        news = asyncio.Event()
        subscription.watchers.append(news.set)
        ended = asyncio.ensure_future(_end(requests))
        ended.add_done_callback(lambda _: news.set())
        try:
            while not (ended.done() or subscription.is_deleted):
                held = set(filter(subscription.is_leased, held))
                room = min(maximum - len(held), STREAMED_MESSAGES)
                received = []
                for number, delivery in subscription.take(room):
                    subscription.extend(number, deadline_s)
                    held.add(number)
                    received.append(_received(subscription, number, delivery))
                if received:
                    yield types.StreamingPullResponse.pb()(received_messages=received)
                else:
                    news.clear()
                    await news.wait()
            if subscription.is_deleted:
                raise RefusedError("Subscription does not exist", "NOT_FOUND")
            await ended
        finally:
            subscription.watchers.remove(news.set)
            ended.cancel()

    def _pulled(self, name: str) -> Subscription:
        """Return a subscription that is not pushed."""
        subscription = self._subscription(name)
        if subscription.config.push_config.push_endpoint:
            message = f"Subscription is a push subscription: (resource={name})"
            raise RefusedError(message, "FAILED_PRECONDITION")
        return subscription

    def _subscription(self, name: str) -> Subscription:
        if name not in self._subscriptions:
            raise RefusedError("Subscription does not exist", "NOT_FOUND")
        return self._subscriptions[name]

    def _check_topic(self, name: str) -> None:
        if name not in self._topics:
            raise RefusedError("Topic not found", "NOT_FOUND")

    def _subscribers(self, topic: str) -> list[Subscription]:
        subscriptions = self._subscriptions.values()
        return [
            subscription
            for subscription in subscriptions
            if subscription.config.topic == topic
        ]

    def _deliver(self, topic: str, messages: Iterable[Proto]) -> list[str]:
        """Give messages ids and a time, and each to every subscription of a topic."""
        milliseconds = time.time_ns() // 1_000_000
        # Copies, because a message of a request keeps the whole request in memory.
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
        if (
            not config.HasField("dead_letter_policy")
            or delivery.attempts < policy.max_delivery_attempts
            # It goes on being delivered: nothing is lost for want of a topic.
            or policy.dead_letter_topic not in self._topics
        ):
            return False
        _, project, _, name = config.name.split("/")
        letter = _copy(delivery.message)
        for key, value in {
            "DeliveryCount": str(delivery.attempts),
            "Subscription": name,
            "SubscriptionProject": project,
            "TopicPublishTime": timestamp(letter.publish_time),
        }.items():
            letter.attributes[f"CloudPubSubDeadLetterSource{key}"] = value
        self._deliver(policy.dead_letter_topic, [letter])
        return True


async def _end(requests: AsyncIterator[Proto]) -> None:
    """Wait until a client ends its stream; it acknowledges and extends by RPCs."""
    async for _ in requests:
        pass


def _received(subscription: Subscription, number: int, delivery: Delivery) -> Proto:
    is_limited = subscription.config.HasField("dead_letter_policy")
    return types.ReceivedMessage.pb()(
        ack_id=f"{subscription.config.name}:{number}",
        message=delivery.message,
        delivery_attempt=delivery.attempts if is_limited else 0,
    )


def _copy(proto: Proto) -> Proto:
    copy = type(proto)()
    copy.CopyFrom(proto)
    return copy


def _numbers(subscription: Subscription, ack_ids: Iterable[str]) -> list[int]:
    """Return the numbers of the leases that ack ids stand for."""
    numbers = []
    for ack_id in ack_ids:
        name, _, number = ack_id.rpartition(":")
        if name != subscription.config.name or not number.isdecimal():
            raise RefusedError(f"Invalid ack id (ack_id={ack_id})")
        numbers.append(int(number))
    return numbers
