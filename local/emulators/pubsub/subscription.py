"""The messages of one subscription: ready, leased, or backing off."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from local.emulators.pubsub.messages import Proto, RefusedError, seconds_of

MAX_MESSAGES = 1_000
MAX_BYTES = 10_000_000
DEADLINES_S = range(10, 601)
# A failed push waits so long unless there is a retry policy. While none succeeds the
# whole subscription waits, twice as long each time, up to the maximum.
PUSH_RETRY_S = 0.1


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
        self._leases: dict[int, Lease] = {}
        # An ack id from before a restart must not acknowledge another message.
        self._numbers = itertools.count(time.time_ns())
        self._loop = asyncio.get_running_loop()
        self._is_waking = False

    def offer(self, messages: Iterable[Proto]) -> None:
        """Add new messages."""
        self.ready.extend(map(Delivery, messages))
        self.wake()

    def take(
        self,
        limit: int,
        *,
        seconds: int,
        on_end: Callable[[Delivery], None] = lambda _: None,
    ) -> dict[int, Delivery]:
        """
        Lease messages that are ready, which delivers them.

        Args:
            limit: How many at most.
            seconds: Until they are delivered again unless acknowledged.
            on_end: Called when a lease ends, however it does.

        Returns:
            The deliveries by the numbers of their leases.
        """
        leased: dict[int, Delivery] = {}
        max_bytes = MAX_BYTES
        while self.ready and len(leased) < limit and max_bytes > 0:
            delivery = self.ready.popleft()
            delivery.attempts += 1
            number = next(self._numbers)
            timer = self._loop.call_later(seconds, self.nack, number)
            self._leases[number] = Lease(delivery, timer, on_end)
            leased[number] = delivery
            max_bytes -= delivery.message.ByteSize()
        return leased

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


def acknowledge(subscription: Subscription, ack_ids: Iterable[str]) -> None:
    """Acknowledge leases by what their consumer calls them."""
    for number in subscription.numbers(ack_ids):
        subscription.acknowledge(number)


def extend(
    subscription: Subscription, ack_ids: Iterable[str], seconds: Iterable[int]
) -> None:
    """Set the deadlines of leases by what their consumer calls them."""
    for deadline_s in seconds:
        if not 0 <= deadline_s < DEADLINES_S.stop:
            raise RefusedError("Ack deadline cannot be negative or above 600 seconds")
    for number, deadline_s in zip(subscription.numbers(ack_ids), seconds, strict=True):
        subscription.extend(number, deadline_s)
