"""
What failed too often: the subscription of dead letters, back to its topics.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from google.api_core import exceptions as api
from google.cloud.pubsub_v1 import SubscriberClient
from google.pubsub_v1.types import PubsubMessage
from tqdm import tqdm

from offline.replay.messages import Outgoing, identified
from offline.replay.sending import Sender, Stop, TokenBucket, patient, pause, translated
from propensity import topics
from propensity.errors import Unavailable
from propensity.settings import Settings

# Messages of a pull. At any rate they have to be published within the subscription's
# deadline for acknowledgements, a minute.
PULLED = 500
PULLED_S = 10.0

# After so long without a message there is none left.
PATIENCE_S = 10.0
PULL_S = 5.0

# Pause after a pull that failed.
PAUSE_S = 1.0

# The subscription, without the deployment's prefix, and the seconds that a pulled
# message stays hidden from other pulls.
[(SUBSCRIPTION, LEASED_S)] = [
    (subscription.name, float(subscription.acknowledge_s))
    for subscription in topics.SUBSCRIPTIONS
    if not subscription.function
]

# What Pub/Sub adds to the attributes of a dead letter.
ADDED = "CloudPubSubDeadLetter"
ORIGIN = "CloudPubSubDeadLetterSourceSubscription"

# Ids in a request.
MAXIMUM_IDS = 1_000


class DeadLetters:
    """
    The subscription to the topic of dead letters.

    What was pulled and not acknowledged goes back to it on ``close``.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._client = SubscriberClient()
        self._name = topics.prefixed(settings.topic_prefix, SUBSCRIPTION)
        self._path = f"projects/{settings.project}/subscriptions/{self._name}"
        self._held: dict[str, str] = {}  # id for acknowledgement, by message id

    def pull(self, count: int, *, seconds: float) -> list[Any]:
        """
        Return messages that are not held yet, none if none came in time.

        Raises:
            Unavailable: Pub/Sub failed. It may hide messages for it all the same.
            PropensityError: There is no such subscription, or it may not be read.
        """
        try:
            answer = self._client.pull(
                subscription=self._path, max_messages=count, retry=None, timeout=seconds
            )
        except api.DeadlineExceeded:
            return []
        except api.GoogleAPIError as error:
            raise translated(error, f"subscription {self._name}") from error
        new = {}
        for received in answer.received_messages:
            if received.message.message_id not in self._held:
                new[received.message.message_id] = received.message
            self._held[received.message.message_id] = received.ack_id
        return list(new.values())

    def acknowledge(self, message_ids: Iterable[str]) -> None:
        """
        Take messages out of the subscription, for good.

        Raises:
            PropensityError: They may be delivered again.
        """
        published = list(message_ids)
        try:
            for ids in _pieces([self._held[message] for message in published]):
                self._client.acknowledge(
                    subscription=self._path, ack_ids=ids, retry=patient(self.settings)
                )
        except api.GoogleAPIError as error:
            raise translated(error, f"subscription {self._name}") from error
        for message in published:
            del self._held[message]

    def close(self) -> None:
        """Release the messages held; without it they come back after a minute."""
        with contextlib.suppress(api.GoogleAPIError):
            for ids in _pieces(list(self._held.values())):
                self._client.modify_ack_deadline(
                    subscription=self._path, ack_ids=ids, ack_deadline_seconds=0
                )
        self._client.close()


def _pieces(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), MAXIMUM_IDS):
        yield ids[start : start + MAXIMUM_IDS]


def send_dead_letters(
    letters: DeadLetters,
    *,
    sender: Sender,
    bucket: TokenBucket,
    stop: Stop,
    topic: str | None,
    limit: int | None,
    rate: float,
    wait: float,
) -> None:
    """
    Send dead letters back until none comes for a while; acknowledge what was sent.

    A pull that fails is repeated within PROPENSITY_DEADLINE_S. Its answer may
    have been lost with letters in it, so the end then waits for these, too.

    Args:
        topic: Where they go, None for where each was before.
        wait: Seconds without a message before it ends.

    Raises:
        PropensityError: The subscription can not be read, or what was sent can not be
            acknowledged and will be sent again.
    """
    tally = sender.tally
    # Messages have to be sent well before their deadline for acknowledgement.
    most = max(1, min(PULLED, int((rate or PULLED) * PULLED_S)))
    left = limit
    is_due = False
    answered = time.monotonic()
    ends = answered + wait
    # Until none comes there may be more, also where this fails.
    tally.place = ""
    with tqdm(desc="sending", unit=" messages", disable=None) as bar:
        while not stop.is_asked and tally.failure is None and left != 0:
            # Before the pull: at a low rate the wait may outlast the deadline.
            is_due = is_due or bucket.take(stop)
            if not is_due:
                break
            count = most if left is None else min(most, left)
            try:
                new = letters.pull(count, seconds=max(2.0, min(PULL_S, wait)))
            except Unavailable:
                now = time.monotonic()
                if now - answered >= letters.settings.deadline_s:
                    raise
                ends = max(ends, now + LEASED_S + wait)
                pause(PAUSE_S, stop)
                continue
            answered = time.monotonic()
            if not new:
                if answered >= ends:
                    tally.place = None
                    if wait < LEASED_S:
                        tally.remark = _hidden()
                    return
                continue
            futures = {}
            for message in new:
                if not (is_due or bucket.take(stop)):
                    break
                is_due = False
                outgoing = returned(message, letters.settings, topic=topic)
                if outgoing is None:
                    origin = message.attributes[ORIGIN]
                    tally.left_out[
                        f"of {origin}, which is not a subscription here"
                    ] += 1
                else:
                    futures[message.message_id] = sender.send(outgoing)
                left = None if left is None else left - 1
                bar.update()
            sender.drain()
            letters.acknowledge(
                message
                for message, future in futures.items()
                if future is not None and future.done() and not future.exception()
            )
            answered = time.monotonic()
            ends = max(ends, answered + wait)


def _hidden() -> str:
    """Say what nobody can see: Pub/Sub tells no one what another has pulled."""
    return (
        f"Letters that an interrupted replay holds come again after {LEASED_S:.0f} s; "
        f"--wait {LEASED_S + PATIENCE_S:.0f} waits for them."
    )


def returned(
    message: PubsubMessage, settings: Settings, *, topic: str | None
) -> Outgoing | None:
    """
    Return a dead letter as the message that it was, to the topic that it was on.

    Args:
        topic: Where it is to go in any case, None for where it was.

    Returns:
        None if it comes from a subscription that nobody here knows.
    """
    known = {
        topics.subscription_name(settings, subscription): topics.topic_name(
            settings, subscription.topic
        )
        for subscription in topics.SUBSCRIPTIONS
    }
    origin = message.attributes.get(ORIGIN)
    # A message without an origin was published by hand.
    by_hand = topics.topic_name(settings, topics.EVENTS)
    to = topic or (by_hand if origin is None else known.get(origin))
    if to is None:
        return None
    kept = {
        name: value
        for name, value in message.attributes.items()
        if not name.startswith(ADDED)
    }
    return Outgoing(
        data=message.data,
        attributes=identified(message.data, kept, message.message_id),
        topic=to,
    )
