"""
Run Pub/Sub on this machine only, for the unmodified clients of google-cloud-pubsub.

    python -m local.pubsub_emulator --port 8093
    PUBSUB_EMULATOR_HOST=127.0.0.1:8093 python …

It serves ``google.pubsub.v1`` over gRPC: topics, subscriptions with filters, publish,
pull, streaming pull with flow control, push, redelivery with back-off, dead letters.
Errors have the codes of Google's own emulator. What it lacks (seek, snapshots, schemas,
ordering, exactly-once, detaching, export subscriptions, unwrapped pushes) it refuses as
UNIMPLEMENTED. Retention, expiration and push credentials are kept, to no effect.

A message is delivered at least once. A delivery ends with an acknowledgement, or with a
nack or its ack deadline, and then the message is delivered again: at once, or after the
back-off of the subscription's retry policy. Messages live in memory and go with the
process; message ids grow from one process to the next.

A push is a POST of what Pub/Sub posts, acknowledged by 102, 200, 201, 202 or 204 within
the ack deadline. An endpoint whose query says, as Eventarc's subscriptions have it,
``?__GCP_CloudEventsMode=CUSTOM_PUBSUB_projects%2FPROJECT%2Ftopics%2FTOPIC`` gets the
headers of a binary CloudEvent too, which on Google Cloud the platform adds. Google's
emulator adds none.

All of it runs in one event loop, so that nothing here takes a lock: ``Broker`` holds
topics and subscriptions, ``Subscription`` its messages, ``Pusher`` pushes those of one
subscription, ``Stream`` sends them to one client, and ``handlers`` speak gRPC.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import itertools
import json
import logging
import os
import re
import shutil
import signal
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import parse_qs, urlsplit

import grpc
import orjson
from google.pubsub_v1 import types

from local.processes import stop_with

HOST = "127.0.0.1"
PUBLISHER = (
    *("CreateTopic", "GetTopic", "UpdateTopic", "DeleteTopic", "ListTopics"),
    *("ListTopicSubscriptions", "Publish"),
)
SUBSCRIBER = (
    *("CreateSubscription", "GetSubscription", "UpdateSubscription"),
    *("DeleteSubscription", "ListSubscriptions", "ModifyPushConfig"),
    *("Acknowledge", "ModifyAckDeadline"),
)
SERVER_OPTIONS = (
    # Two emulators on one port would each get half of what is published.
    ("grpc.so_reuseport", 0),
    # Above what may be published, so that more of it is refused in words.
    ("grpc.max_receive_message_length", 40_000_000),
    # The clients ping every half minute; by default a server takes that for an attack.
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
)
DELETED_TOPIC = "_deleted-topic_"
MAX_MESSAGES = 1_000
MAX_BYTES = 10_000_000
MAX_FILTER_BYTES = 256
DEADLINES_S = range(10, 601)
RETENTION_S = range(600, 31 * 86_400 + 1)
DEFAULT_RETENTION_S = 7 * 86_400
BACKOFFS_S = (10, 600)
DELIVERY_ATTEMPTS = range(5, 101)
# A pull that finds nothing answers this long before its client gives up.
PULL_MARGIN_S = 1.0
# Pushes under way at once: one more for each that succeeds, half for a failure.
FIRST_WINDOW = 4
MAX_WINDOW = 256
# A failed push waits so long unless there is a retry policy. While none succeeds the
# whole subscription waits, twice as long each time, up to the maximum.
PUSH_RETRY_S = 0.1
MAX_PAUSE_S = 1.0
# Servers close idle connections: gunicorn after 2 s, uvicorn after 5 s.
MAX_IDLE_S = 1.0
MAX_HEAD_BYTES = 65_536
ACKNOWLEDGING = frozenset({102, 200, 201, 202, 204})
EVENTS_MODE = "__GCP_CloudEventsMode"
EVENT_TYPE = "google.cloud.pubsub.topic.v1.messagePublished"

# A message of protobuf without proto-plus around it, which costs several times as much.
# The classes are made at run time, so that no type checker knows them.
Proto = Any
# ``google.protobuf.Empty``, encoded.
EMPTY = b""
Matches = Callable[[Mapping[str, str]], bool]

logger = logging.getLogger("pubsub_emulator")


class RefusedError(Exception):
    """A request that is answered with an error. Knows its gRPC status, by name."""

    def __init__(self, message: str, status: str = "INVALID_ARGUMENT") -> None:
        super().__init__(message)
        self.status = status


# -- topics and subscriptions ---------------------------------------------------------


@dataclass(slots=True, eq=False)
class Delivery:
    """A message for one subscription, and how often it has been delivered."""

    message: Proto
    attempts: int = 0


@dataclass(slots=True, eq=False)
class Lease:
    """A delivery that a consumer has until its deadline."""

    delivery: Delivery
    timer: asyncio.TimerHandle
    on_end: Callable[[Delivery], None]


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
        self._matches = Filter.of(config.filter)
        self._leases: dict[int, Lease] = {}
        # An ack id from before a restart must not acknowledge another message.
        self._numbers = itertools.count(time.time_ns())
        self._loop = asyncio.get_running_loop()
        self._is_waking = False

    def offer(self, messages: Iterable[Proto]) -> None:
        """Add new messages; those that the filter does not match count as done."""
        matching = (new for new in messages if self._matches(new.attributes))
        self.ready.extend(map(Delivery, matching))
        self.wake()

    def take(
        self,
        limit: int,
        *,
        seconds: int,
        max_bytes: int = MAX_BYTES,
        on_end: Callable[[Delivery], None] = lambda _: None,
    ) -> dict[int, Delivery]:
        """
        Lease messages that are ready, which delivers them.

        Args:
            limit: How many at most.
            seconds: Until they are delivered again unless acknowledged.
            max_bytes: The last of them may go beyond.
            on_end: Called when a lease ends, however it does.

        Returns:
            The deliveries by the numbers of their leases.
        """
        taken: dict[int, Delivery] = {}
        while self.ready and len(taken) < limit and max_bytes > 0:
            delivery = self.ready.popleft()
            delivery.attempts += 1
            number = next(self._numbers)
            timer = self._loop.call_later(seconds, self.nack, number)
            self._leases[number] = Lease(delivery, timer, on_end)
            taken[number] = delivery
            max_bytes -= delivery.message.ByteSize()
        return taken

    def acknowledge(self, number: int) -> Delivery | None:
        """End a lease, and be done with its message; None if it had ended already."""
        lease = self._leases.pop(number, None)
        if lease is None:
            return None
        lease.timer.cancel()
        lease.on_end(lease.delivery)
        return lease.delivery

    def nack(self, number: int) -> None:
        """End a lease without success: its message is buried or delivered again."""
        delivery = self.acknowledge(number)
        if delivery is not None and not self._bury(self.config, delivery):
            backoff_s = self._backoff_s(delivery.attempts)
            self._loop.call_later(backoff_s, self._return, delivery)

    def extend(self, number: int, seconds: int) -> None:
        """Let a lease end so many seconds from now; zero is a nack."""
        if seconds == 0:
            self.nack(number)
        elif lease := self._leases.get(number):
            lease.timer.cancel()
            lease.timer = self._loop.call_later(seconds, self.nack, number)

    def delete(self) -> None:
        """End every lease and forget all messages."""
        self.is_deleted = True
        for number in list(self._leases):
            self.acknowledge(number)
        self.ready.clear()
        self.wake()

    def wake(self) -> None:
        """Call the watchers, once for all that happens in this turn of the loop."""
        if not self._is_waking:
            self._is_waking = True
            self._loop.call_soon(self._call_watchers)

    def numbers(self, ack_ids: Iterable[str]) -> list[int]:
        """Return the numbers of the leases that ack ids stand for."""
        numbers = []
        for ack_id in ack_ids:
            name, _, number = ack_id.rpartition(":")
            if name != self.config.name or not number.isdecimal():
                raise RefusedError(f"Invalid ack id (ack_id={ack_id})")
            numbers.append(int(number))
        return numbers

    def check_pullable(self) -> None:
        """Refuse a pull where there is nothing to pull from."""
        name = self.config.name
        if self.is_deleted:
            raise RefusedError(f"Subscription does not exist ({name})", "NOT_FOUND")
        if self.config.push_config.push_endpoint:
            message = f"Subscription is a push subscription: (resource={name})"
            raise RefusedError(message, "FAILED_PRECONDITION")

    def _call_watchers(self) -> None:
        self._is_waking = False
        for watcher in list(self.watchers):
            watcher()

    def _backoff_s(self, attempts: int) -> float:
        if not self.config.HasField("retry_policy"):
            return PUSH_RETRY_S if self.config.push_config.push_endpoint else 0.0
        policy = self.config.retry_policy
        # The exponent is bounded: floats end at some thousand attempts.
        longer = seconds_of(policy.minimum_backoff) * 2.0 ** min(attempts - 1, 60)
        return min(longer, seconds_of(policy.maximum_backoff))

    def _return(self, delivery: Delivery) -> None:
        if not self.is_deleted:
            self.ready.append(delivery)
            self.wake()


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

    def update_topic(self, request: Proto) -> Proto:
        topic = self._topic(request.topic.name)
        mutable = {"labels", "message_retention_duration"}
        merge(topic, request.topic, request.update_mask, mutable)
        return topic

    def delete_topic(self, request: Proto) -> Proto:
        for subscription in self._subscribers(self._topic(request.topic).name):
            subscription.config.topic = DELETED_TOPIC
        del self._topics[request.topic]
        return EMPTY

    def list_topics(self, request: Proto) -> Proto:
        names = [name for name in self._topics if is_in(request.project, name)]
        topics = [self._topics[name] for name in sorted(names)]
        return types.ListTopicsResponse.pb()(topics=topics)

    def list_topic_subscriptions(self, request: Proto) -> Proto:
        names = [one.config.name for one in self._subscribers(request.topic)]
        response = types.ListTopicSubscriptionsResponse.pb()
        return response(subscriptions=sorted(names))

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
        Filter.of(request.filter)
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

    def list_subscriptions(self, request: Proto) -> Proto:
        names = [name for name in self._subscriptions if is_in(request.project, name)]
        configs = [self._subscriptions[name].config for name in sorted(names)]
        return types.ListSubscriptionsResponse.pb()(subscriptions=configs)

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
        return [one for one in every if one.config.topic == topic]

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
        refuse(config, "detached")
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


def merge(resource: Proto, given: Proto, mask: Proto, mutable: set[str]) -> None:
    """Replace the fields that an update names."""
    if not mask.paths:
        raise RefusedError("The update_mask must be set, with a non-empty paths list.")
    for path in mask.paths:
        if path not in mutable:
            raise RefusedError(f"Invalid update_mask: {path} cannot be updated.")
    mask.MergeMessage(given, resource, True, True)


def acknowledge(subscription: Subscription, ack_ids: Iterable[str]) -> None:
    """Acknowledge leases by what their consumer calls them."""
    for number in subscription.numbers(ack_ids):
        subscription.acknowledge(number)


def extend(
    subscription: Subscription, ack_ids: Iterable[str], seconds: Iterable[int]
) -> None:
    """Set the deadlines of leases by what their consumer calls them."""
    for each in seconds:
        if not 0 <= each < DEADLINES_S.stop:
            raise RefusedError("Ack deadline cannot be negative or above 600 seconds")
    for number, each in zip(subscription.numbers(ack_ids), seconds, strict=True):
        subscription.extend(number, each)


class Filter:
    """
    A subscription's filter, read from left to right.

    ``attributes:KEY``, ``attributes.KEY = "TEXT"``, ``hasPrefix(attributes.KEY, "T")``,
    ``NOT`` or ``-``, ``AND``, ``OR``, and parentheses, without which ``AND`` and ``OR``
    do not mix. ``!=`` is not read: ``NOT`` says what is meant of messages without KEY.
    """

    _STRING = r'"(?:[^"\\]|\\.)*"'
    _KEY = rf"[\w-]+|{_STRING}"
    _PRESENT = rf"attributes\s*:\s*({_KEY})"
    _EQUAL = rf"attributes\s*\.\s*({_KEY})\s*=\s*({_STRING})"
    _PREFIX = rf"hasPrefix\s*\(\s*attributes\s*\.\s*({_KEY})\s*,\s*({_STRING})\s*\)"

    def __init__(self, text: str) -> None:
        self._text = text
        self._place = 0

    @classmethod
    def of(cls, text: str) -> Matches:
        """
        Return what tells whether a message's attributes match.

        Raises:
            RefusedError: The filter has another form, or is too long.
        """
        if not text.strip():
            return lambda _: True
        reader = cls(text)
        matches = reader._expression()
        if reader._place < len(text) or len(text.encode()) > MAX_FILTER_BYTES:
            reader._fail()
        return matches

    def _expression(self) -> Matches:
        terms = [self._term()]
        operator, *_ = self._next(r"(AND|OR)\b") or [""]
        while operator:
            terms.append(self._term())
            if not self._next(rf"({operator})\b"):
                break
        combine = any if operator == "OR" else all
        return lambda attributes: combine(matches(attributes) for matches in terms)

    def _term(self) -> Matches:
        if self._next(r"(NOT\b|-)"):
            negated = self._term()
            return lambda attributes: not negated(attributes)
        if self._next(r"(\()"):
            inner = self._expression()
            return inner if self._next(r"(\))") else self._fail()
        if found := self._next(self._PRESENT):
            [key] = found
            return lambda attributes: key in attributes
        if found := self._next(self._EQUAL):
            key, value = found
            return lambda attributes: key in attributes and attributes[key] == value
        if found := self._next(self._PREFIX):
            key, value = found
            return lambda attributes: (
                key in attributes and attributes[key].startswith(value)
            )
        return self._fail()

    def _next(self, pattern: str) -> list[str]:
        """Read on over what has this form, if it has, and return its parts."""
        whole = re.compile(rf"\s*{pattern}\s*", re.ASCII)
        if not (match := whole.match(self._text, self._place)):
            return []
        self._place = match.end()
        try:
            return [json.loads(one) if one[0] == '"' else one for one in match.groups()]
        except ValueError:
            self._fail()

    def _fail(self) -> NoReturn:
        rest = self._text[self._place :]
        raise RefusedError(f"The filter {self._text!r} cannot be read from {rest!r} on")


def copy_of(proto: Proto) -> Proto:
    """Return a copy that shares nothing with the original."""
    copy = type(proto)()
    copy.CopyFrom(proto)
    return copy


def seconds_of(duration: Proto) -> float:
    """Return a duration in seconds."""
    return float(duration.seconds + duration.nanos / 1e9)


def timestamp(moment: Proto) -> str:
    """Return a time as Pub/Sub writes it: UTC, in milliseconds."""
    date_and_time = datetime.fromtimestamp(moment.seconds, UTC).isoformat()[:19]
    return f"{date_and_time}.{moment.nanos // 1_000_000:03d}Z"


# -- push -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Endpoint:
    """Where a subscription is pushed to; with a source, as CloudEvents."""

    host: str
    port: int
    is_secure: bool
    head: str
    source: str | None

    @classmethod
    def of(cls, url: str) -> Endpoint:
        """
        Read the URL of an endpoint.

        Raises:
            RefusedError: It is not one, or has another mode of CloudEvents.
        """
        try:
            parts = urlsplit(url)
            usual_port = {"http": 80, "https": 443}[parts.scheme]
            port = parts.port or usual_port
        except (KeyError, ValueError) as error:
            raise RefusedError("Unsupported push_endpoint") from error
        if not parts.hostname or not re.fullmatch(r"[!-~]+", url):
            raise RefusedError("Unsupported push_endpoint")
        mode = parse_qs(parts.query).get(EVENTS_MODE, [""])[-1]
        topic = re.fullmatch(r"CUSTOM_PUBSUB_(projects/[^/\s]+/topics/[^/\s]+)", mode)
        if mode and not topic:
            message = f"The local emulator has no {EVENTS_MODE} {mode!r}"
            raise RefusedError(message, "UNIMPLEMENTED")
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {parts.netloc.rpartition('@')[2]}\r\n"
            "Content-Type: application/json\r\nUser-Agent: CloudPubSub-Google\r\n"
        )
        source = f"//pubsub.googleapis.com/{topic[1]}" if topic else None
        return cls(parts.hostname, port, parts.scheme == "https", head, source)

    def request(self, config: Proto, delivery: Delivery) -> bytes:
        """Return the HTTP request that pushes a message; empty fields are left out."""
        message = delivery.message
        publish_time = timestamp(message.publish_time)
        fields: dict[str, object] = {}
        if message.attributes:
            fields["attributes"] = dict(message.attributes)
        if message.data:
            fields["data"] = base64.b64encode(message.data).decode()
        fields["messageId"] = fields["message_id"] = message.message_id
        if message.ordering_key:
            fields["orderingKey"] = message.ordering_key
        fields["publishTime"] = fields["publish_time"] = publish_time
        whole: dict[str, object] = {"message": fields, "subscription": config.name}
        if config.HasField("dead_letter_policy"):
            whole["deliveryAttempt"] = delivery.attempts
        body = orjson.dumps(whole)
        event = (
            f"ce-id: {message.message_id}\r\nce-specversion: 1.0\r\n"
            f"ce-type: {EVENT_TYPE}\r\nce-source: {self.source}\r\n"
            f"ce-time: {publish_time}\r\n"
        )
        head = f"{self.head}{event if self.source else ''}Content-Length: {len(body)}"
        return head.encode() + b"\r\n\r\n" + body


def read_answer(received: bytes) -> tuple[int, bool] | None:
    """
    Return an answer's status, and whether more can be asked on its connection.

    An answer that does not state its length is done with its head, and so is its
    connection. None while there is more to come.

    Raises:
        ValueError: It is not HTTP.
    """
    head, end, body = received.partition(b"\r\n\r\n")
    if not end and len(head) < MAX_HEAD_BYTES:
        return None
    first = re.match(rb"HTTP/1\.([01]) (\d{3})", head)
    if not first or not end:
        raise ValueError(f"answers with {head[:40]!r}")
    status = int(first[2])
    if status in (100, 103):
        return read_answer(body)
    stated = re.search(rb"(?i)\r\nContent-Length:[ \t]*(\d+)", head)
    length = 0 if status == 204 else int(stated[1]) if stated else None
    if length is not None and len(body) < length:
        return None
    closes = re.search(rb"(?i)\r\nConnection:[ \t]*close", head)
    return status, len(body) == length and first[1] == b"1" and not closes


class Connection(asyncio.Protocol):
    """One connection to an endpoint, with one push under way at most."""

    def __init__(self, pusher: Pusher) -> None:
        self.is_open = True
        self.since = 0.0
        self._pusher = pusher
        self._number: int | None = None
        self._request = b""
        self._received = b""
        self._transport: asyncio.Transport | None = None
        self._connecting: asyncio.Task[None] | None = None

    def push(self, number: int, request: bytes) -> None:
        """Send the message of a lease; ``Pusher.finish`` is told how it went."""
        self._number, self._request, self._received = number, request, b""
        if self._transport is None:
            self._connecting = asyncio.create_task(self._connect())
        else:
            self._transport.write(request)

    def expire(self, _: Delivery) -> None:
        """Give the push up if it is still under way when its lease ends."""
        if self._number is not None:
            self.close()
            self._finish("does not answer before the ack deadline")

    def close(self) -> None:
        """Use it no more."""
        self.is_open = False
        if self._transport is not None:
            self._transport.abort()

    async def _connect(self) -> None:
        endpoint, loop = self._pusher.endpoint, asyncio.get_running_loop()
        tls = True if endpoint.is_secure else None
        try:
            await loop.create_connection(
                lambda: self, endpoint.host, endpoint.port, ssl=tls
            )
        except OSError as error:
            self.is_open = False
            self._finish(f"cannot be reached: {error}")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if self.is_open:
            transport.write(self._request)
        else:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._number is None:
            self.close()
            return
        self._received += data
        try:
            answer = read_answer(self._received)
        except ValueError as error:
            self.is_open = False
            self._finish(str(error))
            return
        if answer is not None:
            status, self.is_open = answer
            is_done = status in ACKNOWLEDGING
            self._finish(None if is_done else f"answers with {status}")

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        self._finish("closes the connection before it answers")

    def _finish(self, failure: str | None) -> None:
        number, self._number, self._request = self._number, None, b""
        if number is not None:
            self._pusher.finish(self, number, failure)


class Pusher:
    """
    Pushes the messages of a subscription, as many at once as the endpoint bears.

    The window grows by one with each success. A failure halves it, once for all pushes
    that were under way then. If none has succeeded since the last such step, pushing
    pauses too: an endpoint that is down is knocked at, not hammered, and a backlog does
    not run out of its attempts.
    """

    def __init__(self, subscription: Subscription, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._subscription = subscription
        self._loop = asyncio.get_running_loop()
        self._window = FIRST_WINDOW
        self._under_way = 0
        self._idle: list[Connection] = []
        self._stepped_back = 0.0
        self._has_succeeded = False
        self._n_pauses = 0
        self._pause: asyncio.TimerHandle | None = None
        self._is_closed = False
        subscription.watchers.append(self._push)
        subscription.wake()

    def finish(self, connection: Connection, number: int, failure: str | None) -> None:
        """Take note that a push succeeded, or of why it failed."""
        self._under_way -= 1
        if failure is None:
            self._subscription.acknowledge(number)
            self._window = min(self._window + 1, MAX_WINDOW)
            self._has_succeeded = True
        else:
            self._subscription.nack(number)
            if connection.since >= self._stepped_back:
                self._step_back(failure)
        if self._is_closed or not connection.is_open:
            connection.close()
        else:
            connection.since = self._loop.time()
            self._idle.append(connection)
        self._push()

    def close(self) -> None:
        """Push no more; what is under way may still be acknowledged."""
        self._is_closed = True
        self._subscription.watchers.remove(self._push)
        for connection in self._idle:
            connection.close()

    def _push(self) -> None:
        config, ready = self._subscription.config, self._subscription.ready
        while ready and self._under_way < self._window:
            if self._pause is not None or self._is_closed:
                return
            connection = self._connection()
            taken = self._subscription.take(
                1, seconds=config.ack_deadline_seconds, on_end=connection.expire
            )
            for number, delivery in taken.items():
                self._under_way += 1
                connection.since = self._loop.time()
                connection.push(number, self.endpoint.request(config, delivery))

    def _connection(self) -> Connection:
        """Return an idle connection, or a new one where the server might close it."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open and self._loop.time() < connection.since + MAX_IDLE_S:
                return connection
            connection.close()
        return Connection(self)

    def _step_back(self, failure: str) -> None:
        self._stepped_back = self._loop.time()
        self._window = max(1, self._window // 2)
        self._n_pauses = 0 if self._has_succeeded else self._n_pauses + 1
        self._has_succeeded = False
        if self._n_pauses == 1:
            logger.warning("%s: %s", self._subscription.config.name, failure)
        if self._n_pauses:
            pause_s = PUSH_RETRY_S * 2.0 ** min(self._n_pauses - 1, 60)
            self._pause = self._loop.call_later(min(pause_s, MAX_PAUSE_S), self._resume)

    def _resume(self) -> None:
        self._pause = None
        self._push()


# -- pull -----------------------------------------------------------------------------


def received(subscription: Subscription, taken: Mapping[int, Delivery]) -> list[Proto]:
    """Return leases as pulls do; attempts are told where they are limited."""
    config = subscription.config
    is_limited = config.HasField("dead_letter_policy")
    return [
        types.ReceivedMessage.pb()(
            ack_id=f"{config.name}:{number}",
            message=delivery.message,
            delivery_attempt=delivery.attempts if is_limited else 0,
        )
        for number, delivery in taken.items()
    ]


async def pull(subscription: Subscription, request: Proto, wait_s: float) -> Proto:
    """Return messages as soon as there are any, none after a while without."""
    if request.max_messages == 0:
        raise RefusedError("No max_messages specified")
    limit = min(request.max_messages, MAX_MESSAGES)
    taken: dict[int, Delivery] = {}
    news = asyncio.Event()
    subscription.watchers.append(news.set)
    try:
        async with asyncio.timeout(0 if request.return_immediately else wait_s):
            while not taken:
                subscription.check_pullable()
                seconds = subscription.config.ack_deadline_seconds
                if not (taken := subscription.take(limit, seconds=seconds)):
                    news.clear()
                    await news.wait()
    except TimeoutError:
        pass
    finally:
        subscription.watchers.remove(news.set)
    return types.PullResponse.pb()(received_messages=received(subscription, taken))


class Stream:
    """One streaming pull: its client is sent what it has room for."""

    def __init__(self, subscription: Subscription, first: Proto) -> None:
        if not first.stream_ack_deadline_seconds:
            raise RefusedError("first message must set stream_ack_deadline_seconds")
        self._subscription = subscription
        self._news = asyncio.Event()
        self._max_messages = first.max_outstanding_messages
        self._max_bytes = first.max_outstanding_bytes
        self._messages_out = 0
        self._bytes_out = 0
        self._deadline_s = 0
        self._obey(first)

    async def responses(self, requests: AsyncIterator[Proto]) -> AsyncIterator[Proto]:
        """Send messages and obey requests until the client ends its side."""
        reader = asyncio.create_task(self._read(requests))
        reader.add_done_callback(lambda _: self._news.set())
        self._subscription.watchers.append(self._news.set)
        try:
            while not reader.done():
                self._subscription.check_pullable()
                self._news.clear()
                if messages := received(self._subscription, self._take()):
                    response = types.StreamingPullResponse.pb()
                    yield response(received_messages=messages)
                else:
                    await self._news.wait()
            reader.result()
        finally:
            reader.cancel()
            self._subscription.watchers.remove(self._news.set)

    async def _read(self, requests: AsyncIterator[Proto]) -> None:
        async for request in requests:
            if request.subscription:
                raise RefusedError("subscription may only be set in first message")
            self._obey(request)

    def _obey(self, request: Proto) -> None:
        if request.stream_ack_deadline_seconds:
            self._deadline_s = request.stream_ack_deadline_seconds
        if self._deadline_s not in DEADLINES_S:
            raise RefusedError(
                "stream_ack_deadline_seconds must be between 10 and 600 seconds"
            )
        acknowledge(self._subscription, request.ack_ids)
        ids, seconds = request.modify_deadline_ack_ids, request.modify_deadline_seconds
        extend(self._subscription, ids, seconds)

    def _take(self) -> dict[int, Delivery]:
        """Lease what there is room for; a limit of zero or less is none."""
        limit, max_bytes = MAX_MESSAGES, MAX_BYTES
        if self._max_messages > 0:
            limit = min(limit, self._max_messages - self._messages_out)
        if self._max_bytes > 0:
            max_bytes = min(max_bytes, self._max_bytes - self._bytes_out)
        taken = self._subscription.take(
            limit, seconds=self._deadline_s, max_bytes=max_bytes, on_end=self._settle
        )
        self._messages_out += len(taken)
        self._bytes_out += sum(one.message.ByteSize() for one in taken.values())
        return taken

    def _settle(self, delivery: Delivery) -> None:
        self._messages_out -= 1
        self._bytes_out -= delivery.message.ByteSize()
        self._news.set()


# -- gRPC -----------------------------------------------------------------------------


def encode(response: Proto) -> bytes:
    """Return a response as it is sent."""
    return EMPTY if response is EMPTY else bytes(response.SerializeToString())


async def refused(context: Any, error: RefusedError) -> NoReturn:
    """Answer a call with an error."""
    await context.abort(grpc.StatusCode[error.status], str(error))
    raise error


def unary(rpc: str, answer: Callable[[Proto], Proto]) -> Any:
    """Return the handler of an RPC that is answered at once."""
    name = {"CreateTopic": "Topic", "CreateSubscription": "Subscription"}.get(rpc)
    request_type = getattr(types, name or f"{rpc}Request").pb()

    async def handler(request: Proto, context: Any) -> Proto:
        try:
            return answer(request)
        except RefusedError as error:
            await refused(context, error)

    return grpc.unary_unary_rpc_method_handler(handler, request_type.FromString, encode)


def handlers(broker: Broker) -> list[Any]:
    """Return what serves both services, on the client library's own types."""

    async def answer_pull(request: Proto, context: Any) -> Proto:
        wait_s = (context.time_remaining() or DEADLINES_S.stop) - PULL_MARGIN_S
        try:
            subscription = broker.subscription(request.subscription)
            return await pull(subscription, request, wait_s)
        except RefusedError as error:
            await refused(context, error)

    async def stream_pull(requests: Any, context: Any) -> AsyncIterator[Proto]:
        incoming = aiter(requests)
        try:
            first = await anext(incoming, types.StreamingPullRequest.pb()())
            stream = Stream(broker.subscription(first.subscription), first)
            async for response in stream.responses(incoming):
                yield response
        except RefusedError as error:
            await refused(context, error)

    def method(rpc: str) -> Callable[[Proto], Proto]:
        answer: Callable[[Proto], Proto] = getattr(
            broker, re.sub(r"\B([A-Z])", r"_\1", rpc).lower()
        )
        return answer

    publisher = {rpc: unary(rpc, method(rpc)) for rpc in PUBLISHER}
    subscriber = {rpc: unary(rpc, method(rpc)) for rpc in SUBSCRIBER}
    subscriber["Pull"] = grpc.unary_unary_rpc_method_handler(
        answer_pull, types.PullRequest.pb().FromString, encode
    )
    subscriber["StreamingPull"] = grpc.stream_stream_rpc_method_handler(
        stream_pull, types.StreamingPullRequest.pb().FromString, encode
    )
    return [
        grpc.method_handlers_generic_handler(f"google.pubsub.v1.{name}", methods)
        for name, methods in (("Publisher", publisher), ("Subscriber", subscriber))
    ]


# -- process --------------------------------------------------------------------------


async def serve(host: str, port: int) -> None:
    """
    Serve until SIGTERM or SIGINT.

    Raises:
        RuntimeError: The port is taken.
    """
    server = grpc.aio.server(options=SERVER_OPTIONS)
    server.add_generic_rpc_handlers(handlers(Broker()))
    server.add_insecure_port(f"{host}:{port}")
    await server.start()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    await stopping.wait()
    await server.stop(grace=None)


def is_serving(address: str) -> bool:
    """Whether an emulator, this or Google's, answers at ``HOST:PORT``."""
    request = types.ListTopicsRequest(project="projects/none")
    with grpc.insecure_channel(address) as channel:
        list_topics = channel.unary_unary(
            "/google.pubsub.v1.Publisher/ListTopics",
            request_serializer=types.ListTopicsRequest.serialize,
        )
        try:
            list_topics(request, timeout=5)
        except grpc.RpcError:
            return False
    return True


def google_command(port: int, folder: Path) -> list[str] | None:
    """
    Return the command that runs Google's own emulator, None where it is not installed.

    It takes the ``pubsub-emulator`` component of the gcloud command line and Java.

    Args:
        port: Free port of 127.0.0.1.
        folder: Where Java keeps its temporary files; it exists.
    """
    gcloud, home = shutil.which("gcloud"), os.environ.get("JAVA_HOME")
    java = shutil.which(f"{home}/bin/java" if home else "java")
    if gcloud is None or java is None:
        return None
    library = Path(gcloud).resolve().parents[1] / "platform/pubsub-emulator/lib"
    jars = sorted(library.glob("cloud-pubsub-emulator-*.jar"))
    if not jars:
        return None
    options = [f"-Djava.io.tmpdir={folder}", "-XX:-UsePerfData"]
    return [java, *options, "-jar", str(jars[-1]), f"--host={HOST}", f"--port={port}"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(
        "python -m local.pubsub_emulator", description="Pub/Sub, kept in memory."
    )
    parser.add_argument("--host", default=HOST)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--parent", type=int, help="stop when this process has gone")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    if given.parent is not None:
        stop_with(given.parent)
    asyncio.run(serve(given.host, given.port))


if __name__ == "__main__":
    main()
