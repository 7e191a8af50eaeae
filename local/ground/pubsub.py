"""Pub/Sub in the process: topics, and what was published to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import starmap

from google.api_core import exceptions as api


@dataclass(frozen=True)
class Message:
    """What was published."""

    data: bytes
    attributes: Mapping[str, str]


@dataclass
class Topics:
    """Topics by their short names; each keeps its messages."""

    messages: dict[str, list[Message]] = field(default_factory=dict)

    def create(self, topic: str) -> None:
        """Create a topic where it is missing."""
        self.messages.setdefault(topic, [])

    def publish(
        self, topic: str, messages: Sequence[tuple[bytes, Mapping[str, str]]]
    ) -> None:
        if topic not in self.messages:
            raise api.NotFound(f"Topic not found: {topic}")
        self.messages[topic] += starmap(Message, messages)
