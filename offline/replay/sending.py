"""Send messages at a rate, until all are sent or Ctrl-C."""

from __future__ import annotations

import signal
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from types import FrameType
from typing import Any, Self

from google.api_core import exceptions as api
from google.api_core.retry import Retry, if_exception_type
from google.cloud.pubsub_v1 import PublisherClient
from google.cloud.pubsub_v1.types import (
    BatchSettings,
    LimitExceededBehavior,
    PublisherOptions,
    PublishFlowControl,
)
from google.pubsub_v1 import PublisherClient as PlainPublisherClient
from google.pubsub_v1.types import PubsubMessage
from tqdm import tqdm

from offline.replay.messages import Outgoing, Source, Tally, head_of
from propensity.edges.channels import TRANSIENT
from propensity.errors import MissingTable, PropensityError, Unavailable
from propensity.events.catalogue import Catalogue
from propensity.settings import Settings

RATE = 1000.0

# The burst after a pause, in seconds of the rate.
SAVED_S = 0.1

# Longest sleep, so that Ctrl-C is heard.
SLICE_S = 0.2

# Published and not confirmed yet: well above what one round trip takes at any rate.
UNCONFIRMED = 5_000
UNCONFIRMED_BYTES = 64 * 1024**2
BATCH_MESSAGES = 500
BATCH_BYTES = 4 * 1024**2
BATCH_S = 0.02

# The time of one attempt after the last retry.
GRACE_S = 60.0

# Names that the client's ``publish`` takes for arguments of its own.
_ARGUMENTS = frozenset({"self", "topic", "data", "ordering_key", "retry", "timeout"})
_IS_TRANSIENT = if_exception_type(*TRANSIENT)


class Stop:
    """Ctrl-C, heard once: ``is_asked`` from then on. Pressed again, it interrupts."""

    def __init__(self) -> None:
        self.is_asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.is_asked = True
        signal.signal(number, self._before[number])


