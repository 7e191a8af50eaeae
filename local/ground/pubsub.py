"""Pub/Sub in the process: topics, and what was published to them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import starmap

from google.api_core import exceptions as api

# What Pub/Sub takes in a request, and so in a message.
MAX_BYTES = 10_000_000


@dataclass(frozen=True)
class Message:
    """What was published."""

    data: bytes
    attributes: Mapping[str, str]
    message_id: str = field(default_factory=lambda: uuid.uuid4().hex)


@dataclass
class Topics:
    """Topics by their short names; each keeps its messages."""

    messages: dict[str, list[Message]] = field(default_factory=dict)

    def create(self, topic: str) -> None:
        """Create a topic where it is missing."""
        self.messages.setdefault(topic, [])

    def delete(self, topic: str) -> None:
        """Delete a topic, and what was published to it."""
        del self.messages[topic]

    def publish(
        self, topic: str, messages: Sequence[tuple[bytes, Mapping[str, str]]]
    ) -> None:
        if topic not in self.messages:
            raise api.NotFound(f"Topic not found: {topic}")
        if any(len(data) > MAX_BYTES for data, _ in messages):
            raise api.InvalidArgument(f"a message has more than {MAX_BYTES} bytes")
        self.messages[topic] += starmap(Message, messages)
