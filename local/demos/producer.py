"""A producer of events, as a client of Pub/Sub is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Self

from google.cloud.pubsub_v1 import PublisherClient

from local.demos.calls import TIMEOUT_S
from local.stack.stack import Stack
from propensity.topics import EVENTS

# The producer stops while so many messages wait for Pub/Sub's answer.
IN_FLIGHT = 1_000


class Producer:
    """Publishes messages to the topic of events, by the ordinary client."""

    def __init__(self, stack: Stack) -> None:
        # Where the client looks for an emulator.
        os.environ["PUBSUB_EMULATOR_HOST"] = stack.address("pubsub")
        self._publisher = PublisherClient()
        self._topic = self._publisher.topic_path(stack.options.project, EVENTS)
        self._waiting: list[Future[str]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._publisher.stop()
        self._publisher.transport.close()

    def send(self, data: bytes, attributes: Mapping[str, str]) -> int:
        """Publish a message; return how many Pub/Sub has answered meanwhile."""
        self._waiting.append(self._publisher.publish(self._topic, data, **attributes))
        return self.flush() if len(self._waiting) >= IN_FLIGHT else 0

    def flush(self) -> int:
        """Wait until Pub/Sub has all messages; return how many it has answered."""
        count = len(self._waiting)
        for future in self._waiting:
            future.result(timeout=TIMEOUT_S)
        self._waiting.clear()
        return count
