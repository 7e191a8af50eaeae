"""
Dead letters: count them, and send them again.

There are two kinds. A message that can never become an event is refused: it is a row of
the table ``dead_letters``, for a week. A message whose every delivery failed waits in
the subscription ``dead-letters-replay``, for a week as well.

Sending again is harmless: an event counts once under its event_id, however often it
comes. A message without one is sent with its message id as event_id.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from importlib import resources
from typing import Any

import msgspec
from google.api_core import exceptions as api
from google.api_core.retry import Retry, if_exception_type
from google.pubsub_v1.services.publisher import PublisherClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber import SubscriberClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from google.pubsub_v1.types import PubsubMessage

from propensity import topics
from propensity.errors import MissingTable, PropensityError, Unavailable
from propensity.events.dead_letters import MAXIMUM_RAW_BYTES
from propensity.gcp.clients import open_client
from propensity.gcp.warehouse import Warehouse
from propensity.settings import Settings
from propensity.statements import statement

SQL = resources.files(__package__)
SUBSCRIPTION = "dead-letters-replay"

# Rows of the table expire after a week.
KEPT = timedelta(days=7)

PULLED = 500
PULL_S = 5.0
# Of a Publish request, which takes ten million.
MAXIMUM_BYTES = 9_000_000

# What Pub/Sub adds to the attributes of a dead letter.
ADDED = "CloudPubSubDeadLetter"
ORIGIN = "CloudPubSubDeadLetterSourceSubscription"

_RETRY = Retry(
    predicate=if_exception_type(
        api.Aborted,
        api.InternalServerError,
        api.ResourceExhausted,
        api.ServiceUnavailable,
        api.Unknown,
    ),
    initial=0.1,
    maximum=5.0,
    timeout=60.0,
)


class _Head(msgspec.Struct):
    event_id: Any = None


_decode = msgspec.json.Decoder(_Head).decode


@dataclass(frozen=True, kw_only=True)
class Letters:
    """
    How many dead letters there are.

    ``refused`` counts the rows of a week by reason and field; ``waiting`` the messages
    of the subscription, up to ``PULLED``.
    """

    refused: Sequence[Mapping[str, Any]]
    waiting: int

    def __str__(self) -> str:
        lines = [
            f"{row['messages']:>9,}  {row['reason']}"
            + (f" ({row['field']})" if row["field"] else "")
            + f", last at {row['last_at']:%Y-%m-%d %H:%M} UTC"
            for row in self.refused
        ]
        total = sum(row["messages"] for row in self.refused)
        more = " or more" if self.waiting >= PULLED else ""
        return "\n".join(
            [
                f"{total:,} messages were refused in the last seven days:"
                if lines
                else "No message was refused in the last seven days.",
                *lines,
                f"{self.waiting:,}{more} messages failed too often and wait to be "
                "replayed.",
            ]
        )


@dataclass(kw_only=True)
class Replayed:
    """What was sent, by topic, and what was left out, by reason."""

    is_dry: bool
    sent: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        verb = "would be sent" if self.is_dry else "sent"
        topics_ = [f"  {n:,} to {name}" for name, n in sorted(self.sent.items())]
        left = [f"{n:,} left out: {why}" for why, n in sorted(self.left_out.items())]
        return "\n".join([f"{self.sent.total():,} messages {verb}", *topics_, *left])


def letters(settings: Settings, *, now: datetime) -> Letters:
    """
    Count the dead letters of a deployment.

    Raises:
        PropensityError: BigQuery or Pub/Sub cannot be read.
    """
    since = now - KEPT
    with contextlib.closing(Warehouse.open(settings)) as warehouse:
        rows = warehouse.rows(
            statement("refused_by_reason", own=SQL),
            {"since": since, "since_day": since.date()},
        )
    with Subscription.opened(settings) as subscription:
        waiting = len(subscription.pull(PULLED))
    return Letters(refused=[dict(row.items()) for row in rows], waiting=waiting)


def replay(
    settings: Settings,
    *,
    topic: str | None = None,
    limit: int | None = None,
    is_dry: bool = False,
) -> Replayed:
    """
    Send messages that failed too often back to the topics that they failed on.

    Each is acknowledged once it is published; one that is not comes again within a
    minute. It ends when no message comes for five seconds. What another replay has
    pulled and not acknowledged cannot be seen, and comes again after a minute.

    Args:
        topic: Where all go instead.
        limit: The maximum of messages.

    Raises:
        PropensityError: Pub/Sub failed. What was sent by then is acknowledged.
    """
    replayed = Replayed(is_dry=is_dry)
    left = limit
    with Subscription.opened(settings) as subscription, _publisher(settings) as publish:
        while left != 0 and (
            pulled := subscription.pull(PULLED if left is None else min(PULLED, left))
        ):
            left = None if left is None else left - len(pulled)
            by_topic: dict[str, list[Any]] = {}
            for message in pulled:
                to = topic or origin(message, settings)
                if to is None:
                    by = message.attributes[ORIGIN]
                    replayed.left_out[f"of the unknown subscription {by}"] += 1
                else:
                    by_topic.setdefault(to, []).append(message)
            for to, some in by_topic.items():
                if not is_dry:
                    publish(to, [returned(message) for message in some])
                    subscription.acknowledge(some)
                replayed.sent[to] += len(some)
    return replayed


def replay_refused(
    settings: Settings,
    *,
    since: datetime,
    until: datetime,
    reason: str = "",
    topic: str | None = None,
    limit: int | None = None,
    is_dry: bool = False,
) -> Replayed:
    """
    Send messages of the table ``dead_letters`` again, as they came.

    Args:
        since: First moment of receipt.
        until: End of the period, which it does not include.
        reason: Only those refused for it; empty for all.
        topic: Where they go; that of events by default.
        limit: The maximum of messages.

    Raises:
        PropensityError: BigQuery or Pub/Sub failed.
    """
    replayed = Replayed(is_dry=is_dry)
    to = topic or topics.topic_name(settings, topics.EVENTS)
    parameters = {
        "since": since,
        "until": until,
        "first_day": since.date(),
        "last_day": until.date(),
        "reason": reason,
    }
    with (
        contextlib.closing(Warehouse.open(settings)) as warehouse,
        _publisher(settings) as publish,
    ):
        for batch in warehouse.batches(
            statement("replay_dead_letters", own=SQL), parameters
        ):
            messages: list[PubsubMessage] = []
            for row in batch.to_pylist():
                if limit is not None and replayed.sent[to] + len(messages) >= limit:
                    break
                # Of a large one only the beginning was kept.
                if (row["raw_size"] or 0) > MAXIMUM_RAW_BYTES:
                    replayed.left_out["only its beginning was kept"] += 1
                    continue
                messages.append(
                    PubsubMessage(
                        data=row["raw"] or b"",
                        attributes=identified(
                            row["raw"] or b"",
                            json.loads(row["attributes"] or "{}"),
                            row["message_id"],
                        ),
                    )
                )
            if not is_dry:
                publish(to, messages)
            replayed.sent[to] += len(messages)
    return replayed


def origin(message: PubsubMessage, settings: Settings) -> str | None:
    """Return the topic that a dead letter failed on; None if nobody here knows it."""
    known = {
        topics.subscription_name(settings, subscription): subscription.topic
        for subscription in topics.SUBSCRIPTIONS
    }
    name = message.attributes.get(ORIGIN)
    # One without an origin was published by hand.
    topic = topics.EVENTS if name is None else known.get(name)
    return None if topic is None else topics.topic_name(settings, topic)


def returned(message: PubsubMessage) -> PubsubMessage:
    """Return a dead letter as the message that it was, with an identity."""
    attributes = {
        name: value
        for name, value in message.attributes.items()
        if not name.startswith(ADDED)
    }
    return PubsubMessage(
        data=message.data,
        attributes=identified(message.data, attributes, message.message_id),
    )


def identified(
    data: bytes, attributes: Mapping[str, str], message_id: str
) -> Mapping[str, str]:
    """Return attributes with an ``event_id``, unless the payload or they have one."""
    with contextlib.suppress(msgspec.MsgspecError, ValueError, RecursionError):
        if _decode(data).event_id:
            return attributes
    return {"event_id": message_id, **attributes}


class Subscription:
    """The subscription to dead letters; ``opened`` releases what was only pulled."""

    def __init__(self, settings: Settings, client: Any) -> None:
        self._name = topics.prefixed(settings.topic_prefix, SUBSCRIPTION)
        self._path = f"projects/{settings.project}/subscriptions/{self._name}"
        self._client = client
        self._held: dict[str, str] = {}  # id for acknowledgement, by message id

    @classmethod
    @contextlib.contextmanager
    def opened(cls, settings: Settings) -> Iterator[Subscription]:
        """Open it; at the end messages that were not acknowledged come back at once."""
        with open_client(
            SubscriberClient,
            SubscriberGrpcTransport,
            endpoint=settings.pubsub_endpoint,
        ) as client:
            subscription = cls(settings, client)
            try:
                yield subscription
            finally:
                subscription.release()

    def pull(self, count: int) -> list[Any]:
        """Return messages that are not held yet, none if none came in time."""
        with _translated(f"subscription {self._name}"):
            try:
                answer = self._client.pull(
                    subscription=self._path,
                    max_messages=count,
                    retry=_RETRY,
                    timeout=PULL_S,
                )
            except api.DeadlineExceeded:
                return []
        new = [
            received.message
            for received in answer.received_messages
            if received.message.message_id not in self._held
        ]
        for received in answer.received_messages:
            self._held[received.message.message_id] = received.ack_id
        return new

    def acknowledge(self, messages: Iterable[Any]) -> None:
        """Take messages out of the subscription, for good."""
        ids = [self._held.pop(message.message_id) for message in messages]
        with _translated(f"subscription {self._name}"):
            self._client.acknowledge(subscription=self._path, ack_ids=ids, retry=_RETRY)

    def release(self) -> None:
        """Give back what is held; otherwise it comes back after a minute."""
        ids = list(self._held.values())
        with contextlib.suppress(api.GoogleAPIError):
            for start in range(0, len(ids), PULLED):
                self._client.modify_ack_deadline(
                    subscription=self._path,
                    ack_ids=ids[start : start + PULLED],
                    ack_deadline_seconds=0,
                )


@contextlib.contextmanager
def _publisher(settings: Settings) -> Iterator[Any]:
    """Yield a function that publishes messages to a topic, by its short name."""
    with open_client(
        PublisherClient, PublisherGrpcTransport, endpoint=settings.pubsub_endpoint
    ) as client:

        def publish(topic: str, messages: Sequence[PubsubMessage]) -> None:
            for request in _requests(messages):
                with _translated(f"topic {topic}"):
                    client.publish(
                        topic=f"projects/{settings.project}/topics/{topic}",
                        messages=request,
                        retry=_RETRY,
                    )

        yield publish


def _requests(messages: Sequence[PubsubMessage]) -> Iterator[list[PubsubMessage]]:
    request: list[PubsubMessage] = []
    size = 0
    for message in messages:
        added = PubsubMessage.pb(message).ByteSize()
        if request and (size + added > MAXIMUM_BYTES or len(request) >= PULLED):
            yield request
            request, size = [], 0
        request.append(message)
        size += added
    if request:
        yield request


@contextlib.contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except api.NotFound as error:
        raise MissingTable(f"Pub/Sub does not find {what}. Run the set-up") from error
    except (api.BadRequest, api.Forbidden, api.Unauthorized) as error:
        raise PropensityError(f"Pub/Sub refuses {what}: {error.message}") from error
    except api.GoogleAPIError as error:
        raise Unavailable(f"Pub/Sub did not answer for {what}: {error}") from error