class TokenBucket:
    """
    Lets messages through at a rate, exactly on average.

    The n-th is due n times the gap after the first, however long a sleep took. Time in
    which none came is made up for by ``SAVED_S`` of the rate at most.
    """

    def __init__(
        self,
        rate: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """
        Args:
            rate: Messages a second; 0 for no limit.
            clock: Seconds.
            sleep: For seconds.
        """
        self._gap = 1.0 / rate if rate else 0.0
        self._clock = clock
        self._sleep = sleep
        self._due = clock()

    def take(self, stop: Stop) -> bool:
        """Wait until the next may go; return False if it is to stop instead."""
        self._due = max(self._due, self._clock() - SAVED_S)
        while (left := self._due - self._clock()) > 0 and not stop.is_asked:
            self._sleep(min(left, SLICE_S))
        self._due += self._gap
        return not stop.is_asked


def patient(settings: Settings) -> Retry:
    """Return how calls are repeated that may succeed later, and how long."""
    return Retry(
        predicate=_IS_TRANSIENT,
        initial=0.1,
        maximum=5.0,
        timeout=float(settings.deadline_s),
    )


class Sender:
    """Publishes messages, and counts in its tally those that Pub/Sub has."""

    def __init__(
        self,
        settings: Settings,
        catalogue: Catalogue,
        tally: Tally,
        *,
        is_dry: bool,
        shown: int,
        grace_s: float = GRACE_S,
    ) -> None:
        """
        Args:
            settings: Of the deployment.
            catalogue: Its event types are counted by name.
            tally: Is counted up. After a failure in it no more should be sent.
            is_dry: Only count.
            shown: How many messages the tally keeps, the first ones.
            grace_s: How long a message is waited for at the end, behind its retries.
        """
        self._patience_s = settings.deadline_s + grace_s
        self.tally = tally
        self._catalogue = catalogue
        self._shown = shown
        self._project = settings.project
        self._unconfirmed: deque[tuple[Any, Outgoing]] = deque()
        self._retry = patient(settings)
        self._client: Any = None if is_dry else self._opened()

    def _opened(self) -> Any:
        return PublisherClient(
            BatchSettings(
                max_bytes=BATCH_BYTES, max_latency=BATCH_S, max_messages=BATCH_MESSAGES
            ),
            PublisherOptions(
                flow_control=PublishFlowControl(
                    message_limit=UNCONFIRMED,
                    byte_limit=UNCONFIRMED_BYTES,
                    limit_exceeded_behavior=LimitExceededBehavior.BLOCK,
                ),
                retry=self._retry,
            ),
        )

    def send(self, message: Outgoing) -> Any:
        """
        Publish a message, or leave out one that Pub/Sub can not take.

        Waits where too much is on its way.

        Returns:
            Its future; None if nothing was sent.
        """
        if (obstacle := message.obstacle) is not None:
            self.tally.left_out[obstacle] += 1
            return None
        if len(self.tally.examples) < self._shown:
            self.tally.examples.append(message)
        if self._client is None:
            self._count(message)
            return None
        self._settle()
        path = f"projects/{self._project}/topics/{message.topic}"
        if _ARGUMENTS.isdisjoint(message.attributes):
            future = self._client.publish(path, message.data, **message.attributes)
        else:
            future = self._published_alone(path, message)
        self._unconfirmed.append((future, message))
        return future

    def _published_alone(self, path: str, message: Outgoing) -> Any:
        """Publish a message with attributes named like parameters of ``publish``."""
        future: Future[str] = Future()
        copy = PubsubMessage(data=message.data, attributes=dict(message.attributes))
        try:
            answer = PlainPublisherClient.publish(
                self._client, topic=path, messages=[copy], retry=self._retry
            )
            future.set_result(answer.message_ids[0])
        except api.GoogleAPIError as error:
            future.set_exception(error)
        return future

    def drain(self) -> None:
        """Wait until all is published, or has failed; nothing is waited for ever."""
        patience_s = self._patience_s
        while self._unconfirmed:
            future, message = self._unconfirmed[0]
            try:
                future.exception(timeout=patience_s)
            except FutureTimeoutError:
                # An error that the client does not foresee ends its thread, and nobody
                # settles the messages of that batch.
                late = f"Pub/Sub's client gave no answer for topic {message.topic}"
                self._fail(Unavailable(late), message)
                self._unconfirmed.popleft()
                patience_s = 0.0
            self._settle()

    def _settle(self) -> None:
        while self._unconfirmed and self._unconfirmed[0][0].done():
            future, message = self._unconfirmed.popleft()
            error = future.exception()
            if error is None:
                self._count(message)
            else:
                self._fail(translated(error, f"topic {message.topic}"), message)

    def _fail(self, failure: PropensityError, message: Outgoing) -> None:
        """Keep the first failure, and where to go on."""
        if self.tally.failure is None:
            self.tally.failure, self.tally.place = failure, message.place

    def _count(self, message: Outgoing) -> None:
        kind = head_of(message.data).event_type
        known = isinstance(kind, str) and kind in self._catalogue.types
        self.tally.sent[message.topic, kind if known else "other"] += 1

    def close(self) -> None:
        """Close the connection; messages under way may be lost."""
        if self._client is not None:
            self._client.stop()
            self._client.transport.close()


def pause(seconds: float, stop: Stop) -> None:
    """Sleep for some seconds, or until it is to stop."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0 and not stop.is_asked:
        time.sleep(min(left, SLICE_S))


def translated(error: Exception, what: str) -> PropensityError:
    """Return the project's error for one of the Pub/Sub client's."""
    text = getattr(error, "message", "") or str(error)
    if isinstance(error, api.NotFound):
        return MissingTable(f"Pub/Sub does not find {what}. Run the set-up")
    if isinstance(error, (api.BadRequest, api.Forbidden, api.Unauthorized)):
        return PropensityError(f"Pub/Sub refuses {what}: {text}")
    return Unavailable(f"Pub/Sub did not answer for {what}: {text}")


def send_all(
    source: Source,
    *,
    sender: Sender,
    bucket: TokenBucket,
    stop: Stop,
    limit: int | None,
) -> None:
    """
    Send what a source has, until it is asked to stop or sending fails.

    Args:
        sender: To publish them; its tally has where to go on if that was not the end.

    Raises:
        SchemaError: The source can not be read further.
    """
    tally = sender.tally
    in_bytes = source.position is not None
    with tqdm(
        desc="sending",
        total=source.total,
        unit="B" if in_bytes else " messages",
        unit_scale=in_bytes,
        disable=None,
    ) as bar:
        try:
            for count, message in enumerate(source.messages):
                is_enough = count == limit or tally.failure is not None
                if is_enough or not bucket.take(stop):
                    tally.place = tally.place or message.place
                    break
                sender.send(message)
                bar.update(1 if source.position is None else source.position() - bar.n)
        finally:
            sender.drain()
