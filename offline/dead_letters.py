"""
Dead letters: count them, and send them again.

There are two kinds. A message that can never become an event is refused: it is a row of
the table ``dead_letters``, for a week. A message whose every delivery failed waits in
the subscription ``dead-letters-replay``, for a week as well. One that has no event_id
is sent again with its message id as that.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from importlib import resources
from typing import Any

from google.api_core import exceptions as api
from google.pubsub_v1.services.subscriber import SubscriberClient

from deploy.functions import SUBSCRIPTIONS
from propensity.errors import MissingTable
from propensity.gcp.clients import PUBSUB, open_client, translated
from propensity.gcp.pubsub import publish_messages
from propensity.gcp.warehouse import Warehouse
from propensity.settings import EVENTS, Settings
from propensity.statements import statement

SQL = resources.files(__package__)
SUBSCRIPTION = "dead-letters-replay"
# Rows of the table expire after a week.
KEPT = timedelta(days=7)
PULLED = 500
PULL_S = 5.0
# Prefix of the attributes that Pub/Sub adds to a dead letter.
ADDED = "CloudPubSubDeadLetter"
ORIGIN = "CloudPubSubDeadLetterSourceSubscription"


def letters(settings: Settings, *, now: datetime) -> dict[str, Any]:
    """
    Count the dead letters of a deployment.

    Returns:
        ``refused``: messages of a week by reason; ``newest``: what was wrong with the
        newest three of each; ``waiting``: messages of the subscription, up to
        ``PULLED``; ``more``: whether there may be more of them.

    Raises:
        PropensityError: BigQuery or Pub/Sub cannot be read.
    """
    since = now - KEPT
    with contextlib.closing(Warehouse.open(settings)) as warehouse:
        rows = warehouse.rows(
            statement("refused_by_reason", folder=SQL),
            {"since": since, "since_day": since.date()},
        )
    waiting = 0
    # A deployment without the stream has no subscription, so nothing waits there.
    with contextlib.suppress(MissingTable), _subscription(settings) as subscription:
        waiting = len(subscription.pull(PULLED))
    refused = {row["reason"]: row["messages"] for row in rows}
    newest = {row["reason"]: list(row["newest"]) for row in rows}
    is_more = waiting == PULLED
    return {"waiting": waiting, "more": is_more, "refused": refused, "newest": newest}


def replay(settings: Settings, *, is_dry: bool = False) -> dict[str, Any]:
    """
    Send messages that failed too often back to the topics that they failed on.

    Each is acknowledged once it is published; one that is not comes again within a
    minute. It ends when no message comes for five seconds.

    Returns:
        How many were sent, by topic, and left out, by reason.

    Raises:
        PropensityError: Pub/Sub failed. What was sent by then is acknowledged.
    """
    sent = Counter[str]()
    left_out = Counter[str]()
    with _subscription(settings) as subscription:
        while not subscription.is_over:
            by_topic: dict[str, list[Any]] = {}
            for message in subscription.pull(PULLED):
                topic = origin(message, settings)
                if topic is None:
                    name = message.attributes[ORIGIN]
                    left_out[f"from the unknown subscription {name}"] += 1
                else:
                    by_topic.setdefault(topic, []).append(message)
            for topic, batch in by_topic.items():
                if not is_dry:
                    messages = [(item.data, returned(item)) for item in batch]
                    publish_messages(settings, topic, messages)
                    subscription.acknowledge(batch)
                sent[topic] += len(batch)
    return {"is_dry": is_dry, "sent": dict(sent), "left_out": dict(left_out)}


def replay_refused(
    settings: Settings, *, since: datetime, until: datetime, is_dry: bool = False
) -> dict[str, Any]:
    """
    Send messages of the table ``dead_letters`` again, without their personal values.

    They are removed from the table once they are sent. A message whose payload was not
    kept can never become an event: it is left out, and removed as well.

    Args:
        since: First moment of receipt.
        until: End of the period, which it does not include.

    Returns:
        As ``replay``.

    Raises:
        PropensityError: BigQuery or Pub/Sub failed.
    """
    sent = Counter[str]()
    left_out = Counter[str]()
    to = settings.prefixed(EVENTS)
    parameters = {
        "since": since,
        "until": until,
        "first_day": since.date(),
        "last_day": until.date(),
    }
    sql = statement("replay_dead_letters", folder=SQL)
    with contextlib.closing(Warehouse.open(settings)) as warehouse:
        for batch in warehouse.batches(sql, parameters):
            messages = []
            for row in batch.to_pylist():
                if row["raw"] is None:
                    left_out["its payload was not kept"] += 1
                    continue
                data = row["raw"]
                attributes: Mapping[str, str] = {}
                if row["attributes"] is not None:
                    attributes = json.loads(row["attributes"])
                attributes = identified(data, attributes, row["message_id"])
                messages.append((data, attributes))
            sent[to] += len(messages)
            if is_dry:
                continue
            if messages:
                publish_messages(settings, to, messages)
            message_ids = batch["message_id"].to_pylist()
            removed = {**parameters, "message_ids": message_ids}
            warehouse.execute(statement("remove_dead_letters", folder=SQL), removed)
    return {"is_dry": is_dry, "sent": dict(sent), "left_out": dict(left_out)}


def origin(message: Any, settings: Settings) -> str | None:
    """Return the topic that a dead letter failed on; None if it is not here."""
    name = message.attributes.get(ORIGIN)
    if name is None:
        # It was published by hand.
        return settings.prefixed(EVENTS)
    for subscription in SUBSCRIPTIONS:
        if settings.prefixed(subscription.name) == name:
            return settings.prefixed(subscription.topic)
    return None


def returned(message: Any) -> Mapping[str, str]:
    """Return the attributes that a dead letter had, with an identity."""
    attributes = {
        name: value
        for name, value in message.attributes.items()
        if not name.startswith(ADDED)
    }
    return identified(message.data, attributes, message.message_id)


def identified(
    data: bytes, attributes: Mapping[str, str], message_id: str
) -> Mapping[str, str]:
    """Return attributes with an ``event_id``, unless the payload or they have one."""
    with contextlib.suppress(ValueError, RecursionError, AttributeError):
        if json.loads(data).get("event_id"):
            return attributes
    return {"event_id": message_id, **attributes}


class _Subscription:
    """
    Pulled messages, which ``release`` gives back unless they are acknowledged.

    Attributes:
        is_over: Whether the last pull found that no message arrives any more.
    """

    def __init__(self, settings: Settings, client: SubscriberClient) -> None:
        name = settings.prefixed(SUBSCRIPTION)
        self._path = f"projects/{settings.project}/subscriptions/{name}"
        self._client = client
        self._settings = settings
        self._held: dict[str, str] = {}  # id for acknowledgement, by message id
        self.is_over = False

    def pull(self, count: int) -> list[Any]:
        """Return the messages that are not held yet; none if none arrived in time."""
        needs = "pubsub.subscriptions.consume"
        with translated(self._settings, PUBSUB, on=self._path, needs=needs):
            try:
                answer = self._client.pull(
                    subscription=self._path, max_messages=count, timeout=PULL_S
                )
            except api.DeadlineExceeded:
                self.is_over = True
                return []
        self.is_over = not answer.received_messages
        messages = []
        for received in answer.received_messages:
            message = received.message
            if message.message_id not in self._held:
                messages.append(message)
            self._held[message.message_id] = received.ack_id
        return messages

    def acknowledge(self, messages: Sequence[Any]) -> None:
        """Take messages out of the subscription; one that stays comes again."""
        ids = [self._held.pop(message.message_id) for message in messages]
        with contextlib.suppress(api.GoogleAPICallError):
            self._client.acknowledge(subscription=self._path, ack_ids=ids)

    def release(self) -> None:
        """Return held messages at once; otherwise they arrive again after a minute."""
        ids = list(self._held.values())
        with contextlib.suppress(api.GoogleAPICallError):
            if ids:
                self._client.modify_ack_deadline(
                    subscription=self._path, ack_ids=ids, ack_deadline_seconds=0
                )


@contextlib.contextmanager
def _subscription(settings: Settings) -> Iterator[_Subscription]:
    """Open it; at the end messages that were not acknowledged come back at once."""
    with open_client(SubscriberClient, settings.pubsub_endpoint) as client:
        subscription = _Subscription(settings, client)
        try:
            yield subscription
        finally:
            subscription.release()
